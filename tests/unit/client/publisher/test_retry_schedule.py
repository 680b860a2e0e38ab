"""Retry times: exponential, bounded, jittered, and reset after a success."""

from __future__ import annotations

from barograph.publisher.retry_schedule import RetrySchedule


def test_delays_double_up_to_the_bound_and_reset_after_a_success() -> None:
    now_s = 0.0
    schedule = RetrySchedule(0.5, 3.0, clock=lambda: now_s, uniform=lambda low, high: high)
    assert schedule.is_due
    assert [schedule.record_failure() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert not schedule.is_due
    schedule.reset()
    assert schedule.is_due
    assert schedule.record_failure() == 0.5


def test_an_attempt_is_due_when_its_delay_has_passed() -> None:
    now_s = 10.0
    schedule = RetrySchedule(2.0, 60.0, clock=lambda: now_s, uniform=lambda low, high: high)
    schedule.record_failure()
    now_s = 11.9
    assert not schedule.is_due
    now_s = 12.0
    assert schedule.is_due


def test_a_delay_is_drawn_from_the_upper_half_of_its_nominal_value() -> None:
    bounds: list[tuple[float, float]] = []

    def lowest(low: float, high: float) -> float:
        bounds.append((low, high))
        return low

    schedule = RetrySchedule(4.0, 6.0, clock=lambda: 0.0, uniform=lowest)
    assert [schedule.record_failure() for _ in range(3)] == [2.0, 3.0, 3.0]
    assert bounds == [(2.0, 4.0), (3.0, 6.0), (3.0, 6.0)]
