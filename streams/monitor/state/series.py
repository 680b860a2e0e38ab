"""State of one (model, version, baseline): its panes and hourly sums."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from barograph.contract import SECONDS_PER_HOUR, Contract
from numpy.typing import NDArray

from barograph_server.sketches.baseline.baseline import ALL, FieldBaseline
from barograph_server.sketches.baseline.bins import PsiBins
from barograph_server.sketches.baseline.columns import TAIL_KEYS, FieldColumn
from barograph_server.sketches.baseline.layout import EVENTS, HEADER, IntArray, Layout, LayoutError
from barograph_server.sketches.drift.distances import QuantileTable
from barograph_server.sketches.drift.moments import kurtosis
from barograph_server.sketches.drift.rate_cells import RateCells
from barograph_server.sketches.drift.season import Season
from barograph_server.sketches.sketch.merge import merge_moments, merge_sketch
from barograph_server.sketches.sketch.numeric import as_sketched, numeric_sketch_type
from barograph_server.streams.monitor.state.commit_rows import Columns
from barograph_server.streams.monitor.state.pane import (
    WIDENED_TYPES,
    CountArray,
    Pane,
    SliceField,
    SliceSketch,
    empty_pane,
    narrowest,
)
from barograph_server.streams.monitor.state.sketch_codec import SketchCodec
from barograph_server.streams.records import Partial, RecordError
from barograph_server.warehouse.tables import constant_column


@dataclass(frozen=True, slots=True)
class TrainingReference:
    """Quantiles and moments of one numeric field in training."""

    field_index: int
    table: QuantileTable | None
    """None if the baseline has no quantiles of the field."""
    m: int
    """Number of training values."""
    mean: float
    std: float
    kurtosis: float


def training_references(contract: Contract, fields: tuple[FieldBaseline, ...]) -> list[TrainingReference]:
    """Prepare the numeric fields of a baseline.

    Args:
        contract: requests a sketch type per field, which rounds values as the sketches of windows do.
    """
    types = {field.name: field.sketch for field in contract.fields}
    references = []
    for i, each in enumerate(fields):
        if each.kind != "numeric":
            continue
        m = sum(each.slices[ALL].cells[: FieldColumn.NULL])
        table, kappa = None, float("nan")
        if each.quantiles and m:
            sketch_type = numeric_sketch_type(each.integer, types.get(each.name, "kll"))
            table = QuantileTable(as_sketched(sketch_type, each.quantiles), m, each.quantile_error)
            kappa = float(kurtosis(table.steps[None])[0])
        references.append(TrainingReference(i, table, m, each.mean, each.std, kappa))
    return references


@dataclass
class CompiledBaseline:
    """A baseline compiled for judging; all series on the baseline share it."""

    layout: Layout
    bins: PsiBins
    rates: RateCells
    row_cells: NDArray[np.bool_]
    """Shape (width,): which columns are cells of fields, in the order of the fields."""
    season: Season | None
    """Expected shares by hour of the week; None if the baseline has no time zone."""
    labels: tuple[NDArray[np.int32], pa.Array]
    """Labels of the bins: codes of shape (n_bins,), and the strings that they index, the last of which is empty."""
    training_references: dict[tuple[tuple[str, str], ...], list[TrainingReference]] = field(default_factory=dict)
    """Numeric fields as training saw them, by the names and sketch types of the contract's fields."""

    @classmethod
    def of(cls, layout: Layout) -> CompiledBaseline:
        cells = np.zeros(layout.width, dtype=bool)
        for start, n in zip(layout.starts.tolist(), layout.n_cells.tolist(), strict=True):
            cells[start : start + n] = True
        bins = PsiBins(layout)
        season = Season(bins) if layout.baseline.timezone else None
        codes, labels = bins.coded_labels
        return cls(layout, bins, RateCells(layout), cells, season, (codes, pa.array([*labels, ""], pa.string())))


def _read_nothing(start_s: int) -> Pane | None:
    return None


