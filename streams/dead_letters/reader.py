"""Reads the dead-letter topics and the resolutions of dead letters, up to their current ends."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition

from barograph_server.streams.broker.client import TIMEOUT_S, TopicMetadata, consumer_config, explain, offset_since
from barograph_server.streams.broker.compacted_log import reread
from barograph_server.streams.dead_letters.dead_letter import (
    DeadLetter,
    DeadLetterPosition,
    Resolution,
    State,
    open_dead_letter,
)
from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.streams.topics import Topics

GROUP = "dead-letters"
"""Group name in the broker's log. The group is never joined and commits nothing."""
POLL_MESSAGES, POLL_S = 1_000, 0.05
"""Messages per fetch, and how long a fetch waits for them. It waits that long even at the end of a topic."""

_RESOLUTIONS = msgspec.json.Decoder(Resolution)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterFilter:
    """Selects dead letters. A criterion that is None or empty matches all of them."""

    positions: frozenset[DeadLetterPosition] = frozenset()
    topic: str | None = None
    """The source topic, without the prefix: `predictions`, `labels` or `partials`."""
    model: str | None = None
    reason: str | None = None
    partition: int | None = None
    """Partition of the source topic."""
    since_ms: int | None = None
    """Earliest dead-letter time, Unix ms."""
    until_ms: int | None = None
    """End of the dead-letter time range, exclusive, Unix ms."""
    states: frozenset[State] = field(default_factory=lambda: frozenset({"waiting"}))

    def matches(self, dead_letter: DeadLetter) -> bool:
        return (
            (not self.positions or dead_letter.position in self.positions)
            and (self.model is None or dead_letter.model == self.model)
            and (self.reason is None or dead_letter.reason == self.reason)
            and (self.partition is None or dead_letter.source_partition == self.partition)
            and (self.since_ms is None or dead_letter.at_ms >= self.since_ms)
            and (self.until_ms is None or dead_letter.at_ms < self.until_ms)
            and dead_letter.state in self.states
        )


class DeadLetterReader:
    """Reads dead letters and resolutions. Every error is a `ProcessorError` with an explanation."""

    def __init__(self, settings: ProcessorSettings) -> None:
        self._settings = settings
        self._topics = TopicMetadata(settings)

    def resolutions(self) -> dict[str, Resolution]:
        topic = self._settings.topics.dead_letters
        resolutions: dict[str, Resolution] = {}
        for message in self._messages(topic, self.partitions(topic), None):
            try:
                resolutions[(message.key() or b"").decode()] = _RESOLUTIONS.decode(message.value() or b"")
            except (msgspec.DecodeError, ValueError) as error:
                raise ProcessorError(
                    f"Topic {topic} has a message that is not a resolution of a dead letter, in partition "
                    f"{message.partition()} at offset {message.offset()} ({error}): only `barograph dead-letters` may "
                    "write to it."
                ) from error
        return resolutions

    def dead_letters(self, criteria: DeadLetterFilter, resolutions: dict[str, Resolution]) -> Iterator[DeadLetter]:
        """Yield the dead letters that match, topic by topic, in the order of their positions."""
        topics = dead_letter_topics(self._settings.topics)
        for source, topic in topics.items():
            if criteria.topic not in (None, source):
                continue
            if criteria.positions and topic not in {position.topic for position in criteria.positions}:
                continue
            topic_id, partitions = self._topics.describe(topic)
            for message in self._messages(topic, partitions, criteria.since_ms):
                dead_letter = open_dead_letter(message, topic_id, resolutions)
                if criteria.matches(dead_letter):
                    yield dead_letter

    def partitions(self, topic: str) -> int:
        return self._topics.describe(topic)[1]

    def _messages(self, topic: str, partitions: int, since_ms: int | None) -> Iterator[Any]:
        """Yield the committed messages of a topic from a time up to the current end."""
        consumer = Consumer(consumer_config(self._settings, GROUP))
        try:
            ranges = {p: self._offset_range(consumer, topic, p, since_ms) for p in range(partitions)}
        except KafkaException as error:
            raise explain(error, f"read {topic}") from error
        finally:
            consumer.close()
        batches = reread(self._settings, GROUP, topic, ranges, poll_messages=POLL_MESSAGES, poll_s=POLL_S)
        return chain.from_iterable(batches)

    @staticmethod
    def _offset_range(consumer: Consumer, topic: str, partition: int, since_ms: int | None) -> tuple[int, int]:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=TIMEOUT_S, cached=False)
        if since_ms is None:
            return low, high
        start = offset_since(consumer, topic, partition, since_ms)
        return (high if start is None else max(low, start)), high


def dead_letter_topics(topics: Topics) -> dict[str, str]:
    """Map source topics, without the prefix, to their dead-letter topics."""
    return {"predictions": topics.predictions_dead, "labels": topics.labels_dead, "partials": topics.partials_dead}
