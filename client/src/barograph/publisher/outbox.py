"""The bounded queue between a serving process and Kafka, with a count of every event by outcome.

librdkafka holds the queue and sends from its own threads. Python must fetch delivery reports, though, and each report
takes the GIL. Beside busy serving code a Python thread rarely gets the GIL, so reports pile up and fill the queue. A
serving call that fetches several hundred reports at once takes a tenth of a millisecond longer.

The outbox therefore has two producers:

- The *failure-only* producer sends single predictions and reports only failures. An event that was accepted, has not
  failed and is no longer queued was acknowledged.
- The *reporting* producer sends messages of several events and messages that a caller waits for, with a report for each
  message. Publishing calls fetch some of these reports (`poll`); a background thread fetches the rest.

A process that is killed loses its queue, and no later number reveals how many events that were. `heartbeats.py` tells
processors on a third, tiny producer.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import random
import socket
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import msgspec
from confluent_kafka import KafkaError, KafkaException, Producer

from barograph.events import MAX_EVENT_BYTES, Label, PublisherHeartbeat, encode_json, label_key
from barograph.publisher import lifetime
from barograph.publisher.heartbeats import HEARTBEAT_INTERVAL_S, Heartbeats
from barograph.publisher.kafka_errors import hide_config
from barograph.publisher.retry_schedule import RetrySchedule

DropCause = Literal["queue-full", "too-large", "invalid", "closed", "error"]
"""Why an event was dropped before Kafka received it."""

POLL_INTERVAL_S = 0.1
"""Time between two rounds of the background thread."""
_EVENTS_PER_POLL = 32
"""Events that a batch job sends between two polls for delivery reports."""
LOG_INTERVAL_S = 60.0
"""Shortest time between two log messages about the same kind of loss."""
FULL_QUEUE_POLL_S = 0.05
"""Longest wait of one poll while a batch job waits for space in the queue."""
METADATA_TIMEOUT_S = 10.0
"""Timeout of a metadata request."""
METADATA_RETRY_S = 5.0
"""Time between two metadata requests of the background thread when the first one fails."""
METADATA_MAX_AGE_S = 300.0
"""Age at which a cached partition count is refreshed; the same as librdkafka's own refresh interval."""
TOPIC_WAIT_S = 5.0
"""How long to retry a topic that a broker does not know: a new topic reaches all brokers after a delay."""
TOPIC_RETRY_S = 0.1
"""Time between two such retries."""
REPLACEMENT_FIRST_RETRY_S = 0.5
REPLACEMENT_MAX_RETRY_S = 60.0
"""First and longest nominal delay between attempts to replace producers after a fatal error."""
PURGE_TIMEOUT_S = 0.1
"""How long to wait for the delivery reports of purged messages."""
ANSWER_TIMEOUT_S = 1.0
"""How long `close` waits, beyond its timeout, for answers to messages in flight and to the farewell."""
MAX_VIOLATIONS = 1_000
"""Pairs of field and kind that are counted by name. The names of unknown features are unbounded."""
_TOPIC_UNKNOWN = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.LEADER_NOT_AVAILABLE)
"""Errors of a topic that may not have reached the broker yet."""
_AUTHENTICATION_ERRORS = (KafkaError._AUTHENTICATION, KafkaError._SSL)
"""Errors that waiting does not fix: the password or the certificate is wrong."""
_MESSAGE_TIMEOUT_MS = {"drop": 300_000, "wait": 120_000}
"""How long an event is retried, per `on_full`. Serving outlasts a broker restart; a batch job fails earlier."""

_LOG = logging.getLogger("barograph")


