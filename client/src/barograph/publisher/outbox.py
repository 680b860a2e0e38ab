"""The bounded queue between a serving process and Kafka, and the count of everything that left it or did not.

librdkafka holds the queue and sends from threads of its own. Delivery reports must be fetched, though, and take the
GIL one by one: a Python thread beside busy serving code gets it too seldom, the reports pile up and fill the queue; and
some hundred that are fetched at once by whoever publishes are a tenth of a millisecond of serving.

So there are two producers. The *quiet* one sends single predictions and reports failures alone: what it took, less
what failed and what is still queued, was acknowledged. The other one sends what holds several events or is waited for,
with a report for each message; whoever publishes fetches a few now and then (`poll`), and a thread does it for quiet
times.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import msgspec
from confluent_kafka import KafkaError, KafkaException, Producer

from barograph.publisher import lifetime

Cause = Literal["queue-full", "too-large", "invalid", "closed", "error"]
"""Why an event was dropped before Kafka saw it."""

POLL_INTERVAL_S = 0.1
_POLL_EVERY = 32
"""Events of a batch job between two looks for delivery reports."""
LOG_INTERVAL_S = 60.0
ROOM_WAIT_S = 0.05
METADATA_TIMEOUT_S = 10.0
LEARN_AGAIN_S = 5.0
TOPIC_WAIT_S = 5.0
"""How long a topic that a broker does not know is asked for again: brokers hear of a new one after its maker does."""
TOPIC_AGAIN_S = 0.1
MAX_VIOLATIONS = 1_000
"""Pairs of field and kind that are counted by name: unknown features may be named after what nobody bounds."""
METADATA_AGE_S = 300.0
"""When a topic's partitions are counted again; as often as librdkafka does."""
_NOT_KNOWN_YET = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.LEADER_NOT_AVAILABLE)
_REFUSALS = (KafkaError._AUTHENTICATION, KafkaError._SSL)
"""Neither passes by waiting: a password or a certificate is not taken."""
_TIMEOUT_MS = {"drop": 300_000, "wait": 120_000}
"""How long an event is retried: serving rides out a broker's restart, a batch job would rather know."""

_LOG = logging.getLogger("barograph")


