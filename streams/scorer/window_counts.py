"""State as it is stored, in arrays that have a place for every bin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sketches.performance.number import ERROR_RANKS
from warehouse.scoring.cell_counts import ERROR_STEP, ERROR_ZERO
from warehouse.scoring.rules import Rules

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class WindowCounts:
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
    errors: FloatArray
    """Of numbers the labelled rows by |error|, shape (W, sizes)."""
    sizes: FloatArray
    """|error| of each of these bins, ascending: its middle, in ratio."""

    def mixed(self, rows: IntArray, parts: FloatArray) -> WindowCounts:
        """Sums of the labelled rows of several windows, each taken in a part; predictions are those of the last.

        Args:
            rows: which windows make each sum, shape (V, K).
            parts: of each of them, shape (V, K).
        """
        last = rows[:, -1]
        sums = (
            sum(parts[:, k].reshape(-1, *[1] * (part.ndim - 1)) * part[rows[:, k]] for k in range(rows.shape[1]))
            for part in (self.confusion, self.sums, self.hist, self.errors)
        )
        confusion, totals, hist, errors = (np.asarray(each, np.float64) for each in sums)
        labelled = np.rint((parts * self.labelled[rows]).sum(axis=1)).astype(np.int64)
        return WindowCounts(
            self.predictions[last], labelled, confusion, totals, hist, self.every[last], errors, self.sizes
        )

    def error_quantiles(self) -> FloatArray:
        """Quantiles of |error| at `ERROR_RANKS`, shape (W, ranks); NaN where there are no rows."""
        below = np.cumsum(self.errors, axis=1)
        found = np.full((len(below), ERROR_RANKS.size), np.nan)
        # Of rank 0 is the least error that is held, of rank 1 the greatest.
        ranks = np.clip(ERROR_RANKS, 1e-12, 1 - 1e-12)
        for i in np.flatnonzero(self.errors.any(axis=1)):
            found[i] = self.sizes[np.searchsorted(below[i], ranks * below[i, -1])]
        return found


def dense(rules: Rules, rows: pa.Table) -> WindowCounts:
    """Lay rows of `warehouse.scoring.state.merged`, or of a reference, out in arrays."""
    n = rows.num_rows
    predictions, labelled = (_numbers(rows, name).astype(np.int64) for name in ("predictions", "labelled"))
    confusion = _fixed(rows, "confusion", n, {"binary": 4, "classes": len(rules.classes) ** 2, "number": 0}[rules.kind])
    sums = _fixed(rows, "sums", n, 5 if rules.kind == "number" else 6)
    none = np.zeros((n, 0))
    if rules.kind == "number":
        empty = np.zeros((n, 0, 3))
        return WindowCounts(predictions, labelled, confusion, sums, empty, empty, *_errors(rows))
    n_bins = len(rules.edges) + 1
    classes = max(1, len(rules.classes))
    at = (np.repeat(np.arange(n), _lengths(rows, "bins")), _flat(rows, "bins").astype(np.int64))
    cells = np.zeros((n, classes * n_bins, 5))
    for i, name in enumerate(("bin_labelled", "bin_labelled_scores", "bin_positives", "bin_predictions", "bin_scores")):
        cells[(*at, i)] = _flat(rows, name)
    if rules.kind == "classes":
        cells = cells.reshape(n, classes, n_bins, 5)
        confusion = confusion.reshape(n, classes, classes)
    return WindowCounts(predictions, labelled, confusion, sums, cells[..., :3], cells[..., 3:], none, np.zeros(0))


def _errors(rows: pa.Table) -> tuple[FloatArray, FloatArray]:
    """Labelled rows of each window by |error|, and its size in each of the bins that any of them holds."""
    window = np.repeat(np.arange(rows.num_rows), _lengths(rows, "bins"))
    bins, place = np.unique(np.abs(_flat(rows, "bins").astype(np.int64)), return_inverse=True)
    cell = window * bins.size + place
    counts = np.bincount(cell, _flat(rows, "bin_labelled"), rows.num_rows * bins.size)
    middle = np.exp((bins - ERROR_ZERO + 0.5) * np.log(ERROR_STEP))
    return counts.reshape(rows.num_rows, bins.size).astype(np.float64), np.where(bins == 0, 0.0, middle)


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
