"""The watchdog: how long a group or a loop has stood still, what that makes of health, and when the process ends."""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from streams.broker import consumer_lag as offsets_module
from streams.broker.consumer_lag import LagMonitor, SourceTopic
from streams.health.watchdog import StallTimeouts, Watchdog
from streams.runtime.heartbeat import Heartbeat
from streams.runtime.lifecycle import EXIT_STUCK
from streams.runtime.metrics_report import Report
from streams.settings import ProcessorSettings
from warehouse import metrics
from warehouse.client import Address

TIMEOUTS = StallTimeouts(unhealthy_s=60.0, stuck_s=300.0)


class FakeConsumer:
    """Committed offsets and ends of logs as a test sets them."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.group = config["group.id"]
        self.committed_at: dict[int, int] = {}
        self.ends: dict[int, int] = {}
        self.failing = self.closed = False
        self.empty: set[int] = set()
        """Partitions that hold markers of transactions alone behind what is committed."""
        self.peeked: list[tuple[int, int]] = []

    def committed(self, wanted: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        if self.failing:
            raise KafkaException("away")
        return [TopicPartition(tp.topic, tp.partition, self.committed_at.get(tp.partition, -1001)) for tp in wanted]

    def get_watermark_offsets(self, tp: TopicPartition, timeout: float, cached: bool) -> tuple[int, int]:
        assert not cached
        return 3, self.ends[tp.partition]

    def assign(self, wanted: list[TopicPartition]) -> None:
        self.peeked += [(tp.partition, tp.offset) for tp in wanted]

    def unassign(self) -> None:
        pass

    def poll(self, timeout: float) -> Any:
        return Polled(KafkaError(KafkaError._PARTITION_EOF) if self.peeked[-1][0] in self.empty else None)

    def close(self) -> None:
        self.closed = True


class Polled:
    """A message, or an error."""

    def __init__(self, error: KafkaError | None) -> None:
        self._error = error

    def error(self) -> KafkaError | None:
        return self._error


class Bench:
    """A watchdog, a clock and a broker by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        self.assigned_partitions: Collection[tuple[str, int]] | None = None
        self.ended: list[int] = []
        self.report = Report("monitor", "monitor-0")
        self.report.heartbeat = self.heartbeat = Heartbeat(lambda: self.now_s)
        made: list[FakeConsumer] = []

        def consumer(config: dict[str, Any]) -> FakeConsumer:
            made.append(FakeConsumer(config))
            return made[-1]

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
        self.consumer = made[0]
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


def test_only_a_partition_that_is_behind_and_does_not_move_stands_still(bench: Bench) -> None:
    consumer = bench.consumer
    consumer.committed_at, consumer.ends = {0: 10, 1: 20}, {0: 30, 1: 21}
    assert bench.stood_s(0) == 0
    # Partition 1 is one record behind: that is the last commit's marker, and no lag.
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
    assert bench.stood_s(400) == 150, "partition 1 since it was last level"
    consumer.committed_at[1] = 39
    assert bench.stood_s(500) == 0
    assert bench.report.row().lag == 0


def test_a_group_that_never_committed_is_behind_from_the_logs_start(bench: Bench) -> None:
    bench.consumer.ends = {0: 3, 1: 13}
    bench.stood_s(0)
    assert bench.report.row().lag == 9
    assert bench.stood_s(7) == 7


def test_markers_of_transactions_alone_are_nothing_to_read(bench: Bench) -> None:
    bench.consumer.committed_at, bench.consumer.ends, bench.consumer.empty = {0: 10, 1: 10}, {0: 30, 1: 10}, {0}
    assert bench.stood_s(0) == 0
    assert bench.report.row().lag == 19
    assert bench.stood_s(11) == 0
    assert bench.report.row().lag == 0
    for second in (20, 400, 800):
        assert bench.stood_s(second) == 0
    bench.consumer.ends[0], bench.consumer.empty = 31, set()
    assert bench.stood_s(820) == 20, "since it was last seen to hold nothing"
    assert bench.stood_s(840) == 40
    # Looked behind once for each end, not at every look.
    assert bench.consumer.peeked == [(0, 10), (0, 10)]


def test_before_the_first_look_the_lag_is_not_known(bench: Bench) -> None:
    assert bench.report.row().lag == -1


def test_what_is_anothers_to_move_does_not_count(bench: Bench) -> None:
    bench.consumer.committed_at, bench.consumer.ends = {0: 10, 1: 10}, {0: 30, 1: 12}
    bench.assigned_partitions = [("x-partials", 1)]
    bench.stood_s(0)
    assert bench.report.row().lag == 1
    assert bench.stood_s(400) == 400
    bench.consumer.committed_at[1] = 11
    assert bench.stood_s(800) == 0, "partition 0 stands still, and is another's"
    bench.assigned_partitions = [("x-partials", 0)]
    assert bench.stood_s(801) == 0, "it counts from when it came"
    bench.assigned_partitions = []
    assert bench.stood_s(2000) == 0
    assert bench.report.values(metrics.LAG) == {}
    bench.assigned_partitions = None
    bench.stood_s(2001)
    assert bench.stood_s(2011) == 10, "while nobody knows whose they are, they are everybody's"


