"""Computes a distribution from panes: counts, quantiles, shares on any bins, and PSI as the monitor computes it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from barograph.contract import Window
from numpy.typing import NDArray

from barograph_server.profiling.distribution.read import DistributionError, FieldPanes
from barograph_server.sketches.baseline.baseline import ALL, QUANTILE_RANKS, FieldBaseline, SliceCounts
from barograph_server.sketches.baseline.bins import PsiBins, bin_labels
from barograph_server.sketches.baseline.columns import COLUMN_KEYS, FieldColumn
from barograph_server.sketches.baseline.groups import reference_slices
from barograph_server.sketches.baseline.levels import LEVEL_NAMES
from barograph_server.sketches.comparison.rebin import rebin
from barograph_server.sketches.drift.distances import QuantileTable
from barograph_server.sketches.drift.few_windows import p_values, phi_of_verdicts
from barograph_server.sketches.drift.psi import Expectation, psi_verdicts
from barograph_server.sketches.drift.season import Season
from barograph_server.sketches.sketch.categorical import FrequentValue, UnseenCategories
from barograph_server.sketches.sketch.envelope import EnvelopeError, MixedSketches, SketchType, unseal
from barograph_server.sketches.sketch.numeric import NumericSketch
from barograph_server.streams.hour_of_week import compute_hours_of_week, hour_unit_s
from barograph_server.terminal import iso_utc, significant

_GAP_SHARE = 0.05
"""Smallest share of the range for which a gap is noted: an outage rather than a quiet minute."""


def pane_notes(field_panes: FieldPanes) -> list[str]:
    """Note panes that reach over the ends of the range, gaps, and panes that may still receive events."""
    selection, panes = field_panes.selection, field_panes.panes
    starts = panes.column("pane_start").to_numpy().astype(np.int64)
    ends = starts + panes.column("pane_s").to_numpy().astype(np.int64)
    pane_s = field_panes.contract.pane_s
    notes = []
    first, last = int(starts[0]), int(ends.max())
    if first < selection.start_s:
        notes.append(f"the first pane starts {selection.start_s - first:,} s before the range and is included whole")
    if last > selection.end_s:
        notes.append(f"the last pane ends {last - selection.end_s:,} s after the range and is included whole")
    if first - selection.start_s >= pane_s:
        notes.append("there are no events in the range before its first pane")
    if selection.end_s - last >= pane_s:
        notes.append("there are no events in the range after its last pane")
    notes += _longest_gap(starts, ends, selection.end_s - selection.start_s)
    unsealed = panes.num_rows - int(pc.sum(panes.column("sealed")).as_py() or 0)
    if unsealed:
        notes.append(f"unsealed panes, which may receive more events: {unsealed:,}")
    return notes


def _longest_gap(starts: IntArray, ends: IntArray, length_s: int) -> list[str]:
    """Note the longest gap within the range if it is at least `_GAP_SHARE` of the range."""
    order = np.argsort(starts, kind="stable")
    sorted_starts, covered_until = starts[order], np.maximum.accumulate(ends[order])
    gaps = sorted_starts[1:] - covered_until[:-1]
    if not gaps.size or gaps.max() < _GAP_SHARE * length_s:
        return []
    at = int(gaps.argmax())
    begin, end = float(covered_until[at]), float(sorted_starts[at + 1])
    return [f"there are no events from {iso_utc(begin)} to {iso_utc(end)}"]


def missing_sketch_note(slice_name: str) -> str:
    """Explain why there are no quantiles."""
    if slice_name == ALL:
        return "no pane has a readable sketch, so there are no quantiles"
    return (
        f"the slice {slice_name} has no sketch, so there are no quantiles; name the field in the slice's `sketches` in "
        "the contract"
    )


def damage_notes(panes: int) -> list[str]:
    """Note the number of panes with a damaged sketch; no note without any."""
    return [f"panes with a damaged sketch, which was skipped: {panes:,}"] if panes else []


IntArray = NDArray[np.int64]

RANKS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
MAX_UNSEEN = 10
"""Unseen categories that are named, the most frequent ones."""
_TRIM = 0.005
"""BinShare of training's values at either end that bins of equal width leave out."""


@dataclass(frozen=True, slots=True)
class Quantile:
    """One quantile of the range. The true value is between `low` and `high` with 99% confidence."""

    rank: float
    value: float
    low: float
    high: float
    training: float | None
    """The quantile in training, of the slice `all`; None if it is unknown."""


@dataclass(frozen=True, slots=True)
class BinShare:
    label: str
    n: int
    share: float
    training: float | None


@dataclass(frozen=True, slots=True)
class PsiVerdict:
    """The PSI of the range, as the monitor computes it."""

    psi: float
    low: float
    high: float
    level: str
    df: float
    p_value: float
    phi: float
    phi_window: str
    """The window length whose φ is used."""
    is_seasonal: bool
    """Whether the range is compared with the same hours of the week in training."""
    top_bin: str


