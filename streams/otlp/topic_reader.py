"""Reads topics that the OpenTelemetry Collector's Kafka exporter writes, and publishes predictions.

Predictions and the offsets of their input are committed in one Kafka transaction. A transaction ends the wait of all
model calls in it, since memory does not survive a restart: nested calls whose spans are in different transactions are
recognized only while this process remembers the first.

The exporter writes one export request per message, without key and headers, so a topic has one encoding.
"""

import threading
import time
from collections.abc import Callable, Collection
from typing import Final

import structlog

from barograph_server.streams.broker.assigned_consumer import AssignedConsumer, Rebalanced
from barograph_server.streams.broker.client import PartitionId
from barograph_server.streams.broker.transactions import Transactions
from barograph_server.streams.events.batch import MessageBatch
from barograph_server.streams.otlp.ingest import Ingest, IngestReport
from barograph_server.streams.otlp.rejection import ExportError, RequestReason
from barograph_server.streams.otlp.settings import OtlpSettings
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.settings import ProcessorSettings

GROUP: Final = "otlp"
POLL_MESSAGES = 50
"""Messages fetched at once; one holds hundreds of spans."""
MAX_EVENTS, MAX_EVENT_BYTES = 10_000, 64 << 20
"""Predictions, and their bytes, after which a transaction is committed."""


class OtlpTopicReader:
    """One member of the consumer group `otlp`."""

    def __init__(
        self,
        settings: ProcessorSettings,
        otlp: OtlpSettings,
        ingest: Ingest,
        report: Report,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create the consumer and the producer; nothing is read before `run`."""
        self._topics, self._ingest, self._report = otlp.encodings(), ingest, report
        self._predictions = settings.topics.predictions
        self._wait_s, self._monotonic = otlp.wait_s, monotonic
        """`otlp.wait_s` is also the longest time between two transactions."""
        self._consumer = AssignedConsumer(
            settings, GROUP, dict.fromkeys(self._topics, "spans"), report, poll_messages=POLL_MESSAGES
        )
        self._transactions = Transactions(settings, GROUP, report)
        self._findings = IngestReport(ingest, report)
        self._log = structlog.get_logger().bind(processor="otlp", instance=settings.instance)

    def run(self, stop: threading.Event) -> None:
        """Transaction after transaction until `stop` is set."""
        self._transactions.start()
        self._consumer.run(self._step, stop)

    def assigned_partitions(self) -> Collection[PartitionId]:
        """Return the partitions that this process must move; callable from any thread."""
        return self._consumer.assigned_partitions()

    def _step(self, stop: threading.Event) -> None:
        try:
            self._read_and_commit(stop)
        except Rebalanced:
            # What was read is read again, here or elsewhere, and must not count as a duplicate.
            self._ingest.nested.forget()
            raise

    def _read_and_commit(self, stop: threading.Event) -> None:
        consumer = self._consumer
        membership = consumer.membership()
        events: list[bytes] = []
        began_s = self._monotonic()
        n_bytes = 0
        while not stop.is_set() and len(events) < MAX_EVENTS and self._monotonic() - began_s < self._wait_s:
            if n_bytes + self._ingest.nested.waiting_chars >= MAX_EVENT_BYTES:
                break
            portion = consumer.read(membership)
            for topic, messages in portion.messages:
                for i in range(len(messages)):
                    decoded = self._decode(topic, messages, i)
                    events += decoded
                    n_bytes += sum(map(len, decoded))
            for error, partition in portion.errors:
                consumer.handle_error(error, partition)
        events += self._ingest.release()
        if not consumer.positions or not (events or consumer.has_uncommitted):
            return
        consumer.commit(self._transactions, [(self._predictions, {"value": event}) for event in events], membership)
        self._report.count_committed(len(events), "published")
        self._report.heartbeat.record_work()
        self._findings.update()

    def _decode(self, topic: str, messages: MessageBatch, i: int) -> list[bytes]:
        decoder = self._ingest.json if self._topics[topic] == "json" else self._ingest.protobuf
        try:
            value = messages.values[i]
            if not value:
                raise ExportError(RequestReason.EMPTY, "The message has no value.")
            return self._ingest.add(decoder.decode(value), int(messages.received_ms[i])).events
        except ExportError as error:
            self._findings.count_request(error.reason)
            self._log.warning("message skipped", position=messages.location(topic, i), reason=str(error))
            return []
