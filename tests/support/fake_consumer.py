"""A confluent-kafka consumer and its messages, without a broker."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from barograph_server.streams.broker.assigned_consumer import AssignedConsumer
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.warehouse.client import Address

TOPIC = "predictions"


class FakeMessage(Message):
    def __init__(
        self,
        offset_: int,
        value_: bytes | None = b"x",
        partition_: int = 0,
        topic_: str = TOPIC,
        error_: KafkaError | None = None,
        headers_: list[tuple[str, bytes]] | None = None,
        key_: bytes | None = None,
    ) -> None:
        content: dict[str, Any] = {"value": value_, "key": key_, "headers": headers_, "error": error_}
        super().__init__(topic=topic_, partition=partition_, offset=offset_, timestamp=(1, 1_000_000), **content)


def failure(code: int, partition: int = 0, offset: int = -1, text: str = "") -> FakeMessage:
    return FakeMessage(offset, None, partition, error_=KafkaError(code, text))


@dataclass
class FakeConsumer:
    fetches: list[list[FakeMessage]] = field(default_factory=list)
    committed_offsets: dict[tuple[str, int], int] = field(default_factory=dict)
    starts: dict[tuple[str, int], int] = field(default_factory=dict)
    """The first offset of each partition that the broker still has."""
    ends: dict[int, int] = field(default_factory=dict)
    is_down: bool = False
    assignments: list[dict[tuple[str, int], int]] = field(default_factory=list)
    paused: set[tuple[str, int]] = field(default_factory=set)
    during_fetch: Callable[[], None] = lambda: None
    """Called while messages are fetched, when the group's callbacks run."""
    on_assign: Any = None
    on_revoke: Any = None
    closed: bool = False

    def subscribe(self, topics: list[str], on_assign: Any, on_revoke: Any) -> None:
        self.on_assign, self.on_revoke = on_assign, on_revoke

    def consumer_group_metadata(self) -> str:
        return "metadata"

    def consume(self, limit: int, timeout_s: float) -> list[Any]:
        fetched = self.fetches.pop(0) if self.fetches else []
        self.during_fetch()
        return fetched

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        return [
            TopicPartition(tp.topic, tp.partition, self.committed_offsets.get((tp.topic, tp.partition), 0))
            for tp in partitions
        ]

    def get_watermark_offsets(self, tp: TopicPartition, timeout: float, cached: bool) -> tuple[int, int]:
        assert not cached, "a cached end may be outdated"
        if self.is_down:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return self.starts.get((tp.topic, tp.partition), 0), self.ends.get(tp.partition, 0)

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.assignments.append({(tp.topic, tp.partition): tp.offset for tp in partitions})

    def unassign(self) -> None:
        pass

    def pause(self, partitions: list[TopicPartition]) -> None:
        self.paused |= {(tp.topic, tp.partition) for tp in partitions}

    def resume(self, partitions: list[TopicPartition]) -> None:
        self.paused -= {(tp.topic, tp.partition) for tp in partitions}

    def close(self) -> None:
        self.closed = True


def fake_settings(**changes: Any) -> ProcessorSettings:
    return ProcessorSettings(
        instance="s",
        bootstrap_servers="127.0.0.1:1",
        warehouse=Address("h", 1, "d"),
        kafka={"log_level": "0"},
        **changes,
    )


def assigned_consumer(
    fake: FakeConsumer,
    positions: dict[tuple[str, int], int],
    report: Report | None = None,
    topics: tuple[str, ...] = (TOPIC,),
    poll_messages: int = 10,
) -> AssignedConsumer:
    """An AssignedConsumer of a fake one that has these partitions at these committed offsets."""
    consumer = AssignedConsumer(
        fake_settings(),
        "sketcher",
        {topic: topic for topic in topics},
        report or Report("sketcher", "s"),
        poll_messages=poll_messages,
        consumer=fake,
    )
    consumer.subscribe()
    fake.committed_offsets = dict(positions)
    fake.on_assign(fake, [TopicPartition(*partition) for partition in positions])
    return consumer


class FakeStop(threading.Event):
    """A stop event whose waits advance a manual clock and take no time."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.waits_s: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits_s.append(timeout)
        self.now_s += timeout
        return self.is_set()
