"""Levels of figures, and the rows of `performance`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from barograph.contract import Contract, format_duration
from numpy.typing import NDArray

from sketches.baseline.levels import LEVEL_NAMES, Level
from sketches.performance.cbpe import realised_error
from sketches.performance.metric import MetricEstimate, difference, undefined
from sketches.performance.selective import ALPHA, SPREAD, selective
from streams.scorer.label_delay import LabelDelayCurve
from streams.scorer.measure import ERRORS, SIGNED, Figure, Name, figures, is_share
from streams.scorer.reference import References, ages_of, parts_of
from streams.scorer.window_counts import WindowCounts, dense
from streams.scorer.windows import Now
from warehouse.scoring.rules import Rules

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Judge:
    """What windows of one model are judged by."""

    contract: Contract
    rules: Rules
    ages: LabelDelayCurve
    references: References
    now: Now

    def rows(self, length_s: int, state: pa.Table, now_ms: int) -> dict[str, Any]:
        """Make the columns of `performance`, but for the revision, of windows of one length.

        Args:
            length_s: of the windows.
            state: rows of `warehouse.scoring.state.merged`.
            now_ms: when, by the clock of the scorer.
        """
        n = state.num_rows
        if n == 0:
            return {"window_end": np.zeros(0, dtype=np.int64)}
        laid = dense(self.rules, state)
        start = state.column("start").to_numpy().astype(np.int64)
        end = start + length_s
        age_s = np.maximum(0.0, self.now.second - end)
        maturity = self.ages.maturity(age_s)
        mature = self.ages.is_mature(age_s)
        keys = list(zip(state.column("version").to_pylist(), state.column("slice").to_pylist(), strict=True))
        selected, selected_p = _selective(self.rules, laid)
        measured = figures(self.rules, laid)
        estimated = self.references.estimates(keys, laid)
        corrected = self.references.corrections(keys, laid, selected)
        come = self.ages.come(ages_of(self.rules), age_s, length_s)
        referred = self.references.figures(keys, come)
        shared = {
            "model": [self.contract.model] * n,
            "version": state.column("version").to_pylist(),
            "slice": state.column("slice").to_pylist(),
            "window": [format_duration(length_s)] * n,
            "window_start": start,
            "window_end": end,
            "predictions": laid.predictions,
            "coverage": laid.labelled / np.maximum(laid.predictions, 1),
            "maturity": maturity,
            "mature": mature,
            "selective": selected,
            "selective_p": selected_p,
            "raw_share": np.full(n, self.contract.raw_share),
            "revised_at": np.full(n, now_ms),
        }
        parts = [
            {
                **shared,
                "metric": [name[0]] * n,
                "class": [name[1]] * n,
                **self._verdict(name, figure, mature, referred.get(name), estimated.get(name)),
                **_told("corrected", _where_enough(corrected.get(name, undefined((n,))))),
            }
            for name, figure in measured.items()
        ]
        return {column: np.concatenate([np.asarray(part[column]) for part in parts]) for column in parts[0]}

    def _verdict(
        self,
        name: Name,
        figure: Figure,
        mature: BoolArray,
        referred: MetricEstimate | None,
        estimate: MetricEstimate | None,
    ) -> dict[str, Any]:
        metric = figure.metric
        n = len(metric.value)
        promise = self.contract.slo.performance.get(name[0], np.nan) if not name[1] else np.nan
        reference = undefined((n,)) if referred is None else referred
        moved = difference(metric, reference)
        levels = np.where(
            mature & np.isfinite(promise),
            levels_of_promise(name[0], metric, promise),
            self._levels_of_reference(name[0], moved, reference),
        )
        enough = metric.enough & ~np.isnan(metric.value)
        levels = np.where(enough, levels, Level.insufficient)
        guess = undefined((n,)) if estimate is None else estimate
        error = realised_error(guess, metric)
        return {
            "value": metric.value,
            "low": metric.low,
            "high": metric.high,
            "sufficient": enough,
            "n": figure.n,
            "level": np.array(LEVEL_NAMES)[levels],
            "promise": np.full(n, promise),
            "reference": reference.value,
            **_told("difference", moved),
            **_told("cbpe", guess),
            "cbpe_error": np.where(mature & enough, error.value, np.nan),
        }

    def _levels_of_reference(self, metric: str, moved: MetricEstimate, reference: MetricEstimate) -> NDArray[np.int64]:
        lines = self.contract.rate_thresholds
        return levels_of_change(metric, moved, reference, minor=lines.minor, major=lines.major)


def levels_of_promise(metric: str, measured: MetricEstimate, promise: float) -> NDArray[np.int64]:
    """Hold figures against a promise.

    `major` where the whole interval lies beyond it, `minor` where the figure does. A promise is the least value, of
    an error the largest, of a signed error the largest without its sign.
    """
    if metric in SIGNED:
        value, nearest = np.abs(measured.value), np.maximum(np.maximum(measured.low, -measured.high), 0.0)
        beyond, wholly = value > promise, nearest > promise
    elif metric in ERRORS:
        beyond, wholly = measured.value > promise, measured.low > promise
    else:
        beyond, wholly = measured.value < promise, measured.high < promise
    return np.where(wholly, Level.major, np.where(beyond, Level.minor, Level.stable)).astype(np.int64)


def levels_of_change(metric: str, moved: MetricEstimate, reference: MetricEstimate, *, minor: float, major: float) -> NDArray[np.int64]:
    """Hold figures against a reference, by the lines of rates.

    Worse by more than `major` and surely by more than `minor` is `major`; worse by more than `minor` and surely
    worse is `minor`. Shares are compared in points, other metrics as shares of the reference. `insufficient` where
    there is no reference to compare with.
    """
    if metric in SIGNED:
        # Which way a signed error moved is neither good nor bad.
        worse, least = np.abs(moved.value), np.maximum(np.maximum(moved.low, -moved.high), 0.0)
    elif metric in ERRORS:
        worse, least = moved.value, moved.low
    else:
        worse, least = -moved.value, -moved.high
    unit = np.ones_like(worse) if is_share(metric) else np.maximum(np.abs(reference.value), np.finfo(float).tiny)
    levels = np.where(
        (worse > major * unit) & (least > minor * unit),
        Level.major,
        np.where((worse > minor * unit) & (least > 0.0), Level.minor, Level.stable),
    )
    known = ~np.isnan(moved.value) & moved.enough
    return np.where(known, levels, Level.insufficient).astype(np.int64)


def _told(name: str, metric: MetricEstimate) -> dict[str, FloatArray]:
    return {name: metric.value, f"{name}_low": metric.low, f"{name}_high": metric.high}


def _where_enough(metric: MetricEstimate) -> MetricEstimate:
    value, low, high = (np.where(metric.enough, part, np.nan) for part in parts_of(metric))
    return MetricEstimate(value, low, high, metric.enough)


def _selective(rules: Rules, laid: WindowCounts) -> tuple[BoolArray, FloatArray]:
    """Whether labels depend on the score, and p; of several classes on the probability of any, p times their number.

    Numbers have no bins of scores.
    """
    n = len(laid.predictions)
    if rules.kind == "number":
        return np.zeros(n, dtype=np.bool_), np.full(n, np.nan)
    found = selective(laid.hist, laid.every, np.array(rules.edges))
    if rules.kind == "binary":
        return found.selective, found.p_value
    p_value = np.minimum(found.p_value * len(rules.classes), 1.0)
    of_class: BoolArray = (p_value < ALPHA) & (found.spread >= SPREAD)
    return np.asarray(of_class.any(axis=1)), np.asarray(p_value.min(axis=1))
