"""Moments and sketches of `all` and of arms over stretches of time, merged once for every window that holds them.

A day is described four times a day and a week every second day, and each description merges what its window holds. So
that no pane is merged again for each, a window is merged from stretches (`windows.stretch_s`), these from shorter ones
or from hours, and hours from panes. What is held can always be made again from panes, so it may be dropped at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import structlog
from barograph.contract import SECONDS_PER_HOUR
from numpy.typing import NDArray

from sketches.baseline.layout import IntArray, Layout
from sketches.sketch.envelope import MixedSketches
from sketches.sketch.merge import merge_moments
from sketches.sketch.numeric import NumericSketch
from streams.monitor.windows import stretches_s
from streams.records import RecordError

if TYPE_CHECKING:
    from streams.monitor.state.series import Pane, Series

log = structlog.get_logger()

ARM = "arm"
"""Source of the slices that are arms of a test."""
Stretch = tuple[int, int]
"""Length and start in seconds."""


class Kept:
    """Moments and sketch of a numeric field in one slice."""

    __slots__ = ("moments", "sketch")

    def __init__(self, moments: NDArray[np.float64], sketch: NumericSketch) -> None:
        self.moments, self.sketch = moments.copy()[None], sketch

    def add(self, moments: NDArray[np.float64], sketch: NumericSketch) -> None:
        """Add more values; where the kinds of sketches differ nothing, so that n tells of it."""
        try:
            self.sketch.merge(sketch)
        except MixedSketches as error:
            log.error("sketch left out", error=str(error))
            return
        merge_moments(self.moments, moments[None])


class MergedRange:
    """What the slice `all` of a stretch of time held, and what was kept of the numbers of arms.

    Attributes:
        counts: shape (width,).
        moments: shape (n_fields, N_MOMENTS).
        sketches: one per field; None for categories, and where nothing was seen or a sketch could not be opened, so
            that its n may be less than what was counted.
        kept: by slice and field, of arms alone; where it was not kept of all values, its n is less than what was
            counted.
    """

    __slots__ = ("counts", "kept", "moments", "sketches")

    def __init__(self, layout: Layout) -> None:
        self.counts: IntArray = np.zeros(layout.width, dtype=np.int64)
        self.moments: NDArray[np.float64] = layout.empty_moments()
        self.sketches: list[NumericSketch | None] = [None] * layout.n_fields
        self.kept: dict[tuple[int, int], Kept] = {}

    @property
    def n_bytes(self) -> int:
        """What it takes in memory, about."""
        sketches = sum(sketch.n_bytes for sketch in self.sketches if sketch is not None)
        sketches += sum(each.sketch.n_bytes for each in self.kept.values())
        return self.counts.nbytes + self.moments.nbytes + sketches

    def add_pane(self, series: Series, pane: Pane) -> None:
        """Add a pane or merged hour; what of it cannot be opened is left out and reported."""
        self._add_sums(pane.counts[0], pane.moments)
        for i, field in enumerate(series.layout.fields):
            if field.kind != "numeric" or not pane.sketches[i]:
                continue
            try:
                sketch = series.open_sketch(i, pane.sketches[i])
            except RecordError as error:
                log.error("sketch left out", field=field.name, pane_start=pane.start_s, error=str(error))
                continue
            assert isinstance(sketch, NumericSketch)
            self._add_sketch(i, sketch, own=True)
        arms = series.layout.slices_by(ARM)
        for (s, f), each in pane.kept.items():
            if s not in arms:
                continue
            try:
                opened = series.open_kept(f, each.sketch)
            except RecordError as error:
                log.error("sketch left out", pane_start=pane.start_s, error=str(error))
                continue
            if opened is not None:
                self._add_kept((s, f), each.moments, opened, own=True)

    def add(self, other: MergedRange) -> None:
        """Add another stretch, which stays as it is."""
        self._add_sums(other.counts, other.moments)
        for i, sketch in enumerate(other.sketches):
            if sketch is not None:
                self._add_sketch(i, sketch, own=False)
        for place, each in other.kept.items():
            self._add_kept(place, each.moments[0], each.sketch, own=False)

    def _add_sums(self, counts: IntArray, moments: NDArray[np.float64]) -> None:
        self.counts += counts
        merge_moments(self.moments, moments)

    def _add_kept(
        self, place: tuple[int, int], moments: NDArray[np.float64], sketch: NumericSketch, *, own: bool
    ) -> None:
        held = self.kept.get(place)
        if held is None:
            self.kept[place] = Kept(moments, sketch if own else sketch.copy())
        else:
            held.add(moments, sketch)

    def _add_sketch(self, i: int, sketch: NumericSketch, *, own: bool) -> None:
        held = self.sketches[i]
        if held is None:
            self.sketches[i] = sketch if own else sketch.copy()
            return
        try:
            held.merge(sketch)
        except MixedSketches as error:
            log.error("sketch left out", error=str(error))


class MergedRanges:
    """The stretches of one series that are held."""

    def __init__(self) -> None:
        self._held: dict[Stretch, MergedRange] = {}
        self._lengths: set[int] = set()

    def __len__(self) -> int:
        return len(self._held)

    def sizes(self) -> list[tuple[Stretch, int]]:
        """What is held, and about how many bytes each takes."""
        return [(stretch, summary.n_bytes) for stretch, summary in self._held.items()]

    def touch(self, at_s: int) -> None:
        """Drop every stretch that holds a pane: it changed."""
        for length in self._lengths:
            self._held.pop((length, at_s // length * length), None)

    def drop(self, stretches: Iterable[Stretch]) -> None:
        """Drop stretches."""
        for stretch in stretches:
            self._held.pop(stretch, None)

    def clear(self) -> None:
        """Drop everything."""
        self._held.clear()

    def forget(self, series: Series, until_s: int) -> None:
        """Drop what no window that ends after a moment holds."""
        reach = stretches_s(series.contract)
        self.drop([(n, start) for n, start in self._held if start + n <= until_s - reach.get(n, 0)])

    def offer(self, series: Series, length_s: int, merged: Pane) -> None:
        """Hold what was merged of a stretch anyway, if windows are made of such and it is not held."""
        stretch = length_s, merged.start_s
        if length_s in stretches_s(series.contract) and stretch not in self._held:
            self._hold(stretch, MergedRange(series.layout)).add_pane(series, merged)

    def _hold(self, stretch: Stretch, summary: MergedRange) -> MergedRange:
        self._lengths.add(stretch[0])
        self._held[stretch] = summary
        return summary

    def of(
        self, series: Series, start_s: int, end_s: int, length_s: int, have: Callable[[int, int], None]
    ) -> MergedRange:
        """Merge the stretches of one length that make up [start, end).

        Args:
            series: whose summaries these are.
            start_s: a multiple of the length.
            end_s: another one.
            length_s: a key of `windows.stretches_s`, or that of a pane.
            have: has the panes of [start, end) within reach.
        """
        whole = MergedRange(series.layout)
        if length_s == series.contract.pane_s:
            have(start_s, end_s)
            for pane in series.every(start_s, end_s):
                whole.add_pane(series, pane)
            return whole
        shorter = self._shorter(series, length_s)
        for at in range(start_s, end_s, length_s):
            partial = self._held.get((length_s, at))
            if partial is None:
                bring = have
                if length_s <= SECONDS_PER_HOUR:
                    # Once for all that it is made of.
                    have(at, at + length_s)
                    bring = _is_there
                partial = self._hold((length_s, at), self.of(series, at, at + length_s, shorter, bring))
            whole.add(partial)
        return whole

    def _shorter(self, series: Series, length_s: int) -> int:
        """What a stretch is merged from: the longest that fits in whole, else panes."""
        fitting = [n for n in stretches_s(series.contract) if n < length_s and length_s % n == 0]
        return max(fitting, default=series.contract.pane_s)


def _is_there(start_s: int, end_s: int) -> None:
    """Bring nothing: the panes are within reach."""


def over_budget(every: Sequence[MergedRanges], budget_bytes: int) -> None:
    """Drop what exceeds a budget: short and old stretches first, since long ones were made of them."""
    sizes = [(stretch, size, summaries) for summaries in every for stretch, size in summaries.sizes()]
    total = sum(size for _, size, _ in sizes)
    for stretch, size, summaries in sorted(sizes, key=lambda entry: entry[0]):
        if total <= budget_bytes:
            return
        summaries.drop([stretch])
        total -= size
