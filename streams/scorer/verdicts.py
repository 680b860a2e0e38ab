"""Levels of metrics, and the rows of `performance`."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from barograph.contract import Contract, format_duration
from numpy.typing import NDArray

from barograph_server.sketches.baseline.levels import LEVEL_NAMES, REASON_NAMES, InsufficientReason, Level
from barograph_server.sketches.performance.cbpe import realised_error
from barograph_server.sketches.performance.metric import MetricEstimate, difference, undefined
from barograph_server.sketches.performance.selective import ALPHA, SPREAD, selective
from barograph_server.streams.scorer.label_delay import LabelDelayCurve
from barograph_server.streams.scorer.measure import ERRORS, SIGNED, MeasuredMetric, MetricName, is_share, measure
from barograph_server.streams.scorer.reference import References, interval_of, reference_ages_s
from barograph_server.streams.scorer.window_counts import WindowCounts, window_counts
from barograph_server.streams.scorer.windows import EventClock
from barograph_server.warehouse.scoring.rules import Rules

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PerformanceJudge:
    contract: Contract
    rules: Rules
    label_delay: LabelDelayCurve
    references: References
    clock: EventClock

    def columns(self, length_s: int, state: pa.Table, now_ms: int) -> dict[str, Any]:
        """Build the columns of `performance`, except the revision, for windows of one length.

        Args:
            state: rows of `warehouse.scoring.state.window_sums`.
        """
        n = state.num_rows
        if n == 0:
            return {"window_end": np.zeros(0, dtype=np.int64)}
        counts = window_counts(self.rules, state)
        start = state.column("start").to_numpy().astype(np.int64)
        end = start + length_s
        age_s = np.maximum(0.0, self.clock.now_s - end)
        maturity = self.label_delay.maturity(age_s)
        mature = self.label_delay.is_mature(age_s)
        keys = list(zip(state.column("version").to_pylist(), state.column("slice").to_pylist(), strict=True))
        selective, selective_p = _selective_labels(self.rules, counts)
        measured = measure(self.rules, counts)
        estimates, refusals = self.references.estimates(keys, counts), self.references.refusals(keys, counts)
        corrections = self.references.corrections(keys, counts, selective)
        arrived = self.label_delay.arrived_shares(reference_ages_s(self.rules), age_s, length_s)
        references = self.references.metrics(keys, arrived)
        shared = {
            "model": [self.contract.model] * n,
            "version": state.column("version").to_pylist(),
            "slice": state.column("slice").to_pylist(),
            "window": [format_duration(length_s)] * n,
            "window_start": start,
            "window_end": end,
            "predictions": counts.predictions,
            "coverage": counts.labelled / np.maximum(counts.predictions, 1),
            "maturity": maturity,
            "mature": mature,
            "selective": selective,
            "selective_p": selective_p,
            "raw_share": np.full(n, self.contract.raw_share),
            "revised_at": np.full(n, now_ms),
        }
        by_metric = [
            {
                **shared,
                "metric": [name[0]] * n,
                "class": [name[1]] * n,
                **self._verdict(name, metric, mature, references.get(name), estimates.get(name)),
                "cbpe_reason": refusals.get(name, [""] * n),
                **_interval_columns("corrected", _where_enough(corrections.get(name, undefined((n,))))),
            }
            for name, metric in measured.items()
        ]
        return {name: np.concatenate([np.asarray(each[name]) for each in by_metric]) for name in by_metric[0]}

    def _verdict(
        self,
        name: MetricName,
        measured: MeasuredMetric,
        mature: BoolArray,
        reference: MetricEstimate | None,
        estimate: MetricEstimate | None,
    ) -> dict[str, Any]:
        metric = measured.metric
        n = len(metric.value)
        thresholds = self.contract.rate_thresholds
        target = self.contract.slo.performance.get(name[0], np.nan) if not name[1] else np.nan
        reference = undefined((n,)) if reference is None else reference
        change = difference(metric, reference)
        levels = np.where(
            mature & np.isfinite(target),
            target_levels(name[0], metric, target),
            change_levels(name[0], change, reference, minor=thresholds.minor, major=thresholds.major),
        )
        enough = metric.enough & ~np.isnan(metric.value)
        levels = np.where(enough, levels, Level.insufficient)
        estimate = undefined((n,)) if estimate is None else estimate
        error = realised_error(estimate, metric)
        return {
            "value": metric.value,
            "low": metric.low,
            "high": metric.high,
            "sufficient": enough,
            "n": measured.n,
            "level": np.array(LEVEL_NAMES)[levels],
            "reason": np.array(REASON_NAMES)[reasons(levels, metric)],
            "promise": np.full(n, target),
            "reference": reference.value,
            **_interval_columns("difference", change),
            **_interval_columns("cbpe", estimate),
            "cbpe_error": np.where(mature & enough, error.value, np.nan),
        }


def target_levels(metric: str, measured: MetricEstimate, target: float) -> NDArray[np.int64]:
    """Compare metrics with a performance target of the contract.

    The level is `major` if the whole interval misses the target, `minor` if the value does. The target is the smallest
    allowed value; for an error the largest, for a signed error the largest absolute value.
    """
    if metric in SIGNED:
        value, nearest = np.abs(measured.value), np.maximum(np.maximum(measured.low, -measured.high), 0.0)
        missed, surely_missed = value > target, nearest > target
    elif metric in ERRORS:
        missed, surely_missed = measured.value > target, measured.low > target
    else:
        missed, surely_missed = measured.value < target, measured.high < target
    return np.where(surely_missed, Level.major, np.where(missed, Level.minor, Level.stable)).astype(np.int64)


def change_levels(
    metric: str, change: MetricEstimate, reference: MetricEstimate, *, minor: float, major: float
) -> NDArray[np.int64]:
    """Compare metrics with a reference, by the thresholds of rates.

    The level is `major` if the metric is worse by more than `major` and its whole interval by more than `minor`. It is
    `minor` if the metric is worse by more than `minor` and its interval excludes no change. Metrics between 0 and 1 are
    compared in absolute points, others relative to the reference. Without a reference the level is `insufficient`.
    """
    if metric in SIGNED:
        # The direction in which a signed error moves is neither good nor bad.
        worse, least = np.abs(change.value), np.maximum(np.maximum(change.low, -change.high), 0.0)
    elif metric in ERRORS:
        worse, least = change.value, change.low
    else:
        worse, least = -change.value, -change.high
    unit = np.ones_like(worse) if is_share(metric) else np.maximum(np.abs(reference.value), np.finfo(float).tiny)
    levels = np.where(
        (worse > major * unit) & (least > minor * unit),
        Level.major,
        np.where((worse > minor * unit) & (least > 0.0), Level.minor, Level.stable),
    )
    known = ~np.isnan(change.value) & change.enough
    return np.where(known, levels, Level.insufficient).astype(np.int64)


def reasons(levels: NDArray[np.int64], measured: MetricEstimate) -> NDArray[np.int64]:
    """Return why levels are `insufficient`, as numbers of `InsufficientReason`; 0 for other levels."""
    reason = np.where(np.isnan(measured.value), InsufficientReason.undefined_metric, InsufficientReason.no_reference)
    reason = np.where(measured.enough, reason, InsufficientReason.too_few_labels)
    return np.where(levels == Level.insufficient, reason, InsufficientReason.none).astype(np.int64)


def _interval_columns(name: str, metric: MetricEstimate) -> dict[str, FloatArray]:
    return {name: metric.value, f"{name}_low": metric.low, f"{name}_high": metric.high}


def _where_enough(metric: MetricEstimate) -> MetricEstimate:
    value, low, high = (np.where(metric.enough, values, np.nan) for values in interval_of(metric))
    return MetricEstimate(value, low, high, metric.enough)


def _selective_labels(rules: Rules, counts: WindowCounts) -> tuple[BoolArray, FloatArray]:
    """Test whether labels depend on the score; return the result and its p-value per window.

    With several classes it tests the probability of each, and multiplies p by the number of classes. Numbers have no
    score bins, so their result is False with p = NaN.
    """
    n = len(counts.predictions)
    if rules.kind == "number":
        return np.zeros(n, dtype=np.bool_), np.full(n, np.nan)
    result = selective(counts.labelled_hist, counts.prediction_hist, np.array(rules.edges))
    if rules.kind == "binary":
        return result.selective, result.p_value
    p_value = np.minimum(result.p_value * len(rules.classes), 1.0)
    is_selective: BoolArray = (p_value < ALPHA) & (result.spread >= SPREAD)
    return np.asarray(is_selective.any(axis=1)), np.asarray(p_value.min(axis=1))
