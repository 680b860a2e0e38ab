"""Difference of AUC at looks that are planned before the data: at most five, over a declared number of days.

The looks are after 1/5, 2/5, … of the planned days with mature labels, rounded up, but not before the burn-in has
ended. Each look uses exactly the first days up to it, so it does not change afterwards. Its interval is the difference
± bound × standard error, with the bounds of `sketches.rollout.planned_looks` and the error of
`sketches.rollout.clustered_auc`, κ included. All intervals together hold with probability 1 − α. If both models rank
all rows of all days alike, there is no error to estimate, and the half-width is the loss that remains possible on days
that have not occurred (`sketches.rollout.least_days`).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from barograph_server.sketches.rollout.clustered_auc import auc_difference
from barograph_server.sketches.rollout.day_interval import BURN_IN_DAYS
from barograph_server.sketches.rollout.least_days import WORST_DAY, unseen_loss
from barograph_server.sketches.rollout.planned_looks import MOST_LOOKS, look_bounds

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
    """Half-width of the interval; ∞ without a variance."""
    kappa: float
    """Factor of the variance for correlation between days; NaN before the first look."""


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
    half = bound * error if error > 0.0 else math.inf
    if error == 0.0 and float(result.difference) == 0.0:
        half = unseen_loss(days, worst_day, alpha)
    return PlannedAuc(days, next_days, float(result.difference), half, float(result.kappa))


@functools.lru_cache(maxsize=64)
def _bound(looks: tuple[int, ...], total: int, alpha: float) -> float:
    """Return the bound of |z| at the last of the looks; a history of looks needs few of them again and again."""
    return float(look_bounds(np.array(looks) / total, alpha)[-1])
