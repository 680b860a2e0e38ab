"""The criteria of a contract's `shadow` section, as daily differences."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from barograph.contract import ShadowTest
from numpy.typing import ArrayLike, NDArray

from barograph_server.sketches.baseline.baseline import ALL
from barograph_server.sketches.rollout.day_interval import BURN_IN_DAYS, day_interval
from barograph_server.sketches.rollout.decision import (
    AucDays,
    Criterion,
    CriterionDays,
    ShadowDecision,
    SliceDays,
    decide,
)
from barograph_server.sketches.rollout.exceedances import exceedances, frozen_limit
from barograph_server.sketches.rollout.missing_pairs import MissingPairs
from barograph_server.sketches.rollout.shadow_days import PLANNED, SLO_TIMED, FloatArray, ShadowDays

SLICED = ("accuracy", "brier", "log_loss", "mae")
"""Criteria that are also compared in every slice."""
LABELLED = (*SLICED, "auc")
"""Criteria that use only days with mature labels."""
DEFECTS = ("missing", "agreement")
"""Shares of a defect that the primary never has: the candidate is worse only beyond the margin."""
LATENCY_RANKS = {"latency_p50": 0.5, "latency_p95": 0.95, "latency_p99": 0.99}
"""Criteria of quantiles of the latency, with their ranks."""


def decision(shadow: ShadowTest, slices: Sequence[ShadowDays]) -> ShadowDecision:
    """Decide about a candidate from the daily sums of its slices, `all` among them."""
    (whole,) = (each for each in slices if each.slice == ALL)
    days = [criterion_days(name, margin, shadow, whole) for name, margin in shadow.margins.items()]
    parts = []
    for name in (each for each in SLICED if each in shadow.margins):
        for part in slices:
            if part.slice != ALL:
                sums, pairs = differences(name, part, shadow)
                parts.append(SliceDays(part.slice, name, sums[part.mature], pairs[part.mature], _unit(name, part)))
    return decide(days, parts)


def criterion_days(name: str, margin: float, shadow: ShadowTest, days: ShadowDays) -> CriterionDays | AucDays:
    """Return the days of one criterion that are over, for labelled criteria with mature labels.

    Args:
        margin: the contract's margin; of `latency` a ratio.
        days: the daily sums of the slice `all`.
    """
    used = days.ended & days.mature if name in LABELLED else days.ended
    limit = math.log1p(margin) if name == "latency" else margin
    harmless = -limit if name in DEFECTS else 0.0
    criterion = Criterion(name, limit, shadow.worst_day, shadow.days, harmless)
    if name == "auc":
        empty = np.zeros((len(used), 1, 3))
        primary, candidate = (days.histograms.get(f"scores_{side}", empty) for side in ("primary", "candidate"))
        # The two sides can have other last bins; AUC needs the same ones.
        bins = max(primary.shape[1], candidate.shape[1])
        primary, candidate = (
            np.pad(each, ((0, 0), (0, bins - each.shape[1]), (0, 0)))[used] for each in (primary, candidate)
        )
        return AucDays(criterion, primary, candidate, shadow.planned_days)
    sums, pairs = differences(name, days, shadow)
    missing = None
    if name == "accuracy":
        missing = MissingPairs(days.sums["missing_labelled"][used], days.sums["missing_right"][used])
    return CriterionDays(criterion, sums[used], pairs[used], missing, unit=_unit(name, days))


def differences(name: str, days: ShadowDays, shadow: ShadowTest) -> tuple[FloatArray, FloatArray]:
    """Return a criterion's daily sums and pairs, each of shape (t,); sums above 0 mean that the candidate is better."""
    sums = days.sums
    match name:
        case "accuracy":
            return sums["candidate_right"] - sums["primary_right"], sums["labelled"]
        case "brier":
            return sums["brier_primary"] - sums["brier_candidate"], sums["scored"]
        case "log_loss":
            return sums["loss_primary"] - sums["loss_candidate"], sums["scored"]
        case "mae":
            return sums["error_primary"] - sums["error_candidate"], sums["scored"]
        case "agreement":
            return _disagreements(shadow, sums)
        case "latency":
            return -sums["log_latency"], sums["timed"]
        case "latency_p50" | "latency_p95" | "latency_p99":
            return _exceedances(LATENCY_RANKS[name], days)
        case "latency_slo":
            return sums["slow_primary"] - sums["slow_candidate"], sums[SLO_TIMED]
        case "cost":
            primary, candidate, pairs = daily_costs(shadow, days)
            first = _first_days(pairs * days.ended)
            unit = primary[first].sum() / max(pairs[first].sum(), 1.0)
            # Without a cost of the primary there is nothing to compare with.
            return (primary - candidate) / (unit or 1.0), pairs * (unit > 0.0)
        case "missing":
            return missing_answers(days)
        case _:
            raise ValueError(f"unknown criterion {name!r}")


def missing_answers(days: ShadowDays) -> tuple[FloatArray, FloatArray]:
    """Return the daily requests without the candidate's answer, times −1, and all requests that needed one, (t,)."""
    failures, planned = np.zeros(len(days.days)), np.zeros(len(days.days))
    for reason, counts in days.missing.items():
        if reason in PLANNED:
            planned += counts
        else:
            failures += counts
    return -failures, days.sums["requests"] - planned


