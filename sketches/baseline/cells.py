"""Assignment of values to the cells of a baseline, for whole arrays at a time.

Cells of a field are numbered as its columns lie in `sketches.baseline.layout`: bins (or categories and `unseen`),
`null`, and after them, at index `n_cells`, `invalid`. So one `bincount` gives a field's columns up to `invalid`.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from barograph_server.sketches.baseline.baseline import FieldBaseline
from barograph_server.sketches.baseline.columns import TAIL, FieldColumn
from barograph_server.sketches.baseline.layout import IntArray

CellArray = NDArray[np.int32]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

_FEW_EDGES = 64
"""Up to so many edges, one comparison per edge over the whole array (0.2 ns a value) beats a binary search (23 ns a
value)."""


class NumericCells(NamedTuple):
    """Cells of the values of one numeric field, each of shape (n,)."""

    cell: CellArray
    """In [0, n_cells]: a bin, `null` (n_cells - 1) or `invalid` (n_cells)."""
    invalid: BoolArray
    below: BoolArray
    above: BoolArray

    @property
    def flags(self) -> tuple[tuple[FieldColumn, BoolArray], ...]:
        """Counts that hold a value beside its cell, each with the mask of the values that it holds."""
        return ((FieldColumn.BELOW, self.below), (FieldColumn.ABOVE, self.above))


class FieldCells:
    """A field's baseline, compiled for counting arrays; make it once per field and keep it."""

    def __init__(self, field: FieldBaseline) -> None:
        self.field = field
        self.n_cells = field.n_cells
        self.null = field.n_cells + FieldColumn.NULL
        self.invalid = field.n_cells + FieldColumn.INVALID
        self.n_codes = self.invalid + 1
        """Number of cells that `numeric_cells` assigns: those of the layout and `invalid`."""
        self.edges: FloatArray = np.array(field.edges, dtype=np.float64)
        self.low, self.high = _limits(field)
        self.marks: FloatArray = np.append(self.edges, (self.low, math.nextafter(self.high, math.inf)))
        """`count_sorted` needs only the number of values under each mark: the edges, `low`, the number after `high`."""
        self._categories: dict[pa.DataType, pa.Array] = {}

    def categories(self, string_type: pa.DataType) -> pa.Array:
        categories = self._categories.get(string_type)
        if categories is None:
            categories = self._categories[string_type] = pa.array(self.field.categories, type=string_type)
        return categories


def numeric_cells(
    field: FieldBaseline | FieldCells, values: NDArray[np.floating[Any]], null: BoolArray | None = None
) -> NumericCells:
    """Assign numbers to cells: bin i holds edges[i-1] <= x < edges[i], the outer bins are open.

    NaN and infinities that are not null are invalid: they are in no bin and neither `below` nor `above`. A value
    outside the baseline's limits is in an outer bin *and* `below` or `above`. The value under a null is ignored.

    Args:
        values: shape (n,); −0.0 equals 0.0.
        null: shape (n,), true where there is no value; None if nothing is null.
    """
    ready = _compiled(field, "numeric")
    x = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(x)
    cell = _bins(ready.edges, x)
    if null is None:
        null = np.zeros(x.shape, dtype=np.bool_)
    else:
        cell[null] = ready.null
    if finite.all():
        invalid = np.zeros(x.shape, dtype=np.bool_)
        valid = ~null
    else:
        invalid = ~finite & ~null
        cell[invalid] = ready.invalid
        valid = finite & ~null
    return NumericCells(cell, invalid, (x < ready.low) & valid, (x > ready.high) & valid)


def category_cells(field: FieldBaseline | FieldCells, values: pa.Array | pa.ChunkedArray) -> CellArray:
    """Assign strings to cells: their category's index, `unseen` for other strings, `null` for nulls.

    Args:
        values: n strings (string, large_string or string_view), a dictionary of such, or all null.

    Returns:
        Shape (n,), in [0, n_cells - 1].
    """
    ready = _compiled(field, "category")
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if pa.types.is_null(values.type):
        return np.full(len(values), ready.null, dtype=np.int32)
    if not pa.types.is_dictionary(values.type):
        return _category_indices(ready, values)
    # One look-up per distinct value; the entry after the dictionary's last is the cell of nulls.
    lookup = np.append(_category_indices(ready, values.dictionary), np.int32(ready.null))
    indices = pc.fill_null(values.indices.cast(pa.int64()), len(values.dictionary))
    cell: CellArray = lookup[indices.to_numpy(zero_copy_only=False)]
    return cell


def count_cells(
    cell: CellArray, width: int, group: NDArray[np.integer[Any]] | None = None, n_groups: int = 1
) -> IntArray:
    """Count cells, per group if groups are given.

    Args:
        cell: shape (n,), each in [0, width).
        group: shape (n,), each in [0, n_groups); None puts all into group 0.

    Returns:
        Shape (n_groups, width).

    Raises:
        ValueError: a group is not in [0, n_groups).
    """
    flat = cell if group is None else cell + np.asarray(group, dtype=np.int64) * width
    counts = np.bincount(flat, minlength=n_groups * width)
    if counts.size != n_groups * width:
        raise ValueError(f"cells of group {counts.size // width} were given, there are {n_groups} groups")
    return counts.astype(np.int64, copy=False).reshape(n_groups, width)


