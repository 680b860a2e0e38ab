"""The budget of a judge becomes available evenly over the hour."""

from __future__ import annotations

import pytest
from barograph.contract.evaluators import EvaluatorBudget

from streams.evaluator.budget import HourlyBudget


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def taken(budget: HourlyBudget, clock: Clock, seconds: int, **used: float) -> list[int]:
    """Ask for a call ten times a second, and return the calls of each minute."""
    minutes = [0] * (seconds // 60)
    for tenth in range(seconds * 10):
        clock.now_s += 0.1
        if budget.take_call():
            minutes[tenth // 600] += 1
            budget.charge(used)
    return minutes


def test_calls_are_spread_over_the_hour() -> None:
    clock = Clock()
    minutes = taken(HourlyBudget(EvaluatorBudget(calls=600), clock), clock, 3600)
    # Five minutes' worth at once, then ten each minute.
    assert minutes[0] == pytest.approx(60, abs=1)
    assert all(each == pytest.approx(10, abs=1) for each in minutes[1:])
    assert sum(minutes) == pytest.approx(650, abs=2)


@pytest.mark.parametrize(("budget", "used"), [({"tokens": 60_000}, {"tokens": 100}), ({"usd": 6.0}, {"usd": 0.01})])
def test_tokens_and_dollars_are_spread_too(budget: dict[str, float], used: dict[str, float]) -> None:
    clock = Clock()
    minutes = taken(HourlyBudget(EvaluatorBudget(**budget), clock), clock, 3600, **used)  # type: ignore[arg-type]
    assert all(each == pytest.approx(10, abs=1) for each in minutes[1:])
    assert sum(minutes) == pytest.approx(650, abs=3)


def test_a_small_budget_allows_a_call_at_last_and_none_is_unlimited() -> None:
    clock = Clock()
    assert sum(taken(HourlyBudget(EvaluatorBudget(calls=1), clock), clock, 7200)) == 2
    clock = Clock()
    assert sum(taken(HourlyBudget(EvaluatorBudget(), clock), clock, 60)) == 600


def test_retries_count_and_a_call_that_was_not_needed_is_given_back() -> None:
    clock = Clock()
    budget = HourlyBudget(EvaluatorBudget(calls=120), clock)
    for _ in range(100):
        assert budget.take_call()
        budget.charge({"calls": -1.0})
    assert budget.take_call()
    budget.charge({"calls": 9.0})
    assert not budget.take_call()
