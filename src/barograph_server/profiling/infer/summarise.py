"""Baseline of a field from the values of its column: fixed bins, exact counts per slice, quantiles.

The bins are fixed from all values. The functions that count live events then count the values in chunks, so counting
the training data again gives the same counts.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from barograph_server.profiling.infer.columns import FloatArray, TextColumn
from barograph_server.profiling.infer.slices import SliceDimension
from barograph_server.sketches.baseline.baseline import ALL, QUANTILE_RANKS, FieldBaseline, SliceCounts
from barograph_server.sketches.baseline.cells import (
    FieldCells,
    category_cells,
    count_categories,
    count_numeric,
    numeric_cells,
)
from barograph_server.sketches.baseline.layout import IntArray
from barograph_server.sketches.sketch.quantiles import exact_quantiles, freeze_edges

CellArray = NDArray[np.int16]
CountFunction = Callable[[NDArray[np.int16] | None, int], IntArray]
"""Counts the layout's columns of a chunk per group; arguments: group of each row or None, number of groups."""

CHUNK_ROWS = 1 << 20
MAX_CATEGORIES = 1000
"""Maximum number of categories that are counted individually; rows of all others are `unseen`."""
BOOLEAN_EDGES = (0.5,)
_MIN_STEPS = 1000
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_MAX_EXACT_INTEGER = 2.0**53


@dataclass(frozen=True, slots=True)
class FieldSummary:
    """A field's baseline without φ, and the cells of its training values."""

    baseline: FieldBaseline
    cells: CellArray
    """Shape (n,): the cell of each training row; `n_cells` stands for invalid."""


def summarise_numbers(
    name: str,
    values: FloatArray,
    ordered: FloatArray,
    dimensions: Sequence[SliceDimension],
    *,
    integer: bool,
    boolean: bool = False,
    limits: tuple[float | None, float | None] = (None, None),
) -> FieldSummary:
    """Fix the bins of a numeric field and count its training values.

    Args:
        values: Shape (n,), NaN for null and an infinity for invalid.
        ordered: The finite values, ascending.
        integer: Whether values are integers, or need double precision.
        boolean: Whether values are 0 and 1: two bins, and no limits.
        limits: The smallest and the largest valid value; None for that of the values.
    """
    limited = ordered.size > 0 and not boolean
    low, high = limits
    if limited:
        low, high = float(ordered[0]) if low is None else low, float(ordered[-1]) if high is None else high
    mean, std = mean_and_std(ordered)
    frozen = FieldBaseline(
        name=name,
        kind="numeric",
        integer=integer,
        edges=BOOLEAN_EDGES if boolean else freeze_edges(ordered, integer),
        low=low,
        high=high,
        mean=mean,
        std=std,
        quantiles=tuple(exact_quantiles(ordered, np.linspace(0.0, 1.0, QUANTILE_RANKS)).tolist()),
        slices={},
    )
    field_cells = FieldCells(frozen)
    cells = np.empty(values.size, dtype=np.int16)

    def assign(rows: slice) -> CountFunction:
        chunk = values[rows]
        result = numeric_cells(field_cells, chunk, np.isnan(chunk))
        cells[rows] = result.cell
        return partial(count_numeric, field_cells, result)

    counts_by_slice = _count_slices(values.size, dimensions, assign)
    return FieldSummary(_with_counts(frozen, counts_by_slice, {}), cells)


def summarise_texts(name: str, texts: TextColumn, dimensions: Sequence[SliceDimension]) -> FieldSummary:
    """Choose the categories of a field, most frequent first and ties by name, and count its training values."""
    ordered = texts.by_frequency()
    retained = ordered[:MAX_CATEGORIES]
    frozen = FieldBaseline(
        name=name, kind="category", categories=tuple(texts.values[code] for code in retained), slices={}
    )
    field_cells = FieldCells(frozen)
    # Code −1, null, reads the last entry.
    cell_of_code = np.append(
        category_cells(field_cells, pa.array(texts.values, pa.string())), np.int32(field_cells.null)
    )
    cells = cell_of_code.astype(np.int16)[texts.codes]

    def assign(rows: slice) -> CountFunction:
        return partial(count_categories, field_cells, cells[rows].astype(np.int32))

    counts_by_slice = _count_slices(cells.size, dimensions, assign)
    is_single = np.append(_depends_on_one_row(texts, ordered), False)[texts.codes]
    singletons = {ALL: int(np.count_nonzero(is_single))}
    for dimension in dimensions:
        names = dimension.slice_names
        result = np.bincount(dimension.codes[is_single], minlength=len(names)).tolist()
        singletons.update(zip(names, result, strict=True))
    return FieldSummary(_with_counts(frozen, counts_by_slice, singletons), cells)


