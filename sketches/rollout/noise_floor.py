"""What two copies of one model look like: the floor below which a disagreement means nothing.

A primary that is not deterministic, such as a language model with sampling, disagrees with a second copy of itself. The
disagreement of the candidate is then compared with that of the copy on the same requests:

    D = 1[copy differs from primary] − 1[candidate differs from primary]

is a difference for `sketches.rollout.day_interval`, with a margin like any other: positive if the candidate disagrees
less than a copy would. For other qualities, the interval of copy − primary shows how wide no difference is.

A deterministic primary has no floor, and nothing is divided by it.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from barograph_server.sketches.rollout.day_interval import day_interval
from barograph_server.sketches.rollout.shadow_days import FloatArray, ShadowDays


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
