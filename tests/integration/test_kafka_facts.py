"""Behavior of Apache Kafka and Faust that the processors rely on. Run these tests at every upgrade."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from barograph.contract import Window
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from barograph_server.local.kafka import LocalKafka
from barograph_server.streams.broker.assigned_consumer import Rebalanced
from barograph_server.streams.broker.client import make_consumer
from barograph_server.streams.broker.consumer_lag import PEEK_AFTER_S, LagMonitor, SourceTopic
from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.records import Partial, decode
from barograph_server.streams.registry.registry import build_registry
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.sketcher.sketcher import Sketcher
from barograph_server.streams.topics import Topics
from tests.support import faust_probe
from tests.support.forked_processors import Running, fork
from tests.support.pipeline import Pipeline, simple_contract, wait_for
from tests.support.sketching import flush_once, flush_until, open_sketcher, settings_of, toy_registry
from tests.support.toy_events import START_MS, messages, toy_event


class Probe:
    """One topic `partials`, and processes that read it as the monitor does."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path) -> None:
        self.bootstrap, self.prefix, self.topic, self.folder = bootstrap, prefix, Topics(prefix).partials, folder
        self.processes: list[Running] = []
        admin = AdminClient({"bootstrap.servers": bootstrap})
        admin.create_topics([NewTopic(self.topic, 2, 1)])[self.topic].result(30)

    def start(self, name: str, **options: Any) -> tuple[Running, Callable[[], list[tuple[int, str]]]]:
        """Start a process, and return it with a function that reads the offsets and texts it has handled so far."""
        handled = self.folder / f"{name}.handled"
        handled.touch()
        arguments = {"bootstrap": self.bootstrap, "prefix": self.prefix, "handled": str(handled), **options}
        process = fork(faust_probe.main, [json.dumps(arguments)], self.folder / f"{name}.log", os.environ)
        self.processes.append(process)

        def records() -> list[tuple[int, str]]:
            return [(offset, text) for _, offset, text in map(json.loads, handled.read_text().splitlines())]

        return process, records

    def assigned(self, name: str) -> list[int]:
        """Return the partitions that a process was assigned last, according to its log."""
        log = (self.folder / f"{name}.log").read_text().splitlines()
        return next((json.loads(line)["partitions"] for line in reversed(log) if '"assigned"' in line), [])

    def produce(self, texts: list[str], partition: int = 0, config: Mapping[str, str] | None = None) -> None:
        producer = Producer({"bootstrap.servers": self.bootstrap, **(config or {})})
        for text in texts:
            producer.produce(self.topic, text.encode(), partition=partition)
        assert producer.flush(30) == 0


@pytest.fixture
def probe(broker: LocalKafka, topic_prefix: str, tmp_path: Path) -> Iterator[Probe]:
    probe = Probe(broker.bootstrap_servers, topic_prefix, tmp_path)
    yield probe
    for process in probe.processes:
        process.kill()
        process.wait(30)


@pytest.mark.long
def test_records_of_every_codec_are_read_and_a_failed_one_is_redelivered(probe: Probe) -> None:
    for i, codec in enumerate(("none", "gzip", "snappy", "lz4", "zstd", "lz4", "zstd")):
        probe.produce([f"m{i}" * 200], config={"compression.type": codec})
    failing, records = probe.start("failing", fail_at=3)
    assert failing.wait(60) == 1
    assert records() == [(i, f"m{i}" * 200) for i in range(4)]
    # A file with this name keeps the next process from failing too.
    (probe.folder / "next.failed").touch()
    _, redelivered = probe.start("next", fail_at=3)
    wait_for(lambda: len(redelivered()) >= 4 and redelivered()[-1][0] == 6, "records from the failing one on")
    assert redelivered()[0][0] <= 3
    assert redelivered() == [(i, f"m{i}" * 200) for i in range(redelivered()[0][0], 7)]


def test_records_dropped_before_the_first_commit_are_read_again(probe: Probe) -> None:
    probe.produce([f"m{i}" for i in range(7)])
    _, records = probe.start("first", drops_first_fetch=True)
    wait_for(lambda: len(records()) >= 7, "all records, in spite of the dropped fetch")
    assert records() == [(i, f"m{i}") for i in range(7)]
    failing, unread = probe.start("other", drops_first_fetch=True, seek_fails=True, group="other")
    assert (failing.wait(60), unread()) == (1, [])


@pytest.mark.long
def test_a_member_that_rejoins_with_its_former_generation_reads_on(probe: Probe) -> None:
    names = ("one", "other")
    members = [probe.start(name, instance=name)[1] for name in names]
    wait_for(lambda: all(probe.assigned(name) in ([0], [1]) for name in names), "a partition for each member")

    def is_read(text: str) -> bool:
        return all(text in {read for _, read in records()} for records in members)

    # One of them is the leader, whose rejoining begins a new generation, and the other a follower.
    for rejoining in (0, 1):
        probe.produce(["rejoin"], rejoining)
        wait_for(lambda: any("rejoin" in text for records in members for _, text in records()), "the rejoining")
        for partition in (0, 1):
            probe.produce([f"after {rejoining}"], partition)
        wait_for(partial(is_read, f"after {rejoining}"), "the records after it")


