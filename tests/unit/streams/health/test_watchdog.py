import math
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError

from barograph_server.streams.broker import consumer_lag
from barograph_server.streams.health.watchdog import StallTimeouts, Watchdog
from barograph_server.streams.runtime.lifecycle import EXIT_STUCK
from barograph_server.streams.runtime.metrics_report import Heartbeat, Report
from barograph_server.warehouse.operations import metrics
from tests.support.fake_consumer import FakeConsumer, fake_settings

TIMEOUTS = StallTimeouts(unhealthy_s=60.0, stuck_s=300.0)
PARTIALS = "x-partials"


class LagConsumer(FakeConsumer):
    empty: Collection[int] = ()
    """Partitions that hold only transaction markers after the committed offset."""

    def poll(self, timeout: float) -> Any:
        ((_, partition),) = self.assignments[-1]
        error = KafkaError(KafkaError._PARTITION_EOF) if partition in self.empty else None
        return SimpleNamespace(error=lambda: error)


class Bench:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        self.assigned_partitions: Collection[tuple[str, int]] | None = None
        self.ended: list[int] = []
        self.report = Report("monitor", "monitor-0")
        self.report.heartbeat = self.heartbeat = Heartbeat(lambda: self.now_s)
        self.consumer = LagConsumer(starts={(PARTIALS, 0): 3, (PARTIALS, 1): 3})
        monkeypatch.setattr(consumer_lag, "Consumer", lambda _: self.consumer)
        self.offsets = consumer_lag.LagMonitor(
            fake_settings(),
            "monitor",
            [consumer_lag.SourceTopic(PARTIALS, "partials", 2, trailing_markers=1)],
            self.report,
            assigned_partitions=lambda: self.assigned_partitions,
            clock=lambda: self.now_s,
        )
        self.watchdog = Watchdog(self.report, self.offsets, timeouts=TIMEOUTS, end=self.ended.append)

    def commit(self, *offsets: int) -> None:
        self.consumer.committed_offsets |= {(PARTIALS, partition): offset for partition, offset in enumerate(offsets)}

    def stood_s(self, at_s: float) -> float:
        self.now_s = 1000.0 + at_s
        stood = self.offsets.check()
        return stood.seconds if stood else 0.0

    def check(self, at_s: float, *, beats: bool = False) -> str:
        self.now_s = 1000.0 + at_s
        if beats:
            self.heartbeat.beat()
        self.watchdog.check()
        return self.watchdog.health().status


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def test_only_a_lagging_partition_that_does_not_advance_is_stalled(bench: Bench) -> None:
    consumer = bench.consumer
    bench.commit(10, 20)
    consumer.ends = {0: 30, 1: 21}
    assert bench.stood_s(0) == 0
    # Partition 1 is one offset behind: that is the marker of the last commit, and no lag.
    assert bench.report.row().lag == 19
    assert bench.report.values(metrics.LAG) == {("partials", "0"): 19, ("partials", "1"): 0}
    assert bench.stood_s(100) == 100
    assert bench.report.values(metrics.COMMITTED_AGE) == {("partials", "0"): 100, ("partials", "1"): 0}
    bench.commit(11)
    assert bench.stood_s(200) == 0
    assert bench.stood_s(250) == 50
    consumer.ends[1] = 40
    assert bench.stood_s(300) == 100
    bench.commit(29)
    assert bench.stood_s(400) == 150, "partition 1 since it last had no lag"
    bench.commit(29, 39)
    assert bench.stood_s(500) == 0
    assert bench.report.row().lag == 0


def test_transaction_markers_alone_are_no_lag(bench: Bench) -> None:
    bench.commit(10, 10)
    bench.consumer.ends, bench.consumer.empty = {0: 30, 1: 10}, {0}
    assert bench.stood_s(0) == 0
    assert bench.report.row().lag == 19
    assert bench.stood_s(11) == 0
    assert bench.report.row().lag == 0
    for second in (20, 400, 800):
        assert bench.stood_s(second) == 0
    bench.consumer.ends[0], bench.consumer.empty = 31, ()
    assert bench.stood_s(820) == 20, "since the last check without messages"
    assert bench.stood_s(840) == 40
    # Peeked at once for each end, not at every check.
    assert bench.consumer.assignments == [{(PARTIALS, 0): 10}] * 2


def test_partitions_of_other_processors_do_not_count(bench: Bench) -> None:
    bench.commit(10, 10)
    bench.consumer.ends = {0: 30, 1: 12}
    bench.assigned_partitions = [(PARTIALS, 1)]
    bench.stood_s(0)
    assert bench.report.row().lag == 1
    assert bench.stood_s(400) == 400
    bench.commit(10, 11)
    assert bench.stood_s(800) == 0, "partition 0 is stalled, and another processor's"
    bench.assigned_partitions = [(PARTIALS, 0)]
    assert bench.stood_s(801) == 0, "its age starts with the assignment"
    bench.assigned_partitions = []
    assert bench.stood_s(2000) == 0
    assert bench.report.values(metrics.LAG) == {}
    bench.assigned_partitions = None
    bench.stood_s(2001)
    assert bench.stood_s(2011) == 10, "during a rebalance all partitions count"


