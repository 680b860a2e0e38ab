"""Estimates of performance without labels, by kind of model: what is learned from a reference, and its use."""

from __future__ import annotations

import contextlib

import numpy as np
from numpy.typing import NDArray

from barograph_server.sketches.performance.calibration_map import CalibrationMap, learn_calibration
from barograph_server.sketches.performance.cbpe import cbpe_metrics
from barograph_server.sketches.performance.cbpe_classes import (
    ClassCalibration,
    class_cbpe_metrics,
    learn_class_calibration,
)
from barograph_server.sketches.performance.loss import LossMap, learn_loss, loss_metrics
from barograph_server.sketches.performance.metric import MetricEstimate
from barograph_server.streams.scorer.window_counts import WindowCounts
from barograph_server.warehouse.scoring.rules import Rules

FloatArray = NDArray[np.float64]
LearnedEstimate = CalibrationMap | ClassCalibration | LossMap
"""What the scores of a model mean, or how large the errors of its numbers are."""


def learn_estimates(rules: Rules, reference: WindowCounts, row: int) -> LearnedEstimate | None:
    """Learn from one window with labels; None if it has too few.

    Args:
        rules: how the model is measured.
        reference: counts of windows.
        row: index of the window.
    """
    edges = np.array(rules.edges)
    # Too few labels raise ValueError.
    with contextlib.suppress(ValueError):
        if rules.kind == "binary":
            return learn_calibration(reference.labelled_hist[row], edges)
        if rules.kind == "classes":
            predicted = _of_predicted_classes(reference, [row])[0]
            return learn_class_calibration(reference.labelled_hist[row], predicted[..., :3], edges)
        if rules.kind == "number":
            values = np.unique(reference.of_predictions.cell)
            labelled_rows, sizes, _, _, squares = reference.of_predictions.of_windows([row], values)[0].T
            return learn_loss(values, np.stack((labelled_rows, sizes, squares), axis=-1))
    return None


def estimated_metrics(
    rules: Rules, learned: LearnedEstimate, counts: WindowCounts, rows: list[int]
) -> dict[str, MetricEstimate]:
    """Estimate the metrics of some windows without their labels.

    Args:
        rules: how the model is measured.
        learned: result of `learn_estimates` for the same rules.
        counts: counts of windows.
        rows: indices of the windows.
    """
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