def test_a_processor_that_gets_on_is_healthy_and_lives(bench: Bench) -> None:
    bench.consumer.committed_at, bench.consumer.ends = {0: 10, 1: 10}, {0: 90, 1: 11}
    assert bench.check(0) == "starting"
    for second in range(0, 1000, 50):
        bench.consumer.committed_at[0] = 10 + second // 50
        bench.heartbeat._beat_s = 1000.0 + second
        bench.heartbeat._started = True
        assert bench.check(second) == "working"
    assert bench.report.values(metrics.HEALTHY) == {(): 1.0}
    assert bench.ended == []


@pytest.mark.parametrize("broker", ["answers", "is away"])
def test_a_loop_that_stands_still_is_seen_whatever_the_broker_does(bench: Bench, broker: str) -> None:
    bench.consumer.ends = {0: 3, 1: 3}
    bench.consumer.failing = broker == "is away"
    bench.heartbeat.beat()
    assert bench.check(60) == "working"
    assert bench.check(61) == "stuck"
    assert "loop has not completed an iteration for 61 s" in bench.watchdog.health().reason
    assert bench.report.values(metrics.HEALTHY) == {(): 0.0}
    assert bench.check(300) == "stuck"
    assert bench.ended == []
    bench.check(301)
    assert bench.ended == [EXIT_STUCK]


def test_a_group_that_stands_still_although_its_loop_beats_is_stuck(bench: Bench) -> None:
    bench.consumer.committed_at, bench.consumer.ends = {0: 10, 1: 10}, {0: 30, 1: 10}
    statuses = []
    for second in (0, 60, 61, 300, 301):
        bench.now_s = 1000.0 + second
        bench.heartbeat.beat()
        statuses.append(bench.check(second))
    assert statuses == ["working", "working", "stuck", "stuck", "stuck"]
    assert "committed offset of x-partials 0 has not advanced for 301 s" in bench.watchdog.health().reason
    assert bench.ended == [EXIT_STUCK]


def test_who_waits_for_the_warehouse_is_healthy_and_lives_as_long_as_its_loop_beats(bench: Bench) -> None:
    bench.consumer.committed_at, bench.consumer.ends = {0: 10, 1: 10}, {0: 30, 1: 10}
    for second in range(0, 3000, 50):
        bench.now_s = 1000.0 + second
        bench.heartbeat.beat()
        bench.heartbeat.blocked("ClickHouse is away.")
        assert bench.check(second) == "waiting"
    assert bench.watchdog.health().reason == "ClickHouse is away. It has waited 2950 s; nothing is lost."
    assert bench.report.values(metrics.WAITING)[()] == 2950
    bench.heartbeat.unblocked()
    assert bench.check(2951) == "stuck", "it goes on, and has not moved yet"
    bench.consumer.committed_at[0] = 30
    assert bench.check(2960) == "working"
    assert bench.report.values(metrics.WAITING)[()] == 0
    bench.heartbeat.blocked("ClickHouse is away.")
    assert bench.check(3400) == "stuck", "the loop itself stands still"
    # Once while it had just gone on, once now.
    assert bench.ended == [EXIT_STUCK] * 2


def test_a_broker_that_is_away_says_nothing_about_offsets(bench: Bench) -> None:
    bench.consumer.committed_at, bench.consumer.ends = {0: 10, 1: 10}, {0: 30, 1: 10}
    bench.check(0)
    bench.consumer.failing = True
    for second in range(0, 1000, 50):
        bench.now_s = 1000.0 + second
        bench.heartbeat.beat()
        assert bench.check(second) == "working"
    assert bench.ended == []


def test_who_was_asked_to_end_is_not_healthy_and_not_ended_by_the_watchdog(bench: Bench) -> None:
    bench.heartbeat.beat()
    bench.consumer.ends = {0: 3, 1: 3}
    bench.heartbeat.mark_stopping()
    assert bench.check(1000) == "stopping"
    assert bench.ended == []


def test_it_looks_by_itself_and_closes_what_it_opened(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.health.watchdog.CHECK_S", 0.001)
    bench.consumer.ends = {0: 3, 1: 3}
    ended = threading.Event()
    bench.watchdog._end = lambda code: ended.set()
    bench.now_s += 301
    bench.watchdog.start()
    assert ended.wait(30)
    bench.watchdog.stop()
    assert bench.consumer.closed
