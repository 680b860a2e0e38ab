"""Windows of one series → rows of `drift` and `rates`: all fields and slices of many windows at once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from barograph.contract import Window
from numpy.typing import NDArray

from sketches.baseline.layout import ERRORS, EVENTS, IntArray
from sketches.baseline.levels import LEVEL_NAMES, Level
from sketches.drift.distances import jensen_shannon
from sketches.drift.fdr import q_values
from sketches.drift.psi import Expectation, psi_verdicts
from sketches.drift.rates import RATE_KIND_NAMES, RATE_KINDS, rate_verdicts
from streams.hour_of_week import slot_unit_s, slots_of
from streams.monitor.state.series import Series
from streams.monitor.windows import step_s
from warehouse.dictionary_columns import constant_column, dictionary_column

Columns = dict[str, Any]
Places = NDArray[np.integer[Any]]
"""Positions of slices or fields in a layout."""
WINDOWS_AT_ONCE = 64
COUNTS_AT_ONCE = 3_000_000
"""… and no more of them than hold so many counts, 8 bytes each, so that a wide model's take little memory."""
CELLS_AT_ONCE = 125_000
"""Counts of some slices in some windows that are judged together: what is worked out of each takes 200 bytes."""
ROWS_AT_ONCE = 50_000
"""Rows of a table that are handed over together, about 200 bytes each."""
ERROR_KIND = "error"
ERROR_FIELD = "events"
"""What stands for a field where a rate is of the events themselves."""
_LEVELS = pa.array(LEVEL_NAMES)
_KINDS = pa.array(RATE_KIND_NAMES)
_SEASONS = pa.array(["none", "hour_of_week"])


def window_counts(series: Series, window: Window, ends_s: list[int], slices: slice = slice(None)) -> IntArray:
    """Sum windows, shape (len(ends_s), n_slices, width), of all slices or some; `ends_s` ascends."""
    step = step_s(series.contract, window)
    n_slices = len(range(*slices.indices(series.layout.n_slices)))
    summed = np.zeros((len(ends_s), n_slices, series.layout.width), dtype=np.int64)
    total = np.zeros(summed.shape[1:], dtype=np.int64)
    start = until = ends_s[0] - window.length_s
    for i, end in enumerate(ends_s):
        # From one window to the next some steps come in and some go out.
        first = end - window.length_s
        if first >= until:
            total[:] = 0
            start = until = first
        for counts in series.steps(start, first, step):
            total -= counts[slices]
        for counts in series.steps(until, end, step):
            total += counts[slices]
        start, until = first, end
        summed[i] = total
    return summed


