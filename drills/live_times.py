"""Moves recorded events to the present, and says when each of them arrives."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from barograph.contract import Contract
from numpy.typing import NDArray

from barograph_server.drills.faults import EventTables
from barograph_server.drills.faults.fault import epoch_ms, moved_times, replace_column


def move_to(events: EventTables, contract: Contract, start_ms: int) -> EventTables:
    """Move all times by the same amount, so that the first prediction is at a time; intervals stay.

    Fields that are timestamps move too, so that their age stays.
    """
    delta_ms = start_ms - int(epoch_ms(events.predictions).min())
    predictions, labels = events.predictions, events.labels
    for name in ("at", *(field.source for field in contract.fields if field.type == "timestamp")):
        if name in predictions.column_names:
            predictions = replace_column(predictions, name, moved_times(predictions[name], delta_ms))
    return EventTables(predictions, replace_column(labels, "at", moved_times(labels["at"], delta_ms)))


def prediction_arrivals(faulty: pa.Table, recorded: pa.Table) -> NDArray[np.int64]:
    """Return when predictions with a fault arrive, ascending, shape (n,), Unix ms.

    A prediction arrives at its recorded time: a fault of clocks changes its time but not its arrival. Faults of
    delivery reorder the rows, and a row arrives no earlier than the rows before it.
    """
    index = pc.index_in(faulty["id"].combine_chunks(), value_set=recorded["id"].combine_chunks())
    return np.maximum.accumulate(epoch_ms(recorded)[index.to_numpy()])


def label_arrivals(labels: pa.Table) -> NDArray[np.int64]:
    """Return when labels arrive, ascending, shape (n,), Unix ms: at the times that they state."""
    return np.maximum.accumulate(epoch_ms(labels))
