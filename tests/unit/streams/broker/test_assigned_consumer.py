"""The consume loop: positions, buffered messages, rebalances, lost offsets and commits."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition
from structlog.testing import capture_logs

from barograph_server.streams.broker.assigned_consumer import AssignedConsumer, Rebalanced
from barograph_server.streams.broker.transactions import TransactionDropped
from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.warehouse.operations import metrics
from tests.support.fake_consumer import TOPIC, FakeConsumer, FakeMessage, assigned_consumer, failure

TOPICS = ("labels", "predictions")


def read(consumer: AssignedConsumer) -> list[tuple[int, int]]:
    portion = consumer.read(consumer.membership())
    return [(each.partition(), each.offset()) for _, messages, _ in portion.messages for each in messages]


def test_a_fenced_consumer_stops_its_processor_although_its_partitions_are_revoked() -> None:
    fake = FakeConsumer()
    consumer = assigned_consumer(fake, {(TOPIC, 0): 0})
    text = "Static consumer fenced by other consumer with same group.instance.id"
    fake.fetches = [[failure(KafkaError._FATAL, text=text)]]
    fake.during_fetch = lambda: fake.on_revoke(fake, [])
    with pytest.raises(ProcessorError, match="give each its own --instance"):
        consumer.read(consumer.membership())


def test_a_rebalance_during_a_fetch_voids_the_flush_and_its_messages() -> None:
    fake = FakeConsumer()
    consumer = assigned_consumer(fake, {(TOPIC, 0): 5})
    membership = consumer.membership()
    fake.fetches = [[FakeMessage(5)], []]

    def rebalance() -> None:
        fake.on_revoke(fake, [])
        fake.on_assign(fake, [TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)])

    fake.during_fetch = rebalance
    with pytest.raises(Rebalanced):
        consumer.read(membership)
    fake.during_fetch = lambda: None
    consumer.restart()
    assert consumer.positions == {(TOPIC, 0): 5, (TOPIC, 1): 0}
    assert consumer.buffered == 0, "they are fetched again"
    with pytest.raises(Rebalanced):
        consumer.read(membership)


def test_a_fetch_raises_what_its_rebalance_callback_raised() -> None:
    fake = FakeConsumer()
    consumer = assigned_consumer(fake, {(TOPIC, 0): 5})
    fake.during_fetch = lambda: fake.on_assign(fake, [TopicPartition(TOPIC, 1)])
    fake.committed = fail  # type: ignore[method-assign]
    with pytest.raises(ProcessorError, match="The broker is down"):
        consumer.read(consumer.membership())
    with pytest.raises(ProcessorError, match="The broker is down"):
        consumer.keep_polling(consumer.membership(), 0)


def test_an_error_of_the_last_callback_is_logged() -> None:
    fake = FakeConsumer()
    with capture_logs() as lines:
        consumer = assigned_consumer(fake, {(TOPIC, 0): 5})
        fake.unassign = fail  # type: ignore[method-assign]
        fake.on_revoke(fake, [])
        consumer.close()
    assert fake.closed
    assert [line["error"] for line in lines if line["log_level"] == "warning"] == ["The broker is down."]


def fail(*_: Any, **__: Any) -> Any:
    raise ProcessorError("The broker is down.")


def test_messages_before_the_position_or_of_other_partitions_are_skipped_and_errors_returned() -> None:
    fake = FakeConsumer()
    consumer = assigned_consumer(fake, {("labels", 0): 3, (TOPIC, 0): 5}, topics=TOPICS)
    labels = [FakeMessage(offset, b"x", 0, "labels") for offset in (2, 3, 4)]
    error = KafkaError(KafkaError._TRANSPORT)
    failed = FakeMessage(6, b"x", 0, TOPIC, error)
    fake.fetches = [[*labels, FakeMessage(5), failed, FakeMessage(0, b"x", 1), FakeMessage(7), FakeMessage(5)]]
    portion = consumer.read(consumer.membership())
    assert consumer.positions == {("labels", 0): 5, (TOPIC, 0): 8}
    assert portion.errors == [(error, (TOPIC, 0))]
    offsets = {
        topic: list(zip(indices.partition, indices.offset, strict=True)) for topic, _, indices in portion.messages
    }
    assert offsets == {"labels": [(0, 3), (0, 4)], TOPIC: [(0, 5), (0, 7)]}


def test_the_end_of_a_partition_moves_the_position_and_a_full_fetch_means_more() -> None:
    fake = FakeConsumer()
    consumer = assigned_consumer(fake, {(TOPIC, 0): 5, (TOPIC, 1): 9})
    ends = [failure(KafkaError._PARTITION_EOF, partition, offset=8) for partition in (0, 1, 2)]
    fake.fetches = [[FakeMessage(5), *ends]]
    assert read(consumer) == [(0, 5)]
    assert consumer.positions == {(TOPIC, 0): 8, (TOPIC, 1): 9}, "never back, and no partition of others"
    fake = FakeConsumer()
    consumer = assigned_consumer(fake, {(TOPIC, 0): 0}, poll_messages=2)
    fake.fetches = [[FakeMessage(0), FakeMessage(1)], [FakeMessage(2)]]
    assert (read(consumer), consumer.has_more) == ([(0, 0), (0, 1)], True)
    assert (read(consumer), consumer.has_more) == ([(0, 2)], False)


def test_messages_that_arrive_while_a_member_only_keeps_polling_are_read_later() -> None:
    fake = FakeConsumer()
    consumer = assigned_consumer(fake, {(TOPIC, 0): 0})
    membership = consumer.membership()
    consumer.pause(consumer.positions)
    assert (fake.paused, consumer.assigned_partitions()) == ({(TOPIC, 0)}, [(TOPIC, 0)])
    fake.fetches = [[FakeMessage(0)], [FakeMessage(1)]]
    consumer.keep_polling(membership, 0.1)
    consumer.keep_polling(membership, 0.1)
    assert consumer.buffered == 2
    consumer.pause(())
    assert fake.paused == set()
    assert read(consumer) == [(0, 0), (0, 1)]
    fake.during_fetch = lambda: fake.on_revoke(fake, [])
    with pytest.raises(Rebalanced):
        consumer.keep_polling(membership, 0.1)


def test_an_offset_out_of_range_continues_at_the_start_of_the_log() -> None:
    fake = FakeConsumer(starts={(TOPIC, 0): 40})
    report = Report("sketcher", "s")
    consumer = assigned_consumer(fake, {(TOPIC, 0): 30, (TOPIC, 1): 7}, report)
    consumer.pause([(TOPIC, 1)])
    fake.fetches = [[failure(KafkaError._AUTO_OFFSET_RESET)]]
    [(error, partition)] = consumer.read(consumer.membership()).errors
    consumer.handle_error(error, partition)
    assert consumer.positions == fake.assignments[-1] == {(TOPIC, 0): 40, (TOPIC, 1): 7}
    assert (consumer.paused, fake.paused) == (set(), set()), "librdkafka keeps partitions paused over an assignment"
    assert report.values(metrics.OFFSETS_LOST) == {("predictions",): 10}
    with pytest.raises(Rebalanced):
        consumer.handle_error(error, (TOPIC, 5))


def test_errors_that_pass_are_counted_and_others_stop_the_processor() -> None:
    report = Report("sketcher", "s")
    fake = FakeConsumer(ends={0: 12})
    consumer = assigned_consumer(fake, {(TOPIC, 0): 0}, report)
    consumer.handle_error(KafkaError(KafkaError._TRANSPORT), (TOPIC, 0))
    consumer.handle_error(KafkaError(KafkaError._MAX_POLL_EXCEEDED), (TOPIC, 0))
    assert report.retries == 1
    with pytest.raises(ProcessorError, match="Run `barograph apply`"):
        consumer.handle_error(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART), (TOPIC, 0))
    # A broker that does not answer has no end offset.
    assert consumer.end_offset((TOPIC, 0)) == 12
    fake.is_down = True
    assert consumer.end_offset((TOPIC, 0)) is None
    assert report.retries == 2


class FakeTransactions:
    def __init__(self) -> None:
        self.commits: list[tuple[list[Any], dict[tuple[str, int], int], Any]] = []
        self.drops = False

    def commit(self, messages: Any, offsets: list[TopicPartition], metadata: Any) -> None:
        if self.drops:
            raise TransactionDropped("fenced")
        self.commits.append((list(messages), {(tp.topic, tp.partition): tp.offset for tp in offsets}, metadata))


def test_a_commit_sends_the_offsets_of_all_partitions_also_of_idle_ones() -> None:
    fake, transactions = FakeConsumer(), FakeTransactions()
    consumer = assigned_consumer(fake, {(TOPIC, 0): 5, (TOPIC, 1): 7})
    assert not consumer.has_uncommitted
    membership = consumer.membership()
    fake.fetches = [[FakeMessage(5)]]
    consumer.read(membership)
    assert consumer.has_uncommitted
    transactions.drops = True
    with pytest.raises(Rebalanced):
        consumer.commit(transactions, [], membership)
    assert consumer.has_uncommitted
    transactions.drops = False
    consumer.commit(transactions, [("partials", {"value": b"p"})], membership)
    expected = [("partials", {"value": b"p"})], {(TOPIC, 0): 6, (TOPIC, 1): 7}, "metadata"
    assert transactions.commits == [expected]
    assert not consumer.has_uncommitted
