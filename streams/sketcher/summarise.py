"""Columns of events → the summaries of a flush: exact counts, moments and sketches per pane.

One pass over whole arrays: which pane, slice and cell each value belongs to becomes one number, and one `bincount`
per field and slice dimension counts them all. No Python runs per value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from barograph.contract import Contract, SketchKind
from numpy.typing import NDArray

from sketches.baseline.baseline import OTHER
from sketches.baseline.cells import FieldCells, category_cells, count_sorted, numeric_cells
from sketches.baseline.layout import ERRORS, EVENTS, SLOW, TIMED, IntArray, Layout
from sketches.sketch.categorical import UnseenCategories
from sketches.sketch.merge import N_MOMENTS, NumberSummary, merge_moments, merge_sketch
from sketches.sketch.numeric import NumericSketch, numeric_sketch
from streams.events.columns import INVALID_TEXT, EventColumns, ProducerArrivals, encode_versions
from streams.events.projection import LATENCY, field_of
from streams.registry.registry import Registry
from streams.sketcher.grouping import Dimension, Groups
from streams.sketcher.slices import SliceCoder
from streams.tallies import ErrorSlices, FlushTallies

ARM = "arm"
"""The source of the slices by which errors are counted by kind."""
MAX_PANES_AT_ONCE = 512
"""Panes counted in one array; more are done in turns, so that a replay's memory stays bounded."""

FEW_IN_PANE = 1_000
"""From so many events per pane on, and without slices, bins are counted by searching edges in the sorted values."""

SKETCH_BYTES = 1_500
"""What a sketch of many values takes, about, the objects around it included."""

MAX_VERSIONS = 50
"""Versions without a baseline that one flush counts apart for each model; further ones are the version `other`."""
MAX_VERSION_CHARS = 200
"""A version whose name is longer is `other` too: every row of its panes would carry it."""


class PaneKey(NamedTuple):
    """What a part is about."""

    model: str
    version: str
    baseline_id: str
    pane_start_s: int


@dataclass(slots=True)
class PaneSummary:
    """The counts, moments and sketches of one pane."""

    layout: Layout
    pane_s: int
    unregistered: bool
    counts: IntArray
    """Shape (n_slices, width)."""
    moments: NDArray[np.float64]
    """Shape (n_fields, N_MOMENTS), of the slice `all`."""
    sketches: list[NumericSketch | UnseenCategories | None]
    """Of the slice `all`, one per field; None where nothing was seen."""
    kept: dict[tuple[int, int], NumberSummary] = dataclasses.field(default_factory=dict)
    """By slice and field: what the contract has kept of other slices than `all`, where there was a value."""

    @property
    def n_bytes(self) -> int:
        """What it takes in memory, about, once it has seen many values."""
        return self.counts.nbytes + self.moments.nbytes + SKETCH_BYTES * (len(self.sketches) + len(self.kept))


class _Series:
    """One model's layout made ready for arrays."""

    def __init__(self, layout: Layout, contract: Contract) -> None:
        self.layout = layout
        self.cells = [FieldCells(field) for field in layout.fields]
        declared = {field.name: field for field in contract.fields}
        fields = [declared.get(kept.name) or field_of(kept, contract) for kept in layout.fields]
        self.sources = [field.source for field in fields]
        self.types = [field.type for field in fields]
        self.kinds = [field.sketch for field in fields]
        self.slow_ms = contract.slo.latency_ms
        self.dimensions = [
            (SliceCoder(dimension), start)
            for dimension, start in zip(layout.baseline.dimensions, layout.dimension_starts, strict=True)
        ]
        asked = {cut.name: cut.sketches for cut in contract.slices}
        self.kept = [
            {layout.field_index[name] for name in asked.get(dimension.name, ()) if name in layout.field_index}
            for dimension in layout.baseline.dimensions
        ]
        """Per dimension the fields whose moments and sketches are kept for each of its slices."""


