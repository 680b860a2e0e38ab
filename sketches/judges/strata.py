"""Rate of faults if gold is drawn at random from the judged answers: one stratum per verdict of the judge.

With q the flagged share of all N answers, and π₁ and π₀ the faulty share of gold among flagged and unflagged answers,

    p̂ = q π₁ + (1 − q) π₀.

The interval adds the squares of the distances of both Wilson limits, weighted by q and 1 − q, and
z² (π₁ − π₀)² q (1 − q)/N for the chance of q. For a binary judge, p̂ is the estimate of prediction-powered inference
with its best λ (decision 63). The judge may be arbitrarily bad: it then adds nothing, which the result reports.

Gold may have another share of flagged answers than the traffic, if it was drawn at random within each verdict. Only
the rate of gold alone then has no meaning, and is NaN: Fisher's exact test compares both shares.

Source: MOVER, Zou and Donner (2008), Statistics in Medicine 27, 1693–1702; Wilson in `sketches.drift.rates`.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from barograph_server.sketches.drift.fisher import fisher_p
from barograph_server.sketches.drift.rates import Z, rate_of, wilson
from barograph_server.sketches.judges.fault_rate import (
    LEAST_GOLD,
    UNEVEN_P,
    FaultRate,
    JudgedRate,
    RateReason,
    fault_rate,
    first_reason,
    gold_rate,
)


def strata_rate(
    judged: ArrayLike,
    flagged: ArrayLike,
    flagged_gold: ArrayLike,
    flagged_faulty: ArrayLike,
    unflagged_gold: ArrayLike,
    unflagged_faulty: ArrayLike,
) -> JudgedRate:
    """Return the rate of faults of all judged answers.

    All counts are answers, and broadcast to one shape, which the result has.

    Args:
        judged: answers with a verdict of one version of the judge, gold included.
        flagged: of these, answers that the judge calls faulty.
        flagged_gold: flagged answers with a label of people.
        unflagged_gold: other answers with a label.

    Returns:
        A rate is `insufficient`, and NaN, if answers of a verdict have no gold; it is `insufficient` with less than 50
        labels in all.

    Raises:
        ValueError: counts contradict one another, as more gold than answers.
    """
    rows, marked, g1, f1, g0, f0 = _checked(
        judged=judged,
        flagged=flagged,
        flagged_gold=flagged_gold,
        flagged_faulty=flagged_faulty,
        unflagged_gold=unflagged_gold,
        unflagged_faulty=unflagged_faulty,
    )
    for part, whole, text in (
        (marked, rows, "flagged answers than judged ones"),
        (g1, marked, "flagged answers in gold than flagged ones"),
        (g0, rows - marked, "unflagged answers in gold than unflagged ones"),
        (f1, g1, "faulty answers than answers in flagged gold"),
        (f0, g0, "faulty answers than answers in unflagged gold"),
    ):
        if np.any(part > whole):
            raise ValueError(f"more {text}; gold must be a part of the judged answers")
    is_known = ((g1 > 0) | (marked == 0)) & ((g0 > 0) | (marked == rows)) & (rows > 0)
    q, p1, p0 = rate_of(marked, rows), rate_of(f1, g1), rate_of(f0, g0)
    (low1, high1), (low0, high0) = wilson(f1, g1), wilson(f0, g0)
    value = q * p1 + (1.0 - q) * p0
    of_share = (Z * (p1 - p0)) ** 2 * q * (1.0 - q) / np.maximum(rows, 1)
    down = np.sqrt((q * (p1 - low1)) ** 2 + ((1.0 - q) * (p0 - low0)) ** 2 + of_share)
    up = np.sqrt((q * (high1 - p1)) ** 2 + ((1.0 - q) * (high0 - p0)) ** 2 + of_share)
    reason = first_reason((~is_known, RateReason.no_gold), (g1 + g0 < LEAST_GOLD, RateReason.little_gold))
    is_uneven = fisher_p(g1, g1 + g0, marked - g1, rows - g1 - g0) < UNEVEN_P
    blank = np.where(is_known, 0.0, np.nan)
    return JudgedRate(
        fault_rate(value + blank, value - down + blank, value + up + blank, reason),
        gold_rate(f1 + f0, g1 + g0, is_uneven=is_uneven),
    )


def _checked(**counts: ArrayLike) -> tuple[NDArray[np.int64], ...]:
    """Return counts, broadcast to one shape; raise ValueError with the name of one that is no whole number from 0."""
    for name, values in counts.items():
        numbers = np.asarray(values, np.float64)
        if not np.all((numbers >= 0.0) & (numbers == np.floor(numbers)) & np.isfinite(numbers)):
            raise ValueError(f"{name} must be whole numbers from 0 on, not {np.asarray(values)}")
    return tuple(np.broadcast_arrays(*(np.asarray(values).astype(np.int64) for values in counts.values())))


def weighted_rate(parts: FaultRate, weights: ArrayLike, labels: int) -> FaultRate:
    """Return the rate of all traffic from the rates of parts that were chosen with different probabilities.

    The variances of the parts add up (square-and-add). The weights count as known.

    Args:
        parts: the rates, shape (S,).
        weights: estimated answers of the traffic in each part, such as chosen answers ÷ their probability, shape (S,).
        labels: labels of all parts together.

    Returns:
        The rate, shape (). It is `insufficient` as the first part with answers that cannot be computed, and with less
        than 50 labels in all.

    Raises:
        ValueError: a weight is negative or not finite, or all are 0.
    """
    amounts = np.asarray(weights, np.float64)
    if not (np.all(np.isfinite(amounts) & (amounts >= 0.0)) and amounts.sum() > 0.0):
        raise ValueError("weights must be numbers of answers from 0 on, and one above 0")
    shares = amounts / amounts.sum()
    used = shares > 0.0
    value, low, high = (each[used] for each in (parts.value, parts.low, parts.high))
    w = shares[used]
    total = np.sum(w * value)
    down, up = np.sqrt(np.sum((w * (value - low)) ** 2)), np.sqrt(np.sum((w * (high - value)) ** 2))
    reasons = [int(each) for each in parts.reason[used] if each not in (RateReason.none, RateReason.little_gold)]
    reason = reasons[0] if reasons else int(RateReason.little_gold if labels < LEAST_GOLD else RateReason.none)
    return fault_rate(np.asarray(total), np.asarray(total - down), np.asarray(total + up), np.asarray(reason, np.int8))
