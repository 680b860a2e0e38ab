"""How long the scorer rests between passes."""

from __future__ import annotations

import threading

import pytest

from streams.registry.registry import Registry
from streams.runtime.heartbeat import Heartbeat
from streams.runtime.metrics_report import Report
from streams.scorer.model import Done
from streams.scorer.worker import BEAT_S, Scorer
from streams.settings import Clock, ProcessorSettings
from warehouse.client import Address

PASS_S = 8.0


class Waits(threading.Event):
    """Takes no time but that of a clock by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.waited_s: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waited_s.append(timeout)
        self.now_s += timeout
        return self.is_set()


@pytest.mark.parametrize(("clock", "rest_s"), [("live", 24.0), ("replay", 2.0)])
def test_after_a_long_pass_it_rests_on_the_live_clock_alone(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, rest_s: float
) -> None:
    settings = ProcessorSettings(
        instance="s", bootstrap_servers="", warehouse=Address(), clock=clock, score_s=PASS_S + 2.0
    )
    report = Report("scorer", "s")
    scorer = Scorer(settings, Registry, report)
    stop = Waits()
    report.heartbeat = Heartbeat(lambda: stop.now_s)
    monkeypatch.setattr("streams.scorer.worker.time.monotonic", lambda: stop.now_s)
    began: list[float] = []
    ages: list[float] = []

    def score() -> Done:
        began.append(stop.now_s)
        ages.append(report.heartbeat.age_s())
        if len(began) == 2:
            stop.set()
        else:
            stop.now_s += PASS_S
        return Done(0, 0, 0)

    monkeypatch.setattr(scorer, "score_once", score)
    scorer.run(stop)
    assert began == [0.0, PASS_S + rest_s]
    assert sum(stop.waited_s) == rest_s
    # While it rests its loop comes round every second, for whoever watches.
    assert max(*stop.waited_s, ages[-1]) <= BEAT_S
