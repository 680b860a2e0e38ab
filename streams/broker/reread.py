"""Rereads offset ranges outside any consumer group, for dead letters and for recounts."""

from collections.abc import Iterator, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from barograph_server.streams.broker.client import consumer_config, explain
from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.settings import ProcessorSettings


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
        poll_messages: messages fetched at once, at most.
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
