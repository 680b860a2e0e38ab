from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from barograph import topic_reader
from barograph.topic_reader import TopicReader
from confluent_kafka import KafkaError, KafkaException

from tests.support.fake_consumer import FakeMessage, failure
from tests.support.pipeline import wait_for

WAIT_S = 30.0


class ScriptedConsumer:
    """Returns what a test appends; `end` is the end of the partition, None while Kafka does not answer."""

    def __init__(self) -> None:
        self.script: list[FakeMessage] = []
        self.end: int | None = 0
        self.opened: list[dict[str, Any]] = []

    def open(self, settings: dict[str, Any]) -> ScriptedConsumer:
        self.opened.append(settings)
        return self

    def list_topics(self, topic: str, timeout: float) -> Any:
        if self.end is None:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return SimpleNamespace(topics={topic: SimpleNamespace(error=None, partitions={0: None})})

    def get_watermark_offsets(self, _partition: Any, timeout: float) -> tuple[int, int]:
        if self.end is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return 0, self.end

    def assign(self, partitions: list[Any]) -> None:
        assert [each.partition for each in partitions] == [0]

    def poll(self, _timeout_s: float) -> FakeMessage | None:
        return self.script.pop(0) if self.script else None

    def close(self) -> None:
        pass


class Following:
    def __init__(self) -> None:
        self.consumer = ScriptedConsumer()
        self.received: list[tuple[int, bool]] = []
        self.current = threading.Event()
        self.ticked = threading.Event()
        self.reader = TopicReader(
            {"bootstrap.servers": "kafka:9092"},
            "t",
            "barograph-test",
            lambda message, is_new: self.received.append((message.offset(), is_new)),
            self.ticked.set,
            purpose="records",
            log=logging.getLogger("barograph.test"),
            on_current=self.current.set,
            factory=self.consumer.open,
        )

    def is_current(self) -> bool:
        """Whether the reader reports from now on that it is current: it has had three probes."""
        self.current.clear()
        for _ in range(3):
            self.ticked.clear()
            assert self.ticked.wait(WAIT_S)
        return self.current.is_set()


@pytest.fixture
def following(monkeypatch: pytest.MonkeyPatch) -> Iterator[Following]:
    for name, seconds in (("PROBE_EVERY_S", 0.0), ("POLL_S", 0.001), ("FIRST_RETRY_S", 0.001)):
        monkeypatch.setattr(topic_reader, name, seconds)
    result = Following()
    yield result
    result.reader.stop(WAIT_S)


def test_it_is_current_while_kafka_answers_and_holds_nothing_else(following: Following) -> None:
    consumer = following.consumer
    consumer.end = 3
    consumer.script += [FakeMessage(0), FakeMessage(1)]
    following.reader.start()
    assert not following.is_current(), "the end has not been reached"
    # Offset 2 is the marker of a transaction, which is never returned.
    consumer.script.append(failure(KafkaError._PARTITION_EOF, offset=3))
    assert following.current.wait(WAIT_S)
    assert following.is_current()
    consumer.end = None
    following.is_current()
    assert not following.is_current(), "Kafka does not answer"
    consumer.end = 5
    following.is_current()
    assert not following.is_current(), "there is something new"
    consumer.script += [FakeMessage(3), failure(KafkaError._PARTITION_EOF, offset=5)]
    assert following.current.wait(WAIT_S)
    assert following.received == [(0, False), (1, False), (3, True)]
    assert len(consumer.opened) == 1


def test_it_starts_over_after_errors_and_other_errors_change_nothing(
    following: Following, caplog: pytest.LogCaptureFixture
) -> None:
    consumer = following.consumer
    consumer.end = None
    with caplog.at_level(logging.WARNING, "barograph.test"):
        following.reader.start()
        assert not following.is_current()
        consumer.end = 0
        consumer.script += [failure(KafkaError._ALL_BROKERS_DOWN, offset=-1), FakeMessage(0)]
        consumer.script.append(failure(KafkaError._PARTITION_EOF, offset=1))
        assert following.current.wait(WAIT_S)
        n_opened = len(consumer.opened)
        consumer.script.append(failure(KafkaError.UNKNOWN_TOPIC_OR_PART, offset=-1))
        consumer.script += [FakeMessage(0), failure(KafkaError._PARTITION_EOF, offset=1)]
        wait_for(lambda: len(following.received) == 2, "the second reading", WAIT_S)
    assert len(consumer.opened) == n_opened + 1
    assert following.received == [(0, True), (0, True)]
    assert [text.startswith("records cannot be read from topic t: ") for text in caplog.messages] == [True, True]
    assert consumer.opened[-1]["auto.offset.reset"] == "error"
