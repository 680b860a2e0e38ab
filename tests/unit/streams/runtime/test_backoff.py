"""Retries: delays, bounds, interruption, and the heartbeat while they last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from barograph_server.streams.runtime.backoff import Backoff, RetryInterrupted
from barograph_server.streams.runtime.metrics_report import Report


class Busy(Exception):
    """A server that cannot answer now."""


class Schedule:
    """A clock that only delays move, and an operation that fails a number of times."""

    def __init__(self, failures: int, error: Exception | None = None, *, interrupt_at: int | None = None) -> None:
        self.failures, self.error, self.interrupt_at = failures, error or Busy("busy"), interrupt_at
        self.now_s = 0.0
        self.delays: list[float] = []
        self.calls = 0
        self.report = Report("monitor", "m")

    def backoff(self, uniform: Callable[[float, float], float] = lambda low, high: high, **bounds: Any) -> Backoff:
        return Backoff(
            0.2, 10.0, report=self.report, sleep=self.sleep, clock=lambda: self.now_s, uniform=uniform, **bounds
        )

    def sleep(self, seconds: float) -> bool:
        self.delays.append(seconds)
        self.now_s += seconds
        blockage = self.report.heartbeat.blockage
        assert blockage is not None
        assert blockage.reason == "ClickHouse is busy."
        return len(self.delays) == self.interrupt_at

    def operation(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return "result"

    def run(self, backoff: Backoff, **options: Any) -> str:
        return backoff.retry(self.operation, Busy, blocked_on="ClickHouse is busy.", **options)


def test_delays_double_up_to_the_largest_and_start_over_for_the_next_operation() -> None:
    schedule = Schedule(failures=8)
    backoff = schedule.backoff()
    assert schedule.run(backoff) == "result"
    assert schedule.delays == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10])
    assert schedule.report.retries == 8
    assert schedule.report.heartbeat.blockage is None
    schedule.calls, schedule.failures, schedule.delays = 0, 1, []
    schedule.run(backoff)
    assert schedule.delays == [0.2]


def test_a_stop_request_interrupts_the_retries() -> None:
    schedule = Schedule(failures=99, interrupt_at=3)
    with pytest.raises(RetryInterrupted) as interrupted:
        schedule.run(schedule.backoff())
    assert (schedule.calls, interrupted.value.__cause__) == (3, schedule.error)
    assert schedule.report.heartbeat.blockage is None


@pytest.mark.parametrize("bounds", [{"max_attempts": 4}, {"max_elapsed_s": 1.0}])
def test_retries_are_bounded_by_attempts_and_by_time(bounds: dict[str, Any]) -> None:
    schedule = Schedule(failures=99)
    with pytest.raises(Busy):
        schedule.run(schedule.backoff(**bounds))
    assert (schedule.calls, schedule.report.retries) == (4, 3)
    assert schedule.report.heartbeat.blockage is None


def test_other_errors_are_not_retried_and_a_function_may_choose() -> None:
    schedule = Schedule(failures=99, error=ValueError("wrong"))
    with pytest.raises(ValueError, match="wrong"):
        schedule.run(schedule.backoff())
    assert schedule.calls == 1
    schedule = Schedule(failures=2)
    backoff = schedule.backoff()
    result = backoff.retry(schedule.operation, lambda error: schedule.calls < 9, blocked_on="ClickHouse is busy.")
    assert (result, schedule.calls) == ("result", 3)