@pytest.mark.long
def test_unacknowledged_records_are_redelivered_after_an_orderly_stop(probe: Probe) -> None:
    probe.produce([f"m{i}" for i in range(7)])
    first, records = probe.start("first", withhold_from=4)
    wait_for(lambda: len(records()) == 7, "all records")
    first.send_signal(signal.SIGTERM)
    # With the default of stream_wait_empty, it would wait forever for acknowledgements.
    assert first.wait(20) == 0
    _, redelivered = probe.start("second")
    wait_for(lambda: bool(redelivered()) and redelivered()[-1][0] == 6, "the unacknowledged records")
    assert [offset for offset, _ in redelivered()] == [4, 5, 6]


def test_only_the_committed_only_transport_skips_aborted_records(probe: Probe) -> None:
    producer = Producer({"bootstrap.servers": probe.bootstrap, "transactional.id": f"{probe.prefix}writer"})
    producer.init_transactions(30)
    for i, abort in enumerate([False, True, False, True, False]):
        producer.begin_transaction()
        for j in range(3):
            producer.produce(probe.topic, f"{'aborted' if abort else 'committed'} {i}{j}".encode(), partition=0)
        assert producer.flush(30) == 0
        end = producer.abort_transaction if abort else producer.commit_transaction
        end(30)
    _, committed = probe.start("committed")
    _, uncommitted = probe.start("uncommitted", uncommitted_too=True, group="another")
    for records in (committed, uncommitted):
        wait_for(lambda: "committed 42" in [text for _, text in records()], "the last record")  # noqa: B023
    assert [text for _, text in committed()] == [f"committed {i}{j}" for i in (0, 2, 4) for j in range(3)]
    # Faust's own transport delivers aborted records.
    assert sum(text.startswith("aborted") for _, text in uncommitted()) == 6


class Driven:
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

    def set_positions(self, positions: dict[int, int]) -> None:
        self.assigned.positions = {(self.topic, partition): offset for partition, offset in positions.items()}

    def flush_until(self, done: Callable[[], bool]) -> None:
        def flushed() -> bool:
            flush_once(self.sketcher)
            return done()

        wait_for(flushed, "a flush")

    def polled(self, condition: Callable[[], bool]) -> Callable[[], bool]:
        """A condition that is checked after the group's callbacks could run."""

        def check() -> bool:
            self.consumer.consume(1, 0.1)
            return condition()

        return check


@pytest.fixture
def drive(pipeline: Pipeline) -> Iterator[Callable[[str], Driven]]:
    created: list[Driven] = []

    def start(instance: str) -> Driven:
        created.append(Driven(pipeline, instance))
        return created[-1]

    yield start
    for driven in created:
        driven.consumer.close()


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
    stale, _ = slow.sketcher.open()

    def has_read() -> bool:
        slow.sketcher.read(stale)
        return slow.sketcher._positions() == {0: 100, 1: 100}

    wait_for(has_read, "the first events")
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


@pytest.mark.long
def test_a_partition_added_while_running_is_counted_from_its_start(pipeline: Pipeline) -> None:
    pipeline.clock = "live"
    pipeline.prepare(simple_contract(pane_s=2, lateness_s=1, out_of_order_s=1, windows=(Window(10, 2),)))
    for name in ("sketcher-0", "sketcher-1"):
        pipeline.start("sketcher", name)
    pipeline.start("monitor")
    send(pipeline, 10, partitions=1, at_ms=int(time.time() * 1000))
    counted = "SELECT sum(n) = {} AND min(sealed) FROM volume FINAL WHERE n > 0 AND slice = 'all'"
    pipeline.wait_rows(counted.format(10), "panes")
    admin, topic = AdminClient({"bootstrap.servers": pipeline.bootstrap}), pipeline.topics.predictions
    admin.create_partitions([NewPartitions(topic, 2)])[topic].result(30)
    # No sketcher reads the new partition yet; its events must not be late once one does.
    send(pipeline, 10, at_ms=int(time.time() * 1000))
    ledger = "FROM offset_ledger FINAL"
    pipeline.wait_rows(f"SELECT count() = 2 {ledger} WHERE partitions = 2 AND source_partition = 1", "its ledger")
    send(pipeline, 10, at_ms=int(time.time() * 1000))
    pipeline.wait_rows(counted.format(50), "all in sealed panes")
    assert pipeline.rows("SELECT sum(late) FROM volume FINAL") == [(0,)]
    assert pipeline.rows("SELECT count() FROM losses") == [(0,)]
    ends = f"SELECT max(end_offset) {ledger} GROUP BY source_partition ORDER BY source_partition"
    assert pipeline.rows(ends) == [(30,), (20,)]