@pytest.mark.parametrize("broker", ["answers", "is down"])
def test_a_processor_that_advances_or_cannot_be_judged_is_healthy(bench: Bench, broker: str) -> None:
    bench.commit(10, 10)
    bench.consumer.ends = {0: 90, 1: 11}
    assert bench.check(0) == "starting"
    bench.consumer.is_down = broker == "is down"
    for second in range(0, 1000, 50):
        if broker == "answers":
            bench.commit(10 + second // 50)
        assert bench.check(second, beats=True) == "working"
    assert bench.report.values(metrics.HEALTHY) == {(): 1.0}
    assert bench.ended == []


@pytest.mark.parametrize("case", ["broker answers", "broker is down", "stopping"])
def test_a_hanging_loop_is_detected_unless_the_processor_is_stopping(bench: Bench, case: str) -> None:
    bench.commit(-1001, -1001)
    bench.consumer.ends = {0: 3, 1: 3}
    bench.consumer.is_down = case == "broker is down"
    bench.heartbeat.beat()
    assert bench.check(60) == "working"
    assert case == "broker is down" or bench.report.row().lag == 0, "the log starts where it ends"
    if case == "stopping":
        bench.heartbeat.mark_stopping()
        assert (bench.check(1000), bench.ended) == ("stopping", [])
        return
    assert bench.check(61) == "stuck"
    assert "loop has not completed an iteration for 61 s" in bench.watchdog.health().reason
    assert bench.report.values(metrics.HEALTHY) == {(): 0.0}
    assert (bench.check(300), bench.ended) == ("stuck", [])
    bench.check(301)
    assert bench.ended == [EXIT_STUCK]


def test_a_stalled_group_is_stuck_although_its_loop_beats(bench: Bench) -> None:
    bench.commit(10, 10)
    bench.consumer.ends = {0: 30, 1: 10}
    statuses = [bench.check(second, beats=True) for second in (0, 60, 61, 300, 301)]
    assert statuses == ["working", "working", "stuck", "stuck", "stuck"]
    assert "committed offset of x-partials 0 has not advanced for 301 s" in bench.watchdog.health().reason
    assert bench.ended == [EXIT_STUCK]


def test_a_processor_blocked_by_clickhouse_is_healthy_while_its_loop_beats(bench: Bench) -> None:
    bench.commit(10, 10)
    bench.consumer.ends = {0: 30, 1: 10}
    for second in range(0, 3000, 50):
        bench.now_s = 1000.0 + second
        bench.heartbeat.beat()
        bench.heartbeat.blocked("ClickHouse is down.")
        assert bench.check(second) == "waiting"
    assert bench.watchdog.health().reason == "ClickHouse is down. It has waited 2950 s; nothing is lost."
    assert bench.report.values(metrics.WAITING)[()] == 2950
    bench.heartbeat.unblocked()
    assert bench.check(2951) == "stuck", "it works again, and has not advanced yet"
    bench.commit(30)
    assert bench.check(2960) == "working"
    assert bench.report.values(metrics.WAITING)[()] == 0
    bench.heartbeat.blocked("ClickHouse is down.")
    assert bench.check(3400) == "stuck", "the loop itself hangs"
    # Once right after the blockage, once now.
    assert bench.ended == [EXIT_STUCK] * 2


@pytest.mark.parametrize(
    ("work_until_s", "every_s", "ends_after_s"),
    [(3600, 30, math.inf), (600, 5, 900), (math.inf, 5, TIMEOUTS.uncommitted_s)],
    ids=["minutes of work", "standstill within a message", "work without any commit"],
)
def test_work_within_one_message_is_no_standstill_for_some_time(
    bench: Bench, work_until_s: float, every_s: int, ends_after_s: float
) -> None:
    """The committed offset stays, while one progress record seals days of a wide model in many units of work."""
    bench.commit(10, 3)
    bench.consumer.ends = {0: 30, 1: 3}
    for at_s in range(0, 3600 if ends_after_s == math.inf else 3700, 5):
        bench.now_s = 1000.0 + at_s
        if at_s <= work_until_s and at_s % every_s == 0:
            bench.heartbeat.record_work()
        assert bench.check(at_s, beats=True) == "working" or ends_after_s < math.inf
        assert bool(bench.ended) == (at_s > ends_after_s)
    if work_until_s == 600:
        assert "has not advanced" in bench.watchdog.health().reason
