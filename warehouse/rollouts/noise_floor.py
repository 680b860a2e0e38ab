"""Disagreement of a candidate beside that of a second copy of the primary, on the same requests."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from barograph_server.sketches.rollout.day_interval import day_interval
from barograph_server.sketches.rollout.noise_floor import disagreement_beyond_copy
from barograph_server.warehouse.rollouts.days import ShadowDays


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
