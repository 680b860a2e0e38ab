"""Describes windows of one series by sketches and moments, as columns of `distances`."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from barograph_server.sketches.baseline.baseline import ALL
from barograph_server.sketches.baseline.layout import EVENTS, IntArray
from barograph_server.sketches.baseline.levels import InsufficientReason
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
from barograph_server.streams.monitor.verdicts.window_counts import WindowSet
from barograph_server.warehouse.tables import constant_column, dictionary_column

FloatArray = NDArray[np.float64]

SHOWN_RANKS = {"p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99}
"""Ranks of the quantiles that rows show, by column."""
_RANKS = np.concatenate((STEP_RANKS, list(SHOWN_RANKS.values())))
ROWS_PER_BATCH = 512
"""Rows that are made together, of about 8 KB each."""


def describe(series: Series, windows: WindowSet, merge_window: Callable[[int], MergedRange]) -> Columns | None:
    """Describe windows of one length; one that is not whole is never reported as different.

    Args:
        merge_window: merges the window of the series that ends at a time.

    Returns:
        Columns of `distances`, a row per window and numeric field with a valid number; None if there is none.
    """
    chunks: list[Columns] = []
    rows = _DistanceRows(series, windows)
    if not rows.references:
        return None
    for w, end_s in enumerate(windows.ends_s.tolist()):
        rows.add(w, merge_window(end_s))
        if len(rows.window_index) >= ROWS_PER_BATCH:
            chunks.append(rows.columns())
            rows = _DistanceRows(series, windows)
    if rows.window_index:
        chunks.append(rows.columns())
    return concat_columns(chunks)


class _DistanceRows:
    """Collects rows of `distances`, one per window and field."""

    def __init__(self, series: Series, windows: WindowSet) -> None:
        self.series, self.windows = series, windows
        self.references = series.training_references
        self.window_index: list[int] = []
        self.reference_index: list[int] = []
        """Index into `references`."""
        self.events: list[int] = []
        """All events of the window of each row."""
        self.n: list[int] = []
        self.sums: list[FloatArray] = []
        self.quantiles: list[FloatArray] = []
        self.errors: list[float] = []

    def add(self, w: int, merged: MergedRange) -> None:
        """Add a window: a row per field with a valid number."""
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
            self.window_index.append(w)
            self.reference_index.append(i)
            self.events.append(int(merged.counts[EVENTS]))
            self.n.append(n)
            self.sums.append(summary.moments[:2])

    def columns(self) -> Columns:
        w, index, n = np.array(self.window_index), np.array(self.reference_index), np.array(self.n)
        quantiles = np.stack(self.quantiles)
        fields = np.array([reference.field_index for reference in self.references])[index]
        phi = self._phi()[index]
        ks, ks_error, w1 = self._distances(index, quantiles[:, :STEPS])
        m = np.array([reference.m for reference in self.references])[index]
        threshold = np.asarray(ks_threshold(n, m, ks_error, phi))
        shifts = self._moment_shifts(index, n, kurtosis(quantiles[:, :STEPS]), phi)
        return {
            **self.windows.columns(w),
            **self.series.columns(len(w)),
            "slice": constant_column(ALL, len(w)),
            "field": dictionary_column(fields, [field.name for field in self.series.layout.fields]),
            "n": n,
            "phi": phi,
            "ks": ks,
            "ks_error": ks_error,
            "ks_threshold": threshold,
            "ks_rejects": (ks > threshold) & (self.windows.gaps[w] == InsufficientReason.none),
            "w1": w1,
            "mean": shifts.mean,
            "mean_shift": shifts.shift,
            "mean_shift_low": shifts.shift_low,
            "mean_shift_high": shifts.shift_high,
            "std_ratio": shifts.ratio,
            "std_ratio_low": shifts.ratio_low,
            "std_ratio_high": shifts.ratio_high,
            **{name: quantiles[:, STEPS + i] for i, name in enumerate(SHOWN_RANKS)},
            "completeness": self.windows.select(w).completeness(np.array(self.events)),
        }

    def _phi(self) -> FloatArray:
        """Return φ of each referenced field in the slice `all` at this window length."""
        bins = self.series.compiled.bins
        phi = bins.phi(self.windows.window.name)
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
