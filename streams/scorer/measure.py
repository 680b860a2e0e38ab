"""Metrics of windows from their counts, one entry per metric and class."""

from dataclasses import dataclass

import numpy as np
from barograph.contract.check import PERFORMANCE_METRICS
from numpy.typing import NDArray

from barograph_server.sketches.performance.binary import binary_metrics
from barograph_server.sketches.performance.classes import class_metrics
from barograph_server.sketches.performance.metric import MetricEstimate
from barograph_server.sketches.performance.number import ERROR_QUANTILES, number_metrics
from barograph_server.streams.scorer.window_counts import WindowCounts
from barograph_server.warehouse.scoring.rules import Rules

OF_SCORES = frozenset({"auc", "auc_macro", "log_loss", "brier", "calibration_error"})
"""Metrics of rows with a valid score. The others are of rows with a predicted class, or of numbers."""
ERRORS = frozenset({"log_loss", "brier", "calibration_error", "mae", "rmse", *ERROR_QUANTILES})
"""Metrics for which smaller is better."""
SIGNED = frozenset({"bias"})
"""Signed errors: nearer to 0 is better."""
SHARES = frozenset({"accuracy", "precision", "recall", "f1", "auc", "brier", "calibration_error"})
"""Metrics between 0 and 1, and their means over classes. Their changes are absolute, not relative."""

MetricName = tuple[str, str]
"""A metric and its class; an empty class for the whole model."""


@dataclass(frozen=True, slots=True)
class MeasuredMetric:
    metric: MetricEstimate
    n: NDArray[np.int64]
    """Number of labelled rows per window, shape (W,)."""


def is_share(metric: str) -> bool:
    """Return whether a metric's changes are absolute, in points."""
    return metric.removesuffix("_macro").removesuffix("_micro") in SHARES


def measure(rules: Rules, counts: WindowCounts) -> dict[MetricName, MeasuredMetric]:
    if rules.kind == "number":
        rows = counts.sums[:, 0].astype(np.int64)
        computed = number_metrics(counts.sums, counts.error_quantiles())
        return {(name, ""): MeasuredMetric(metric, rows) for name, metric in computed.items()}
    edges = np.array(rules.edges)
    sums = {"log_loss_sums": counts.sums[:, :3], "brier_sums": counts.sums[:, 3:]}
    decided = counts.confusion.reshape(len(counts.labelled), -1).sum(axis=1).astype(np.int64)
    scored = counts.sums[:, 0].astype(np.int64)
    if rules.kind == "binary":
        computed = binary_metrics(counts.labelled_hist, counts.confusion, edges, **sums)
        return {(name, ""): MeasuredMetric(metric, _n_rows(name, decided, scored)) for name, metric in computed.items()}
    computed = class_metrics(counts.confusion, counts.labelled_hist, edges, **sums)
    metrics: dict[MetricName, MeasuredMetric] = {}
    for name, metric in computed.items():
        if name in PERFORMANCE_METRICS["classes"]:
            metrics[name, ""] = MeasuredMetric(metric, _n_rows(name, decided, scored))
            continue
        for k, each in enumerate(rules.classes):
            own = MetricEstimate(metric.value[:, k], metric.low[:, k], metric.high[:, k], metric.enough[:, k])
            metrics[name, each] = MeasuredMetric(own, _n_rows(name, decided, scored))
    return metrics


def _n_rows(name: str, decided: NDArray[np.int64], scored: NDArray[np.int64]) -> NDArray[np.int64]:
    return scored if name in OF_SCORES else decided
