"""Events, counts on shared bins and numbers of one side of a comparison in its windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from barograph_server.sketches.baseline.baseline import Phi, SliceCounts
from barograph_server.sketches.baseline.columns import FieldColumn
from barograph_server.sketches.baseline.groups import reference_slices
from barograph_server.sketches.baseline.layout import EVENTS, IntArray
from barograph_server.sketches.comparison.aligned import AlignedField
from barograph_server.sketches.comparison.rebin import rebin
from barograph_server.sketches.drift.rate_cells import trained_rate
from barograph_server.sketches.sketch.merge import NumberSummary, recenter_moments
from barograph_server.sketches.sketch.numeric import NumericSketch
from barograph_server.streams.monitor.state.merged_ranges import MergedRange
from barograph_server.streams.monitor.state.series import Series
from barograph_server.streams.monitor.verdicts.sides import SeriesSlice

FloatArray = NDArray[np.float64]


class _MemberField(NamedTuple):
    """One member's counts of a field."""

    member: SeriesSlice
    field_index: int
    cells: IntArray
    """Shape (W, n_cells)."""
    bins: IntArray | None
    """The shared bin of each cell, shape (n_cells,); None if the member's edges differ from the shared ones."""


class SideCounts:
    """One side of a pair in W windows.

    Args:
        name: of the version or arm.
        members: the members with events in these windows.
        counts: of each member in each window, shape (W, width).
        first: index of the first member's layout among those that fields are aligned over.
        ends_s: ends of the windows, shape (W,).
    """

    def __init__(
        self,
        name: str,
        members: Sequence[SeriesSlice],
        counts: Sequence[IntArray],
        first: int,
        ends_s: IntArray,
        read_numbers: ReadNumbers,
    ) -> None:
        self.name, self.members = name, members
        self._counts, self._first, self._ends_s, self._read_numbers = counts, first, ends_s, read_numbers
        self.events = self.sum_header(EVENTS)

    def sum_header(self, column: int) -> IntArray:
        """Sum a column of the header over the members, shape (W,)."""
        total: IntArray = np.array([counts[:, column] for counts in self._counts], np.int64).sum(axis=0)
        return total

    def nulls(self, field: AlignedField) -> tuple[IntArray, IntArray]:
        """Count the events without a value of the field, and all events of the field, each of shape (W,)."""
        nulls, events = np.zeros((2, len(self.events)), np.int64)
        for part, counts in zip(self._members_of(field), self._counts, strict=True):
            nulls += part.cells[:, FieldColumn.NULL]
            events += counts[:, part.member.layout.event_cells(part.field_index)].sum(axis=1)
        return nulls, events

    def phi(self, field: AlignedField, window: str, rate: str | None = None) -> FloatArray:
        """Return overdispersion in windows of a length, shape (W,), weighted by the members' events.

        Args:
            rate: a kind of rate; None: of the field's values.
        """
        n, total = np.zeros(len(self.events)), np.zeros(len(self.events))
        for part in self._members_of(field):
            events = part.cells.sum(axis=1)
            n += events
            counts = _trained_counts(part)
            of_values = counts.phi.get(window, Phi()).value
            total += events * (of_values if rate is None else trained_rate(rate, counts, window).phi)
        phi: FloatArray = np.maximum(1.0, total / np.maximum(n, 1.0))
        return phi

    def nu(self, field: AlignedField, window: str) -> float:
        """Return the least ν of the members in windows of a length; infinite if T has all degrees of freedom."""
        return min(_trained_counts(part).phi.get(window, Phi()).nu or np.inf for part in self._members_of(field))

    def binned(self, field: AlignedField) -> tuple[IntArray, FloatArray]:
        """Count the field on the shared bins.

        Returns:
            Counts of shape (W, B), and the noise of the counts that were estimated from sketches, of shape (W,), as
            `sketches.comparison.two_sample` defines it; infinite if a required sketch is missing.
        """
        counts = np.zeros((len(self.events), field.n_bins), dtype=np.int64)
        noise = np.zeros(len(self.events))
        for part in self._members_of(field):
            if part.bins is not None:
                np.add.at(counts.T, part.bins, part.cells.T)
                continue
            counts[:, -1] += part.cells[:, FieldColumn.NULL]
            n = part.cells[:, : FieldColumn.NULL].sum(axis=1)
            for w in np.flatnonzero(n).tolist():
                sketch = self._numbers(part, w, int(n[w])).sketch
                if sketch is None:
                    noise[w] = np.inf
                    continue
                rebinned = rebin(sketch, field.edges)
                counts[w, :-1] += rebinned.counts
                noise[w] += rebinned.noise * float(n[w]) ** 2
        return counts, noise / np.maximum(counts.sum(axis=1), 1) ** 2.0

    def numbers(self, field: AlignedField) -> list[PooledMoments]:
        """Pool the numbers of each window; a window has none if a member's moments do not cover all of its numbers."""
        parts = self._members_of(field)
        return [self._pool(parts, w) for w in range(len(self.events))]

    def _pool(self, parts: list[_MemberField], w: int) -> PooledMoments:
        pooled = PooledMoments()
        for part in parts:
            n = int(part.cells[w, : FieldColumn.NULL].sum())
            if n:
                summary = self._numbers(part, w, n)
                # The moments of `all` cover every number, those of other slices only if their sketch does.
                if part.member.slice_index and not summary.complete:
                    return PooledMoments()
                pooled.add(n, part.member.layout.fields[part.field_index].mean, summary)
        return pooled

    def _numbers(self, part: _MemberField, w: int, n: int) -> NumberSummary:
        """Read the numbers of one member in one window, which are complete only if their sketch covers all n."""
        summary = self._read_numbers(part.member, part.field_index, int(self._ends_s[w])) or NumberSummary()
        return NumberSummary.counted(n, summary.moments, summary.sketch)

    def _members_of(self, field: AlignedField) -> list[_MemberField]:
        parts = []
        for i, member in enumerate(self.members):
            index = field.field_index[self._first + i]
            cells = self._counts[i][:, member.layout.cells(index)]
            parts.append(_MemberField(member, index, cells, field.bins_of_cells[self._first + i]))
        return parts