class PublishError(RuntimeError):
    """Events could not be published; the message says which events, which broker and what to do."""


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of a publisher's events by outcome; `published + dropped + failed + waiting` is all events."""

    published: int
    """Events that Kafka has acknowledged."""
    dropped: dict[str, int]
    """Events that were not sent, by cause: queue-full, too-large, invalid, closed, error."""
    failed: int
    """Events that Kafka rejected, did not answer in time, or had not received when the publisher was closed. Those in
    flight at that time may have arrived."""
    waiting: int
    """Events that are queued or in flight."""
    queued: int
    """Messages that are queued or in flight; one Arrow message holds many events."""
    bytes: int
    """Bytes of all accepted messages, before compression."""
    violations: dict[tuple[str, str], int] = msgspec.field(default_factory=dict)
    """Contract violations found by `validate`, by field and kind, and text in the place of a number, by member (kind
    `invalid`). Beyond 1,000 pairs, new fields count as `*`."""


class FailureOnlyProducer:
    """A Kafka producer that reports only failed messages, with counts of accepted and failed events."""

    __slots__ = ("__weakref__", "accepted", "failed", "is_settled", "kafka")

    def __init__(self) -> None:
        self.kafka: Any = ()
        self.accepted = self.failed = 0
        self.is_settled = False

    def queued(self) -> int:
        """How many of its events are queued or in flight."""
        # An event can fail or be queued before it is counted as accepted.
        return max(0, min(self.accepted - self.failed, len(self.kafka)))