@dataclass
class Series:
    """The state of one (model, version, baseline)."""

    version: str
    baseline_id: str
    compiled: CompiledBaseline
    contract: Contract
    """The contract in force. `PaneCache.update_contract` replaces it."""
    unregistered: bool = False
    panes: dict[int, Pane] = field(default_factory=dict)
    """Panes in memory, by start."""
    hours: dict[int, CountArray] = field(default_factory=dict)
    """Sums of the panes of whole hours, by start; empty unless panes are shorter than an hour."""
    dirty_hours: set[int] = field(default_factory=set)
    """Starts of the hours (panes, if these are longer) whose rollups and new categories are to be written."""
    first_s: int | None = None
    """Start of the first pane with an event that was not late: the start of this series' history.

    Late events do not move it: otherwise windows that were judged as partly before the history would become whole.
    """
    read_evicted: Callable[[int], Pane | None] = _read_nothing
    """Reads an evicted pane by its start without caching it; None if no such pane was evicted."""
    _codec: SketchCodec | None = None

    @property
    def layout(self) -> Layout:
        return self.compiled.layout

    @property
    def codec(self) -> SketchCodec:
        """Opens the sketches of this series under the contract in force."""
        if self._codec is None or self._codec.contract is not self.contract:
            self._codec = SketchCodec(self.layout, self.contract)
        return self._codec

    @property
    def training_references(self) -> list[TrainingReference]:
        """The numeric fields as training saw them, for the sketch types that the contract requests."""
        types = tuple((field.name, field.sketch) for field in self.contract.fields)
        references = self.compiled.training_references.get(types)
        if references is None:
            references = training_references(self.contract, self.layout.fields)
            self.compiled.training_references = {types: references}
        return references

    def columns(self, n: int) -> Columns:
        """Return the columns that identify the series of n rows."""
        names = {"model": self.contract.model, "version": self.version, "baseline_id": self.baseline_id}
        return {name: constant_column(value, n) for name, value in names.items()}

    def empty_pane(self, start_s: int) -> Pane:
        """Return a pane without events; it is not stored."""
        return empty_pane(self.layout, start_s)

    # ------------------------------------------------------------------------------------------ merging partials

    def fit(self, partial: Partial) -> None:
        """Lay out the counts of a partial as this version does, or reject a partial that does not fit.

        Raises:
            RecordError: the message names the mismatch.
        """
        layout = self.layout
        if partial.pane_s != self.contract.pane_s:
            raise RecordError(
                f"the partial's panes last {partial.pane_s} s, those of the contract {self.contract.pane_s} s"
            )
        if partial.slice_to > layout.n_slices or partial.field_to > layout.n_fields:
            raise RecordError(f"the partial has slices or fields that baseline {self.baseline_id} lacks")
        try:
            partial.counts = layout.fit(partial.counts, partial.field_from, partial.field_to, partial.tail)
        except LayoutError as error:
            raise RecordError(f"the partial does not fit baseline {self.baseline_id}: {error}") from error
        partial.tail = TAIL_KEYS
        for s, f in partial.slice_cells.tolist():
            inside = max(1, partial.slice_from) <= s < partial.slice_to and partial.field_from <= f < partial.field_to
            if not inside or layout.fields[f].kind != "numeric":
                raise RecordError(f"the partial has a sketch of slice {s} and field {f}, which it does not cover")

    def merge(self, pane: Pane, partial: Partial, record_seq: int, *, late: bool) -> bool:
        """Merge a partial into those rows of a pane that do not contain it yet; return whether any row changed.

        Raises:
            RecordError: a sketch in the partial is damaged; nothing was merged.
        """
        layout = self.layout
        s0, s1, f0, f1 = partial.slice_from, partial.slice_to, partial.field_from, partial.field_to
        rows = pane.record_seq[s0:s1, 1 + f0 : 1 + f1] < record_seq
        header = pane.record_seq[s0:s1, 0] < record_seq if f0 == 0 else np.zeros(s1 - s0, dtype=bool)
        if not rows.any() and not header.any():
            return False
        sketches = self._merge_sketches(pane, partial, rows) if partial.sketches else None
        slice_sketches = self._merge_slice_sketches(pane, partial, rows)
        columns = layout.span(f0, f1)
        counts = partial.counts[:, HEADER:]
        if not rows.all():
            counts = counts * np.repeat(rows, layout.widths[f0:f1], axis=1)
        self.add_counts(pane, slice(s0, s1), columns, counts)
        if header.any():
            self.add_counts(pane, slice(s0, s1), slice(0, HEADER), partial.counts[:, :HEADER] * header[:, None])
            if late:
                pane.late[s0:s1] += partial.counts[:, EVENTS] * header
        if sketches is not None:
            pane.sketches[f0:f1] = sketches
            changed = np.flatnonzero(rows[0])
            moments = pane.moments[f0:f1][changed]
            merge_moments(moments, partial.moments[changed])
            pane.moments[f0 + changed] = moments
        for key, sketch in slice_sketches.items():
            if sketch is None:
                pane.slice_sketches.pop(key, None)
            else:
                pane.slice_sketches[key] = sketch
        pane.record_seq[s0:s1, 1 + f0 : 1 + f1] = np.where(rows, record_seq, pane.record_seq[s0:s1, 1 + f0 : 1 + f1])
        if f0 == 0:
            pane.record_seq[s0:s1, 0] = np.where(header, record_seq, pane.record_seq[s0:s1, 0])
        pane.dirty = True
        self.unregistered = partial.unregistered
        if not late:
            self.first_s = pane.start_s if self.first_s is None else min(self.first_s, pane.start_s)
        return True

    def add_counts(self, pane: Pane, slices: slice, columns: slice, counts: IntArray) -> None:
        """Add counts to a rectangle of a pane, and to the sum of its hour if that is in memory."""
        pane.widen_counts(int(pane.counts[slices, columns].max(initial=0)) + int(counts.max(initial=0)))
        pane.counts[slices, columns] += counts.astype(pane.counts.dtype, copy=False)
        start_s = pane.start_s // SECONDS_PER_HOUR * SECONDS_PER_HOUR
        hour = self.hours.get(start_s)
        if hour is not None:
            hour = self.hours[start_s] = hour.astype(np.int64, copy=False)
            hour[slices, columns] += counts
            self.dirty_hours.add(start_s)

    def _merge_sketches(self, pane: Pane, partial: Partial, rows: NDArray[np.bool_]) -> list[bytes]:
        merged, codec = [], self.codec
        for i, data in enumerate(partial.sketches):
            f = partial.field_from + i
            present = pane.sketches[f]
            if not data or not rows[0, i]:
                merged.append(present)
            elif not present:
                codec.open(f, data)
                merged.append(data)
            else:
                sketch = merge_sketch(codec.open(f, present), codec.open(f, data))
                merged.append(b"" if sketch is None else sketch.to_bytes())
        return merged

    def _merge_slice_sketches(
        self, pane: Pane, partial: Partial, rows: NDArray[np.bool_]
    ) -> dict[SliceField, SliceSketch | None]:
        """Return the slice sketches of a pane that a partial changes; None for those to drop.

        A pane's slice sketch covers every value of its slice and field, or the pane has none. If a partial has values
        without a sketch, because the contract did not request it at the time, the pane's sketch is dropped.
        """
        added = {
            (s, f): SliceSketch(moments, sketch)
            for (s, f), moments, sketch in zip(
                partial.slice_cells.tolist(), partial.slice_moments, partial.slice_sketches, strict=True
            )
        }
        s0, f0 = partial.slice_from, partial.field_from
        changed: dict[SliceField, SliceSketch | None] = {}
        for s, f in {*added, *pane.slice_sketches}:
            if not (s0 <= s < partial.slice_to and f0 <= f < partial.field_to and rows[s - s0, f - f0]):
                continue
            valid, shift = self.layout.valid_cells(f), HEADER - int(self.layout.starts[f0])
            if partial.counts[s - s0, valid.start + shift : valid.stop + shift].any():
                changed[s, f] = self._merge_slice_sketch(pane, (s, f), added.get((s, f)))
        return changed

    def _merge_slice_sketch(self, pane: Pane, key: SliceField, added: SliceSketch | None) -> SliceSketch | None:
        if added is None:
            return None
        present = pane.slice_sketches.get(key)
        if present is None:
            self.codec.open_if_same_type(key[1], added.sketch)
            return None if pane.count_values(self.layout, *key) else added
        return self.codec.merge_slice_sketches(key[1], [present, added])

    def mark_written(self) -> None:
        """Record that every pane equals its rows in ClickHouse, and narrow the counts that grew."""
        for pane in self.panes.values():
            pane.dirty = False
            if pane.counts.dtype in WIDENED_TYPES:
                pane.narrow_counts()
        for start_s, counts in self.hours.items():
            if counts.dtype in WIDENED_TYPES:
                self.hours[start_s] = narrowest(counts)

    # ------------------------------------------------------------------------------------------ reading

    def peek(self, start_s: int) -> Pane | None:
        """Return a pane for reading; an evicted pane is read from the warehouse and not cached."""
        pane = self.panes.get(start_s)
        return self.read_evicted(start_s) if pane is None else pane

    def iter_panes(self, start_s: int, end_s: int) -> Iterator[Pane]:
        """Yield the panes that start in [start, end) one after another, each as `peek` returns it."""
        for at_s in range(start_s, end_s, self.contract.pane_s):
            pane = self.peek(at_s)
            if pane is not None:
                yield pane

    def sum_hour(self, start_s: int) -> CountArray:
        """Return the sum of the panes of one hour, shape (n_slices, width)."""
        total = self.layout.empty_counts()
        for pane in self.iter_panes(start_s, start_s + SECONDS_PER_HOUR):
            total += pane.counts
        return narrowest(total)

    def iter_counts(self, start_s: int, end_s: int, step_s: int) -> Iterator[CountArray]:
        """Yield the counts of the panes or hours that exist in [start, end), shape (n_slices, width) each.

        Args:
            step_s: length of a pane, or of an hour.
        """
        for at_s in range(start_s, end_s, step_s):
            counts = self._peek_counts(at_s, step_s)
            if counts is not None:
                yield counts

    def stack_counts(self, start_s: int, end_s: int, step_s: int, slices: slice = slice(None)) -> IntArray:
        """Return the counts of consecutive panes or hours, shape (n, n_slices, width); missing ones count zero.

        Args:
            step_s: length of a pane, or of an hour.
            slices: which slices; all by default.
        """
        n = (end_s - start_s) // step_s
        n_slices = len(range(*slices.indices(self.layout.n_slices)))
        stacked = np.zeros((n, n_slices, self.layout.width), dtype=np.int64)
        for i in range(n):
            counts = self._peek_counts(start_s + i * step_s, step_s)
            if counts is not None:
                stacked[i] = counts[slices]
        return stacked

    def _peek_counts(self, start_s: int, step_s: int) -> CountArray | None:
        if step_s > self.contract.pane_s:
            return self.hours.get(start_s)
        pane = self.peek(start_s)
        return None if pane is None else pane.counts
