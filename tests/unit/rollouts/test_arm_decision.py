"""The decision about an arm: its criteria, and what stands against a conclusion."""

from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest
from barograph.contract import Arms

from barograph_server.rollouts.arm import decide_about_arm
from barograph_server.sketches.baseline.levels import InsufficientReason, Level
from barograph_server.sketches.rollout.decision import Outcome
from barograph_server.warehouse.rollouts.arm_days import COUNTED, ArmDays
from barograph_server.warehouse.rollouts.arm_ratios import ArmRatio, ArmUnits

MARGINS = {"accuracy": 0.03, "brier": 0.03, "latency": 0.2, "errors": 0.02}
ARMS = Arms(shares={"a": 0.5, "b": 0.5}, margins=MARGINS)
USERS = msgspec.structs.replace(ARMS, unit="context.user")
N = 400


def days_of(
    name: str = "all", *, days: int = 60, better: float = 0.0, buckets: int = 1, spread: float = 0.0
) -> ArmDays:
    """Days on which arm b is right more often by a share, with units whose mean accuracy varies."""
    rng = np.random.default_rng(len(name))
    shape = (days, 2, buckets)
    sums = {column: np.zeros(shape) for column in COUNTED}
    for column in ("predictions", "timed", "labelled", "scored"):
        sums[column][:] = N / buckets
    rate = 0.8 + rng.normal(0.0, spread, (1, 2, buckets)) + np.array([0.0, better])[:, None]
    sums["right"] = rng.binomial(round(N / buckets), rate.clip(0.0, 1.0), shape).astype(np.float64)
    sums["brier"] = 0.2 * sums["labelled"] + rng.normal(0.0, 1.0, shape)
    sums["log_latency"] = 3.0 * sums["timed"] + rng.normal(0.0, 1.0, shape)
    sums["failed"] = rng.binomial(round(N / buckets), 0.01, shape).astype(np.float64)
    over = np.ones(days, np.bool_)
    return ArmDays(name, tuple(f"d{i:03}" for i in range(days)), over, over.copy(), sums, (("3",), ("4",)))


def ratio(level: Level = Level.stable, units: int = 5_000) -> ArmRatio:
    at = datetime(2026, 5, 1, tzinfo=UTC)
    arms = tuple(ArmUnits(arm, 0.5, units, 0, 0) for arm in ("a", "b"))
    p_value = 1.0 if level == Level.stable else 0.0004
    return ArmRatio("m", "prediction", at, at, arms, p_value, level, InsufficientReason.none)


def test_an_equal_arm_is_promoted_and_a_worse_one_held() -> None:
    decided = decide_about_arm(ARMS, [days_of()], "b", ratio())
    assert decided.outcome is Outcome.promote
    assert [each.criterion.name for each in decided.comparison.criteria] == list(MARGINS)
    assert all(each.days == 60 for each in decided.comparison.criteria)
    worse = decide_about_arm(ARMS, [days_of(better=-0.1)], "b", ratio())
    assert worse.outcome is Outcome.hold
    assert worse.comparison.criteria[0].value == pytest.approx(-0.1, abs=0.02)


def test_labelled_criteria_use_days_with_mature_labels() -> None:
    days = days_of()
    days.mature[40:] = False
    days.ended[-1] = False
    used = {each.criterion.name: each.days for each in decide_about_arm(ARMS, [days], "b", ratio()).comparison.criteria}
    assert used == {"accuracy": 40, "brier": 40, "latency": 59, "errors": 59}


@pytest.mark.parametrize("better", [0.0, 0.05, -0.05])
def test_the_unit_of_errors_does_not_change_the_decision(better: float) -> None:
    decided = []
    for scale in (0.001, 1.0, 1000.0):
        arms = msgspec.structs.replace(ARMS, margins={"mae": 0.03 * scale}, worst_day=0.5 * scale)
        slices = [days_of(name) for name in ("all", "country=de", "country=fr")]
        for each in slices:
            rng = np.random.default_rng(len(each.slice))
            mean = 1.0 - np.array([0.0, better])[:, None]
            each.sums["error"] = scale * N * (mean + rng.normal(0.0, 0.02, (60, 2, 1)))
        decided.append(decide_about_arm(arms, slices, "b", ratio()).comparison)
    for other in (decided[0], decided[2]):
        assert other.outcome is decided[1].outcome
        assert [each.log_evidence for each in other.slices] == pytest.approx(
            [each.log_evidence for each in decided[1].slices]
        )
    assert decided[1].outcome is (Outcome.hold if better < 0.0 else Outcome.promote)


def test_nothing_is_concluded_from_arms_of_other_shares() -> None:
    other = "other shares of units than the contract states (p = 0.0004)"
    for better in (0.0, -0.1):
        for check, text in (
            (None, "has not been checked yet"),
            (ratio(Level.major), other),
            (ratio(Level.minor), other),
        ):
            decided = decide_about_arm(ARMS, [days_of(better=better)], "b", check)
            assert decided.outcome is Outcome.insufficient
            assert text in decided.obstacles[0]


def test_the_contract_can_ask_for_more_days_and_units_must_be_many() -> None:
    longer = msgspec.structs.replace(ARMS, days=90)
    decided = decide_about_arm(longer, [days_of()], "b", ratio())
    assert decided.obstacles == ("60 of the 90 days that the contract asks for have both arms",)
    few = decide_about_arm(USERS, [days_of(buckets=8)], "b", ratio(units=99))
    assert few.obstacles == tuple(f"arm {arm} has 99 units, fewer than 100" for arm in "ab")
    assert decide_about_arm(ARMS, [days_of()], "b", ratio(units=99)).obstacles == ()


def test_units_that_differ_widen_the_interval() -> None:
    days = days_of(buckets=8, spread=0.05)
    alone, users = (decide_about_arm(arms, [days], "b", ratio()).comparison.criteria[0] for arms in (ARMS, USERS))
    assert alone.value == users.value
    assert users.high - users.low > 2 * (alone.high - alone.low)


def test_slices_are_judged_if_predictions_are_assigned_by_themselves() -> None:
    slices = [days_of(), days_of("country=de"), days_of("country=fr", better=-0.2)]
    decided = decide_about_arm(ARMS, slices, "b", ratio())
    assert [(each.name, each.criterion) for each in decided.comparison.harmed_slices] == [("country=fr", "accuracy")]
    assert decided.comparison.judged_slices == 2 * len(MARGINS)
    assert decide_about_arm(USERS, slices, "b", ratio()).comparison.judged_slices == 0
