"""What the monitor holds of one (model, version, baseline): its panes and hours, and what is compiled for judging."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import structlog
from barograph.contract import SECONDS_PER_HOUR, Contract, SketchKind
from numpy.typing import NDArray

from sketches.baseline.bins import PsiBins
from sketches.baseline.columns import TAIL_KEYS
from sketches.baseline.layout import EVENTS, HEADER, IntArray, Layout, LayoutError
from sketches.drift.rate_cells import RateCells
from sketches.drift.season import Season
from sketches.sketch.categorical import UnseenCategories
from sketches.sketch.envelope import EnvelopeError, MixedSketches
from sketches.sketch.merge import merge_moments, merge_sketch
from sketches.sketch.numeric import NumericSketch, numeric_sketch
from streams.monitor.state.merged_ranges import MergedRanges
from streams.monitor.state.training_reference import TrainingReference, trained_of
from streams.records import Partial, RecordError

log = structlog.get_logger()

Sketch = NumericSketch | UnseenCategories
CountArray = NDArray[np.integer[Any]]
"""Counts of the smallest type that holds them, unsigned, or of a signed one while they grow."""
GROWING = (np.int32, np.int64)
KEPT_BYTES = 300
"""What the objects around a kept sketch take, about."""


@dataclass(frozen=True, slots=True)
class KeptBytes:
    """Moments and sketch of a numeric field in one slice that the contract keeps them for."""

    moments: NDArray[np.float64]
    """Shape (N_MOMENTS,)."""
    sketch: bytes
    """Enveloped."""


@dataclass(slots=True)
class Pane:
    """The merge of all parts of one minute (or whatever the contract's pane is) of one series."""

    start_s: int
    counts: CountArray
    """Shape (n_slices, width)."""
    moments: NDArray[np.float64]
    """Shape (n_fields, N_MOMENTS)."""
    sketches: list[bytes]
    """Of the slice `all`, enveloped, one per field."""
    record_seq: IntArray
    """Shape (n_slices, 1 + n_fields): the last record merged into each row; column 0 is the volume's."""
    late: IntArray
    """Shape (n_slices,): events that came after the pane was sealed."""
    sealed: bool = False
    dirty: bool = True
    kept: dict[tuple[int, int], KeptBytes] = field(default_factory=dict)
    """By slice and field, where it was kept of every value."""

    @property
    def n_events(self) -> int:
        return int(self.counts[0, EVENTS])

    @property
    def n_bytes(self) -> int:
        """What the pane takes in memory, about."""
        kept = sum(KEPT_BYTES + len(each.sketch) for each in self.kept.values())
        return self.counts.nbytes + self.moments.nbytes + self.record_seq.nbytes + sum(map(len, self.sketches)) + kept

    def compact(self) -> None:
        """Hold the counts in as few bytes as they need, until more come."""
        self.counts = smallest(self.counts)

    def make_room(self, most: int) -> None:
        """Let counts of up to `most` be held, in half the bytes of the largest type as long as they fit."""
        kind = np.int32 if most <= np.iinfo(np.int32).max and self.counts.dtype != np.int64 else np.int64
        self.counts = self.counts.astype(kind, copy=False)

    def seal(self, record_seq: int) -> None:
        """Note that no event is expected any more, by the record at `record_seq`."""
        self.sealed = self.dirty = True
        self.record_seq[:, :] = np.where(self.record_seq >= 0, np.maximum(self.record_seq, record_seq), self.record_seq)


def smallest(counts: CountArray) -> CountArray:
    """The same counts, none of them negative, in the smallest type that holds them all."""
    most = int(counts.max(initial=0))
    for kind in (np.uint8, np.uint16, np.uint32):
        if most <= np.iinfo(kind).max:
            return counts.astype(kind, copy=False)
    return counts


@dataclass
class Compiled:
    """A baseline made ready for judging."""

    layout: Layout
    bins: PsiBins
    rates: RateCells
    row_cells: NDArray[np.bool_]
    """Shape (width,): the columns that are cells, in the order of the fields."""
    season: Season | None
    """The hours of the week, where the baseline holds any."""
    labels: tuple[NDArray[np.int32], pa.Array]
    """Of the bins, as positions, shape (n_bins,), in the second, whose last is empty."""
    trained: dict[tuple[tuple[str, str], ...], list[TrainingReference]] = field(default_factory=dict)
    """Numeric fields to describe windows against, by the names and kinds of the contract's sketches."""

    @classmethod
    def of(cls, layout: Layout) -> Compiled:
        """Compile a layout."""
        cells = np.zeros(layout.width, dtype=bool)
        for start, n in zip(layout.starts.tolist(), layout.n_cells.tolist(), strict=True):
            cells[start : start + n] = True
        bins = PsiBins(layout)
        season = Season(bins) if layout.baseline.timezone else None
        codes, labels = bins.coded_labels
        return cls(layout, bins, RateCells(layout), cells, season, (codes, pa.array([*labels, ""], pa.string())))


def _none_away(start_s: int) -> Pane | None:
    return None


@dataclass
class Series:
    """The state of one (model, version, baseline)."""

    version: str
    baseline_id: str
    compiled: Compiled
    contract: Contract
    unregistered: bool = False
    panes: dict[int, Pane] = field(default_factory=dict)
    hours: dict[int, CountArray] = field(default_factory=dict)
    """Sums of the panes of whole hours, by start; only where panes are shorter than an hour."""
    dirty_hours: set[int] = field(default_factory=set)
    """Starts of hours (panes, where these are longer) whose roll-ups and categories are to be written."""
    summaries: MergedRanges = field(default_factory=MergedRanges)
    """Stretches of time whose sketches are held merged."""
    first_s: int | None = None
    """Start of the first pane in which anything came in time: where the record of this series begins.

    Late events do not move it, since windows that were judged as partly before the record would then be whole.
    """
    away: Callable[[int], Pane | None] = _none_away
    """Reads the pane of a start that was set down, for a moment; None where there is none."""
    _kinds: tuple[Contract, dict[str, SketchKind]] | None = None
    """Kinds of sketches by field, and the contract that they are of."""

    @property
    def layout(self) -> Layout:
        return self.compiled.layout

    @property
    def trained(self) -> list[TrainingReference]:
        """The numeric fields, to describe windows against; they depend on the contract's kinds of sketches too."""
        kinds = tuple((field.name, field.sketch) for field in self.contract.fields)
        found = self.compiled.trained.get(kinds)
        if found is None:
            found = trained_of(self.contract, self.layout.fields)
            self.compiled.trained = {kinds: found}
        return found

    def follow(self, contract: Contract) -> None:
        """Go on under a changed contract."""
        if contract.fields != self.contract.fields:
            # Other kinds of sketches may be asked for, which do not merge with those held.
            self.summaries.clear()
        self.contract = contract

    def empty_pane(self, start_s: int) -> Pane:
        """A pane in which nothing was seen yet."""
        layout = self.layout
        return Pane(
            start_s,
            layout.empty_counts(),
            layout.empty_moments(),
            [b""] * layout.n_fields,
            np.full((layout.n_slices, 1 + layout.n_fields), -1, dtype=np.int64),
            np.zeros(layout.n_slices, dtype=np.int64),
        )

    def fit(self, partial: Partial) -> None:
        """Reject a partial that does not fit this baseline; lay its counts out as this version does.

        Raises:
            RecordError: naming what does not fit.
        """
        layout = self.layout
        if partial.pane_s != self.contract.pane_s:
            raise RecordError(f"the part's panes last {partial.pane_s} s, the contract's {self.contract.pane_s} s")
        if partial.slice_to > layout.n_slices or partial.field_to > layout.n_fields:
            raise RecordError(f"the part has slices or fields that baseline {self.baseline_id} has not")
        try:
            partial.counts = layout.fit(partial.counts, partial.field_from, partial.field_to, partial.tail)
        except LayoutError as error:
            raise RecordError(f"the partial does not fit baseline {self.baseline_id}: {error}") from error
        partial.tail = TAIL_KEYS
        for s, f in partial.kept_at.tolist():
            inside = max(1, partial.slice_from) <= s < partial.slice_to and partial.field_from <= f < partial.field_to
            if not inside or layout.fields[f].kind != "numeric":
                raise RecordError(f"the part keeps values of slice {s} and field {f}, where it has none")

    def merge(self, pane: Pane, partial: Partial, record_seq: int, *, late: bool) -> bool:
        """Merge a part into the rows that have not had it yet; return whether any had not.

        Raises:
            RecordError: a sketch in the part is damaged; nothing was merged.
        """
        layout = self.layout
        s0, s1, f0, f1 = partial.slice_from, partial.slice_to, partial.field_from, partial.field_to
        rows = pane.record_seq[s0:s1, 1 + f0 : 1 + f1] < record_seq
        header = pane.record_seq[s0:s1, 0] < record_seq if f0 == 0 else np.zeros(s1 - s0, dtype=bool)
        if not rows.any() and not header.any():
            return False
        sketches = self._merged_sketches(pane, partial, rows) if partial.sketches else None
        kept = self._merged_kept(pane, partial, rows)
        columns = layout.span(f0, f1)
        counts = partial.counts[:, HEADER:]
        if not rows.all():
            counts = counts * np.repeat(rows, layout.widths[f0:f1], axis=1)
        self._add(pane, slice(s0, s1), columns, counts)
        if header.any():
            self._add(pane, slice(s0, s1), slice(0, HEADER), partial.counts[:, :HEADER] * header[:, None])
            if late:
                pane.late[s0:s1] += partial.counts[:, EVENTS] * header
        if sketches is not None:
            pane.sketches[f0:f1] = sketches
            fresh = np.flatnonzero(rows[0])
            merged = pane.moments[f0:f1][fresh]
            merge_moments(merged, partial.moments[fresh])
            pane.moments[f0 + fresh] = merged
        for place, each in kept.items():
            if each is None:
                pane.kept.pop(place, None)
            else:
                pane.kept[place] = each
        pane.record_seq[s0:s1, 1 + f0 : 1 + f1] = np.where(rows, record_seq, pane.record_seq[s0:s1, 1 + f0 : 1 + f1])
        if f0 == 0:
            pane.record_seq[s0:s1, 0] = np.where(header, record_seq, pane.record_seq[s0:s1, 0])
        pane.dirty = True
        self.unregistered = partial.unregistered
        if not late:
            self.first_s = pane.start_s if self.first_s is None else min(self.first_s, pane.start_s)
        return True

    def _add(self, pane: Pane, rows: slice, columns: slice, counts: IntArray) -> None:
        pane.make_room(int(pane.counts[rows, columns].max(initial=0)) + int(counts.max(initial=0)))
        pane.counts[rows, columns] += counts.astype(pane.counts.dtype, copy=False)
        self.summaries.touch(pane.start_s)
        start_s = pane.start_s // SECONDS_PER_HOUR * SECONDS_PER_HOUR
        hour = self.hours.get(start_s)
        if hour is not None:
            hour = self.hours[start_s] = hour.astype(np.int64, copy=False)
            hour[rows, columns] += counts
            self.dirty_hours.add(start_s)

    def _merged_sketches(self, pane: Pane, partial: Partial, rows: NDArray[np.bool_]) -> list[bytes]:
        merged = []
        for i, data in enumerate(partial.sketches):
            held = pane.sketches[partial.field_from + i]
            if not data or not rows[0, i]:
                merged.append(held)
            elif not held:
                self.open_sketch(partial.field_from + i, data)
                merged.append(data)
            else:
                sketch = merge_sketch(
                    self.open_sketch(partial.field_from + i, held), self.open_sketch(partial.field_from + i, data)
                )
                merged.append(b"" if sketch is None else sketch.to_bytes())
        return merged

    def _merged_kept(
        self, pane: Pane, partial: Partial, rows: NDArray[np.bool_]
    ) -> dict[tuple[int, int], KeptBytes | None]:
        """What a part changes in what is kept of slices; None where it is kept no more.

        A pane's moments and sketch of a slice are of all of its values or they are none: where a part has values
        and did not keep them (the contract asked for it later, or asks no more), what others kept goes.
        """
        told = {
            (s, f): KeptBytes(moments, sketch)
            for (s, f), moments, sketch in zip(
                partial.kept_at.tolist(), partial.kept_moments, partial.kept_sketches, strict=True
            )
        }
        s0, f0 = partial.slice_from, partial.field_from
        changed: dict[tuple[int, int], KeptBytes | None] = {}
        for s, f in {*told, *pane.kept}:
            if not (s0 <= s < partial.slice_to and f0 <= f < partial.field_to and rows[s - s0, f - f0]):
                continue
            valid, shift = self.layout.valid_cells(f), HEADER - int(self.layout.starts[f0])
            added = partial.counts[s - s0, valid.start + shift : valid.stop + shift].any()
            if added:
                changed[s, f] = self._both(pane, told.get((s, f)), s, f)
        return changed

    def _both(self, pane: Pane, more: KeptBytes | None, s: int, f: int) -> KeptBytes | None:
        """What a pane and a part keep of one slice and field, together."""
        if more is None:
            return None
        held = pane.kept.get((s, f))
        if held is None:
            self.open_kept(f, more.sketch)
            return None if self.has_values(pane, s, f) else more
        return self.merged_kept(f, [held, more])

    def has_values(self, pane: Pane, slice_index: int, field_index: int) -> bool:
        """Whether a pane holds valid values of a slice and field."""
        return bool(pane.counts[slice_index, self.layout.valid_cells(field_index)].any())

    def merged_kept(self, field_index: int, every: list[KeptBytes]) -> KeptBytes | None:
        """Merge what is kept of one slice and field; None where sketches differ in kind.

        Raises:
            RecordError: the bytes of a sketch are damaged.
        """
        if len(every) == 1:
            return every[0]
        moments, sketch = every[0].moments.copy()[None], self.open_kept(field_index, every[0].sketch)
        for each in every[1:]:
            more = self.open_kept(field_index, each.sketch)
            if sketch is None or more is None:
                return None
            merge_moments(moments, each.moments[None])
            sketch.merge(more)
        return None if sketch is None else KeptBytes(moments[0], sketch.to_bytes())

    def open_kept(self, field_index: int, data: bytes) -> NumericSketch | None:
        """Open what is kept of a slice; None where the contract changed its kind meanwhile."""
        kept = self.layout.fields[field_index]
        try:
            return numeric_sketch(kept.integer, self._sketch_kind(kept.name), data)
        except MixedSketches:
            return None
        except (EnvelopeError, ValueError) as error:
            raise RecordError(f"the sketch of field {kept.name} cannot be opened: {error}") from error

    def unseen(self, start_s: int, panes: Sequence[Pane]) -> list[tuple[int, int, int, bytes]]:
        """The sketches of unseen categories of some panes together: start, field, `record_seq` and sketch of each."""
        found = []
        for i, kept in enumerate(self.layout.fields):
            if kept.kind != "category" or not any(pane.sketches[i] for pane in panes):
                continue
            data = self._together(i, start_s, [pane.sketches[i] for pane in panes])
            if data:
                found.append((start_s, i, int(max(pane.record_seq[0, 1 + i] for pane in panes)), data))
        return found

    def newest(self, one: Pane, other: Pane) -> Pane:
        """Take of two states of one hour each row from the one that a later record changed."""
        later = other.record_seq[:, 1:] > one.record_seq[:, 1:]
        if not later.any():
            return one
        columns = np.repeat(later, self.layout.widths, axis=1)
        both = self.empty_pane(one.start_s)
        both.counts[:, HEADER:] = np.where(columns, other.counts[:, HEADER:], one.counts[:, HEADER:])
        both.moments = np.where(later[0][:, None], other.moments, one.moments)
        both.sketches = [(other if each else one).sketches[i] for i, each in enumerate(later[0].tolist())]
        both.kept = {
            place: kept
            for pane, is_it in ((one, ~later), (other, later))
            for place, kept in pane.kept.items()
            if is_it[place]
        }
        both.record_seq[:, 1:] = np.maximum(one.record_seq[:, 1:], other.record_seq[:, 1:])
        return both

    def _together(self, field_index: int, start_s: int, every: list[bytes]) -> bytes:
        """Merge sketches of one field, opened in any case; `b""` where there is none or one cannot be opened."""
        sketch = None
        try:
            for data in every:
                if data:
                    sketch = merge_sketch(sketch, self.open_sketch(field_index, data))
        except RecordError as error:
            log.error("sketch left out", start_s=start_s, error=str(error))
            return b""
        return b"" if sketch is None else sketch.to_bytes()

    def open_sketch(self, field_index: int, data: bytes) -> Sketch:
        """Open a field's sketch.

        Raises:
            RecordError: the bytes are damaged or of another kind.
        """
        kept = self.layout.fields[field_index]
        try:
            if kept.kind == "category":
                return UnseenCategories.from_bytes(data)
            return numeric_sketch(kept.integer, self._sketch_kind(kept.name), data)
        except (EnvelopeError, ValueError) as error:
            raise RecordError(f"the sketch of field {kept.name} cannot be opened: {error}") from error

    def _sketch_kind(self, name: str) -> SketchKind:
        """Which kind of sketch the contract asks for of a field."""
        if self._kinds is None or self._kinds[0] is not self.contract:
            self._kinds = self.contract, {field.name: field.sketch for field in self.contract.fields}
        return self._kinds[1].get(name, "kll")

    def look(self, start_s: int) -> Pane | None:
        """The pane of a start, to be read and let go: it is not held, where it was set down."""
        pane = self.panes.get(start_s)
        return self.away(start_s) if pane is None else pane

    def every(self, start_s: int, end_s: int) -> Iterator[Pane]:
        """The panes of [start, end), one after the other, to be read and let go."""
        for at in range(start_s, end_s, self.contract.pane_s):
            pane = self.look(at)
            if pane is not None:
                yield pane

    def hour_counts(self, start_s: int) -> CountArray:
        """The sum of the panes of one hour, shape (n_slices, width)."""
        total = self.layout.empty_counts()
        for pane in self.every(start_s, start_s + SECONDS_PER_HOUR):
            total += pane.counts
        return smallest(total)

    def written(self) -> None:
        """Note that all panes are to be written as they are, and hold their counts in as few bytes as they need."""
        for pane in self.panes.values():
            pane.dirty = False
            if pane.counts.dtype in GROWING:
                pane.compact()
        for start, counts in self.hours.items():
            if counts.dtype in GROWING:
                self.hours[start] = smallest(counts)

    def steps(self, start_s: int, end_s: int, step_s: int) -> Iterator[CountArray]:
        """The counts of the panes or hours of [start, end) that there are, shape (n_slices, width) each.

        Args:
            start_s: of the first.
            end_s: end of the last.
            step_s: length of a pane, or of an hour.
        """
        for at in range(start_s, end_s, step_s):
            counts = self._step(at, step_s)
            if counts is not None:
                yield counts

    def _step(self, start_s: int, step_s: int) -> CountArray | None:
        if step_s > self.contract.pane_s:
            return self.hours.get(start_s)
        pane = self.look(start_s)
        return None if pane is None else pane.counts

    def stack(self, start_s: int, end_s: int, step_s: int, slices: slice = slice(None)) -> IntArray:
        """The counts of consecutive panes or hours, shape (n, n_slices, width); what there is not counts zero.

        Args:
            start_s: of the first.
            end_s: end of the last.
            step_s: length of a pane, or of an hour.
            slices: which slices; all of them by default.
        """
        n = (end_s - start_s) // step_s
        n_slices = len(range(*slices.indices(self.layout.n_slices)))
        stacked = np.zeros((n, n_slices, self.layout.width), dtype=np.int64)
        for i in range(n):
            counts = self._step(start_s + i * step_s, step_s)
            if counts is not None:
                stacked[i] = counts[slices]
        return stacked
