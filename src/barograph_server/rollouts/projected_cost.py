"""Cost of both versions at full traffic, from the costs of pairs."""

import math
from dataclasses import dataclass

import numpy as np
from barograph.contract import ShadowTest

from barograph_server.sketches.rollout.criteria import daily_costs
from barograph_server.sketches.rollout.day_interval import BURN_IN_DAYS, day_interval
from barograph_server.sketches.rollout.shadow_days import ShadowDays


@dataclass(frozen=True, slots=True)
class ProjectedCost:
    """Costs in the unit of the prices, for all requests of a day."""

    requests: float
    """Mean requests of a day, over the last 28 days that have ended."""
    primary: float
    """Cost per day if the primary answers all of them; times 1,000 and divided by `requests`, that of 1,000."""
    candidate: float
    difference: float
    """candidate − primary: below 0 if the candidate is cheaper."""
    low: float
    """Lower end of the 95 % confidence sequence of the difference, for this number of requests; −∞ if there is not
    enough data."""
    high: float


def projected_cost(shadow: ShadowTest, whole: ShadowDays, raw_share: float = 1.0) -> ProjectedCost | None:
    """Project the costs of pairs to all requests; None if no ended day has pairs with a cost.

    Args:
        whole: the daily sums of the slice `all`.
        raw_share: share of the predictions that is recorded; requests are divided by it.
    """
    primary, candidate, pairs = daily_costs(shadow, whole)
    used = whole.ended & (pairs > 0.0)
    if not used.any():
        return None
    requests = float(np.mean(whole.sums["requests"][whole.ended][-BURN_IN_DAYS:]) / raw_share)
    per_day = [float(requests * costs[used].sum() / pairs[used].sum()) for costs in (primary, candidate)]
    low, high = -math.inf, math.inf
    if np.count_nonzero(used) > 1:
        interval = day_interval((candidate - primary)[used], pairs[used])
        low, high = requests * float(interval.low), requests * float(interval.high)
    return ProjectedCost(requests, per_day[0], per_day[1], per_day[1] - per_day[0], low, high)
