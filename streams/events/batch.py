"""A batch of consumed messages and what may come out of it: columns of events, dead letters, marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from barograph.events import ARROW_CONTENT_TYPE, CONTENT_TYPE_HEADER, MARK_HEADER, Reason
from numpy.typing import NDArray

from streams.events.columns import Arrivals, EventColumns

MOST_ARROW = 32
"""Arrow messages decoded at once: each may unpack to several times its size (streams/events/arrow_message.py)."""
DEAD_LETTER_HEADER = "barograph-letter"
"""On a message that `barograph dead-letters replay` sent: the dead letter whose bytes it holds."""
COUNTED_HEADER = "barograph-counted"
"""Beside it: the producer's number of this event was counted when it first came, and is not counted again."""
MAX_LETTER_CHARS = 300
"""Of a letter's name: a topic's has at most 249 characters."""


@dataclass(frozen=True, slots=True)
class Dead:
    """One event put aside: why, where it stood, its original bytes."""

    reason: Reason
    partition: int
    offset: int
    index: int
    value: bytes
    detail: str = ""
    model: str = ""
    """The event's model, where it is known and has a contract."""
    received_ms: int = 0


@dataclass(slots=True)
class MessageBatch:
    """The values of n messages of one kind with their positions."""

    values: list[bytes | None]
    partition: NDArray[np.int32]
    offset: NDArray[np.int64]
    received_ms: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.values)

    def part(self, chosen: slice | NDArray[np.int64]) -> MessageBatch:
        """Some of the messages: a stretch, or those at given positions."""
        values = self.values[chosen] if isinstance(chosen, slice) else [self.values[i] for i in chosen.tolist()]
        return MessageBatch(values, self.partition[chosen], self.offset[chosen], self.received_ms[chosen])

    def dead(self, position: int, reason: Reason, detail: str = "", *, index: int = 0, model: str = "") -> Dead:
        """Put the message at a position of this batch aside, whole."""
        value = self.values[position]
        at = int(self.partition[position]), int(self.offset[position])
        return Dead(reason, *at, index, value or b"", detail, model, int(self.received_ms[position]))


def join_batches(batches: Sequence[MessageBatch]) -> MessageBatch:
    """Put batches one behind another, at least one."""
    if len(batches) == 1:
        return batches[0]
    return MessageBatch(
        list(chain.from_iterable(batch.values for batch in batches)),
        np.concatenate([batch.partition for batch in batches]),
        np.concatenate([batch.offset for batch in batches]),
        np.concatenate([batch.received_ms for batch in batches]),
    )


@dataclass(slots=True)
class Decoded:
    """What the decoders found in a batch."""

    events: list[EventColumns] = field(default_factory=list)
    dead: list[Dead] = field(default_factory=list)
    arrivals: list[Arrivals] = field(default_factory=list)
    """Of events and dead letters alike."""


@dataclass(slots=True)
class SortedMessages:
    """A batch of consumed messages by encoding, and the partitions in which an `end` mark was read."""

    json: MessageBatch
    arrow: MessageBatch
    end_marks: set[int]
    counted_json: MessageBatch
    """Replayed dead letters of which the producers' numbers were counted before; empty unless they are kept apart."""
    counted_arrow: MessageBatch
    letters: dict[tuple[int, int], str]
    """Partition and offset of a replayed message → the dead letter that it was."""

    def __len__(self) -> int:
        return len(self.json) + len(self.arrow) + len(self.counted_json) + len(self.counted_arrow)


_IS_ARROW = (CONTENT_TYPE_HEADER, ARROW_CONTENT_TYPE)


def portion(messages: Sequence[Any]) -> int:
    """How many of the first messages are decoded at once: all, unless more than `MOST_ARROW` of them are Arrow."""
    arrow = [i for i, message in enumerate(messages) if (headers := message.headers()) and _IS_ARROW in headers]
    return arrow[MOST_ARROW] if len(arrow) > MOST_ARROW else len(messages)


class Places(NamedTuple):
    """Where n messages of one topic stand."""

    partition: NDArray[np.int32]
    offset: NDArray[np.int64]

    @classmethod
    def of(cls, messages: Sequence[Any]) -> Places:
        """The places of consumed messages."""
        n = len(messages)
        return cls(
            np.fromiter([message.partition() for message in messages], dtype=np.int32, count=n),
            np.fromiter([message.offset() for message in messages], dtype=np.int64, count=n),
        )

    def keep(self, chosen: NDArray[Any]) -> Places:
        """Those of a mask or of positions."""
        return Places(self.partition[chosen], self.offset[chosen])


def sort_messages(
    messages: Sequence[Any], places: Places | None = None, *, counted_apart: bool = False
) -> SortedMessages:
    """Split consumed messages (confluent_kafka.Message without errors) by their encoding.

    Args:
        messages: of one topic.
        places: theirs, where they are known.
        counted_apart: whether replayed messages whose producers' numbers were counted come in batches of their own.
    """
    places = places or Places.of(messages)
    headers = [message.headers() for message in messages]
    if not any(headers):
        return SortedMessages(_batch(messages, places), _EMPTY, set(), _EMPTY, _EMPTY, {})
    kinds: dict[tuple[bool, bool], list[int]] = {
        (arrow, apart): [] for arrow in (False, True) for apart in (False, True)
    }
    marks: set[int] = set()
    letters: dict[tuple[int, int], str] = {}
    for i, pairs in enumerate(headers):
        named = dict(pairs or ())
        if MARK_HEADER in named:
            if named[MARK_HEADER] == b"end":
                marks.add(int(places.partition[i]))
            continue
        if DEAD_LETTER_HEADER in named:
            place = int(places.partition[i]), int(places.offset[i])
            letters[place] = (named[DEAD_LETTER_HEADER] or b"").decode("utf-8", "replace")[:MAX_LETTER_CHARS]
        is_arrow = named.get(CONTENT_TYPE_HEADER) == ARROW_CONTENT_TYPE
        kinds[is_arrow, counted_apart and COUNTED_HEADER in named].append(i)
    json, counted_json, arrow, counted_arrow = (
        _batch([messages[i] for i in chosen], places.keep(np.array(chosen, dtype=np.int64)))
        for chosen in kinds.values()
    )
    return SortedMessages(json, arrow, marks, counted_json, counted_arrow, letters)


def _batch(messages: Sequence[Any], places: Places) -> MessageBatch:
    received = np.fromiter([message.timestamp()[1] for message in messages], dtype=np.int64, count=len(messages))
    return MessageBatch([message.value() for message in messages], *places, received)


_EMPTY = _batch([], Places.of([]))