@dataclass(frozen=True, slots=True)
class Distribution:
    field_panes: FieldPanes
    n: int
    """Events with a valid value or a null."""
    counts: dict[str, int]
    """The other counts of the field, by their columns in `panes` (`COLUMN_KEYS`)."""
    mean: float | None
    stddev: float | None
    minimum: float | None
    maximum: float | None
    rank_error: float | None
    """Rank error of quantiles and shares from the sketch, as a share; None without a sketch."""
    in_sketch: int
    """Number of values in the sketch."""
    quantiles: tuple[Quantile, ...]
    shares: tuple[BinShare, ...]
    are_exact: bool
    """Whether shares are counts on the baseline's cells, including null and unseen. Otherwise they are shares of the
    valid values in the sketch."""
    named_unseen: tuple[FrequentValue, ...]
    psi: PsiVerdict | None
    """None if training has no values of this field and slice."""
    notes: tuple[str, ...]
    """Limitations of the figures."""


@dataclass(frozen=True, slots=True)
class DistributionQuery:
    """Which quantiles and shares to compute."""

    ranks: tuple[float, ...] = RANKS
    bins: int | None = None
    """Number of bins of equal width; None: the baseline's bins."""
    edges: tuple[float, ...] | None = None
    """Edges of the bins, ascending; None: the baseline's bins."""
    has_quantiles: bool = False
    """Whether the quantiles were requested explicitly."""


def compute_distribution(field_panes: FieldPanes, query: DistributionQuery) -> Distribution:
    """Merge the panes of a range.

    Raises:
        DistributionError: the query needs a sketch, and the panes have none.
    """
    panes = field_panes.panes
    field = field_panes.layout.fields[field_panes.field_index]
    cells = _cells(panes, field)
    n, *counts = (int(pc.sum(panes.column(name)).as_py()) for name in ("n", *COLUMN_KEYS))
    valid = n - counts[COLUMN_KEYS.index(FieldColumn.NULL.key)]
    notes = pane_notes(field_panes)
    trained = field.slices.get(reference_slices(field_panes.layout)[field_panes.slice_index])
    trained = trained if trained is not None and any(trained.cells) else None
    psi = _psi(field_panes, cells)
    mean, stddev, least, largest = _moments(panes, field, valid)
    sketch = None
    if field.kind == "numeric":
        sketch, damaged = _numeric_sketch(panes)
        notes += damaged
        if (sketch is None or sketch.is_empty) and valid:
            _require_sketch(field_panes, query)
            notes.append(missing_sketch_note(field_panes.selection.slice_name))
        elif sketch is not None and sketch.n < valid:
            notes.append(f"the sketch has {sketch.n:,} of {valid:,} values: the other panes have no readable sketch")
        shares, are_exact = _numeric_shares(field_panes, field, cells, trained, sketch, query)
        named: tuple[FrequentValue, ...] = ()
    else:
        if query.bins or query.edges or query.has_quantiles:
            raise DistributionError(
                f"{field.name} is a category: it has neither bins nor quantiles; leave out --bins, --edges and "
                "--quantiles."
            )
        unseen, damaged = _unseen(panes)
        notes += damaged
        shares, are_exact = _category_shares(field, cells, trained), True
        named = tuple(unseen.top(MAX_UNSEEN))
    return Distribution(
        field_panes=field_panes,
        n=n,
        counts=dict(zip(COLUMN_KEYS, counts, strict=True)),
        mean=mean,
        stddev=stddev,
        minimum=least,
        maximum=largest,
        rank_error=None if sketch is None or sketch.is_empty else sketch.rank_error,
        in_sketch=0 if sketch is None else sketch.n,
        quantiles=() if sketch is None or sketch.is_empty else _quantiles(sketch, field, query.ranks),
        shares=tuple(shares),
        are_exact=are_exact,
        named_unseen=named,
        psi=psi,
        notes=tuple(notes),
    )


def _cells(panes: pa.Table, field: FieldBaseline) -> IntArray:
    """Extract the counts of each pane on the baseline's cells, shape (panes, n_cells)."""
    flat = panes.column("counts").combine_chunks().flatten().to_numpy(zero_copy_only=False)
    cells: IntArray = flat.astype(np.int64).reshape(panes.num_rows, field.n_cells)
    return cells


