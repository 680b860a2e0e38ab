"""Offsets of a topic read again by somebody in no group: dead letters, and events that are counted anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streams.broker.client import consumer_config, explain
from streams.errors import ProcessorError
from streams.settings import ProcessorSettings


class OvertakenError(ProcessorError):
    """Retention took what was to be read next."""


def read_again(
    settings: ProcessorSettings,
    name: str,
    topic: str,
    spans: Mapping[int, tuple[int, int]],
    *,
    poll_messages: int,
    poll_s: float,
) -> Iterator[list[Any]]:
    """The committed messages of some offsets, as they are fetched; each batch holds at least one.

    Args:
        settings: where Kafka is.
        name: of the group in the broker's log; it is never joined, and nothing is committed.
        topic: what is read.
        spans: partition → offsets [start, end).
        poll_messages: at most so many at once.
        poll_s: how long so many are awaited, also at the end of a topic.

    Raises:
        OvertakenError: retention took some of them meanwhile.
        ProcessorError: Kafka does not answer.
    """
    ends = {partition: end for partition, (start, end) in spans.items() if start < end}
    consumer = Consumer(consumer_config(settings, name) | {"enable.partition.eof": True})
    try:
        consumer.assign([TopicPartition(topic, partition, spans[partition][0]) for partition in ends])
        while ends:
            found = []
            for message in consumer.consume(poll_messages, poll_s):
                error, partition, offset = message.error(), message.partition(), message.offset()
                assert partition is not None and offset is not None, "a consumed message has a position"
                if error is not None:
                    if error.code() == KafkaError._AUTO_OFFSET_RESET:
                        raise OvertakenError(f"Retention overtook the reading of {topic}: run it again.")
                    if error.code() != KafkaError._PARTITION_EOF:
                        raise KafkaException(error)
                    # What is left before the end is given to nobody: markers, and messages of aborted transactions.
                    ends.pop(partition, None)
                    continue
                end = ends.get(partition)
                if end is None:
                    continue
                if offset < end:
                    found.append(message)
                if offset >= end - 1:
                    del ends[partition]
            if found:
                yield found
    except KafkaException as error:
        raise explain(error, f"read {topic}") from error
    finally:
        consumer.close()
