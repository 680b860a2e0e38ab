"""State as it is stored, in arrays that have a place for every bin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sketches.performance.number import ERROR_RANKS
from warehouse.scoring.cells import ERROR_STEP, ERROR_ZERO
from warehouse.scoring.rules import Rules

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Dense:
    """The state of W windows; what a kind does not have is empty."""

    predictions: IntArray
    """Shape (W,)."""
    labelled: IntArray
    """Shape (W,)."""
    confusion: FloatArray
    """Shape (W, 4) or (W, K, K)."""
    sums: FloatArray
    """Shape (W, 6) or, of numbers, (W, 5)."""
    hist: FloatArray
    """Labelled rows, shape (W, n_bins, 3) or (W, K, n_bins, 3)."""
    every: FloatArray
    """All predictions, shape (W, n_bins, 2) or (W, K, n_bins, 2)."""
    quantiles: FloatArray
    """Of numbers the quantiles of |error|, shape (W, ranks)."""


def dense(rules: Rules, rows: pa.Table) -> Dense:
    """Lay rows of `warehouse.scoring.state.merged`, or of a reference, out in arrays."""
    n = rows.num_rows
    predictions, labelled = (_numbers(rows, name).astype(np.int64) for name in ("predictions", "labelled"))
    confusion = _fixed(rows, "confusion", n, {"binary": 4, "classes": len(rules.classes) ** 2, "number": 0}[rules.kind])
    sums = _fixed(rows, "sums", n, 5 if rules.kind == "number" else 6)
    empty = np.zeros((n, 0, 3))
    if rules.kind == "number":
        return Dense(predictions, labelled, confusion, sums, empty, empty, _quantiles(rows, sums[:, 0]))
    n_bins = len(rules.edges) + 1
    classes = max(1, len(rules.classes))
    at = (np.repeat(np.arange(n), _lengths(rows, "bins")), _flat(rows, "bins").astype(np.int64))
    cells = np.zeros((n, classes * n_bins, 5))
    for i, name in enumerate(("bin_labelled", "bin_labelled_scores", "bin_positives", "bin_predictions", "bin_scores")):
        cells[(*at, i)] = _flat(rows, name)
    if rules.kind == "classes":
        cells = cells.reshape(n, classes, n_bins, 5)
        confusion = confusion.reshape(n, classes, classes)
    return Dense(predictions, labelled, confusion, sums, cells[..., :3], cells[..., 3:], np.zeros((n, 0)))


def _quantiles(rows: pa.Table, counted: FloatArray) -> FloatArray:
    """Quantiles of |error| at `ERROR_RANKS`: the middle, in ratio, of the bin that holds the rank."""
    found = np.full((rows.num_rows, ERROR_RANKS.size), np.nan)
    lengths = _lengths(rows, "bins")
    ends = np.cumsum(lengths)
    signed, counts = _flat(rows, "bins").astype(np.int64), _flat(rows, "bin_labelled")
    for i in np.flatnonzero(counted > 0):
        own = slice(int(ends[i] - lengths[i]), int(ends[i]))
        bins, place = np.unique(np.abs(signed[own]), return_inverse=True)
        below = np.cumsum(np.bincount(place, counts[own]))
        chosen = bins[np.searchsorted(below, ERROR_RANKS * below[-1] * (1 - 1e-12))]
        middle = np.exp((chosen - ERROR_ZERO + 0.5) * np.log(ERROR_STEP))
        found[i] = np.where(chosen == 0, 0.0, middle)
    return found


def _numbers(rows: pa.Table, name: str) -> NDArray[Any]:
    values: NDArray[Any] = rows.column(name).to_numpy()
    return values


def _list(rows: pa.Table, name: str) -> Any:
    column = rows.column(name).combine_chunks()
    return column.chunk(0) if isinstance(column, pa.ChunkedArray) else column


def _flat(rows: pa.Table, name: str) -> FloatArray:
    values: FloatArray = _list(rows, name).flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    return values


def _lengths(rows: pa.Table, name: str) -> IntArray:
    offsets: IntArray = _list(rows, name).offsets.to_numpy().astype(np.int64)
    return offsets[1:] - offsets[:-1]


def _fixed(rows: pa.Table, name: str, n: int, width: int) -> FloatArray:
    """A column of lists of one length; rows without it are zeros."""
    found = np.zeros((n, width))
    lengths = _lengths(rows, name)
    if width and lengths.any():
        found[lengths == width] = _flat(rows, name).reshape(-1, width)
    return found
