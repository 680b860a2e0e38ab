"""Performance of each period compared with training, and its estimate from outputs where labels are missing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from barograph.contract import Contract

from barograph_server.sketches.baseline.levels import LEVEL_NAMES, Level
from barograph_server.sketches.performance.metric import MetricEstimate, difference, undefined
from barograph_server.streams.scorer.estimates import class_differs, estimated_metrics, learn_estimates
from barograph_server.streams.scorer.measure import MeasuredMetric, MetricName, measure
from barograph_server.streams.scorer.verdicts import change_levels, target_levels
from barograph_server.streams.scorer.window_counts import WindowCounts
from barograph_server.warehouse.scoring.rules import Rules


@dataclass(frozen=True, slots=True)
class PeriodMetric:
    """One metric in one period. Numbers that are unknown are NaN."""

    period: str
    metric: str
    class_name: str
    """Empty for the whole model."""
    n: int
    """Labelled rows behind the value."""
    value: float
    low: float
    high: float
    training: float
    change: float
    """Value minus training."""
    change_low: float
    change_high: float
    level: str
    estimate: float
    """The value expected without labels; estimates of mae and rmse have no interval."""
    estimate_low: float
    estimate_high: float
    estimate_reason: str
    """Why there is no estimate although training has labels; otherwise empty."""


def compare_performance(
    contract: Contract, rules: Rules, labels: Sequence[str], training: WindowCounts | None, production: WindowCounts
) -> list[PeriodMetric]:
    """Measure each period, compare it with training, and estimate it from its outputs.

    Args:
        training: the counts of the training table as one window; None if it has no labels or no scores.
    """
    measured = measure(rules, production)
    reference = {} if training is None else measure(rules, training)
    calibration = None if training is None else learn_estimates(rules, training, 0)
    periods = list(range(len(labels)))
    estimates = {} if calibration is None else estimated_metrics(rules, calibration, production, periods)
    differs = class_differs(rules, production).tolist()
    refusals = [{} if calibration is None else calibration.refusals(each) for each in differs]
    rows = []
    for name, metric in measured.items():
        estimate = estimates.get(name[0], undefined((len(labels),))) if not name[1] else undefined((len(labels),))
        reasons = ["" if name[1] else each.get(name[0], "") for each in refusals]
        rows += _rows(contract, name, metric, reference.get(name), estimate, labels, reasons)
    return rows


def _rows(
    contract: Contract,
    name: MetricName,
    measured: MeasuredMetric,
    training: MeasuredMetric | None,
    estimate: MetricEstimate,
    labels: Sequence[str],
    reasons: Sequence[str],
) -> list[PeriodMetric]:
    metric, thresholds = measured.metric, contract.rate_thresholds
    shape = metric.value.shape
    base = undefined((1,)) if training is None else training.metric
    value, low, high = (np.broadcast_to(part, shape) for part in (base.value, base.low, base.high))
    reference = MetricEstimate(value, low, high, np.broadcast_to(base.enough, shape))
    change = difference(metric, reference)
    target = contract.slo.performance.get(name[0], np.nan) if not name[1] else np.nan
    levels = change_levels(name[0], change, reference, minor=thresholds.minor, major=thresholds.major)
    if np.isfinite(target):
        levels = target_levels(name[0], metric, target)
    levels = np.where(metric.enough & ~np.isnan(metric.value), levels, Level.insufficient)
    return [
        PeriodMetric(
            period=label,
            metric=name[0],
            class_name=name[1],
            n=int(measured.n[i]),
            value=float(metric.value[i]),
            low=float(metric.low[i]),
            high=float(metric.high[i]),
            training=float(reference.value[i]),
            change=float(change.value[i]),
            change_low=float(change.low[i]),
            change_high=float(change.high[i]),
            level=LEVEL_NAMES[int(levels[i])],
            estimate=float(estimate.value[i]),
            estimate_low=float(estimate.low[i]),
            estimate_high=float(estimate.high[i]),
            estimate_reason=reasons[i],
        )
        for i, label in enumerate(labels)
        if measured.n[i] or np.isfinite(estimate.value[i]) or reasons[i]
    ]
