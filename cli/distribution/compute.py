"""Make of panes what people ask: counts, quantiles, shares on any bins, and PSI as the monitor judges it."""

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

from cli.distribution.notes import damage, notes_of, without_sketch
from cli.distribution.read import Counted, DistributionError
from sketches.baseline.baseline import QUANTILE_RANKS, FieldBaseline, SliceCounts
from sketches.baseline.bins import PsiBins, bin_labels
from sketches.baseline.groups import reference_slices
from sketches.baseline.levels import LEVEL_NAMES
from sketches.comparison.rebin import rebin
from sketches.drift.distances import QuantileTable
from sketches.drift.psi import Expectation, psi_verdicts
from sketches.drift.season import Season
from sketches.sketch.categorical import FrequentValue, UnseenCategories
from sketches.sketch.envelope import EnvelopeError, MixedSketches, SketchType, unseal
from sketches.sketch.numeric import NumericSketch
from streams.hour_of_week import slot_unit_s, slots_of

IntArray = NDArray[np.int64]

RANKS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
UNSEEN_NAMED = 10
_TRIM = 0.005
"""Equal bins span training's values without this share at either end."""


@dataclass(frozen=True, slots=True)
class Quantile:
    """One quantile of the window; the true one lies between `low` and `high` with 99 % confidence."""

    rank: float
    value: float
    low: float
    high: float
    training: float | None
    """Of the slice `all`; None where training is not known."""


@dataclass(frozen=True, slots=True)
class Share:
    """How much of the window one bin or category holds."""

    label: str
    n: int
    share: float
    training: float | None


@dataclass(frozen=True, slots=True)
class Psi:
    """The window's PSI, as the monitor reckons it."""

    psi: float
    low: float
    high: float
    level: str
    df: int
    p_value: float
    phi: float
    phi_window: str
    """The window length that φ was learned for."""
    is_seasonal: bool
    """Whether it is held against training's same hours of the week."""
    top_bin: str


@dataclass(frozen=True, slots=True)
class Distribution:
    """What a field held in a window."""

    counted: Counted
    n: int
    """Events with a valid value or null."""
    nulls: int
    invalid: int
    below: int
    above: int
    unseen: int
    mean: float | None
    stddev: float | None
    minimum: float | None
    maximum: float | None
    rank_error: float | None
    """Of quantiles and shares read from the sketch, as a share; None where there is none."""
    in_sketch: int
    """Values that the sketch holds."""
    quantiles: tuple[Quantile, ...]
    shares: tuple[Share, ...]
    are_exact: bool
    """Whether shares are counts on the baseline's own cells, null and unseen among them; else they are the sketch's, of
    valid values."""
    named_unseen: tuple[FrequentValue, ...]
    psi: Psi | None
    """None where training held nothing of this field and slice."""
    notes: tuple[str, ...]
    """What is to be known beside the figures."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """How the distribution is shown."""

    ranks: tuple[float, ...] = RANKS
    bins: int | None = None
    edges: tuple[float, ...] | None = None
    asks_quantiles: bool = False


def reckon(counted: Counted, wanted: Wanted) -> Distribution:
    """Merge the panes of a range.

    Raises:
        DistributionError: what is wanted takes a sketch, and none was kept.
    """
    panes = counted.panes
    field = counted.layout.fields[counted.field_index]
    cells = _cells(panes, field)
    sums = {
        name: int(pc.sum(panes.column(name)).as_py()) for name in ("n", "nulls", "invalid", "below", "above", "unseen")
    }
    notes = notes_of(counted)
    trained = field.slices.get(reference_slices(counted.layout)[counted.slice_index])
    trained = trained if trained is not None and any(trained.cells) else None
    psi = _psi(counted, cells)
    mean, stddev, least, largest = _moments(panes, field, sums["n"] - sums["nulls"])
    sketch = None
    if field.kind == "numeric":
        sketch, damaged = _numeric_sketch(panes)
        notes += damaged
        valid = sums["n"] - sums["nulls"]
        if (sketch is None or sketch.is_empty) and valid:
            _refusewithout_sketch(counted, wanted)
            notes.append(without_sketch(counted.asked.slice_name))
        elif sketch is not None and sketch.n < valid:
            notes.append(
                f"the sketch holds {sketch.n:,} of {valid:,} values: the other panes have none that can be read"
            )
        shares, are_exact = _numeric_shares(counted, field, cells, trained, sketch, wanted)
        named: tuple[FrequentValue, ...] = ()
    else:
        if wanted.bins or wanted.edges or wanted.asks_quantiles:
            raise DistributionError(
                f"{field.name} is a category: it has neither bins nor quantiles; leave --bins, --edges and "
                "--quantiles out."
            )
        unseen, damaged = _unseen(panes)
        notes += damaged
        shares, are_exact = _category_shares(field, cells, trained), True
        named = tuple(unseen.top(UNSEEN_NAMED))
    return Distribution(
        counted=counted,
        **sums,
        mean=mean,
        stddev=stddev,
        minimum=least,
        maximum=largest,
        rank_error=None if sketch is None or sketch.is_empty else sketch.rank_error,
        in_sketch=0 if sketch is None else sketch.n,
        quantiles=() if sketch is None or sketch.is_empty else _quantiles(sketch, field, wanted.ranks),
        shares=tuple(shares),
        are_exact=are_exact,
        named_unseen=named,
        psi=psi,
        notes=tuple(notes),
    )


def _cells(panes: pa.Table, field: FieldBaseline) -> IntArray:
    """Counts of each pane on the baseline's cells, shape (panes, n_cells)."""
    flat = panes.column("counts").combine_chunks().flatten().to_numpy(zero_copy_only=False)
    cells: IntArray = flat.astype(np.int64).reshape(panes.num_rows, field.n_cells)
    return cells


