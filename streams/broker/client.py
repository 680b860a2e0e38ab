"""Kafka clients as all processors use them: configuration, topic metadata, and errors with advice."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from barograph.publisher.kafka_errors import hide_config
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

from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.runtime.backoff import Backoff
from barograph_server.streams.settings import ProcessorSettings

T = TypeVar("T")
PartitionId = tuple[str, int]

TIMEOUT_S = 30.0
READ_AHEAD = {
    "queued.min.messages": 100_000,
    "queued.max.messages.kbytes": 32_768,
    # Pause of the fetcher once the queue is full. With librdkafka's default of a second the queue runs empty.
    "fetch.queue.backoff.ms": 20,
}
"""How much a consumer prefetches."""
AUTH_FAILURE_S = 3.0
"""How long a failed authentication may last before a request fails with it: brokers also fail it while they restart."""

_log = logging.getLogger(__name__)


def consumer_config(settings: ProcessorSettings, group: str) -> dict[str, Any]:
    """Return the configuration of a consumer that commits explicitly and never resets its offsets by itself.

    `read_committed` makes fetching the committed offsets wait for pending transactions; the eager assignor makes
    every rebalance start a new generation for all members. The instance name makes the member static (KIP-345): a
    process that restarts after a kill keeps its partitions, without waiting for the old session to time out.
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
    """Create a producer that fences its predecessor of the same instance and aborts its open transaction.

    Args:
        on_failure: called with the error of each message that was not delivered.
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
            # The error of a failed transaction does not name the cause: the delivery reports do.
            **({"on_delivery": on_failure, "delivery.report.only.error": True} if on_failure is not None else {}),
            **settings.kafka,
        }
    )


def make_consumer(
    settings: ProcessorSettings, group: str, *, reports_ends: bool = False, plugin: str | None = None
) -> Consumer:
    """Create a consumer of a processor's group.

    Args:
        group: the group, without the prefix.
        reports_ends: whether the consumer returns an error `_PARTITION_EOF` when it reaches the end of a partition.
        plugin: path of a library that librdkafka loads.
    """
    config = {**consumer_config(settings, group), "enable.partition.eof": reports_ends}
    if plugin is not None:
        config["plugin.library.paths"] = ";".join(filter(None, (config.get("plugin.library.paths"), plugin)))
    return Consumer(config)


class _AuthFailure:
    """The first authentication error of a request; the first failed connection of the client is a warning.

    It has no reference to the client that reports errors to it. Otherwise both would be a cycle, and the garbage
    collector could destroy the client in one of librdkafka's threads, which the destruction waits for.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.error: KafkaError | None = None
        self._monotonic = monotonic
        self._since_s, self._is_warned = 0.0, False

    def record(self, error: KafkaError) -> None:
        if self.error is None and error.code() in _AUTH_ERRORS:
            self.error, self._since_s = error, self._monotonic()
        elif error.code() == KafkaError._TRANSPORT and not self._is_warned:
            self._is_warned = True
            _log.warning("Kafka does not answer; this is retried for a while. %s", hide_config(error.str()))

    def lasts(self) -> bool:
        """Return whether authentication has failed for so long that the request is hopeless."""
        return self.error is not None and self._monotonic() - self._since_s > AUTH_FAILURE_S


