"""Follows the record of one model on a thread of its own."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from barograph.guard.health import ModelHealth, decode_health
from barograph.publisher import lifetime
from barograph.publisher.kafka_errors import hide_config
from barograph.publisher.retry_schedule import RetrySchedule

GROUP = "barograph-guard-reader"
"""librdkafka requires a group name. The reader joins no group and commits nothing."""
POLL_S = 0.2
"""Longest time between two calls of `on_tick`."""
CONNECT_S = 5.0
FIRST_RETRY_S, MAX_RETRY_S = 0.5, 10.0

_LOG = logging.getLogger("barograph.guard")


def _make_consumer(settings: dict[str, Any]) -> Any:
    from confluent_kafka import Consumer

    return Consumer(settings)


class HealthReader:
    """Reads the topic from its beginning and then follows it. No error of Kafka leaves the thread."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        topic: str,
        model: str,
        on_record: Callable[[ModelHealth, bool], None],
        on_tick: Callable[[], None],
        *,
        factory: Callable[[dict[str, Any]], Any] = _make_consumer,
    ) -> None:
        """Prepare the reader; `start` starts it.

        Args:
            settings: librdkafka settings with `bootstrap.servers`.
            topic: The topic.
            model: The model whose records are read.
            on_record: Called with each record, and whether it was written after the reader had caught up.
            on_tick: Called at least every `POLL_S` seconds while Kafka answers or not.
            factory: Creates a consumer.
        """
        self._settings = {
            "group.id": GROUP,
            "client.id": GROUP,
            "enable.auto.commit": False,
            "log_level": 0,
            **settings,
            # The offset is gone if the topic was deleted and created again: start over, and with its new ends.
            "auto.offset.reset": "error",
        }
        self._topic, self._model = topic, model
        self._on_record, self._on_tick, self._factory = on_record, on_tick, factory
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._consumer: Any = None
        self._problem = ""
        self._has_unreadable_record = False

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, args=(self._stop,), name="barograph-guard", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Stop the thread and wait for it."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def restart_after_fork(self) -> None:
        """In a forked child: abandon the parent's consumer and start over."""
        if self._consumer is not None:
            lifetime.leak(self._consumer)
            self._consumer = None
        if self._thread is not None and not self._stop.is_set():
            self._stop = threading.Event()
            self.start()

    def _run(self, stop: threading.Event) -> None:
        retry = RetrySchedule(FIRST_RETRY_S, MAX_RETRY_S)
        while not stop.is_set():
            try:
                if retry.is_due:
                    self._follow(stop, retry)
            except Exception as error:
                retry.record_failure()
                self._report(error)
            finally:
                self._close_consumer()
            self._on_tick()
            stop.wait(POLL_S)

    def _follow(self, stop: threading.Event, retry: RetrySchedule) -> None:
        """Read until `stop`.

        Raises:
            Exception: Kafka does not answer, has no such topic, or reports a fatal error.
        """
        from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

        topic_gone = (
            KafkaError._AUTO_OFFSET_RESET,
            KafkaError._UNKNOWN_TOPIC,
            KafkaError._UNKNOWN_PARTITION,
            KafkaError.UNKNOWN_TOPIC_OR_PART,
        )

        self._consumer = consumer = self._factory(dict(self._settings))
        metadata = consumer.list_topics(self._topic, timeout=CONNECT_S).topics[self._topic]
        if metadata.error is not None:
            raise KafkaException(metadata.error)
        partitions = [TopicPartition(self._topic, number, OFFSET_BEGINNING) for number in metadata.partitions]
        ends = {each.partition: consumer.get_watermark_offsets(each, timeout=CONNECT_S)[1] for each in partitions}
        consumer.assign(partitions)
        retry.reset()
        self._problem = ""
        while not stop.is_set():
            message = consumer.poll(POLL_S)
            if message is not None:
                error = message.error()
                if error is None:
                    self._receive(message, message.offset() >= ends.get(message.partition(), 0))
                elif error.fatal() or error.code() in topic_gone:
                    raise KafkaException(error)
            self._on_tick()

    def _receive(self, message: Any, is_new: bool) -> None:
        key, value = message.key(), message.value()
        if key != self._model.encode() or value is None:
            return
        try:
            record = decode_health(value)
            if record.model != self._model:
                raise ValueError(f"the record is about model {record.model!r}")
        except ValueError as error:
            if not self._has_unreadable_record:
                self._has_unreadable_record = True
                _LOG.warning(
                    "an unreadable record of model %s in topic %s is ignored, as are further ones: offset %s: %s",
                    *(self._model, self._topic, message.offset(), error),
                )
            return
        self._on_record(record, is_new)

    def _close_consumer(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with contextlib.suppress(Exception):
                consumer.close()

    def _report(self, error: Exception) -> None:
        problem = hide_config(str(error))
        if problem != self._problem:
            self._problem = problem
            _LOG.warning("the state of model %s cannot be read from topic %s: %s", self._model, self._topic, problem)
