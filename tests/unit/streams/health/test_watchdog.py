import math
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from barograph_server.streams.broker import consumer_lag as offsets_module
from barograph_server.streams.broker.consumer_lag import LagMonitor, SourceTopic
from barograph_server.streams.health.watchdog import StallTimeouts, Watchdog
from barograph_server.streams.runtime.lifecycle import EXIT_STUCK
from barograph_server.streams.runtime.metrics_report import Heartbeat, Report
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.warehouse.client import Address
from barograph_server.warehouse.operations import metrics

TIMEOUTS = StallTimeouts(unhealthy_s=60.0, stuck_s=300.0)


class FakeConsumer:
    def __init__(self, config: dict[str, Any]) -> None:
        self.group = config["group.id"]
        self.committed_at: dict[int, int] = {}
        self.ends: dict[int, int] = {}
        self.failing = self.closed = False
        self.empty: set[int] = set()
        """Partitions that hold only transaction markers after the committed offset."""
        self.peeked: list[tuple[int, int]] = []

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        if self.failing:
            raise KafkaException("away")
        return [TopicPartition(tp.topic, tp.partition, self.committed_at.get(tp.partition, -1001)) for tp in partitions]

    def get_watermark_offsets(self, tp: TopicPartition, timeout: float, cached: bool) -> tuple[int, int]:
        assert not cached
        return 3, self.ends[tp.partition]

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.peeked += [(tp.partition, tp.offset) for tp in partitions]

    def unassign(self) -> None:
        pass

    def poll(self, timeout: float) -> Any:
        error = KafkaError(KafkaError._PARTITION_EOF) if self.peeked[-1][0] in self.empty else None
        return SimpleNamespace(error=lambda: error)

    def close(self) -> None:
        self.closed = True


class Bench:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        self.assigned_partitions: Collection[tuple[str, int]] | None = None
        self.ended: list[int] = []
        self.report = Report("monitor", "monitor-0")
        self.report.heartbeat = self.heartbeat = Heartbeat(lambda: self.now_s)
        consumers: list[FakeConsumer] = []

        def consumer(config: dict[str, Any]) -> FakeConsumer:
            consumers.append(FakeConsumer(config))
            return consumers[-1]

        monkeypatch.setattr(offsets_module, "Consumer", consumer)
        settings = ProcessorSettings(instance="w", bootstrap_servers="b", warehouse=Address("h", 1, "d"))
        parts = [SourceTopic("x-partials", "partials", 2, trailing_markers=1)]
        self.offsets = LagMonitor(
            settings,
            "monitor",
            parts,
            self.report,
            assigned_partitions=lambda: self.assigned_partitions,
            clock=lambda: self.now_s,
        )
        self.consumer = consumers[0]
        self.watchdog = Watchdog(self.report, self.offsets, timeouts=TIMEOUTS, end=self.ended.append)

    def stood_s(self, at_s: float) -> float:
        self.now_s = 1000.0 + at_s
        stood = self.offsets.check()
        return stood.seconds if stood else 0.0

    def check(self, at_s: float) -> str:
        self.now_s = 1000.0 + at_s
        self.watchdog.check()
        return self.watchdog.health().status


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def test_only_a_lagging_partition_that_does_not_advance_is_stalled(bench: Bench) -> None:
    consumer = bench.consumer
    consumer.committed_at, consumer.ends = {0: 10, 1: 20}, {0: 30, 1: 21}
    assert bench.stood_s(0) == 0
    # Partition 1 is one offset behind: that is the marker of the last commit, and no lag.
    assert bench.report.row().lag == 19
    assert bench.report.values(metrics.LAG) == {("partials", "0"): 19, ("partials", "1"): 0}
    assert bench.stood_s(100) == 100
    assert bench.report.values(metrics.COMMITTED_AGE) == {("partials", "0"): 100, ("partials", "1"): 0}
    consumer.committed_at[0] = 11
    assert bench.stood_s(200) == 0
    assert bench.stood_s(250) == 50
    consumer.ends[1] = 40
    assert bench.stood_s(300) == 100
    consumer.committed_at[0] = 29
    assert bench.stood_s(400) == 150, "partition 1 since it last had no lag"
    consumer.committed_at[1] = 39
    assert bench.stood_s(500) == 0
    assert bench.report.row().lag == 0