def count_numeric(
    field: FieldBaseline | FieldCells,
    cells: NumericCells,
    group: NDArray[np.integer[Any]] | None = None,
    n_groups: int = 1,
) -> IntArray:
    """Count a numeric field's columns of the layout: its cells, then its tail.

    Args:
        cells: the result of `numeric_cells` for n values.
        group: shape (n,), each in [0, n_groups), as for `count_cells`.

    Returns:
        Shape (n_groups, n_cells + TAIL).
    """
    ready = _compiled(field, "numeric")
    counts = np.zeros((n_groups, ready.n_cells + TAIL), dtype=np.int64)
    counts[:, : ready.n_codes] = count_cells(cells.cell, ready.n_codes, group, n_groups)
    for column, flag in cells.flags:
        if group is None:
            counts[0, ready.n_cells + column] = np.count_nonzero(flag)
        elif flag.any():
            counts[:, ready.n_cells + column] = np.bincount(group[flag], minlength=n_groups)
    return counts


def count_sorted(field: FieldBaseline | FieldCells, ordered: FloatArray) -> IntArray:
    """Count a numeric field's columns of the layout from sorted values, with the same result as `count_numeric`.

    Args:
        ordered: shape (n,), ascending and finite.

    Returns:
        Shape (n_cells + TAIL,).
    """
    ready = _compiled(field, "numeric")
    counts = np.zeros(ready.n_cells + TAIL, dtype=np.int64)
    before = ordered.searchsorted(ready.marks)
    n_edges = len(ready.edges)
    counts[:n_edges] = before[:n_edges]
    counts[n_edges] = len(ordered)
    counts[1 : n_edges + 1] -= before[:n_edges]
    counts[ready.n_cells + FieldColumn.BELOW] = before[n_edges]
    counts[ready.n_cells + FieldColumn.ABOVE] = len(ordered) - before[n_edges + 1]
    return counts


def count_categories(
    field: FieldBaseline | FieldCells, cell: CellArray, group: NDArray[np.integer[Any]] | None = None, n_groups: int = 1
) -> IntArray:
    """Count a category field's columns of the layout: its cells, then zeros for the tail.

    Args:
        cell: shape (n,), the result of `category_cells`.
        group: shape (n,), each in [0, n_groups), as for `count_cells`.

    Returns:
        Shape (n_groups, n_cells + TAIL).
    """
    n_cells = _compiled(field, "category").n_cells
    counts = np.zeros((n_groups, n_cells + TAIL), dtype=np.int64)
    counts[:, :n_cells] = count_cells(cell, n_cells, group, n_groups)
    return counts


def _compiled(field: FieldBaseline | FieldCells, kind: str) -> FieldCells:
    ready = field if isinstance(field, FieldCells) else FieldCells(field)
    if ready.field.kind != kind:
        raise ValueError(f"field {ready.field.name} is a {ready.field.kind} field, its values were given as {kind}")
    return ready


def _limits(field: FieldBaseline) -> tuple[float, float]:
    """Return the limits of `below` and `above`, which judge a value and its 32-bit rounding alike.

    Rounding keeps order, so a value within [low, high] rounds into [round(low), round(high)]: the wider limits are
    taken. Otherwise training's own maximum would count as `above` when it is served as a 32-bit float.
    """
    low = -np.inf if field.low is None else field.low
    high = np.inf if field.high is None else field.high
    if field.integer:
        return low, high
    return min(low, _rounded(low)), max(high, _rounded(high))


def _rounded(limit: float) -> float:
    """Return the 32-bit form of a limit; one beyond the range of 32 bits stays as it is."""
    with np.errstate(over="ignore"):
        rounded = float(np.float32(limit))
    return rounded if np.isfinite(rounded) else limit


def _bins(edges: FloatArray, x: FloatArray) -> CellArray:
    """Return the number of edges ≤ each value, shape (n,); for NaN it is 0 or the number of edges."""
    if edges.size > _FEW_EDGES:
        return np.searchsorted(edges, x, side="right").astype(np.int32)
    passed = np.zeros(x.shape, dtype=np.int8)
    for edge in edges:
        passed += (x >= edge).view(np.int8)
    return passed.astype(np.int32)


def _category_indices(ready: FieldCells, strings: pa.Array) -> CellArray:
    """Return the cell of each string of a plain string array, shape (n,)."""
    index = pc.index_in(strings, value_set=ready.categories(strings.type))
    cell: CellArray = pc.fill_null(index, len(ready.field.categories)).to_numpy(zero_copy_only=False)
    if strings.null_count:
        cell = np.where(strings.is_null().to_numpy(zero_copy_only=False), np.int32(ready.null), cell)
    return cell
