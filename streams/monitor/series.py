"""What the monitor holds of one (model, version, baseline): its panes and hours, and what is compiled for judging."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from barograph.contract import Contract
from numpy.typing import NDArray

from sketches.bins import PsiBins, RateCells
from sketches.categorical import UnseenCategories
from sketches.envelope import EnvelopeError
from sketches.layout import EVENTS, HEADER, TAIL, IntArray, Layout
from sketches.numeric import NumericSketch, numeric_sketch
from streams.flush import span
from streams.records import Part, RecordError
from streams.summarise import merge_moments, merge_sketch

Sketch = NumericSketch | UnseenCategories


@dataclass(slots=True)
class Pane:
    """The merge of all parts of one minute (or whatever the contract's pane is) of one series."""

    start_s: int
    counts: IntArray
    """Shape (n_slices, width)."""
    moments: NDArray[np.float64]
    """Shape (n_fields, N_MOMENTS)."""
    sketches: list[bytes]
    """Of the slice `all`, enveloped, one per field."""
    pos: IntArray
    """Shape (n_slices, 1 + n_fields): the last record merged into each row; column 0 is the volume's."""
    late: IntArray
    """Shape (n_slices,): events that came after the pane was sealed."""
    sealed: bool = False
    dirty: bool = True

    @property
    def n_events(self) -> int:
        return int(self.counts[0, EVENTS])

    @property
    def n_bytes(self) -> int:
        """What the pane takes in memory, about."""
        return self.counts.nbytes + self.moments.nbytes + self.pos.nbytes + sum(map(len, self.sketches))

    def seal(self, pos: int) -> None:
        """Note that no event is expected any more, by the record at `pos`."""
        self.sealed = self.dirty = True
        self.pos[:, :] = np.where(self.pos >= 0, np.maximum(self.pos, pos), self.pos)


@dataclass
class Compiled:
    """A baseline made ready for judging."""

    layout: Layout
    bins: PsiBins
    rates: RateCells
    row_cells: NDArray[np.bool_]
    """Shape (width,): the columns that are cells, in the order of the fields."""

    @classmethod
    def of(cls, layout: Layout) -> Compiled:
        """Compile a layout."""
        cells = np.zeros(layout.width, dtype=bool)
        for start, n in zip(layout.starts.tolist(), layout.n_cells.tolist(), strict=True):
            cells[start : start + n] = True
        return cls(layout, PsiBins(layout), RateCells(layout), cells)


@dataclass
class Series:
    """The state of one (model, version, baseline)."""

    version: str
    baseline_id: str
    compiled: Compiled
    contract: Contract
    unregistered: bool = False
    panes: dict[int, Pane] = field(default_factory=dict)
    hours: dict[int, IntArray] = field(default_factory=dict)
    """Sums of the panes of whole hours, by start; only where panes are shorter than an hour."""
    dirty_hours: set[int] = field(default_factory=set)
    first_s: int | None = None
    """Start of the first pane in which anything came in time: where the record of this series begins.

    Late events do not move it, since windows that were judged as partly before the record would then be whole.
    """

    @property
    def layout(self) -> Layout:
        return self.compiled.layout

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

    def check(self, part: Part) -> None:
        """Refuse a part that does not fit this baseline.

        Raises:
            RecordError: naming what does not fit.
        """
        layout = self.layout
        if part.pane_s != self.contract.pane_s:
            raise RecordError(f"the part's panes last {part.pane_s} s, the contract's {self.contract.pane_s} s")
        if part.slice_to > layout.n_slices or part.field_to > layout.n_fields:
            raise RecordError(f"the part has slices or fields that baseline {self.baseline_id} has not")
        columns = span(layout, part.field_from, part.field_to)
        if part.counts.shape[1] != HEADER + columns.stop - columns.start:
            raise RecordError(f"the part's counts do not have the width that baseline {self.baseline_id} asks for")

    def merge(self, pane: Pane, part: Part, pos: int, *, late: bool) -> bool:
        """Merge a part into the rows that have not had it yet; return whether any had not.

        Raises:
            RecordError: a sketch in the part is damaged; nothing was merged.
        """
        layout = self.layout
        s0, s1, f0, f1 = part.slice_from, part.slice_to, part.field_from, part.field_to
        rows = pane.pos[s0:s1, 1 + f0 : 1 + f1] < pos
        header = pane.pos[s0:s1, 0] < pos if f0 == 0 else np.zeros(s1 - s0, dtype=bool)
        if not rows.any() and not header.any():
            return False
        sketches = self._merged_sketches(pane, part, rows) if part.sketches else None
        columns = span(layout, f0, f1)
        counts = part.counts[:, HEADER:]
        if not rows.all():
            counts = counts * np.repeat(rows, layout.n_cells[f0:f1] + TAIL, axis=1)
        self._add(pane, slice(s0, s1), columns, counts)
        if header.any():
            self._add(pane, slice(s0, s1), slice(0, HEADER), part.counts[:, :HEADER] * header[:, None])
            if late:
                pane.late[s0:s1] += part.counts[:, EVENTS] * header
        if sketches is not None:
            pane.sketches[f0:f1] = sketches
            fresh = np.flatnonzero(rows[0])
            merged = pane.moments[f0:f1][fresh]
            merge_moments(merged, part.moments[fresh])
            pane.moments[f0 + fresh] = merged
        pane.pos[s0:s1, 1 + f0 : 1 + f1] = np.where(rows, pos, pane.pos[s0:s1, 1 + f0 : 1 + f1])
        if f0 == 0:
            pane.pos[s0:s1, 0] = np.where(header, pos, pane.pos[s0:s1, 0])
        pane.dirty = True
        self.unregistered = part.unregistered
        if not late:
            self.first_s = pane.start_s if self.first_s is None else min(self.first_s, pane.start_s)
        return True

    def _add(self, pane: Pane, rows: slice, columns: slice, counts: IntArray) -> None:
        pane.counts[rows, columns] += counts
        hour = self.hours.get(pane.start_s // 3600 * 3600)
        if hour is not None:
            hour[rows, columns] += counts
            self.dirty_hours.add(pane.start_s // 3600 * 3600)

    def _merged_sketches(self, pane: Pane, part: Part, rows: NDArray[np.bool_]) -> list[bytes]:
        merged = []
        for i, data in enumerate(part.sketches):
            held = pane.sketches[part.field_from + i]
            if not data or not rows[0, i]:
                merged.append(held)
            elif not held:
                self.open_sketch(part.field_from + i, data)
                merged.append(data)
            else:
                sketch = merge_sketch(
                    self.open_sketch(part.field_from + i, held), self.open_sketch(part.field_from + i, data)
                )
                merged.append(b"" if sketch is None else sketch.to_bytes())
        return merged

    def open_sketch(self, field_index: int, data: bytes) -> Sketch:
        """Open a field's sketch.

        Raises:
            RecordError: the bytes are damaged or of another kind.
        """
        kept = self.layout.fields[field_index]
        try:
            if kept.kind == "category":
                return UnseenCategories.from_bytes(data)
            declared = next((f for f in self.contract.fields if f.name == kept.name), None)
            return numeric_sketch(kept.integer, declared.sketch if declared else "kll", data)
        except (EnvelopeError, ValueError) as error:
            raise RecordError(f"the sketch of field {kept.name} cannot be opened: {error}") from error

    def stack(self, start_s: int, end_s: int, step_s: int) -> IntArray:
        """The counts of consecutive panes or hours, shape (n, n_slices, width); what is not held counts zero."""
        held = self.hours if step_s > self.contract.pane_s else None
        n = (end_s - start_s) // step_s
        stacked = np.zeros((n, self.layout.n_slices, self.layout.width), dtype=np.int64)
        for i in range(n):
            at = start_s + i * step_s
            if held is not None:
                counts = held.get(at)
            else:
                pane = self.panes.get(at)
                counts = None if pane is None else pane.counts
            if counts is not None:
                stacked[i] = counts
        return stacked