def send_in_transactions(pipeline: Pipeline, committed: int, aborted: int) -> int:
    """Send messages as a replay of dead letters does, and return the end of the partition."""
    producer = Producer({"bootstrap.servers": pipeline.bootstrap, "transactional.id": f"{pipeline.prefix}replay"})
    producer.init_transactions(30)
    for n, end in ((committed, producer.commit_transaction), (aborted, producer.abort_transaction)):
        producer.begin_transaction()
        for i in range(n):
            producer.produce(pipeline.topics.predictions, json.dumps(toy_event(i, START_MS)).encode(), partition=0)
        producer.flush(30)
        end(30)
    return committed + aborted + 2


def test_partition_that_ends_with_transactions_is_read_to_its_end(pipeline: Pipeline) -> None:
    pipeline.create(2)
    end = send_in_transactions(pipeline, 5, 3)
    with open_sketcher(pipeline, flush_s=0.3) as sketcher:
        flush_until(pipeline, sketcher, {0: end, 1: 0})
        assert sketcher._report.events == 5
        # Later events are read too.
        pipeline.produce(messages([toy_event(9, START_MS)]))
        flush_until(pipeline, sketcher, {0: end + 1, 1: 0})
        assert sketcher._report.events == 6


def test_watchdog_ignores_markers_and_aborted_messages(pipeline: Pipeline) -> None:
    pipeline.create(1)
    send_in_transactions(pipeline, 5, 3)
    topic, group = pipeline.topics.predictions, f"{pipeline.prefix}recorder"
    consumer = Consumer({"bootstrap.servers": pipeline.bootstrap, "group.id": group})
    consumer.commit(offsets=[TopicPartition(topic, 0, 5)], asynchronous=False)
    consumer.close()
    now = {"s": 0.0}
    report = Report("recorder", "r")
    options: dict[str, Any] = {"assigned_partitions": lambda: [(topic, 0)], "clock": lambda: now["s"]}
    offsets = LagMonitor(settings_of(pipeline), "recorder", [SourceTopic(topic, "predictions")], report, **options)
    assert (offsets.check(), report.lag) == (None, 5)
    now["s"] = PEEK_AFTER_S + 1
    assert (offsets.check(), report.lag) == (None, 0)
    pipeline.produce(messages([toy_event(9, START_MS)]))
    now["s"] = 100.0
    stall = offsets.check()
    assert stall is not None
    assert (stall.partition, report.lag) == ((topic, 0), 6)
    offsets.close()


SESSION_S = 60.0
"""Longer than any wait of this test: a member that joins did not wait for the old session."""


def join(pipeline: Pipeline, instance: str) -> Consumer:
    consumer = make_consumer(settings_of(pipeline, instance=instance, session_timeout_s=SESSION_S), "sketcher")
    consumer.subscribe([pipeline.topics.predictions])

    def assigned() -> bool:
        consumer.poll(0.1)
        return bool(consumer.assignment())

    wait_for(assigned, "partitions", SESSION_S / 2)
    return consumer


def test_a_model_that_is_registered_while_a_flush_is_open_is_counted(pipeline: Pipeline) -> None:
    pipeline.create(2)
    with open_sketcher(pipeline, flush_s=2.0) as sketcher:
        newest, none = sketcher._registry, build_registry([], [])
        sketcher._registry, read = lambda: none, sketcher.read
        flush_until(pipeline, sketcher, {0: 0, 1: 0})
        steps = iter([lambda: setattr(sketcher, "_registry", newest), lambda: send(pipeline, 1)])
        sketcher.read = lambda flush: (next(steps, int)(), read(flush))  # type: ignore[assignment,method-assign]
        flush_until(pipeline, sketcher, {0: 1, 1: 1})
        assert (sketcher._report.events, sketcher._report.dead_letters) == (2, 0)


@pytest.mark.long
def test_a_second_sketcher_under_the_same_name_stops_with_advice(pipeline: Pipeline) -> None:
    pipeline.prepare()
    with open_sketcher(pipeline, session_timeout_s=SESSION_S, flush_s=0.5) as sketcher:

        def flush() -> bool:
            flush_once(sketcher)
            return bool(sketcher._consumer.positions)

        wait_for(flush, "partitions", SESSION_S / 2)
        # As after a kill, the group is not notified; a member of the same name gets the partitions at once.
        other = join(pipeline, "s")
        with pytest.raises(ProcessorError, match="Another processor runs under this instance name"):
            wait_for(lambda: flush() and False, "the end of one of them", SESSION_S / 2)
        other.close()
