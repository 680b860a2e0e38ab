"""The watchdog: how long a group that is behind has stood still."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaException, TopicPartition

from streams import watchdog as watchdog_module
from streams.process import EXIT_STUCK
from streams.report import Report
from streams.settings import ProcessorSettings
from streams.watchdog import Watchdog
from warehouse.client import Address


class FakeConsumer:
    """Committed offsets and ends of logs as a test sets them."""

    committed_at: dict[int, int]
    ends: dict[int, int]
    failing = False

    def __init__(self, config: dict[str, Any]) -> None:
        self.group = config["group.id"]
        self.committed_at, self.ends = {}, {}
        self.closed = False

    def committed(self, wanted: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        if self.failing:
            raise KafkaException("away")
        return [TopicPartition(tp.topic, tp.partition, self.committed_at.get(tp.partition, -1001)) for tp in wanted]

    def get_watermark_offsets(self, tp: TopicPartition, timeout: float, cached: bool) -> tuple[int, int]:
        assert not cached
        return 3, self.ends[tp.partition]

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def report() -> Report:
    return Report("monitor", "monitor-0")


def make(report: Report, monkeypatch: pytest.MonkeyPatch, **told: Any) -> tuple[Watchdog, FakeConsumer]:
    made: list[FakeConsumer] = []

    def consumer(config: dict[str, Any]) -> FakeConsumer:
        made.append(FakeConsumer(config))
        return made[-1]

    monkeypatch.setattr(watchdog_module, "Consumer", consumer)
    settings = ProcessorSettings(instance="w", bootstrap_servers="b", warehouse=Address("h", 1, "d"))
    told = {"waiting": lambda: False, **told}
    return Watchdog(settings, "monitor", "parts", 2, report, **told), made[0]


def test_only_a_partition_that_is_behind_and_does_not_move_stands_still(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    watchdog, consumer = make(report, monkeypatch)
    consumer.committed_at, consumer.ends = {0: 10, 1: 20}, {0: 30, 1: 21}
    assert watchdog.look(0.0) == 0.0
    # Partition 1 is one record behind: that is the last commit's marker, and no lag.
    assert report.row()["lag"] == 19
    assert watchdog.look(100.0) == 100.0
    consumer.committed_at[0] = 11
    assert watchdog.look(200.0) == 0.0
    assert watchdog.look(250.0) == 50.0
    consumer.ends[1] = 40
    assert watchdog.look(300.0) == 100.0
    consumer.committed_at[0] = 29
    assert watchdog.look(400.0) == 150.0, "partition 1 since it was last level"
    consumer.committed_at[1] = 39
    assert watchdog.look(500.0) == 0.0
    assert report.row()["lag"] == 0


def test_a_group_that_never_committed_is_behind_from_the_logs_start(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    watchdog, consumer = make(report, monkeypatch)
    consumer.ends = {0: 3, 1: 13}
    watchdog.look(0.0)
    assert report.row()["lag"] == 9
    assert watchdog.look(7.0) == 7.0


class Ticks:
    """Stands for the event that the thread waits on: so many looks, without their pauses."""

    def __init__(self, looks: int) -> None:
        self.left = looks

    def wait(self, _timeout: float) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize(("waiting", "failing", "ends"), [(False, False, 1), (True, False, 0), (False, True, 0)])
def test_a_stuck_process_is_ended_unless_it_waits_for_the_warehouse(
    report: Report, monkeypatch: pytest.MonkeyPatch, waiting: bool, failing: bool, ends: int
) -> None:
    ended: list[int] = []
    watchdog, consumer = make(report, monkeypatch, waiting=lambda: waiting, stuck_s=300.0, end=ended.append)
    consumer.committed_at, consumer.ends, consumer.failing = {0: 10, 1: 10}, {0: 30, 1: 10}, failing
    clock = iter([0.0, 200.0, 301.0])
    monkeypatch.setattr("streams.watchdog.time.monotonic", lambda: next(clock, 301.0))
    monkeypatch.setattr(watchdog, "_stop", Ticks(3))
    watchdog._run()
    assert ended == [EXIT_STUCK] * ends