class FlushSummaries:
    """Gathers the events of one flush."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._series: dict[str, _Series] = {}
        self.panes: dict[PaneKey, PaneSummary] = {}
        self.tallies = FlushTallies()
        self.unwatched = 0
        """Events of models that have a contract and no baseline yet: kept raw, not summarised."""
        self.n_bytes = 0
        """What the panes take in memory, about."""
        self._strangers: dict[str, set[str]] = {}
        """Per model the versions without a baseline that are counted apart."""

    def add(self, events: EventColumns) -> None:
        """Summarise events of one model."""
        self._gather_versions(events)
        contract = self._registry.contracts[events.model]
        pane_ms = contract.pane_s * 1000
        pane = events.at_ms // pane_ms
        for code, version in enumerate(events.versions):
            chosen = events.version_code == code if len(events.versions) > 1 else None
            for ids, mask in self._by_baseline(events.model, version, pane, contract.pane_s, chosen):
                if ids is None:
                    self.unwatched += len(events) if mask is None else int(mask.sum())
                    continue
                part = events if mask is None else events.take(mask)
                self._add_series(part, contract, version, *ids)

    def _gather_versions(self, events: EventColumns) -> None:
        """Take versions together where a producer makes up ever new ones: each would hold panes in every room."""
        registered = self._registry.baselines.get(events.model, {})
        kept = self._strangers.setdefault(events.model, set())
        names = []
        for version in events.versions:
            if version not in registered and version not in kept:
                if len(version) > MAX_VERSION_CHARS or len(kept) >= MAX_VERSIONS:
                    version = OTHER
                else:
                    kept.add(version)
            names.append(version)
        if len(set(names)) < len(names) or OTHER in names:
            events.versions, code = encode_versions(names)
            events.version_code = code[events.version_code]

    def add_arrivals(self, arrivals: ProducerArrivals) -> None:
        """Note which numbers of which producers came, whether or not their events are counted."""
        self.tallies.add_arrivals(arrivals, self._registry.contracts[arrivals.model].pane_s)

    def _by_baseline(
        self, model: str, version: str, pane: IntArray, pane_s: int, chosen: NDArray[np.bool_] | None
    ) -> Iterator[tuple[tuple[str, bool] | None, NDArray[np.bool_] | None]]:
        """Split a version's events by the baseline that holds for their pane; None is the mask of all."""
        history, unregistered = self._registry.effective(model, version)
        if not history:
            yield None, chosen
            return
        if len(history) == 1:
            yield (history[0].baseline_id, unregistered), chosen
            return
        starts = np.array([entry.effective_from_s for entry in history[1:]])
        which = np.searchsorted(starts, pane * pane_s, side="right")
        for i, entry in enumerate(history):
            mask = which == i if chosen is None else (which == i) & chosen
            if mask.any():
                yield (entry.baseline_id, unregistered), mask

    def _add_series(
        self, events: EventColumns, contract: Contract, version: str, baseline_id: str, unregistered: bool
    ) -> None:
        if not len(events):
            return
        series = self._series.get(baseline_id)
        if series is None:
            series = self._series[baseline_id] = _Series(self._registry.layouts[baseline_id], contract)
        self._add_errors(events, contract, version, baseline_id, series)
        pane = events.at_ms // (contract.pane_s * 1000)
        distinct, group = _number_panes(pane)
        if (group[1:] < group[:-1]).any():
            order = np.argsort(group, kind="stable")
            events, group = _reorder(events, order), group[order]
        for first in range(0, len(distinct), MAX_PANES_AT_ONCE):
            last = min(first + MAX_PANES_AT_ONCE, len(distinct))
            lo, hi = np.searchsorted(group, [first, last])
            some = events if hi - lo == len(events) else _reorder(events, np.arange(lo, hi))
            counts, moments, sketches, kept = _summarise(some, series, group[lo:hi] - first, last - first)
            for i in range(last - first):
                key = PaneKey(events.model, version, baseline_id, int(distinct[first + i]) * contract.pane_s)
                summary = PaneSummary(
                    series.layout, contract.pane_s, unregistered, counts[i], moments[i], sketches[i], kept[i]
                )
                self._merge(key, summary)

    def _add_errors(
        self, events: EventColumns, contract: Contract, version: str, baseline_id: str, series: _Series
    ) -> None:
        if events.error_kinds is None or not events.errors.any():
            return
        failed = events.take(events.errors)
        arms = [
            ErrorSlices(series.layout.slices[start : start + coder.n_values + 1], coder.codes(failed))
            for dimension, (coder, start) in zip(series.layout.baseline.dimensions, series.dimensions, strict=True)
            if dimension.source == ARM
        ]
        key = (events.model, version, baseline_id)
        assert failed.error_kinds is not None
        self.tallies.add_errors(key, contract.pane_s, failed.at_ms, failed.error_kinds, arms)

    def _merge(self, key: PaneKey, more: PaneSummary) -> None:
        held = self.panes.get(key)
        if held is None:
            self.panes[key] = more
            self.n_bytes += more.n_bytes
            return
        held.counts += more.counts
        merge_moments(held.moments, more.moments)
        for i, sketch in enumerate(more.sketches):
            held.sketches[i] = merge_sketch(held.sketches[i], sketch)
        for place, kept in more.kept.items():
            if place in held.kept:
                held.kept[place].merge(kept, reuse=True)
            else:
                held.kept[place] = kept


