"""confluent-kafka as every processor uses it: configuration, topic facts, errors as sentences."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from streams.errors import ProcessorError
from streams.runtime.backoff import Backoff
from streams.settings import ProcessorSettings

T = TypeVar("T")
PartitionId = tuple[str, int]
"""A topic and a partition of it."""

TIMEOUT_S = 30.0
READ_AHEAD = {
    "queued.min.messages": 100_000,
    "queued.max.messages.kbytes": 32_768,
    # Once so much waits, librdkafka looks again after this long; its default of a second lets the queue run dry.
    "fetch.queue.backoff.ms": 20,
}
"""How much a consumer fetches before it is asked."""
REFUSED_S = 3.0
"""How long a broker that refuses this user or its certificate is given to think better of it."""

_quiet = logging.getLogger("barograph.librdkafka")


def consumer_config(settings: ProcessorSettings, group: str) -> dict[str, Any]:
    """Configuration of a consumer that commits by hand and never starts at a place nobody chose.

    `read_committed` makes fetching the committed offsets wait for pending transactions; the eager assignor makes
    every rebalance start a new generation for all. The member is known by its instance's name (KIP-345): a process that
    was killed and started again takes its place at once, without waiting until the session of the dead one has ended.
    """
    return {
        "bootstrap.servers": settings.bootstrap_servers,
        "group.id": f"{settings.topics.prefix}{group}",
        "group.instance.id": settings.instance,
        "client.id": f"barograph-{group}-{settings.instance}",
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "partition.assignment.strategy": "range",
        "session.timeout.ms": int(settings.session_timeout_s * 1000),
        "heartbeat.interval.ms": max(300, int(settings.session_timeout_s * 1000 / 5)),
        "max.poll.interval.ms": int(max(settings.max_poll_interval_s, settings.session_timeout_s) * 1000),
        "topic.metadata.refresh.interval.ms": int(settings.metadata_refresh_s * 1000),
        "fetch.wait.max.ms": 100,
        **READ_AHEAD,
        "log_level": 3,
        **settings.kafka,
    }


def transactional_producer(
    settings: ProcessorSettings, name: str, on_failure: Callable[[KafkaError, Any], None] | None = None
) -> Producer:
    """Make a producer that fences its predecessor of the same instance and aborts what that left open.

    Args:
        settings: where the broker is, and which instance this is.
        name: the processor's kind.
        on_failure: called with each message that was not delivered, and why.
    """
    return Producer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "client.id": f"barograph-{name}-{settings.instance}",
            "transactional.id": f"{settings.topics.prefix}{name}-{settings.instance}",
            "transaction.timeout.ms": int(settings.transaction_timeout_s * 1000),
            "linger.ms": 5,
            "message.max.bytes": 2_000_000,
            "log_level": 3,
            # A transaction that fails tells no more than that some message did.
            **({"on_delivery": on_failure, "delivery.report.only.error": True} if on_failure is not None else {}),
            **settings.kafka,
        }
    )


def make_consumer(settings: ProcessorSettings, group: str, *, reports_ends: bool = False) -> Consumer:
    """Create a consumer of a processor's group.

    Args:
        settings: of the processor.
        group: the group, without the prefix.
        reports_ends: whether the consumer returns an error `_PARTITION_EOF` when it reaches the end of a partition.
    """
    return Consumer({**consumer_config(settings, group), "enable.partition.eof": reports_ends})


class Admin:
    """An admin client that says at once when the broker does not let it in.

    librdkafka takes a wrong password or certificate for a broker that is away: requests wait until their time is up
    and then say no more than that. What really happened comes by the error callback, which is watched here.
    """

    def __init__(self, bootstrap_servers: str, kafka: Mapping[str, str], *, log_level: int = 0) -> None:
        self._refusal: KafkaError | None = None
        self._refused_s = 0.0
        config: dict[str, Any] = {"bootstrap.servers": bootstrap_servers, "log_level": log_level, **kafka}
        try:
            self.client = AdminClient(config | {"error_cb": self._on_error})
        except KafkaException as error:
            raise explain(error, "take its settings") from error

    def _on_error(self, error: KafkaError) -> None:
        if self._refusal is None and error.code() in _REFUSALS:
            self._refusal, self._refused_s = error, time.monotonic()

    def result(self, future: Future[T], action: str) -> T:
        """Wait for the answer to a request.

        Args:
            future: of the request, which has its own time-out.
            action: what is asked for, as it follows "failed to".

        Raises:
            KafkaException: the broker answers that it does not do it, or not in time.
            ProcessorError: it does not let this client in.
        """
        # What happened before, such as a broker that was restarted in the middle of a handshake, is no answer to this.
        # Callbacks come by `poll` alone, so nothing of this request is forgotten here.
        self._refusal = None
        while True:
            try:
                return future.result(0.1)
            except TimeoutError:
                self.client.poll(0)
                if self._refusal is not None and time.monotonic() - self._refused_s > REFUSED_S:
                    raise self.explain(None, action) from None
            except KafkaException as error:
                self.client.poll(0)
                if self._refusal is not None and error.args[0].code() in _UNANSWERED:
                    raise self.explain(error, action) from error
                raise

    def committed(
        self, group: str, places: Iterable[tuple[str, int]], *, timeout_s: float = TIMEOUT_S
    ) -> list[TopicPartition]:
        """What a group has committed in some partitions; an offset below 0 where it has nothing.

        Raises:
            KafkaException: the broker does not tell.
            ProcessorError: it does not let this client in.
        """
        wanted = ConsumerGroupTopicPartitions(group, [TopicPartition(*place) for place in places])
        asked = self.client.list_consumer_group_offsets([wanted], request_timeout=timeout_s)[group]
        found: list[TopicPartition] = self.result(asked, f"tell the offsets of the group {group}").topic_partitions
        return found

    def members(self, group: str, *, timeout_s: float = TIMEOUT_S) -> int:
        """How many members a group has.

        Raises:
            KafkaException: the broker does not tell.
            ProcessorError: it does not let this client in.
        """
        asked = self.client.describe_consumer_groups([group], request_timeout=timeout_s)[group]
        return len(self.result(asked, f"describe the group {group}").members)

    def explain(self, error: KafkaException | None, action: str) -> ProcessorError:
        """Say what failed: that the broker lets nobody in like this, where it does not, else the error."""
        self.client.poll(0)
        unanswered = error is None or error.args[0].code() in _UNANSWERED
        return explain(KafkaException(self._refusal) if unanswered and self._refusal is not None else error, action)


def fetch(consumer: Consumer, messages: int, timeout_s: float, action: str) -> list[Any]:
    """Fetch messages and errors of single partitions.

    A consumer that can do no more says so once, and librdkafka takes its partitions away in the same moment. Whoever
    looked at the new generation first would drop the message that says why, and fetch nothing from then on.

    Args:
        consumer: whose callbacks run meanwhile.
        messages: at most so many.
        timeout_s: how long the first is awaited.
        action: what fails, as it follows "failed to".

    Raises:
        ProcessorError: the consumer can do no more.
    """
    found: list[Any] = consumer.consume(messages, timeout_s)
    for error in [error for message in found if (error := message.error()) is not None]:
        if error.fatal() or error.code() == KafkaError._FATAL:
            raise explain(KafkaException(error), action)
    return found


def offset_since(consumer: Consumer, topic: str, partition: int, since_ms: int) -> int | None:
    """The first offset of a partition that Kafka received at or after a time (Unix ms); None where there is none.

    Raises:
        KafkaException: the broker does not tell.
    """
    asked = TopicPartition(topic, partition, max(0, since_ms))
    found = int(consumer.offsets_for_times([asked], timeout=TIMEOUT_S)[0].offset)
    return None if found < 0 else found


class TopicMetadata:
    """Queries the broker for the id and the number of partitions of topics."""

    def __init__(self, settings: ProcessorSettings) -> None:
        self._admin = Admin(settings.bootstrap_servers, settings.kafka, log_level=3)

    def describe(self, topic: str) -> tuple[str, int]:
        """Return a topic's id and how many partitions it has now.

        Raises:
            ProcessorError: the topic does not exist, or no broker answers.
        """
        action = f"ask for topic {topic}"
        try:
            asked = self._admin.client.describe_topics(TopicCollection([topic]), request_timeout=TIMEOUT_S)[topic]
            found = self._admin.result(asked, action)
        except KafkaException as error:
            raise explain(error, action) from error
        return str(found.topic_id), len(found.partitions)

    def describe_unchanged(self, topic: str, topic_id: str) -> tuple[str, int]:
        """Describe a topic that is being read, and check that it is still the same one.

        Args:
            topic: its name.
            topic_id: its id when reading began.

        Raises:
            ProcessorError: it was deleted and recreated since, it does not exist, or no broker answers.
        """
        current_id, partitions = self.describe(topic)
        if current_id != topic_id:
            raise ProcessorError(
                f"Topic {topic} was deleted and recreated while this processor read it. Restart the processor: it then "
                "reads the new topic from its start."
            )
        return current_id, partitions


def committed_or_start(consumer: Consumer, partitions: list[TopicPartition]) -> list[TopicPartition]:
    """Find where reading goes on: the committed offset, or the log's start where none was ever committed.

    Raises:
        ProcessorError: the broker does not tell.
    """

    def start_offsets() -> list[TopicPartition]:
        return [_start(consumer, tp) for tp in _committed(consumer, partitions)]

    def refresh_metadata(error: Exception, _delay_s: float) -> None:
        if error.args[0].code() == KafkaError._UNKNOWN_PARTITION:
            # The group's leader knows of a partition that was just added, and this member does not yet.
            with suppress(KafkaException):
                consumer.list_topics(partitions[0].topic, timeout=TIMEOUT_S)

    try:
        return Backoff(0.1, 2.0, max_attempts=15).retry(start_offsets, _is_transient, on_retry=refresh_metadata)
    except KafkaException as error:
        raise explain(error, "fetch committed offsets") from error


def _is_transient(error: Exception) -> bool:
    return isinstance(error, KafkaException) and (error.args[0].retriable() or error.args[0].code() in _WAIT)


def _committed(consumer: Consumer, partitions: list[TopicPartition]) -> list[TopicPartition]:
    found: list[TopicPartition] = consumer.committed(partitions, timeout=TIMEOUT_S)
    failed = [tp.error for tp in found if tp.error is not None]
    if failed:
        raise KafkaException(failed[0])
    return found


def _start(consumer: Consumer, committed: TopicPartition) -> TopicPartition:
    offset = committed.offset
    if offset < 0:
        offset = consumer.get_watermark_offsets(committed, timeout=TIMEOUT_S, cached=False)[0]
    return TopicPartition(committed.topic, committed.partition, offset)


_WAIT = (
    KafkaError.UNSTABLE_OFFSET_COMMIT,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError._TIMED_OUT,
    KafkaError._UNKNOWN_PARTITION,
)


_REFUSALS = (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError._SSL)
"""The broker does not let this client in, or this client does not trust the broker."""

_UNANSWERED = (KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN)

NO_WAY_ON = (
    # What librdkafka hands to a consumer that can do no more; `fatal()` is not set on it.
    KafkaError._FATAL,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError._AUTHENTICATION,
)
"""What no waiting mends: a consumer that meets one of these stops."""


NAME_TAKEN = (
    "Another processor runs under this instance name: give each its own --instance. If none does, the broker lost "
    "track of this one while it was restarted: start it again"
)


def explain(error: Exception | None, action: str) -> ProcessorError:
    """Say what failed and what to do."""
    cause = error.args[0] if error is not None and error.args else None
    if not isinstance(cause, KafkaError):
        return ProcessorError(f"Kafka failed to {action}: {cause}.")
    granted = "Grant this user the rights that `barograph plan --acls` prints"
    who = "Check sasl.mechanism, sasl.username and BAROGRAPH_KAFKA_SASL_PASSWORD"
    advice = {
        KafkaError.UNKNOWN_TOPIC_OR_PART: "Run `barograph apply`, which creates the topics",
        KafkaError._UNKNOWN_TOPIC: "Run `barograph apply`, which creates the topics",
        KafkaError._ALL_BROKERS_DOWN: "Check bootstrap_servers and that the broker runs",
        KafkaError._TRANSPORT: "Check bootstrap_servers and that the broker runs",
        KafkaError._TIMED_OUT: "Check bootstrap_servers and that the broker runs",
        KafkaError._FENCED: NAME_TAKEN,
        KafkaError.PRODUCER_FENCED: NAME_TAKEN,
        KafkaError.FENCED_INSTANCE_ID: NAME_TAKEN,
        KafkaError.TOPIC_AUTHORIZATION_FAILED: granted,
        KafkaError.GROUP_AUTHORIZATION_FAILED: granted,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: granted,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED: granted,
        KafkaError._AUTHENTICATION: who,
        KafkaError.SASL_AUTHENTICATION_FAILED: who,
        KafkaError._SSL: "Check ssl.ca.location and the certificates, and that this port speaks TLS",
    }.get(cause.code(), "Look at the broker's log")
    if cause.code() == KafkaError._FATAL and "group.instance.id" in cause.str():
        advice = NAME_TAKEN
    return ProcessorError(f"Kafka failed to {action}: {cause.str()} ({cause.name()}). {advice}.")
