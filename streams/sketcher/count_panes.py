"""Counts the events of whole panes: exact counts, moments and sketches per pane, slice and field.

Which pane, slice and cell each value belongs to becomes one number, and one `bincount` per field and slice dimension
counts them all. No Python code runs per value.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from barograph.contract import Contract, SketchKind
from numpy.typing import NDArray

from barograph_server.sketches.baseline.cells import FieldCells, category_cells, count_sorted, numeric_cells
from barograph_server.sketches.baseline.layout import ERRORS, EVENTS, SLOW, TIMED, IntArray, Layout
from barograph_server.sketches.sketch.categorical import UnseenCategories
from barograph_server.sketches.sketch.merge import N_MOMENTS, NumberSummary
from barograph_server.sketches.sketch.numeric import NumericSketch, numeric_sketch
from barograph_server.streams.events.columns import INVALID_TEXT, EventColumns
from barograph_server.streams.events.projection import LATENCY, field_of, is_of_answer
from barograph_server.streams.sketcher.grouping import CodedDimension, PaneGroups
from barograph_server.streams.sketcher.pane_summary import PaneSummary
from barograph_server.streams.sketcher.slices import SliceCoder

FEW_IN_PANE = 1_000
"""Average events per pane from which, without slices, bins are counted by searching the edges in the sorted values."""


class SeriesCoder:
    """A baseline's layout, prepared for arrays of events of one model."""

    def __init__(self, layout: Layout, contract: Contract) -> None:
        self.layout = layout
        self.cells = [FieldCells(field) for field in layout.fields]
        declared = {field.name: field for field in contract.fields}
        fields = [declared.get(field.name) or field_of(field, contract) for field in layout.fields]
        self.sources = [field.source for field in fields]
        self.are_of_answer = [is_of_answer(source) for source in self.sources]
        self.types = [field.type for field in fields]
        self.kinds = [field.sketch for field in fields]
        self.slow_ms = contract.slo.latency_ms
        self.dimensions = [
            (SliceCoder(dimension), start)
            for dimension, start in zip(layout.baseline.dimensions, layout.dimension_starts, strict=True)
        ]
        sketches = {dimension.name: dimension.sketches for dimension in contract.slices}
        self.sketched_fields = [
            {layout.field_index[name] for name in sketches.get(dimension.name, ()) if name in layout.field_index}
            for dimension in layout.baseline.dimensions
        ]
        """For each dimension, the fields that get moments and a sketch for each of its slices."""