def _number_panes(pane: IntArray) -> tuple[IntArray, IntArray]:
    """The distinct panes of n events, ascending, and the position of each event's among them, shape (n,)."""
    first, last = int(pane.min()), int(pane.max())
    if last - first >= max(len(pane), MAX_PANES_AT_ONCE):
        return np.unique(pane, return_inverse=True)
    present = np.bincount(pane - first) > 0
    return np.flatnonzero(present) + first, (np.cumsum(present) - 1)[pane - first]


def _reorder(events: EventColumns, order: NDArray[np.int64]) -> EventColumns:
    taken = pa.array(order)
    return EventColumns(
        events.model,
        events.at_ms[order],
        events.received_ms[order],
        events.partition[order],
        events.offset[order],
        events.index[order],
        events.versions,
        events.version_code[order],
        events.errors[order],
        {source: values[order] for source, values in events.numbers.items()},
        {source: values.take(taken) for source, values in events.texts.items()},
        None if events.error_kinds is None else events.error_kinds.take(order),
    )


def _summarise(
    events: EventColumns, series: _Series, pane: NDArray[np.int64], n_panes: int
) -> tuple[
    IntArray,
    NDArray[np.float64],
    list[list[NumericSketch | UnseenCategories | None]],
    list[dict[tuple[int, int], NumberSummary]],
]:
    """Count events that are ordered by pane; `pane` of shape (n,) numbers the panes from 0."""
    layout = series.layout
    counts = np.zeros((n_panes, layout.n_slices, layout.width), dtype=np.int64)
    moments = np.repeat(layout.empty_moments()[None], n_panes, axis=0)
    sketches: list[list[NumericSketch | UnseenCategories | None]] = [[None] * layout.n_fields for _ in range(n_panes)]
    kept: list[dict[tuple[int, int], NumberSummary]] = [{} for _ in range(n_panes)]
    groups = Groups(
        pane,
        n_panes,
        layout.n_slices,
        [Dimension(start, coder.n_values + 1, coder.codes(events)) for coder, start in series.dimensions],
    )
    bounds = np.searchsorted(pane, np.arange(n_panes + 1))
    in_order = not series.dimensions and len(events) >= FEW_IN_PANE * n_panes
    orders: dict[int, NDArray[np.int64]] = {}
    counts[:, :, EVENTS] = groups.number()
    for column, mask in _header(events, series.slow_ms):
        counts[:, :, column] = groups.number(mask)
    for i, field in enumerate(layout.fields):
        block = counts[:, :, layout.span(i, i + 1)]
        cells = series.cells[i]
        if field.kind != "numeric":
            texts = events.texts.get(series.sources[i])
            if texts is None:
                texts = pa.nulls(len(events), pa.string())
            cell = _category_cells(cells, texts)
            block[:, :, : cells.n_codes] = groups.count(cell, cells.n_codes)
            _unseen_sketches(i, cells, texts, cell, bounds, sketches)
            continue
        values = field_numbers(events, series.sources[i], series.types[i])
        sketched = _Numbers(field.integer, series.kinds[i], field.mean)
        are_finite = np.isfinite(values)
        finite = None if are_finite.all() else are_finite
        if in_order:
            panes, found_moments, found_sketches = sketched.by_group(values, finite, bounds, cells, block[:, 0])
            if finite is not None:
                block[:, :, cells.null] = groups.number(np.isnan(values))
                block[:, :, cells.invalid] = groups.number(np.isinf(values))
        else:
            _count_numbers(cells, values, groups, block)
            panes, found_moments, found_sketches = sketched.by_group(values, finite, bounds)
        moments[panes, i] = found_moments
        for p, sketch in zip(panes, found_sketches, strict=True):
            sketches[p][i] = sketch
        for d, ((coder, start), asked) in enumerate(zip(series.dimensions, series.kept, strict=True)):
            if i in asked:
                group, n_values = groups.by_value(d), coder.n_values + 1
                order = orders.get(start)
                if order is None:
                    order = orders[start] = np.argsort(group, kind="stable")
                ends = np.searchsorted(group[order], np.arange(n_panes * n_values + 1))
                of_slices = sketched.by_group(values[order], None if finite is None else finite[order], ends)
                for g, of_slice, sketch in zip(*of_slices, strict=True):
                    kept[g // n_values][start + g % n_values, i] = NumberSummary(of_slice, sketch)
    return counts, moments, sketches, kept


def _count_numbers(cells: FieldCells, values: NDArray[np.float64], groups: Groups, block: IntArray) -> None:
    """Count a numeric field into its columns, shape (n_panes, n_slices, n_cells + TAIL)."""
    found = numeric_cells(cells, values, np.isnan(values))
    block[:, :, : cells.n_codes] = groups.count(found.cell, cells.n_codes)
    for column, flag in found.flags:
        if flag.any():
            block[:, :, cells.n_cells + column] = groups.number(flag)


def _header(events: EventColumns, slow_ms: float | None) -> list[tuple[int, NDArray[np.bool_]]]:
    """The columns of the header beside EVENTS, each with the events that it counts; none that counts nothing."""
    found = [(ERRORS, events.errors)]
    latency = events.numbers.get(LATENCY)
    if latency is not None:
        timed = np.isfinite(latency)
        found.append((TIMED, timed))
        if slow_ms is not None:
            found.append((SLOW, timed & (latency > slow_ms)))
    return [(column, mask) for column, mask in found if mask.any()]


def field_numbers(events: EventColumns, source: str, field_type: str) -> NDArray[np.float64]:
    """Read a numeric field's values; a timestamp becomes its age in seconds, an absent field null."""
    values = events.numbers.get(source)
    if values is None:
        return np.full(len(events), np.nan)
    return (events.at_ms - values) / 1000 if field_type == "timestamp" else values


def _category_cells(cells: FieldCells, texts: pa.Array) -> NDArray[np.int32]:
    """The cell of each text, `cells.invalid` among them."""
    cell = category_cells(cells, texts)
    unseen = cell == len(cells.field.categories)
    if not unseen.any():
        return cell
    invalid = pc.fill_null(pc.equal(_plain(texts), INVALID_TEXT), False).to_numpy(zero_copy_only=False)
    return np.where(invalid, np.int32(cells.invalid), cell) if invalid.any() else cell


def _plain(texts: pa.Array) -> pa.Array:
    return texts.cast(pa.string()) if pa.types.is_dictionary(texts.type) else texts


@dataclass(frozen=True, slots=True)
class _Numbers:
    """How the numbers of a field are summarised."""

    integer: bool
    kind: SketchKind
    mean: float

    def by_group(
        self,
        values: NDArray[np.float64],
        finite: NDArray[np.bool_] | None,
        bounds: NDArray[np.int64],
        cells: FieldCells | None = None,
        counts: IntArray | None = None,
    ) -> tuple[list[int], NDArray[np.float64], list[NumericSketch]]:
        """Summarise numbers per group: group g holds values[bounds[g]:bounds[g + 1]], of which the finite ones count.

        Args:
            values: ordered by group.
            finite: which of them are, shape (n,); None for all.
            bounds: shape (groups + 1,).
            cells: where they are to be counted too: the field's,
            counts: and where to, shape (groups, n_cells + TAIL); nulls and invalid values are not counted.

        Returns:
            The groups with a finite value, their moments of shape (groups, N_MOMENTS), their sketches.
        """
        if finite is not None:
            values = values[finite]
            kept = np.concatenate(([0], np.cumsum(finite)))
            bounds = kept[bounds]
        full = np.flatnonzero(bounds[1:] > bounds[:-1])
        moments = np.empty((len(full), N_MOMENTS))
        if not len(full):
            return [], moments, []
        starts = bounds[:-1][full]
        # Of numbers near the end of the range the sums are infinite: what is stored then says "out of range".
        with np.errstate(over="ignore", invalid="ignore"):
            shifted = values - self.mean
            moments[:, 0] = np.add.reduceat(shifted, starts)
            moments[:, 1] = np.add.reduceat(shifted * shifted, starts)
        sketches = []
        for i, g in enumerate(full.tolist()):
            # One sorting serves the extremes, the sketch and the counts.
            ordered = values[bounds[g] : bounds[g + 1]].copy()
            ordered.sort()
            moments[i, 2:] = ordered[0], ordered[-1]
            sketch = numeric_sketch(self.integer, self.kind)
            sketch.update_sorted(ordered)
            sketches.append(sketch)
            if cells is not None and counts is not None:
                counts[g] = count_sorted(cells, ordered)
        return full.tolist(), moments, sketches


def _unseen_sketches(
    i: int,
    cells: FieldCells,
    texts: pa.Array,
    cell: NDArray[np.int32],
    bounds: NDArray[np.int64],
    sketches: list[list[NumericSketch | UnseenCategories | None]],
) -> None:
    unseen = cell == len(cells.field.categories)
    if not unseen.any():
        return
    for p in range(len(bounds) - 1):
        mask = unseen[bounds[p] : bounds[p + 1]]
        if mask.any():
            sketch = UnseenCategories()
            sketch.update_array(_plain(texts.slice(bounds[p], bounds[p + 1] - bounds[p])).filter(pa.array(mask)))
            sketches[p][i] = sketch