class Outbox:
    """Sends messages to Kafka. With `wait=False` it never blocks and never raises."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        *,
        wait: bool,
        factory: Callable[[dict[str, Any]], Any] = Producer,
        poll_interval_s: float = POLL_INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Create the producer and start the background thread.

        Args:
            settings: librdkafka settings: those of `kafka_settings` and the caller's.
            wait: Block while the queue is full, and raise `PublishError` after a failure.
            factory: Creates a Kafka producer from settings.
        """
        self._settings = dict(settings)
        self._wait = wait
        self._factory = factory
        self._poll_interval_s = poll_interval_s
        self._clock = clock
        self._uniform = uniform
        self._closed = False
        self._identity: tuple[str, str, Callable[[], int], str | os.PathLike[str] | None] | None = None
        self._reset()
        self._start()
        lifetime.register(self)

    def _reset(self) -> None:
        """Discard the state of another process: a forked child is a producer of its own."""
        self.producer_id = f"{socket.gethostname()[:60]}-{os.getpid()}-{os.urandom(4).hex()}"
        self._numbers = itertools.count()
        self.seq: Iterator[int] = self._numbers
        self._lock = threading.RLock()
        self._factory_lock = threading.Lock()
        self._reporting: Any = None
        self._failure_only: FailureOnlyProducer | None = None
        self._generation = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._accepted = self._delivered = self._failed = self._bytes = 0
        self._unanswered = self._purged_messages = 0
        self._heartbeats: Heartbeats | None = None
        self._accepted_before = self._dropped_before = 0
        self._was_behind = False
        self._next_queue_check_s = float("-inf")
        self._offset_ranges: dict[tuple[str, int], tuple[int, int]] = {}
        self._dropped: Counter[str] = Counter()
        self._violations: Counter[tuple[str, str]] = Counter()
        self._warnings: Counter[str] = Counter()
        self._first_failure = ""
        self._detail: dict[str, str] = {}
        self._has_fatal_error = False
        self._authentication_error = ""
        self._outages = 0
        self._logged: dict[str, tuple[float, int]] = {}
        self._partitions: dict[str, tuple[int, float]] = {}
        self._metadata_requests: set[str] = set()
        self._next_metadata_request_s = float("-inf")
        self._replacement_schedule = RetrySchedule(
            REPLACEMENT_FIRST_RETRY_S, REPLACEMENT_MAX_RETRY_S, clock=self._clock, uniform=self._uniform
        )

    def send_heartbeats(
        self, topic: str, model: str, now_ms: Callable[[], int], folder: str | os.PathLike[str] | None
    ) -> None:
        """Begin to report the last sequence number while events wait and at the end; not of a batch job.

        Args:
            folder: The state folder, in which the number survives a kill; None for none.
        """
        self._identity = None if self._wait else (topic, model, now_ms, folder)
        self._start_heartbeats()

    def _start_heartbeats(self) -> None:
        if self._identity is None or self._heartbeats is not None:
            return
        topic, model, now_ms, folder = self._identity
        heartbeat = PublisherHeartbeat(model=model, producer=self.producer_id, since=now_ms())
        build = partial(self._build_producer, 0)
        try:
            self._heartbeats = Heartbeats(topic, heartbeat, folder, build, self._clock)
        except Exception as error:
            self.warn("the last sequence number is not written to the state folder", f"{folder}: {error}")
            self._heartbeats = Heartbeats(topic, heartbeat, None, build, self._clock)
        self.seq = self._heartbeats.record(self._numbers, self._last_seq())

    def _start(self) -> None:
        with self._lock:
            if self._closed:
                raise RuntimeError("the publisher is closed")
            if self._thread is None:
                if self._wait:
                    self._reporting = self._build_producer(self._generation)
                else:
                    self._failure_only = self._build_failure_only(self._generation)
                self._thread = threading.Thread(target=self._run, name="barograph-publisher", daemon=True)
                self._thread.start()
                self._start_heartbeats()
                lifetime.close_at_exit(self)

    def _reporting_producer(self) -> Any:
        """Return the producer that reports every message, and create it at the first call."""
        # Not `self._reporting or …`: a producer is falsy while its queue is empty.
        if self._reporting is None:
            self._start()
            with self._factory_lock:
                if self._reporting is None:
                    self._reporting = self._build_producer(self._generation)
        return self._reporting

    def _build_failure_only(self, generation: int) -> FailureOnlyProducer:
        producer = FailureOnlyProducer()
        # A strong reference would be a cycle. The garbage collector would free it, maybe in a forked child, where
        # librdkafka can wait forever for a lock that one of its threads held at the fork.
        on_delivery = partial(self._on_failed_delivery, weakref.ref(producer))
        callbacks = {"on_delivery": on_delivery, "delivery.report.only.error": True}
        producer.kafka = self._build_producer(generation, callbacks)
        return producer

    def _build_producer(self, generation: int, overrides: Mapping[str, Any] | None = None) -> Any:
        callbacks = {
            "on_delivery": partial(self._on_delivery, 1),
            "error_cb": partial(self._on_error, generation),
            **(overrides or {}),
        }
        try:
            return self._factory({**self._settings, **callbacks})
        except (KafkaException, TypeError, ValueError) as error:
            detail = error.args[0].str() if isinstance(error, KafkaException) else str(error)
            raise ValueError(
                f"Kafka's client rejects its settings: {detail}; correct bootstrap_servers or kafka"
            ) from error

    # --- sending ---------------------------------------------------------------------------------------------

    def send(
        self,
        topic: str,
        value: bytes,
        *,
        n_events: int = 1,
        on_delivery: Callable[[KafkaError | None], object] | None = None,
        **options: Any,
    ) -> bool:
        """Queue one message and return whether it was accepted.

        Args:
            on_delivery: Called from any thread once Kafka has the message (None), or with the error if it failed.
            options: Further arguments of `Producer.produce`: key, partition, headers.

        Raises:
            PublishError: Only if the outbox waits: an earlier event failed, or the outbox is closed.
        """
        if self._closed:
            return self.drop("closed", n_events)
        if n_events != 1 or on_delivery is not None:
            options["on_delivery"] = partial(self._on_delivery, n_events, then=on_delivery)
        if self._wait:
            return self._send_waiting(topic, value, n_events, options)
        try:
            self._reporting_producer().produce(topic, value, **options)
        except BufferError:
            self.poll()
            return self.drop("queue-full", n_events)
        except Exception as error:
            return self.drop(_drop_cause(error), n_events, str(error))
        with self._lock:
            self._accepted += n_events
            self._bytes += len(value)
        return True

    def send_event(self, topic: str, value: bytes) -> bool:
        """Queue one event without a key, as `send` does at a higher cost. Serving uses this path."""
        producer = self._failure_only
        if producer is None:
            if self._wait or self._closed:
                return self.send(topic, value)
            try:
                self._start()
            except Exception as error:
                return self.drop(_drop_cause(error), 1, str(error))
            producer = self._failure_only
            assert producer is not None
        try:
            producer.kafka.produce(topic, value)
        except BufferError:
            return self.drop("queue-full", 1)
        except Exception as error:
            return self.drop(_drop_cause(error), 1, str(error))
        with self._lock:
            self._bytes += len(value)
            producer.accepted += 1
            if producer.is_settled:
                # The producer failed or was closed since this call read it.
                self._accepted += 1
                self._failed += 1
        return True

    def _send_waiting(self, topic: str, value: bytes, n_events: int, options: dict[str, Any]) -> bool:
        while True:
            self._raise_failure()
            try:
                self._reporting_producer().produce(topic, value, **options)
            except BufferError:
                self._reporting.poll(FULL_QUEUE_POLL_S)
                continue
            except KafkaException as error:
                return self.drop(_drop_cause(error), n_events, str(error))
            with self._lock:
                self._accepted += n_events
                self._bytes += len(value)
            if not self._accepted % _EVENTS_PER_POLL:
                self.poll()
            return True

    def drop(self, cause: DropCause, n_events: int = 1, detail: str = "") -> bool:
        """Count events that are not sent, and return False for the caller to return.

        Args:
            detail: The reason for the log, without values of the events.

        Raises:
            PublishError: Only if the outbox waits.
        """
        with self._lock:
            self._dropped[cause] += n_events
            if detail:
                self._detail.setdefault(cause, detail)
        if self._wait:
            raise PublishError(f"{n_events} events were not published ({cause}){': ' if detail else ''}{detail}")
        return False

    def count_violations(self, violations: Iterable[tuple[str, str]]) -> None:
        """Count contract violations, each a field and a kind."""
        with self._lock:
            for field, kind in violations:
                if len(self._violations) >= MAX_VIOLATIONS and (field, kind) not in self._violations:
                    field = "*"
                self._violations[field, kind] += 1

    def skip_sequence_numbers(self, n_events: int) -> None:
        """Advance the sequence number over events that are not sent, so that consumers can detect the loss."""
        deque(itertools.islice(self.seq, n_events), maxlen=0)

    def warn(self, message: str, detail: str) -> None:
        """Log a warning, at most once a minute per message, with its latest detail."""
        with self._lock:
            self._warnings[message] += 1
            self._detail[message] = detail

    def poll(self) -> None:
        """Fetch the delivery reports that are available, without waiting."""
        for kafka in self._producers():
            with contextlib.suppress(Exception):
                kafka.poll(0)

    def _producers(self) -> list[Any]:
        failure_only = self._failure_only
        producers = (self._reporting, None if failure_only is None else failure_only.kafka)
        return [kafka for kafka in producers if kafka is not None]

    def _on_delivery(
        self,
        n_events: int,
        error: KafkaError | None,
        message: Any,
        then: Callable[[KafkaError | None], object] | None = None,
    ) -> None:
        self._count_delivery(n_events, error, message)
        if then is not None:
            then(error)

    def _count_delivery(self, n_events: int, error: KafkaError | None, message: Any) -> None:
        with self._lock:
            if error is None:
                self._delivered += n_events
                if self._wait:
                    key, offset = (message.topic(), message.partition()), message.offset()
                    start, end = self._offset_ranges.get(key, (offset, offset))
                    self._offset_ranges[key] = min(start, offset), max(end, offset + 1)
                return
            self._failed += n_events
            self._record_failure(n_events, error)

    def _on_failed_delivery(
        self, reference: weakref.ref[FailureOnlyProducer], error: KafkaError | None, _message: Any
    ) -> None:
        producer = reference()
        if error is not None and producer is not None:
            with self._lock:
                producer.failed += 1
                self._record_failure(1, error)

    def _record_failure(self, n_events: int, error: KafkaError) -> None:
        """Record why a message was not acknowledged. Hold the lock."""
        if error.code() == KafkaError._PURGE_INFLIGHT:
            self._unanswered += n_events
            return
        self._first_failure = self._first_failure or error.str()
        self._purged_messages += error.code() == KafkaError._PURGE_QUEUE

    def _on_error(self, generation: int, error: KafkaError) -> None:
        with self._lock:
            self._detail["kafka"] = hide_config(error.str())
            if error.code() in _AUTHENTICATION_ERRORS:
                self._authentication_error = hide_config(error.str())
            # A producer that was replaced may still report its fatal error.
            if error.fatal() and generation == self._generation:
                self._has_fatal_error = True
            self._outages += error.code() == KafkaError._ALL_BROKERS_DOWN

    # --- waiting ---------------------------------------------------------------------------------------------

    def flush(self, timeout_s: float) -> int:
        """Wait until every queued message was delivered or failed, and return how many messages are left.

        Raises:
            PublishError: Only if the outbox waits: an event failed, or messages are left.
        """
        deadline_s = self._clock() + timeout_s
        left = 0
        with self._factory_lock:
            producers = self._producers()
        for kafka in producers:
            try:
                left += int(kafka.flush(max(deadline_s - self._clock(), 0.0)))
            except Exception:
                left += len(kafka)
        if self._wait:
            self._raise_failure()
            if left:
                raise PublishError(
                    f"{left} messages were not delivered within {timeout_s:g} s; is the broker at "
                    f"{self._settings.get('bootstrap.servers')} reachable? {self._detail.get('kafka', '')}".rstrip()
                )
        return left

    def _raise_failure(self) -> None:
        if self._failed:
            raise PublishError(
                f"{self._failed} events were not delivered to {self._settings.get('bootstrap.servers')}: "
                f"{self._first_failure}; restore the broker and publish again from the last flush"
            )

    def fetch_partition_count(self, topic: str, timeout_s: float = METADATA_TIMEOUT_S) -> int:
        """Request a topic's number of partitions from the broker; retries an unknown topic for up to 5 s.

        Raises:
            PublishError: No broker answers, the topic does not exist, or access to it is denied.
        """
        servers = self._settings.get("bootstrap.servers")
        start_s = self._clock()
        while True:
            left_s = start_s + timeout_s - self._clock()
            try:
                metadata = self._reporting_producer().list_topics(topic, timeout=max(TOPIC_RETRY_S, left_s))
            except KafkaException as error:
                self.poll()
                if self._authentication_error:
                    raise PublishError(
                        f"authentication with the broker at {servers} failed ({self._authentication_error}); check "
                        "sasl.username, sasl.password, ssl.ca.location and related settings in kafka"
                    ) from error
                raise PublishError(
                    f"no broker answers at {servers} within {timeout_s:g} s ({error.args[0].str()}); start Kafka or "
                    "correct bootstrap_servers"
                ) from error
            topic_metadata = metadata.topics[topic]
            if topic_metadata.error is None and topic_metadata.partitions:
                self._partitions[topic] = len(topic_metadata.partitions), self._clock()
                return len(topic_metadata.partitions)
            if topic_metadata.error is not None and topic_metadata.error.code() not in _TOPIC_UNKNOWN:
                raise PublishError(f"the topic {topic} at {servers} cannot be used: {topic_metadata.error.str()}")
            wait_s = min(timeout_s, TOPIC_WAIT_S)
            if self._clock() - start_s + TOPIC_RETRY_S > wait_s or self._stop.wait(TOPIC_RETRY_S):
                raise PublishError(
                    f"the topic {topic} does not exist at {servers} (retried for {wait_s:g} s); create it with "
                    "`barograph apply`"
                )

    def cached_partition_count(self, topic: str) -> int | None:
        """Return a topic's number of partitions if it is known; otherwise the background thread requests it."""
        count, fetched_s = self._partitions.get(topic, (None, 0.0))
        if count is None or self._clock() - fetched_s > METADATA_MAX_AGE_S:
            self._metadata_requests.add(topic)
        return count

    def broadcast(self, targets: Sequence[tuple[str, int]], headers: list[tuple[str, bytes]], timeout_s: float) -> None:
        """Send an empty message to each partition and wait for all of them. They do not count as events.

        Raises:
            PublishError: A message was not delivered in time.
        """
        reports: list[KafkaError | None] = []
        kafka = self._reporting_producer()
        try:
            for topic, partition in targets:
                kafka.produce(
                    topic,
                    b"",
                    partition=partition,
                    headers=headers,
                    on_delivery=lambda error, _message: reports.append(error),
                )
            kafka.flush(timeout_s)
        except (BufferError, KafkaException) as error:
            raise PublishError(f"end markers were not accepted: {error}; try again") from error
        failure = next((report for report in reports if report is not None), None)
        delivered = reports.count(None)
        if delivered < len(targets):
            detail = failure.str() if failure is not None else f"no answer within {timeout_s:g} s"
            raise PublishError(f"{delivered} of {len(targets)} end markers were delivered ({detail}); try again")

    # --- background work -------------------------------------------------------------------------------------

    def _run(self) -> None:
        stop = self._stop
        while not stop.wait(self._poll_interval_s):
            self.maintain()

    def maintain(self) -> None:
        """Run one round of background work: poll, replace failed producers, log losses, refresh metadata."""
        try:
            self.poll()
            if self._has_fatal_error and self._replacement_schedule.is_due:
                self._replace_producers()
            self._refresh_metadata()
        except Exception as error:
            self.warn("the publisher's background thread continues after an error", type(error).__name__)
            _LOG.debug("the publisher's background thread continues after an error", exc_info=True)
        with contextlib.suppress(Exception):
            self._beat()
        with contextlib.suppress(Exception):
            self._log_losses()

    def _beat(self) -> None:
        """Send a heartbeat if events waited or were dropped since the last check, and one when they no longer are."""
        heartbeats = self._heartbeats
        if heartbeats is None or self._has_fatal_error or self._closed:
            return
        heartbeats.poll()
        if self._clock() < self._next_queue_check_s:
            return
        self._next_queue_check_s = self._clock() + HEARTBEAT_INTERVAL_S
        stats = self.stats
        n_done, n_dropped = stats.published + stats.failed, stats.dropped.get("queue-full", 0)
        is_behind = n_done < self._accepted_before or n_dropped > self._dropped_before
        self._accepted_before, self._dropped_before = n_done + stats.waiting, n_dropped
        if is_behind or self._was_behind:
            heartbeats.beat(self._last_seq(), stats.waiting)
        self._was_behind = is_behind

    def _last_seq(self) -> int:
        """Return the newest sequence number, -1 if there is none."""
        return int(repr(self._numbers)[len("count(") : -1]) - 1  # without taking a number

    def _replace_producers(self) -> None:
        """Replace the producers after a fatal error: librdkafka accepts no messages after one.

        The old producers stay in place until the new ones exist, so that a failed attempt changes no count and is
        retried.
        """
        cause = self._detail.get("kafka", "")
        with self._factory_lock:
            generation = self._generation + 1
            try:
                reporting = None if self._reporting is None else self._build_producer(generation)
                failure_only = None if self._failure_only is None else self._build_failure_only(generation)
            except Exception as error:
                delay_s = self._replacement_schedule.record_failure()
                _LOG.warning(
                    "Kafka's client failed (%s) and cannot be replaced (%s); events are dropped; retrying in %.1f s",
                    cause,
                    error,
                    delay_s,
                )
                return
            with self._lock:
                if self._closed:
                    return
                replaced = self._producers()
                self._settle()
                self._reporting, self._failure_only = reporting, failure_only
                self._generation = generation
                self._has_fatal_error = False
            # Under the lock, so that `flush` waits until the lost events are counted as failed.
            _purge(replaced)
        self._replacement_schedule.reset()
        _LOG.warning("Kafka's client failed (%s) and was replaced; its queued events are lost", cause)

    def _settle(self) -> None:
        """Add the failure-only producer's counts to the totals. Its queued events are lost. Hold the lock."""
        producer = self._failure_only
        if producer is None or producer.is_settled:
            return
        # An event that failed before it was counted as accepted is counted by `send_event`.
        failed = min(producer.failed, producer.accepted) + producer.queued()
        self._accepted += producer.accepted
        self._failed += failed
        self._delivered += producer.accepted - failed
        producer.is_settled = True

    def _refresh_metadata(self) -> None:
        if not self._metadata_requests or self._clock() < self._next_metadata_request_s:
            return
        topic = self._metadata_requests.pop()
        try:
            self.fetch_partition_count(topic, timeout_s=1.0)
        except PublishError:
            self._metadata_requests.add(topic)
            self._next_metadata_request_s = self._clock() + METADATA_RETRY_S

    def _log_losses(self, *, is_last: bool = False) -> None:
        """Log each kind of loss when it begins, then at most once a minute, and finally at the end."""
        with self._lock:
            losses = {
                f"events dropped: {cause}": (n, self._detail.get(cause, "")) for cause, n in self._dropped.items()
            }
            losses |= {message: (n, self._detail.get(message, "")) for message, n in self._warnings.items()}
            producer = self._failure_only
            n_failed = self._failed + (0 if producer is None else producer.failed)
            losses["events not delivered"] = n_failed - self._unanswered, self._first_failure
            losses["events sent without an answer from Kafka, which may have arrived"] = self._unanswered, ""
            losses["no broker answers, events wait in the queue"] = self._outages, self._detail.get("kafka", "")
        now_s = self._clock()
        for message, (count, detail) in losses.items():
            last_s, logged = self._logged.get(message, (float("-inf"), 0))
            if count > logged and (is_last or now_s - last_s >= LOG_INTERVAL_S):
                self._logged[message] = now_s, count
                _LOG.warning("%s (%d so far) %s", message, count, detail)

    # --- counts and end --------------------------------------------------------------------------------------

    @property
    def offset_ranges(self) -> dict[tuple[str, int], tuple[int, int]]:
        """The range [start, end) of offsets that contains all acknowledged events, by topic and partition.

        Messages of other publishers may lie between them. Empty unless the outbox waits.
        """
        with self._lock:
            return dict(self._offset_ranges)

    @property
    def waits(self) -> bool:
        """Whether calls block while the queue is full and raise errors."""
        return self._wait

    @property
    def stats(self) -> Stats:
        """Counts of all events so far."""
        with self._lock:
            producer = self._failure_only or FailureOnlyProducer()
            queued = producer.queued()
            return Stats(
                published=self._delivered + max(0, producer.accepted - producer.failed - queued),
                dropped=dict(self._dropped),
                failed=self._failed + producer.failed,
                # A delivery report can arrive before its event is counted as accepted.
                waiting=max(0, self._accepted - self._delivered - self._failed) + queued,
                queued=queued + (0 if self._reporting is None else len(self._reporting)),
                bytes=self._bytes,
                violations=dict(self._violations),
            )

    def close(self, timeout_s: float) -> int:
        """Flush, stop the thread, reject later events and return how many messages were not acknowledged. Idempotent.

        Messages that are queued after the timeout are discarded. Then one more second may pass, for answers to messages
        in flight and for the farewell.
        """
        if self._closed:
            return 0
        self._closed = True
        left = 0
        try:
            self.flush(timeout_s)
        finally:
            self._stop.set()
            if self._thread is not None and self._thread is not threading.current_thread():
                self._thread.join(1.0)
            left = self._end(self._producers())
            with self._lock:
                self._settle()
                self._reporting = self._failure_only = None
            lifetime.unregister(self)
        self._log_losses(is_last=True)
        return left

    def _end(self, producers: Sequence[Any]) -> int:
        """Discard queued messages, say farewell, and return how many messages were not acknowledged."""
        deadline_s, purged_before = self._clock() + ANSWER_TIMEOUT_S, self._purged_messages
        _purge(producers, in_flight=False, timeout_s=0.0)
        heartbeats, stats, last_seq = self._heartbeats, self.stats, self._last_seq()
        if heartbeats is not None and last_seq >= 0:
            discarded = {**stats.dropped, **({"not-delivered": stats.failed} if stats.failed else {})}
            if discarded or stats.waiting or heartbeats.is_farewell_due:
                with contextlib.suppress(Exception):
                    heartbeats.say_farewell(last_seq, stats.waiting, discarded)
        for kafka in producers:
            with contextlib.suppress(Exception):
                kafka.flush(max(0.0, deadline_s - self._clock()))
        left = self._purged_messages - purged_before + sum(map(len, producers))
        if heartbeats is not None:
            with contextlib.suppress(Exception):
                heartbeats.close(max(0.0, deadline_s - self._clock()))
        _purge(producers)
        return left

    def after_fork(self) -> None:
        """In a forked child: abandon the parent's producers and start over at the next event."""
        for kafka in self._producers():
            lifetime.leak(kafka)
        if self._heartbeats is not None:
            self._heartbeats.abandon()
        self._reset()


