"""Topics that have one writer at any time, and compacted ones of one partition among them.

All writers share one transactional id: a new one fences the one before, even if that was paused and does not know it.
A writer reads the topic to its end after it has fenced the others, so that it decides from all that they wrote.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition

from barograph_server.streams.broker.acl import LEADER, KafkaRole, denied
from barograph_server.streams.broker.client import (
    TIMEOUT_S,
    TopicMetadata,
    consumer_config,
    explain,
    transactional_producer,
)
from barograph_server.streams.broker.transactions import end_transaction, send
from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.settings import ProcessorSettings

FENCED = (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)
MAX_OFFSET = 2**62
READ_MESSAGES, READ_S = 1_000, 0.2


class OnlyWriter:
    """A topic, as its only writer sees it."""

    def __init__(self, settings: ProcessorSettings, role: KafkaRole, topic: str, *, fenced_error: str) -> None:
        """Name the topic; `fence` connects.

        Args:
            role: the writer's role; the transactional id begins with it.
            fenced_error: what to say if another writer fenced this one.
        """
        self._settings = replace(settings, instance=LEADER)
        self._role, self._topic, self._fenced_error = role, topic, fenced_error
        self._producer: Producer | None = None
        self._log = structlog.get_logger().bind(processor=role, instance=settings.instance)

    def publish(self, messages: Sequence[dict[str, Any]]) -> bool:
        """Write messages in one transaction, and return whether they were committed.

        After false they may be committed or not, and another writer may have fenced this one: only `fence` makes this
        one write again.

        Args:
            messages: keyword arguments of `Producer.produce`, with `key` and `value`.
        """
        producer = self._producer
        if producer is None:
            return False
        try:
            producer.begin_transaction()
            for message in messages:
                send(producer, self._topic, message)
            end_transaction(producer)
        except KafkaException as error:
            self._drop(producer, error)
            return False
        return True

    def close(self) -> None:
        """Stop writing."""
        self._producer = None

    def fence(self) -> None:
        """Fence the writer before."""
        producer = transactional_producer(self._settings, self._role)
        try:
            producer.init_transactions(TIMEOUT_S)
        except KafkaException as error:
            raise denied(self._settings, self._role, error, "start transactions") from error
        self._producer = producer

    def _drop(self, producer: Producer, error: KafkaException) -> None:
        cause = error.args[0]
        if cause.code() in FENCED:
            raise ProcessorError(self._fenced_error) from error
        if cause.fatal():
            raise explain(error, f"write to {self._topic}") from error
        self._log.warning("records were not written", topic=self._topic, error=cause.str())
        self._producer = None
        with suppress(KafkaException):
            producer.abort_transaction(1.0)


class CompactedLog(OnlyWriter):
    """A compacted topic of one partition."""

    def __init__(
        self, settings: ProcessorSettings, role: KafkaRole, topic: str, *, partitions_error: str, fenced_error: str
    ) -> None:
        """Name the topic; `lead` connects.

        Args:
            partitions_error: what is wrong with several partitions, and what to do; it follows their number.
        """
        super().__init__(settings, role, topic, fenced_error=fenced_error)
        self._partitions_error = partitions_error

    def require_one_partition(self) -> None:
        """Check that the topic has one partition."""
        _, partitions = TopicMetadata(self._settings).describe(self._topic)
        if partitions != 1:
            raise ProcessorError(f"Topic {self._topic} has {partitions} partitions, {self._partitions_error}")

    def lead(self) -> Iterator[Any]:
        """Fence the writer before, check the topic, and yield all messages."""
        self.fence()
        self.require_one_partition()
        yield from self.read()

    def read(self) -> Iterator[Any]:
        """Yield all messages up to the end of the topic, without fencing anyone."""
        return read_on(self._settings, f"{self._role}-restore", self._topic, [OFFSET_BEGINNING])


def read_on(settings: ProcessorSettings, name: str, topic: str, starts: Sequence[int]) -> Iterator[Any]:
    """Yield the committed messages of all partitions from these offsets to their ends."""
    # Reading ends at the end of each partition.
    ranges = {partition: (start, MAX_OFFSET) for partition, start in enumerate(starts)}
    for messages in reread(settings, name, topic, ranges, poll_messages=READ_MESSAGES, poll_s=READ_S):
        yield from messages


class OvertakenError(ProcessorError):
    """Retention deleted offsets that are still to be read."""


def reread(
    settings: ProcessorSettings,
    name: str,
    topic: str,
    ranges: Mapping[int, tuple[int, int]],
    *,
    poll_messages: int,
    poll_s: float,
) -> Iterator[list[Any]]:
    """Yield the committed messages of offset ranges in batches of at least one.

    Args:
        name: group id, which shows in the broker's log; the group is never joined, and nothing is committed.
        ranges: partition → offsets [start, end).
        poll_s: how long one fetch waits for that many.

    Raises:
        OvertakenError: retention deleted some of the offsets.
    """
    ends = {partition: end for partition, (start, end) in ranges.items() if start < end}
    consumer = Consumer(consumer_config(settings, name) | {"enable.partition.eof": True})
    try:
        consumer.assign([TopicPartition(topic, partition, ranges[partition][0]) for partition in ends])
        while ends:
            messages = []
            for message in consumer.consume(poll_messages, poll_s):
                error, partition, offset = message.error(), message.partition(), message.offset()
                if error is not None:
                    if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                        # librdkafka looks for the group's coordinator, which no read needs.
                        continue
                    if error.code() == KafkaError._AUTO_OFFSET_RESET:
                        raise OvertakenError(
                            f"Retention deleted offsets of {topic} while they were read: run the command again."
                        )
                    if error.code() != KafkaError._PARTITION_EOF:
                        raise KafkaException(error)
                    # The offsets left before the end are markers and aborted messages, which are never returned.
                    assert partition is not None, "the end is that of a partition"
                    ends.pop(partition, None)
                    continue
                assert partition is not None, "a consumed message has a partition"
                assert offset is not None, "a consumed message has an offset"
                end = ends.get(partition)
                if end is None:
                    continue
                if offset < end:
                    messages.append(message)
                if offset >= end - 1:
                    del ends[partition]
            if messages:
                yield messages
    except KafkaException as error:
        raise explain(error, f"read {topic}") from error
    finally:
        consumer.close()
