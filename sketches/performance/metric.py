"""Metric estimates with intervals, and the methods that compute the intervals.

All intervals have 95 % confidence. φ, the overdispersion of the traffic, divides every sample size.

Sources: Wilson (1927), in `sketches.drift.rates`; MOVER: Zou and Donner (2008), Statistics in Medicine 27, 1693–1702.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, stdtrit

from barograph_server.sketches.drift.rates import CONFIDENCE, Z, wilson

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

ENOUGH = 20.0
"""Fewest independent rows of a class (n/φ) for a verdict; with fewer the level is `insufficient`."""


@dataclass(frozen=True, slots=True)
class MetricEstimate:
    """One metric of many windows; every array has the windows' shape.

    `value`, `low` and `high` are NaN if the metric is undefined (a precision without predicted positives), `low` and
    `high` also if a single row gives no spread.
    """

    value: FloatArray
    low: FloatArray
    """Lower end of the 95 % interval."""
    high: FloatArray
    enough: BoolArray
    """Whether the window has enough rows for a verdict; otherwise its level is `insufficient`."""


def undefined(shape: tuple[int, ...]) -> MetricEstimate:
    return MetricEstimate(
        np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape, np.bool_)
    )


def proportion(k: ArrayLike, n: ArrayLike, phi: ArrayLike = 1.0) -> MetricEstimate:
    """Return k/n with Wilson's interval; NaN if n is 0, enough from n/φ = 20.

    Args:
        k: rows that count, 0 ≤ k ≤ n.
        phi: overdispersion, at least 1.
    """
    hits, rows, phis = (np.asarray(a, np.float64) for a in np.broadcast_arrays(k, n, checked_phi(phi)))
    known = rows > 0.0
    low, high = wilson(hits / phis, rows / phis)
    value = hits / np.where(known, rows, np.nan)
    return MetricEstimate(value, np.where(known, low, np.nan), np.where(known, high, np.nan), rows / phis >= ENOUGH)


def mean(sums: ArrayLike, phi: ArrayLike = 1.0, *, least: float = -np.inf) -> MetricEstimate:
    """Return the exact mean of a loss with Student's interval; enough from n/φ = 20.

    Args:
        sums: shape (..., 3): n, Σx, Σx².
        phi: overdispersion, broadcast against the windows' shape.
        least: lower bound of the mean; the interval is clipped there.
    """
    totals = last_axis(sums, 3, "sums of a mean")
    rows, total, squares = totals[..., 0], totals[..., 1], totals[..., 2]
    divisor = np.where(rows > 0.0, rows, np.nan)
    value = total / divisor
    spread = np.where(rows > 1.0, np.maximum(squares - total * value, 0.0) / np.maximum(rows - 1.0, 1.0), np.nan)
    half = student(rows / checked_phi(phi)) * np.sqrt(spread * checked_phi(phi) / divisor)
    return MetricEstimate(value, np.maximum(value - half, least), value + half, rows / checked_phi(phi) >= ENOUGH)


def root(squared: MetricEstimate) -> MetricEstimate:
    """Return the square root of a mean of squares; the interval is symmetric in its logarithm, so above 0."""
    half = squared.high - squared.value
    half = np.where(squared.value > 0.0, half / np.where(squared.value > 0.0, squared.value, 1.0), half)
    return MetricEstimate(
        np.sqrt(squared.value),
        np.sqrt(squared.value * np.exp(-half)),
        np.sqrt(squared.value * np.exp(half)),
        squared.enough,
    )


def student(n: ArrayLike) -> FloatArray:
    """Return the half-width of the interval of a mean of n independent rows, in standard errors.

    NaN for less than two rows; 1.96 for many.
    """
    rows = np.asarray(n, np.float64)
    quantile = stdtrit(np.maximum(rows - 1.0, 1.0), 0.5 + CONFIDENCE / 2.0)
    return np.where(rows >= 2.0, quantile, np.nan).astype(np.float64)


def on_logit(value: ArrayLike, variance: ArrayLike, n: ArrayLike, enough: ArrayLike) -> MetricEstimate:
    """Return an estimate between 0 and 1 whose interval is symmetric in log-odds.

    At 0 and 1, and without variance, log-odds give no interval: it is then Wilson's of n rows.

    Args:
        value: the estimate; NaN if it is undefined.
        variance: of the estimate, φ included.
        n: independent rows behind it, for Wilson's interval.
        enough: see `MetricEstimate`.
    """
    figure, spread, rows, sure = np.broadcast_arrays(value, variance, n, enough)
    known = ~np.isnan(figure)
    inside = known & (figure > 0.0) & (figure < 1.0) & (spread > 0.0)
    middle = np.where(inside, figure, 0.5)
    half = Z * np.sqrt(np.where(inside, spread, 0.0)) / (middle * (1.0 - middle))
    odds = np.log(middle) - np.log1p(-middle)
    low, high = wilson(np.where(known, figure, 0.0) * rows, rows)
    low = np.where(inside, expit(odds - half), np.minimum(low, figure))
    high = np.where(inside, expit(odds + half), np.maximum(high, figure))
    return MetricEstimate(np.array(figure, np.float64), low, high, sure & known)


def where_enough(metric: MetricEstimate, enough: ArrayLike) -> MetricEstimate:
    """Return the same estimates, enough only if this condition holds too."""
    return MetricEstimate(metric.value, metric.low, metric.high, metric.enough & np.asarray(enough, np.bool_))


def difference(a: MetricEstimate, b: MetricEstimate) -> MetricEstimate:
    """Return a − b with its interval (square and add): two arms, or a window and its reference at equal age.

    The distance of each value to the end of its own interval counts as its error on that side; for proportions
    this is Newcombe's interval. The two must be of different predictions.

    Returns:
        NaN if either is undefined; enough if both are.
    """
    value = a.value - b.value
    low = value - np.hypot(a.value - a.low, b.high - b.value)
    high = value + np.hypot(a.high - a.value, b.value - b.low)
    return MetricEstimate(value, low, high, a.enough & b.enough)


def checked_phi(phi: ArrayLike) -> FloatArray:
    """Return φ as an array.

    Raises:
        ValueError: if one is under 1 or NaN.
    """
    phis = np.asarray(phi, np.float64)
    if not np.all(phis >= 1.0):
        raise ValueError("φ, the overdispersion, must be at least 1")
    return phis


def last_axis(values: ArrayLike, length: int, what: str) -> FloatArray:
    """Return counts or sums as an array of doubles, after a check of the length of its last axis.

    Raises:
        ValueError: if the length differs.
    """
    array = np.asarray(values, np.float64)
    if array.ndim < 1 or array.shape[-1] != length:
        raise ValueError(f"{what} must have the shape (..., {length}), not {array.shape}")
    return array


def clustered_rate(sums: ArrayLike, counts: ArrayLike) -> MetricEstimate:
    """Return the mean score of one run with its 95 % interval; enough from 20 independent answers.

    With s_i the sum of the scores of item i, m_i its answers, K items, N = Σm_i answers and p = Σs_i / N, the variance
    of p by items is K/(K−1) · Σ(s_i − p·m_i)² / N². Its ratio to p(1−p)/N is the design effect φ. The interval is
    Wilson's with N/φ answers. φ is at least 1, so scores that vary less than coins gain nothing. If all scores are 0,
    or all are 1, each item counts once: φ = N/K.

    Source: ratio estimator of clusters, Cochran, Sampling Techniques (1977), section 3.12; effective sizes in Wilson's
    interval, Korn and Graubard (1998), Survey Methodology 24, 193–201.

    Args:
        sums: sum of the scores of each item, shape (K,); scores are from 0 to 1.
        counts: answers of each item, shape (K,), at least 1.

    Returns:
        Scalars; NaN without items. With one item the interval is Wilson's of one answer.

    Raises:
        ValueError: the shapes differ, a count is below 1, or a sum is not between 0 and its count.
    """
    scores, answers = np.asarray(sums, np.float64), np.asarray(counts, np.float64)
    if scores.ndim != 1 or scores.shape != answers.shape:
        raise ValueError(f"sums and counts of items need one shape (K,), not {scores.shape} and {answers.shape}")
    if not np.all(answers >= 1.0) or not np.all((scores >= 0.0) & (scores <= answers)):
        raise ValueError("an item has no answer, or scores that are not between 0 and 1")
    items, n, total = len(scores), float(answers.sum()), float(scores.sum())
    if items == 0:
        return proportion(0.0, 0.0)
    p = total / n
    phi = n / items
    if items > 1 and 0.0 < p < 1.0:
        variance = items / (items - 1) * float(np.sum((scores - p * answers) ** 2)) / n**2
        phi = max(1.0, variance * n / (p * (1.0 - p)))
    elif items == 1:
        phi = n
    return proportion(total, n, max(1.0, phi))
