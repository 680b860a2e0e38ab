"""Failures on a real broker that the rules of docs/architecture.md prevent."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import msgspec
import pytest
from barograph.contract import Window
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions

from streams.broker.assigned_consumer import Rebalanced
from streams.broker.client import TopicMetadata
from streams.events.batch import sort_messages
from streams.events.json_decoder import JsonDecoder
from streams.records import OffsetRange, Partial, PartitionProgress, Progress, decode, encode
from streams.registry.registry import RegisteredBaseline, Registry, build_registry
from streams.runtime.metrics_report import Report
from streams.settings import ProcessorSettings
from streams.sketcher.flush import Flush
from streams.sketcher.partial_messages import encode_partials
from streams.sketcher.sketcher import Sketcher
from streams.sketcher.summarise import FlushSummaries
from streams.topics import partials_partition
from tests.support.pipeline import Pipeline, simple_baseline, simple_contract, wait_for

HOUR_MS = 3_600_000
START_MS = (int(time.time() * 1000) // HOUR_MS - 72) * HOUR_MS
"""Three days ago."""


def event(i: int, at_ms: int, model: str = "toy") -> bytes:
    features = {"x": i % 7 / 3, "k": i % 5, "flag": i % 2 == 0, "colour": "red"}
    values = {"model": model, "version": "1", "id": f"e{i}", "at": at_ms, "features": features}
    return json.dumps(values).encode()


def toy_registry() -> Registry:
    baseline = simple_baseline()
    return build_registry([(simple_contract(), 1)], [RegisteredBaseline(baseline, baseline.id, 0, 1)])


def settings_of(pipeline: Pipeline, instance: str) -> ProcessorSettings:
    return ProcessorSettings(
        instance=instance,
        bootstrap_servers=pipeline.bootstrap,
        warehouse=pipeline.address,
        topics=pipeline.topics,
        clock="replay",
        flush_s=0.5,
        session_timeout_s=6.0,
        transaction_timeout_s=10.0,
    )


# ------------------------------------------------------------------------------------- an aborted transaction


class FakeMessage:
    """An event as a consumer returns it."""

    def __init__(self, offset: int, value: bytes) -> None:
        self._offset, self._value = offset, value

    def headers(self) -> None:
        return None

    def value(self) -> bytes:
        return self._value

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return 2, START_MS + 100 * HOUR_MS


def flush_records(registry: Registry, topic_id: str, start: int, values: list[bytes], *, ended: bool) -> list[bytes]:
    """The records that a sketcher writes for a flush: partials, then progress."""
    summaries = FlushSummaries(registry)
    messages = [FakeMessage(start + i, value) for i, value in enumerate(values)]
    decoded = JsonDecoder(registry).decode(sort_messages(messages).json)
    assert not decoded.rejected
    newest = START_MS
    for events in decoded.events:
        summaries.add(events)
        newest = int(events.at_ms.max())
    end = start + len(values)
    progress = Progress(
        source_topic_id=topic_id,
        source_partitions=1,
        counted_at_ms=START_MS,
        ranges=[PartitionProgress(partition=0, start=start, end=end, newest_ms={"toy": newest}, end_mark=ended)],
    )
    records = [
        partial
        for key, pane in summaries.panes.items()
        for partial in encode_partials(key, pane, topic_id, [OffsetRange(0, start, end)])
    ]
    return [*records, encode(progress)]


@pytest.mark.slow
def test_partials_of_an_aborted_transaction_never_reach_a_pane(pipeline: Pipeline) -> None:
    pipeline.create(1)
    pipeline.register(simple_contract(), [simple_baseline()])
    registry = toy_registry()
    topic_id, _ = TopicMetadata(settings_of(pipeline, "facts")).describe(pipeline.topics.predictions)
    partition = partials_partition("toy", pipeline.partials_partitions)
    producer = Producer({"bootstrap.servers": pipeline.bootstrap, "transactional.id": f"{pipeline.prefix}by-hand"})
    producer.init_transactions(30)
    pipeline.start("monitor")
    position = 0
    for i, abort in enumerate([False, True, False, True, False]):
        values = [event(j, START_MS + i * HOUR_MS + j) for j in range(50)]
        producer.begin_transaction()
        for record in flush_records(registry, topic_id, position, values, ended=i == 4):
            producer.produce(pipeline.topics.partials, record, partition=partition)
        assert producer.flush(30) == 0
        if abort:
            producer.abort_transaction(30)
        else:
            producer.commit_transaction(30)
            position += 50
    pipeline.wait_rows("SELECT sum(n) >= 150 AND min(sealed) FROM volume FINAL WHERE slice = 'all'", "sealed panes", 60)
    records = pipeline.rows("SELECT toUnixTimestamp(pane_start), n FROM volume FINAL WHERE slice = 'all' AND n > 0")
    assert dict(records) == {(START_MS + i * HOUR_MS) // 1000: 50 for i in (0, 2, 4)}
    assert pipeline.rows("SELECT count() FROM losses") == [(0,)]
    assert not pipeline.read_all(pipeline.topics.partials_dead)


# ------------------------------------------------------------------------------------------- a stale flush


class Driven:
    """A sketcher that is driven step by step instead of by its loop."""

    def __init__(self, pipeline: Pipeline, instance: str) -> None:
        self.topic = pipeline.topics.predictions
        registry = toy_registry()
        self.sketcher = Sketcher(settings_of(pipeline, instance), lambda: registry, Report("sketcher", instance))
        self.sketcher._transactions.start()
        self.assigned = self.sketcher._consumer
        self.consumer = self.assigned.kafka_consumer
        self.assigned.subscribe()

    @property
    def partitions(self) -> list[int]:
        """The assigned partitions."""
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
        """Flush as `run` does until a condition holds."""

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


def committed(driven: Driven) -> dict[int, int]:
    records = driven.consumer.committed([TopicPartition(driven.topic, p) for p in (0, 1)], timeout=30)
    return {tp.partition: tp.offset for tp in records}


def counted_in_parts(pipeline: Pipeline) -> int:
    records = [decode(message.value()) for message in pipeline.read_all(pipeline.topics.partials)]
    return sum(int(record.counts[0, 0]) for record in records if isinstance(record, Partial))


@pytest.mark.parametrize("metadata", ["of the flush's beginning", "fresh"])
def test_a_stale_flush_is_rejected_because_of_its_metadata(
    pipeline: Pipeline, drive: Callable[[str], Driven], metadata: str
) -> None:
    pipeline.create(2)
    pipeline.produce((p, event(i, START_MS + i), None) for i in range(100) for p in (0, 1))
    slow = drive("slow")
    wait_for(slow.polled(lambda: slow.partitions == [0, 1]), "both partitions")
    slow.assigned.restart()
    stale = slow.open()
    slow.read(stale, {0: 100, 1: 100})
    # A second sketcher joins, gets a partition, and commits offsets that the slow one has read but not committed.
    pipeline.produce((p, event(100 + i, START_MS + i), None) for i in range(50) for p in (0, 1))
    quick = drive("quick")

    one_each = slow.polled(lambda: len(slow.partitions) == len(quick.partitions) == 1)
    wait_for(quick.polled(one_each), "one partition each")
    [moved] = quick.partitions
    quick.assigned.restart()
    quick.flush_until(lambda: committed(quick)[moved] == 150)
    # The slow sketcher's loop would detect the new generation; here it commits regardless.
    slow.set_positions({0: 100, 1: 100})
    if metadata == "fresh":
        stale.membership = slow.assigned.membership()
        slow.sketcher.commit(stale, START_MS)
        # The reason for the rule: the broker checks the generation, not the owner of the partition.
        assert committed(quick)[moved] == 100
        assert counted_in_parts(pipeline) == 150 + 200
    else:
        with pytest.raises(Rebalanced):
            slow.sketcher.commit(stale, START_MS)
        assert committed(quick)[moved] == 150
        assert counted_in_parts(pipeline) == 150
        # It continues with its assigned partition, from the committed offsets.
        slow.set_positions({1 - moved: 100})
        slow.assigned.restart()
        slow.flush_until(lambda: committed(quick) == {0: 150, 1: 150})
        assert counted_in_parts(pipeline) == 300


# --------------------------------------------------------------- withheld acknowledgements during a rebalance


def lag(pipeline: Pipeline) -> int:
    """How far the monitors' committed offsets are behind the ends of `partials`."""
    consumer = Consumer({"bootstrap.servers": pipeline.bootstrap, "group.id": f"{pipeline.prefix}monitor"})
    try:
        total = 0
        for tp in consumer.committed([TopicPartition(pipeline.topics.partials, p) for p in range(2)], timeout=30):
            _, high = consumer.get_watermark_offsets(tp, timeout=30, cached=False)
            total = max(total, high - max(tp.offset, 0))
        return int(total)
    finally:
        consumer.close()


