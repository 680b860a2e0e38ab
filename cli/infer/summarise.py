"""Values of one column → the baseline of its field: frozen bins, exact counts per slice, quantiles.

Values are counted in chunks on bins that were frozen from all of them, by the same functions that count live
events, so that training counted again gives the same counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cli.infer.columns import FloatArray, Texts
from cli.infer.slices import Dimension
from sketches.baseline.baseline import ALL, QUANTILE_RANKS, FieldBaseline, SliceCounts
from sketches.baseline.cells import FieldCells, category_cells, count_categories, count_numeric, numeric_cells
from sketches.baseline.layout import IntArray
from sketches.sketch.quantiles import exact_quantiles, freeze_edges

CellArray = NDArray[np.int16]
Counter = Callable[[NDArray[np.int16] | None, int], IntArray]
"""Counts a chunk's columns of the layout per group: (group of each row or None, how many groups)."""

CHUNK_ROWS = 1 << 20
MAX_CATEGORIES = 1000
"""Categories that are counted one by one; rows of all others are `unseen`."""
BOOLEAN_EDGES = (0.5,)
_COARSE_STEPS = 1000
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_WHOLE_LIMIT = 2.0**53


@dataclass(frozen=True, slots=True)
class Summary:
    """A field's baseline, without φ, and where its training values lie."""

    baseline: FieldBaseline
    cells: CellArray
    """Shape (n,): the cell of each training row; `n_cells` is invalid."""


def summarise_numbers(
    name: str,
    values: FloatArray,
    ordered: FloatArray,
    dimensions: Sequence[Dimension],
    *,
    integer: bool,
    boolean: bool = False,
) -> Summary:
    """Freeze the bins of a numeric field and count its training values.

    Args:
        name: The field's name.
        values: Shape (n,), NaN for null and an infinity for invalid.
        ordered: The finite ones of them, ascending.
        dimensions: Slices to count apart.
        integer: Whether values are whole numbers or large.
        boolean: Whether values are 0 and 1: two bins, and no limits.
    """
    limited = ordered.size > 0 and not boolean
    mean, std = mean_and_std(ordered)
    frozen = FieldBaseline(
        name=name,
        kind="numeric",
        integer=integer,
        edges=BOOLEAN_EDGES if boolean else freeze_edges(ordered, integer),
        low=float(ordered[0]) if limited else None,
        high=float(ordered[-1]) if limited else None,
        mean=mean,
        std=std,
        quantiles=tuple(exact_quantiles(ordered, np.linspace(0.0, 1.0, QUANTILE_RANKS)).tolist()),
        slices={},
    )
    ready = FieldCells(frozen)
    cells = np.empty(values.size, dtype=np.int16)

    def assign(rows: slice) -> Counter:
        chunk = values[rows]
        result = numeric_cells(ready, chunk, np.isnan(chunk))
        cells[rows] = result.cell
        return partial(count_numeric, ready, result)

    counted = _count_slices(values.size, dimensions, assign)
    return Summary(_with_counts(frozen, counted, {}), cells)


def summarise_texts(name: str, texts: Texts, dimensions: Sequence[Dimension]) -> Summary:
    """Choose the categories of a field, most frequent first and equals by name, and count its training values."""
    ordered = texts.by_frequency()
    retained = ordered[:MAX_CATEGORIES]
    frozen = FieldBaseline(
        name=name, kind="category", categories=tuple(texts.values[code] for code in retained), slices={}
    )
    ready = FieldCells(frozen)
    # Code −1, null, reads the last entry.
    of_code = np.append(category_cells(ready, pa.array(texts.values, pa.string())), np.int32(ready.null))
    cells = of_code.astype(np.int16)[texts.codes]

    def assign(rows: slice) -> Counter:
        return partial(count_categories, ready, cells[rows].astype(np.int32))

    counted = _count_slices(cells.size, dimensions, assign)
    once = np.append(_kept_by_one_row(texts, ordered), False)[texts.codes]
    singletons = {ALL: int(np.count_nonzero(once))}
    for dimension in dimensions:
        names = dimension.slice_names
        result = np.bincount(dimension.codes[once], minlength=len(names)).tolist()
        singletons.update(zip(names, result, strict=True))
    return Summary(_with_counts(frozen, counted, singletons), cells)


