"""Comparison of two arms at every hour: an interval for "the arm is worse than its control" that holds at all looks.

Units (users, or single predictions) are assigned to the arms at random, and this is the only source of randomness used.
Hour h has n events and the sum S of a number in each arm, N events in both, and the mean m of both. With

    r = Σ_h (S_u − n_u m)      of each unit u,      D = Σ r over the units of the arm,      W = Σ_h n_a n_b/N,

D/W is the difference of means, weighted over hours. Without any effect, r does not depend on the assignment: then
D = Σ Z_u r_u has the mean 0 and the variance q(1 − q) Σ r², whatever happens within an hour, over a day or between a
user's requests. So neither a rhythm of the day nor returning users count as evidence.

The variance V of D is the largest of the following; each uses residuals around the difference found so far:

- by events: Σ_h n_a n_b/(N (N − 1)) Σ r² over events, and the same with a variance of its own for each arm;
- by units, if units stay in their arm: that of `sketches.rollout.split_traffic`, by hours.

At one look, D/√V is near normal. Over looks, the estimate moves like a Brownian motion in the information W²/V, or less
if the same units return. The confidence sequence of `sketches.rollout.day_interval` holds then, with

    t = W V_events/V,

the number of independent differences of the same information. It is narrowest at t = 1000. The number of standard
errors is that of Student's t distribution with the same tail and the degrees of freedom of V.

The sequence is asymptotic: the first look needs a number of events in each arm, which `events` of the contract decides,
with the default `LEAST_EVENTS` (`tests/reference/prompt_arms`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from barograph_server.sketches.rollout.day_interval import mean_radius
from barograph_server.sketches.rollout.split_traffic import assignment_variance

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

TUNED_DIFFERENCES = 1000.0
"""The t at which the sequence is narrowest."""
LEAST_EVENTS = 200
"""Default of the least events of each arm before the first look."""
LEAST_HOURS = 3
"""Least hours with events in both arms before the first look."""


@dataclass(frozen=True, slots=True)
class ArmLooks:
    """The looks at the end of every hour; every array has the shape (..., H)."""

    difference: FloatArray
    """Mean of the arm minus mean of the control, by hours of equal weight; NaN before both arms have events."""
    low: FloatArray
    """Lower end of the interval; −∞ if there is not enough data."""
    high: FloatArray
    """Upper end; ∞ if there is not enough data."""
    control_mean: FloatArray
    """Mean of the control in the same hours, with the same weights."""
    differences: FloatArray
    """t, the number of independent differences of the same information."""
    events: FloatArray
    """Events so far, of the shape (..., H, 2): the control first."""
    enough: BoolArray
    """Whether the interval may be used."""


def arm_looks(
    events: ArrayLike,
    sums: ArrayLike,
    squares: ArrayLike,
    *,
    by_unit: bool,
    is_ratio: bool = False,
    alpha: float = 0.05,
    least_events: float = LEAST_EVENTS,
) -> ArmLooks:
    """Return the confidence sequence at the end of every hour.

    Args:
        events: events with the number by hour, arm (the control first) and bucket of units, (..., H, 2, K).
        sums: sums of the number, of the same shape.
        squares: sums of its squares over all buckets, (..., H, 2).
        by_unit: whether units stay in their arm; K must then be 2 or more.
        is_ratio: whether the difference is divided by the control's mean later: the variance then includes its.
        alpha: probability that the true difference is ever outside.

    Raises:
        ValueError: the shapes do not fit, or a count is negative.
    """
    n_k, s_k, squares_ = _checked(events, sums, squares, by_unit=by_unit)
    n, s = n_k.sum(axis=-1), s_k.sum(axis=-1)
    both = n.sum(axis=-1)
    mean = s.sum(axis=-1) / np.maximum(both, 1.0)
    weight = n[..., 0] * n[..., 1] / np.maximum(both, 1.0)
    score = s - n * mean[..., None]
    total = np.cumsum(weight, axis=-1)
    has_weight = total > 0.0
    safe = np.where(has_weight, total, 1.0)
    difference = np.cumsum(score[..., 1], axis=-1) / safe
    control_mean = np.cumsum(weight * s[..., 0] / np.maximum(n[..., 0], 1.0), axis=-1) / safe
    scale = np.ones_like(difference)
    if is_ratio:
        scale = 1.0 + np.maximum(difference / np.where(control_mean > 0.0, control_mean, np.inf), 0.0)
    of_events, of_arms = _event_variances((n, s, squares_), mean, weight, score, difference, scale)
    variance = np.maximum(of_events, of_arms)
    freedom = np.full_like(variance, np.inf)
    cumulated = np.cumsum(n, axis=-2)
    if by_unit:
        of_units, freedom = assignment_variance(n_k, s_k, difference, scale, with_pooled=True)
        variance = np.fmax(variance, of_units)
    t = total * of_events / np.where(variance > 0.0, variance, np.inf)
    enough = (
        (cumulated.min(axis=-1) >= least_events)
        & (np.cumsum(weight > 0.0, axis=-1) >= LEAST_HOURS)
        & (t > 0.0)
        & (freedom > 1.0)
    )
    t_safe = np.where(enough, t, 1.0)
    errors = np.sqrt(t_safe) * mean_radius(t_safe, alpha, TUNED_DIFFERENCES)
    if by_unit:
        errors = -special.stdtrit(np.where(enough, freedom, 1e6), special.ndtr(-errors))
    half = errors * np.sqrt(variance) / safe
    return ArmLooks(
        np.where(has_weight, difference, np.nan),
        np.where(enough, difference - half, -np.inf),
        np.where(enough, difference + half, np.inf),
        np.where(has_weight, control_mean, np.nan),
        t,
        cumulated,
        np.asarray(enough, np.bool_),
    )


def _event_variances(
    sums: tuple[FloatArray, FloatArray, FloatArray],
    mean: FloatArray,
    weight: FloatArray,
    score: FloatArray,
    difference: FloatArray,
    scale: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Return the variance of D by events with one variance for both arms, and with one for each, at every look."""
    n, s, squares = sums
    both = n.sum(axis=-1)
    # Share of the other arm's events, for control and arm.
    other = n[..., ::-1] / np.maximum(both, 1.0)[..., None]
    # Share of the difference by which the mean of an arm differs from that of both.
    toward = other * np.array([-1.0, 1.0])
    # Σ(y − m − δ·toward)² of each arm is a polynomial of δ.
    around_mean = np.maximum(squares - 2.0 * mean[..., None] * s + n * (mean**2)[..., None], 0.0)
    terms = (around_mean, -2.0 * toward * score, n * toward**2)
    spare = np.maximum(both - 1.0, 1.0)
    pooled_weight = (weight / spare)[..., None]
    own_weight = other**2 * (both / spare)[..., None]
    pooled, own = ([np.cumsum(each * by, axis=-2) for each in terms] for by in (pooled_weight, own_weight))

    def at(coefficients: list[FloatArray]) -> FloatArray:
        d = difference[..., None]
        return np.maximum(coefficients[0] + coefficients[1] * d + coefficients[2] * d * d, 0.0)

    by_arm = at(own)
    return at(pooled).sum(axis=-1), by_arm[..., 0] * scale**2 + by_arm[..., 1]


def _checked(
    events: ArrayLike, sums: ArrayLike, squares: ArrayLike, *, by_unit: bool
) -> tuple[FloatArray, FloatArray, FloatArray]:
    n, s, q = (np.asarray(each, np.float64) for each in (events, sums, squares))
    if n.shape != s.shape or n.ndim < 3 or n.shape[-2] != 2 or q.shape != n.shape[:-1]:
        raise ValueError(
            f"events and sums need the shape (…, hours, 2, buckets) and squares (…, hours, 2), not {n.shape}, "
            f"{s.shape} and {q.shape}"
        )
    if by_unit and n.shape[-1] < 2:
        raise ValueError("units that stay in their arm need two buckets or more")
    if not np.all(n >= 0.0):
        raise ValueError("a count of events is negative")
    return n, s, q
