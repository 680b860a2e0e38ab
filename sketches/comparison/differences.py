"""Differences of means, rates and quantiles of two samples of production traffic: right − left, 95 % intervals.

φ, the overdispersion of the field, divides the events of both sides; `sketches.comparison.two_sample` explains why.

Source: means, Welch (1947), Biometrika 34, 28–35; rates, Newcombe (1998), Statistics in Medicine 17, 873–890; other
differences combined in the same way, Zou & Donner (2008), Statistics in Medicine 27, 1693–1702.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from barograph_server.sketches.baseline.levels import InsufficientReason, Level
from barograph_server.sketches.comparison.two_sample import check_phi
from barograph_server.sketches.drift.fisher import fisher_p
from barograph_server.sketches.drift.rates import Z, newcombe, rate_of, wilson
from barograph_server.sketches.sketch.numeric import NumericSketch

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Differences:
    """Differences right − left with their 95 % intervals; every array has the shape the arguments broadcast to.

    If a side has too little data, the interval is [−∞, ∞] (of rates [−1, 1]) and p is 1.
    """

    left: FloatArray
    """Mean, rate or quantile of the left side; NaN if it has none (a rate of no events is 0)."""
    right: FloatArray
    difference: FloatArray
    low: FloatArray
    high: FloatArray
    p_value: FloatArray
    """p of the hypothesis of no difference; NaN for quantiles, which have only an interval."""
    df: FloatArray
    """Welch's degrees of freedom; 0 for rates and quantiles."""


def mean_differences(
    n_left: ArrayLike,
    mean_left: ArrayLike,
    variance_left: ArrayLike,
    n_right: ArrayLike,
    mean_right: ArrayLike,
    variance_right: ArrayLike,
    *,
    phi_left: ArrayLike = 1.0,
    phi_right: ArrayLike = 1.0,
) -> Differences:
    """Compare means: Welch's t with n/φ events on each side.

    Args:
        n_left: number of valid values of the left side; all arguments broadcast.
        mean_left: their mean; ignored if there are none.
        variance_left: their sample variance (divisor n − 1); infinite or NaN if it is not known.
        phi_left: overdispersion, at least 1.
    """
    values = (n_left, mean_left, variance_left, n_right, mean_right, variance_right, phi_left, phi_right)
    m, x, u, n, y, v, f, g = np.broadcast_arrays(*(np.asarray(value, np.float64) for value in values))
    check_phi(f, g)
    x, y = np.where(m > 0.0, x, np.nan), np.where(n > 0.0, y, np.nan)
    known = (m / f > 1.0) & (n / g > 1.0) & np.isfinite(u) & np.isfinite(v) & np.isfinite(x) & np.isfinite(y)
    with np.errstate(invalid="ignore", divide="ignore"):
        left, right = u * f / m, v * g / n
        square = left + right
        df = square**2 / (left**2 / (m / f - 1.0) + right**2 / (n / g - 1.0))
        # Two constants differ or are equal with certainty.
        df = np.where(known & (square > 0.0), np.maximum(df, 1e-6), 1.0)
        error = np.sqrt(np.where(known, square, 0.0))
        difference = y - x
        half = np.where(error > 0.0, stdtrit(df, 0.975) * error, 0.0)
        t = np.where(error > 0.0, np.abs(difference) / np.where(error > 0.0, error, 1.0), np.inf)
        p = np.where(difference == 0.0, 1.0, 2.0 * stdtr(df, -t))
    return Differences(
        left=x,
        right=y,
        difference=difference,
        low=np.where(known, difference - half, -np.inf),
        high=np.where(known, difference + half, np.inf),
        p_value=np.where(known, p, 1.0),
        df=df,
    )


@dataclass(frozen=True, slots=True)
class RateDifferences(Differences):
    level: NDArray[np.int8]
    """Numbers of `sketches.baseline.levels.Level`, by the size of the difference regardless of its sign."""
    reason: NDArray[np.int8]
    """Numbers of `InsufficientReason`."""


