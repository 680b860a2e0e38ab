"""Difference of AUC at looks that are planned before the data: at most five, over a declared number of days.

The looks are after 1/5, 2/5, … of the planned days with mature labels, rounded up, but not before the burn-in has
ended. Each look uses exactly the first days up to it, so it does not change afterwards. Its interval is the difference
± bound × standard error, with the bounds below and the error of `sketches.rollout.planned_auc`, κ included. All
intervals together hold with probability 1 − α. If both models rank all rows of all days alike, there is no error to
estimate, and the half-width is the loss that remains possible on days that have not occurred
(`sketches.rollout.planned_auc`). A look whose days are too alike (`sketches.rollout.day_interval`) has no interval.

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

from barograph_server.sketches.performance.auc import class_rows, share_below
from barograph_server.sketches.rollout.day_interval import BURN_IN_DAYS, LEAST_INDEPENDENT_DAYS, first_lag_factor


# With DeLong's placements V (for a positive row, the share of negatives that the model scores lower, ties ½; for a
# negative row, the share of positives that it scores higher), Δ = AUC of the candidate − AUC of the primary, m
# positives, n negatives, and D days:
#
#     φ_d = Σ_{positives of d} (ΔV − Δ)/m + Σ_{negatives of d} (ΔV − Δ)/n
#     variance = κ D/(D − 1) Σ φ_d²,   κ of `first_lag_factor`
#
# DeLong's variance of independent rows is far too small: `python -m tests.reference.shadow_errors` prints both standard
# errors for real flights. The AUC within each day is another question and can have the opposite sign, so days are not
# strata.
#
# Only days whose labels are mature count. A day's counts must not change afterwards: the bounds of
# `sketches.rollout.planned_auc` hold for looks at fixed data.
#
# Source: DeLong, DeLong and Clarke-Pearson (1988), Biometrics 44, 837–845; Obuchowski (1997), Biometrics 53, 567–578.
@dataclass(frozen=True, slots=True)
class AucDifference:
    """Differences of AUC; every array has the shape of the comparisons."""

    primary: FloatArray
    candidate: FloatArray
    """AUC of each model; rows of one bin are ties. NaN if a class is missing."""
    difference: FloatArray
    """candidate − primary."""
    variance: FloatArray
    """Variance of the difference for independent days: κ is left out. NaN if a class is missing."""
    kappa: FloatArray
    """Factor of the variance for correlation between days."""

    @property
    def z(self) -> FloatArray:
        """Difference in standard errors, κ included; NaN if there is no variance."""
        error = np.sqrt(self.variance * self.kappa)
        return np.asarray(self.difference / np.where(error > 0.0, error, np.nan), np.float64)


def auc_difference(primary: ArrayLike, candidate: ArrayLike) -> AucDifference:
    """Compare two models.

    Args:
        primary: labelled rows of each mature day, (..., days, bins, 3), bins by ascending score: n, Σ score, positives
            (`sketches.performance.bins`); at least two days.
        candidate: the same rows with the candidate's scores.

    Raises:
        ValueError: shapes do not fit, or the two models have different rows.
    """
    left, right = np.asarray(primary, np.float64), np.asarray(candidate, np.float64)
    if left.ndim < 3 or left.shape != right.shape or left.shape[-1] != 3 or left.shape[-3] < 2:
        raise ValueError(f"both models need histograms (..., days, bins, 3), not {left.shape} and {right.shape}")
    rows_of_days = class_rows(left)
    if not np.array_equal(rows_of_days, class_rows(right)):
        raise ValueError("both models must have the same labelled rows of each day")
    days = left.shape[-3]
    rows = rows_of_days.sum(axis=-2)
    known = rows.min(axis=-1) > 0.0
    divisor = np.where(rows > 0.0, rows, 1.0)
    # Sums of placements of each day's positives and negatives, (..., days, 2).
    left_sums, right_sums = _placement_sums(left), _placement_sums(right)
    values = [np.where(known, (sums.sum(axis=-2) / divisor)[..., 0], np.nan) for sums in (left_sums, right_sums)]
    difference = values[1] - values[0]
    excess = right_sums - left_sums - difference[..., None, None] * rows_of_days
    phi = (excess / divisor[..., None, :]).sum(axis=-1)
    return AucDifference(
        primary=values[0],
        candidate=values[1],
        difference=difference,
        variance=np.asarray(days / (days - 1.0) * np.sum(phi * phi, axis=-1), np.float64),
        kappa=first_lag_factor(phi),
    )


def _placement_sums(hist: FloatArray) -> FloatArray:
    positives = hist[..., 2]
    negatives = hist[..., 0] - positives
    below = share_below(negatives.sum(axis=-2))[..., None, :]
    above = 1.0 - share_below(positives.sum(axis=-2))[..., None, :]
    return np.stack(((positives * below).sum(axis=-1), (negatives * above).sum(axis=-1)), axis=-1)


# A candidate that loses b of its pairs on a share m/b of the days, and equals the primary on all others, loses m on
# average. It shows no difference in T days with probability (1 − m/b)^T. So no method can show at level α that a
# candidate loses less than m before
#
#     T = ln(1/α) / −ln(1 − m/b).
#
# b is the contract's `worst_day`: an assumption that no data replaces.
WORST_DAY = 0.1
"""Default of the loss per pair on a bad day."""


def rare_harm_days(margin: float, worst_day: float = WORST_DAY, alpha: float = 0.05) -> float:
    """Return T; 0 if the margin is at least the loss of the worst day.

    Args:
        margin: acceptable loss per pair, m > 0.
        worst_day: assumed loss per pair on a bad day, b > 0, in the unit of the margin.
        alpha: probability that no bad day occurs in T days.

    Raises:
        ValueError: if margin or worst day is not above 0, or α is not between 0 and 1.
    """
    _check(worst_day, alpha)
    if not margin > 0.0:
        raise ValueError(f"a margin must be above 0, not {margin}: no data shows that a candidate is exactly as good")
    return 0.0 if margin >= worst_day else math.log(alpha) / math.log1p(-margin / worst_day)


def least_days(margin: float, worst_day: float = WORST_DAY, alpha: float = 0.05) -> int:
    """Return the whole days before which a margin is never shown: the larger of T and the burn-in."""
    return max(BURN_IN_DAYS, math.ceil(rare_harm_days(margin, worst_day, alpha)))


def unseen_loss(days: int, worst_day: float = WORST_DAY, alpha: float = 0.05) -> float:
    """Return the loss per pair that stays possible after days without any difference: b (1 − α^(1/t)).

    It is the inverse of T: less than the margin after more than T days.

    Args:
        days: independent days in which every answer was as good as the primary's.
        worst_day: as for `rare_harm_days`.
        alpha: probability that the loss is larger.
    """
    _check(worst_day, alpha)
    return -worst_day * math.expm1(math.log(alpha) / days) if days else worst_day


def days_left(days: int, value: float, half: float, margin: float) -> float:
    """Return about how many more days the interval needs to exclude −margin; ∞ if the value is at or below −margin.

    Half-widths shrink like 1/√t. The value is taken as final, so this is a forecast without guarantee.
    """
    distance = value + margin
    return max(0.0, days * (half / distance) ** 2 - days) if distance > 0.0 else math.inf


def _check(worst_day: float, alpha: float) -> None:
    if not worst_day > 0.0:
        raise ValueError(f"the loss on a bad day must be above 0, not {worst_day}")
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"α must lie between 0 and 1, not at {alpha}")


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
