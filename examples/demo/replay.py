"""Publishes months of predictions and labels in the order of their event times."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

DAY_MS = 86_400_000


class Sink(Protocol):
    """The part of the publisher that the replay uses."""

    def predictions(self, table: pa.Table) -> int:
        """Publish predictions."""

    def labels(self, table: pa.Table) -> int:
        """Publish labels."""

    def publish_end_marker(self) -> None:
        """Write an end marker to every partition of predictions and labels, after all events."""


class Pace:
    """Limits how far the replay runs ahead: one thread publishes, another one sets the limit."""

    def __init__(self, ahead: int, until_ms: int | None = None) -> None:
        """Set the initial limit.

        Args:
            ahead: maximum number of predictions that are published and not yet read.
            until_ms: days from this event time on wait for `open`; None means no limit.
        """
        self._ahead, self._until_ms = ahead, until_ms
        self._read, self._stopped = 0, False
        self._changed = threading.Condition()

    def note(self, read: int) -> None:
        """Report the number of predictions read so far."""
        with self._changed:
            self._read = read
            self._changed.notify_all()

    def open(self, until_ms: int | None) -> None:
        """Allow days that start before an event time; None allows all days."""
        with self._changed:
            self._until_ms = until_ms
            self._changed.notify_all()

    def stop(self) -> None:
        """Stop the replay before its next day."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def wait(self, published: int, day_ms: int) -> bool:
        """Wait until a day may be published; return False if the replay was stopped.

        Args:
            published: number of predictions before the day.
            day_ms: start of the day, Unix milliseconds.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self.may_publish(published, day_ms))
            return not self._stopped

    def may_publish(self, published: int, day_ms: int) -> bool:
        """Whether a day may be published now; arguments as for `wait`."""
        return published - self._read < self._ahead and (self._until_ms is None or day_ms < self._until_ms)


def replay(
    predictions: pa.Table, labels: pa.Table, sink: Sink, pace: Pace, shadows: pa.Table | None = None
) -> tuple[int, int]:
    """Publish day by day: predictions, then the labels of flights that landed that day; finally the end marker.

    Args:
        predictions: rows in order of `at`.
        labels: rows in order of `at`; labels arrive up to 33 hours after their predictions.
        sink: the publisher.
        pace: consulted before each day; a stopped replay ends without an end marker.
        shadows: a candidate's predictions in order of `at`, published after those of the primary; None without one.

    Returns:
        Numbers of predictions of the primary and of labels that the publisher accepted. After the end marker, Kafka has
        all of them.
    """
    n_predictions = n_labels = 0
    mirrored = predictions.slice(0, 0) if shadows is None else shadows
    for day_ms, (built, landed, shadowed) in days(predictions, labels, mirrored):
        if not pace.wait(n_predictions, day_ms):
            return n_predictions, n_labels
        n_predictions += sink.predictions(built)
        if shadowed.num_rows:
            sink.predictions(shadowed)
        n_labels += sink.labels(landed)
    sink.publish_end_marker()
    return n_predictions, n_labels


def days(*tables: pa.Table) -> Iterator[tuple[int, tuple[pa.Table, ...]]]:
    """Split tables in order of `at` into days (UTC), from the first event of any table to the last.

    Yields:
        Start of the day (Unix ms) and its rows of each table.
    """
    of_row: list[NDArray[np.int64]] = [table["at"].cast(pa.int64()).to_numpy() // DAY_MS for table in tables]
    filled = [numbers for numbers in of_row if len(numbers)]
    if not filled:
        return
    first, last = min(int(n[0]) for n in filled), max(int(n[-1]) for n in filled)
    bounds = [np.searchsorted(numbers, np.arange(first, last + 2)).tolist() for numbers in of_row]
    for day in range(last - first + 1):
        yield (
            (first + day) * DAY_MS,
            tuple(
                table.slice(starts[day], starts[day + 1] - starts[day])
                for table, starts in zip(tables, bounds, strict=True)
            ),
        )
