"""Costs of pairs, projected to all requests."""

import msgspec
import numpy as np
import pytest
from barograph.contract import ShadowTest

from barograph_server.rollouts.projected_cost import projected_cost
from barograph_server.sketches.rollout.day_interval import day_interval
from barograph_server.sketches.rollout.shadow_days import COUNTED, ShadowDays

T = 40
SHADOW = ShadowTest(candidate="4", of="3", margins={"cost": 0.1}, prices={"in": 0.01})


def made_days(t: int = T) -> ShadowDays:
    spent = np.random.default_rng(3).normal(900.0, 20.0, t)
    ended = np.arange(t) < t - 1
    sums = dict.fromkeys(COUNTED, np.zeros(t)) | {"requests": np.full(t, 400.0), "costed": np.full(t, 100.0)}
    return ShadowDays(
        slice="all",
        days=tuple(f"day {i}" for i in range(t)),
        ended=ended,
        mature=ended,
        # The last day has not ended.
        sums=sums | {"requests": np.where(ended, 400.0, 7.0)},
        missing={},
        spent_primary={"in": np.full(t, 1_000.0)},
        spent_candidate={"in": spent},
    )


def test_costs_of_pairs_are_scaled_to_all_requests() -> None:
    days = made_days()
    result = projected_cost(SHADOW, days, raw_share=0.5)
    assert result is not None
    assert result.requests == 800.0
    assert result.primary == pytest.approx(8 * 10.0)
    spent = 0.01 * days.spent_candidate["in"][:-1]
    assert result.candidate == pytest.approx(8 * spent.mean())
    assert result.difference == pytest.approx(result.candidate - result.primary)
    interval = day_interval(spent - 10.0, 100.0)
    assert (result.low, result.high) == pytest.approx((800 * float(interval.low), 800 * float(interval.high)))
    assert result.low < result.difference < result.high < 0.0


def test_few_days_have_no_interval_and_no_pairs_no_cost() -> None:
    for t in (2, 10):
        few = projected_cost(SHADOW, made_days(t))
        assert few is not None
        assert (few.low, few.high) == (-np.inf, np.inf)
    assert projected_cost(SHADOW, made_days(1)) is None
    assert projected_cost(msgspec.structs.replace(SHADOW, prices={"out": 1.0}), made_days()) is None
