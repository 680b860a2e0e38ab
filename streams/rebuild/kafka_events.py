"""Rereads the events of a range of event time from `predictions`, up to the monitor's position.

An event of [from, to) was received no earlier than from − 5 min; otherwise it is a dead letter. So reading starts at
the first message that Kafka received after that time. It is complete if the log still has an earlier message, or
retention never deleted any.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from barograph.events import MAX_AHEAD_S
from confluent_kafka import Consumer, KafkaException, TopicPartition
from numpy.typing import NDArray

from barograph_server.streams.broker.client import TIMEOUT_S, TopicMetadata, consumer_config, explain, offset_since
from barograph_server.streams.broker.compacted_log import OvertakenError, reread
from barograph_server.streams.dead_letters.reader import DeadLetterFilter, DeadLetterReader
from barograph_server.streams.events.arrow_decoder import ArrowDecoder
from barograph_server.streams.events.batch import MessageBatch, portion_size, sort_messages
from barograph_server.streams.events.columns import EventColumns
from barograph_server.streams.events.json_decoder import JsonDecoder
from barograph_server.streams.monitor.state.offset_ledger import OffsetLedger
from barograph_server.streams.rebuild.stopped_check import RebuildError
from barograph_server.streams.records import OffsetRange
from barograph_server.streams.registry.registry import Registry
from barograph_server.streams.settings import ProcessorSettings

POLL_MESSAGES, POLL_S = 20_000, 0.2
"""Messages per fetch, and how long a fetch waits for them."""
_ANY_ROW = -1


class KafkaEvents:
    """Rereads the events of one model from Kafka."""

    def __init__(self, settings: ProcessorSettings) -> None:
        self._settings = settings
        self._topic = settings.topics.predictions

    def offset_ranges(self, ledger: OffsetLedger, from_s: int) -> list[OffsetRange]:
        """Determine the offsets to reread, from the monitor's position in each source partition."""
        topic_id, _ = TopicMetadata(self._settings).describe(self._topic)
        consumer = Consumer(consumer_config(self._settings, "rebuild"))
        try:
            return [
                self._offset_range(consumer, partition, row.source_topic_id == topic_id, row.end, from_s)
                for partition, row in sorted(ledger.rows.items())
            ]
        except KafkaException as error:
            raise explain(error, f"read the offsets of {self._topic}") from error
        finally:
            consumer.close()

    def _offset_range(
        self, consumer: Consumer, partition: int, is_same_topic: bool, end: int, from_s: int
    ) -> OffsetRange:
        if not is_same_topic:
            raise RebuildError(
                f"Topic {self._topic} was deleted and recreated since partition {partition} was counted: Kafka no "
                "longer has its events."
            )
        low, high = consumer.get_watermark_offsets(
            TopicPartition(self._topic, partition), timeout=TIMEOUT_S, cached=False
        )
        first = offset_since(consumer, self._topic, partition, (from_s - MAX_AHEAD_S) * 1000)
        start = high if first is None else first
        if low > 0 and start <= low:
            raise RebuildError(
                f"Retention has deleted offsets [0, {low}) of {self._topic} partition {partition}, and some of them "
                "may be events of this range: it cannot be rebuilt exactly from Kafka. Choose a later --from."
            )
        if end > high:
            raise RebuildError(
                f"The monitor has processed {self._topic} partition {partition} up to offset {end}, but the partition "
                f"ends at {high}: Kafka lost acknowledged messages, so nothing can be rebuilt from it."
            )
        return OffsetRange(partition, min(start, end), end)

    def events(
        self, ranges: list[OffsetRange], registry: Registry, model: str, from_s: int, to_s: int
    ) -> Iterator[EventColumns]:
        """Yield the events of a model in [from, to), each once, without shadows and those that were dead-lettered then.

        A dead letter that would be accepted today was not counted then, or was counted as the replayed message.
        """
        json_decoder, arrow_decoder = JsonDecoder(registry), ArrowDecoder(registry)
        dead_lettered = self._dead_letter_times(ranges)
        for messages in self._portions(ranges):
            batch = sort_messages(messages)
            for decoder, encoded in ((json_decoder, batch.json), (arrow_decoder, batch.arrow)):
                if not len(encoded):
                    continue
                for decoded_events in decoder.decode(encoded).events:
                    events = decoded_events.without_shadows()
                    if events.model != model:
                        continue
                    mask = (events.at_ms >= from_s * 1000) & (events.at_ms < to_s * 1000)
                    mask &= ~_was_dead_lettered(events, dead_lettered)
                    if mask.any():
                        yield events if mask.all() else events.take(mask)

    def _dead_letter_times(self, ranges: list[OffsetRange]) -> dict[tuple[int, int, int], int]:
        """Return when events of the ranges were last dead-lettered, by source partition, offset and row."""
        bounds = {each.partition: (each.start, each.end) for each in ranges}
        criteria = DeadLetterFilter(topic="predictions", states=frozenset({"waiting", "replayed", "dropped"}))
        times_ms: dict[tuple[int, int, int], int] = {}
        for dead_letter in DeadLetterReader(self._settings).dead_letters(criteria, {}):
            start, end = bounds.get(dead_letter.source_partition, (0, 0))
            if start <= dead_letter.source_offset < end:
                # A message that is not valid Arrow is one dead letter for all its rows.
                row = _ANY_ROW if dead_letter.is_whole else dead_letter.index
                key = dead_letter.source_partition, dead_letter.source_offset, row
                times_ms[key] = max(times_ms.get(key, 0), dead_letter.at_ms)
        return times_ms

    def _portions(self, ranges: list[OffsetRange]) -> Iterator[MessageBatch]:
        offsets = {each.partition: (each.start, each.end) for each in ranges}
        batches = reread(self._settings, "rebuild", self._topic, offsets, poll_messages=POLL_MESSAGES, poll_s=POLL_S)
        try:
            for batch in map(MessageBatch.of, batches):
                while len(batch):
                    n = portion_size(batch)
                    yield batch.select(slice(n))
                    batch = batch.select(slice(n, None))
        except OvertakenError as error:
            raise RebuildError(
                f"Retention deleted messages of {self._topic} before they were read: choose a later --from."
            ) from error


def _was_dead_lettered(events: EventColumns, times_ms: Mapping[tuple[int, int, int], int]) -> NDArray[np.bool_]:
    """Return a mask of the events that were dead-lettered on first receipt, shape (n,)."""
    mask = np.zeros(len(events), dtype=bool)
    if not times_ms:
        return mask
    offsets = np.array(sorted({offset for _, offset, _ in times_ms}), dtype=np.int64)
    for i in np.flatnonzero(np.isin(events.offset, offsets)).tolist():
        source = int(events.partition[i]), int(events.offset[i])
        at_ms = max(times_ms.get((*source, int(events.index[i])), -1), times_ms.get((*source, _ANY_ROW), -1))
        # A dead letter from before the message was received is of an earlier incarnation of the topic. Clocks may
        # differ a little.
        mask[i] = at_ms >= int(events.received_ms[i]) - MAX_AHEAD_S * 1000
    return mask
