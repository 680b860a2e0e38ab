"""Kafka producers for tests of the publisher: one that a test scripts, and one that only records messages."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

from barograph import Contract, Publisher
from barograph.events import HEARTBEAT_MARK, MARK_HEADER
from barograph.publisher.outbox import Outbox, Stats
from confluent_kafka import KafkaError


class ProducedMessage(NamedTuple):
    topic: str
    value: bytes
    options: dict[str, Any]


class BrokerScript:
    def __init__(self) -> None:
        self.queue_size = 10**9
        self.produce_error: Exception | None = None
        self.delivery_error: KafkaError | None = None
        self.factory_errors: list[Exception] = []
        """Raised by the next attempts to create a producer, one after another."""
        self.can_flush = True
        self.n_in_flight, self.answers_after_purge = 0, False
        """Whether the broker is slow, not down: it answers what was in flight at a purge, and the farewell."""
        self.delivered: list[ProducedMessage] = []
        self.on_poll: Callable[[], object] = lambda: None
        self.topic_answers: list[KafkaError | int] = []
        """Answers to metadata requests, one after another: an error or a number of partitions."""


class ScriptedProducer:
    def __init__(self, settings: dict[str, Any], script: BrokerScript) -> None:
        self.settings = settings
        self.script = script
        self.queue: list[ProducedMessage] = []
        self.is_fatal = False

    def fail_fatally(self) -> None:
        self.is_fatal = True
        self.settings["error_cb"](KafkaError(KafkaError._FATAL, "out of order", True))

    def list_topics(self, topic: str, timeout: float) -> SimpleNamespace:
        answer = self.script.topic_answers.pop(0)
        error, n = (answer, 0) if isinstance(answer, KafkaError) else (None, answer)
        return SimpleNamespace(topics={topic: SimpleNamespace(error=error, partitions=dict.fromkeys(range(n)))})

    def produce(self, topic: str, value: bytes, **options: Any) -> None:
        if self.is_fatal:
            raise RuntimeError("the producer has a fatal error")
        if self.script.produce_error is not None:
            raise self.script.produce_error
        if len(self.queue) >= self.script.queue_size:
            raise BufferError("Local: Queue full")
        self.queue.append(ProducedMessage(topic, value, options))

    def poll(self, timeout_s: float) -> int:
        self.script.on_poll()
        return 0

    def flush(self, timeout_s: float) -> int:
        if not self.script.can_flush or self.is_fatal:
            return len(self.queue)
        while self.queue:
            message = self.queue.pop(0)
            self.script.delivered.append(message)
            if self.script.delivery_error is not None or not self.settings.get("delivery.report.only.error"):
                self._report(message, self.script.delivery_error)
        return 0

    def purge(self, in_flight: bool = True) -> None:
        for message in self.queue[self.script.n_in_flight :]:
            self._report(message, KafkaError(KafkaError._PURGE_QUEUE))
        del self.queue[self.script.n_in_flight :]
        self.script.can_flush |= self.script.answers_after_purge
        if in_flight:
            for message in self.queue:
                self._report(message, KafkaError(KafkaError._PURGE_INFLIGHT))
            self.queue.clear()

    def _report(self, message: ProducedMessage, error: KafkaError | None) -> None:
        offset = sum(each.topic == message.topic for each in self.script.delivered) - 1
        report = SimpleNamespace(
            topic=lambda: message.topic,
            partition=lambda: message.options.get("partition", 0),
            offset=lambda: offset if error is None else -1001,
        )
        message.options.get("on_delivery", self.settings["on_delivery"])(error, report)

    def __len__(self) -> int:
        return len(self.queue)


class ScriptedPublisher:
    """A publisher on scripted producers; tests drive its clock, and `outbox.maintain()` for its background work."""

    def __init__(self, contract: Contract, *, wait: bool = False, **options: Any) -> None:
        self.now_s = 1_000.0
        self.now_ns = 1_700_000_000_123_999_999
        self.producers: list[ScriptedProducer] = []
        self.script = BrokerScript()
        self.outbox = Outbox(
            {"bootstrap.servers": "nowhere:1"},
            wait=wait,
            factory=self._create_producer,
            poll_interval_s=3600.0,
            clock=lambda: self.now_s,
            uniform=lambda low, high: high,
        )
        self.publisher = Publisher(
            contract,
            "3",
            self.outbox,
            topic_prefix="p-",
            wall_clock_ns=lambda: self.now_ns,
            timer_ns=lambda: int(self.now_s * 1e9),
            **options,
        )

    def _create_producer(self, settings: dict[str, Any]) -> ScriptedProducer:
        if self.script.factory_errors:
            raise self.script.factory_errors.pop(0)
        self.producers.append(ScriptedProducer(settings, self.script))
        return self.producers[-1]

    @property
    def kafka(self) -> ScriptedProducer:
        return self.producers[-1]

    @property
    def stats(self) -> Stats:
        return self.publisher.stats

    def heartbeats(self) -> list[dict[str, Any]]:
        for producer in self.producers:
            if producer.settings.get("linger.ms") == 0:
                producer.flush(0)
        mark = [(MARK_HEADER, HEARTBEAT_MARK)]
        return [json.loads(each.value) for each in self.script.delivered if each.options.get("headers") == mark]

    def flush_events(self) -> list[dict[str, Any]]:
        self.publisher.flush()
        return [json.loads(message.value) for message in self.script.delivered]


class RecordingProducer:
    def __init__(self) -> None:
        self.messages: list[ProducedMessage] = []

    def outbox(self) -> Outbox:
        return Outbox({}, wait=False, factory=lambda _settings: self)

    @property
    def values(self) -> list[bytes]:
        return [message.value for message in self.messages]

    def produce(self, topic: str, value: bytes, **options: Any) -> None:
        self.messages.append(ProducedMessage(topic, value, options))

    def poll(self, _timeout_s: float) -> int:
        return 0

    def flush(self, _timeout_s: float) -> int:
        return 0

    def purge(self, in_flight: bool = True) -> None:
        """Nothing is queued."""

    def __len__(self) -> int:
        return 0