class Admin:
    """An admin client that reports failed authentication at once.

    librdkafka treats a wrong password or certificate like a broker that is down: requests time out without a cause.
    The cause arrives through the error callback only.
    """

    def __init__(
        self, bootstrap_servers: str, kafka: Mapping[str, str], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Create the client. librdkafka logs nothing: it would repeat a failed connection 20 times a second."""
        self._failure = _AuthFailure(monotonic)
        config: dict[str, Any] = {"bootstrap.servers": bootstrap_servers, "log_level": 0, **kafka}
        try:
            self.client = AdminClient(config | {"error_cb": self._failure.record})
        except KafkaException as error:
            raise explain(error, "accept the client's settings") from error

    def result(self, future: Future[T], action: str) -> T:
        """Wait for the result of a request.

        Args:
            action: the request, as it follows "failed to".
        """
        # An earlier error, such as a broker that restarted during a handshake, does not concern this request. Callbacks
        # run in `poll` only, so no error of this request is dropped here.
        self._failure.error = None
        while True:
            try:
                return future.result(0.1)
            except TimeoutError:
                self.client.poll(0)
                if self._failure.lasts():
                    raise self.explain(None, action) from None
            except KafkaException as error:
                self.client.poll(0)
                if self._failure.error is not None and error.args[0].code() in _NO_ANSWER:
                    raise self.explain(error, action) from error
                raise

    def committed(
        self, group: str, partitions: Iterable[PartitionId], *, timeout_s: float = TIMEOUT_S
    ) -> list[TopicPartition]:
        """Return the offsets that a group has committed; below 0 where it has committed none."""
        query = ConsumerGroupTopicPartitions(group, [TopicPartition(*partition) for partition in partitions])
        future = self.client.list_consumer_group_offsets([query], request_timeout=timeout_s)[group]
        offsets: list[TopicPartition] = self.result(future, f"list the offsets of group {group}").topic_partitions
        return offsets

    def members(self, group: str, *, timeout_s: float = TIMEOUT_S) -> int:
        future = self.client.describe_consumer_groups([group], request_timeout=timeout_s)[group]
        return len(self.result(future, f"describe group {group}").members)

    def explain(self, error: KafkaException | None, action: str) -> ProcessorError:
        """Return an error with advice: failed authentication if that is the cause, else the error itself."""
        self.client.poll(0)
        is_unanswered = error is None or error.args[0].code() in _NO_ANSWER
        cause = self._failure.error
        return explain(KafkaException(cause) if is_unanswered and cause is not None else error, action)


def fetch(consumer: Consumer, messages: int, timeout_s: float, action: str) -> list[Any]:
    """Fetch messages and errors of single partitions.

    A consumer reports a fatal error once, and librdkafka revokes its partitions at the same moment. The error must be
    checked before the generation: otherwise it is dropped, and the consumer never fetches again.

    Args:
        consumer: its rebalance callbacks run during the call.
        messages: fetched at most.
        action: the action, as it follows "failed to".
    """
    fetched: list[Any] = consumer.consume(messages, timeout_s)
    for error in [error for message in fetched if (error := message.error()) is not None]:
        if error.fatal() or error.code() == KafkaError._FATAL:
            raise explain(KafkaException(error), action)
    return fetched


def offset_since(consumer: Consumer, topic: str, partition: int, since_ms: int) -> int | None:
    """Return the first offset that Kafka received at or after a time (Unix ms); None if there is none."""
    query = TopicPartition(topic, partition, max(0, since_ms))
    offset = int(consumer.offsets_for_times([query], timeout=TIMEOUT_S)[0].offset)
    return None if offset < 0 else offset


class TopicMetadata:
    """Queries the broker for the id and the number of partitions of topics."""

    def __init__(self, settings: ProcessorSettings) -> None:
        self._admin = Admin(settings.bootstrap_servers, settings.kafka)

    def describe(self, topic: str) -> tuple[str, int]:
        """Return a topic's id and how many partitions it has now."""
        action = f"describe topic {topic}"
        try:
            future = self._admin.client.describe_topics(TopicCollection([topic]), request_timeout=TIMEOUT_S)[topic]
            description = self._admin.result(future, action)
        except KafkaException as error:
            raise explain(error, action) from error
        return str(description.topic_id), len(description.partitions)

    def describe_unchanged(self, topic: str, topic_id: str) -> tuple[str, int]:
        """Describe a topic that is being read, and check that it still has the id that it had when reading began."""
        current_id, partitions = self.describe(topic)
        if current_id != topic_id:
            raise ProcessorError(
                f"Topic {topic} was deleted and recreated while this processor read it. Restart the processor: it then "
                "reads the new topic from its start."
            )
        return current_id, partitions


def committed_or_start(consumer: Consumer, partitions: list[TopicPartition]) -> list[TopicPartition]:
    """Return where reading continues: the committed offset, or the log's start if none was ever committed."""

    def start_offsets() -> list[TopicPartition]:
        return [_start(consumer, tp) for tp in _committed(consumer, partitions)]

    def refresh_metadata(error: Exception, _delay_s: float) -> None:
        if error.args[0].code() == KafkaError._UNKNOWN_PARTITION:
            # The group's leader knows of a partition that was just added, and this member does not yet.
            with suppress(KafkaException):
                consumer.list_topics(partitions[0].topic, timeout=TIMEOUT_S)

    try:
        return Backoff(0.1, 2.0, max_attempts=15).retry(start_offsets, is_transient, on_retry=refresh_metadata)
    except KafkaException as error:
        raise explain(error, "fetch committed offsets") from error


def is_transient(error: Exception) -> bool:
    """Return whether a retry of the failed Kafka request may succeed."""
    return isinstance(error, KafkaException) and (error.args[0].retriable() or error.args[0].code() in _TRANSIENT)


def _committed(consumer: Consumer, partitions: list[TopicPartition]) -> list[TopicPartition]:
    committed: list[TopicPartition] = consumer.committed(partitions, timeout=TIMEOUT_S)
    failed = [tp.error for tp in committed if tp.error is not None]
    if failed:
        raise KafkaException(failed[0])
    return committed


def _start(consumer: Consumer, committed: TopicPartition) -> TopicPartition:
    offset = committed.offset
    if offset < 0:
        offset = consumer.get_watermark_offsets(committed, timeout=TIMEOUT_S, cached=False)[0]
    return TopicPartition(committed.topic, committed.partition, offset)


_TRANSIENT = (
    KafkaError.UNSTABLE_OFFSET_COMMIT,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError._TIMED_OUT,
    KafkaError._UNKNOWN_PARTITION,
)


_AUTH_ERRORS = (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError._SSL)
"""The broker rejects this client's credentials, or this client does not trust the broker."""

_NO_ANSWER = (KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN)

FATAL_ERRORS = (
    # A consumer's fatal error; librdkafka does not set `fatal()` on it.
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
"""Errors that no retry resolves: the processor stops."""


INSTANCE_NAME_TAKEN = (
    "Another processor runs under this instance name: give each its own --instance. If none does, the broker lost "
    "track of this one during a restart: start it again"
)


def explain(error: Exception | None, action: str) -> ProcessorError:
    """Return an error that says what failed and what to do."""
    cause = error.args[0] if error is not None and error.args else None
    if not isinstance(cause, KafkaError):
        return ProcessorError(f"Kafka failed to {action}: {cause}.")
    grant = "Grant this user the ACLs that `barograph plan --acls` prints"
    credentials = "Check sasl.mechanism, sasl.username and BAROGRAPH_KAFKA_SASL_PASSWORD"
    advice = {
        KafkaError.UNKNOWN_TOPIC_OR_PART: "Run `barograph apply`, which creates the topics",
        KafkaError._UNKNOWN_TOPIC: "Run `barograph apply`, which creates the topics",
        KafkaError._ALL_BROKERS_DOWN: "Check bootstrap_servers and that the broker runs",
        KafkaError._TRANSPORT: "Check bootstrap_servers and that the broker runs",
        KafkaError._TIMED_OUT: "Check bootstrap_servers and that the broker runs",
        KafkaError._FENCED: INSTANCE_NAME_TAKEN,
        KafkaError.PRODUCER_FENCED: INSTANCE_NAME_TAKEN,
        KafkaError.FENCED_INSTANCE_ID: INSTANCE_NAME_TAKEN,
        KafkaError.TOPIC_AUTHORIZATION_FAILED: grant,
        KafkaError.GROUP_AUTHORIZATION_FAILED: grant,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: grant,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED: grant,
        KafkaError._AUTHENTICATION: credentials,
        KafkaError.SASL_AUTHENTICATION_FAILED: credentials,
        KafkaError._SSL: "Check ssl.ca.location and the certificates, and that this port speaks TLS",
    }.get(cause.code(), "Look at the broker's log")
    if cause.code() == KafkaError._FATAL and "group.instance.id" in cause.str():
        advice = INSTANCE_NAME_TAKEN
    return ProcessorError(f"Kafka failed to {action}: {hide_config(cause.str())} ({cause.name()}). {advice}.")
