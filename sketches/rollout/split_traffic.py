"""Comparison of two arms of an A/B test from sums of local days: each request is answered by one of them.

With n events and the sum S of a quality in each arm, a, b, the day has the difference m = S_b/n_b − S_a/n_a. It has the
weight w = n_a n_b/(n_a + n_b): for independent events of variance σ², m has the variance σ²/w, so D = w m has the
variance of a sum of w independent differences. D and w then take the place of the sums and pairs of
`sketches.rollout.day_interval`. A day on which one arm has no events has the weight 0. Differences within a day are not
confounded with a change of the shares, as the difference of the means of all days would be.

Units, such as users, stay in their arm. Their differences do not average out over days: with other users in the arms,
the mean difference would be another one. Units are hashed into K buckets. With the mean M of both arms and δ = ΣD/Σw,
an event of an arm is expected at M ± xδ, x being the share of the other arm. The sums R of the residuals of each bucket
of an arm over all days give two estimates of the variance of ΣD by the assignment of units:

- Σ (R weighted by x)² K/(K − 1), which allows each arm a variance of its own. Days use it, as an arm that is better
  often varies less.
- q(1 − q) Σ R² K/(K − 1), with one variance for both arms and the share q of the arm: exact without any effect. Hours
  use the larger of both, as few events may all be alike.

A variance from 64 buckets is itself uncertain, and more so if few units make most requests: its degrees of freedom are
2 (Σ R²)²/Σ (R² − mean of R²)². All of it holds for hours as for days (`sketches.rollout.arm_looks`).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


def arm_differences(sums: ArrayLike, counts: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return the weighted differences D of days and their weights w, both (..., t).

    Args:
        sums: sums of a quality of which more is better, (..., t, 2): the control first.
        counts: events, of the same shape; not negative.

    Raises:
        ValueError: the shapes differ or do not end in 2, or a count is negative.
    """
    s, n = _checked(sums, counts, 2)
    weight = _weights(n)
    means = s / np.maximum(n, 1.0)
    return np.asarray(weight * (means[..., 1] - means[..., 0]), np.float64), weight


def unit_variances(sums: ArrayLike, counts: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return the variance of ΣD/Σw by the assignment of units after every day, (t,), and its degrees of freedom.

    The variance is ∞ while an arm has less than two buckets, and if at most one degree of freedom is left.

    Args:
        sums: as for `arm_differences`, by bucket of units: (t, 2, K).
        counts: events, of the same shape.

    Raises:
        ValueError: as `arm_differences`.
    """
    s, n = _checked(sums, counts, 3)
    differences, weights = arm_differences(s.sum(axis=-1), n.sum(axis=-1))
    weight = np.cumsum(weights, axis=-1)
    safe = np.where(weight > 0.0, weight, 1.0)
    variance, freedom = assignment_variance(n, s, np.cumsum(differences, axis=-1) / safe, with_pooled=False)
    is_known = (weight > 0.0) & (freedom > 1.0)
    return np.where(is_known, variance / safe**2, np.inf), np.maximum(freedom, 1.0)


def assignment_variance(
    events: FloatArray, sums: FloatArray, difference: FloatArray, scale: FloatArray | float = 1.0, *, with_pooled: bool
) -> tuple[FloatArray, FloatArray]:
    """Return the variance of ΣD by the assignment of units at every look, and its degrees of freedom.

    NaN and 0 while an arm has less than two buckets with events.

    Args:
        events: by block of time, arm (the control first) and bucket of units, (..., t, 2, K).
        sums: of a number, of the same shape.
        difference: ΣD/Σw at every look, (..., t).
        scale: factor of the control's residuals at every look.
        with_pooled: whether one variance for both arms counts if it is larger.
    """
    n = events.sum(axis=-1)
    both = np.maximum(n.sum(axis=-1), 1.0)
    mean = sums.sum(axis=(-2, -1)) / both
    # Share of the other arm's events.
    other = n[..., ::-1] / both[..., None]
    own, pooled, buckets = _of_arm(events[..., 0, :], sums[..., 0, :], mean, other[..., 0], difference)
    arm_own, arm_pooled, arm_buckets = _of_arm(events[..., 1, :], sums[..., 1, :], mean, other[..., 1], -difference)
    by = scale**2
    variance = own.square * by + arm_own.square
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = 2.0 * variance**2 / (own.spread * (by * by) + arm_own.spread)
        if with_pooled:
            of_both = pooled.square + arm_pooled.square
            freedom = np.minimum(freedom, 2.0 * of_both**2 / (pooled.spread + arm_pooled.spread))
            total = np.cumsum(n, axis=-2)
            shares = total[..., 0] * total[..., 1] / np.maximum(total.sum(axis=-1), 1.0) ** 2
            variance = np.maximum(variance, shares * of_both)
    is_known = np.minimum(buckets, arm_buckets) >= 2.0
    return np.where(is_known, variance, np.nan), np.where(is_known & np.isfinite(freedom), freedom, 0.0)


class _Residuals(NamedTuple):
    """Sums over the buckets of an arm, at every look."""

    square: FloatArray
    """Σ R² K/(K − 1)."""
    spread: FloatArray
    """Σ R⁴ − (Σ R²)²/K."""


def _of_arm(
    n: FloatArray, s: FloatArray, mean: FloatArray, other: FloatArray, difference: FloatArray
) -> tuple[_Residuals, _Residuals, FloatArray]:
    """Return the residuals of an arm, weighted by the other arm's share and plain, and its buckets with events.

    Args:
        n: events by block of time and bucket.
        s: sums by block of time and bucket.
        mean: of both arms, by block of time.
        other: the other arm's share of the events, by block of time.
        difference: that of the looks for the control, and its negative for the arm.
    """
    x, d = other[..., None], difference[..., None]
    r = s - n * mean[..., None]
    buckets = np.count_nonzero(np.cumsum(n, axis=-2), axis=-1).astype(np.float64)
    weighted = np.cumsum(x * r, axis=-2) + d * np.cumsum(x * x * n, axis=-2)
    plain = np.cumsum(r, axis=-2) + d * np.cumsum(x * n, axis=-2)
    return _residuals(weighted, buckets), _residuals(plain, buckets), buckets


def _residuals(values: FloatArray, buckets: FloatArray) -> _Residuals:
    square = np.einsum("...k,...k->...", values, values)
    squared = values * values
    fourth = np.einsum("...k,...k->...", squared, squared)
    spare = buckets / np.maximum(buckets - 1.0, 1.0)
    return _Residuals(square * spare, fourth - square**2 / np.maximum(buckets, 1.0))


def _weights(counts: FloatArray) -> FloatArray:
    total = counts.sum(axis=-1)
    return np.asarray(counts[..., 0] * counts[..., 1] / np.where(total > 0.0, total, 1.0), np.float64)


def _checked(sums: ArrayLike, counts: ArrayLike, axes: int) -> tuple[FloatArray, FloatArray]:
    s, n = np.asarray(sums, np.float64), np.asarray(counts, np.float64)
    arm_axis = -1 if axes == 2 else -2
    if s.shape != n.shape or s.ndim < axes or s.shape[arm_axis] != 2:
        raise ValueError(f"sums and counts of two arms need one shape, not {s.shape} and {n.shape}")
    if not np.all(n >= 0.0):
        raise ValueError("a count of events is negative")
    return s, n
