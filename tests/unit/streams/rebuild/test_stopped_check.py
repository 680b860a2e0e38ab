"""Waiting for stopped processors: sessions expire, running processors are reported, the wait is bounded."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from barograph_server.streams.rebuild import stopped_check
from barograph_server.streams.rebuild.stopped_check import MARGIN_S, POLL_INTERVAL_S, RebuildError, wait_until_stopped
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.warehouse.client import Address

SESSION_S = 10.0
SETTINGS = ProcessorSettings(instance="test", bootstrap_servers="", warehouse=Address(), session_timeout_s=SESSION_S)


def wait(
    monkeypatch: pytest.MonkeyPatch, members: Callable[[float], int], last_report_ms: Callable[[float], int]
) -> tuple[float, list[str]]:
    """Wait for the monitors, on a clock that only pauses advance; return how long it took and the reported steps."""
    pauses_s: list[float] = []

    def now_s() -> float:
        return sum(pauses_s)

    class FakeAdmin:
        def __init__(self, *arguments: Any, **options: Any) -> None:
            pass

        def members(self, group: str) -> int:
            assert group == "monitor"
            return members(now_s())

    monkeypatch.setattr(stopped_check, "Admin", FakeAdmin)
    steps: list[str] = []
    client: Any = SimpleNamespace(rows=lambda sql, parameters: [("monitor", "monitor-0", last_report_ms(now_s()))])
    wait_until_stopped(SETTINGS, client, ["monitor"], steps.append, clock=now_s, sleep=pauses_s.append)
    return now_s(), steps


def test_it_waits_until_the_session_of_a_stopped_processor_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    took_s, steps = wait(monkeypatch, lambda now_s: int(now_s < SESSION_S), lambda _: 1)
    assert took_s == SESSION_S
    assert set(steps) == {"waiting for the sessions of monitor to expire"}
    assert len(steps) == SESSION_S / POLL_INTERVAL_S
    assert wait(monkeypatch, lambda _: 0, lambda _: 1) == (0.0, [])
    with pytest.raises(RebuildError, match="Running: monitor monitor-0"):
        wait(monkeypatch, lambda _: 1, lambda now_s: int(now_s))


def test_a_group_that_never_empties_is_rejected_after_the_session_and_a_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    polls: list[float] = []

    def members(now_s: float) -> int:
        polls.append(now_s)
        return 1

    with pytest.raises(RebuildError, match="Running: monitor"):
        wait(monkeypatch, members, lambda _: 1)
    assert SESSION_S + MARGIN_S < polls[-1] <= SESSION_S + MARGIN_S + POLL_INTERVAL_S
