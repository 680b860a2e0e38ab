"""How long the scorer rests between passes."""

from __future__ import annotations

import threading

import pytest

from streams.registry import Registry
from streams.report import Report
from streams.scorer.model import Done
from streams.scorer.worker import Scorer
from streams.settings import Clock, ProcessorSettings
from warehouse.client import Address

PASS_S = 8.0


class Waits(threading.Event):
    """Remembers how long it was waited for, and is set then."""

    def __init__(self) -> None:
        super().__init__()
        self.waited_s: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waited_s.append(timeout)
        self.set()
        return True


@pytest.mark.parametrize(("clock", "rest_s"), [("live", 24.0), ("replay", 2.0)])
def test_after_a_long_pass_it_rests_on_the_live_clock_alone(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, rest_s: float
) -> None:
    settings = ProcessorSettings(
        instance="s", bootstrap_servers="", warehouse=Address(), clock=clock, score_s=PASS_S + 2.0
    )
    scorer = Scorer(settings, Registry, Report("scorer", "s"))
    ticks = iter([0.0, PASS_S])
    monkeypatch.setattr("streams.scorer.worker.time.monotonic", lambda: next(ticks))
    monkeypatch.setattr(scorer, "score_once", lambda: Done(0, 0, 0))
    stop = Waits()
    scorer.run(stop)
    assert stop.waited_s == [rest_s]
