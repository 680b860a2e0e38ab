"""Writes records to the topic `model-health`, as the only writer at any time.

The partition's owner in the consumer group is the leader. All instances share one transactional id: a new leader fences
the one before, even if that was paused and does not know that it lost the partition.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

import structlog
from barograph.guard.health import ModelHealth, decode_health, encode_health
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, Producer

from streams.broker.acl import denied
from streams.broker.client import TIMEOUT_S, TopicMetadata, explain, transactional_producer
from streams.broker.reread import reread
from streams.broker.transactions import end_transaction, send
from streams.errors import ProcessorError
from streams.settings import ProcessorSettings

LEADER = "leader"
"""Last part of the transactional id of every instance."""
FENCED = (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)
MAX_OFFSET = 2**62
READ_MESSAGES, READ_S = 1_000, 0.2


class HealthLog:
    """The topic, as its leader writes it."""

    def __init__(self, settings: ProcessorSettings) -> None:
        self._settings = replace(settings, instance=LEADER)
        self._topic = settings.topics.model_health
        self._producer: Producer | None = None
        self._log = structlog.get_logger().bind(processor="guard", instance=settings.instance)

    def require_one_partition(self) -> None:
        """Check that the topic has one partition.

        Raises:
            ProcessorError: it has several, does not exist, or Kafka does not answer.
        """
        _, partitions = TopicMetadata(self._settings).describe(self._topic)
        if partitions != 1:
            raise ProcessorError(
                f"Topic {self._topic} has {partitions} partitions, and each would have a guard that leads: delete the "
                "topic and run `barograph apply`, which creates it again with one."
            )

    def lead(self) -> dict[str, ModelHealth]:
        """Fence the leader before, and return the newest record of each model.

        Raises:
            ProcessorError: Kafka refuses or does not answer, or the topic has several partitions.
        """
        self._open()
        self.require_one_partition()
        # Reading ends at the end of the partition.
        ranges = {0: (OFFSET_BEGINNING, MAX_OFFSET)}
        records: dict[str, ModelHealth] = {}
        unreadable, problem = 0, ""
        batches = reread(
            self._settings, "guard-restore", self._topic, ranges, poll_messages=READ_MESSAGES, poll_s=READ_S
        )
        for messages in batches:
            for message in messages:
                model = (message.key() or b"").decode(errors="replace")
                if message.value() is None:
                    records.pop(model, None)
                    continue
                try:
                    record = decode_health(message.value())
                    if record.model != model:
                        raise ValueError(f"its key is {model!r} and its model {record.model!r}")
                except ValueError as error:
                    unreadable += 1
                    problem = f"offset {message.offset()}: {error}"
                else:
                    records[model] = record
        if unreadable:
            self._log.warning("unreadable records ignored", topic=self._topic, n=unreadable, newest=problem)
        return records

    def publish(self, records: Iterable[ModelHealth]) -> bool:
        """Write records in one transaction, and return whether they were committed.

        After false they may be committed or not, and another guard may lead: only `lead` makes this one write again.

        Raises:
            ProcessorError: another leader fenced this one, or the ACLs are missing.
        """
        producer = self._producer
        if producer is None:
            return False
        messages = [{"key": record.model.encode(), "value": encode_health(record)} for record in records]
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

    def _open(self) -> None:
        producer = transactional_producer(self._settings, "guard")
        try:
            producer.init_transactions(TIMEOUT_S)
        except KafkaException as error:
            raise denied(self._settings, "guard", error, "start transactions") from error
        self._producer = producer

    def _drop(self, producer: Producer, error: KafkaException) -> None:
        cause = error.args[0]
        if cause.code() in FENCED:
            raise ProcessorError(
                f"Another guard leads and writes {self._topic}: this one was paused or cut off for too long. Start it "
                "again: it then waits, and leads when the other ends."
            ) from error
        if cause.fatal():
            raise explain(error, f"write to {self._topic}") from error
        self._log.warning("records were not written and will be evaluated again", error=cause.str())
        self._producer = None
        with suppress(KafkaException):
            producer.abort_transaction(1.0)