def _moments(panes: pa.Table, field: FieldBaseline, valid: int) -> tuple[float | None, ...]:
    """Compute mean, standard deviation, minimum and maximum; None if panes with values lack them."""
    n = panes.column("n").to_numpy().astype(np.float64) - panes.column("nulls").to_numpy().astype(np.float64)
    least = panes.column("minimum").to_numpy()
    known = np.isfinite(least)
    if field.kind != "numeric" or not valid or n[known].sum() < valid:
        return None, None, None, None
    shift = float(panes.column("shift_sum").to_numpy()[known].sum())
    square = float(panes.column("shift_square_sum").to_numpy()[known].sum())
    stddev = math.sqrt(max(square - shift * shift / valid, 0.0) / (valid - 1)) if valid > 1 else None
    largest = panes.column("maximum").to_numpy()[known]
    return field.mean + shift / valid, stddev, float(least[known].min()), float(largest.max())


def _numeric_sketch(panes: pa.Table) -> tuple[NumericSketch | None, list[str]]:
    """Merge the sketches of each type, and return the one with the most values."""
    merged: dict[SketchType, NumericSketch] = {}
    damaged = 0
    for data in panes.column("sketch").to_pylist():
        if not data:
            continue
        try:
            kind, _ = unseal(data)
            sketch = NumericSketch.from_bytes(kind, data)
        except (EnvelopeError, MixedSketches, ValueError):
            damaged += 1
            continue
        if kind in merged:
            merged[kind].merge(sketch)
        else:
            merged[kind] = sketch
    return max(merged.values(), key=lambda sketch: sketch.n, default=None), damage_notes(damaged)


def _unseen(panes: pa.Table) -> tuple[UnseenCategories, list[str]]:
    total = UnseenCategories()
    damaged = 0
    for data in panes.column("sketch").to_pylist():
        try:
            total.merge(UnseenCategories.from_bytes(data or b""))
        except (EnvelopeError, MixedSketches):
            damaged += 1
    return total, damage_notes(damaged)


def _require_sketch(field_panes: FieldPanes, query: DistributionQuery) -> None:
    if query.bins or query.edges or query.has_quantiles:
        selection = field_panes.selection
        raise DistributionError(
            f"{selection.field} in slice {selection.slice_name} has no sketch, only counts on the baseline's bins: "
            "name the field in the slice's `sketches` in the contract, or leave out --bins, --edges and --quantiles."
        )


def _quantiles(sketch: NumericSketch, field: FieldBaseline, ranks: Sequence[float]) -> tuple[Quantile, ...]:
    errors = np.array([sketch.rank_error_at(rank) for rank in ranks])
    at = np.array(ranks)
    values = sketch.quantiles(at)
    lows = sketch.quantiles(np.clip(at - errors, 0.0, 1.0))
    highs = sketch.quantiles(np.clip(at + errors, 0.0, 1.0))
    table = field.quantiles
    return tuple(
        Quantile(
            rank,
            float(value),
            float(low),
            float(high),
            float(table[round(rank * (QUANTILE_RANKS - 1))]) if table else None,
        )
        for rank, value, low, high in zip(ranks, values, lows, highs, strict=True)
    )


# --- shares -----------------------------------------------------------------------------------------------------------


def _numeric_shares(
    field_panes: FieldPanes,
    field: FieldBaseline,
    cells: IntArray,
    trained: SliceCounts | None,
    sketch: NumericSketch | None,
    query: DistributionQuery,
) -> tuple[list[BinShare], bool]:
    edges = query.edges
    rows = max(field_panes.layout.baseline.rows, 1)
    table = QuantileTable(field.quantiles, rows, field.quantile_error) if field.quantiles else None
    if query.bins is not None and sketch is not None and not sketch.is_empty:
        edges = _equal_edges(sketch, field, query.bins)
    if edges is not None:
        if sketch is None or sketch.is_empty:
            return [], False
        counts = rebin(sketch, edges).counts
        shares = counts / max(int(counts.sum()), 1)
        base = None if table is None else np.diff(np.concatenate(([0.0], table.shares(np.array(edges))[0], [1.0])))
        labels = _edge_labels(edges)
        return [
            BinShare(label, int(n), float(share), None if base is None else float(base[i]))
            for i, (label, n, share) in enumerate(zip(labels, counts, shares, strict=True))
        ], False
    labels = [*bin_labels(field.edges, integer=field.integer), "null"]
    return _cell_shares(labels, cells.sum(axis=0), trained), True


def _equal_edges(sketch: NumericSketch, field: FieldBaseline, bins: int) -> tuple[float, ...]:
    """Choose the edges of bins of equal width; the same input gives the same edges.

    They span training's values without the outer 0.5% at either end, and the values of the range up to that span beyond
    either end, so that one outlier does not put all other values into one bin.
    """
    low, high = (float(end) for end in sketch.quantiles([0.0, 1.0]))
    if field.quantiles:
        last = QUANTILE_RANKS - 1
        least, largest = field.quantiles[round(_TRIM * last)], field.quantiles[round((1.0 - _TRIM) * last)]
        span = largest - least
        low, high = min(least, max(low, least - span)), max(largest, min(high, largest + span))
    if not low < high:
        return ()
    # A width of two digits gives readable edges.
    width = (high - low) / bins
    step = 10.0 ** (math.floor(math.log10(width)) - 1)
    width = math.ceil(width / step) * step
    first = math.floor(low / width) * width
    return tuple(float(f"{first + width * i:.12g}") for i in range(1, bins))