def summarise_panes(
    events: EventColumns, series: SeriesCoder, pane: NDArray[np.int64], n_panes: int, *, pane_s: int, unregistered: bool
) -> list[PaneSummary]:
    """Summarise events of one model and baseline.

    A failed event does not count in a field of the answer, even with a value, such as its latency.

    Args:
        events: ordered by pane.
        pane: shape (n,), numbers the pane of each event from 0.
        unregistered: whether the version has no baseline of its own.
    """
    layout = series.layout
    counts = np.zeros((n_panes, layout.n_slices, layout.width), dtype=np.int64)
    moments = np.repeat(layout.empty_moments()[None], n_panes, axis=0)
    sketches: list[list[NumericSketch | UnseenCategories | None]] = [[None] * layout.n_fields for _ in range(n_panes)]
    slices: list[dict[tuple[int, int], NumberSummary]] = [{} for _ in range(n_panes)]
    groups = PaneGroups(
        pane,
        n_panes,
        layout.n_slices,
        [CodedDimension(start, coder.n_values + 1, coder.codes(events)) for coder, start in series.dimensions],
    )
    bounds = np.searchsorted(pane, np.arange(n_panes + 1))
    in_order = not series.dimensions and len(events) >= FEW_IN_PANE * n_panes
    orders: dict[int, NDArray[np.int64]] = {}
    has_failed = bool(events.errors.any())
    number_failed = groups.number(events.errors) if has_failed else 0
    counts[:, :, EVENTS] = groups.number()
    for column, mask in _header(events, series.slow_ms):
        counts[:, :, column] = groups.number(mask)
    for i, field in enumerate(layout.fields):
        block = counts[:, :, layout.span(i, i + 1)]
        cells = series.cells[i]
        is_partial = has_failed and series.are_of_answer[i]
        if field.kind != "numeric":
            texts = events.texts.get(series.sources[i])
            if texts is None:
                texts = pa.nulls(len(events), pa.string())
            if is_partial:
                texts = pc.if_else(events.errors, None, texts)
            cell = _category_cells(cells, texts)
            block[:, :, : cells.n_codes] = groups.count(cell, cells.n_codes)
            if is_partial:
                block[:, :, cells.null] -= number_failed
            _unseen_sketches(i, cells, texts, cell, bounds, sketches)
            continue
        values = _field_numbers(events, series.sources[i], series.types[i])
        if is_partial:
            values = np.where(events.errors, np.nan, values)
        summariser = _NumberSummariser(field.integer, series.kinds[i], field.mean)
        are_finite = np.isfinite(values)
        finite = None if are_finite.all() else are_finite
        if in_order:
            panes, field_moments, field_sketches = summariser.by_group(values, finite, bounds, cells, block[:, 0])
            if finite is not None:
                block[:, :, cells.null] = groups.number(np.isnan(values))
                block[:, :, cells.invalid] = groups.number(np.isinf(values))
        else:
            _count_numbers(cells, values, groups, block)
            panes, field_moments, field_sketches = summariser.by_group(values, finite, bounds)
        if is_partial:
            block[:, :, cells.null] -= number_failed
        moments[panes, i] = field_moments
        for p, sketch in zip(panes, field_sketches, strict=True):
            sketches[p][i] = sketch
        for d, ((coder, start), fields) in enumerate(zip(series.dimensions, series.sketched_fields, strict=True)):
            if i in fields:
                group, n_values = groups.by_value(d), coder.n_values + 1
                order = orders.get(start)
                if order is None:
                    order = orders[start] = np.argsort(group, kind="stable")
                ends = np.searchsorted(group[order], np.arange(n_panes * n_values + 1))
                by_slice = summariser.by_group(values[order], None if finite is None else finite[order], ends)
                for g, slice_moments, sketch in zip(*by_slice, strict=True):
                    slices[g // n_values][start + g % n_values, i] = NumberSummary(slice_moments, sketch)
    return [
        PaneSummary(layout, pane_s, unregistered, counts[p], moments[p], sketches[p], slices[p]) for p in range(n_panes)
    ]


def _count_numbers(cells: FieldCells, values: NDArray[np.float64], groups: PaneGroups, block: IntArray) -> None:
    """Count a numeric field into its columns, shape (n_panes, n_slices, n_cells + TAIL)."""
    numbers = numeric_cells(cells, values, np.isnan(values))
    block[:, :, : cells.n_codes] = groups.count(numbers.cell, cells.n_codes)
    for column, flag in numbers.flags:
        if flag.any():
            block[:, :, cells.n_cells + column] = groups.number(flag)


def _header(events: EventColumns, slow_ms: float | None) -> list[tuple[int, NDArray[np.bool_]]]:
    """Return the header columns other than EVENTS that count anything, each with a mask of the events it counts."""
    columns = [(ERRORS, events.errors)]
    latency = events.numbers.get(LATENCY)
    if latency is not None:
        timed = np.isfinite(latency)
        columns.append((TIMED, timed))
        if slow_ms is not None:
            columns.append((SLOW, timed & (latency > slow_ms)))
    return [(column, mask) for column, mask in columns if mask.any()]


def _field_numbers(events: EventColumns, source: str, field_type: str) -> NDArray[np.float64]:
    """Return a numeric field's values: the age in seconds of a timestamp, NaN for a field that no event has."""
    values = events.numbers.get(source)
    if values is None:
        return np.full(len(events), np.nan)
    return (events.at_ms - values) / 1000 if field_type == "timestamp" else values


def _category_cells(cells: FieldCells, texts: pa.Array) -> NDArray[np.int32]:
    """Return the cell of each text, which is `cells.invalid` for invalid values."""
    cell = category_cells(cells, texts)
    unseen = cell == len(cells.field.categories)
    if not unseen.any():
        return cell
    invalid = pc.fill_null(pc.equal(_plain(texts), INVALID_TEXT), False).to_numpy(zero_copy_only=False)
    return np.where(invalid, np.int32(cells.invalid), cell) if invalid.any() else cell


def _plain(texts: pa.Array) -> pa.Array:
    return texts.cast(pa.string()) if pa.types.is_dictionary(texts.type) else texts


@dataclass(frozen=True, slots=True)
class _NumberSummariser:
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
        """Summarise finite numbers by group: group g holds values[bounds[g]:bounds[g + 1]].

        Args:
            values: ordered by group.
            finite: a mask of the finite values, shape (n,); None if all are.
            bounds: shape (groups + 1,).
            cells: the field's cells; None counts nothing.
            counts: receives the counts by cell, shape (groups, n_cells + TAIL), without nulls and invalid values.

        Returns:
            The groups with a finite value, their moments of shape (groups, N_MOMENTS), their sketches.
        """
        if finite is not None:
            values = values[finite]
            bounds = np.concatenate(([0], np.cumsum(finite)))[bounds]
        full = np.flatnonzero(bounds[1:] > bounds[:-1])
        moments = np.empty((len(full), N_MOMENTS))
        if not len(full):
            return [], moments, []
        starts = bounds[:-1][full]
        # Sums of numbers near the limit of float64 are infinite, which is stored and means "out of range".
        with np.errstate(over="ignore", invalid="ignore"):
            shifted = values - self.mean
            moments[:, 0] = np.add.reduceat(shifted, starts)
            moments[:, 1] = np.add.reduceat(shifted * shifted, starts)
        sketches = []
        for i, g in enumerate(full.tolist()):
            # The extremes, the sketch and the counts all use the sorted values.
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
