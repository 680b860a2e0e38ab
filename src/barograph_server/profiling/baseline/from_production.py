"""Learns a baseline from accepted production panes: exact counts on the bins of their baseline, or new bins."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from barograph.contract import Contract
from numpy.typing import NDArray

from barograph_server.errors import CommandError
from barograph_server.profiling.baseline.counts import RangeCounts
from barograph_server.profiling.baseline.new_bins import find_new_edges, lacks_phi, move_to_new_bins
from barograph_server.sketches.baseline.baseline import (
    ALL,
    HOUR_NAMES,
    QUANTILE_RANKS,
    Baseline,
    FieldBaseline,
    SliceCounts,
)
from barograph_server.sketches.baseline.bins import PsiBins
from barograph_server.sketches.baseline.groups import reference_slices
from barograph_server.sketches.baseline.layout import ERRORS, EVENTS, IntArray, Layout
from barograph_server.sketches.drift.psi import psi_values
from barograph_server.sketches.drift.season import Season
from barograph_server.sketches.drift.window_phi import TrainingLength, learn_variation, typical_length_s
from barograph_server.sketches.sketch.categorical import FrequentValue, UnseenCategories
from barograph_server.sketches.sketch.envelope import EnvelopeError, MixedSketches
from barograph_server.sketches.sketch.numeric import NumericSketch, numeric_sketch
from barograph_server.streams.hour_of_week import compute_hours_of_week, hour_unit_s
from barograph_server.streams.sketcher.count_panes import SeriesCoder
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.history import pane_sums
from barograph_server.warehouse.history.pane_sums import PaneRange

HEAVY_BIN_SHARE = 0.3
"""Share of the rows above which a bin that cannot be divided is reported: it hides changes within it."""
N_UNSEEN_SHOWN = 3
SKETCH_PANES = 256
"""Number of panes whose sketches are read at a time."""


@dataclass(frozen=True, slots=True)
class HeavyBin:
    """A bin of the previous baseline that has many of the rows now."""

    field: str
    label: str
    before: float
    now: float


@dataclass(frozen=True, slots=True)
class LearnedBaseline:
    """A baseline learned from panes, and its differences from the previous one."""

    baseline: Baseline
    psi: dict[str, float]
    """PSI of each field against the previous baseline, on its bins."""
    new_bins: tuple[HeavyBin, ...]
    """The heaviest old bin of each field that gets new bins, with its share of the valid rows."""
    heavy_bins: tuple[HeavyBin, ...]
    """Bins of other fields whose share has risen above `HEAVY_BIN_SHARE`."""
    unseen: dict[str, tuple[FrequentValue, ...]]
    """The most frequent values of each category field that are not among its categories."""
    notes: tuple[str, ...]


def learn(
    client: Client,
    panes: PaneRange,
    old: Baseline,
    contract: Contract,
    source: str,
    on_step: Callable[[str], None] = lambda step: None,
) -> LearnedBaseline:
    """Learn a baseline from panes.

    Limits, categories and slices stay; counts, moments, quantiles, φ and hours of the week come from the panes. An
    unseen value stays unseen, and its rows become the expected share of unseen values. Bins stay too, with exact
    counts, unless they have become too coarse (`profiling.baseline.new_bins`): then they and their shares come from
    sketches.

    Args:
        panes: whole, sealed panes, all counted on one baseline.
        source: description of the source, stored in the baseline.
    """
    layout = Layout(old)
    range_ = RangeCounts(client, panes, layout)
    on_step("counting")
    counts, moments = range_.totals()
    _check_totals(layout, counts, contract)
    on_step("merging sketches")
    merged, notes = _merge_sketches(client, panes, layout, contract)
    fields = tuple(
        _learn_field(layout, i, counts, moments[i], sketch if isinstance(sketch, NumericSketch) else None)
        for i, sketch in enumerate(merged)
    )
    timezone = contract.timezone if contract.season == "hour_of_week" else ""
    unit_s = hour_unit_s(contract.pane_s)
    if timezone:
        on_step("counting by the hour of the week")
        hours_of_week = range_.hours_of_week(fields, unit_s, timezone)
        fields = tuple(
            msgspec.structs.replace(field, hours_of_week=result)
            for field, result in zip(fields, hours_of_week, strict=True)
        )
    baseline = Baseline(
        model=old.model,
        version=old.version,
        rows=int(counts[0, EVENTS]),
        slice_rows={
            name: n if judged == name else old.slice_rows[name]
            for name, judged, n in zip(layout.slices, reference_slices(layout), counts[:, EVENTS].tolist(), strict=True)
            if name in old.slice_rows
        },
        dimensions=old.dimensions,
        timezone=timezone,
        fields=fields,
        source=source,
    )
    on_step("learning φ")
    rate = pane_sums.events_of_model(client, panes) / (panes.end_s - panes.start_s)
    baseline = _add_phi(baseline, contract, range_, unit_s, rate)
    on_step("choosing bins")
    baseline = _renew_bins(client, panes, baseline, old, contract, merged)
    renewed = {new.name for new, before in zip(baseline.fields, old.fields, strict=True) if new.edges != before.edges}
    old_bins = PsiBins(layout)
    bin_counts = old_bins.window_bins(counts[None])
    heaviest, heavy_bins = _find_heavy_bins(old_bins, bin_counts[0], renewed)
    notes += [
        f"{field.name}: the previous baseline has no φ. Windows seem more alike on the old bins than on the new ones, "
        "so φ can be too small until the new bins are counted."
        for field in old.fields
        if field.name in renewed and lacks_phi(field)
    ]
    return LearnedBaseline(
        baseline=baseline,
        psi=_compute_psi(old_bins, bin_counts),
        new_bins=tuple(heaviest),
        heavy_bins=tuple(heavy_bins),
        unseen={
            layout.fields[i].name: tuple(sketch.top(N_UNSEEN_SHOWN))
            for i, sketch in enumerate(merged)
            if isinstance(sketch, UnseenCategories) and not sketch.is_empty
        },
        notes=tuple(notes),
    )


def _check_totals(layout: Layout, counts: IntArray, contract: Contract) -> None:
    """Check that the values of each field add up to the events; they do in completely written panes.

    Fields of the answer may lack failed predictions.
    """
    n, events = layout.field_events(counts), counts[:, EVENTS, None]
    failed = counts[:, ERRORS, None] * np.array(SeriesCoder(layout, contract).are_of_answer)
    for row, i in np.argwhere((n > events) | (n < events - failed)).tolist():
        raise CommandError(
            f"Panes of field {layout.fields[i].name} in slice {layout.slices[row]} have {int(n[row, i]):,} values but "
            f"{int(counts[row, EVENTS]):,} predictions: late events are being written. Try again in a minute."
        )


def _learn_field(
    layout: Layout, index: int, counts: IntArray, moments: NDArray[np.float64], sketch: NumericSketch | None
) -> FieldBaseline:
    old = layout.fields[index]
    slices = {}
    judged = reference_slices(layout)
    for row, name in enumerate(layout.slices):
        if name not in old.slices:
            continue
        if judged[row] != name:
            # A dimension without training data is unchanged: its slices are compared with `all`.
            slices[name] = old.slices[name]
            continue
        columns = counts[row, layout.span(index, index + 1)].tolist()
        slices[name] = SliceCounts.from_columns(columns, before=old.slices[name])
    if old.kind == "category":
        return msgspec.structs.replace(old, slices=slices, hours_of_week={})
    valid = int(counts[0, layout.valid_cells(index)].sum())
    mean, std = _mean_and_std(old, valid, moments)
    quantiles, error = old.quantiles, old.quantile_error
    if sketch is not None and valid:
        quantiles = tuple(sketch.quantiles(np.linspace(0.0, 1.0, QUANTILE_RANKS)).tolist())
        error = sketch.rank_error
    elif not valid:
        quantiles, error = (), 0.0
    return msgspec.structs.replace(
        old, mean=mean, std=std, quantiles=quantiles, quantile_error=error, slices=slices, hours_of_week={}
    )


def _mean_and_std(old: FieldBaseline, valid: int, moments: NDArray[np.float64]) -> tuple[float, float]:
    """Return mean and standard deviation, rounded to 10⁻¹² of the largest magnitude: sums vary in their last bits."""
    if not valid:
        return 0.0, 0.0
    shift, square, least, largest = moments.tolist()
    mean = old.mean + shift / valid
    std = math.sqrt(max(0.0, square / valid - (shift / valid) ** 2))
    if not (math.isfinite(mean) and math.isfinite(std)):
        return old.mean, old.std
    scale = max(abs(least), abs(largest))
    digits = 12 - math.ceil(math.log10(scale)) if scale else 12
    return round(min(max(mean, least), largest), digits), round(std, digits)


# ---------------------------------------------------------------------------------------------------- sketches


def _merge_sketches(
    client: Client, panes: PaneRange, layout: Layout, contract: Contract
) -> tuple[list[NumericSketch | UnseenCategories | None], list[str]]:
    """Merge the sketches of each field; None for a field without sketches or with sketches that cannot be merged."""
    declared = {field.name: field.sketch for field in contract.fields}
    merged: list[NumericSketch | UnseenCategories | None] = [None] * layout.n_fields
    broken: set[int] = set()
    step = SKETCH_PANES * contract.pane_s
    for start in range(panes.start_s, panes.end_s, step):
        for name, _, data in pane_sums.sketches(client, "panes", panes, start, min(start + step, panes.end_s)):
            index = layout.field_index[name]
            field = layout.fields[index]
            if index in broken:
                continue
            try:
                current = merged[index]
                if field.kind == "category":
                    unseen = UnseenCategories.from_bytes(data)
                    if isinstance(current, UnseenCategories):
                        unseen.merge(current)
                    merged[index] = unseen
                else:
                    sketch = numeric_sketch(field.integer, declared.get(name, "kll"), data)
                    if isinstance(current, NumericSketch):
                        sketch.merge(current)
                    merged[index] = sketch
            except (EnvelopeError, MixedSketches):
                broken.add(index)
                merged[index] = None
    notes = [
        f"{layout.fields[index].name}: its sketches are damaged or of another kind than in the contract: the quantiles "
        "of the previous baseline are kept."
        for index in sorted(broken)
    ]
    return merged, notes


# ---------------------------------------------------------------------------------------------------- φ


def _add_phi(baseline: Baseline, contract: Contract, range_: RangeCounts, unit_s: int, rate: float) -> Baseline:
    """Learn φ of each field, slice and window length from the windows in the range.

    Args:
        baseline: without φ.
        unit_s: length of the units that each lie in one hour of the week, in seconds.
        rate: predictions of the model per second, of all versions.
    """
    layout = Layout(baseline)
    bins = PsiBins(layout)
    if not bins.n_groups:
        return baseline
    season = Season(bins) if baseline.timezone else None
    lengths_s = {window.name: typical_length_s(window, contract.pane_s, rate) for window in contract.windows}
    lengths = (
        TrainingLength(
            name,
            range_.windows(length_s),
            () if season is None else range_.hours(baseline.fields, season, length_s, unit_s),
        )
        for name, length_s in sorted(lengths_s.items(), key=lambda each: each[1])
    )
    return msgspec.structs.replace(baseline, fields=learn_variation(bins, season, lengths))


# ---------------------------------------------------------------------------------------------------- new bins


def _renew_bins(
    client: Client,
    panes: PaneRange,
    baseline: Baseline,
    old: Baseline,
    contract: Contract,
    merged: Sequence[NumericSketch | UnseenCategories | None],
) -> Baseline:
    """Give new bins to the fields whose bins have become too coarse; fields without sketches keep theirs.

    Args:
        baseline: the baseline on the old bins, complete.
    """
    edges: dict[str, tuple[float, ...]] = {}
    whole: dict[str, NumericSketch] = {}
    for field, sketch in zip(baseline.fields, merged, strict=True):
        if isinstance(sketch, NumericSketch) and (chosen := find_new_edges(field, sketch)) is not None:
            edges[field.name], whole[field.name] = chosen, sketch
    if not edges:
        return baseline
    parts = _merge_parts(client, panes, baseline, contract, list(edges))
    fields = tuple(
        move_to_new_bins(
            field,
            previous,
            edges[field.name],
            {name: sketch for name, sketch in parts[field.name].items() if name not in HOUR_NAMES}
            | {ALL: whole[field.name]},
            {name: sketch for name, sketch in parts[field.name].items() if name in HOUR_NAMES},
        )
        if field.name in edges
        else field
        for field, previous in zip(baseline.fields, old.fields, strict=True)
    )
    return msgspec.structs.replace(baseline, fields=fields)


def _merge_parts(
    client: Client, panes: PaneRange, baseline: Baseline, contract: Contract, names: Sequence[str]
) -> dict[str, dict[str, NumericSketch]]:
    """Merge the sketches of some fields by slice, and those of the slice `all` by hour of the week if there are any.

    A slice with a damaged sketch is left out.
    """
    result: dict[str, dict[str, NumericSketch]] = {name: {} for name in names}
    if not (baseline.timezone or any(cut.sketches for cut in contract.slices)):
        return result
    declared = {field.name: field.sketch for field in contract.fields}
    integer = {field.name: field.integer for field in baseline.fields}
    unit_s = hour_unit_s(contract.pane_s)
    damaged: set[tuple[str, str]] = set()
    step = SKETCH_PANES * contract.pane_s
    for start in range(panes.start_s, panes.end_s, step):
        end = min(start + step, panes.end_s)
        for name, part, at_s, data in pane_sums.field_sketches(client, panes, names, start, end):
            if part == ALL:
                if not baseline.timezone:
                    continue
                part = HOUR_NAMES[int(compute_hours_of_week(np.array([at_s]), unit_s, baseline.timezone)[0])]
            try:
                sketch = numeric_sketch(integer[name], declared.get(name, "kll"), data)
            except (EnvelopeError, MixedSketches):
                damaged.add((name, part))
                continue
            if part in result[name]:
                sketch.merge(result[name][part])
            result[name][part] = sketch
    for name, part in damaged:
        result[name].pop(part, None)
    return result


# ---------------------------------------------------------------------------------------------------- findings


def _compute_psi(old: PsiBins, new_bins: IntArray) -> dict[str, float]:
    if not old.n_groups:
        return {}
    psi, _, _, _ = psi_values(old.base_bins, new_bins, old.starts)
    return {
        old.layout.fields[field].name: float(psi[0, group])
        for group, (row, field) in enumerate(zip(old.slice_index.tolist(), old.field_index.tolist(), strict=True))
        if row == 0
    }


def _find_heavy_bins(old: PsiBins, new: IntArray, renewed: set[str]) -> tuple[list[HeavyBin], list[HeavyBin]]:
    """Find the heaviest bin of each renewed field, and the bins of other numeric fields that have become heavy."""
    heaviest, heavy = [], []
    for group, (row, index) in enumerate(zip(old.slice_index.tolist(), old.field_index.tolist(), strict=True)):
        field = old.layout.fields[index]
        if row != 0 or field.kind != "numeric":
            continue
        bins = slice(int(old.starts[group]), int(old.starts[group] + old.sizes[group]))
        before, now, labels = old.base_bins[bins], new[bins], old.group_labels(group)
        if field.name in renewed:
            before, now, labels = before[:-1], now[:-1], labels[:-1]
        if not now.sum():
            continue
        bin_shares = [
            HeavyBin(field.name, *each)
            for each in zip(labels, (before / max(before.sum(), 1)).tolist(), (now / now.sum()).tolist(), strict=True)
        ]
        if field.name in renewed:
            heaviest.append(max(bin_shares, key=lambda each: each.now))
        else:
            heavy += [each for each in bin_shares if each.now > HEAVY_BIN_SHARE >= each.before]
    return heaviest, heavy
