"""The receiver: export requests in, predictions into the queue to Kafka, and a bounded memory.

A request is accepted as a whole or not at all. It is refused while the queue to Kafka is full: the exporter keeps it
and sends it again. What was accepted is in this process's memory until Kafka acknowledges it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from barograph.publisher.outbox import Outbox

from barograph_server.streams.otlp.ingest import Ingest
from barograph_server.streams.otlp.ingest_report import IngestReport
from barograph_server.streams.otlp.rejection import ExportError, SpanReason
from barograph_server.streams.otlp.settings import Encoding
from barograph_server.streams.runtime.metrics_report import Report

MAX_PENDING = 20_000
"""Predictions that wait, for their parents or for Kafka, beyond which requests are refused."""
MAX_PENDING_BYTES = 64 << 20
"""Bytes of predictions that wait for Kafka, and characters of text that wait for parents, beyond which requests are
refused."""
QUEUE_MESSAGES, QUEUE_BYTES = 60_000, 192 << 20
"""Size of the queue to Kafka: what may wait, what waits for parents, and two of the largest requests."""


class ExportResult(NamedTuple):
    """What became of the spans of a request."""

    rejected: int
    message: str
    """Why spans were rejected; empty if none was."""


class QueueFull(Exception):
    """The queue to Kafka is full: the request must be sent again later."""


class Receiver:
    """Accepts export requests; safe to share between threads."""

    def __init__(
        self,
        ingest: Ingest,
        outbox: Outbox,
        topic: str,
        report: Report,
        *,
        max_pending: int = MAX_PENDING,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Assemble the receiver.

        Args:
            ingest: turns requests into predictions.
            outbox: the queue to Kafka.
            topic: of the predictions.
            report: counts events and spans.
            max_pending: predictions that wait, beyond which requests are refused.
            clock: Unix seconds.
        """
        self._ingest, self._outbox, self._topic = ingest, outbox, topic
        self._report, self._max_pending, self._clock = report, max_pending, clock
        self._lock = threading.Lock()
        self._event_bytes = 0.0
        """Mean size of recent predictions in bytes, with which the size of the queue is estimated."""
        self._findings = IngestReport(ingest, report, clock=clock)

    @property
    def is_full(self) -> bool:
        """Whether requests are refused."""
        nested, queued = self._ingest.nested, self._outbox.stats.queued
        if queued + nested.waiting >= self._max_pending:
            return True
        return queued * self._event_bytes + nested.waiting_chars >= MAX_PENDING_BYTES

    def receive(self, data: bytes, encoding: Encoding) -> ExportResult:
        """Accept one request.

        Raises:
            QueueFull: the request was not read.
            ExportError: the request cannot be read.
        """
        with self._lock:
            if self.is_full:
                raise QueueFull
            decoder = self._ingest.json if encoding == "json" else self._ingest.protobuf
            events, rejected = self._ingest.add(decoder.decode(data), int(self._clock() * 1000))
            self._publish(events)
        return ExportResult(rejected.total(), rejection_text(rejected))

    def count_rejected_request(self, error: ExportError) -> None:
        """Count a request that could not be read."""
        with self._lock:
            self._findings.count_request(error.reason)

    def tick(self) -> None:
        """Publish calls that have waited long enough, and report; call it about every second."""
        with self._lock:
            self._publish(self._ingest.expire())
            self._findings.update()

    def stop(self, timeout_s: float) -> int:
        """Publish all calls that wait and close the queue; return how many messages were lost."""
        with self._lock:
            self._publish(self._ingest.release())
            lost = self._outbox.close(timeout_s)
            self._findings.update()
        return lost

    def _publish(self, events: Sequence[bytes]) -> None:
        n_sent = sum(self._outbox.send_event(self._topic, event) for event in events)
        if events:
            self._event_bytes = max(sum(map(len, events)) / len(events), 0.9 * self._event_bytes)
        self._report.count_committed(n_sent, "published")
        if events:
            self._report.heartbeat.record_work()


def rejection_text(rejected: Counter[SpanReason]) -> str:
    """Say why spans of a request were rejected."""
    if not rejected:
        return ""
    return "Rejected: " + "; ".join(f"{n} × {reason}: {_ADVICE[reason]}" for reason, n in rejected.most_common())


_ADVICE = {
    SpanReason.BAD_ID: "trace and span ids must have 16 and 8 bytes, in JSON as 32 and 16 hexadecimal digits",
    SpanReason.TOO_MANY_ATTRIBUTES: "a span may have 10,000 attributes and 10,000 events",
    SpanReason.BAD_TIME: "a model call needs a start time",
    SpanReason.FUTURE_TIME: "a model call starts more than five minutes in the future; correct the host's clock",
    SpanReason.TOO_OLD: "a model call started before the time that predictions are kept (retention_days)",
    SpanReason.MISSING_MODEL: "the resource has no service.name without spaces; set OTEL_SERVICE_NAME",
    SpanReason.MISSING_VERSION: "a model call names no model; it needs gen_ai.request.model or gen_ai.response.model",
}
