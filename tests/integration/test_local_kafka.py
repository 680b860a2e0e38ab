"""The broker as its clients see it: transactions, groups, crashes."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from barograph_server.local.child_process import LocalStackError, started_at, wait_until
from barograph_server.local.kafka import LocalKafka, broker_answers

# Enough for a group to settle on a machine with other work.
PATIENCE_S = 30


def make_topics(servers: str, *topics: str, partitions: int = 3) -> None:
    admin = AdminClient({"bootstrap.servers": servers})
    for future in admin.create_topics([NewTopic(topic, partitions) for topic in topics]).values():
        future.result()


def produce(servers: str, topic: str, values: range) -> None:
    producer = Producer({"bootstrap.servers": servers})
    for value in values:
        producer.produce(topic, str(value))
    assert producer.flush(PATIENCE_S) == 0


def make_consumer(servers: str, group: str, topic: str) -> Consumer:
    reads = {"auto.offset.reset": "earliest", "enable.auto.commit": False, "isolation.level": "read_committed"}
    # The eager protocol, and a dead member noticed within a second.
    joins = {"partition.assignment.strategy": "roundrobin", "session.timeout.ms": 1000, "heartbeat.interval.ms": 300}
    consumer = Consumer({"bootstrap.servers": servers, "group.id": group, **reads, **joins})
    consumer.subscribe([topic])
    return consumer


def read(consumer: Consumer, count: int) -> list[Any]:
    messages: list[Any] = []
    deadline = time.monotonic() + PATIENCE_S
    while len(messages) < count and time.monotonic() < deadline:
        messages += [m for m in consumer.consume(count - len(messages), 0.2) if m.error() is None]
    return messages


def read_all(servers: str, group: str, topic: str, count: int) -> list[int]:
    """All committed values of a topic; one more than `count` is waited for only as long as a poll takes."""
    consumer = make_consumer(servers, group, topic)
    try:
        values = [int(message.value() or b"") for message in read(consumer, count)]
        return sorted(values + [int(message.value() or b"") for message in consumer.consume(10, 1.0)])
    finally:
        consumer.close()


def copy_in_transactions(
    servers: str, prefix: str, count: int, *, fail_after: int | None = None, batch: int = 100
) -> None:
    """Copy `in` to `out`, offsets in the transactions, until `count` are done or one is aborted."""
    producer = Producer({"bootstrap.servers": servers, "transactional.id": f"{prefix}copier"})
    producer.init_transactions(PATIENCE_S)
    consumer = make_consumer(servers, f"{prefix}copiers", f"{prefix}in")
    done = 0
    while done < count:
        messages = read(consumer, min(batch, count - done))
        assert messages
        producer.begin_transaction()
        for message in messages:
            producer.produce(f"{prefix}out", message.value())
        offsets = consumer.position(consumer.assignment())
        producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), PATIENCE_S)
        if fail_after is not None and done >= fail_after:
            producer.abort_transaction(PATIENCE_S)
            break
        producer.commit_transaction(PATIENCE_S)
        done += len(messages)
    consumer.close()


@pytest.mark.long
def test_transactions_carry_offsets_exactly_once(broker: LocalKafka, topic_prefix: str) -> None:
    servers = broker.bootstrap_servers
    make_topics(servers, f"{topic_prefix}in", f"{topic_prefix}out")
    produce(servers, f"{topic_prefix}in", range(1000))
    copy_in_transactions(servers, topic_prefix, 1000, fail_after=300)
    copy_in_transactions(servers, topic_prefix, 700)
    assert read_all(servers, f"{topic_prefix}check", f"{topic_prefix}out", 1000) == list(range(1000))


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalKafka]:
    """A broker that the test may hurt, in a folder whose name the locale cannot write."""
    monkeypatch.setenv("LC_ALL", "C")
    kafka = LocalKafka(tmp_path / "größe 模型", port=0, log_dir=tmp_path / "logs")
    yield kafka
    kafka.kill()


@pytest.mark.long
@pytest.mark.broker
def test_data_outlive_a_stop_and_a_kill(own: LocalKafka) -> None:
    own.start()
    first_pid = own.pid
    make_topics(own.bootstrap_servers, "in", "out")
    produce(own.bootstrap_servers, "in", range(200))
    copy_in_transactions(own.bootstrap_servers, "", 100)
    own.stop()
    assert first_pid is not None
    assert started_at(first_pid) is None

    own.start()
    assert own.pid != first_pid
    assert broker_answers(own.bootstrap_servers)
    copy_in_transactions(own.bootstrap_servers, "", 50)
    own.kill()
    assert not own.is_running
    assert not broker_answers(own.bootstrap_servers)

    own.start()
    copy_in_transactions(own.bootstrap_servers, "", 50)
    assert read_all(own.bootstrap_servers, "check", "out", 200) == list(range(200))


@pytest.mark.long
@pytest.mark.broker
def test_a_transaction_committed_at_the_moment_of_a_crash_completes(own: LocalKafka) -> None:
    own.start()
    make_topics(own.bootstrap_servers, "in")
    # The markers of so many partitions are still being written when the commit has returned.
    make_topics(own.bootstrap_servers, "out", partitions=200)
    produce(own.bootstrap_servers, "in", range(50))
    producer = Producer({"bootstrap.servers": own.bootstrap_servers, "transactional.id": "crash"})
    producer.init_transactions(PATIENCE_S)
    consumer = make_consumer(own.bootstrap_servers, "copiers", "in")
    assert len(read(consumer, 50)) == 50
    offsets = consumer.position(consumer.assignment())
    producer.begin_transaction()
    for partition in range(200):
        producer.produce("out", str(partition), partition=partition)
    producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), PATIENCE_S)
    producer.commit_transaction(PATIENCE_S)
    own.kill()
    consumer.close()

    own.start()
    assert read_all(own.bootstrap_servers, "check", "out", 200) == list(range(200))
    consumer = make_consumer(own.bootstrap_servers, "copiers", "in")
    # A consumer fetches its group's offsets before it fetches: they must not hang, and must be the new ones.
    assert wait_until(lambda: consumer.poll(0.1) is None and len(consumer.assignment()) == 3, PATIENCE_S)
    produce(own.bootstrap_servers, "in", range(50, 60))
    assert sorted(int(message.value() or b"") for message in read(consumer, 10)) == list(range(50, 60))
    consumer.close()


@pytest.mark.broker
def test_a_setting_that_the_broker_rejects_is_reported(tmp_path: Path) -> None:
    kafka = LocalKafka(tmp_path, port=0, properties={"num.network.threads": "many"})
    with pytest.raises(LocalStackError, match=r"could not be formatted:\n(.*\n)*.*num\.network\.threads"):
        kafka.start()
    assert not kafka.is_running
    with pytest.raises(KafkaException):
        AdminClient({"bootstrap.servers": "127.0.0.1:9", "log_level": 0}).list_topics(timeout=0.1)
