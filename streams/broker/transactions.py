"""Kafka transactions: messages and input offsets are committed together, or not at all."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from barograph_server.streams.broker.acl import DENIALS, KafkaRole, denied
from barograph_server.streams.broker.client import TIMEOUT_S, explain, transactional_producer
from barograph_server.streams.runtime.lifecycle import EXIT_STUCK
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.warehouse.operations import metrics

COMMIT_ATTEMPTS = 5
"""How often a commit is attempted while its error is retriable."""
STUCK_S = TIMEOUT_S + 10.0
"""How long sending offsets may take before the process ends; the call's own timeout is `TIMEOUT_S`."""

Message = tuple[str, dict[str, Any]]
"""A topic, and keyword arguments of `Producer.produce`."""


def send(producer: Producer, topic: str, message: dict[str, Any]) -> None:
    """Enqueue a message, waiting while the producer's queue is full."""
    while True:
        try:
            producer.produce(topic, **message)
            return
        except BufferError:
            producer.poll(0.1)


def end_transaction(producer: Producer, on_retry: Callable[[], None] = lambda: None) -> None:
    """Commit a transaction, retrying retriable errors."""
    for attempt in range(COMMIT_ATTEMPTS):
        try:
            producer.commit_transaction(TIMEOUT_S)
            return
        except KafkaException as error:
            if not error.args[0].retriable() or attempt == COMMIT_ATTEMPTS - 1:
                raise
            on_retry()


class TransactionDropped(Exception):
    """Nothing of the transaction was committed: its input must be reread."""


class Transactions:
    """The transactions of one processor under its transactional id."""

    def __init__(
        self,
        settings: ProcessorSettings,
        name: KafkaRole,
        report: Report,
        *,
        stuck_s: float | None = None,
        end: Callable[[int], Any] = os._exit,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create the producer.

        Args:
            stuck_s: how long a call may hang before the process ends; None for `STUCK_S`, or the transaction timeout
                if that is shorter.
        """
        self._settings, self._name = settings, name
        self._stuck_s = min(STUCK_S, settings.transaction_timeout_s) if stuck_s is None else stuck_s
        self._exit, self._monotonic = end, monotonic
        self._failed: KafkaError | None = None
        self._producer = transactional_producer(settings, name, self._on_failure)
        self._report = report

    def start(self) -> None:
        """Fence the predecessor of this instance, and abort its open transaction."""
        try:
            self._producer.init_transactions(TIMEOUT_S * 2)
        except KafkaException as error:
            raise denied(self._settings, self._name, error, "start transactions") from error

    def commit(self, messages: Iterable[Message], offsets: list[TopicPartition], metadata: Any) -> None:
        """Write messages and the consumer group's offsets together.

        Args:
            offsets: of all assigned partitions, moved or not: that is what fences a stale consumer.
            metadata: of the group, captured before the first covered message was read.

        Raises:
            TransactionDropped: nothing was committed.
        """
        self._failed = None
        began_s = self._monotonic()
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
        self._report.observe(metrics.TRANSACTION, self._monotonic() - began_s)

    @contextmanager
    def _bounded(self) -> Iterator[None]:
        """End the process if a call hangs.

        librdkafka 2.16 drops the timeout of this call when the group's coordinator goes down (its issues 5456 and
        5511), and the call blocks the consumer and signal handlers.
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
            reason=f"Offsets could not be sent to Kafka within {self._stuck_s:.0f} s. Restart the processor: "
            "nothing of the transaction is committed, and its input is reread.",
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
            # A retry would fail in the same way.
            raise denied(self._settings, self._name, KafkaException(cause), "commit a transaction") from error
