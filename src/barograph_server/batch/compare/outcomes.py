"""Counts of predictions and their labels by period: what the scorer's SQL counts, from the rows of a table.

The rules for valid scores, classes and labels are those of `warehouse.scoring.cell_counts`; the metrics are computed
from the counts by the scorer's own code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from barograph.contract import LabelSpec
from barograph.publisher.label_columns import read_labels
from barograph.string_views import to_string
from numpy.typing import NDArray

from barograph_server.profiling.infer.tables import is_number
from barograph_server.sketches.baseline.loss_trees import NO_CELL
from barograph_server.sketches.performance.binary import SCORE_FLOOR
from barograph_server.streams.scorer.window_counts import SparseCells, WindowCounts
from barograph_server.warehouse.scoring.cell_counts import ERROR_STEP, ERROR_ZERO, SUM_TOLERANCE, VALUE_ZERO
from barograph_server.warehouse.scoring.rules import Rules

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

SCORE, CLASS, LABEL = "score", "class", "label"
_MIN_STEP, _MAX_STEP = -72_000, 72_000
"""Range of the error bins of numbers: steps of one percent over all doubles."""


class OutcomeCounts:
    """Accumulates the counts of W periods."""

    def __init__(self, rules: Rules, n_periods: int) -> None:
        self._rules, self._n = rules, n_periods
        self._edges = np.array(rules.edges)
        self._classes = len(rules.classes)
        k = max(1, self._classes)
        self.predictions = np.zeros(n_periods, np.int64)
        self.labelled = np.zeros(n_periods, np.int64)
        width = {"binary": 4, "classes": self._classes**2, "number": 0}[rules.kind]
        self._confusion = np.zeros((n_periods, width))
        self._sums = np.zeros((n_periods, 5 if rules.kind == "number" else 6))
        self._cells = np.zeros((n_periods, 2 * k, self._edges.size + 1, 5))
        """Per class and score bin: labelled rows, their scores, positives, all rows, their scores; then the same of the
        predictions of each class."""
        self._errors: dict[int, FloatArray] = {}
        """|error| bin of a number → labelled rows per period."""
        self._values: dict[int, FloatArray] = {}
        """Bin of a predicted number → the sums of `SparseCells` per period, shape (W, 5)."""

    def add(self, period: IntArray, columns: Mapping[str, pa.Array], cells: IntArray | None = None) -> None:
        """Count rows.

        Args:
            period: index of each row's period, shape (n,).
            columns: `score`, `class`, `scores.CLASS` and `label`, as far as the table has them.
            cells: for numbers, the bin of the expected error of each row (`LossTrees.cells`), shape (n,); None: by
                prediction.
        """
        self.predictions += np.bincount(period, minlength=self._n)
        truth = read_truth(self._rules, columns.get(LABEL), len(period))
        labelled = np.isfinite(truth)
        self.labelled += np.bincount(period[labelled], minlength=self._n)
        if self._rules.kind == "binary":
            self._add_binary(period, columns, truth, labelled)
        elif self._rules.kind == "classes":
            self._add_classes(period, columns, truth, labelled)
        else:
            score = read_scores(columns.get(SCORE), len(period))
            self._add_numbers(period, score, truth, labelled, np.zeros_like(period) if cells is None else cells)

    def merge(self, other: OutcomeCounts) -> None:
        for name in ("predictions", "labelled", "_confusion", "_sums", "_cells"):
            getattr(self, name)[...] += getattr(other, name)
        for step, rows in other._errors.items():
            self._errors[step] = self._errors.get(step, 0.0) + rows
        for number, sums in other._values.items():
            self._values[number] = self._values.get(number, 0.0) + sums

    def counts(self) -> WindowCounts:
        """Return the counts in the form from which the scorer computes metrics."""
        errors, middle, cells = np.zeros((self._n, 0)), np.zeros(0), SparseCells.empty()
        hist = self._cells[:, 0]
        confusion: FloatArray = self._confusion
        if self._rules.kind == "number":
            hist = np.zeros((self._n, 0, 6))
            if self._errors:
                steps = sorted(self._errors)
                errors = np.stack([self._errors[step] for step in steps], axis=1)
                middle = np.array(
                    [0.0 if step < _MIN_STEP else np.exp((step + 0.5) * np.log(ERROR_STEP)) for step in steps]
                )
            if self._values:
                numbers = np.array(sorted(self._values), np.int64)
                cells = _sparse(np.stack([self._values[number] for number in numbers.tolist()], axis=1), numbers)
        elif self._rules.kind == "classes":
            hist, predicted = np.split(self._cells, 2, axis=1)
            cells = _sparse(predicted.reshape(self._n, -1, 5), np.arange(predicted[0, ..., 0].size))
            confusion = confusion.reshape(self._n, self._classes, self._classes)
        sides = hist[..., :3], hist[..., 3:]
        return WindowCounts(self.predictions, self.labelled, confusion, self._sums, *sides, errors, middle, cells)

    # ------------------------------------------------------------------------------------------ kinds of models

    def _add_binary(
        self, period: IntArray, columns: Mapping[str, pa.Array], truth: FloatArray, labelled: BoolArray
    ) -> None:
        rules, n = self._rules, len(period)
        score = read_scores(columns.get(SCORE), n)
        usable = (score >= 0) & (score <= 1)
        predicted = np.where(usable, score >= rules.threshold, -1).astype(np.int64)
        if (classes := columns.get(CLASS)) is not None:
            names, codes = _codes(classes)
            values = rules.values_of(names, is_open=rules.has_open_classes)
            positive = np.array([value == rules.positive for value in values] + [False])
            known = np.array([value != "" for value in values] + [False])
            has_class = codes >= 0
            predicted = np.where(has_class, np.where(known[codes], positive[codes], -1), predicted)
        decided = labelled & (predicted >= 0)
        outcome = np.where(truth == 1, np.where(predicted == 1, 0, 2), np.where(predicted == 1, 1, 3))
        self._confusion += _count(period[decided], outcome[decided], self._n, 4)
        self._add_scores(0, period[usable], score[usable], truth[usable] == 1, labelled[usable])
        both = usable & labelled
        p, y = score[both], truth[both]
        loss = -np.log(np.maximum(np.where(y == 1, p, 1 - p), SCORE_FLOOR))
        self._add_losses(period[both], loss, (p - y) ** 2)

    def _add_classes(
        self, period: IntArray, columns: Mapping[str, pa.Array], truth: FloatArray, labelled: BoolArray
    ) -> None:
        rules, n, k = self._rules, len(period), self._classes
        named = [columns.get(f"scores.{name}") for name in rules.classes]
        has_scores = any(column is not None for column in named)
        predicted = np.full(n, -1, np.int64)
        usable = np.zeros(n, np.bool_)
        if has_scores:
            raw = np.stack([read_scores(column, n) for column in named], axis=1)
            present = ~np.isnan(raw).all(axis=1)
            filled = np.nan_to_num(raw, nan=0.0, posinf=np.inf, neginf=-np.inf)
            inside = np.asarray(((filled >= 0) & (filled <= 1)).all(axis=1))
            usable = present & inside & (np.abs(np.where(inside[:, None], filled, 0).sum(axis=1) - 1) <= SUM_TOLERANCE)
            predicted = np.where(usable, np.argmax(filled, axis=1), predicted)
        if (classes := columns.get(CLASS)) is not None:
            names, codes = _codes(classes)
            index = {name: i for i, name in enumerate(rules.classes)}
            lookup = np.array([index.get(value, -1) for value in rules.values_of(names, is_open=False)] + [-1])
            predicted = np.where(codes >= 0, lookup[codes], predicted)
        decided = labelled & (predicted >= 0)
        pair = truth[decided].astype(np.int64) * k + predicted[decided]
        self._confusion += _count(period[decided], pair, self._n, k * k)
        if not has_scores:
            return
        rows, p, chosen = period[usable], filled[usable], predicted[usable]
        of_class = np.where(labelled[usable], truth[usable], -1).astype(np.int64)
        for i in range(k):
            self._add_scores(i, rows, p[:, i], of_class == i, of_class >= 0)
            own = chosen == i
            self._add_scores(k + i, rows[own], p[own, i], of_class[own] == i, of_class[own] >= 0)
        both = of_class >= 0
        p, of_class, rows = p[both], of_class[both], rows[both]
        true_score = p[np.arange(len(p)), of_class]
        self._add_losses(rows, -np.log(np.maximum(true_score, SCORE_FLOOR)), (p * p).sum(axis=1) - 2 * true_score + 1)

    def _add_numbers(
        self, period: IntArray, score: FloatArray, truth: FloatArray, labelled: BoolArray, cells: IntArray
    ) -> None:
        usable = np.isfinite(score)
        with np.errstate(over="ignore"):
            error = np.where(usable & labelled, score - np.where(labelled, truth, 0.0), np.nan)
        self._add_values(period[usable], score[usable], np.abs(error[usable]), cells[usable])
        measured = np.isfinite(error)
        rows, error = period[measured], error[measured]
        size = np.abs(error)
        bins = np.where(size > 0, _steps(size), _MIN_STEP - 1).astype(np.int64)
        for each, values in enumerate((np.ones_like(error), error, size, size**2, size**4)):
            self._sums[:, each] += np.bincount(rows, values, self._n)
        for step_number in np.unique(bins).tolist():
            of_step = np.bincount(rows[bins == step_number], minlength=self._n).astype(np.float64)
            self._errors[step_number] = self._errors.get(step_number, 0.0) + of_step

    def _add_values(self, period: IntArray, value: FloatArray, size: FloatArray, cells: IntArray) -> None:
        """Count rows by expected error or predicted value; `size` is |error|, not finite without a label."""
        measured = np.isfinite(size)
        known = np.where(measured, size, 0.0)
        offset = np.where(
            value == 0, 0, np.sign(value) * (_steps(np.where(value == 0, 1.0, np.abs(value))) + ERROR_ZERO)
        ).astype(np.int64)
        numbers, index = np.unique(np.where(cells == NO_CELL, VALUE_ZERO + offset, cells), return_inverse=True)
        cell = period * numbers.size + index
        weights = (measured, known, 0 * known, None, known**2)
        sums = [np.bincount(cell, each, self._n * numbers.size) for each in weights]
        values = np.stack(sums, axis=-1).reshape(self._n, numbers.size, 5).astype(np.float64)
        for i, number in enumerate(numbers.tolist()):
            self._values[number] = self._values.get(number, 0.0) + values[:, i]

    def _add_scores(
        self, class_index: int, period: IntArray, score: FloatArray, positive: BoolArray, labelled: BoolArray
    ) -> None:
        n_bins = self._edges.size + 1
        cell = period * n_bins + np.searchsorted(self._edges, score, "right")
        of_labelled = cell[labelled]
        for column, (cells, weights) in enumerate(
            (
                (of_labelled, None),
                (of_labelled, score[labelled]),
                (cell[labelled & positive], None),
                (cell, None),
                (cell, score),
            )
        ):
            counted = np.bincount(cells, weights, self._n * n_bins)
            self._cells[:, class_index, :, column] += counted.reshape(self._n, n_bins)

    def _add_losses(self, period: IntArray, loss: FloatArray, brier: FloatArray) -> None:
        for column, values in enumerate((np.ones_like(loss), loss, loss**2, np.ones_like(brier), brier, brier**2)):
            self._sums[:, column] += np.bincount(period, values, self._n)


def _steps(size: FloatArray) -> FloatArray:
    """Return the exponent of the largest whole power of `ERROR_STEP` up to each size; −∞ for 0."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.floor(np.log(size) / np.log(ERROR_STEP)))