def test_transaction_markers_alone_are_no_lag(bench: Bench) -> None:
    bench.consumer.committed_at, bench.consumer.ends, bench.consumer.empty = {0: 10, 1: 10}, {0: 30, 1: 10}, {0}
    assert bench.stood_s(0) == 0
    assert bench.report.row().lag == 19
    assert bench.stood_s(11) == 0
    assert bench.report.row().lag == 0
    for second in (20, 400, 800):
        assert bench.stood_s(second) == 0
    bench.consumer.ends[0], bench.consumer.empty = 31, set()
    assert bench.stood_s(820) == 20, "since the last check without messages"
    assert bench.stood_s(840) == 40
    # Peeked at once for each end, not at every check.
    assert bench.consumer.peeked == [(0, 10), (0, 10)]


def test_partitions_of_other_processors_do_not_count(bench: Bench) -> None:
    bench.consumer.committed_at, bench.consumer.ends = {0: 10, 1: 10}, {0: 30, 1: 12}
    bench.assigned_partitions = [("x-partials", 1)]
    bench.stood_s(0)
    assert bench.report.row().lag == 1
    assert bench.stood_s(400) == 400
    bench.consumer.committed_at[1] = 11
    assert bench.stood_s(800) == 0, "partition 0 is stalled, and another processor's"
    bench.assigned_partitions = [("x-partials", 0)]
    assert bench.stood_s(801) == 0, "its age starts with the assignment"
    bench.assigned_partitions = []
    assert bench.stood_s(2000) == 0
    assert bench.report.values(metrics.LAG) == {}
    bench.assigned_partitions = None
    bench.stood_s(2001)
    assert bench.stood_s(2011) == 10, "during a rebalance all partitions count"


@pytest.mark.parametrize("broker", ["answers", "is down"])
def test_a_processor_that_advances_or_cannot_be_judged_is_healthy(bench: Bench, broker: str) -> None:
    bench.consumer.committed_at, bench.consumer.ends = {0: 10, 1: 10}, {0: 90, 1: 11}
    assert bench.check(0) == "starting"
    bench.consumer.failing = broker == "is down"
    for second in range(0, 1000, 50):
        if broker == "answers":
            bench.consumer.committed_at[0] = 10 + second // 50
        bench.now_s = 1000.0 + second
        bench.heartbeat.beat()
        assert bench.check(second) == "working"
    assert bench.report.values(metrics.HEALTHY) == {(): 1.0}
    assert bench.ended == []


@pytest.mark.parametrize("case", ["broker answers", "broker is down", "stopping"])
def test_a_hanging_loop_is_detected_unless_the_processor_is_stopping(bench: Bench, case: str) -> None:
    bench.consumer.ends = {0: 3, 1: 3}
    bench.consumer.failing = case == "broker is down"
    bench.heartbeat.beat()
    assert bench.check(60) == "working"
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
    bench.consumer.committed_at, bench.consumer.ends = {0: 10, 1: 10}, {0: 30, 1: 10}
    statuses = []
    for second in (0, 60, 61, 300, 301):
        bench.now_s = 1000.0 + second
        bench.heartbeat.beat()
        statuses.append(bench.check(second))
    assert statuses == ["working", "working", "stuck", "stuck", "stuck"]
    assert "committed offset of x-partials 0 has not advanced for 301 s" in bench.watchdog.health().reason
    assert bench.ended == [EXIT_STUCK]


def test_a_processor_blocked_by_clickhouse_is_healthy_while_its_loop_beats(bench: Bench) -> None:
    bench.consumer.committed_at, bench.consumer.ends = {0: 10, 1: 10}, {0: 30, 1: 10}
    for second in range(0, 3000, 50):
        bench.now_s = 1000.0 + second
        bench.heartbeat.beat()
        bench.heartbeat.blocked("ClickHouse is down.")
        assert bench.check(second) == "waiting"
    assert bench.watchdog.health().reason == "ClickHouse is down. It has waited 2950 s; nothing is lost."
    assert bench.report.values(metrics.WAITING)[()] == 2950
    bench.heartbeat.unblocked()
    assert bench.check(2951) == "stuck", "it works again, and has not advanced yet"
    bench.consumer.committed_at[0] = 30
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
    bench.consumer.committed_at, bench.consumer.ends = {0: 10, 1: 3}, {0: 30, 1: 3}
    for at_s in range(0, 3600 if ends_after_s == math.inf else 3700, 5):
        bench.now_s = 1000.0 + at_s
        bench.heartbeat.beat()
        if at_s <= work_until_s and at_s % every_s == 0:
            bench.heartbeat.record_work()
        assert bench.check(at_s) == "working" or ends_after_s < math.inf
        assert bool(bench.ended) == (at_s > ends_after_s)
    if work_until_s == 600:
        assert "has not advanced" in bench.watchdog.health().reason