_UNTRAINED = SliceCounts(cells=())


def _trained_counts(part: _MemberField) -> SliceCounts:
    """Return the training counts of one member's field; empty ones if training lacks the slice."""
    trained_slice = reference_slices(part.member.layout)[part.member.slice_index]
    return part.member.layout.fields[part.field_index].slices.get(trained_slice, _UNTRAINED)


ReadNumbers = Callable[[SeriesSlice, int, int], NumberSummary | None]
"""Returns the numbers of a series and slice by field index and end of the window; None if there are none.

The summary is read, never changed.
"""


def number_reader(merge_window: Callable[[Series, int], MergedRange]) -> ReadNumbers:
    """Return a function that reads numbers of windows of one length and merges each window once.

    Args:
        merge_window: merges the window of a series that ends at a time.
    """
    windows: dict[tuple[str, str, int], MergedRange] = {}

    def read(member: SeriesSlice, field_index: int, end_s: int) -> NumberSummary | None:
        series = member.series
        key = series.version, series.baseline_id, end_s
        if key not in windows:
            windows[key] = merge_window(series, end_s)
        return windows[key].numbers.get((member.slice_index, field_index))

    return read


class PooledMoments:
    """Numbers of several series, pooled around the center of the first."""

    def __init__(self) -> None:
        self.n = 0
        self._center = 0.0
        self._summary = NumberSummary()

    def add(self, n: int, center: float, summary: NumberSummary) -> None:
        """Add n > 0 numbers, whose moments are around `center`; the summary stays as it is."""
        if self.n == 0:
            self._center, self._summary = center, summary
        else:
            recentered = recenter_moments(summary.moments, n, center - self._center)
            self._summary = self._summary.copy()
            self._summary.merge(NumberSummary(recentered, summary.sketch, complete=summary.complete))
        self.n += n

    @property
    def sketch(self) -> NumericSketch | None:
        """None if no sketch covers all numbers, or there are none."""
        return self._summary.sketch

    @property
    def mean(self) -> float:
        """NaN without numbers; infinite or NaN if their sums are out of range."""
        return self._center + float(self._summary.moments[0]) / self.n if self.n else np.nan

    @property
    def variance(self) -> float:
        """Sample variance, divisor n − 1; NaN for fewer than two numbers."""
        if self.n < 2:
            return np.nan
        total, squares = self._summary.moments[:2]
        with np.errstate(invalid="ignore", over="ignore"):
            spread = squares - total**2 / self.n
        return float(np.maximum(spread, 0.0)) / (self.n - 1)