def seasonal_expectation(series: Series, window: Window, ends_s: list[int]) -> Expectation | None:
    """What windows should hold by the hours of the week that they lie in; None where the whole week judges.

    That takes a contract that asks for it and a baseline that holds the hours; `ends_s` ascends.
    """
    season = series.compiled.season
    if season is None or not len(season.groups) or series.contract.season != "hour_of_week":
        return None
    step = step_s(series.contract, window)
    first = ends_s[0] - window.length_s
    cells = series.stack(first, ends_s[-1], step, slice(1))[:, 0, series.compiled.row_cells]
    n_cells = series.layout.n_cells
    events = np.add.reduceat(cells, np.cumsum(n_cells) - n_cells, axis=1)[:, season.fields]
    summed = np.zeros((len(events) + 1, len(season.fields)), dtype=np.int64)
    np.cumsum(events, axis=0, out=summed[1:])
    unit_s = slot_unit_s(series.contract.pane_s)
    starts = first + np.arange(len(events)) * step
    begins = np.flatnonzero(np.diff(starts // unit_s, prepend=-1))
    slots, of_unit = np.unique(slots_of(starts[begins], unit_s, season.timezone), return_inverse=True)
    end = (np.array(ends_s) - first) // step
    start = end - window.length_s // step
    n = np.zeros((len(ends_s), len(slots), len(season.fields)), dtype=np.int64)
    for slot, begin, until in zip(of_unit.tolist(), begins.tolist(), [*begins[1:].tolist(), len(events)], strict=True):
        n[:, slot] += summed[np.clip(until, start, end)] - summed[np.clip(begin, start, end)]
    return season.expectation(slots.tolist(), n)


def judge(
    series: Series,
    window: Window,
    ends_s: list[int],
    lost: NDArray[np.float64],
    whole: NDArray[np.bool_],
    record_seq: int,
    judged_ms: int,
    *,
    always: NDArray[np.bool_],
) -> Iterator[tuple[Columns | None, Columns | None]]:
    """Judge windows of one length, and hand over verdicts as they are made.

    Args:
        series: whose panes are within reach for all of the windows.
        window: length and hop.
        ends_s: ends of the windows, ascending.
        lost: lost offsets per window, shape (len(ends_s),): they make the completeness.
        whole: whether the record of this series covers all of the window, shape (len(ends_s),). A day of which
            only the morning was recorded is no day: its level is `insufficient`, whatever its PSI.
        record_seq: of the progress record that gave rise to the verdicts.
        judged_ms: the wall clock.
        always: which windows get verdicts without any event too, shape (len(ends_s),).

    Yields:
        Columns of `drift` and of `rates`, some `ROWS_AT_ONCE` of them; None where there is no row.
    """
    drift, rates = _Gathered(), _Gathered()
    layout = series.layout
    at_once = max(1, min(WINDOWS_AT_ONCE, COUNTS_AT_ONCE // (layout.n_slices * layout.width)))
    for first in range(0, len(ends_s), at_once):
        some = ends_s[first : first + at_once]
        counts = window_counts(series, window, some)
        chosen = slice(first, first + at_once)
        some_lost, some_whole = lost[chosen], whole[chosen]
        seen = (counts[:, 0, EVENTS] > 0) | always[chosen]
        if not seen.all():
            if not seen.any():
                continue
            some = [end for end, keep in zip(some, seen.tolist(), strict=True) if keep]
            counts, some_lost, some_whole = counts[seen], some_lost[seen], some_whole[seen]
        batch = _Batch(series, window, np.array(some), counts, some_lost, some_whole, record_seq, judged_ms)
        for slices in batch.slices():
            drift.add(batch.drift(slices))
            rates.add(batch.rates(slices))
            if drift.n + rates.n >= ROWS_AT_ONCE:
                yield drift.take(), rates.take()
        rates.add(batch.error_rates())
    yield drift.take(), rates.take()


class _Batch:
    """Some windows of one series with their counts."""

    def __init__(
        self,
        series: Series,
        window: Window,
        ends_s: IntArray,
        counts: IntArray,
        lost: NDArray[np.float64],
        whole: NDArray[np.bool_],
        record_seq: int,
        judged_ms: int,
    ) -> None:
        self.series, self.window, self.ends_s, self.counts = series, window, ends_s, counts
        self.record_seq, self.judged_ms, self.whole = record_seq, judged_ms, whole
        events = counts[:, 0, EVENTS]
        self.completeness = np.where(lost > 0, events / np.maximum(events + lost, 1), 1.0)

    @cached_property
    def seasonal(self) -> Expectation | None:
        """What the windows should hold by the hours of the week, where that judges them."""
        return seasonal_expectation(self.series, self.window, self.ends_s.tolist())

    def slices(self) -> list[NDArray[np.bool_]]:
        """The slices, each as a mask of shape (n_slices,), that any of the windows is judged in: some at a time."""
        layout = self.series.layout
        wanted = np.flatnonzero(self.wanted(np.arange(layout.n_slices)).any(axis=0))
        at_once = max(1, CELLS_AT_ONCE // (len(self.counts) * layout.width))
        every = np.arange(layout.n_slices)
        return [np.isin(every, wanted[i : i + at_once]) for i in range(0, len(wanted), at_once)]

    def wanted(self, slice_index: Places) -> NDArray[np.bool_]:
        """Shape (W, G): slice `all` always, other slices from the contract's least n on."""
        least = np.maximum(self.series.contract.slice_min_n, 1)
        events = self.counts[:, :, EVENTS].take(slice_index, axis=1)
        chosen: NDArray[np.bool_] = (slice_index == 0)[None, :] | (events >= least)
        return chosen

    def common(self, where: tuple[Any, ...], slice_index: Places, field: pa.Array) -> Columns:
        """The columns that both tables have; `where` are the (window, group) pairs that become rows."""
        w, g = where
        n = len(w)
        layout = self.series.layout
        end = self.ends_s[w]
        return {
            "model": constant_column(self.series.contract.model, n),
            "version": constant_column(self.series.version, n),
            "baseline_id": constant_column(self.series.baseline_id, n),
            "slice": dictionary_column(slice_index[g], layout.slices),
            "field": field,
            "window": constant_column(self.window.name, n),
            "window_start": end - self.window.length_s,
            "window_end": end,
            "completeness": self.completeness[w],
            "judged_at": np.full(n, self.judged_ms, dtype=np.int64),
            "record_seq": np.full(n, self.record_seq, dtype=np.uint64),
        }

    def levels(self, level: NDArray[np.int8], w: IntArray) -> pa.Array:
        """Name levels, shape (n,); `w` says which window each is of."""
        return dictionary_column(np.where(self.whole[w], level, Level.insufficient), _LEVELS)

    def field_names(self, field_index: Places) -> pa.Array:
        """Name the field of each row, shape (n,)."""
        return dictionary_column(field_index, [field.name for field in self.series.layout.fields])

    def weights(self) -> NDArray[np.float64]:
        """How important the contract calls each field of the layout, shape (n_fields,)."""
        weights = {field.name: field.weight for field in self.series.contract.fields}
        return np.array([weights.get(field.name, 1.0) for field in self.series.layout.fields])

    def seasons(self, by_hours: bool, g: IntArray) -> pa.Array:
        """Name what each row's window was held against, shape (n,); `g` says which group each is of."""
        season = self.series.compiled.season
        chosen = np.isin(g, season.groups) if by_hours and season is not None else np.zeros(len(g), dtype=bool)
        return dictionary_column(chosen, _SEASONS)

    def drift(self, slices: NDArray[np.bool_]) -> Columns:
        """Rows of `drift` of some slices, shape (n_slices,)."""
        every = self.series.compiled.bins
        if not every.n_groups:
            return {}
        lines = self.series.contract.thresholds
        every.phi(self.window.name)
        chosen = slices[every.slice_index]
        bins = every.of_groups(chosen)
        if not bins.n_groups:
            return {}
        phi = bins.phi(self.window.name)
        window_bins = bins.window_bins(self.counts)
        wanted = self.wanted(bins.slice_index)
        expected = self.seasonal
        if expected is not None and bins is not every:
            at = every.of_bins(chosen)
            expected = Expectation(expected.share[:, at], expected.p[:, at], expected.m[:, chosen])
        found = psi_verdicts(
            bins.base_bins,
            window_bins,
            bins.starts,
            phi=phi,
            minor=lines.minor,
            major=lines.major,
            expected=expected,
        )
        q = q_values(
            found.p_value,
            self.weights()[bins.field_index],
            family=bins.slice_index,
            compared=wanted & found.enough & self.whole[:, None],
        )
        js = jensen_shannon(bins.base_bins if expected is None else expected.share, window_bins, bins.starts)
        where = np.nonzero(wanted)
        w, g = where
        top = found.top_bin[where]
        top_flat = bins.starts[g] + np.maximum(top, 0)
        m = np.add.reduceat(bins.base_bins, bins.starts)[g]
        share = bins.base_bins[top_flat] / m if expected is None else expected.share[w, top_flat]
        n = found.n[where]
        codes, labels = self.series.compiled.labels
        top_code = np.where(top >= 0, codes[every.of_bins(chosen)][top_flat], len(labels) - 1)
        columns = self.common(where, bins.slice_index, self.field_names(bins.field_index[g]))
        columns |= {
            "n": n,
            "psi": found.psi[where],
            "psi_low": found.low[where],
            "psi_high": found.high[where],
            "js": js[where],
            "p_value": found.p_value[where],
            "q_value": q[where],
            "df": found.df[where].astype(np.int32),
            "phi": phi[g],
            "season": self.seasons(expected is not None, np.flatnonzero(chosen)[g]),
            "level": self.levels(found.level[where], w),
            "threshold_minor": np.full(len(w), lines.minor),
            "threshold_major": np.full(len(w), lines.major),
            "top_bin": dictionary_column(top_code, labels),
            "top_bin_index": top.astype(np.int32),
            "expected_share": share,
            "actual_share": window_bins[w, top_flat] / np.maximum(n, 1),
            "visible_shift": found.visible_shift[where],
        }
        return columns

    def rates(self, slices: NDArray[np.bool_]) -> Columns:
        """Rows of `rates` of some slices, shape (n_slices,), beside those of errors."""
        every = self.series.compiled.rates
        every.phi(self.window.name)
        cells = every.of_groups(slices[every.slice_index])
        if not cells.n_groups:
            return {}
        k, n = cells.k(self.counts), cells.n(self.counts)
        # A kind that neither training nor the window has seen says nothing in a slice; `all` has its row always.
        chosen = self.wanted(cells.slice_index) & ((cells.slice_index == 0)[None, :] | (k > 0) | (cells.base_k > 0))
        where = np.nonzero(chosen)
        kinds = dictionary_column(cells.kind_index[where[1]], _KINDS)
        names = self.field_names(cells.field_index[where[1]])
        phi = cells.phi(self.window.name)
        base = (cells.base_k, cells.base_n, cells.base_phi)
        thresholds = [kind.thresholds_of(self.series.contract) for kind in RATE_KINDS]
        minor, major = np.array([(each.minor, each.major) for each in thresholds]).T[:, cells.kind_index]
        return self._rate_columns(where, cells.slice_index, names, kinds, k[where], n[where], base, phi, (minor, major))

    def error_rates(self) -> Columns:
        """Failed predictions, against none: training has no requests that fail."""
        layout = self.series.layout
        slice_index = np.arange(layout.n_slices)
        where = np.nonzero(self.wanted(slice_index))
        k, n = self.counts[:, :, ERRORS], self.counts[:, :, EVENTS]
        names, kinds = (constant_column(text, len(where[0])) for text in (ERROR_FIELD, ERROR_KIND))
        rows = np.full(layout.n_slices, max(layout.baseline.rows, 1), dtype=np.int64)
        zeros = np.zeros(layout.n_slices, dtype=np.int64)
        one = np.ones(layout.n_slices)
        thresholds = self.series.contract.rate_thresholds
        limits = one * thresholds.minor, one * thresholds.major
        return self._rate_columns(where, slice_index, names, kinds, k[where], n[where], (zeros, rows, one), one, limits)

    def _rate_columns(
        self,
        where: tuple[Any, ...],
        slice_index: Places,
        names: pa.Array,
        kinds: pa.Array,
        k: IntArray,
        n: IntArray,
        base: tuple[IntArray, IntArray, NDArray[np.float64]],
        phi: NDArray[np.float64],
        thresholds: tuple[NDArray[np.float64], NDArray[np.float64]],
    ) -> Columns:
        """`base`: training rows that count, all of them, their φ; `thresholds`: minor, major; all of shape (G,)."""
        g = where[1]
        base_k, base_n, base_phi = (values[g] for values in base)
        minor, major = (values[g] for values in thresholds)
        found = rate_verdicts(k, n, base_k, base_n, phi=phi[g], base_phi=base_phi, minor=minor, major=major)
        columns = self.common((where[0], g), slice_index, names)
        columns |= {
            "kind": kinds,
            "n": n,
            "k": k,
            "rate": found.rate,
            "baseline_rate": found.baseline_rate,
            "delta": found.delta,
            "delta_low": found.low,
            "delta_high": found.high,
            "p_value": found.p_value,
            "phi": phi[g],
            "level": self.levels(found.level, where[0]),
            "threshold_minor": minor,
            "threshold_major": major,
        }
        return columns


class _Gathered:
    """Rows of one table until they are handed over."""

    def __init__(self) -> None:
        self.n = 0
        self._parts: list[Columns] = []

    def add(self, part: Columns) -> None:
        """Add rows, if there are any."""
        if part and len(part["record_seq"]):
            self._parts.append(part)
            self.n += len(part["record_seq"])

    def take(self) -> Columns | None:
        """Hand over what was added, end to end; None where nothing was."""
        parts, self._parts, self.n = self._parts, [], 0
        return join_columns(parts)


def join_columns(parts: list[Columns]) -> Columns | None:
    """Put columns of the same table end to end; None where there are none."""
    if not parts:
        return None
    if len(parts) == 1:
        return parts[0]
    joined: Columns = {}
    for name, first in parts[0].items():
        if isinstance(first, pa.Array):
            joined[name] = pa.chunked_array([part[name] for part in parts]).unify_dictionaries().combine_chunks()
        else:
            joined[name] = np.concatenate([part[name] for part in parts])
    return joined