def daily_costs(shadow: ShadowTest, days: ShadowDays) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the daily cost of each side over costed pairs, the primary first, and these pairs, each of shape (t,).

    There are no pairs if the newest windows were counted before the contract had these prices.
    """
    others = shadow.candidate_prices or shadow.prices
    none = np.zeros(len(days.days))
    if not shadow.prices.keys() <= days.spent_primary.keys() or not others.keys() <= days.spent_candidate.keys():
        return none, none, none
    return (
        _cost(shadow.prices, days.spent_primary, none),
        _cost(others, days.spent_candidate, none),
        days.sums["costed"],
    )


def _cost(prices: Mapping[str, float], spent: Mapping[str, FloatArray], none: FloatArray) -> FloatArray:
    return sum((price * spent[metric] for metric, price in prices.items()), none)


def _disagreements(shadow: ShadowTest, sums: Mapping[str, FloatArray]) -> tuple[FloatArray, FloatArray]:
    """Return the daily sums of disagreements beyond those of the copy, or of all without one, and the pairs."""
    if not shadow.copy:
        return sums["agreed"] - sums["compared"], sums["compared"]
    compared = sums["copy_compared"]
    of_candidate = compared - sums["copy_candidate_agreed"]
    beyond = disagreement_beyond_copy(of_candidate, compared - sums["copy_agreed"])
    return -of_candidate if beyond is None else beyond, compared


def _exceedances(rank: float, days: ShadowDays) -> tuple[FloatArray, FloatArray]:
    """Return the daily differences of values above the primary's quantile of the burn-in, and the pairs."""
    timed = days.sums["timed"]
    first = _first_days(timed * days.ended)
    if not timed[first].sum():
        return np.zeros(len(timed)), np.zeros(len(timed))
    limit = frozen_limit(days.histograms["latencies_primary"][first].sum(axis=0), rank)
    primary, candidate = (exceedances(days.histograms[f"latencies_{side}"], limit) for side in ("primary", "candidate"))
    return primary - candidate, timed


def _first_days(pairs: FloatArray) -> NDArray[np.intp]:
    """Return the indices of the burn-in: the first 28 days with pairs."""
    return np.flatnonzero(pairs > 0.0)[:BURN_IN_DAYS]


def _unit(name: str, days: ShadowDays) -> float:
    """Return the size of one typical event: of absolute errors, which can have any unit, the primary's mean error."""
    if name != "mae":
        return 1.0
    return typical_error(days.sums["error_primary"], days.sums["scored"] * days.ended * days.mature)


def typical_error(errors: FloatArray, counts: FloatArray) -> float:
    """Return the mean of the first 28 days with errors, so that later days do not change it; 1 without any."""
    first = _first_days(counts)
    mean = float(errors[first].sum() / max(counts[first].sum(), 1.0))
    return mean if mean > 0.0 else 1.0


# A primary that is not deterministic, such as a language model with sampling, disagrees with a second copy of itself.
# The disagreement of the candidate is then compared with that of the copy on the same requests:
#
#     D = 1[copy differs from primary] − 1[candidate differs from primary]
#
# is a difference for `sketches.rollout.day_interval`, with a margin like any other: positive if the candidate disagrees
# less than a copy would. For other qualities, the interval of copy − primary shows how wide no difference is.
#
# A deterministic primary has no floor, and nothing is divided by it.
@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """Shares of the requests that the primary, the candidate and the copy decided, over the days that have ended."""

    compared: int
    """These requests."""
    candidate: float
    """Share in which the candidate's class differs from the primary's."""
    copy: float
    """Share in which the copy's class does; 0 for a deterministic primary, which has no floor."""
    low: float
    """Lower end of the 95 % confidence sequence of candidate − copy; −∞ without enough data or without a floor."""
    high: float


def disagreement_beyond_copy(candidate: ArrayLike, copy: ArrayLike) -> FloatArray | None:
    """Return the daily sums of D, (..., t); None for a deterministic primary, whose copy never disagrees.

    Args:
        candidate: requests of each day in which the candidate's answer differs from the primary's, (..., t).
        copy: requests in which the copy's answer does, among the same requests.
    """
    of_copy = np.asarray(copy, np.float64)
    return np.asarray(of_copy - np.asarray(candidate, np.float64), np.float64) if of_copy.any() else None


def noise_floor(whole: ShadowDays) -> NoiseFloor | None:
    """Compare the disagreement of the candidate with that of the copy; None if no ended day has a copy's decisions.

    Args:
        whole: the daily sums of the slice `all`.
    """
    used = whole.ended & (whole.sums["copy_compared"] > 0.0)
    if not used.any():
        return None
    compared = whole.sums["copy_compared"][used]
    of_candidate = compared - whole.sums["copy_candidate_agreed"][used]
    of_copy = compared - whole.sums["copy_agreed"][used]
    low, high = -math.inf, math.inf
    beyond = disagreement_beyond_copy(of_candidate, of_copy)
    if beyond is not None and np.count_nonzero(used) > 1:
        interval = day_interval(-beyond, compared)
        low, high = float(interval.low), float(interval.high)
    total = float(compared.sum())
    return NoiseFloor(int(total), float(of_candidate.sum()) / total, float(of_copy.sum()) / total, low, high)
