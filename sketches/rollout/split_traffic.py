"""Comparison of two arms of an A/B test from sums of local days: each request is answered by one of them.

With n events and the sum S of a quality in each arm, a, b, the day has the difference m = S_b/n_b − S_a/n_a. It has the
weight w = n_a n_b/(n_a + n_b): for independent events of variance σ², m has the variance σ²/w, so D = w m has the
variance of a sum of w independent differences. D and w then take the place of the sums and pairs of
`sketches.rollout.day_interval`. A day on which one arm has no events has the weight 0. Differences within a day are not
confounded with a change of the shares, as the difference of the means of all days would be.

Units, such as users, stay in their arm. Their differences do not average out over days: with other users in the arms,
the mean difference would be another one. Units are hashed into K buckets. The bucket k of an arm contributes

    e = Σ w (S_k − n_k S/n)/n / Σ w   over days, with n and S of its arm,

to the mean difference, and Σ e² K/(K − 1) over both arms estimates the variance by the assignment of units.
"""

from __future__ import annotations

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


def unit_variance(sums: ArrayLike, counts: ArrayLike) -> float:
    """Return the variance of the mean difference ΣD/Σw by the assignment of units; NaN with less than two buckets.

    Args:
        sums: as for `arm_differences`, by bucket of units: (t, 2, K).
        counts: events, of the same shape.

    Raises:
        ValueError: as `arm_differences`.
    """
    s, n = _checked(sums, counts, 3)
    totals, events = s.sum(axis=-1), n.sum(axis=-1)
    weight = _weights(events)
    if not weight.any():
        return float("nan")
    means = totals / np.maximum(events, 1.0)
    share = weight[:, None] / np.maximum(events, 1.0)
    effects = np.sum(share[..., None] * (s - means[..., None] * n), axis=0) / weight.sum()
    buckets = np.count_nonzero(n.sum(axis=0), axis=-1)
    if np.any(buckets < 2):
        return float("nan")
    return float(np.sum(np.sum(effects**2, axis=-1) * buckets / (buckets - 1)))


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