def _sparse(sums: FloatArray, cells: IntArray) -> SparseCells:
    """Drop the cells without rows of an array of shape (periods, cells, 5)."""
    period, index = np.nonzero(sums[..., 3])
    return SparseCells(period, cells[index], sums[period, index])


def _count(period: IntArray, cell: NDArray[np.integer], n_periods: int, width: int) -> FloatArray:
    counted = np.bincount(period * width + cell, minlength=n_periods * width)
    return counted.reshape(n_periods, width).astype(np.float64)


# --- values -----------------------------------------------------------------------------------------------------------


def read_scores(column: pa.Array | None, n: int) -> FloatArray:
    """Read scores; NaN for null and for values that are not numbers."""
    column = None if column is None else _decoded(column)
    if column is None or not is_number(column.type):
        return np.full(n, np.nan)
    return np.array(pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False))


def read_truth(rules: Rules, column: pa.Array | None, n: int) -> FloatArray:
    """Read labels as the scorer does: 1 or 0, the index of a class, or a number; NaN without a valid label."""
    if column is None:
        return np.full(n, np.nan)
    if rules.kind == "number":
        numbers = read_labels(LabelSpec(type="float"), _decoded(column))
        return np.array(pc.cast(numbers, pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    names, codes = _codes(column)
    values = rules.values_of(names, is_open=rules.has_open_labels)
    if rules.kind == "classes":
        index = {name: float(i) for i, name in enumerate(rules.classes)}
        truth = [index.get(value, np.nan) for value in values]
    else:
        truth = [float(value == rules.positive) if value else np.nan for value in values]
    return np.array([*truth, np.nan])[codes]


def _codes(column: pa.Array) -> tuple[list[str], IntArray]:
    """Encode texts, flags and whole numbers as distinct texts and a code per row, −1 for null."""
    column = _decoded(column)
    kind = column.type
    if pa.types.is_null(kind):
        return [], np.full(len(column), -1, np.int64)
    if pa.types.is_boolean(kind):
        column = pc.if_else(column, "true", "false")
    elif pa.types.is_floating(kind):
        column = pc.cast(pc.if_else(pc.equal(column, pc.floor(column)), column, None), pa.int64()).cast(pa.string())
    elif not pa.types.is_string(kind):
        column = to_string(column)
    encoded = column.dictionary_encode()
    codes = pc.fill_null(encoded.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
    return encoded.dictionary.to_pylist(), codes


def _decoded(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def outcome_columns(rules: Rules | None, columns: Mapping[str, str], label: str | None) -> dict[str, str]:
    """Select what the counts read: `score`, `class`, `scores.CLASS` and `label` → column of the table."""
    if rules is None:
        return {}
    names: Sequence[str] = (SCORE, CLASS, *(f"scores.{name}" for name in rules.classes))
    selected = {name: columns[name] for name in names if name in columns}
    return selected | ({LABEL: label} if label is not None else {})
