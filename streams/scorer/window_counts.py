"""Counts of windows in dense arrays, with one element per bin."""

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
    """The counts of W windows. Arrays that the kind of model does not have are empty."""

    predictions: IntArray
    """Shape (W,)."""
    labelled: IntArray
    """Shape (W,)."""
    confusion: FloatArray
    """Shape (W, 4) or (W, K, K)."""
    sums: FloatArray
    """Shape (W, 6), or (W, 5) for numbers."""
    labelled_hist: FloatArray
    """Labelled rows by score bin, shape (W, n_bins, 3) or (W, K, n_bins, 3)."""
    prediction_hist: FloatArray
    """All predictions by score bin, shape (W, n_bins, 2) or (W, K, n_bins, 2)."""
    predicted_hist: FloatArray
    """For classes, rows by the probability of their predicted class, under this class, shape (W, K, n_bins, 5): the
    three members of `labelled_hist`, then the two of `prediction_hist`."""
    errors: FloatArray
    """For numbers, labelled rows by |error|, shape (W, sizes)."""
    sizes: FloatArray
    """|error| at the geometric middle of each of these bins, ascending."""

    def weighted_sums(self, rows: IntArray, weights: FloatArray) -> WindowCounts:
        """Return weighted sums of the labelled rows of several windows.

        Predictions are those of the last window, and so is `predicted_hist`.

        Args:
            rows: the windows of each sum, shape (V, K).
            weights: the weight of each of them, shape (V, K).
        """
        last = rows[:, -1]
        sums = (
            sum(weights[:, k].reshape(-1, *[1] * (counts.ndim - 1)) * counts[rows[:, k]] for k in range(rows.shape[1]))
            for counts in (self.confusion, self.sums, self.labelled_hist, self.errors)
        )
        confusion, totals, hist, errors = (np.asarray(each, np.float64) for each in sums)
        labelled = np.rint((weights * self.labelled[rows]).sum(axis=1)).astype(np.int64)
        return WindowCounts(
            self.predictions[last],
            labelled,
            confusion,
            totals,
            hist,
            self.prediction_hist[last],
            self.predicted_hist[last],
            errors,
            self.sizes,
        )

    def error_quantiles(self) -> FloatArray:
        """Return quantiles of |error| at `ERROR_RANKS`, shape (W, ranks); NaN for windows without rows."""
        below = np.cumsum(self.errors, axis=1)
        quantiles = np.full((len(below), ERROR_RANKS.size), np.nan)
        # Rank 0 selects the smallest error, rank 1 the largest.
        ranks = np.clip(ERROR_RANKS, 1e-12, 1 - 1e-12)
        for i in np.flatnonzero(self.errors.any(axis=1)):
            quantiles[i] = self.sizes[np.searchsorted(below[i], ranks * below[i, -1])]
        return quantiles


def window_counts(rules: Rules, rows: pa.Table) -> WindowCounts:
    """Expand rows of `warehouse.scoring.state.window_sums`, or of a reference, into arrays."""
    n = rows.num_rows
    predictions, labelled = (_numbers(rows, name).astype(np.int64) for name in ("predictions", "labelled"))
    confusion = _fixed(rows, "confusion", n, {"binary": 4, "classes": len(rules.classes) ** 2, "number": 0}[rules.kind])
    sums = _fixed(rows, "sums", n, 5 if rules.kind == "number" else 6)
    none = np.zeros((n, 0))
    if rules.kind == "number":
        empty = np.zeros((n, 0, 3))
        return WindowCounts(predictions, labelled, confusion, sums, empty, empty, none, *_errors(rows))
    n_bins = len(rules.edges) + 1
    classes = max(1, len(rules.classes))
    numbers = _flat(rows, "bins").astype(np.int64)
    # Negative numbers are of predicted classes.
    cell = (
        np.repeat(np.arange(n), _lengths(rows, "bins")),
        np.where(numbers < 0, classes * n_bins - 1 - numbers, numbers),
    )
    cells = np.zeros((n, 2 * classes * n_bins, 5))
    for i, name in enumerate(("bin_labelled", "bin_labelled_scores", "bin_positives", "bin_predictions", "bin_scores")):
        cells[(*cell, i)] = _flat(rows, name)
    by_score, predicted = cells[:, : classes * n_bins], none
    if rules.kind == "classes":
        by_score, predicted = (each.reshape(n, classes, n_bins, 5) for each in np.split(cells, 2, axis=1))
        confusion = confusion.reshape(n, classes, classes)
    return WindowCounts(
        predictions, labelled, confusion, sums, by_score[..., :3], by_score[..., 3:], predicted, none, np.zeros(0)
    )


def _errors(rows: pa.Table) -> tuple[FloatArray, FloatArray]:
    """Return the labelled rows of each window by |error| bin, and |error| of each bin that any window has."""
    window = np.repeat(np.arange(rows.num_rows), _lengths(rows, "bins"))
    bins, index = np.unique(np.abs(_flat(rows, "bins").astype(np.int64)), return_inverse=True)
    cell = window * bins.size + index
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
    """Read a column of lists of one length; rows without a list are zeros."""
    values = np.zeros((n, width))
    lengths = _lengths(rows, name)
    if width and lengths.any():
        values[lengths == width] = _flat(rows, name).reshape(-1, width)
    return values