def _moments(panes: pa.Table, field: FieldBaseline, valid: int) -> tuple[float | None, ...]:
    """Mean, standard deviation, minimum and maximum; None where panes with values do not keep them."""
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
    """Merge the sketches; of several kinds the one that holds most values counts."""
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
    return max(merged.values(), key=lambda sketch: sketch.n, default=None), damage(damaged)


def _unseen(panes: pa.Table) -> tuple[UnseenCategories, list[str]]:
    total = UnseenCategories()
    damaged = 0
    for data in panes.column("sketch").to_pylist():
        try:
            total.merge(UnseenCategories.from_bytes(data or b""))
        except (EnvelopeError, MixedSketches):
            damaged += 1
    return total, damage(damaged)


def _refusewithout_sketch(counted: Counted, wanted: Wanted) -> None:
    if wanted.bins or wanted.edges or wanted.asks_quantiles:
        raise DistributionError(
            f"Of {counted.asked.field} in the slice {counted.asked.slice_name} only counts on the baseline's bins are "
            "kept: name the field in the slice's `sketches` in the contract, or leave --bins, --edges and --quantiles "
            "out."
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
    counted: Counted,
    field: FieldBaseline,
    cells: IntArray,
    trained: SliceCounts | None,
    sketch: NumericSketch | None,
    wanted: Wanted,
) -> tuple[list[Share], bool]:
    edges = wanted.edges
    table = QuantileTable(field.quantiles, max(counted.layout.baseline.rows, 1)) if field.quantiles else None
    if wanted.bins is not None and sketch is not None and not sketch.is_empty:
        edges = _equal_edges(sketch, field, wanted.bins)
    if edges is not None:
        if sketch is None or sketch.is_empty:
            return [], False
        counts = rebin(sketch, edges).counts
        shares = counts / max(int(counts.sum()), 1)
        base = None if table is None else np.diff(np.concatenate(([0.0], table.shares(np.array(edges))[0], [1.0])))
        labels = _edge_labels(edges)
        return [
            Share(label, int(n), float(share), None if base is None else float(base[i]))
            for i, (label, n, share) in enumerate(zip(labels, counts, shares, strict=True))
        ], False
    labels = [*bin_labels(field.edges, integer=field.integer), "null"]
    return _cell_shares(labels, cells.sum(axis=0), trained), True


def _equal_edges(sketch: NumericSketch, field: FieldBaseline, bins: int) -> tuple[float, ...]:
    """Edges of bins of equal width, the same whenever they are asked for.

    They span training's values without the outer half percents, and the window's as far as that span reaches again on
    either side, so that one outlier does not leave all others in one bin.
    """
    low, high = (float(end) for end in sketch.quantiles([0.0, 1.0]))
    if field.quantiles:
        last = QUANTILE_RANKS - 1
        least, largest = field.quantiles[round(_TRIM * last)], field.quantiles[round((1.0 - _TRIM) * last)]
        span = largest - least
        low, high = min(least, max(low, least - span)), max(largest, min(high, largest + span))
    if not low < high:
        return ()
    # Two digits of width: edges that people can read.
    width = (high - low) / bins
    step = 10.0 ** (math.floor(math.log10(width)) - 1)
    width = math.ceil(width / step) * step
    first = math.floor(low / width) * width
    return tuple(float(f"{first + width * i:.12g}") for i in range(1, bins))


