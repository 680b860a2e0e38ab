"""Judges windows of one series, as columns of `drift` and `rates`: all fields and slices of many windows at once."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from barograph_server.sketches.baseline.layout import ERRORS, EVENTS, IntArray
from barograph_server.sketches.baseline.levels import LEVEL_NAMES, REASON_NAMES, InsufficientReason, Level
from barograph_server.sketches.drift.distances import jensen_shannon
from barograph_server.sketches.drift.fdr import q_values
from barograph_server.sketches.drift.few_windows import false_major_share, p_values, phi_of_verdicts
from barograph_server.sketches.drift.mean_rank import base_window, mean_rank_p, mean_ranks
from barograph_server.sketches.drift.psi import Expectation, psi_verdicts
from barograph_server.sketches.drift.rates import RATE_KIND_NAMES, RATE_KINDS, rate_verdicts
from barograph_server.streams.monitor.state.commit_rows import Columns
from barograph_server.streams.monitor.state.series import Series
from barograph_server.streams.monitor.verdicts.column_buffer import ColumnBuffer
from barograph_server.streams.monitor.verdicts.window_counts import WindowSet, seasonal_expectation, window_counts
from barograph_server.warehouse.tables import constant_column, dictionary_column

IndexArray = NDArray[np.integer[Any]]
"""Indices of slices or fields in a layout."""
WINDOWS_PER_BATCH = 64
COUNTS_PER_BATCH = 3_000_000
"""Most counts of the windows in a batch, 8 bytes each; bounds the memory for a wide model."""
CELLS_PER_STEP = 125_000
"""Counts of slices in windows that are judged in one step; the intermediate results of each take 200 bytes."""
ROWS_PER_YIELD = 50_000
"""Rows of both tables that are yielded together, of about 200 bytes each."""
ERROR_KIND = "error"
ERROR_FIELD = "events"
"""Field name of rates that count events themselves."""
_LEVELS = pa.array(LEVEL_NAMES)
_REASONS = pa.array(REASON_NAMES)
_KINDS = pa.array(RATE_KIND_NAMES)
_SEASONS = pa.array(["none", "hour_of_week"])


def judge(
    series: Series, windows: WindowSet, *, always: NDArray[np.bool_] | None = None
) -> Iterator[tuple[Columns | None, Columns | None]]:
    """Judge windows of one length, and yield verdicts as they are made.

    Args:
        series: its panes or hours are readable for all of the windows.
        always: which windows get verdicts even without events, shape (W,); none by default.

    Yields:
        Columns of `drift` and of `rates`, about `ROWS_PER_YIELD` rows; None if a table has no rows.
    """
    if not series.layout.baseline.rows:
        windows = replace(windows, gaps=np.full_like(windows.gaps, InsufficientReason.no_baseline))
    drift, rates = ColumnBuffer(), ColumnBuffer()
    layout = series.layout
    n_windows = max(1, min(WINDOWS_PER_BATCH, COUNTS_PER_BATCH // (layout.n_slices * layout.width)))
    for first in range(0, len(windows.ends_s), n_windows):
        chosen = slice(first, first + n_windows)
        batch_windows = windows.select(chosen)
        counts = window_counts(series, batch_windows)
        judged = (counts[:, 0, EVENTS] > 0) | (False if always is None else always[chosen])
        if not judged.all():
            if not judged.any():
                continue
            batch_windows, counts = batch_windows.select(judged), counts[judged]
        batch = _WindowBatch(series, batch_windows, counts)
        for slices in batch.slice_masks():
            drift.add(batch.drift(slices))
            rates.add(batch.rates(slices))
            if drift.n + rates.n >= ROWS_PER_YIELD:
                yield drift.drain(), rates.drain()
        rates.add(batch.error_rates())
    yield drift.drain(), rates.drain()


class _WindowBatch:
    """Some windows of one series with their counts."""

    def __init__(self, series: Series, windows: WindowSet, counts: IntArray) -> None:
        self.series, self.windows, self.window, self.counts = series, windows, windows.window, counts
        self.completeness = windows.completeness(counts[:, 0, EVENTS])

    @cached_property
    def seasonal(self) -> Expectation | None:
        """Expected shares by the hours of the week; None if the windows are judged by the whole week."""
        return seasonal_expectation(self.series, self.windows)

    def slice_masks(self) -> list[NDArray[np.bool_]]:
        """Split the slices that have a row in any window into steps, each a mask of shape (n_slices,)."""
        layout = self.series.layout
        indices = np.arange(layout.n_slices)
        judged = np.flatnonzero(self.has_row(indices).any(axis=0))
        per_step = max(1, CELLS_PER_STEP // (len(self.counts) * layout.width))
        return [np.isin(indices, judged[i : i + per_step]) for i in range(0, len(judged), per_step)]

    def has_row(self, slice_index: IndexArray) -> NDArray[np.bool_]:
        """Whether slices have rows, shape (W, G): `all` always, others from the contract's minimum of events on."""
        minimum = np.maximum(self.series.contract.slice_min_n, 1)
        events = self.counts[:, :, EVENTS].take(slice_index, axis=1)
        has_row: NDArray[np.bool_] = (slice_index == 0)[None, :] | (events >= minimum)
        return has_row

    def common(self, where: tuple[Any, ...], slice_index: IndexArray, field: pa.Array) -> Columns:
        """Return the columns that both tables share.

        Args:
            where: window and group indices of the rows, each (n,).
            slice_index: of each group, shape (G,).
            field: field name of each row, shape (n,).
        """
        w, g = where
        return {
            **self.windows.columns(w),
            **self.series.columns(len(w)),
            "slice": dictionary_column(slice_index[g], self.series.layout.slices),
            "field": field,
            "completeness": self.completeness[w],
        }

    def levels(self, level: NDArray[np.int8], reason: NDArray[np.int8], w: IntArray) -> Columns:
        """Return the columns of each row's level and its reason.

        Args:
            level: of each row, shape (n,).
            reason: of each row, shape (n,).
            w: window of each row, shape (n,).
        """
        gap = self.windows.gaps[w]
        return {
            "level": dictionary_column(np.where(gap, Level.insufficient, level), _LEVELS),
            "reason": dictionary_column(np.where(gap, gap, reason), _REASONS),
        }

    def field_names(self, field_index: IndexArray) -> pa.Array:
        """Return the name of each row's field, shape (n,)."""
        return dictionary_column(field_index, [field.name for field in self.series.layout.fields])

    def weights(self) -> NDArray[np.float64]:
        """Return the contract's weight of each field of the layout, shape (n_fields,)."""
        weights = {field.name: field.weight for field in self.series.contract.fields}
        return np.array([weights.get(field.name, 1.0) for field in self.series.layout.fields])

    def seasons(self, is_seasonal: bool, g: IntArray) -> pa.Array:
        """Return the reference of each row's window, the hours of the week or the whole week, shape (n,).

        Args:
            is_seasonal: whether the windows are judged by the hours of the week at all.
            g: group of each row, shape (n,).
        """
        season = self.series.compiled.season
        chosen = np.isin(g, season.groups) if is_seasonal and season is not None else np.zeros(len(g), dtype=bool)
        return dictionary_column(chosen, _SEASONS)

    def drift(self, slices: NDArray[np.bool_]) -> Columns:
        """Return rows of `drift` of some slices, a mask of shape (n_slices,)."""
        all_bins = self.series.compiled.bins
        if not all_bins.n_groups:
            return {}
        thresholds = self.series.contract.thresholds
        # Computed for all groups, so that the groups chosen from them do not compute it again.
        windows = self.series.contract.windows
        for window in (self.window, base_window(self.window, windows)):
            all_bins.trained(window.name)
        chosen = slices[all_bins.slice_index]
        bins = all_bins.select(chosen)
        if not bins.n_groups:
            return {}
        phi = phi_of_verdicts(bins, self.window.name, self.series.contract.phi)
        window_bins = bins.window_bins(self.counts)
        has_row = self.has_row(bins.slice_index)
        expected = self.seasonal
        if expected is not None and bins is not all_bins:
            chosen_bins = all_bins.of_bins(chosen)
            expected = Expectation(expected.share[:, chosen_bins], expected.p[:, chosen_bins], expected.m[:, chosen])
        verdicts = psi_verdicts(
            bins.base_bins,
            window_bins,
            bins.starts,
            phi=phi,
            nu=bins.nu(self.window.name),
            thresholds=(thresholds.minor, thresholds.major),
            noise=bins.noise,
            expected=expected,
            completeness=self.completeness,
        )
        p = p_values(verdicts, bins, self.window.name, phi)
        q = q_values(
            p,
            self.weights()[bins.field_index],
            family=bins.slice_index,
            compared=has_row & verdicts.enough & (self.windows.gaps == InsufficientReason.none)[:, None],
        )
        js = jensen_shannon(bins.base_bins if expected is None else expected.share, window_bins, bins.starts)
        ranks = mean_ranks(bins, window_bins)
        where = np.nonzero(has_row)
        w, g = where
        top = verdicts.top_bin[where]
        top_flat = bins.starts[g] + np.maximum(top, 0)
        m = np.add.reduceat(bins.base_bins, bins.starts)[g]
        share = bins.base_bins[top_flat] / m if expected is None else expected.share[w, top_flat]
        n = verdicts.n[where]
        codes, labels = self.series.compiled.labels
        top_code = np.where(top >= 0, codes[all_bins.of_bins(chosen)][top_flat], len(labels) - 1)
        columns = self.common(where, bins.slice_index, self.field_names(bins.field_index[g]))
        columns |= {
            "n": n,
            "psi": verdicts.psi[where],
            "psi_low": verdicts.low[where],
            "psi_high": verdicts.high[where],
            "js": js[where],
            "p_value": p[where],
            "q_value": q[where],
            "df": verdicts.df[where].astype(np.float64),
            "phi": phi[g],
            "season": self.seasons(expected is not None, np.flatnonzero(chosen)[g]),
            **self.levels(verdicts.level[where], verdicts.reason[where], w),
            "threshold_minor": np.full(len(w), thresholds.minor),
            "threshold_major": np.full(len(w), thresholds.major),
            "top_bin": dictionary_column(top_code, labels),
            "top_bin_index": top.astype(np.int32),
            "expected_share": share,
            "actual_share": window_bins[w, top_flat] / np.maximum(n, 1),
            "visible_shift": verdicts.visible_shift[where],
            "readings": verdicts.n_h[where],
            "readings_needed": verdicts.n_star[where],
            "mean_rank": ranks.d[where] + 0.5,
            "mean_p": mean_rank_p(bins, ranks, self.window, windows)[where],
            "false_major": false_major_share(verdicts, bins, self.window.name, phi, thresholds)[where],
        }
        return columns

    def rates(self, slices: NDArray[np.bool_]) -> Columns:
        """Return rows of `rates` of some slices, a mask of shape (n_slices,); those of errors excepted."""
        all_cells = self.series.compiled.rates
        # Computed for all groups, so that the groups chosen from them do not compute it again.
        all_cells.trained(self.window.name)
        cells = all_cells.select(slices[all_cells.slice_index])
        if not cells.n_groups:
            return {}
        k, n = cells.k(self.counts), cells.n(self.counts)
        # The slice `all` always has a row; other slices only for kinds that training or the window contains.
        chosen = self.has_row(cells.slice_index) & ((cells.slice_index == 0)[None, :] | (k > 0) | (cells.base_k > 0))
        where = np.nonzero(chosen)
        kinds = dictionary_column(cells.kind_index[where[1]], _KINDS)
        names = self.field_names(cells.field_index[where[1]])
        trained = cells.phi(self.window.name), cells.training_delta(self.window.name)
        base = (cells.base_k, cells.base_n, cells.base_phi)
        thresholds = [kind.thresholds_of(self.series.contract) for kind in RATE_KINDS]
        minor, major = np.array([(limits.minor, limits.major) for limits in thresholds]).T[:, cells.kind_index]
        return self._rate_columns(
            where, cells.slice_index, names, kinds, k[where], n[where], base, trained, (minor, major)
        )

    def error_rates(self) -> Columns:
        """Return rows of failed predictions, compared with none: training has no requests that fail."""
        layout = self.series.layout
        slice_index = np.arange(layout.n_slices)
        where = np.nonzero(self.has_row(slice_index))
        k, n = self.counts[:, :, ERRORS], self.counts[:, :, EVENTS]
        names, kinds = (constant_column(text, len(where[0])) for text in (ERROR_FIELD, ERROR_KIND))
        rows = np.full(layout.n_slices, max(layout.baseline.rows, 1), dtype=np.int64)
        zeros = np.zeros(layout.n_slices, dtype=np.int64)
        one = np.ones(layout.n_slices)
        thresholds = self.series.contract.rate_thresholds
        limits = one * thresholds.minor, one * thresholds.major
        return self._rate_columns(
            where, slice_index, names, kinds, k[where], n[where], (zeros, rows, one), (one, 0.0 * one), limits
        )

    def _rate_columns(
        self,
        where: tuple[Any, ...],
        slice_index: IndexArray,
        names: pa.Array,
        kinds: pa.Array,
        k: IntArray,
        n: IntArray,
        base: tuple[IntArray, IntArray, NDArray[np.float64]],
        trained: tuple[NDArray[np.float64], NDArray[np.float64]],
        thresholds: tuple[NDArray[np.float64], NDArray[np.float64]],
    ) -> Columns:
        """Return rows of `rates`.

        Args:
            where: window and group indices of the rows, each (r,).
            slice_index: of each group, shape (G,).
            names: field name of each row, shape (r,).
            kinds: kind of each row, shape (r,).
            k: counted events of each row, shape (r,).
            n: all events of each row, shape (r,).
            base: per group the counted training rows, all training rows and their overdispersion, each (G,).
            trained: overdispersion of each group's windows, and `TrainingRate.delta`, each (G,).
            thresholds: minor and major threshold of each group, each (G,).
        """
        g = where[1]
        minor, major = (values[g] for values in thresholds)
        phi, training_delta = (values[g] for values in trained)
        base_k, base_n, base_phi = (values[g] for values in base)
        verdicts = rate_verdicts(
            k,
            n,
            base_k,
            base_n,
            phi=phi,
            base_phi=base_phi,
            training_delta=training_delta,
            thresholds=(minor, major),
            completeness=self.completeness[where[0]],
        )
        columns = self.common((where[0], g), slice_index, names)
        columns |= {
            "kind": kinds,
            "n": n,
            "k": k,
            "rate": verdicts.rate,
            "baseline_rate": verdicts.baseline_rate,
            "delta": verdicts.delta,
            "delta_low": verdicts.low,
            "delta_high": verdicts.high,
            "p_value": verdicts.p_value,
            "phi": phi,
            "training_delta": training_delta,
            **self.levels(verdicts.level, verdicts.reason, where[0]),
            "threshold_minor": minor,
            "threshold_major": major,
        }
        return columns
