"""Follows a compacted topic on a thread of its own."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from barograph.publisher import lifetime
from barograph.publisher.kafka_errors import hide_config
from barograph.publisher.retry_schedule import RetrySchedule

POLL_S = 0.2
"""Longest time between two calls of `on_tick` while Kafka answers."""
CONNECT_S = 5.0
PROBE_EVERY_S, PROBE_S = 5.0, 1.0
"""How often the reader compares its position with the end of the topic, and how long it waits for the answer."""
FIRST_RETRY_S, MAX_RETRY_S = 0.5, 4.0
AHEAD_MS = 86_400_000
"""How far the clock of a writer may be ahead of Kafka's."""
RECONNECT_MS = 2_000
"""Longest pause of librdkafka between two attempts to connect to a broker. Its default is ten seconds, for which a
change would stay unseen after an outage."""


def check_sequence(sequence: int, message: Any) -> None:
    """Check the number of a record, which begins as a time: a forged one could hide all later records.

    Args:
        sequence: The number, Unix ms.
        message: The message of the record; the broker sets its timestamp.

    Raises:
        ValueError: It is more than a day later than Kafka received the record.
    """
    received_ms = message.timestamp()[1]
    if sequence > received_ms + AHEAD_MS:
        raise ValueError(
            f"its sequence {sequence} is more than a day later than Kafka received it: {received_ms} (Unix ms)"
        )


def _make_consumer(settings: dict[str, Any]) -> Any:
    from confluent_kafka import Consumer

    return Consumer(settings)


class TopicReader:
    """Reads a topic from its beginning and then follows it. No error of Kafka leaves the thread."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        topic: str,
        name: str,
        on_message: Callable[[Any, bool], None],
        on_tick: Callable[[], None],
        *,
        purpose: str,
        log: logging.Logger,
        on_current: Callable[[], None] | None = None,
        factory: Callable[[dict[str, Any]], Any] = _make_consumer,
    ) -> None:
        """Prepare the reader; `start` starts it.

        Args:
            settings: librdkafka settings with `bootstrap.servers`.
            name: Name of the reader: of its thread, its client and its group. librdkafka requires a group name; the
                reader joins no group and commits nothing.
            on_message: Called with each message, and whether it was written after the reader had caught up.
            on_tick: Called at least every `POLL_S` seconds while Kafka answers, and every `CONNECT_S` while it does
                not.
            purpose: What is read, for the log: "the state of model m".
            on_current: Called when the reader has read all that Kafka holds, and again every `PROBE_EVERY_S` seconds
                while that is so. Without it, the reader does not find out.
        """
        self._settings = {
            "group.id": f"{name}-reader",
            "client.id": f"{name}-reader",
            "enable.auto.commit": False,
            "log_level": 0,
            "reconnect.backoff.max.ms": RECONNECT_MS,
            **settings,
            "enable.partition.eof": on_current is not None,
            # The offset is gone if the topic was deleted and created again: start over, and with its new ends.
            "auto.offset.reset": "error",
        }
        self._topic, self._name, self._purpose, self._log = topic, name, purpose, log
        self._on_message, self._on_tick, self._on_current = on_message, on_tick, on_current
        self._factory = factory
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._consumer: Any = None
        self._problem = ""

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, args=(self._stop,), name=self._name, daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
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
        reached: dict[int, int] = {}
        probe_at_s = float("inf")
        while not stop.is_set():
            message = consumer.poll(POLL_S)
            if message is not None:
                error = message.error()
                if error is None:
                    self._on_message(message, message.offset() >= ends.get(message.partition(), 0))
                elif error.code() == KafkaError._PARTITION_EOF:
                    reached[message.partition()] = message.offset()
                    if len(reached) == len(partitions):
                        self._report_current()
                        probe_at_s = time.monotonic() + PROBE_EVERY_S
                elif error.fatal() or error.code() in topic_gone:
                    raise KafkaException(error)
            elif time.monotonic() >= probe_at_s:
                if self._is_at_end(consumer, partitions, reached):
                    self._report_current()
                probe_at_s = time.monotonic() + PROBE_EVERY_S
            self._on_tick()

    def _is_at_end(self, consumer: Any, partitions: list[Any], reached: Mapping[int, int]) -> bool:
        """Return whether Kafka answers and holds nothing beyond the ends that were reached."""
        from confluent_kafka import KafkaException

        try:
            ends = {each.partition: consumer.get_watermark_offsets(each, timeout=PROBE_S)[1] for each in partitions}
        except KafkaException:
            return False
        return all(end <= reached[partition] for partition, end in ends.items())

    def _report_current(self) -> None:
        if self._on_current is not None:
            self._on_current()

    def _close_consumer(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with contextlib.suppress(Exception):
                consumer.close()

    def _report(self, error: Exception) -> None:
        problem = hide_config(str(error))
        if problem != self._problem:
            self._problem = problem
            self._log.warning("%s cannot be read from topic %s: %s", self._purpose, self._topic, problem)
