"""Failures on a real broker that the rules of docs/architecture.md prevent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from barograph.contract import Window
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions

from barograph_server.streams.broker.assigned_consumer import Rebalanced
from barograph_server.streams.records import Partial, decode
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.sketcher.flush import Flush
from barograph_server.streams.sketcher.sketcher import Sketcher
from tests.support.pipeline import Pipeline, simple_baseline, simple_contract, wait_for
from tests.support.sketching import settings_of, toy_registry
from tests.support.toy_events import START_MS, messages, toy_event

# ------------------------------------------------------------------------------------------- a stale flush


class Driven:
    """A sketcher that is driven step by step instead of by its loop."""

    def __init__(self, pipeline: Pipeline, instance: str) -> None:
        self.topic = pipeline.topics.predictions
        registry = toy_registry()
        settings = settings_of(pipeline, instance=instance, flush_s=0.5, transaction_timeout_s=10.0)
        self.sketcher = Sketcher(settings, lambda: registry, Report("sketcher", instance))
        self.sketcher._transactions.start()
        self.assigned = self.sketcher._consumer
        self.consumer = self.assigned.kafka_consumer
        self.assigned.subscribe()

    @property
    def partitions(self) -> list[int]:
        return [partition for _, partition in self.assigned.assigned_partitions()]

    def open(self) -> Flush:
        """Begin a flush as `flush_once` does."""
        flush, _ = self.sketcher.open()
        return flush

    def read(self, flush: Flush, positions: dict[int, int]) -> None:
        """Fetch into a flush until it has reached these positions."""

        def reached() -> bool:
            self.sketcher.read(flush)
            return self.sketcher._positions() == positions

        wait_for(reached, f"positions {positions}")

    def set_positions(self, positions: dict[int, int]) -> None:
        """Take partitions as assigned, whatever the group has assigned."""
        self.assigned.positions = {(self.topic, partition): offset for partition, offset in positions.items()}

    def flush_until(self, done: Callable[[], bool]) -> None:
        def flushed() -> bool:
            try:
                self.sketcher.flush_once(threading.Event())
            except Rebalanced:
                self.assigned.restart()
            return done()

        wait_for(flushed, "a flush")

    def polled(self, condition: Callable[[], bool]) -> Callable[[], bool]:
        """A condition that is checked after the group's callbacks could run."""

        def check() -> bool:
            self.consumer.consume(1, 0.1)
            return condition()

        return check

    def close(self) -> None:
        self.consumer.close()


@pytest.fixture
def drive(pipeline: Pipeline) -> Iterator[Callable[[str], Driven]]:
    created: list[Driven] = []

    def start(instance: str) -> Driven:
        created.append(Driven(pipeline, instance))
        return created[-1]

    yield start
    for driven in created:
        driven.close()


def send(pipeline: Pipeline, n: int, partitions: int = 2, at_ms: int = START_MS) -> None:
    pipeline.produce(messages((toy_event(i, at_ms) for i in range(n * partitions)), partitions))


def committed(driven: Driven) -> dict[int, int]:
    records = driven.consumer.committed([TopicPartition(driven.topic, p) for p in (0, 1)], timeout=30)
    return {tp.partition: tp.offset for tp in records}


def counted_in_parts(pipeline: Pipeline) -> int:
    records = [decode(message.value()) for message in pipeline.read_all(pipeline.topics.partials)]
    return sum(int(record.counts[0, 0]) for record in records if isinstance(record, Partial))


def test_a_stale_flush_is_rejected_because_of_its_metadata(pipeline: Pipeline, drive: Callable[[str], Driven]) -> None:
    pipeline.create(2)
    send(pipeline, 100)
    slow = drive("slow")
    wait_for(slow.polled(lambda: slow.partitions == [0, 1]), "both partitions")
    slow.assigned.restart()
    stale = slow.open()
    slow.read(stale, {0: 100, 1: 100})
    # A second sketcher joins, gets a partition, and commits offsets that the slow one has read but not committed.
    send(pipeline, 50)
    quick = drive("quick")
    one_each = slow.polled(lambda: len(slow.partitions) == len(quick.partitions) == 1)
    wait_for(quick.polled(one_each), "one partition each")
    [moved] = quick.partitions
    quick.assigned.restart()
    quick.flush_until(lambda: committed(quick)[moved] == 150)
    # The slow sketcher's loop would detect the new generation; here it commits regardless.
    slow.set_positions({0: 100, 1: 100})
    with pytest.raises(Rebalanced):
        slow.sketcher.commit(stale, START_MS)
    assert committed(quick)[moved] == 150
    assert counted_in_parts(pipeline) == 150
    # It continues with its assigned partition, from the committed offsets.
    slow.set_positions({1 - moved: 100})
    slow.assigned.restart()
    slow.flush_until(lambda: committed(quick) == {0: 150, 1: 150})
    assert counted_in_parts(pipeline) == 300


# ------------------------------------------------------------------------------- a partition is added


@pytest.mark.long
def test_a_partition_added_while_running_is_counted_from_its_start(pipeline: Pipeline) -> None:
    pipeline.clock = "live"
    pipeline.create(1)
    pipeline.register(
        simple_contract(pane_s=2, lateness_s=1, out_of_order_s=1, windows=(Window(10, 2),)), [simple_baseline()]
    )
    for name in ("sketcher-0", "sketcher-1"):
        pipeline.start("sketcher", name)
    pipeline.start("monitor")
    send(pipeline, 10, partitions=1, at_ms=int(time.time() * 1000))
    pipeline.wait_rows("SELECT sum(n) = 10 AND min(sealed) FROM volume FINAL WHERE n > 0 AND slice = 'all'", "panes")
    admin = AdminClient({"bootstrap.servers": pipeline.bootstrap})
    topic = pipeline.topics.predictions
    admin.create_partitions([NewPartitions(topic, 2)])[topic].result(30)
    # No sketcher reads the new partition yet; its events must not be late once one does.
    send(pipeline, 10, at_ms=int(time.time() * 1000))
    pipeline.wait_rows(
        "SELECT count() = 2 FROM offset_ledger FINAL WHERE partitions = 2 AND source_partition = 1", "its offset ledger"
    )
    send(pipeline, 10, at_ms=int(time.time() * 1000))
    pipeline.wait_rows(
        "SELECT sum(n) = 50 AND min(sealed) FROM volume FINAL WHERE n > 0 AND slice = 'all'", "all in sealed panes"
    )
    assert pipeline.rows("SELECT sum(late) FROM volume FINAL") == [(0,)]
    assert pipeline.rows("SELECT count() FROM losses") == [(0,)]
    ends = pipeline.rows(
        "SELECT max(end_offset) FROM offset_ledger FINAL GROUP BY source_partition ORDER BY source_partition"
    )
    assert ends == [(30,), (20,)]
