"""Metrics of windows from their state, one entry per metric and class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from barograph.contract.check import METRICS
from numpy.typing import NDArray

from sketches.performance.binary import binary_metrics
from sketches.performance.classes import class_metrics
from sketches.performance.metric import MetricEstimate
from sketches.performance.number import ERROR_QUANTILES, number_metrics
from streams.scorer.window_counts import WindowCounts
from warehouse.scoring.rules import Rules

OF_SCORES = frozenset({"auc", "auc_macro", "log_loss", "brier", "calibration_error"})
"""Metrics of the rows whose scores are usable; the others are of those with a predicted class, or of numbers."""
ERRORS = frozenset({"log_loss", "brier", "calibration_error", "mae", "rmse", *ERROR_QUANTILES})
"""Metrics that are the better the smaller they are."""
SIGNED = frozenset({"bias"})
"""Errors with a sign: better the nearer they are to 0."""
SHARES = frozenset({"accuracy", "precision", "recall", "f1", "auc", "brier", "calibration_error"})
"""Metrics between 0 and 1, whose changes are counted in points; with their means over classes."""

Name = tuple[str, str]
"""A metric and the class that it is about, empty for the model as a whole."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric of W windows."""

    metric: MetricEstimate
    n: NDArray[np.int64]
    """Labelled rows that it is measured on, shape (W,)."""


def is_share(metric: str) -> bool:
    """Whether a metric's changes are counted in points."""
    return metric.removesuffix("_macro").removesuffix("_micro") in SHARES


def figures(rules: Rules, state: WindowCounts) -> dict[Name, Figure]:
    """Measure windows."""
    if rules.kind == "number":
        rows = state.sums[:, 0].astype(np.int64)
        found = number_metrics(state.sums, state.error_quantiles())
        return {(name, ""): Figure(metric, rows) for name, metric in found.items()}
    edges = np.array(rules.edges)
    sums = {"log_loss_sums": state.sums[:, :3], "brier_sums": state.sums[:, 3:]}
    decided = state.confusion.reshape(len(state.labelled), -1).sum(axis=1).astype(np.int64)
    scored = state.sums[:, 0].astype(np.int64)
    if rules.kind == "binary":
        found = binary_metrics(state.hist, state.confusion, edges, **sums)
        return {(name, ""): Figure(metric, _rows(name, decided, scored)) for name, metric in found.items()}
    found = class_metrics(state.confusion, state.hist, edges, **sums)
    named: dict[Name, Figure] = {}
    for name, metric in found.items():
        if name in METRICS["classes"]:
            named[name, ""] = Figure(metric, _rows(name, decided, scored))
            continue
        for k, each in enumerate(rules.classes):
            own = MetricEstimate(metric.value[:, k], metric.low[:, k], metric.high[:, k], metric.enough[:, k])
            named[name, each] = Figure(own, _rows(name, decided, scored))
    return named


def _rows(name: str, decided: NDArray[np.int64], scored: NDArray[np.int64]) -> NDArray[np.int64]:
    return scored if name in OF_SCORES else decided
