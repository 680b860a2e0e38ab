"""Cumulative series → what was added between two scrapes.

A counter that is smaller than before was reset: the server started again, so that its whole value was added since. The
same holds for a series that was not there at the scrape before. The first scrape of a target adds nothing, because
nobody knows over which time its counters grew; nor does the first value of a series after one that could not be read.
"""

import math
from collections.abc import Mapping, Sequence

MAX_SERIES = 10_000
"""Most series of one target that are followed. vLLM has some 1,000 for one model."""
SeriesKey = tuple[str, tuple[tuple[str, str], ...]]
"""Metric and labels."""


class CounterHistory:
    """The last values of the cumulative series of one target."""

    def __init__(self) -> None:
        """Start before the first scrape."""
        self._values: dict[SeriesKey, float] = {}
        self._is_first = True
        self.reset_series: set[SeriesKey] = set()
        """Series that were reset since `begin`."""
        self.untracked = 0
        """Series beyond the limit since `begin`, whose differences are not known."""
        self._next: dict[SeriesKey, float] = {}

    def begin(self) -> None:
        """Begin a scrape; what an earlier one recorded without `commit` is dropped."""
        self.reset_series = set()
        self.untracked = 0
        self._next = {}

    def added(self, name: str, labels: Mapping[str, str], value: float) -> float | None:
        """Return by how much a series grew since the scrape before; None if that is not known.

        Args:
            value: its value now, finite and not negative; NaN if it could not be read.
        """
        together = self.added_together([(name, labels, value)])
        return None if together is None else together[0]

    def added_together(self, series: Sequence[tuple[str, Mapping[str, str], float]]) -> list[float] | None:
        """Return by how much each of several series grew that are reset together, such as those of a histogram.

        Args:
            series: metric, labels and value of each; see `added`.
        """
        keys = [(name, tuple(sorted(labels.items()))) for name, labels, _ in series]
        values = [value for _, _, value in series]
        new = sum(key not in self._values and key not in self._next for key in keys)
        if new and len(self._next) + new > MAX_SERIES:
            self.untracked += len(keys)
            return None
        self._next.update(zip(keys, values, strict=True))
        if self._is_first:
            return None
        before = [self._values.get(key, 0.0) for key in keys]
        if any(map(math.isnan, (*before, *values))):
            return None
        if any(value < old for value, old in zip(values, before, strict=True)):
            self.reset_series.add(keys[0])
            return values
        return [value - old for value, old in zip(values, before, strict=True)]

    def commit(self) -> None:
        """End a scrape: the next one is compared with its values."""
        # A series that is missing now keeps its value, unless the server started again.
        retained = {} if self.reset_series else self._values
        merged = {**retained, **self._next}
        if len(merged) > 2 * MAX_SERIES:
            merged = self._next
        self._values, self._is_first = merged, False
