"""The consumer of the sketcher and the recorder reads the same with and without barograph-native."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from barograph_server.local.kafka import LocalKafka
from barograph_server.streams.broker.assigned_consumer import AssignedConsumer, Rebalanced
from barograph_server.streams.broker.native_fetcher import plugin_path
from barograph_server.streams.events import native_reader
from barograph_server.streams.events.batch import MessageBatch
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.streams.topics import Topics
from barograph_server.warehouse.client import Address
from barograph_server.warehouse.operations import metrics
from tests.support.pipeline import wait_for

HEADERS: list[tuple[str, bytes | None]] = [("a", b"\x00\xc3"), ("a", None), ("ünd", b"")]
VALUES = [b"plain", b"", None, b"\x00\xff", b"x" * 900_000, *(b"m%d" % i for i in range(5_000))]


class Scene:
    """A topic with two partitions, and consumers of it."""

    def __init__(self, bootstrap: str, prefix: str, *, native: bool) -> None:
        self.bootstrap, self.topics, self.native = bootstrap, Topics(prefix), native
        self.topic = self.topics.predictions
        self.admin = AdminClient({"bootstrap.servers": bootstrap})
        # The broker would delete a message of 2023 at its next check, once a minute.
        self.admin.create_topics([NewTopic(self.topic, 2, 1, config={"retention.ms": "-1"})])[self.topic].result(30)
        self.report = Report("sketcher", "s")
        self.consumers: list[AssignedConsumer] = []

    def produce(self, partition: int, values: list[bytes | None], *, commit: bool = True, **options: Any) -> None:
        """Write messages in one transaction."""
        config = {"bootstrap.servers": self.bootstrap, "transactional.id": self.topic, "compression.type": "lz4"}
        producer = Producer(config)
        producer.init_transactions(30)
        producer.begin_transaction()
        for value in values:
            producer.produce(self.topic, value, partition=partition, **options)
        producer.flush(30)
        (producer.commit_transaction if commit else producer.abort_transaction)(30)

    def join(self, instance: str) -> AssignedConsumer:
        settings = ProcessorSettings(
            instance=instance,
            bootstrap_servers=self.bootstrap,
            warehouse=Address(),
            topics=self.topics,
            # A static member that leaves keeps its partitions for so long.
            session_timeout_s=6,
        )
        labels = {self.topic: "predictions"}
        options: dict[str, Any] = {"poll_messages": 1_000, "reports_ends": True, "native": self.native}
        consumer = AssignedConsumer(settings, "sketcher", labels, self.report, **options)
        assert consumer.is_native == self.native
        consumer.subscribe()
        self.consumers.append(consumer)
        return consumer

    def read_until(self, consumer: AssignedConsumer, done: Callable[[], bool]) -> list[MessageBatch]:
        """Read until a condition holds, and handle errors and rebalances as the processors do."""
        batches: list[MessageBatch] = []

        def read() -> bool:
            try:
                portion = consumer.read(consumer.membership())
            except Rebalanced:
                consumer.restart()
                batches.clear()
                return done()
            batches.extend(batch for _, batch in portion.messages)
            for error, partition in portion.errors:
                consumer.handle_error(error, partition)
            return done()

        wait_for(read, "the end of the topic")
        return batches

    def positions(self, consumer: AssignedConsumer) -> list[int]:
        return [consumer.positions.get((self.topic, partition), -1) for partition in (0, 1)]

    def close(self, consumer: AssignedConsumer) -> None:
        self.consumers.remove(consumer)
        consumer.close()


@pytest.fixture(params=[False, True], ids=["python", "native"])
def scene(broker: LocalKafka, topic_prefix: str, request: pytest.FixtureRequest) -> Iterator[Scene]:
    if request.param and native_reader.VERSION is None:
        pytest.skip("barograph-native is not installed")
    assert not request.param or plugin_path() is not None
    scene = Scene(broker.bootstrap_servers, topic_prefix, native=request.param)
    yield scene
    for consumer in scene.consumers:
        consumer.close()


def content(batches: list[MessageBatch], partition: int) -> list[tuple[int, bytes | None, Any]]:
    return [
        (offset, value, batch.headers.get(i))
        for batch in batches
        for i, (of, offset, value) in enumerate(
            zip(batch.partition.tolist(), batch.offset.tolist(), batch.values, strict=True)
        )
        if of == partition
    ]


def test_values_headers_times_and_ends_are_read(scene: Scene) -> None:
    scene.produce(0, VALUES, timestamp=1_700_000_000_123)
    scene.produce(1, [b"h"], headers=HEADERS)
    scene.produce(1, [b"aborted"], commit=False)
    scene.produce(0, [b"aborted"], commit=False)
    consumer = scene.join("one")
    # Each transaction ends with a marker, which has an offset and is no message.
    ends = [len(VALUES) + 3, 4]
    batches = scene.read_until(consumer, lambda: scene.positions(consumer) == ends)
    assert content(batches, 0) == [(i, value, None) for i, value in enumerate(VALUES)]
    assert content(batches, 1) == [(0, b"h", HEADERS)]
    assert {int(at) for batch in batches for at in batch.received_ms[batch.partition == 0]} == {1_700_000_000_123}
    assert all(batch.select(slice(1)).values == [batch.values[0]] for batch in batches)
    # What was read and not committed is read again, after a pause too.
    consumer.restart()
    consumer.pause([(scene.topic, 0)])
    again = scene.read_until(consumer, lambda: scene.positions(consumer)[1] == ends[1])
    assert (content(again, 0), content(again, 1)) == ([], [(0, b"h", HEADERS)])
    consumer.pause(())
    again = scene.read_until(consumer, lambda: scene.positions(consumer) == ends)
    assert content(again, 0) == content(batches, 0)


def test_a_fetch_ends_at_a_number_of_messages_or_bytes(scene: Scene) -> None:
    values: list[bytes | None] = [b"%d" % i * 10_000 for i in range(1_200)]
    scene.produce(0, values)
    consumer = scene.join("one")
    batches = scene.read_until(consumer, lambda: scene.positions(consumer)[0] == len(values) + 1)
    assert content(batches, 0) == [(i, value, None) for i, value in enumerate(values)]
    # By barograph-native 500 of them, which it takes at once, have more than its 8 MiB.
    assert max(len(batch.values) for batch in batches) <= (500 if scene.native else 1_000)


def test_partitions_move_between_members(scene: Scene) -> None:
    for partition in (0, 1):
        scene.produce(partition, [b"first"])
    one = scene.join("one")
    scene.read_until(one, lambda: scene.positions(one) == [2, 2])
    two = scene.join("two")

    def have_one_each() -> bool:
        for consumer in (one, two):
            scene.read_until(consumer, lambda: True)
        return len(one.positions) == len(two.positions) == 1

    wait_for(have_one_each, "a partition for each member")
    for partition in (0, 1):
        scene.produce(partition, [b"second"])
    for consumer in (one, two):
        [(_, partition)] = consumer.positions
        batches = scene.read_until(consumer, lambda: 4 in consumer.positions.values())  # noqa: B023
        assert (2, b"second", None) in content(batches, partition)
    scene.close(two)
    batches = scene.read_until(one, lambda: scene.positions(one) == [4, 4])
    assert {partition: content(batches, partition)[-1][1] for partition in (0, 1)} == {0: b"second", 1: b"second"}


def test_offsets_that_retention_deleted_are_skipped_and_counted(scene: Scene) -> None:
    scene.produce(0, [b"%d" % i for i in range(10)])
    consumer = scene.join("one")
    scene.read_until(consumer, lambda: scene.positions(consumer) == [11, 0])
    consumer.kafka_consumer.commit(offsets=[TopicPartition(scene.topic, 0, 2)], asynchronous=False)
    scene.admin.delete_records([TopicPartition(scene.topic, 0, 6)])[TopicPartition(scene.topic, 0)].result(30)
    consumer.restart()
    batches = scene.read_until(consumer, lambda: scene.positions(consumer) == [11, 0])
    assert content(batches, 0) == [(i, b"%d" % i, None) for i in range(6, 10)]
    assert scene.report.values(metrics.OFFSETS_LOST) == {("predictions",): 4}


def test_a_fetch_from_a_closed_consumer_is_an_error(scene: Scene) -> None:
    consumer = scene.join("one")
    scene.close(consumer)
    with pytest.raises(RuntimeError, match="closed"):
        consumer._fetch(0.0)


def test_a_consumer_without_the_plugin_cannot_be_fetched_from() -> None:
    native = pytest.importorskip("barograph_native", reason="barograph-native is not installed")
    config = {"bootstrap.servers": "127.0.0.1:1", "group.id": "g", "log_level": 0}
    for further in ({}, {"plugin.library.paths": plugin_path()}):
        consumer = Consumer(config | further)
        if further:
            consumer.close()
        with pytest.raises(RuntimeError, match="has made no consumer with this library"):
            native.Fetcher()
        del consumer
