"""Estimates of performance without labels, by kind of model: what is learned from a reference, and its use."""

from __future__ import annotations

import contextlib

import numpy as np

from sketches.performance.calibration_map import CalibrationMap, learn_calibration
from sketches.performance.cbpe import cbpe_metrics
from sketches.performance.cbpe_classes import ClassCalibration, class_cbpe_metrics, learn_class_calibration
from sketches.performance.metric import MetricEstimate
from streams.scorer.window_counts import WindowCounts
from warehouse.scoring.rules import Rules

Calibration = CalibrationMap | ClassCalibration
"""What the scores of a model mean."""


def learn_estimates(rules: Rules, reference: WindowCounts, row: int) -> Calibration | None:
    """Learn what scores mean from one window with labels; None if it has too few. Takes a fifth of a second per class.

    Args:
        rules: how the model is measured.
        reference: counts of windows.
        row: index of the window.
    """
    edges = np.array(rules.edges)
    with contextlib.suppress(ValueError):
        if rules.kind == "binary":
            return learn_calibration(reference.labelled_hist[row], edges)
        if rules.kind == "classes":
            return learn_class_calibration(reference.labelled_hist[row], reference.predicted_hist[row][..., :3], edges)
    return None


def estimated_metrics(
    rules: Rules, calibration: Calibration, counts: WindowCounts, rows: list[int]
) -> dict[str, MetricEstimate]:
    """Estimate the metrics of some windows without their labels.

    Args:
        rules: how the model is measured.
        calibration: result of `learn_estimates` for the same rules.
        counts: counts of windows.
        rows: indices of the windows.
    """
    if isinstance(calibration, ClassCalibration):
        return class_cbpe_metrics(counts.prediction_hist[rows], counts.predicted_hist[rows][..., 3:], calibration)
    return cbpe_metrics(counts.prediction_hist[rows], calibration, rules.threshold)
