"""Windows of one series → rows of `distances`: what sketches and moments say of numbers beside PSI."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from barograph.contract import Window
from numpy.typing import NDArray

from sketches.baseline.baseline import ALL
from sketches.baseline.layout import EVENTS, IntArray
from sketches.drift.distances import STEP_ERROR, STEP_RANKS, STEPS, ks_statistics, ks_threshold, wasserstein
from sketches.drift.moments import MomentShifts, Spread, kurtosis, moment_shifts
from streams.monitor.state.merged_ranges import MergedRange
from streams.monitor.state.series import Series
from streams.monitor.state.training_reference import TrainingReference
from streams.monitor.verdicts.judge import join_columns
from streams.monitor.windows import described_every_s, stretch_s
from warehouse.dictionary_columns import constant_column, dictionary_column

Columns = dict[str, Any]
FloatArray = NDArray[np.float64]

READ_RANKS = {"p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99}
"""Quantiles that rows show, by column."""
_ASKED = np.concatenate((STEP_RANKS, list(READ_RANKS.values())))
ROWS_AT_ONCE = 512
"""Rows worked on together, of about 8 KB each."""


def describe(
    series: Series,
    window: Window,
    ends_s: list[int],
    lost: NDArray[np.float64],
    whole: NDArray[np.bool_],
    record_seq: int,
    judged_ms: int,
    have: Callable[[int, int], None],
) -> Columns | None:
    """Describe those of the windows of one length that are described at all.

    Args:
        series: whose windows they are.
        window: length and hop.
        ends_s: ends of the windows, ascending.
        lost: lost offsets per window, shape (len(ends_s),): they make the completeness.
        whole: whether the record of this series covers all of the window, shape (len(ends_s),): nothing is called
            different of one that it covers in part.
        record_seq: of the progress record that gave rise to the verdicts.
        judged_ms: the wall clock.
        have: has the panes of [start, end) within reach.

    Returns:
        Columns of `distances`, a row per window and numeric field with a valid number; None where there is none.
    """
    every = described_every_s(window)
    trained = series.trained
    parts: list[Columns] = []
    rows = _Rows(series, window, trained, record_seq, judged_ms)
    for end, gone, is_whole in zip(ends_s, lost.tolist(), whole.tolist(), strict=True):
        if end % every or not trained:
            continue
        rows.add(end, series.summaries.of(series, end - window.length_s, end, stretch_s(window), have), gone, is_whole)
        if len(rows.ends) >= ROWS_AT_ONCE:
            parts.append(rows.columns())
            rows = _Rows(series, window, trained, record_seq, judged_ms)
    if rows.ends:
        parts.append(rows.columns())
    return join_columns(parts)


class _Rows:
    """Rows that are being gathered, one per window and field."""

    def __init__(
        self, series: Series, window: Window, trained: list[TrainingReference], record_seq: int, judged_ms: int
    ) -> None:
        self.series, self.window, self.trained = series, window, trained
        self.record_seq, self.judged_ms = record_seq, judged_ms
        self.ends: list[int] = []
        self.of: list[int] = []
        """Index into `trained`."""
        self.n: list[int] = []
        self.sums: list[FloatArray] = []
        self.quantiles: list[FloatArray] = []
        self.errors: list[float] = []
        self.completeness: list[float] = []
        self.whole: list[bool] = []

    def add(self, end_s: int, summary: MergedRange, lost: float, whole: bool) -> None:
        """Add a window: a row per field with a valid number."""
        events = int(summary.counts[EVENTS])
        layout = self.series.layout
        for i, trained in enumerate(self.trained):
            f = trained.field_index
            n = int(summary.counts[layout.valid_cells(f)].sum())
            if not n:
                continue
            sketch = summary.sketches[f]
            if sketch is not None and sketch.n == n:
                self.quantiles.append(sketch.quantiles(_ASKED))
                self.errors.append(sketch.rank_error)
            else:
                # Of some values the sketch was damaged or never kept: it would describe the others alone.
                self.quantiles.append(np.full(len(_ASKED), np.nan))
                self.errors.append(np.nan)
            self.ends.append(end_s)
            self.of.append(i)
            self.n.append(n)
            self.sums.append(summary.moments[f, :2])
            self.completeness.append(events / max(events + lost, 1) if lost > 0 else 1.0)
            self.whole.append(whole)

    def columns(self) -> Columns:
        """The rows gathered, as columns of `distances`."""
        series, layout = self.series, self.series.layout
        of, ends, n = np.array(self.of), np.array(self.ends), np.array(self.n)
        quantiles = np.stack(self.quantiles)
        fields = np.array([trained.field_index for trained in self.trained])[of]
        phi = self._phi()[of]
        ks, ks_error, w1 = self._compared(of, quantiles[:, :STEPS])
        m = np.array([trained.m for trained in self.trained])[of]
        threshold = np.asarray(ks_threshold(n, m, ks_error, phi))
        moved = self._moved(of, n, kurtosis(quantiles[:, :STEPS]), phi)
        rows = len(of)
        return {
            "model": constant_column(series.contract.model, rows),
            "version": constant_column(series.version, rows),
            "baseline_id": constant_column(series.baseline_id, rows),
            "slice": constant_column(ALL, rows),
            "field": dictionary_column(fields, [field.name for field in layout.fields]),
            "window": constant_column(self.window.name, rows),
            "window_start": ends - self.window.length_s,
            "window_end": ends,
            "n": n,
            "phi": phi,
            "ks": ks,
            "ks_error": ks_error,
            "ks_threshold": threshold,
            "ks_rejects": (ks > threshold) & np.array(self.whole),
            "w1": w1,
            "mean": moved.mean,
            "mean_shift": moved.shift,
            "mean_shift_low": moved.shift_low,
            "mean_shift_high": moved.shift_high,
            "std_ratio": moved.ratio,
            "std_ratio_low": moved.ratio_low,
            "std_ratio_high": moved.ratio_high,
            **{name: quantiles[:, STEPS + i] for i, name in enumerate(READ_RANKS)},
            "completeness": np.array(self.completeness),
            "judged_at": np.full(rows, self.judged_ms, dtype=np.int64),
            "record_seq": np.full(rows, self.record_seq, dtype=np.uint64),
        }

    def _phi(self) -> FloatArray:
        """φ per trained field, of the slice `all` at this length of window."""
        bins = self.series.compiled.bins
        phi = bins.phi(self.window.name)
        groups = bins.groups_in(0)
        found = [groups.get(trained.field_index) for trained in self.trained]
        return np.array([1.0 if group is None else phi[group] for group in found])

    def _compared(self, of: IntArray, steps: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """D̂, its error and W₁ of each row."""
        ks, error, w1 = (np.full(len(of), np.nan) for _ in range(3))
        known = np.isfinite(self.errors)
        for i, trained in enumerate(self.trained):
            rows = np.flatnonzero((of == i) & known)
            if trained.table is None or not len(rows):
                continue
            ks[rows] = ks_statistics(trained.table, steps[rows])
            w1[rows] = wasserstein(trained.table, steps[rows])
            error[rows] = np.array(self.errors)[rows] + STEP_ERROR + trained.table.error
        return ks, error, w1

    def _moved(self, of: IntArray, n: IntArray, kappa: FloatArray, phi: FloatArray) -> MomentShifts:
        sums = np.stack(self.sums)
        mean, std, m, base_kappa = (
            np.array([getattr(trained, name) for trained in self.trained], dtype=np.float64)[of]
            for name in ("mean", "std", "m", "kurtosis")
        )
        return moment_shifts(n, sums[:, 0], sums[:, 1], kappa, Spread(mean, std, m, base_kappa), phi)