def rate_differences(
    k_left: ArrayLike,
    n_left: ArrayLike,
    k_right: ArrayLike,
    n_right: ArrayLike,
    *,
    phi_left: ArrayLike = 1.0,
    phi_right: ArrayLike = 1.0,
    minor: ArrayLike = 0.01,
    major: ArrayLike = 0.05,
    completeness: ArrayLike = 1.0,
) -> RateDifferences:
    """Compare rates: Newcombe's interval and Fisher's p of k/φ of n/φ on each side.

    The level follows the thresholds of `sketches.drift.rates` for either sign. With enough data: `major` if |δ| > major
    and the interval lies beyond minor, `minor` if |δ| > minor and the interval excludes 0, else `stable`. Enough data
    means that 0 of n/φ would put each side under the minor threshold, and that the interval extends at most
    major − minor to either side (two shares of 30 % of 50 events each are often ten points apart). Without enough data:
    `major` if the interval lies beyond major, else `insufficient`.

    Args:
        k_left: events that count, 0 ≤ k ≤ n; may be fractions; all arguments broadcast.
        n_left: all events of the side.
        phi_left: overdispersion, at least 1.
        minor: threshold of `minor`, a share.
        major: threshold of `major`, above `minor`.
        completeness: share of the events of both sides that was not lost; it affects only the reason.

    Raises:
        ValueError: a count does not lie in 0 … n, φ is under 1, or 0 < minor < major does not hold.
    """
    values = (k_left, n_left, k_right, n_right, phi_left, phi_right, minor, major, completeness)
    k, m, j, n, f, g, minors, majors, counted = np.broadcast_arrays(
        *(np.asarray(value, np.float64) for value in values)
    )
    check_phi(f, g)
    if not (np.all((k >= 0.0) & (k <= m)) and np.all((j >= 0.0) & (j <= n))):
        raise ValueError("a count exceeds its events or is negative: 0 ≤ k ≤ n must hold")
    if not np.all((minors > 0.0) & (minors < majors)):
        raise ValueError("the minor threshold of a rate must be above 0 and below its major threshold")
    difference, low, high = newcombe(j / g, n / g, k / f, m / f)
    known = (m > 0.0) & (n > 0.0)
    # Distance of the interval from 0; negative if it contains 0.
    clear = np.where(difference >= 0.0, low, -high)
    size = np.abs(difference)

    def enough_of(per_left: FloatArray, per_right: FloatArray) -> BoolArray:
        """Whether data suffice if this many counted events are one independent event."""
        of_left, of_right = m / per_left, n / per_right
        middle, least, most = newcombe(j / per_right, of_right, k / per_left, of_left)
        reach = np.maximum(most - middle, middle - least)
        rarest = np.maximum(wilson(0.0, of_left)[1], wilson(0.0, of_right)[1])
        return np.asarray(known & (rarest < minors) & (reach <= majors - minors))

    enough = enough_of(f, g)
    level = np.full(size.shape, Level.insufficient, np.int8)
    level[enough] = Level.stable
    level[enough & (size > minors) & (clear > 0.0)] = Level.minor
    level[enough & (size > majors) & (clear > minors)] = Level.major
    level[known & ~enough & (clear > majors)] = Level.major
    reason = np.full(size.shape, InsufficientReason.too_few_events, np.int8)
    reason[enough_of(np.ones_like(f), np.ones_like(g))] = InsufficientReason.correlated_events
    counted = np.maximum(counted, 1e-9)
    reason[enough_of(f * counted, g * counted)] = InsufficientReason.lost_events
    reason[~known] = InsufficientReason.no_events
    reason[level != Level.insufficient] = InsufficientReason.none
    return RateDifferences(
        left=rate_of(k, m),
        right=rate_of(j, n),
        difference=difference,
        low=low,
        high=high,
        p_value=fisher_p(np.rint(k / f), np.rint(m / f), np.rint(j / g), np.rint(n / g)),
        df=np.zeros(size.shape),
        level=level,
        reason=reason,
    )


def quantile_differences(
    left: NumericSketch, right: NumericSketch, ranks: Sequence[float], *, phi_left: float = 1.0, phi_right: float = 1.0
) -> Differences:
    """Compare quantiles of two sketches.

    The true quantile of a side lies between the sketch's values at the ranks r ± (1.96·√(r(1 − r)·φ/n) + ε), where ε is
    the sketch's rank error; beyond rank 0 or 1 the interval is open. The intervals of the two sides are combined by
    Newcombe's method.

    Args:
        left: sketch of the left side's values.
        right: sketch of the right side's values; the kinds may differ.
        ranks: shape (r,), each strictly between 0 and 1.
        phi_left: overdispersion, at least 1.

    Returns:
        Arrays of shape (r,); NaN and an open interval if a side has no value.
    """
    requested = np.asarray(ranks, np.float64)
    if not ((requested > 0.0) & (requested < 1.0)).all():
        raise ValueError(f"ranks of quantiles lie between 0 and 1, not at {requested.tolist()}")
    check_phi(np.asarray(phi_left, np.float64), np.asarray(phi_right, np.float64))
    x, x_low, x_high = _quantile_bounds(left, requested, phi_left)
    y, y_low, y_high = _quantile_bounds(right, requested, phi_right)
    difference = y - x
    with np.errstate(invalid="ignore"):
        low = difference - np.hypot(y - y_low, x_high - x)
        high = difference + np.hypot(y_high - y, x - x_low)
    return Differences(
        left=x,
        right=y,
        difference=difference,
        low=np.where(np.isnan(difference), -np.inf, low),
        high=np.where(np.isnan(difference), np.inf, high),
        p_value=np.full(requested.shape, np.nan),
        df=np.zeros(requested.shape),
    )


def _quantile_bounds(sketch: NumericSketch, ranks: FloatArray, phi: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    value = sketch.quantiles(ranks)
    if sketch.is_empty:
        return value, np.full(ranks.shape, -np.inf), np.full(ranks.shape, np.inf)
    error = np.array([sketch.rank_error_at(rank) for rank in ranks.tolist()])
    reach = Z * np.sqrt(ranks * (1.0 - ranks) * phi / sketch.n) + error
    low, high = ranks - reach, ranks + reach
    below = np.where(low > 0.0, sketch.quantiles(np.clip(low, 0.0, 1.0)), -np.inf)
    above = np.where(high < 1.0, sketch.quantiles(np.clip(high, 0.0, 1.0)), np.inf)
    return value, np.minimum(below, value), np.maximum(above, value)
