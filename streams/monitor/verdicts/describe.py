"""Describes windows of one series by sketches and moments, as columns of `distances`."""

from collections.abc import Callable

import numpy as np
from barograph.contract import Window
from numpy.typing import NDArray

from barograph_server.sketches.baseline.baseline import ALL
from barograph_server.sketches.baseline.layout import EVENTS, IntArray
from barograph_server.sketches.drift.distances import (
    STEP_ERROR,
    STEP_RANKS,
    STEPS,
    ks_statistics,
    ks_threshold,
    wasserstein,
)
from barograph_server.sketches.drift.moments import MomentShifts, Spread, kurtosis, moment_shifts
from barograph_server.streams.monitor.state.commit_rows import Columns
from barograph_server.streams.monitor.state.merged_ranges import MergedRange
from barograph_server.streams.monitor.state.series import Series
from barograph_server.streams.monitor.verdicts.column_buffer import concat_columns
from barograph_server.streams.monitor.windows import fixed_starts
from barograph_server.warehouse.tables import constant_column, dictionary_column

FloatArray = NDArray[np.float64]

SHOWN_RANKS = {"p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99}
"""Ranks of the quantiles that rows show, by column."""
_RANKS = np.concatenate((STEP_RANKS, list(SHOWN_RANKS.values())))
ROWS_PER_BATCH = 512
"""Rows that are made together, of about 8 KB each."""


def describe(
    series: Series,
    window: Window,
    ends_s: list[int],
    lost: NDArray[np.float64],
    whole: NDArray[np.bool_],
    record_seq: int,
    judged_ms: int,
    merge_window: Callable[[int], MergedRange],
    starts_s: IntArray | None = None,
) -> Columns | None:
    """Describe windows of one length.

    Args:
        ends_s: ends of the windows, ascending.
        lost: lost offsets per window, shape (len(ends_s),), from which the completeness follows.
        whole: whether the history of this series covers the whole window, shape (len(ends_s),); if not, the window is
            never reported as different.
        record_seq: of the progress record that triggers the verdicts.
        merge_window: merges the window of the series that ends at a time.
        starts_s: starts of the windows, shape (len(ends_s),); by default one length before the ends.

    Returns:
        Columns of `distances`, a row per window and numeric field with a valid number; None if there is none.
    """
    chunks: list[Columns] = []
    rows = _DistanceRows(series, window, record_seq, judged_ms)
    firsts_s = (fixed_starts(window, ends_s) if starts_s is None else starts_s).tolist()
    for start_s, end_s, n_lost, is_whole in zip(firsts_s, ends_s, lost.tolist(), whole.tolist(), strict=True):
        if not rows.references:
            continue
        rows.add((start_s, end_s), merge_window(end_s), n_lost, is_whole)
        if len(rows.ranges) >= ROWS_PER_BATCH:
            chunks.append(rows.columns())
            rows = _DistanceRows(series, window, record_seq, judged_ms)
    if rows.ranges:
        chunks.append(rows.columns())
    return concat_columns(chunks)


class _DistanceRows:
    """Collects rows of `distances`, one per window and field."""

    def __init__(self, series: Series, window: Window, record_seq: int, judged_ms: int) -> None:
        self.series, self.window = series, window
        self.references = series.training_references
        self.record_seq, self.judged_ms = record_seq, judged_ms
        self.ranges: list[tuple[int, int]] = []
        """Start and end of the window of each row."""
        self.reference_index: list[int] = []
        """Index into `references`."""
        self.n: list[int] = []
        self.sums: list[FloatArray] = []
        self.quantiles: list[FloatArray] = []
        self.errors: list[float] = []
        self.completeness: list[float] = []
        self.whole: list[bool] = []

    def add(self, range_s: tuple[int, int], merged: MergedRange, lost: float, whole: bool) -> None:
        """Add a window: a row per field with a valid number."""
        events = int(merged.counts[EVENTS])
        layout = self.series.layout
        for i, reference in enumerate(self.references):
            f = reference.field_index
            n = int(merged.counts[layout.valid_cells(f)].sum())
            if not n:
                continue
            summary = merged.numbers[0, f]
            if summary.sketch is not None and summary.sketch.n == n:
                self.quantiles.append(summary.sketch.quantiles(_RANKS))
                self.errors.append(summary.sketch.rank_error)
            else:
                # The sketch does not cover all values: it would describe the others alone.
                self.quantiles.append(np.full(len(_RANKS), np.nan))
                self.errors.append(np.nan)
            self.ranges.append(range_s)
            self.reference_index.append(i)
            self.n.append(n)
            self.sums.append(summary.moments[:2])
            self.completeness.append(events / max(events + lost, 1) if lost > 0 else 1.0)
            self.whole.append(whole)

    def columns(self) -> Columns:
        series, layout = self.series, self.series.layout
        index, ranges, n = np.array(self.reference_index), np.array(self.ranges), np.array(self.n)
        quantiles = np.stack(self.quantiles)
        fields = np.array([reference.field_index for reference in self.references])[index]
        phi = self._phi()[index]
        ks, ks_error, w1 = self._distances(index, quantiles[:, :STEPS])
        m = np.array([reference.m for reference in self.references])[index]
        threshold = np.asarray(ks_threshold(n, m, ks_error, phi))
        shifts = self._moment_shifts(index, n, kurtosis(quantiles[:, :STEPS]), phi)
        rows = len(index)
        return {
            "model": constant_column(series.contract.model, rows),
            "version": constant_column(series.version, rows),
            "baseline_id": constant_column(series.baseline_id, rows),
            "slice": constant_column(ALL, rows),
            "field": dictionary_column(fields, [field.name for field in layout.fields]),
            "window": constant_column(self.window.name, rows),
            "window_start": ranges[:, 0],
            "window_end": ranges[:, 1],
            "n": n,
            "phi": phi,
            "ks": ks,
            "ks_error": ks_error,
            "ks_threshold": threshold,
            "ks_rejects": (ks > threshold) & np.array(self.whole),
            "w1": w1,
            "mean": shifts.mean,
            "mean_shift": shifts.shift,
            "mean_shift_low": shifts.shift_low,
            "mean_shift_high": shifts.shift_high,
            "std_ratio": shifts.ratio,
            "std_ratio_low": shifts.ratio_low,
            "std_ratio_high": shifts.ratio_high,
            **{name: quantiles[:, STEPS + i] for i, name in enumerate(SHOWN_RANKS)},
            "completeness": np.array(self.completeness),
            "judged_at": np.full(rows, self.judged_ms, dtype=np.int64),
            "record_seq": np.full(rows, self.record_seq, dtype=np.uint64),
        }

    def _phi(self) -> FloatArray:
        """Return φ of each referenced field in the slice `all` at this window length."""
        bins = self.series.compiled.bins
        phi = bins.phi(self.window.name)
        groups = bins.groups_in(0)
        of_field = [groups.get(reference.field_index) for reference in self.references]
        return np.array([1.0 if group is None else phi[group] for group in of_field])

    def _distances(self, index: IntArray, steps: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the KS statistic, its error and W₁ of each row."""
        ks, error, w1 = (np.full(len(index), np.nan) for _ in range(3))
        known = np.isfinite(self.errors)
        for i, reference in enumerate(self.references):
            rows = np.flatnonzero((index == i) & known)
            if reference.table is None or not len(rows):
                continue
            ks[rows] = ks_statistics(reference.table, steps[rows])
            w1[rows] = wasserstein(reference.table, steps[rows])
            error[rows] = np.array(self.errors)[rows] + STEP_ERROR + reference.table.error
        return ks, error, w1

    def _moment_shifts(self, index: IntArray, n: IntArray, kappa: FloatArray, phi: FloatArray) -> MomentShifts:
        sums = np.stack(self.sums)
        mean, std, m, base_kappa = (
            np.array([getattr(reference, name) for reference in self.references], dtype=np.float64)[index]
            for name in ("mean", "std", "m", "kurtosis")
        )
        return moment_shifts(n, sums[:, 0], sums[:, 1], kappa, Spread(mean, std, m, base_kappa), phi)
