"""Publishes events in the order of their arrival, predictions and labels interleaved by the day."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import pyarrow as pa

from barograph_server.drills.faults import EventTables
from barograph_server.drills.faults.fault import epoch_ms

DAY_MS = 86_400_000


class EventSink(Protocol):
    """The part of the publisher that a drill uses."""

    def predictions(self, table: pa.Table) -> int:
        """Publish predictions."""

    def labels(self, table: pa.Table) -> int:
        """Publish labels."""


def publish(events: EventTables, sink: EventSink) -> tuple[int, int]:
    """Publish all events; return how many predictions and labels the publisher accepted."""
    n_predictions = n_labels = 0
    for predictions, labels in arrival_days(events):
        if predictions.num_rows:
            n_predictions += sink.predictions(predictions)
        if labels.num_rows:
            n_labels += sink.labels(labels)
    return n_predictions, n_labels


def arrival_days(events: EventTables) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Split events into days of arrival. An event arrives no earlier than the events before it in its table."""
    tables = (events.predictions, events.labels)
    arrivals = [np.maximum.accumulate(epoch_ms(table)) // DAY_MS for table in tables]
    numbers = np.unique(np.concatenate(arrivals))
    for day in numbers.tolist():
        bounds = [np.searchsorted(arrival, [day, day + 1]).tolist() for arrival in arrivals]
        predictions, labels = (
            table.slice(start, end - start) for table, (start, end) in zip(tables, bounds, strict=True)
        )
        yield predictions, labels
