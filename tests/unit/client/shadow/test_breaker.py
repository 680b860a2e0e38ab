"""The circuit breaker and the budget, with times of the test."""

from __future__ import annotations

from barograph.shadow.breaker import CircuitBreaker
from barograph.shadow.request_tracker import RequestBudget


def record(breaker: CircuitBreaker, outcomes: str, now_s: float = 0.0) -> None:
    for outcome in outcomes:
        breaker.record(failed=outcome == "x", is_trial=False, now_s=now_s)


def test_it_opens_at_a_share_of_failures_among_the_latest_calls() -> None:
    states = {"xxx": "closed", "xx..": "open", "x...": "closed", "x...x..": "closed", "x...xx": "open"}
    for outcomes, state in states.items():
        breaker = CircuitBreaker(0.5, 4, 30.0)
        record(breaker, outcomes)
        assert (breaker.state, breaker.allows) == (state, state == "closed"), outcomes


def half_open() -> CircuitBreaker:
    breaker = CircuitBreaker(0.5, 2, 30.0)
    record(breaker, "xx", now_s=100.0)
    breaker.end_pause(129.9)
    assert (breaker.state, breaker.allows) == ("open", False)
    breaker.end_pause(130.0)
    assert (breaker.state, breaker.allows) == ("half-open", True)
    return breaker


def test_after_the_pause_one_trial_decides() -> None:
    breaker = half_open()
    assert breaker.admit()
    assert not breaker.allows
    record(breaker, "..xx")
    assert not breaker.allows, "calls from before the pause decide nothing"
    breaker.record(failed=False, is_trial=True, now_s=131.0)
    assert (breaker.state, breaker.allows, breaker.admit()) == ("closed", True, False)
    record(breaker, "x")
    assert breaker.state == "closed", "failures from before the pause count no more"


def test_the_budget_refills_evenly_and_holds_one_second() -> None:
    budget = RequestBudget(120, 0.0)
    assert [budget.take(0.0) for _ in range(3)] == [True, True, False]
    assert [budget.take(0.5), budget.take(0.5)] == [True, False]
    assert [budget.take(1_000.0) for _ in range(3)] == [True, True, False]
    for per_minute in (6, 90, 600):
        budget = RequestBudget(per_minute, 0.0)
        n = sum(budget.take(i / 64) for i in range(60 * 64))
        assert per_minute <= n <= per_minute + max(1, per_minute // 60), "no minute exceeds it by more than the bucket"
