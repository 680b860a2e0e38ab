"""Months of predictions and labels through the publisher, in the order in which they happened."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

DAY_MS = 86_400_000


class Sink(Protocol):
    """What the replay needs of a publisher."""

    def predictions(self, table: pa.Table) -> int:
        """Publish predictions."""

    def labels(self, table: pa.Table) -> int:
        """Publish labels."""

    def publish_end_marker(self) -> None:
        """Write an `end` mark to every partition of predictions and labels, after all that went before."""


class Pace:
    """Keeps a replay from running away; one thread publishes, another one tells how far it may go."""

    def __init__(self, ahead: int, until_ms: int | None = None) -> None:
        """Begin.

        Args:
            ahead: how many predictions may be published and not yet read.
            until_ms: days from this event time on wait for `open`; None lets all of them go.
        """
        self._ahead, self._until_ms = ahead, until_ms
        self._read, self._stopped = 0, False
        self._changed = threading.Condition()

    def note(self, read: int) -> None:
        """Tell how many predictions have been read."""
        with self._changed:
            self._read = read
            self._changed.notify_all()

    def open(self, until_ms: int | None) -> None:
        """Let days go that begin before an event time; None lets all of them go."""
        with self._changed:
            self._until_ms = until_ms
            self._changed.notify_all()

    def stop(self) -> None:
        """End the replay before its next day."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def wait(self, published: int, day_ms: int) -> bool:
        """Wait until a day may be published; return whether it is to go on.

        Args:
            published: predictions before it.
            day_ms: when it begins.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self.may_go(published, day_ms))
            return not self._stopped

    def may_go(self, published: int, day_ms: int) -> bool:
        """Whether a day may be published now; arguments as `wait` has them."""
        return published - self._read < self._ahead and (self._until_ms is None or day_ms < self._until_ms)


def replay(predictions: pa.Table, labels: pa.Table, sink: Sink, pace: Pace) -> tuple[int, int]:
    """Publish day by day: the day's predictions, then the labels of the flights that landed on it, then the mark.

    Args:
        predictions: rows in order of `at`.
        labels: the same; labels come up to 33 hours after their predictions.
        sink: the publisher.
        pace: is asked before each day; a replay that it stops ends without a mark.

    Returns:
        How many predictions and how many labels the publisher accepted; after the mark Kafka has all of them.
    """
    n_predictions = n_labels = 0
    for day_ms, (made, landed) in days(predictions, labels):
        if not pace.wait(n_predictions, day_ms):
            return n_predictions, n_labels
        n_predictions += sink.predictions(made)
        n_labels += sink.labels(landed)
    sink.publish_end_marker()
    return n_predictions, n_labels


def days(*tables: pa.Table) -> Iterator[tuple[int, tuple[pa.Table, ...]]]:
    """Cut tables that are in order of `at` into the days (UTC) from the first event of any to the last.

    Yields:
        When the day begins (Unix ms), and its rows of each table.
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
