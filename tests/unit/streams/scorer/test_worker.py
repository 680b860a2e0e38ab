"""The scorer's loop: rest between passes, and retries while ClickHouse is busy."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest

from barograph_server.streams.registry.registry import Registry
from barograph_server.streams.runtime.heartbeat import Heartbeat
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.scorer.model import PassResult
from barograph_server.streams.scorer.worker import BEAT_S, MAX_RETRY_S, Scorer
from barograph_server.streams.settings import Clock, ProcessorSettings
from barograph_server.warehouse.client import Address
from barograph_server.warehouse.errors import WarehouseBusy

PASS_S = 8.0


class FakeStop(threading.Event):
    """A stop event whose waits advance a manual clock and take no time."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.waits_s: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits_s.append(timeout)
        self.now_s += timeout
        return self.is_set()


def scorer_of(stop: FakeStop, clock: Clock) -> tuple[Scorer, Report]:
    settings = ProcessorSettings(
        instance="s", bootstrap_servers="", warehouse=Address(), clock=clock, score_s=PASS_S + 2.0
    )
    report = Report("scorer", "s")
    report.heartbeat = Heartbeat(lambda: stop.now_s)
    return Scorer(settings, Registry, report, monotonic=lambda: stop.now_s), report


@pytest.mark.parametrize(("clock", "rest_s"), [("live", 24.0), ("replay", 2.0)])
def test_it_rests_after_a_long_pass_on_the_live_clock_only(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, rest_s: float
) -> None:
    stop = FakeStop()
    scorer, report = scorer_of(stop, clock)
    starts_s: list[float] = []
    ages_s: list[float] = []

    def score() -> PassResult:
        starts_s.append(stop.now_s)
        ages_s.append(report.heartbeat.age_s())
        if len(starts_s) == 2:
            stop.set()
        else:
            stop.now_s += PASS_S
        return PassResult()

    monkeypatch.setattr(scorer, "score_once", score)
    scorer.run(stop)
    assert starts_s == [0.0, PASS_S + rest_s]
    assert sum(stop.waits_s) == rest_s
    # The heartbeat is never older than a second while the scorer rests.
    assert max(*stop.waits_s, ages_s[-1]) <= BEAT_S


def test_a_pass_is_retried_with_growing_delays_while_clickhouse_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = FakeStop()
    scorer, report = scorer_of(stop, "live")
    starts_s: list[float] = []
    blocked: list[bool] = []

    def score() -> PassResult:
        starts_s.append(stop.now_s)
        blocked.append(report.heartbeat.blockage is not None)
        if len(starts_s) < 9:
            raise WarehouseBusy("busy")
        stop.set()
        return PassResult()

    monkeypatch.setattr(scorer, "score_once", score)
    scorer.run(stop)
    delays_s = [after - before for before, after in pairwise(starts_s)]
    assert all(0.25 * 2**i <= delay_s <= 0.5 * 2**i for i, delay_s in enumerate(delays_s[:5]))
    assert MAX_RETRY_S / 2 <= delays_s[-1] <= MAX_RETRY_S
    assert blocked == [False] + [True] * 8
    assert report.heartbeat.blockage is None
    assert max(stop.waits_s) <= BEAT_S