def _kept_by_one_row(texts: Texts, ordered: Sequence[int]) -> NDArray[np.bool_]:
    """Which categories would not be kept if training lacked one of their rows, shape (len(values),).

    Where all are kept, those that occur once. Where more are, also those that would then come after the first of the
    others: what is kept was chosen for being frequent in training, and is a little less so ever after.
    """
    if len(ordered) <= MAX_CATEGORIES:
        return np.equal(texts.counts, 1)
    counts, values = texts.counts.tolist(), texts.values
    first_left = (-counts[ordered[MAX_CATEGORIES]], values[ordered[MAX_CATEGORIES]])
    result = np.zeros(len(values), dtype=np.bool_)
    for code in ordered[:MAX_CATEGORIES]:
        result[code] = (1 - counts[code], values[code]) > first_left
    return result


def is_whole(ordered: FloatArray) -> bool:
    """Whether finite sorted values are all whole numbers that doubles hold exactly; not where there are none."""
    if ordered.size == 0 or max(-ordered[0], ordered[-1]) >= _WHOLE_LIMIT:
        return False
    starts = range(0, ordered.size, CHUNK_ROWS)
    return all(bool((c == np.floor(c)).all()) for c in (ordered[i : i + CHUNK_ROWS] for i in starts))


def needs_doubles(ordered: FloatArray) -> bool:
    """Whether 32-bit floats blur finite sorted values: their step is over 1/1000 of the middle 90 % of values."""
    if ordered.size == 0:
        return False
    if max(-ordered[0], ordered[-1]) > _FLOAT32_MAX:
        return True
    low, high = exact_quantiles(ordered, (0.05, 0.95))
    step = float(np.spacing(np.float32(max(abs(low), abs(high)))))
    return bool(0 < high - low < step * _COARSE_STEPS)


def mean_and_std(values: FloatArray) -> tuple[float, float]:
    """Mean and standard deviation (of all values, not of a sample) of sorted values; 0, 0 for none.

    Both are finite where the values are, and rounded to 10⁻¹² of the largest magnitude (10⁻¹¹ at most): sums differ in
    their last bits between machines, and the baseline's id must not.
    """
    if values.size == 0:
        return 0.0, 0.0
    scale = max(abs(float(values[0])), abs(float(values[-1])))
    if scale == 0.0:
        return 0.0, 0.0
    # Divided by the largest of the sorted values, so that no square overflows.
    starts = range(0, values.size, CHUNK_ROWS)
    mean = sum(float((values[i : i + CHUNK_ROWS] / scale).sum()) for i in starts) / values.size
    squares = sum(float(((values[i : i + CHUNK_ROWS] / scale - mean) ** 2).sum()) for i in starts)
    std = math.sqrt(squares / values.size)
    digits = 12 - math.ceil(math.log10(scale))
    # No mean is above the largest magnitude, though its rounding may be.
    return round(max(-1.0, min(1.0, mean)) * scale, digits), round(min(1.0, std) * scale, digits)


def _count_slices(
    rows: int,
    dimensions: Sequence[Dimension],
    assign: Callable[[slice], Counter],
) -> dict[str, IntArray]:
    """Count the columns of the layout per slice, chunk by chunk."""
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


def _with_counts(frozen: FieldBaseline, counted: dict[str, IntArray], singletons: dict[str, int]) -> FieldBaseline:
    slices = {
        name: SliceCounts.from_columns(columns.tolist(), singletons.get(name, 0)) for name, columns in counted.items()
    }
    return msgspec.structs.replace(frozen, slices=slices)
