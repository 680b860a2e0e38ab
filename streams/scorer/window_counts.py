"""Counts of windows in dense arrays, with one element per bin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from barograph_server.sketches.performance.number import ERROR_RANKS
from barograph_server.warehouse.scoring.cell_counts import END_OF_BINS, ERROR_STEP, ERROR_ZERO, MIN_VALUE_BIN
from barograph_server.warehouse.scoring.rules import Rules

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_BIN_SUMS = ("bin_labelled", "bin_labelled_scores", "bin_positives", "bin_predictions", "bin_scores")


@dataclass(frozen=True, slots=True)
class SparseCells:
    """Sums of the cells of windows, without empty cells: one element per window and cell."""

    window: IntArray
    cell: IntArray
    sums: FloatArray
    """Labelled rows, their scores, positives, all rows, their scores; shape (elements, 5)."""

    @staticmethod
    def empty() -> SparseCells:
        return SparseCells(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 5)))

    def of_windows(self, windows: list[int], cells: IntArray) -> FloatArray:
        """Return the sums of some windows and all cells, shape (len(windows), len(cells), 5).

        Args:
            cells: numbers of cells, ascending; every cell of the windows must be among them.
        """
        dense = np.zeros((len(windows), len(cells), 5))
        for i, window in enumerate(windows):
            own = self.window == window
            dense[i, np.searchsorted(cells, self.cell[own])] = self.sums[own]
        return dense


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
    errors: FloatArray
    """For numbers, labelled rows by |error|, shape (W, sizes)."""
    sizes: FloatArray
    """|error| at the geometric middle of each of these bins, ascending."""
    of_predictions: SparseCells
    """What estimates without labels need. For classes, rows by the probability of their predicted class: cell
    class × n_bins + bin. For numbers, rows by expected error or predicted value: cells are numbers of
    `performance_state`, and instead of scores and positives there are sums: labelled rows, Σ|e|, 0, all rows, Σe²."""

    def weighted_sums(self, rows: IntArray, weights: FloatArray) -> WindowCounts:
        """Return weighted sums of the labelled rows of several windows; predictions are those of the last window.

        The sums have no `of_predictions`.

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
            errors,
            self.sizes,
            SparseCells.empty(),
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
    window = np.repeat(np.arange(n), _lengths(rows, "bins"))
    number = _flat(rows, "bins").astype(np.int64)
    sums_of_bins = np.stack([_flat(rows, name) for name in _BIN_SUMS], axis=-1)
    if rules.kind == "number":
        empty = np.zeros((n, 0, 3))
        is_error, is_value = number < MIN_VALUE_BIN, (number >= MIN_VALUE_BIN) & (number < END_OF_BINS)
        errors = _errors(n, window[is_error], number[is_error], sums_of_bins[is_error, 0])
        values = SparseCells(window[is_value], number[is_value], sums_of_bins[is_value])
        return WindowCounts(predictions, labelled, confusion, sums, empty, empty, *errors, values)
    n_bins = len(rules.edges) + 1
    classes = max(1, len(rules.classes))
    # Negative numbers are bins of predicted classes.
    is_score = number >= 0
    cells = np.zeros((n, classes * n_bins, 5))
    cells[window[is_score], number[is_score]] = sums_of_bins[is_score]
    if rules.kind == "classes":
        cells = cells.reshape(n, classes, n_bins, 5)
        confusion = confusion.reshape(n, classes, classes)
    predicted = SparseCells(window[~is_score], -1 - number[~is_score], sums_of_bins[~is_score])
    hists = cells[..., :3], cells[..., 3:]
    return WindowCounts(predictions, labelled, confusion, sums, *hists, np.zeros((n, 0)), np.zeros(0), predicted)


def _errors(n: int, window: IntArray, number: IntArray, labelled: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the labelled rows of each window by |error| bin, and |error| of each bin that any window has."""
    bins, index = np.unique(np.abs(number), return_inverse=True)
    counts = np.bincount(window * bins.size + index, labelled, n * bins.size)
    middle = np.exp((bins - ERROR_ZERO + 0.5) * np.log(ERROR_STEP))
    return counts.reshape(n, bins.size).astype(np.float64), np.where(bins == 0, 0.0, middle)


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
