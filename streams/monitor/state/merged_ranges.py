"""Moments and sketches merged over ranges of time, each merged once for all the windows that contain it.

A daily window is described four times a day and a weekly one every second day, and each description merges the whole
window. To avoid merging a pane again for each of them, a window is merged from ranges
(`windows.merged_range_lengths`), a range from shorter ranges or hours, and an hour from panes. Every range can be
rebuilt from panes, so it may be dropped at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import structlog
from barograph.contract import SECONDS_PER_HOUR

from barograph_server.sketches.baseline.columns import FieldColumn
from barograph_server.sketches.baseline.layout import IntArray, Layout
from barograph_server.sketches.sketch.merge import NumberSummary, merge_moments
from barograph_server.sketches.sketch.numeric import NumericSketch
from barograph_server.streams.monitor.state.pane import OBJECT_BYTES, Pane, SliceField
from barograph_server.streams.monitor.state.series import Series
from barograph_server.streams.monitor.windows import merged_range_lengths
from barograph_server.streams.records import RecordError

log = structlog.get_logger()

ARM = "arm"
"""Source of the slices that are arms of a test."""
RangeKey = tuple[int, int]
"""Length and start in seconds."""
EnsureLoaded = Callable[[int, int], None]
"""Makes the panes of [start, end) readable: in memory, or evicted."""


class MergedRange:
    """Counts of the slice `all` in a range of time, and the numbers of `all` and of the arms.

    Attributes:
        counts: of the slice `all`, shape (width,).
        numbers: numeric fields by slice and field, if there was a value. A summary is incomplete if a pane had values
            of the slice `all` without a sketch, or if a sketch could not be opened or differs in type. Whether an
            arm's summary covers all of its values is up to the reader to check, by `NumberSummary.counted`.
    """

    __slots__ = ("_moments", "counts", "numbers")

    def __init__(self, layout: Layout) -> None:
        self.counts: IntArray = np.zeros(layout.width, dtype=np.int64)
        self.numbers: dict[SliceField, NumberSummary] = {}
        self._moments = layout.empty_moments()
        """Shape (n_fields, N_MOMENTS), of the slice `all`; the summaries of its fields have views of the rows."""

    @property
    def n_bytes(self) -> int:
        """Approximate size in memory."""
        return self.counts.nbytes + sum(OBJECT_BYTES + summary.n_bytes for summary in self.numbers.values())

    def add_pane(self, series: Series, pane: Pane) -> None:
        """Add a pane or a merged hour; a sketch that cannot be opened is logged and makes its summary incomplete."""
        layout = series.layout
        self.counts += pane.counts[0]
        merge_moments(self._moments, pane.moments)
        for i, n in enumerate(_count_values(layout, pane).tolist()):
            if n and layout.fields[i].kind == "numeric":
                sketch = _open(series, pane, i, pane.sketches[i]) if pane.sketches[i] else None
                self._add((0, i), NumberSummary.counted(n, pane.moments[i], sketch), reuse=True)
        arms = layout.slices_by(ARM)
        for (s, f), encoded in pane.slice_sketches.items():
            if s in arms:
                sketch = _open(series, pane, f, encoded.sketch)
                summary = NumberSummary(encoded.moments.copy(), sketch, complete=sketch is not None)
                self._add((s, f), summary, reuse=True)

    def add(self, other: MergedRange) -> None:
        self.counts += other.counts
        merge_moments(self._moments, other._moments)
        for key, summary in other.numbers.items():
            self._add(key, summary, reuse=False)

    def _add(self, key: SliceField, summary: NumberSummary, *, reuse: bool) -> None:
        """Add a summary; the moments of the slice `all` are merged already, for all fields at once."""
        present = self.numbers.get(key)
        if present is None:
            added = summary if reuse else summary.copy()
            self.numbers[key] = added if key[0] else NumberSummary(self._moments[key[1]], added.sketch, added.complete)
            return
        were_complete = present.complete and summary.complete
        if key[0]:
            present.merge(summary, reuse=reuse)
        else:
            present.merge_sketch(summary, reuse=reuse)
        if were_complete and not present.complete:
            log.error("sketch dropped", slice=key[0], field=key[1], error="the sketches differ in type")


def _count_values(layout: Layout, pane: Pane) -> IntArray:
    """Count the valid values of each field in the slice `all`, shape (n_fields,)."""
    ends = np.zeros(layout.width + 1, dtype=np.int64)
    np.cumsum(pane.counts[0], out=ends[1:])
    return ends[layout.columns(FieldColumn.NULL)] - ends[layout.starts]


def _open(series: Series, pane: Pane, field_index: int, data: bytes) -> NumericSketch | None:
    sketch, reason = None, "the contract requests another type of sketch by now"
    try:
        sketch = series.codec.open_if_same_type(field_index, data)
    except RecordError as error:
        reason = str(error)
    if sketch is None:
        log.error("sketch dropped", field=series.layout.fields[field_index].name, start_s=pane.start_s, error=reason)
    return sketch


class MergedRanges:
    def __init__(self, series: Series) -> None:
        self._series = series
        self._ranges: dict[RangeKey, MergedRange] = {}
        self._lengths: set[int] = set()

    def __len__(self) -> int:
        return len(self._ranges)

    def sizes(self) -> list[tuple[RangeKey, int]]:
        """The ranges in memory and the approximate size of each in bytes."""
        return [(key, merged.n_bytes) for key, merged in self._ranges.items()]

    def invalidate(self, pane_start_s: int) -> None:
        """Drop every range that contains a pane, because the pane changed."""
        for length_s in self._lengths:
            self._ranges.pop((length_s, pane_start_s // length_s * length_s), None)

    def drop(self, keys: Iterable[RangeKey]) -> None:
        for key in keys:
            self._ranges.pop(key, None)

    def clear(self) -> None:
        self._ranges.clear()

    def drop_expired(self, sealed_until_s: int) -> None:
        """Drop the ranges that no window which ends after `sealed_until_s` contains."""
        reach_s = merged_range_lengths(self._series.contract)
        self.drop([(n, start) for n, start in self._ranges if start + n <= sealed_until_s - reach_s.get(n, 0)])

    def store_rollup(self, length_s: int, rollup: Pane) -> None:
        """Take over the merge of a rollup, if windows are merged from ranges of its length."""
        key = length_s, rollup.start_s
        if length_s in merged_range_lengths(self._series.contract) and key not in self._ranges:
            self._store(key, MergedRange(self._series.layout)).add_pane(self._series, rollup)

    def merge(self, start_s: int, end_s: int, length_s: int, ensure_loaded: EnsureLoaded) -> MergedRange:
        """Merge [start, end) from ranges of one length, which are built and stored if they are missing.

        Args:
            start_s: a multiple of the length.
            length_s: a key of `windows.merged_range_lengths`, or the length of a pane.
            ensure_loaded: called before panes are read.
        """
        series = self._series
        total = MergedRange(series.layout)
        if length_s == series.contract.pane_s:
            ensure_loaded(start_s, end_s)
            for pane in series.iter_panes(start_s, end_s):
                total.add_pane(series, pane)
            return total
        shorter_s = self._shorter_length_s(length_s)
        for at_s in range(start_s, end_s, length_s):
            merged = self._ranges.get((length_s, at_s))
            if merged is None:
                ensure_shorter = ensure_loaded
                if length_s <= SECONDS_PER_HOUR:
                    # Load once for all the shorter ranges.
                    ensure_loaded(at_s, at_s + length_s)
                    ensure_shorter = _already_loaded
                merged = self.merge(at_s, at_s + length_s, shorter_s, ensure_shorter)
                self._store((length_s, at_s), merged)
            total.add(merged)
        return total

    def _store(self, key: RangeKey, merged: MergedRange) -> MergedRange:
        self._lengths.add(key[0])
        self._ranges[key] = merged
        return merged

    def _shorter_length_s(self, length_s: int) -> int:
        """The length of the ranges that a range is merged from: the longest that divides it, else that of a pane."""
        lengths = merged_range_lengths(self._series.contract)
        return max((n for n in lengths if n < length_s and length_s % n == 0), default=self._series.contract.pane_s)


def _already_loaded(start_s: int, end_s: int) -> None:
    """Do nothing."""


def enforce_budget(of_series: Sequence[MergedRanges], budget_bytes: int) -> None:
    """Drop ranges beyond a budget, short and old ones first: long ones were merged from them."""
    sizes = [(key, size, ranges) for ranges in of_series for key, size in ranges.sizes()]
    total = sum(size for _, size, _ in sizes)
    for key, size, ranges in sorted(sizes, key=lambda entry: entry[0]):
        if total <= budget_bytes:
            return
        ranges.drop([key])
        total -= size
