"""A batch of consumed messages and what may come out of it: columns of events, dead letters, marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from barograph.events import ARROW_CONTENT_TYPE, CONTENT_TYPE_HEADER, MARK_HEADER, Reason
from numpy.typing import NDArray

from streams.columns import Arrivals, EventColumns

MOST_ARROW = 64
"""How many Arrow messages are decoded at once: each may unpack to several times its size (streams/arrow_stream.py)."""
LETTER_HEADER = "barograph-letter"
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

    def dead(self, position: int, reason: Reason, detail: str = "", *, index: int = 0, model: str = "") -> Dead:
        """Put the message at a position of this batch aside, whole."""
        value = self.values[position]
        at = int(self.partition[position]), int(self.offset[position])
        return Dead(reason, *at, index, value or b"", detail, model, int(self.received_ms[position]))


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


_IS_ARROW = (CONTENT_TYPE_HEADER, ARROW_CONTENT_TYPE)


def portion(messages: Sequence[Any]) -> int:
    """How many of the first messages are decoded at once: all, unless more than `MOST_ARROW` of them are Arrow."""
    arrow = [i for i, message in enumerate(messages) if (headers := message.headers()) and _IS_ARROW in headers]
    return arrow[MOST_ARROW] if len(arrow) > MOST_ARROW else len(messages)


def sort_messages(messages: Sequence[Any], *, counted_apart: bool = False) -> SortedMessages:
    """Split consumed messages (confluent_kafka.Message without errors) by their encoding.

    Args:
        messages: of one topic.
        counted_apart: whether replayed messages whose producers' numbers were counted come in batches of their own.
    """
    plain: list[Any] = []
    arrow: list[Any] = []
    counted_plain: list[Any] = []
    counted_arrow: list[Any] = []
    marks: set[int] = set()
    letters: dict[tuple[int, int], str] = {}
    for message in messages:
        headers = message.headers()
        if headers is None:
            plain.append(message)
            continue
        named = dict(headers)
        if MARK_HEADER in named:
            if named[MARK_HEADER] == b"end":
                marks.add(message.partition())
            continue
        if LETTER_HEADER in named:
            place = message.partition(), message.offset()
            letters[place] = (named[LETTER_HEADER] or b"").decode("utf-8", "replace")[:MAX_LETTER_CHARS]
        apart = counted_apart and COUNTED_HEADER in named
        if named.get(CONTENT_TYPE_HEADER) == ARROW_CONTENT_TYPE:
            (counted_arrow if apart else arrow).append(message)
        else:
            (counted_plain if apart else plain).append(message)
    return SortedMessages(_batch(plain), _batch(arrow), marks, _batch(counted_plain), _batch(counted_arrow), letters)


def _batch(messages: list[Any]) -> MessageBatch:
    n = len(messages)
    return MessageBatch(
        [message.value() for message in messages],
        np.fromiter((message.partition() for message in messages), dtype=np.int32, count=n),
        np.fromiter((message.offset() for message in messages), dtype=np.int64, count=n),
        np.fromiter((message.timestamp()[1] for message in messages), dtype=np.int64, count=n),
    )