def _depends_on_one_row(texts: TextColumn, ordered: Sequence[int]) -> NDArray[np.bool_]:
    """Mark the categories that would be dropped if training lacked one of their rows, shape (len(values),).

    If all values are categories, these are the values that occur once. Otherwise they also include categories that
    would then rank behind the first dropped value: categories were selected for being frequent in training, so they
    are slightly less frequent in later data.
    """
    if len(ordered) <= MAX_CATEGORIES:
        return np.equal(texts.counts, 1)
    counts, values = texts.counts.tolist(), texts.values
    first_dropped = (-counts[ordered[MAX_CATEGORIES]], values[ordered[MAX_CATEGORIES]])
    result = np.zeros(len(values), dtype=np.bool_)
    for code in ordered[:MAX_CATEGORIES]:
        result[code] = (1 - counts[code], values[code]) > first_dropped
    return result


def is_whole(ordered: FloatArray) -> bool:
    """Whether finite sorted values are all integers that doubles represent exactly; False without values."""
    if ordered.size == 0 or max(-ordered[0], ordered[-1]) >= _MAX_EXACT_INTEGER:
        return False
    starts = range(0, ordered.size, CHUNK_ROWS)
    return all(bool((c == np.floor(c)).all()) for c in (ordered[i : i + CHUNK_ROWS] for i in starts))


def needs_doubles(ordered: FloatArray) -> bool:
    """Whether 32-bit floats are too coarse: their step exceeds 1/1000 of the range of the middle 90 % of values."""
    if ordered.size == 0:
        return False
    if max(-ordered[0], ordered[-1]) > _FLOAT32_MAX:
        return True
    low, high = exact_quantiles(ordered, (0.05, 0.95))
    step = float(np.spacing(np.float32(max(abs(low), abs(high)))))
    return bool(0 < high - low < step * _MIN_STEPS)


def mean_and_std(values: FloatArray) -> tuple[float, float]:
    """Return mean and population standard deviation of sorted values; 0, 0 without values.

    Both are finite for finite values, and rounded to 10⁻¹² of the largest magnitude (10⁻¹¹ at most): sums differ in
    their last bits between machines, and the id of the baseline must not.
    """
    if values.size == 0:
        return 0.0, 0.0
    scale = max(abs(float(values[0])), abs(float(values[-1])))
    if scale == 0.0:
        return 0.0, 0.0
    # Values are divided by the largest magnitude, so no square overflows.
    starts = range(0, values.size, CHUNK_ROWS)
    mean = sum(float((values[i : i + CHUNK_ROWS] / scale).sum()) for i in starts) / values.size
    squares = sum(float(((values[i : i + CHUNK_ROWS] / scale - mean) ** 2).sum()) for i in starts)
    std = math.sqrt(squares / values.size)
    digits = 12 - math.ceil(math.log10(scale))
    # Rounding errors could push the mean above the largest magnitude.
    return round(max(-1.0, min(1.0, mean)) * scale, digits), round(min(1.0, std) * scale, digits)


def _count_slices(
    rows: int, dimensions: Sequence[SliceDimension], assign: Callable[[slice], CountFunction]
) -> dict[str, IntArray]:
    """Count the layout's columns per slice, chunk by chunk."""
    totals: dict[str, IntArray] = {}
    for start in range(0, rows, CHUNK_ROWS):
        chunk = slice(start, min(start + CHUNK_ROWS, rows))
        count = assign(chunk)
        result = {ALL: count(None, 1)[0]}
        for dimension in dimensions:
            names = dimension.slice_names
            result.update(zip(names, count(dimension.codes[chunk], len(names)), strict=True))
        for name, columns in result.items():
            if name in totals:
                totals[name] += columns
            else:
                totals[name] = columns
    return totals


def _with_counts(
    frozen: FieldBaseline, counts_by_slice: dict[str, IntArray], singletons: dict[str, int]
) -> FieldBaseline:
    slices = {
        name: SliceCounts.from_columns(columns.tolist(), singletons.get(name, 0))
        for name, columns in counts_by_slice.items()
    }
    return msgspec.structs.replace(frozen, slices=slices)
