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
from confluent_kafka import OFFSET_BEGINNING, KafkaException, Producer

from streams.broker.acl import denied
from streams.broker.client import TIMEOUT_S, TopicMetadata, explain, transactional_producer
from streams.broker.reread import reread
from streams.broker.transactions import end_transaction, send
from streams.settings import ProcessorSettings

LEADER = "leader"
"""Last part of the transactional id of every instance."""
MAX_OFFSET = 2**62
READ_MESSAGES, READ_S = 1_000, 0.2


class HealthLog:
    """The topic, as its leader writes it."""

    def __init__(self, settings: ProcessorSettings) -> None:
        self._settings = replace(settings, instance=LEADER)
        self._topic = settings.topics.model_health
        self._producer: Producer | None = None
        self._log = structlog.get_logger().bind(processor="guard", instance=settings.instance)

    def lead(self) -> dict[str, ModelHealth]:
        """Fence the leader before, and return the newest record of each model.

        Raises:
            ProcessorError: Kafka refuses or does not answer.
        """
        self._open()
        _, partitions = TopicMetadata(self._settings).describe(self._topic)
        # Reading ends at the end of each partition.
        ranges = dict.fromkeys(range(partitions), (OFFSET_BEGINNING, MAX_OFFSET))
        records: dict[str, ModelHealth] = {}
        batches = reread(
            self._settings, "guard-restore", self._topic, ranges, poll_messages=READ_MESSAGES, poll_s=READ_S
        )
        for messages in batches:
            for message in messages:
                if message.value() is None:
                    records.pop((message.key() or b"").decode(errors="replace"), None)
                    continue
                try:
                    record = decode_health(message.value())
                except ValueError as error:
                    self._log.warning("unreadable record", topic=self._topic, offset=message.offset(), error=str(error))
                else:
                    records[record.model] = record
        return records

    def publish(self, records: Iterable[ModelHealth]) -> bool:
        """Write records in one transaction, and return whether they were committed.

        Raises:
            ProcessorError: another leader fenced this one, or the ACLs are missing.
        """
        messages = [{"key": record.model.encode(), "value": encode_health(record)} for record in records]
        try:
            producer = self._producer or self._open()
            producer.begin_transaction()
            for message in messages:
                send(producer, self._topic, message)
            end_transaction(producer)
        except KafkaException as error:
            self._drop(error)
            return False
        return True

    def close(self) -> None:
        """Stop writing."""
        self._producer = None

    def _open(self) -> Producer:
        producer = transactional_producer(self._settings, "guard")
        try:
            producer.init_transactions(TIMEOUT_S)
        except KafkaException as error:
            raise denied(self._settings, "guard", error, "start transactions") from error
        self._producer = producer
        return producer

    def _drop(self, error: KafkaException) -> None:
        cause = error.args[0]
        if cause.fatal():
            raise explain(error, f"write to {self._topic}") from error
        self._log.warning("records were not written and will be written again", error=cause.str())
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(KafkaException):
                producer.abort_transaction(1.0)
