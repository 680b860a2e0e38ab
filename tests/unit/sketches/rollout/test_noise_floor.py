"""Disagreement of a candidate and of a copy of the primary."""

import math

import numpy as np
import pytest

from barograph_server.sketches.rollout.criteria import noise_floor
from barograph_server.sketches.rollout.day_interval import day_interval
from barograph_server.sketches.rollout.shadow_days import COUNTED, ShadowDays

T = 40
ENDED = np.arange(T) < T - 1
COMPARED = np.where(ENDED, 200.0, 7.0)
OF_CANDIDATE = np.random.default_rng(1).poisson(30, T).astype(float)
OF_COPY = np.random.default_rng(2).poisson(10, T).astype(float)


def made_days(of_copy: np.ndarray = OF_COPY, *, compared: np.ndarray = COMPARED, t: int = T) -> ShadowDays:
    sums = dict.fromkeys(COUNTED, np.zeros(t)) | {
        "copy_compared": compared[:t],
        "copy_candidate_agreed": (compared - OF_CANDIDATE)[:t],
        "copy_agreed": (compared - of_copy)[:t],
    }
    return ShadowDays("all", tuple(f"day {i}" for i in range(t)), ENDED[:t], ENDED[:t], sums, {})


def test_shares_and_their_difference_are_those_of_the_ended_days() -> None:
    floor = noise_floor(made_days())
    assert floor is not None
    n = int(COMPARED[ENDED].sum())
    assert floor.compared == n
    assert (floor.candidate, floor.copy) == (OF_CANDIDATE[ENDED].sum() / n, OF_COPY[ENDED].sum() / n)
    interval = day_interval((OF_CANDIDATE - OF_COPY)[ENDED], COMPARED[ENDED])
    assert (floor.low, floor.high) == pytest.approx((float(interval.low), float(interval.high)))
    assert 0.0 < floor.low < floor.candidate - floor.copy < floor.high


def test_a_deterministic_primary_has_no_floor_and_few_days_have_no_interval() -> None:
    deterministic = noise_floor(made_days(np.zeros(T)))
    assert deterministic is not None
    assert deterministic.copy == 0.0
    for each in (deterministic, noise_floor(made_days(t=1)), noise_floor(made_days(t=9))):
        assert each is not None
        assert (each.low, each.high) == (-math.inf, math.inf)


def test_without_a_copy_there_is_nothing_to_compare() -> None:
    assert noise_floor(made_days(compared=np.zeros(T))) is None
