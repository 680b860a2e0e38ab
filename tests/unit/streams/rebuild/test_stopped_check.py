"""Waiting for stopped processors: sessions expire, running processors are reported, the wait is bounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streams.rebuild import stopped_check
from streams.rebuild.errors import RebuildError
from streams.rebuild.stopped_check import MARGIN_S, POLL_INTERVAL_S, wait_until_stopped
from streams.settings import ProcessorSettings
from warehouse.client import Address

SESSION_S = 10.0
SETTINGS = ProcessorSettings(instance="test", bootstrap_servers="", warehouse=Address(), session_timeout_s=SESSION_S)


class FakeTime:
    """A clock that only `sleep` advances."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def clock(self) -> float:
        return self.now_s

    def sleep(self, duration_s: float) -> None:
        self.now_s += duration_s


class FakeWarehouse:
    """Has one monitor, whose last report is a function of the time."""

    def __init__(self, last_report_ms: Callable[[], int]) -> None:
        self._last_report_ms = last_report_ms

    def rows(self, sql: str, parameters: Any) -> list[tuple[str, str, int]]:
        return [("monitor", "monitor-0", self._last_report_ms())]


def wait(
    monkeypatch: pytest.MonkeyPatch, members: Callable[[float], int], last_report_ms: Callable[[float], int]
) -> tuple[float, list[str]]:
    """Wait for the monitors; return how long it took and the reported steps."""
    time = FakeTime()

    class FakeAdmin:
        def __init__(self, *arguments: Any, **options: Any) -> None:
            pass

        def members(self, group: str) -> int:
            assert group == "monitor"
            return members(time.now_s)

    monkeypatch.setattr(stopped_check, "Admin", FakeAdmin)
    steps: list[str] = []
    client: Any = FakeWarehouse(lambda: last_report_ms(time.now_s))
    wait_until_stopped(SETTINGS, client, ["monitor"], steps.append, clock=time.clock, sleep=time.sleep)
    return time.now_s, steps


def test_it_waits_until_the_session_of_a_stopped_processor_expires(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    took_s, steps = wait(monkeypatch, lambda now_s: int(now_s < SESSION_S), lambda _: 1)
    assert took_s == SESSION_S
    assert set(steps) == {"waiting for the sessions of monitor to expire"}
    assert len(steps) == SESSION_S / POLL_INTERVAL_S
    assert wait(monkeypatch, lambda _: 0, lambda _: 1) == (0.0, [])
    with pytest.raises(RebuildError, match="Running: monitor monitor-0"):
        wait(monkeypatch, lambda _: 1, lambda now_s: int(now_s))


def test_a_group_that_never_empties_is_rejected_after_the_session_and_a_margin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    polls: list[float] = []

    def members(now_s: float) -> int:
        polls.append(now_s)
        return 1

    with pytest.raises(RebuildError, match="Running: monitor"):
        wait(monkeypatch, members, lambda _: 1)
    assert SESSION_S + MARGIN_S < polls[-1] <= SESSION_S + MARGIN_S + POLL_INTERVAL_S
