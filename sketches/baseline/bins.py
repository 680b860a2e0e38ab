"""PSI bins: which counts of a pane or window feed which bin, compiled once per baseline.

`sketches.baseline.layout.Layout` says where each exact count lies; PSI is taken over fewer, coarser bins: a category
whose share of the baseline is under 0.5 % joins `other`, and `null` is a bin of every field. The mapping is an array of
indices, so that a stack of windows is judged by a `take` and an `add.reduceat`.
"""

from __future__ import annotations

from array import array
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from barograph_server.sketches.baseline.baseline import RARE_DIVISOR, FieldBaseline, Phi
from barograph_server.sketches.baseline.columns import FieldColumn
from barograph_server.sketches.baseline.groups import (
    FloatArray,
    IndexArray,
    VerdictGroups,
    as_columns,
    flatten_slices,
    trained_groups,
)
from barograph_server.sketches.baseline.layout import IntArray, Layout

OTHER_BIN, NULL_BIN = "other", "null"
_UNKNOWN = Phi()


class PsiBins(VerdictGroups):
    """The PSI bins of all groups of one baseline, end to end.

    Attributes:
        starts: First bin of each group, ascending from 0, shape (G,): ready for `np.add.reduceat`.
        base_bins: Training counts per bin, shape (nb,); each group's sum is at least 1.
        noise: `SliceCounts.noise` of each group, shape (G,).
    """

    _columns: IndexArray
    """Indices into a flat (n_slices, width) of the counts that are summed into bins, bin after bin."""
    _firsts: IndexArray
    """Index in `_columns` of each bin's first count, shape (nb,)."""

    def __init__(self, layout: Layout) -> None:
        # A wide model has millions of bins: as Python objects they would take several times the space.
        slice_index, field_index, starts = array("q"), array("q"), array("q")
        base, columns, firsts, noise = array("q"), array("q"), array("q"), array("d")
        for row, column, field, counts in trained_groups(layout):
            cells = np.array(counts.cells, dtype=np.int64)
            if not cells.any():
                continue
            order, sizes = bins_of(field, cells)
            bounds = np.cumsum(sizes) - sizes
            slice_index.append(row)
            field_index.append(column)
            noise.append(counts.noise)
            starts.append(len(base))
            firsts.frombytes((len(columns) + bounds).tobytes())
            columns.frombytes((row * layout.width + layout.starts[column] + order).tobytes())
            base.frombytes(np.add.reduceat(cells[order], bounds).tobytes())
        super().__init__(layout, np.array(slice_index), np.array(field_index))
        self.starts: IntArray = np.array(starts, dtype=np.int64)
        self.base_bins: IntArray = np.array(base, dtype=np.int64)
        self.noise: FloatArray = np.array(noise, dtype=np.float64)
        self._columns = np.array(columns, dtype=np.int32)
        self._firsts = np.array(firsts, dtype=np.int32)

    def nu(self, window: str) -> FloatArray:
        """Return every group's ν at one window length, shape (G,); infinite if T has all degrees of freedom."""
        return self.trained(window)[1]

    def training_windows(self, window: str) -> FloatArray:
        """Return the number of windows of a length from which every group's φ was learned, shape (G,)."""
        return self.trained(window)[2]

    def mean_variation(self, window: str) -> tuple[FloatArray, FloatArray]:
        """Return `Phi.mean_sd`, NaN if it is not known, and `Phi.mean_autocorrelation` of every group, each (G,)."""
        sd, autocorrelation = self.trained(window)[3:]
        return np.where(sd < 0.0, np.nan, sd), autocorrelation

    def _learned(self, window: str) -> tuple[FloatArray, ...]:
        of_groups = (counts.phi.get(window, _UNKNOWN) for counts in self._counts_of_groups())
        rows = (
            (
                phi.value,
                phi.nu or np.inf,
                phi.windows,
                -1.0 if phi.mean_sd is None else phi.mean_sd,
                phi.mean_autocorrelation,
            )
            for phi in of_groups
        )
        return as_columns(rows, self.n_groups, (1.0, np.inf, 0.0, -1.0, 0.0))

    @property
    def n_bins(self) -> int:
        return len(self.base_bins)

    def window_bins(self, counts: IntArray) -> IntArray:
        """Sum the counts of windows into PSI bins.

        Args:
            counts: Shape (W, n_slices, width), in the order of `Layout`; W may be 0.

        Returns:
            Counts per bin, shape (W, nb).
        """
        if self.n_bins == 0:
            return np.zeros((len(counts), 0), dtype=np.int64)
        columns = flatten_slices(counts).take(self._columns, axis=1)
        return np.add.reduceat(columns, self._firsts, axis=1, dtype=np.int64)

    def select(self, chosen: NDArray[np.bool_]) -> PsiBins:
        """Return the bins of some groups, a mask of shape (G,), end to end."""
        if chosen.all():
            return self
        part = object.__new__(PsiBins)
        part.layout, part._trained = self.layout, self._select_trained(chosen)
        part.slice_index, part.field_index = self.slice_index[chosen], self.field_index[chosen]
        sizes, bins = self.sizes[chosen], self.of_bins(chosen)
        lengths = np.diff(self._firsts, append=len(self._columns))
        part.starts, part.base_bins = np.cumsum(sizes) - sizes, self.base_bins[bins]
        part.noise = self.noise[chosen]
        part._columns = self._columns[np.repeat(bins, lengths)]
        part._firsts = np.cumsum(lengths[bins]) - lengths[bins]
        return part

    def of_bins(self, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which bins belong to some groups, shape (nb,)."""
        return np.repeat(chosen, self.sizes)

    @cached_property
    def sizes(self) -> IntArray:
        """Number of bins of each group, shape (G,)."""
        return np.diff(self.starts, append=self.n_bins)

    @cached_property
    def nulls(self) -> IntArray:
        """Bin of null of each group, shape (G,)."""
        return self.starts + self.sizes - 1

    @cached_property
    def rank_scores(self) -> FloatArray:
        """Return the middle rank of each bin among the values of training, less ½, shape (nb,); 0 for null."""
        values = self.base_bins.copy()
        values[self.nulls] = 0
        above = np.cumsum(values)
        total = np.add.reduceat(values, self.starts)
        before = np.repeat(above[self.starts] - values[self.starts], self.sizes)
        scores: FloatArray = (above - before - values / 2) / np.repeat(np.maximum(total, 1), self.sizes) - 0.5
        scores[self.nulls] = 0.0
        return scores

    @cached_property
    def values(self) -> IntArray:
        """Training values of each group, shape (G,); null is none."""
        if not self.n_groups:
            return np.zeros(0, np.int64)
        return np.add.reduceat(self.base_bins, self.starts) - self.base_bins[self.nulls]

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Name of each bin for people, shape (nb,): `< 54.5`, `[54.5, 61.2)`, `DE`, `other`, `null`."""
        codes, distinct = self.coded_labels
        return tuple(map(distinct.__getitem__, codes.tolist()))

    @cached_property
    def coded_labels(self) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        """The labels as codes, shape (nb,), that index the distinct labels."""
        distinct: dict[str, int] = {}
        numeric: dict[int, list[int]] = {}
        codes = array("i")
        for group, column in enumerate(self.field_index.tolist()):
            # A numeric field's bins have the same labels in all slices.
            of_group = numeric.get(column)
            if of_group is None:
                of_group = [distinct.setdefault(label, len(distinct)) for label in self.group_labels(group)]
                if self.layout.fields[column].kind == "numeric":
                    numeric[column] = of_group
            codes.extend(of_group)
        return np.array(codes, dtype=np.int32), tuple(distinct)

    def group_labels(self, group: int) -> list[str]:
        field = self.layout.fields[self.field_index[group]]
        if field.kind == "numeric":
            return [*bin_labels(field.edges, integer=field.integer), NULL_BIN]
        first = self._firsts[self.starts[group]]
        # Kept categories come first, one column each; then `other` and `null`.
        columns = self._columns[first : first + self.sizes[group] - 2]
        offset = self.slice_index[group] * self.layout.width + self.layout.starts[self.field_index[group]]
        return [*(category_label(field.categories[i]) for i in columns - offset), OTHER_BIN, NULL_BIN]

    def groups_in(self, slice_index: int) -> dict[int, int]:
        groups = np.flatnonzero(self.slice_index == slice_index)
        return dict(zip(self.field_index[groups].tolist(), groups.tolist(), strict=True))


def bin_labels(edges: tuple[float, ...], *, integer: bool) -> list[str]:
    """Name the bins between ascending edges, shape (len(edges) + 1,); the outer ones are open.

    Bins of whole numbers are named by the numbers they hold: `≤ 2`, `3`, `4–9`, `≥ 10`. A single bin is `any value`.
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


def category_label(category: str) -> str:
    """Name a category's own bin: in quotes if its name is that of the bin `other` or `null`."""
    return f'"{category}"' if category in (OTHER_BIN, NULL_BIN) else category


def _span(first: int, last: int) -> str:
    if first == last:
        return str(first)
    return f"{first}–{last}" if first >= 0 else f"{first} to {last}"


def bins_of(field: FieldBaseline, cells: IntArray) -> tuple[IntArray, IntArray]:
    """Order a field's cells in a slice by PSI bin, with the number of cells of each bin; `null` is the last bin."""
    indices = np.arange(len(cells), dtype=np.int64)
    if field.kind == "numeric":
        return indices, np.ones(len(cells), dtype=np.int64)
    rare = cells[: FieldColumn.UNSEEN] * RARE_DIVISOR < cells.sum()
    common, others = np.flatnonzero(~rare), np.flatnonzero(rare)
    order = np.concatenate((common, others, indices[FieldColumn.UNSEEN :]))
    sizes = np.concatenate((np.ones(len(common), dtype=np.int64), [len(others) + 1, 1]))
    return order, sizes
