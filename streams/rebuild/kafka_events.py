"""The events of a stretch of event time, read again from `predictions` up to where the monitor had come.

An event of [from, to) was received no earlier than from − 5 min, or it is a dead letter: so reading starts at the first
message that Kafka received since then, and it is whole if the log still holds one from before, or never lost any.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from barograph.events import MAX_AHEAD_S
from confluent_kafka import Consumer, KafkaException, TopicPartition
from numpy.typing import NDArray

from streams.broker.client import TIMEOUT_S, TopicMetadata, consumer_config, explain, offset_since
from streams.broker.reread import OvertakenError, read_again
from streams.dead_letters.reader import DeadLetterFilter, DeadLetterReader
from streams.events.arrow_decoder import ArrowDecoder
from streams.events.batch import portion_size, sort_messages
from streams.events.columns import EventColumns
from streams.events.json_decoder import JsonDecoder
from streams.monitor.state.offset_ledger import OffsetLedger
from streams.rebuild.errors import RebuildError
from streams.registry.registry import Registry
from streams.settings import ProcessorSettings

POLL_MESSAGES, POLL_S = 20_000, 0.2
_ANY_ROW = -1


@dataclass(frozen=True, slots=True)
class Span:
    """Offsets [start, end) of a source partition that are read again."""

    partition: int
    start: int
    end: int


class KafkaSource:
    """Reads events of one model again."""

    def __init__(self, settings: ProcessorSettings) -> None:
        self._settings = settings
        self._topic = settings.topics.predictions

    def spans(self, ledger: OffsetLedger, from_s: int) -> list[Span]:
        """Find what is to be read.

        Args:
            offset ledger: how far the monitor had come in each source partition.
            from_s: start of the stretch, event time.

        Raises:
            RebuildError: the log does not hold all of it any more, or is another topic.
            ProcessorError: Kafka does not answer.
        """
        topic_id, _ = TopicMetadata(self._settings).describe(self._topic)
        consumer = Consumer(consumer_config(self._settings, "rebuild"))
        try:
            return [
                self._span(consumer, partition, row.source_topic_id == topic_id, row.end, from_s)
                for partition, row in sorted(ledger.rows.items())
            ]
        except KafkaException as error:
            raise explain(error, f"look into {self._topic}") from error
        finally:
            consumer.close()

    def _span(self, consumer: Consumer, partition: int, same_topic: bool, end: int, from_s: int) -> Span:
        if not same_topic:
            raise RebuildError(
                f"Topic {self._topic} was deleted and made anew since partition {partition} was counted: Kafka holds "
                "none of its events any more."
            )
        place = TopicPartition(self._topic, partition)
        low, high = consumer.get_watermark_offsets(place, timeout=TIMEOUT_S, cached=False)
        found = offset_since(consumer, self._topic, partition, (from_s - MAX_AHEAD_S) * 1000)
        start = high if found is None else found
        if low > 0 and start <= low:
            raise RebuildError(
                f"Retention has taken offsets [0, {low}) of {self._topic} partition {partition}, and some of them may "
                "hold events of this stretch: it cannot be rebuilt exactly from Kafka. Choose a later --from."
            )
        if end > high:
            raise RebuildError(
                f"The monitor had read {self._topic} partition {partition} up to offset {end}, and it ends at {high}: "
                "Kafka lost what it had acknowledged, so nothing can be rebuilt from it."
            )
        return Span(partition, min(start, end), end)

    def events(
        self, spans: list[Span], registry: Registry, model: str, from_s: int, to_s: int
    ) -> Iterator[EventColumns]:
        """The events of a model in [from, to), each once; what was put aside then is left out.

        A dead letter that would be counted today was not counted then, or was since as the message that replayed it.

        Raises:
            RebuildError: retention overtook the reading.
            ProcessorError: Kafka does not answer.
        """
        from_json, from_arrow = JsonDecoder(registry), ArrowDecoder(registry)
        aside = self._aside(spans)
        for messages in self._portions(spans):
            batch = sort_messages(messages)
            for decoder, some in ((from_json, batch.json), (from_arrow, batch.arrow)):
                if not len(some):
                    continue
                for events in decoder.decode(some).events:
                    if events.model != model:
                        continue
                    chosen = (events.at_ms >= from_s * 1000) & (events.at_ms < to_s * 1000)
                    chosen &= ~_put_aside(events, aside)
                    if chosen.any():
                        yield events if chosen.all() else events.take(chosen)

    def _aside(self, spans: list[Span]) -> dict[tuple[int, int, int], int]:
        """Partition, offset and row of every dead letter of the spans → when it was put aside last."""
        ends = {span.partition: (span.start, span.end) for span in spans}
        wanted = DeadLetterFilter(topic="predictions", states=frozenset({"waiting", "replayed", "dropped"}))
        found: dict[tuple[int, int, int], int] = {}
        for letter in DeadLetterReader(self._settings).dead_letters(wanted, {}):
            start, end = ends.get(letter.source_partition, (0, 0))
            if start <= letter.source_offset < end:
                # Bytes that were no Arrow are all of their message.
                row = _ANY_ROW if letter.is_whole else letter.index
                key = letter.source_partition, letter.source_offset, row
                found[key] = max(found.get(key, 0), letter.at_ms)
        return found

    def _portions(self, spans: list[Span]) -> Iterator[list[Any]]:
        wanted = {span.partition: (span.start, span.end) for span in spans}
        found = read_again(self._settings, "rebuild", self._topic, wanted, poll_messages=POLL_MESSAGES, poll_s=POLL_S)
        try:
            for messages in found:
                while messages:
                    n = portion_size(messages)
                    yield messages[:n]
                    messages = messages[n:]
        except OvertakenError as error:
            raise RebuildError(f"Retention overtook the reading of {self._topic}: choose a later --from.") from error


def _put_aside(events: EventColumns, aside: Mapping[tuple[int, int, int], int]) -> NDArray[np.bool_]:
    """Which events were dead letters when they were read first, shape (n,)."""
    out = np.zeros(len(events), dtype=bool)
    if not aside:
        return out
    offsets = np.array(sorted({offset for _, offset, _ in aside}), dtype=np.int64)
    for i in np.flatnonzero(np.isin(events.offset, offsets)).tolist():
        place = int(events.partition[i]), int(events.offset[i])
        at_ms = max(aside.get((*place, int(events.index[i])), -1), aside.get((*place, _ANY_ROW), -1))
        # A letter from before the message came is of a topic that was made anew since; clocks may differ a little.
        out[i] = at_ms >= int(events.received_ms[i]) - MAX_AHEAD_S * 1000
    return out