def kafka_settings(
    bootstrap_servers: str, on_full: Literal["drop", "wait"], max_queued: int, max_queued_bytes: int
) -> dict[str, Any]:
    """Return the librdkafka settings that the publisher depends on.

    Args:
        bootstrap_servers: Kafka's addresses, as `host:port,…`.
        on_full: Whether events are dropped or calls wait while the queue is full.
    """
    return {
        "bootstrap.servers": bootstrap_servers,
        "client.id": "barograph-publisher",
        "enable.idempotence": True,  # a retry never duplicates or reorders a partition's events
        "compression.type": "lz4",
        "linger.ms": 50,  # batches of several hundred events at a few thousand a second
        "batch.num.messages": 10_000,
        "queue.buffering.max.messages": max_queued,
        "queue.buffering.max.kbytes": max(1, max_queued_bytes // 1024),
        "message.timeout.ms": _MESSAGE_TIMEOUT_MS[on_full],
        "partitioner": "consistent_random",  # crc32(key) % partitions; a random partition without a key
        "log_level": 2,  # error_cb and the counters report the rest
    }


def _purge(producers: Iterable[Any], *, in_flight: bool = True, timeout_s: float = PURGE_TIMEOUT_S) -> None:
    """Discard queued messages, with `in_flight` also those in flight, and fetch their delivery reports."""
    for kafka in producers:
        with contextlib.suppress(Exception):
            kafka.purge(in_flight=in_flight)
            kafka.flush(timeout_s)


def _drop_cause(error: Exception) -> DropCause:
    if isinstance(error, KafkaException) and error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
        return "too-large"
    return "error"


def send_label(outbox: Outbox, topic: str, label: Label) -> bool:
    """Queue one label as JSON and return whether it was accepted."""
    data = encode_json(label)
    if len(data) > MAX_EVENT_BYTES:
        return outbox.drop("too-large", 1, f"a label has {len(data):,} bytes; at most {MAX_EVENT_BYTES:,} are sent")
    return outbox.send(topic, data, key=label_key(label.model, label.id))
