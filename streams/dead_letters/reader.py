"""Reading topics of dead letters, and the marks of what was done with them, up to where they end now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.broker.client import TIMEOUT_S, TopicFacts, consumer_config, explain, offset_since
from streams.broker.reread import read_again
from streams.dead_letters.dead_letter import DeadLetter, DeadLetterPosition, Resolution, State, open_dead_letter
from streams.errors import ProcessorError
from streams.settings import ProcessorSettings
from streams.topics import Topics

GROUP = "dead-letters"
"""Never joined and nothing committed: the name is for the broker's log."""
POLL_MESSAGES, POLL_S = 1_000, 0.05

_MARKS = msgspec.json.Decoder(Resolution)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterFilter:
    """Which letters are meant; what is None or empty does not choose."""

    positions: frozenset[DeadLetterPosition] = frozenset()
    topic: str | None = None
    """The source topic, without the prefix: `predictions`, `labels` or `partials`."""
    model: str | None = None
    reason: str | None = None
    partition: int | None = None
    """Of the source topic."""
    since_ms: int | None = None
    """Put aside at or after this, Unix ms …"""
    until_ms: int | None = None
    """… and before this."""
    states: frozenset[State] = field(default_factory=lambda: frozenset({"waiting"}))

    def matches(self, letter: DeadLetter) -> bool:
        """Whether a letter is meant."""
        return (
            (not self.positions or letter.position in self.positions)
            and (self.model is None or letter.model == self.model)
            and (self.reason is None or letter.reason == self.reason)
            and (self.partition is None or letter.source_partition == self.partition)
            and (self.since_ms is None or letter.at_ms >= self.since_ms)
            and (self.until_ms is None or letter.at_ms < self.until_ms)
            and letter.state in self.states
        )


class DeadLetterReader:
    """Reads letters and marks; every error is a `ProcessorError` with a sentence."""

    def __init__(self, settings: ProcessorSettings) -> None:
        self._settings = settings
        self._facts = TopicFacts(settings)

    def resolutions(self) -> dict[str, Resolution]:
        """What was done with letters, by their mark's key.

        Raises:
            ProcessorError: the topic is missing, or holds what is no mark.
        """
        topic = self._settings.topics.dead_letters
        found: dict[str, Resolution] = {}
        for message in self._messages(topic, self.partitions(topic), None):
            try:
                found[(message.key() or b"").decode()] = _MARKS.decode(message.value() or b"")
            except (msgspec.DecodeError, ValueError) as error:
                raise ProcessorError(
                    f"Topic {topic} holds something that is no mark, in partition {message.partition()} at offset "
                    f"{message.offset()} ({error}): nobody but `barograph dead-letters` may write to it."
                ) from error
        return found

    def dead_letters(self, wanted: DeadLetterFilter, marks: dict[str, Resolution]) -> Iterator[DeadLetter]:
        """The letters that are meant, topic by topic, in the order in which they were put aside."""
        topics = dead_letter_topics(self._settings.topics)
        for source, topic in topics.items():
            if wanted.topic not in (None, source):
                continue
            if wanted.positions and topic not in {place.topic for place in wanted.positions}:
                continue
            topic_id, partitions = self._facts.describe(topic)
            for message in self._messages(topic, partitions, wanted.since_ms):
                letter = open_dead_letter(message, topic_id, marks)
                if wanted.matches(letter):
                    yield letter

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has."""
        return self._facts.describe(topic)[1]

    def _messages(self, topic: str, partitions: int, since_ms: int | None) -> Iterator[Any]:
        """Every committed message of a topic that is there now, from a time on."""
        consumer = Consumer(consumer_config(self._settings, GROUP))
        try:
            spans = {partition: self._span(consumer, topic, partition, since_ms) for partition in range(partitions)}
        except KafkaException as error:
            raise explain(error, f"read {topic}") from error
        finally:
            consumer.close()
        # Not longer: it waits for that many even at the end of a topic.
        found = read_again(self._settings, GROUP, topic, spans, poll_messages=POLL_MESSAGES, poll_s=POLL_S)
        return chain.from_iterable(found)

    @staticmethod
    def _span(consumer: Consumer, topic: str, partition: int, since_ms: int | None) -> tuple[int, int]:
        place = TopicPartition(topic, partition)
        low, high = consumer.get_watermark_offsets(place, timeout=TIMEOUT_S, cached=False)
        if since_ms is None:
            return low, high
        found = offset_since(consumer, topic, partition, since_ms)
        return (high if found is None else max(low, found)), high


def dead_letter_topics(topics: Topics) -> dict[str, str]:
    """Source topic without its prefix → the topic of its dead letters."""
    return {"predictions": topics.predictions_dead, "labels": topics.labels_dead, "partials": topics.partials_dead}
