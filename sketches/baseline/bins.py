"""Which counts of a pane or window feed which PSI bin and which rate, compiled once per baseline.

`sketches.baseline.layout.Layout` says where each exact count lies; PSI is taken over fewer, coarser bins: a category
whose share of the baseline is under 0.5 % joins `other`, and `null` is a bin of every field. Rates are read
from single columns. Both mappings are index arrays, so that a stack of windows is judged by a `take` and an
`add.reduceat`.

A *group* is what gets one verdict: one field in one slice (for rates also one kind). A field without training
rows in a slice forms none: there is nothing to judge it against.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sketches.baseline.baseline import ALL, RARE_DIVISOR, FieldBaseline, SliceCounts
from sketches.baseline.layout import EVENTS, IntArray, Layout

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int32]
"""Places among slices, fields, bins, counts: of a wide model there are millions of each."""

RateKind = Literal["null", "invalid", "below", "above", "unseen"]
RATE_KINDS: tuple[RateKind, ...] = get_args(RateKind)

OTHER_BIN, NULL_BIN = "other", "null"


class PsiBins:
    """The PSI bins of all groups of one baseline, end to end.

    Attributes:
        slice_index: Row of the layout of each group, shape (G,).
        field_index: Field of the layout of each group, shape (G,).
        starts: First bin of each group, ascending from 0, shape (G,): ready for `np.add.reduceat`.
        base_bins: Training counts per bin, shape (nb,); each group's sum is at least 1.
    """

    _columns: IndexArray
    """The counts, as places in a flat (n_slices, width), that are summed into bins, bin after bin."""
    _firsts: IndexArray
    """Where each bin begins in `_columns`, shape (nb,)."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        # Of a wide model there are millions: as arrays of Python's own objects they would take several times the space.
        slice_index, field_index, starts = array("q"), array("q"), array("q")
        base, columns, firsts = array("q"), array("q"), array("q")
        for row, column, field, counts in _trained(layout):
            cells = np.array(counts.cells, dtype=np.int64)
            if not cells.any():
                continue
            order, sizes = _bins_of(field, cells)
            bounds = np.cumsum(sizes) - sizes
            slice_index.append(row)
            field_index.append(column)
            starts.append(len(base))
            firsts.frombytes((len(columns) + bounds).tobytes())
            columns.frombytes((row * layout.width + layout.starts[column] + order).tobytes())
            base.frombytes(np.add.reduceat(cells[order], bounds).tobytes())
        self.slice_index: IndexArray = np.array(slice_index, dtype=np.int32)
        self.field_index: IndexArray = np.array(field_index, dtype=np.int32)
        self.starts: IntArray = np.array(starts, dtype=np.int64)
        self.base_bins: IntArray = np.array(base, dtype=np.int64)
        self._columns = np.array(columns, dtype=np.int32)
        self._firsts = np.array(firsts, dtype=np.int32)
        self._phi: dict[str, FloatArray] = {}

    @property
    def n_groups(self) -> int:
        return len(self.starts)

    @property
    def n_bins(self) -> int:
        return len(self.base_bins)

    def window_bins(self, counts: IntArray) -> IntArray:
        """Sum the counts of windows into PSI bins.

        Args:
            counts: Shape (W, n_slices, width), as `Layout` lays them; W may be 0.

        Returns:
            Counts per bin, shape (W, nb).
        """
        if self.n_bins == 0:
            return np.zeros((len(counts), 0), dtype=np.int64)
        taken = _flat(counts).take(self._columns, axis=1)
        summed: IntArray = np.add.reduceat(taken, self._firsts, axis=1, dtype=np.int64)
        return summed

    def phi(self, window: str) -> FloatArray:
        """Give every group's overdispersion at one window length, shape (G,); 1 where it is not known."""
        if window not in self._phi:
            self._phi[window] = _phi(self.layout, self.slice_index, self.field_index, window)
        return self._phi[window]

    def of_groups(self, chosen: NDArray[np.bool_]) -> PsiBins:
        """The bins of some groups alone, shape (G,): they lie end to end as these do."""
        if chosen.all():
            return self
        part = object.__new__(PsiBins)
        part.layout, part._phi = self.layout, {window: phi[chosen] for window, phi in self._phi.items()}
        part.slice_index, part.field_index = self.slice_index[chosen], self.field_index[chosen]
        sizes, bins = self.sizes[chosen], self.of_bins(chosen)
        lengths = np.diff(self._firsts, append=len(self._columns))
        part.starts, part.base_bins = np.cumsum(sizes) - sizes, self.base_bins[bins]
        part._columns = self._columns[np.repeat(bins, lengths)]
        part._firsts = np.cumsum(lengths[bins]) - lengths[bins]
        return part

    def of_bins(self, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which bins are those of some groups, shape (nb,)."""
        return np.repeat(chosen, self.sizes)

    @cached_property
    def sizes(self) -> IntArray:
        """Bins of each group, shape (G,)."""
        return np.diff(self.starts, append=self.n_bins)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """What people call each bin, shape (nb,): `< 54.5`, `[54.5, 61.2)`, `DE`, `other`, `null`."""
        codes, distinct = self.coded_labels
        return tuple(map(distinct.__getitem__, codes.tolist()))

    @cached_property
    def coded_labels(self) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        """The labels as positions, shape (nb,), among the distinct ones."""
        places: dict[str, int] = {}
        numeric: dict[int, list[int]] = {}
        codes = array("i")
        for group, column in enumerate(self.field_index.tolist()):
            # A numeric field's bins are called the same in all slices.
            found = numeric.get(column)
            if found is None:
                found = [places.setdefault(label, len(places)) for label in self.group_labels(group)]
                if self.layout.fields[column].kind == "numeric":
                    numeric[column] = found
            codes.extend(found)
        return np.array(codes, dtype=np.int32), tuple(places)

    def group_labels(self, group: int) -> list[str]:
        """Name the bins of one group, in their order."""
        field = self.layout.fields[self.field_index[group]]
        if field.kind == "numeric":
            return [*bin_labels(field.edges, integer=field.integer), NULL_BIN]
        first = self._firsts[self.starts[group]]
        # Kept categories come first, one column each; then `other` and `null`.
        kept = self._columns[first : first + self.sizes[group] - 2]
        offset = self.slice_index[group] * self.layout.width + self.layout.starts[self.field_index[group]]
        return [*(category_label(field.categories[i]) for i in kept - offset), OTHER_BIN, NULL_BIN]

    def groups_in(self, slice_index: int) -> dict[int, int]:
        """Find the groups of a slice by field index."""
        groups = np.flatnonzero(self.slice_index == slice_index)
        return dict(zip(self.field_index[groups].tolist(), groups.tolist(), strict=True))


class RateCells:
    """The rates of all groups of one baseline: shares of events that are null, invalid, out of range, unseen.

    A numeric field has `below` and `above` where it has that limit; a category field has `unseen`, expected
    at (rows of categories that are not kept + f₁) / m, where f₁ counts the rows of categories that are kept by one
    row: where all are kept, those that training held once (Good–Turing).

    Attributes:
        slice_index: Row of the layout of each group, shape (G,).
        field_index: Field of the layout of each group, shape (G,).
        kind_index: Index into `RATE_KINDS` of each group, shape (G,).
        base_k: Training rows that count, shape (G,).
        base_n: All training rows of the slice, shape (G,); at least 1.
        base_phi: By how much base_k varies more than a count of independent rows, shape (G,); 1 but for `unseen`.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        rows, phi = array("q"), array("d")
        baseline, judged = layout.baseline, judged_against(layout)
        for row, column, field, counts in _trained(layout):
            n = baseline.slice_rows[judged[row]]
            tail = int(layout.starts[column]) + field.n_cells
            found: list[tuple[RateKind, int, int]] = [
                ("null", tail - 1, counts.cells[-1]),
                ("invalid", tail, counts.invalid),
            ]
            if field.kind == "category":
                found.append(("unseen", tail - 2, min(n, counts.cells[-2] + counts.singletons)))
            else:
                if field.low is not None:
                    found.append(("below", tail + 1, counts.below))
                if field.high is not None:
                    found.append(("above", tail + 2, counts.above))
            for kind, cell, k in found:
                rows.extend((row, column, RATE_KINDS.index(kind), row * layout.width + cell, k, n))
                phi.append(_unseen_phi(field, counts) if kind == "unseen" else 1.0)
        base_phi = np.array(phi, dtype=np.float64)
        self.base_phi: FloatArray = base_phi if (base_phi != 1.0).any() else _ones(len(base_phi))
        table = np.array(rows, dtype=np.int64).reshape(-1, 6).T
        self.slice_index: IndexArray = table[0].astype(np.int32)
        self.field_index: IndexArray = table[1].astype(np.int32)
        self.kind_index: IndexArray = table[2].astype(np.int32)
        self._columns: IndexArray = table[3].astype(np.int32)
        self.base_k: IntArray = table[4].copy()
        self.base_n: IntArray = table[5].copy()
        self._phi: dict[str, FloatArray] = {}

    @property
    def n_groups(self) -> int:
        return len(self.slice_index)

    def k(self, counts: IntArray) -> IntArray:
        """Read how many events count, shape (W, G), from counts of shape (W, n_slices, width)."""
        taken: IntArray = _flat(counts).take(self._columns, axis=1)
        return taken

    def n(self, counts: IntArray) -> IntArray:
        """Read all events of each group's slice, shape (W, G), from counts of shape (W, n_slices, width)."""
        taken: IntArray = counts[:, :, EVENTS].take(self.slice_index, axis=1)
        return taken

    def phi(self, window: str) -> FloatArray:
        """Give every group's overdispersion at one window length, shape (G,); 1 where it is not known."""
        if window not in self._phi:
            self._phi[window] = _phi(self.layout, self.slice_index, self.field_index, window)
        return self._phi[window]

    def of_groups(self, chosen: NDArray[np.bool_]) -> RateCells:
        """Some groups alone, shape (G,)."""
        if chosen.all():
            return self
        part = object.__new__(RateCells)
        part.layout, part._phi = self.layout, {window: phi[chosen] for window, phi in self._phi.items()}
        part.slice_index, part.field_index = self.slice_index[chosen], self.field_index[chosen]
        part.kind_index, part._columns = self.kind_index[chosen], self._columns[chosen]
        part.base_k, part.base_n, part.base_phi = self.base_k[chosen], self.base_n[chosen], self.base_phi[chosen]
        return part


def judged_against(layout: Layout) -> tuple[str, ...]:
    """Name, for each slice of the layout, the slice whose training counts judge it.

    That is the slice itself, or `all` where training lacks its dimension (an arm, a request's context).
    """
    names = list(layout.slices)
    for start, dimension in zip(layout.dimension_starts, layout.baseline.dimensions, strict=True):
        if not dimension.trained:
            end = start + len(dimension.values) + 1
            names[start:end] = [ALL] * (end - start)
    return tuple(names)


def bin_labels(edges: tuple[float, ...], *, integer: bool) -> list[str]:
    """Name the bins between ascending edges, shape (len(edges) + 1,); the outer ones are open.

    Bins of whole numbers are named by the numbers they hold: `≤ 2`, `3`, `4–9`, `≥ 10`. A bin alone is
    `any value`.
    """
    if not edges:
        return ["any value"]
    if integer and all(abs(edge) < 2**53 for edge in edges):
        # The least whole number at or above each edge.
        firsts = [int(np.ceil(edge)) for edge in edges]
        inner = [_span(first, following - 1) for first, following in pairwise(firsts)]
        return [f"≤ {firsts[0] - 1}", *inner, f"≥ {firsts[-1]}"]
    texts = [f"{edge:.6g}" for edge in edges]
    if len({float(text) for text in texts}) < len(texts):
        texts = [repr(float(edge)) for edge in edges]
    return [f"< {texts[0]}", *(f"[{low}, {high})" for low, high in pairwise(texts)), f"≥ {texts[-1]}"]


def _span(first: int, last: int) -> str:
    if first == last:
        return str(first)
    return f"{first}–{last}" if first >= 0 else f"{first} to {last}"


def _trained(layout: Layout) -> Iterator[tuple[int, int, FieldBaseline, SliceCounts]]:
    """Walk the (slice row, field) pairs that training holds, each with the counts it is judged against."""
    for row, name in enumerate(judged_against(layout)):
        if layout.baseline.slice_rows.get(name, 0) == 0:
            continue
        for column, field in enumerate(layout.fields):
            counts = field.slices.get(name)
            if counts is not None:
                yield row, column, field, counts


def _bins_of(field: FieldBaseline, cells: IntArray) -> tuple[IntArray, IntArray]:
    """Order a field's cells by PSI bin, with the number of cells of each bin."""
    everything = np.arange(len(cells), dtype=np.int64)
    if field.kind == "numeric":
        return everything, np.ones(len(cells), dtype=np.int64)
    rare = cells[:-2] * RARE_DIVISOR < cells.sum()
    kept, others = np.flatnonzero(~rare), np.flatnonzero(rare)
    order = np.concatenate((kept, others, everything[-2:]))
    sizes = np.concatenate((np.ones(len(kept), dtype=np.int64), [len(others) + 1, 1]))
    return order, sizes


def _unseen_phi(field: FieldBaseline, counts: SliceCounts) -> float:
    """By how much the rows that are expected to be unseen vary more than independent rows do, at least 1.

    With k rows that are not kept or kept by one row, the expected share k/m differs from what is unseen later by a
    variance of (k(1 − k/m) + Σ c(c − 1))/m², over the c rows of each category that is kept by two rows; where training
    held all values that is Good–Turing's f₁(1 − f₁/m) + 2f₂. Read as kept by two rows are those with up to one row more
    than any that is kept by one.

    Source: Good (1953), Biometrika 40, 237–264; the variance: Esty (1983), Annals of Statistics 11, 905–912.
    """
    rows, expected = sum(counts.cells), counts.cells[-2] + counts.singletons
    binomial = expected * (1.0 - expected / rows) if rows else 0.0
    whole = np.array(field.slices[ALL].cells[:-2], dtype=np.int64)
    rarest = np.argsort(whole, kind="stable")
    # Those that are kept by one row are the rarest, so many that they hold the singletons.
    last = int(np.searchsorted(np.cumsum(whole[rarest]), field.slices[ALL].singletons))
    if binomial <= 0.0 or field.slices[ALL].singletons == 0 or last == len(whole):
        return 1.0
    by_two = rarest[last + 1 :][whole[rarest[last + 1 :]] <= whole[rarest[last]] + 1]
    held = np.array(counts.cells, dtype=np.int64)[by_two]
    return 1.0 + float((held * (held - 1)).sum()) / binomial


def _phi(layout: Layout, slice_index: IndexArray, field_index: IndexArray, window: str) -> FloatArray:
    judged = judged_against(layout)
    learned = {
        (row, column): phi.value
        for row, name in enumerate(judged)
        for column, field in enumerate(layout.fields)
        if name in field.slices and (phi := field.slices[name].phi.get(window)) is not None
    }
    if not learned:
        return _ones(len(slice_index))
    pairs = zip(slice_index.tolist(), field_index.tolist(), strict=True)
    return np.array([learned.get(pair, 1.0) for pair in pairs], dtype=np.float64)


def _ones(n: int) -> FloatArray:
    """So many ones in the place of one, to be read only."""
    return np.broadcast_to(np.float64(1.0), n)


def category_label(category: str) -> str:
    """Name a category's own bin: in quotes where it is called as the bins `other` and `null` are."""
    return f'"{category}"' if category in (OTHER_BIN, NULL_BIN) else category


def _flat(counts: IntArray) -> IntArray:
    """View (W, n_slices, width) as (W, n_slices * width), also where W is 0."""
    return counts.reshape(len(counts), counts.shape[1] * counts.shape[2])
