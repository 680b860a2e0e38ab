"""Moves recorded events to the present, and says when each of them arrives."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from barograph.contract import Contract
from numpy.typing import NDArray

from barograph_server.drills.faults import EventTables
from barograph_server.drills.faults.fault import epoch_ms, replace_column


def move_to(events: EventTables, contract: Contract, start_ms: int) -> EventTables:
    """Move all times by the same amount, so that the first prediction is at a time; intervals stay.

    Fields that are timestamps move too, so that their age stays.
    """
    delta_ms = start_ms - int(epoch_ms(events.predictions).min())
    predictions, labels = _moved(events.predictions, "at", delta_ms), _moved(events.labels, "at", delta_ms)
    for field in contract.fields:
        if field.type == "timestamp" and field.source in predictions.column_names:
            predictions = _moved(predictions, field.source, delta_ms)
    return EventTables(predictions, labels)


def _moved(table: pa.Table, name: str, delta_ms: int) -> pa.Table:
    column = table[name]
    milliseconds = column
    if pa.types.is_timestamp(column.type):
        milliseconds = column.cast(pa.timestamp("ms", column.type.tz)).cast(pa.int64())
    moved = pc.add(milliseconds, pa.scalar(delta_ms).cast(milliseconds.type))
    if pa.types.is_timestamp(column.type):
        moved = moved.cast(pa.timestamp("ms", column.type.tz)).cast(column.type)
    return replace_column(table, name, moved)


def prediction_arrivals(faulty: pa.Table, recorded: pa.Table) -> NDArray[np.int64]:
    """Return when predictions with a fault arrive, ascending, shape (n,), Unix ms.

    A prediction arrives at its recorded time: a fault of clocks changes its time but not its arrival. Faults of
    delivery reorder the rows, and a row arrives no earlier than the rows before it.

    Args:
        faulty: predictions with a fault, in order of arrival.
    """
    index = pc.index_in(faulty["id"].combine_chunks(), value_set=recorded["id"].combine_chunks())
    arrivals: NDArray[np.int64] = np.maximum.accumulate(epoch_ms(recorded)[index.to_numpy()])
    return arrivals


def label_arrivals(labels: pa.Table) -> NDArray[np.int64]:
    """Return when labels arrive, ascending, shape (n,), Unix ms: at the times that they state."""
    arrivals: NDArray[np.int64] = np.maximum.accumulate(epoch_ms(labels))
    return arrivals