def assert_withheld(pipeline: Pipeline) -> None:
    """Assert that acknowledgements are withheld for longer than their commits take."""
    began_s = time.monotonic()
    wait_for(lambda: lag(pipeline) <= 1 or time.monotonic() - began_s > 3, "commits")
    assert lag(pipeline) > 1


def assigned(pipeline: Pipeline, name: str) -> list[int]:
    """The partitions of a monitor's last assignment, as it logged them."""
    lines = [line for line in (pipeline.log_dir / f"{name}.log").read_text().splitlines() if '"assigned"' in line]
    return list(json.loads(lines[-1])["partitions"]) if lines else []


MODELS = ("toy", "bat")
"""One in each of two partitions of `partials`."""


@pytest.mark.long
def test_acknowledgements_withheld_during_a_rebalance_lose_nothing(pipeline: Pipeline) -> None:
    assert sorted(partials_partition(model, 2) for model in MODELS) == [0, 1]
    pipeline.settings = {"write_s": 0.5}
    pipeline.create(1)
    for model in MODELS:
        pipeline.register(
            simple_contract(model=model, windows=(Window(3 * 3600, 3600),)),
            [msgspec.structs.replace(simple_baseline(), model=model)],
        )
    pipeline.start("sketcher")
    pipeline.start("monitor", "monitor-0", revise_s=120.0)
    expected: Counter[tuple[str, int]] = Counter()
    sent = 0

    def send(hours: Iterable[int], each: int = 20) -> None:
        nonlocal sent
        values = []
        for hour in hours:
            for model in MODELS:
                for i in range(each):
                    values.append((0, event(sent, START_MS + hour * HOUR_MS + i, model), None))
                    expected[model, START_MS // 1000 + hour * 3600] += 1
                    sent += 1
        pipeline.produce(values)

    def arrived(what: str) -> None:
        pipeline.wait_rows(f"SELECT sum(n) = {sent} FROM volume FINAL WHERE slice = 'all'", what)

    send(range(12))
    arrived("events in order")
    # Late events revise windows at once the first time; the second time their revision waits, and with it the offsets.
    for _ in range(2):
        send([3, 4])
        arrived("late events")
    send([12])
    arrived("what follows them")
    assert_withheld(pipeline)
    joined_s = time.monotonic()
    pipeline.start("monitor", "monitor-1", revise_s=1.0)
    wait_for(lambda: len(assigned(pipeline, "monitor-1")) == 1, "the second monitor's partition")
    joined_s = time.monotonic() - joined_s
    assert wait_for(lambda: len(assigned(pipeline, "monitor-0")) == 1, "the first monitor's partition")
    send([5, 12])
    arrived("late events at two monitors")
    send([5, 12])
    arrived("more of them")
    assert_withheld(pipeline)
    pipeline.kill("monitor-0")
    send([6, 13])
    wait_for(lambda: len(assigned(pipeline, "monitor-1")) == 2, "both partitions at the second monitor")
    arrived("events after the first monitor was killed")
    send([13])
    pipeline.end(1)
    pipeline.wait_rows(
        f"SELECT sum(n) = {sent} AND min(sealed) FROM volume FINAL WHERE slice = 'all'", "all events in sealed panes"
    )
    records = pipeline.rows(
        "SELECT model, toUnixTimestamp(pane_start), n FROM volume FINAL WHERE slice = 'all' AND n > 0"
    )
    assert {(model, at): n for model, at, n in records} == dict(expected)
    verdicts = {
        (model, at // 1000 + h * 3600): sum(expected[model, at // 1000 + k * 3600] for k in range(h - 3, h))
        for model in MODELS
        for at in [START_MS]
        for h in range(1, 15)
    }

    def judged() -> bool:
        rows = pipeline.rows(
            "SELECT model, toUnixTimestamp(window_end), n FROM latest_drift WHERE field = 'colour' AND slice = 'all' "
            "AND window = '3h' AND n > 0"
        )
        return {(model, end): n for model, end, n in rows} == verdicts

    wait_for(judged, "verdicts over all events")
    assert pipeline.rows("SELECT count() FROM losses") == [(0,)]
    assert not pipeline.read_all(pipeline.topics.partials_dead)
    # Seconds, most of them its start; with stream_wait_empty it would be a minute and more.
    assert joined_s < 30


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
    sent = 0

    def send(partitions: Iterable[int], n: int = 10) -> None:
        nonlocal sent
        values = [(p, event(sent + i, int(time.time() * 1000))) for p in partitions for i in range(n)]
        pipeline.produce((p, value, None) for p, value in values)
        sent += len(values)

    send([0])
    pipeline.wait_rows("SELECT sum(n) = 10 AND min(sealed) FROM volume FINAL WHERE n > 0 AND slice = 'all'", "panes")
    admin = AdminClient({"bootstrap.servers": pipeline.bootstrap})
    topic = pipeline.topics.predictions
    admin.create_partitions([NewPartitions(topic, 2)])[topic].result(30)
    # No sketcher reads the new partition yet; its events must not be late once one does.
    send([1, 0])
    pipeline.wait_rows(
        "SELECT count() = 2 FROM offset_ledger FINAL WHERE partitions = 2 AND source_partition = 1", "its offset ledger"
    )
    send([1, 0])
    pipeline.wait_rows(
        f"SELECT sum(n) = {sent} AND min(sealed) FROM volume FINAL WHERE n > 0 AND slice = 'all'", "all in sealed panes"
    )
    assert pipeline.rows("SELECT sum(late) FROM volume FINAL") == [(0,)]
    assert pipeline.rows("SELECT count() FROM losses") == [(0,)]
    ends = pipeline.rows(
        "SELECT max(end_offset) FROM offset_ledger FINAL GROUP BY source_partition ORDER BY source_partition"
    )
    assert ends == [(30,), (20,)]