def _edge_labels(edges: Sequence[float]) -> list[str]:
    if not edges:
        return ["all"]
    texts = [significant(edge) for edge in edges]
    inner = [f"[{low}, {high})" for low, high in pairwise(texts)]
    return [f"< {texts[0]}", *inner, f"≥ {texts[-1]}"]


def _category_shares(field: FieldBaseline, cells: IntArray, trained: SliceCounts | None) -> list[BinShare]:
    """Compute the shares of the baseline's categories, most frequent first, then of unseen and null."""
    shares = _cell_shares([*field.categories, "unseen", "null"], cells.sum(axis=0), trained)
    return [*sorted(shares[:-2], key=lambda share: (-share.n, share.label)), *shares[-2:]]


def _cell_shares(labels: Sequence[str], counts: IntArray, trained: SliceCounts | None) -> list[BinShare]:
    n = max(int(counts.sum()), 1)
    m = sum(trained.cells) if trained is not None else 0
    return [
        BinShare(label, int(count), int(count) / n, None if trained is None else trained.cells[i] / m)
        for i, (label, count) in enumerate(zip(labels, counts, strict=True))
    ]


# --- PSI --------------------------------------------------------------------------------------------------------------


def _psi(field_panes: FieldPanes, cells: IntArray) -> PsiVerdict | None:
    """Judge the range as the monitor judges a window: same counts, bins, φ, thresholds and hours of the week."""
    layout, contract = field_panes.layout, field_panes.contract
    bins = PsiBins(layout)
    group = bins.groups_in(field_panes.slice_index).get(field_panes.field_index)
    if group is None:
        return None
    counts = np.zeros((1, layout.n_slices, layout.width), np.int64)
    first = layout.starts[field_panes.field_index]
    counts[0, field_panes.slice_index, first : first + cells.shape[1]] = cells.sum(axis=0)
    window = _nearest_window(contract.windows, field_panes.selection.end_s - field_panes.selection.start_s)
    phi = phi_of_verdicts(bins, window.name, contract.phi)
    expected = _seasonal(field_panes, bins, group, cells)
    verdicts = psi_verdicts(
        bins.base_bins,
        bins.window_bins(counts),
        bins.starts,
        phi=phi,
        nu=bins.nu(window.name),
        thresholds=(contract.thresholds.minor, contract.thresholds.major),
        noise=bins.noise,
        expected=expected,
    )
    top = int(verdicts.top_bin[0, group])
    return PsiVerdict(
        psi=float(verdicts.psi[0, group]),
        low=float(verdicts.low[0, group]),
        high=float(verdicts.high[0, group]),
        level=LEVEL_NAMES[int(verdicts.level[0, group])],
        df=float(verdicts.df[0, group]),
        p_value=float(p_values(verdicts, bins, window.name, phi)[0, group]),
        phi=float(phi[group]),
        phi_window=window.name,
        is_seasonal=expected is not None,
        top_bin=bins.group_labels(group)[top] if top >= 0 else "",
    )


def _nearest_window(windows: Sequence[Window], length_s: int) -> Window:
    """Find the contract's window whose length is nearest by ratio; the longer of two that are equally near.

    Windows of the last events are used only if there are no others: their typical length is not known.
    """
    candidates = [window for window in windows if not window.last] or windows
    return min(candidates, key=lambda w: (abs(math.log(w.length_s / length_s)), -w.length_s))


def _seasonal(field_panes: FieldPanes, bins: PsiBins, group: int, cells: IntArray) -> Expectation | None:
    """Compute the expectation from the hours of the week in the range; None if the comparison is not seasonal."""
    baseline, contract = field_panes.layout.baseline, field_panes.contract
    if contract.season != "hour_of_week" or not baseline.timezone:
        return None
    season = Season(bins)
    indexes = np.flatnonzero(season.groups == group)
    if not len(indexes):
        return None
    starts = field_panes.panes.column("pane_start").to_numpy().astype(np.int64)
    hours_of_week, of_pane = np.unique(
        compute_hours_of_week(starts, hour_unit_s(contract.pane_s), baseline.timezone), return_inverse=True
    )
    n = np.zeros((1, len(hours_of_week), len(season.groups)), np.int64)
    np.add.at(n[0, :, indexes[0]], of_pane, cells.sum(axis=1))
    return season.expectation(hours_of_week.tolist(), n)
