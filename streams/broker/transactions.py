"""Messages and input offsets that are committed in one Kafka transaction, or not at all."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from streams.broker.acl import DENIALS, Who, denied
from streams.broker.client import TIMEOUT_S, explain, transactional_producer
from streams.runtime.lifecycle import EXIT_STUCK
from streams.runtime.metrics_report import Report
from streams.settings import ProcessorSettings
from warehouse import metrics

COMMIT_ATTEMPTS = 5
STUCK_S = TIMEOUT_S + 10.0
"""How long sending offsets may take; it is told to give up after `TIMEOUT_S`."""

Message = tuple[str, dict[str, Any]]
"""A topic, and keyword arguments of `Producer.produce`."""


def send(producer: Producer, topic: str, message: dict[str, Any]) -> None:
    """Hand a message to a producer, waiting while its queue is full."""
    while True:
        try:
            producer.produce(topic, **message)
            return
        except BufferError:
            producer.poll(0.1)


def end_transaction(producer: Producer, on_retry: Callable[[], None] = lambda: None) -> None:
    """Commit a transaction, trying again what can be tried again; `on_retry` is told of each time.

    Raises:
        KafkaException: it is not committed.
    """
    for attempt in range(COMMIT_ATTEMPTS):
        try:
            producer.commit_transaction(TIMEOUT_S)
            return
        except KafkaException as error:
            if not error.args[0].retriable() or attempt == COMMIT_ATTEMPTS - 1:
                raise
            on_retry()


class TransactionDropped(Exception):
    """Nothing of the transaction was committed: what it covered is to be read again."""


class Transactions:
    """The transactions of one processor under its stable name."""

    def __init__(
        self,
        settings: ProcessorSettings,
        name: Who,
        report: Report,
        *,
        stuck_s: float | None = None,
        end: Callable[[int], Any] = os._exit,
    ) -> None:
        """Make the producer.

        Args:
            settings: of the processor.
            name: which of them it is.
            report: takes retries.
            stuck_s: after how long a call that does not come back ends the process: no sooner than the broker gives
                up the transaction, where that is sooner than `STUCK_S`.
            end: ends the process.
        """
        self._settings, self._name = settings, name
        self._stuck_s = min(STUCK_S, settings.transaction_timeout_s) if stuck_s is None else stuck_s
        self._exit = end
        self._failed: KafkaError | None = None
        self._producer = transactional_producer(settings, name, self._on_failure)
        self._report = report

    def start(self) -> None:
        """Fence the predecessor of this instance, and abort what it left open.

        Raises:
            ProcessorError: the broker does not let it.
        """
        try:
            self._producer.init_transactions(TIMEOUT_S * 2)
        except KafkaException as error:
            raise denied(self._settings, self._name, error, "start transactions") from error

    def commit(self, messages: Iterable[Message], offsets: list[TopicPartition], metadata: Any) -> None:
        """Write messages and the consumer group's offsets together.

        Args:
            messages: written in their order.
            offsets: of all partitions of the consumer, moved or not: that is what fences a stale one.
            metadata: of the group, as it was before the first of what the offsets cover was read.

        Raises:
            TransactionDropped: nothing was committed.
            ProcessorError: another processor took this one's name, a right is missing, or the transaction cannot be
                ended.
        """
        self._failed = None
        began = time.monotonic()
        try:
            self._producer.begin_transaction()
            for topic, message in messages:
                send(self._producer, topic, message)
            with self._bounded():
                self._producer.send_offsets_to_transaction(offsets, metadata, TIMEOUT_S)
            end_transaction(self._producer, lambda: self._report.count_retry("kafka"))
        except KafkaException as error:
            self._abort(error)
            raise TransactionDropped(error.args[0].str()) from error
        self._report.observe(metrics.TRANSACTION, time.monotonic() - began)

    @contextmanager
    def _bounded(self) -> Iterator[None]:
        """End the process where a call does not come back.

        librdkafka 2.16 forgets the time-out of this one when the group's coordinator goes away (its issues 5456 and
        5511), and neither its consumer nor a signal gets a word in meanwhile.
        """
        watch = threading.Timer(self._stuck_s, self._give_up)
        watch.daemon = True
        watch.start()
        try:
            yield
        finally:
            watch.cancel()

    def _give_up(self) -> None:
        structlog.get_logger().error(
            "stuck",
            processor=self._name,
            instance=self._settings.instance,
            reason=f"Offsets could not be sent to Kafka within {self._stuck_s:.0f} s. Start it again: nothing of the "
            "transaction is committed, and what it covered is read again.",
        )
        self._exit(EXIT_STUCK)

    def _on_failure(self, error: KafkaError, _message: Any) -> None:
        self._failed = self._failed or error

    def _abort(self, error: KafkaException) -> None:
        if error.args[0].fatal():
            raise explain(error, "commit a transaction") from error
        self._report.count_retry("kafka")
        try:
            self._producer.abort_transaction(TIMEOUT_S)
        except KafkaException as failed:
            raise explain(failed, "abort a transaction") from failed
        cause = self._failed or error.args[0]
        if cause.code() in DENIALS:
            # Nobody would ever commit it: reading the same again and again is no way on.
            raise denied(self._settings, self._name, KafkaException(cause), "commit a transaction") from error
