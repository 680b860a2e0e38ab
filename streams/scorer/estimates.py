"""Estimates of performance without labels, by kind of model: what is learned from a reference, and its use.

An estimate of the reference itself must contain what the reference's labels show. Where it does not, estimates of
windows are wider by this error, or refused if it is larger than `cbpe.TOLERANCE`. Estimates of two classes assume that
the predicted class is the score at or above the threshold, and are refused where the class differs.
"""

import contextlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from barograph_server.sketches.performance.auc import class_rows
from barograph_server.sketches.performance.bins import first_positive
from barograph_server.sketches.performance.calibration_map import CalibrationMap, learn_calibration
from barograph_server.sketches.performance.cbpe import TOLERANCE, cbpe_metrics
from barograph_server.sketches.performance.cbpe_classes import (
    ClassCalibration,
    class_cbpe_metrics,
    learn_class_calibration,
)
from barograph_server.sketches.performance.loss import LossMap, learn_loss, loss_metrics
from barograph_server.sketches.performance.metric import ENOUGH, MetricEstimate
from barograph_server.streams.scorer.measure import measure
from barograph_server.streams.scorer.window_counts import SparseCells, WindowCounts
from barograph_server.warehouse.scoring.rules import Rules

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

CLASS_DIFFERS = "class differs from score and threshold"
MISSES_REFERENCE = "misses the reference"
_OF_CLASS = ("accuracy", "precision", "recall", "f1")
"""Metrics of two classes that depend on the threshold."""


@dataclass(frozen=True, slots=True)
class LearnedEstimate:
    """What a reference teaches."""

    map: CalibrationMap | ClassCalibration | LossMap
    """What the scores of the model mean, or how large the errors of its numbers are."""
    off: dict[str, float]
    """Metric → error of the estimate of the reference itself, if its interval does not contain the value."""
    class_differs: bool
    """Whether the reference's predicted class differs from score and threshold."""

    def refusals(self, class_differs: bool) -> dict[str, str]:
        """Return why metrics of a window are not estimated, by metric.

        Args:
            class_differs: the result of `class_differs` for the window.
        """
        refused = {name: MISSES_REFERENCE for name, error in self.off.items() if error > TOLERANCE}
        return refused | (dict.fromkeys(_OF_CLASS, CLASS_DIFFERS) if class_differs or self.class_differs else {})


def learn_estimates(rules: Rules, reference: WindowCounts, row: int) -> LearnedEstimate | None:
    """Learn from the window with the index `row`; None if it has too few labels."""
    edges = np.array(rules.edges)
    # Too few labels raise ValueError.
    with contextlib.suppress(ValueError):
        if rules.kind == "number":
            values = np.unique(reference.of_predictions.cell)
            labelled_rows, sizes, _, _, squares = reference.of_predictions.of_windows([row], values)[0].T
            loss = learn_loss(values, np.stack((labelled_rows, sizes, squares), axis=-1))
            return LearnedEstimate(loss, {}, class_differs=False)
        learned: CalibrationMap | ClassCalibration
        if rules.kind == "binary":
            learned = learn_calibration(reference.labelled_hist[row], edges)
        else:
            predicted = _of_predicted_classes(reference, [row])[0]
            learned = learn_class_calibration(reference.labelled_hist[row], predicted[..., :3], edges)
        own = _labelled_rows(reference, row)
        differs = bool(class_differs(rules, own)[0])
        return LearnedEstimate(learned, _errors_of_own(rules, learned, own), differs)
    return None


def class_differs(rules: Rules, counts: WindowCounts) -> BoolArray:
    """Return whether labelled rows of windows have another class than score and threshold give, shape (windows,).

    They differ if it is at least 20 rows, and more than a fiftieth of the rows of the smaller class.
    """
    if rules.kind != "binary":
        return np.zeros(len(counts.labelled), np.bool_)
    above = counts.labelled_hist[:, first_positive(rules.edges, rules.threshold) :].sum(axis=1)
    by_score = np.stack((above[:, 2], above[:, 0] - above[:, 2]), axis=-1)
    rows = np.abs(by_score - counts.confusion[:, :2]).sum(axis=-1)
    return np.asarray(rows >= np.maximum(ENOUGH, TOLERANCE * class_rows(counts.labelled_hist).min(axis=-1)))


def estimated_metrics(
    rules: Rules, learned: LearnedEstimate, counts: WindowCounts, rows: list[int]
) -> dict[str, MetricEstimate]:
    """Estimate the metrics of some windows without their labels; those of `LearnedEstimate.refusals` are NaN.

    Args:
        learned: result of `learn_estimates` for the same rules.
    """
    refused = [learned.refusals(each) for each in class_differs(rules, counts)[rows].tolist()]
    return {
        name: _checked(metric, learned.off.get(name, 0.0), np.array([name in each for each in refused], np.bool_))
        for name, metric in _estimated(rules, learned.map, counts, rows).items()
    }


def _checked(metric: MetricEstimate, error: float, is_refused: BoolArray) -> MetricEstimate:
    low, high = metric.low, metric.high
    if error > 0.0:
        low, high = np.maximum(low - error, 0.0), np.minimum(high + error, 1.0)
    value, low, high = (np.where(is_refused, np.nan, each) for each in (metric.value, low, high))
    return MetricEstimate(value, low, high, metric.enough & ~is_refused)


def _errors_of_own(rules: Rules, learned: CalibrationMap | ClassCalibration, own: WindowCounts) -> dict[str, float]:
    measured = measure(rules, own)
    errors = {}
    for name, metric in _estimated(rules, learned, own, [0]).items():
        value, (low, high) = measured[name, ""].metric.value[0], (metric.low[0], metric.high[0])
        if value < low or value > high:
            errors[name] = float(abs(metric.value[0] - value))
    return errors


def _labelled_rows(counts: WindowCounts, row: int) -> WindowCounts:
    """Return the counts of a window's labelled rows as if they were all of its predictions."""
    cells = counts.of_predictions
    is_own = cells.window == row
    sums = cells.sums[is_own][:, [0, 1, 2, 0, 1]]
    return replace(
        counts.weighted_sums(np.array([[row]]), np.ones((1, 1))),
        prediction_hist=counts.labelled_hist[[row], ..., :2],
        of_predictions=SparseCells(np.zeros(len(sums), np.int64), cells.cell[is_own], sums),
    )


def _estimated(
    rules: Rules, learned: CalibrationMap | ClassCalibration | LossMap, counts: WindowCounts, rows: list[int]
) -> dict[str, MetricEstimate]:
    if isinstance(learned, LossMap):
        values = np.unique(counts.of_predictions.cell)
        predictions = counts.of_predictions.of_windows(rows, values)[..., 3]
        return loss_metrics(values, predictions, learned)
    if isinstance(learned, ClassCalibration):
        predicted = _of_predicted_classes(counts, rows)
        return class_cbpe_metrics(counts.prediction_hist[rows], predicted[..., 3:], learned)
    return cbpe_metrics(counts.prediction_hist[rows], learned, rules.threshold)


def _of_predicted_classes(counts: WindowCounts, rows: list[int]) -> FloatArray:
    """Return rows by the probability of their predicted class, shape (len(rows), K, n_bins, 5)."""
    shape = counts.labelled_hist.shape[1:3]
    cells = counts.of_predictions.of_windows(rows, np.arange(shape[0] * shape[1]))
    return cells.reshape(len(rows), *shape, 5)
