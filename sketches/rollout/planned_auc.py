"""Difference of AUC at looks that are planned before the data: at most five, over a declared number of days.

The looks are after 1/5, 2/5, … of the planned days with mature labels, rounded up, but not before the burn-in has
ended. Each look uses exactly the first days up to it, so it does not change afterwards. Its interval is the difference
± bound × standard error, with the bounds below and the error of `sketches.rollout.clustered_auc`, κ included. All
intervals together hold with probability 1 − α. If both models rank all rows of all days alike, there is no error to
estimate, and the half-width is the loss that remains possible on days that have not occurred
(`sketches.rollout.least_days`). A look whose days are too alike (`sketches.rollout.autocorrelation`) has no interval.

At the share t of the planned data, each side has spent f(t) = 2(1 − Φ(z/√t)) of the error rate, z the upper α/4
point of the normal distribution. Bounds follow by recursive integration of the density of the process within earlier
bounds.

Source: Lan and DeMets (1983), Biometrika 70, 659–663; Armitage, McPherson and Rowe (1969), JRSS A 132, 235–244.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from barograph_server.sketches.rollout.autocorrelation import LEAST_INDEPENDENT_DAYS
from barograph_server.sketches.rollout.clustered_auc import auc_difference
from barograph_server.sketches.rollout.day_interval import BURN_IN_DAYS
from barograph_server.sketches.rollout.least_days import WORST_DAY, unseen_loss

MOST_LOOKS = 5
_NODES = 128
"""Gauss–Legendre nodes per look; the error of a bound is under 10⁻¹¹ for equal steps."""


def look_bounds(shares: ArrayLike, alpha: float = 0.05) -> FloatArray:
    """Return the bounds of |z| at each look.

    Args:
        shares: shares of the planned data at the looks, ascending, in (0, 1]; at most five.
        alpha: probability that a look is beyond its bound, both sides together.

    Raises:
        ValueError: shares do not ascend or are not in (0, 1], there are more than five, or α is not between 0 and 1.
    """
    # Imported on use: it takes a third of a second, and most commands judge no looks.
    from scipy.optimize import brentq

    times = np.asarray(shares, np.float64)
    if not (times.ndim == 1 and 1 <= times.size <= MOST_LOOKS):
        raise ValueError(f"between 1 and {MOST_LOOKS} looks can be declared, not {times.size}")
    if not (times[0] > 0.0 and times[-1] <= 1.0 and np.all(np.diff(times) > 0.0)):
        raise ValueError(f"shares of looks must ascend within (0, 1], not {times.tolist()}")
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"α must lie between 0 and 1, not at {alpha}")
    spent = 2.0 * ndtr(ndtri(alpha / 4.0) / np.sqrt(times))
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    bounds: list[float] = []
    # The process S has variance t; these are its values, and their density times the weight, within all earlier bounds.
    values, mass = np.zeros(1), np.ones(1)
    previous, spent_before = 0.0, 0.0
    for time, total in zip(times.tolist(), spent.tolist(), strict=True):
        sd = np.sqrt(time - previous)

        def excess(bound: float, allowed: float = total - spent_before, sd: float = sd) -> float:
            return float(np.sum(mass * ndtr((values - bound) / sd))) - allowed  # noqa: B023

        limit = float(brentq(excess, 0.0, 40.0, xtol=1e-13, rtol=1e-14))
        bounds.append(limit / np.sqrt(time))
        fresh = limit * nodes
        density = np.exp(-0.5 * ((fresh[:, None] - values) / sd) ** 2) / (sd * np.sqrt(2.0 * np.pi))
        mass = limit * weights * (density @ mass)
        values, previous, spent_before = fresh, time, total
    return np.array(bounds)


FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PlannedAuc:
    """The newest planned look that the days have reached."""

    days: int
    """Days of the look; 0 before the first one."""
    next_days: int | None
    """Days of the next look; None after the last one."""
    value: float
    """AUC of the candidate − AUC of the primary; NaN before the first look, or if a class is missing."""
    half: float
    """Half-width of the interval; ∞ without a variance, and if the days are too alike."""
    kappa: float
    """Factor of the variance for correlation between days; NaN before the first look."""
    too_alike: bool = False
    """Whether there is no interval because the days are worth fewer than six independent ones."""


def planned_days(total: int) -> list[int]:
    """Return the days of the looks, ascending, for a total of planned days of at least 28."""
    looks = {math.ceil(total * step / MOST_LOOKS) for step in range(1, MOST_LOOKS + 1)}
    return sorted(days for days in looks if days >= BURN_IN_DAYS)


def planned_auc(
    primary: FloatArray, candidate: FloatArray, total: int, alpha: float = 0.05, worst_day: float = WORST_DAY
) -> PlannedAuc:
    """Return the newest look.

    Args:
        primary: labelled rows of each mature day with rows, (t, bins, 3), bins by ascending score: n, Σ score,
            positives.
        candidate: the same rows with the candidate's scores.
        total: planned days, at least 28.
        alpha: probability that the difference is outside the interval of any look.
        worst_day: assumed loss on a bad day.
    """
    looks = planned_days(total)
    reached = [days for days in looks if days <= len(primary)]
    next_days = looks[len(reached)] if len(reached) < len(looks) else None
    if not reached:
        return PlannedAuc(0, next_days, math.nan, math.inf, math.nan)
    days = reached[-1]
    result = auc_difference(primary[:days], candidate[:days])
    bound = _bound(tuple(looks[: len(reached)]), total, alpha)
    error = math.sqrt(float(result.variance * result.kappa))
    kappa = float(result.kappa)
    too_alike = error > 0.0 and days < LEAST_INDEPENDENT_DAYS * kappa
    half = bound * error if error > 0.0 and not too_alike else math.inf
    if error == 0.0 and float(result.difference) == 0.0:
        half = unseen_loss(days, worst_day, alpha)
    return PlannedAuc(days, next_days, float(result.difference), half, kappa, too_alike)


@functools.lru_cache(maxsize=64)
def _bound(looks: tuple[int, ...], total: int, alpha: float) -> float:
    """Return the bound of |z| at the last of the looks; a history of looks needs few of them again and again."""
    return float(look_bounds(np.array(looks) / total, alpha)[-1])