def _edge_labels(edges: Sequence[float]) -> list[str]:
    if not edges:
        return ["all"]
    shown = [f"{edge:.6g}" for edge in edges]
    inner = [f"[{low}, {high})" for low, high in pairwise(shown)]
    return [f"< {shown[0]}", *inner, f"≥ {shown[-1]}"]


def _category_shares(field: FieldBaseline, cells: IntArray, trained: SliceCounts | None) -> list[Share]:
    """Kept categories, the most frequent first, then unseen and null."""
    found = _cell_shares([*field.categories, "unseen", "null"], cells.sum(axis=0), trained)
    kept = sorted(found[:-2], key=lambda share: (-share.n, share.label))
    return [*kept, *found[-2:]]


def _cell_shares(labels: Sequence[str], counts: IntArray, trained: SliceCounts | None) -> list[Share]:
    n = max(int(counts.sum()), 1)
    m = sum(trained.cells) if trained is not None else 0
    return [
        Share(label, int(count), int(count) / n, None if trained is None else trained.cells[i] / m)
        for i, (label, count) in enumerate(zip(labels, counts, strict=True))
    ]


# --- PSI --------------------------------------------------------------------------------------------------------------


def _psi(counted: Counted, cells: IntArray) -> Psi | None:
    """Judge the range as the monitor judges a window: the same counts, bins, φ, lines and hours of the week."""
    layout, contract = counted.layout, counted.contract
    bins = PsiBins(layout)
    group = bins.groups_in(counted.slice_index).get(counted.field_index)
    if group is None:
        return None
    counts = np.zeros((1, layout.n_slices, layout.width), np.int64)
    first = layout.starts[counted.field_index]
    counts[0, counted.slice_index, first : first + cells.shape[1]] = cells.sum(axis=0)
    window = _nearest(contract.windows, counted.asked.end_s - counted.asked.start_s)
    phi = bins.phi(window.name)
    expected = _seasonal(counted, bins, group, cells)
    found = psi_verdicts(
        bins.base_bins,
        bins.window_bins(counts),
        bins.starts,
        phi=phi,
        minor=contract.thresholds.minor,
        major=contract.thresholds.major,
        expected=expected,
    )
    top = int(found.top_bin[0, group])
    return Psi(
        psi=float(found.psi[0, group]),
        low=float(found.low[0, group]),
        high=float(found.high[0, group]),
        level=LEVEL_NAMES[int(found.level[0, group])],
        df=int(found.df[0, group]),
        p_value=float(found.p_value[0, group]),
        phi=float(phi[group]),
        phi_window=window.name,
        is_seasonal=expected is not None,
        top_bin=bins.group_labels(group)[top] if top >= 0 else "",
    )


def _nearest(windows: Sequence[Window], length_s: int) -> Window:
    """The contract's window whose length is nearest by ratio; of two as near the longer."""
    return min(windows, key=lambda w: (abs(math.log(w.length_s / length_s)), -w.length_s))


def _seasonal(counted: Counted, bins: PsiBins, group: int, cells: IntArray) -> Expectation | None:
    """What the range should hold by the hours of the week that it lies in; None where the whole week judges."""
    baseline, contract = counted.layout.baseline, counted.contract
    if contract.season != "hour_of_week" or not baseline.timezone:
        return None
    season = Season(bins)
    where = np.flatnonzero(season.groups == group)
    if not len(where):
        return None
    starts = counted.panes.column("pane_start").to_numpy().astype(np.int64)
    slots, of_pane = np.unique(slots_of(starts, slot_unit_s(contract.pane_s), baseline.timezone), return_inverse=True)
    n = np.zeros((1, len(slots), len(season.groups)), np.int64)
    np.add.at(n[0, :, where[0]], of_pane, cells.sum(axis=1))
    return season.expectation(slots.tolist(), n)
