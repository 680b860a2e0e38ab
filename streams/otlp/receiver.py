"""The receiver: export requests in, predictions into the queue to Kafka, and a bounded memory.

A request is accepted as a whole or not at all. It is refused while the queue to Kafka is full: the exporter keeps it
and sends it again. It is acknowledged once Kafka has the predictions of its calls. Until then they are in this
process's memory: if they end with it, the exporter sends them again. What is sent again before counts once, since spans
are remembered.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from barograph.publisher.outbox import Outbox
from confluent_kafka import KafkaError

from barograph_server.streams.otlp.ingest import Ingest, IngestReport
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


@dataclass(slots=True)
class ExportResult:
    """What became of the spans of a request."""

    rejected: int
    message: str
    """Why spans were rejected; empty if none was."""
    waiting: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Trace and span of calls that may wait for their parents."""
    last_event: int | None = 0
    """Number of the last prediction that Kafka must have before the request is acknowledged; None while calls wait."""


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
        """Assemble the receiver; beyond `max_pending` waiting predictions, it refuses requests."""
        self._ingest, self._outbox, self._topic = ingest, outbox, topic
        self._report, self._max_pending, self._clock = report, max_pending, clock
        self._lock = threading.Lock()
        self._event_bytes = 0.0
        """Mean size of recent predictions in bytes, with which the size of the queue is estimated."""
        self._n_events = 0
        """Predictions so far, which numbers them from 1."""
        self._unstored: dict[int, None] = {}
        """Numbers of the predictions that Kafka has not acknowledged, in their order."""
        self._unsent: dict[int, bytes] = {}
        """Those of them that Kafka rejected or the queue did not accept; the next tick sends them again."""
        self._too_large = self._n_reported = 0
        """Predictions that were too large for Kafka, and those that Kafka has and the report counted."""
        self._delivery_lock = threading.Lock()
        """Held for a moment only: Kafka's client reports deliveries from any thread."""
        self._findings = IngestReport(ingest, report, clock=clock)

    @property
    def is_full(self) -> bool:
        """Whether requests are refused."""
        nested, queued = self._ingest.nested, len(self._unstored)
        if queued + nested.waiting >= self._max_pending:
            return True
        return queued * self._event_bytes + nested.waiting_chars >= MAX_PENDING_BYTES

    def receive(self, data: bytes, encoding: Encoding) -> ExportResult:
        """Accept one request.

        Raises:
            QueueFull: the request was not read.
        """
        with self._lock:
            if self.is_full:
                raise QueueFull
            decoder = self._ingest.json if encoding == "json" else self._ingest.protobuf
            events, rejected, calls = self._ingest.add(decoder.decode(data), int(self._clock() * 1000))
            self._publish(events)
        return ExportResult(rejected.total(), rejection_text(rejected), calls, None if calls else 0)

    def is_stored(self, result: ExportResult) -> bool:
        """Return whether Kafka has the predictions of a request's calls; changes the result, and never blocks.

        A call that waits for its parents is not stored. One that does not count is stored with what counts instead.
        """
        self._outbox.poll()
        if result.last_event is None and self._lock.acquire(blocking=False):
            try:
                is_waiting = self._ingest.nested.is_waiting
                result.waiting = [call for call in result.waiting if is_waiting(*call)]
                if not result.waiting:
                    result.last_event = self._n_events
            finally:
                self._lock.release()
        if result.last_event is None:
            return False
        with self._delivery_lock:
            return next(iter(self._unstored), self._n_events + 1) > result.last_event

    def count_rejected_request(self, error: ExportError) -> None:
        """Count a request that could not be read."""
        with self._lock:
            self._findings.count_request(error.reason)

    def tick(self) -> None:
        """Publish calls that have waited long enough, and report; call it about every second."""
        with self._lock:
            with self._delivery_lock:
                unsent, self._unsent = self._unsent, {}
            for number, event in unsent.items():
                self._send(number, event)
            self._publish(self._ingest.expire())
            self._update_report()

    def release(self) -> None:
        """Publish all calls that wait."""
        with self._lock:
            self._publish(self._ingest.release())

    def stop(self, timeout_s: float) -> int:
        """Publish all calls that wait and close the queue; return how many messages were lost."""
        with self._lock:
            self._publish(self._ingest.release())
            lost = self._outbox.close(timeout_s)
            self._update_report()
        return lost

    def _update_report(self) -> None:
        n_stored = self._outbox.stats.published
        if n_stored > self._n_reported:
            self._report.count_committed(n_stored - self._n_reported, "published")
            self._n_reported = n_stored
        self._findings.update()

    def _publish(self, events: Sequence[bytes]) -> None:
        first, self._n_events = self._n_events + 1, self._n_events + len(events)
        for number, event in enumerate(events, first):
            self._send(number, event)
        if events:
            self._event_bytes = max(sum(map(len, events)) / len(events), 0.9 * self._event_bytes)
            self._report.heartbeat.record_work()

    def _send(self, number: int, event: bytes) -> None:
        with self._delivery_lock:
            self._unstored[number] = None
        if not self._outbox.send(self._topic, event, on_delivery=partial(self._on_delivery, number, event)):
            too_large = self._outbox.stats.dropped.get("too-large", 0)
            # Sending one that is too large again would not help; the outbox has counted it.
            self._end(number, None if too_large > self._too_large else event)
            self._too_large = too_large

    def _on_delivery(self, number: int, event: bytes, error: KafkaError | None) -> None:
        is_lost = error is not None and error.code() == KafkaError.MSG_SIZE_TOO_LARGE
        self._end(number, None if error is None or is_lost else event)

    def _end(self, number: int, unsent: bytes | None) -> None:
        """Forget a prediction, or keep it for the next tick."""
        with self._delivery_lock:
            if unsent is None:
                self._unstored.pop(number, None)
            else:
                self._unsent[number] = unsent


def rejection_text(rejected: Counter[SpanReason]) -> str:
    """Say why spans of a request were rejected."""
    if not rejected:
        return ""
    return "Rejected: " + "; ".join(f"{n} × {reason}: {reason.advice}" for reason, n in rejected.most_common())