class PublishError(RuntimeError):
    """Events could not be published; the text says which, where and what to do."""


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the events given to a publisher; `published + dropped + failed + waiting` is all of them."""

    published: int
    """Events that Kafka has acknowledged."""
    dropped: dict[str, int]
    """Events that were not sent, by cause: queue-full, too-large, invalid, closed, error."""
    failed: int
    """Events that were sent and not acknowledged: Kafka refused them or did not answer in time."""
    waiting: int
    """Events that are queued or under way."""
    queued: int
    """Messages that are queued or under way: an Arrow message holds many events."""
    bytes: int
    """Bytes of the messages accepted so far, before compression."""
    violations: dict[tuple[str, str], int] = msgspec.field(default_factory=dict)
    """What `validate` found, by field and kind. Beyond 1,000 unknown features further ones are counted as `*`."""


class _Quiet:
    """A producer that reports failures alone, and what it took."""

    __slots__ = ("accepted", "failed", "is_settled", "kafka")

    def __init__(self) -> None:
        self.kafka: Any = ()
        self.accepted = self.failed = 0
        self.is_settled = False

    def queued(self) -> int:
        """How many of its events are queued or under way."""
        # What failed, or is queued, may show before it was counted as accepted.
        return max(0, min(self.accepted - self.failed, len(self.kafka)))


class Outbox:
    """Sends messages to Kafka; never blocks and never raises unless it is told to wait.

    Args:
        settings: librdkafka's settings; those of `kafka_settings` and the caller's.
        wait: block while the queue is full, and raise `PublishError` after a failure.
        factory: makes the producer of the settings.
    """

    def __init__(
        self, settings: Mapping[str, Any], *, wait: bool, factory: Callable[[dict[str, Any]], Any] = Producer
    ) -> None:
        self._settings = dict(settings)
        self._wait = wait
        self._factory = factory
        self._closed = False
        self._begin()
        self._start()
        lifetime.watch(self)

    def _begin(self) -> None:
        """Forget everything of another process: a forked child is a producer of its own."""
        self.producer = f"{socket.gethostname()[:60]}-{os.getpid()}-{os.urandom(4).hex()}"
        self.seq = itertools.count()
        self._lock = threading.RLock()
        self._kafka: Any = None
        self._quiet: _Quiet | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._accepted = self._delivered = self._failed = self._bytes = 0
        self._dropped: Counter[str] = Counter()
        self._violations: Counter[tuple[str, str]] = Counter()
        self._notes: Counter[str] = Counter()
        self._first_failure = ""
        self._detail: dict[str, str] = {}
        self._fatal = False
        self._refusal = ""
        self._outages = 0
        self._logged: dict[str, tuple[float, int]] = {}
        self._partitions: dict[str, tuple[int, float]] = {}
        self._wanted: set[str] = set()
        self._learn_next_s = 0.0

    def _start(self) -> None:
        with self._lock:
            if self._closed:
                raise RuntimeError("the publisher is closed")
            if self._thread is None:
                if self._wait:
                    self._kafka = self._make()
                else:
                    self._quiet = self._make_quiet()
                self._thread = threading.Thread(target=self._run, name="barograph-publisher", daemon=True)
                self._thread.start()
                lifetime.close_at_end(self)

    def _producer(self) -> Any:
        """The producer that reports every message; made where it is needed first."""
        # Never `kafka or …`: a producer is false while its queue is empty.
        if self._kafka is None:
            self._start()
            with self._lock:
                if self._kafka is None:
                    self._kafka = self._make()
        return self._kafka

    def _make_quiet(self) -> _Quiet:
        quiet = _Quiet()
        quiet.kafka = self._make(
            {"on_delivery": partial(self._on_quiet_failure, quiet), "delivery.report.only.error": True}
        )
        return quiet

    def _make(self, more: Mapping[str, Any] | None = None) -> Any:
        events = {"on_delivery": partial(self._on_delivery, 1), "error_cb": self._on_error, **(more or {})}
        try:
            return self._factory({**self._settings, **events})
        except (KafkaException, TypeError, ValueError) as error:
            detail = error.args[0].str() if isinstance(error, KafkaException) else str(error)
            raise ValueError(
                f"Kafka's client refuses its settings: {detail}; correct bootstrap_servers or kafka"
            ) from error

    # --- sending ---------------------------------------------------------------------------------------------

    def send(self, topic: str, value: bytes, *, events: int = 1, **where: Any) -> bool:
        """Queue one message of so many events; say whether it was accepted.

        Raises:
            PublishError: only where the outbox waits: an earlier event failed, or the outbox is closed.
        """
        if self._closed:
            return self.drop("closed", events)
        if events != 1:
            where["on_delivery"] = partial(self._on_delivery, events)
        if self._wait:
            return self._send_waiting(topic, value, events, where)
        try:
            self._producer().produce(topic, value, **where)
        except BufferError:
            self.poll()
            return self.drop("queue-full", events)
        except Exception as error:
            return self.drop(_cause(error), events, str(error))
        with self._lock:
            self._accepted += events
            self._bytes += len(value)
        return True

    def send_event(self, topic: str, value: bytes) -> bool:
        """Queue one event without key: `send` for the path that serving takes, at a part of the cost."""
        quiet = self._quiet
        if quiet is None:
            if self._wait or self._closed:
                return self.send(topic, value)
            try:
                self._start()
            except Exception as error:
                return self.drop(_cause(error), 1, str(error))
            quiet = self._quiet
            assert quiet is not None
        try:
            quiet.kafka.produce(topic, value)
        except BufferError:
            return self.drop("queue-full", 1)
        except Exception as error:
            return self.drop(_cause(error), 1, str(error))
        with self._lock:
            self._bytes += len(value)
            quiet.accepted += 1
            if quiet.is_settled:
                # The producer failed, or was closed, in this very moment.
                self._accepted += 1
                self._failed += 1
        return True

    def _send_waiting(self, topic: str, value: bytes, events: int, where: dict[str, Any]) -> bool:
        while True:
            self._raise_failure()
            try:
                self._producer().produce(topic, value, **where)
            except BufferError:
                self._kafka.poll(ROOM_WAIT_S)
                continue
            except KafkaException as error:
                return self.drop(_cause(error), events, str(error))
            with self._lock:
                self._accepted += events
                self._bytes += len(value)
            if not self._accepted % _POLL_EVERY:
                self.poll()
            return True

    def drop(self, cause: Cause, events: int = 1, detail: str = "") -> bool:
        """Count events that are not sent; False, for the caller to return.

        Raises:
            PublishError: only where the outbox waits.
        """
        with self._lock:
            self._dropped[cause] += events
            if detail:
                self._detail.setdefault(cause, detail)
        if self._wait:
            raise PublishError(f"{events} events were not published ({cause}){': ' if detail else ''}{detail}")
        return False

    def violate(self, violations: Iterable[tuple[str, str]]) -> None:
        """Count violations of the contract, each a field and a kind."""
        with self._lock:
            for field, kind in violations:
                if len(self._violations) >= MAX_VIOLATIONS and (field, kind) not in self._violations:
                    field = "*"
                self._violations[field, kind] += 1

    def skip(self, events: int) -> None:
        """Let the count of events advance over some that are not sent, so that their loss shows."""
        deque(itertools.islice(self.seq, events), maxlen=0)

    def note(self, what: str, detail: str) -> None:
        """Have something logged, at most once a minute."""
        with self._lock:
            self._notes[what] += 1
            self._detail[what] = detail

    def poll(self) -> None:
        """Fetch the delivery reports that are there, without waiting."""
        for kafka in self._producers():
            with contextlib.suppress(Exception):
                kafka.poll(0)

    def _producers(self) -> list[Any]:
        quiet = self._quiet
        return [kafka for kafka in (self._kafka, None if quiet is None else quiet.kafka) if kafka is not None]

    def _on_delivery(self, events: int, error: KafkaError | None, _message: Any) -> None:
        with self._lock:
            if error is None:
                self._delivered += events
                return
            self._failed += events
            self._first_failure = self._first_failure or error.str()

    def _on_quiet_failure(self, quiet: _Quiet, error: KafkaError | None, _message: Any) -> None:
        if error is not None:
            with self._lock:
                quiet.failed += 1
                self._first_failure = self._first_failure or error.str()

    def _on_error(self, error: KafkaError) -> None:
        with self._lock:
            self._detail["kafka"] = error.str()
            if error.code() in _REFUSALS:
                self._refusal = error.str()
            self._fatal = self._fatal or error.fatal()
            self._outages += error.code() == KafkaError._ALL_BROKERS_DOWN

    # --- waiting ---------------------------------------------------------------------------------------------

    def flush(self, timeout_s: float) -> int:
        """Wait until everything queued was delivered or has failed; return how many messages are left.

        Raises:
            PublishError: only where the outbox waits: an event failed, or some are left.
        """
        deadline_s = time.monotonic() + timeout_s
        left = 0
        for kafka in self._producers():
            try:
                left += int(kafka.flush(max(deadline_s - time.monotonic(), 0.0)))
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

    def partitions(self, topic: str, timeout_s: float = METADATA_TIMEOUT_S) -> int:
        """Ask the broker how many partitions a topic has; waits, for a topic that is not known yet up to 5 s.

        Raises:
            PublishError: no broker answers, or there is no such topic, or it may not be seen.
        """
        servers = self._settings.get("bootstrap.servers")
        begun_s = time.monotonic()
        while True:
            left_s = begun_s + timeout_s - time.monotonic()
            try:
                found = self._producer().list_topics(topic, timeout=max(TOPIC_AGAIN_S, left_s)).topics[topic]
            except KafkaException as error:
                self.poll()
                if self._refusal:
                    raise PublishError(
                        f"the broker at {servers} and this publisher do not let each other in ({self._refusal}); check "
                        "sasl.username, sasl.password, ssl.ca.location and the like in kafka"
                    ) from error
                raise PublishError(
                    f"no broker answers at {servers} within {timeout_s:g} s ({error.args[0].str()}); start Kafka or "
                    "correct bootstrap_servers"
                ) from error
            if found.error is None and found.partitions:
                self._partitions[topic] = len(found.partitions), time.monotonic()
                return len(found.partitions)
            if found.error is not None and found.error.code() not in _NOT_KNOWN_YET:
                raise PublishError(f"the topic {topic} at {servers} cannot be used: {found.error.str()}")
            wait_s = min(timeout_s, TOPIC_WAIT_S)
            if time.monotonic() - begun_s + TOPIC_AGAIN_S > wait_s or self._stop.wait(TOPIC_AGAIN_S):
                raise PublishError(
                    f"the topic {topic} does not exist at {servers} (asked for {wait_s:g} s); create it with "
                    "`barograph apply`"
                )

    def known_partitions(self, topic: str) -> int | None:
        """How many partitions a topic has, if that is known; else the background thread is asked to find out."""
        count, asked_s = self._partitions.get(topic, (None, 0.0))
        if count is None or time.monotonic() - asked_s > METADATA_AGE_S:
            self._wanted.add(topic)
        return count

    def broadcast(self, targets: Sequence[tuple[str, int]], headers: list[tuple[str, bytes]], timeout_s: float) -> None:
        """Send an empty message to each (topic, partition) and wait for all; they count as no events.

        Raises:
            PublishError: not all were delivered in time.
        """
        reports: list[KafkaError | None] = []
        kafka = self._producer()
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
            raise PublishError(f"marks were not accepted: {error}; try again") from error
        failed = next((report for report in reports if report is not None), None)
        delivered = reports.count(None)
        if delivered < len(targets):
            detail = failed.str() if failed is not None else f"no answer within {timeout_s:g} s"
            raise PublishError(f"{delivered} of {len(targets)} marks were delivered ({detail}); try again")

    # --- in the background -----------------------------------------------------------------------------------

    def _run(self) -> None:
        stop = self._stop
        while not stop.wait(POLL_INTERVAL_S):
            try:
                self.poll()
                if self._fatal:
                    self._replace()
                self._report()
                self._learn()
            except Exception:
                _LOG.debug("the publisher's thread goes on after an error", exc_info=True)

    def _replace(self) -> None:
        """After a fatal error librdkafka accepts nothing more; go on with a new producer."""
        with self._lock:
            old, self._fatal = self._producers(), False
            if self._kafka is not None:
                self._kafka = self._make()
            if self._quiet is not None:
                self._settle(self._quiet)
                self._quiet = self._make_quiet()
        _LOG.warning("Kafka's client failed (%s); the publisher goes on with a new one", self._detail.get("kafka"))
        for kafka in old:
            kafka.purge()
            kafka.poll(0)

    def _settle(self, quiet: _Quiet) -> None:
        """Count what a producer took for good: what it still holds is lost."""
        with self._lock:
            left = quiet.queued()
            self._accepted += quiet.accepted
            self._failed += quiet.failed + left
            self._delivered += quiet.accepted - quiet.failed - left
            quiet.is_settled = True

    def _learn(self) -> None:
        if not self._wanted or time.monotonic() < self._learn_next_s:
            return
        topic = self._wanted.pop()
        try:
            self.partitions(topic, timeout_s=1.0)
        except PublishError:
            self._wanted.add(topic)
            self._learn_next_s = time.monotonic() + LEARN_AGAIN_S

    def _report(self) -> None:
        """Log what was lost: once when it begins, then at most once a minute per cause."""
        with self._lock:
            losses = {
                f"events dropped: {cause}": (n, self._detail.get(cause, "")) for cause, n in self._dropped.items()
            }
            losses |= {what: (n, self._detail.get(what, "")) for what, n in self._notes.items()}
            quiet = self._quiet
            losses["events not delivered"] = self._failed + (0 if quiet is None else quiet.failed), self._first_failure
            losses["no broker answers, events wait in the queue"] = self._outages, self._detail.get("kafka", "")
        now_s = time.monotonic()
        for what, (count, detail) in losses.items():
            last_s, logged = self._logged.get(what, (-LOG_INTERVAL_S, 0))
            if count > logged and now_s - last_s >= LOG_INTERVAL_S:
                self._logged[what] = now_s, count
                _LOG.warning("%s (%d so far) %s", what, count, detail)

    # --- the end ---------------------------------------------------------------------------------------------

    @property
    def stats(self) -> Stats:
        """What became of the events so far."""
        with self._lock:
            quiet = self._quiet or _Quiet()
            queued = quiet.queued()
            return Stats(
                published=self._delivered + max(0, quiet.accepted - quiet.failed - queued),
                dropped=dict(self._dropped),
                failed=self._failed + quiet.failed,
                # a report may come before the event it is of has been counted
                waiting=max(0, self._accepted - self._delivered - self._failed) + queued,
                queued=queued + (0 if self._kafka is None else len(self._kafka)),
                bytes=self._bytes,
                violations=dict(self._violations),
            )

    def close(self, timeout_s: float) -> int:
        """Flush, stop the thread, accept nothing more; return how many messages were lost. Twice is once."""
        if self._closed:
            return 0
        self._closed = True
        try:
            left = self.flush(timeout_s)
        finally:
            self._stop.set()
            if self._thread is not None and self._thread is not threading.current_thread():
                self._thread.join(1.0)
            for kafka in self._producers():
                with contextlib.suppress(Exception):
                    kafka.purge()
                    kafka.flush(0.1)
            if self._quiet is not None:
                self._settle(self._quiet)
            self._kafka = self._quiet = None
            lifetime.unwatch(self)
        self._report()
        return left

    def after_fork(self) -> None:
        """In a forked child: leave the parent's producer alone and begin anew at the next event."""
        for kafka in self._producers():
            lifetime.never_free(kafka)
        self._begin()


def kafka_settings(
    bootstrap_servers: str, on_full: Literal["drop", "wait"], max_queued: int, max_queued_bytes: int
) -> dict[str, Any]:
    """The settings of librdkafka that the publisher stands on."""
    return {
        "bootstrap.servers": bootstrap_servers,
        "client.id": "barograph-publisher",
        "enable.idempotence": True,  # a retry never doubles or reorders a partition's events
        "compression.type": "lz4",
        "linger.ms": 50,  # batches of some hundred events at a few thousand a second; nobody waits for them
        "batch.num.messages": 10_000,
        "queue.buffering.max.messages": max_queued,
        "queue.buffering.max.kbytes": max(1, max_queued_bytes // 1024),
        "message.timeout.ms": _TIMEOUT_MS[on_full],
        "partitioner": "consistent_random",  # crc32(key) % partitions; without key any partition
        "log_level": 2,  # what matters comes by error_cb and the counters
    }


def _cause(error: Exception) -> Cause:
    if isinstance(error, KafkaException) and error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
        return "too-large"
    return "error"
