"""A batch of consumed messages and the result of decoding it: event columns, rejected events and producer numbers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from barograph.events import (
    ARROW_CONTENT_TYPE,
    CONTENT_TYPE_HEADER,
    END_MARK,
    HEARTBEAT_MARK,
    MARK_HEADER,
    PublisherHeartbeat,
    Reason,
)
from numpy.typing import NDArray

from barograph_server.streams.events.columns import EventColumns, ProducerArrivals

MAX_ARROW_MESSAGES = 32
"""Arrow messages decoded at once. Each may unpack to several times its size (see streams/events/arrow_message.py)."""
DEAD_LETTER_HEADER = "barograph-dead-letter"
"""Header of a message that `barograph dead-letters replay` sent. Its value names the dead letter that was replayed."""
TOKEN_HEADER: Final = "barograph-replay-token"  # noqa: S105
"""Header with the token of that dead letter's resolution. Without a resolution of this token a message is no replay."""
OUT_OF_MEMORY: Final = "the process that decodes it has too little memory; see docs/events.md#limits"
"""Detail of a message that is rejected as too large because memory could not be allocated."""


Headers = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class RejectedEvent:
    """An event that a decoder rejected, with the reason, its source position and its original bytes."""

    reason: Reason
    partition: int
    offset: int
    index: int
    value: bytes
    detail: str = ""
    model: str = ""
    """The event's model, if it is known and has a contract."""
    received_ms: int = 0


@dataclass(slots=True)
class MessageBatch:
    """n messages of one topic, with their positions."""

    values: Sequence[bytes | None]
    partition: NDArray[np.int32]
    offset: NDArray[np.int64]
    received_ms: NDArray[np.int64]
    headers: Mapping[int, Headers] = field(default_factory=dict)
    """Index of each message with headers → its headers."""

    @classmethod
    def of(cls, messages: Sequence[Any]) -> MessageBatch:
        """Return consumed messages (confluent_kafka.Message without errors) as a batch."""
        n = len(messages)
        return cls(
            [message.value() for message in messages],
            np.fromiter([message.partition() for message in messages], dtype=np.int32, count=n),
            np.fromiter([message.offset() for message in messages], dtype=np.int64, count=n),
            np.fromiter([message.timestamp()[1] for message in messages], dtype=np.int64, count=n),
            {i: headers for i, message in enumerate(messages) if (headers := message.headers())},
        )

    def __len__(self) -> int:
        return len(self.values)

    def select(self, rows: slice | NDArray[np.int64]) -> MessageBatch:
        """Return the messages of a slice, or those at the given indices."""
        values = self.values[rows] if isinstance(rows, slice) else [self.values[i] for i in rows.tolist()]
        indices = np.arange(len(self))[rows].tolist() if self.headers else []
        headers = {i: self.headers[row] for i, row in enumerate(indices) if row in self.headers}
        return MessageBatch(values, self.partition[rows], self.offset[rows], self.received_ms[rows], headers)

    def location(self, topic: str, position: int) -> str:
        """Return where the message at an index of this batch is, as `TOPIC/PARTITION/OFFSET`."""
        return f"{topic}/{self.partition[position]}/{self.offset[position]}"

    def is_arrow(self, position: int) -> bool:
        """Return whether the message at an index of this batch is an Arrow message."""
        return dict(self.headers.get(position, ())).get(CONTENT_TYPE_HEADER) == ARROW_CONTENT_TYPE

    def reject(
        self, position: int, reason: Reason, detail: str = "", *, index: int = 0, model: str = ""
    ) -> RejectedEvent:
        """Return the whole message at an index of this batch as a rejected event."""
        value = self.values[position]
        source = int(self.partition[position]), int(self.offset[position])
        return RejectedEvent(reason, *source, index, value or b"", detail, model, int(self.received_ms[position]))


def join_batches(batches: Sequence[MessageBatch]) -> MessageBatch:
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
    events: list[EventColumns] = field(default_factory=list)
    rejected: list[RejectedEvent] = field(default_factory=list)
    arrivals: list[ProducerArrivals] = field(default_factory=list)
    """Producer numbers of accepted and rejected events alike."""


class ReplayedDeadLetter(NamedTuple):
    """What a resolution says about a replayed message."""

    name: str
    """`TOPIC/PARTITION/OFFSET` of the dead letter."""
    counted: bool
    """Whether the event's producer number was counted on first receipt and must not be counted again."""


VerifyTokens = Callable[[Collection[str]], Mapping[str, ReplayedDeadLetter]]
"""Maps the tokens of messages that claim to be replays to their dead letters, and omits forged ones."""


@dataclass(slots=True)
class SortedMessages:
    """Consumed messages grouped by encoding, with the end markers and replay links among them."""

    json: MessageBatch
    arrow: MessageBatch
    end_markers: set[int]
    """Partitions in which an end marker was read."""
    counted_json: MessageBatch
    """Replayed dead letters whose producer numbers are already counted. Empty unless replays were verified."""
    counted_arrow: MessageBatch
    """The same for Arrow messages."""
    replay_of: dict[tuple[int, int], str]
    """Partition and offset of a replayed message → the name of its dead letter."""
    rejected: list[RejectedEvent]
    """End markers that are not accepted, and heartbeats that cannot be read."""
    heartbeats: list[tuple[PublisherHeartbeat, int]] = field(default_factory=list)
    """Each with the time at which Kafka received it, in epoch milliseconds."""

    def __len__(self) -> int:
        return len(self.json) + len(self.arrow) + len(self.counted_json) + len(self.counted_arrow)


_HEARTBEAT = msgspec.json.Decoder(PublisherHeartbeat)
MAX_MARK_CHARS = 100
"""Characters of an unexpected `barograph-mark` that its dead letter quotes."""


def portion_size(batch: MessageBatch) -> int:
    """Return how many of the first messages to decode at once: all, or up to `MAX_ARROW_MESSAGES` Arrow messages."""
    arrow = [i for i in batch.headers if batch.is_arrow(i)]
    return arrow[MAX_ARROW_MESSAGES] if len(arrow) > MAX_ARROW_MESSAGES else len(batch)


def sort_messages(
    batch: MessageBatch, *, accept_end_markers: bool = False, verify: VerifyTokens | None = None
) -> SortedMessages:
    """Group consumed messages by encoding.

    Args:
        accept_end_markers: whether end markers are valid. On the live clock they are rejected: a single one would end
            all models.
        verify: verifies messages that claim to be replayed dead letters. None treats all as ordinary messages.
    """
    if not batch.headers:
        return SortedMessages(batch, _EMPTY, set(), _EMPTY, _EMPTY, {}, [])
    named = {i: dict(pairs) for i, pairs in batch.headers.items()}
    claims = {i: _decode(each.get(TOKEN_HEADER)) for i, each in named.items() if DEAD_LETTER_HEADER in each}
    replays = verify(claims.values()) if claims and verify is not None else {}
    groups: dict[tuple[bool, bool], list[int]] = {
        (arrow, counted): [] for arrow in (False, True) for counted in (False, True)
    }
    end_markers: set[int] = set()
    replay_of: dict[tuple[int, int], str] = {}
    heartbeats: list[tuple[PublisherHeartbeat, int]] = []
    refused: dict[int, str] = {}
    for i in range(len(batch)):
        own = named.get(i, {})
        if MARK_HEADER in own:
            if own[MARK_HEADER] == END_MARK and accept_end_markers:
                end_markers.add(int(batch.partition[i]))
            elif own[MARK_HEADER] == END_MARK:
                refused[i] = "an end marker, which only processors on the replay clock accept"
            elif own[MARK_HEADER] == HEARTBEAT_MARK:
                try:
                    heartbeats.append((_HEARTBEAT.decode(batch.values[i] or b""), int(batch.received_ms[i])))
                except msgspec.DecodeError as error:
                    refused[i] = f"a heartbeat that cannot be read: {error}"
            else:
                shown = _decode(own[MARK_HEADER])[:MAX_MARK_CHARS]
                refused[i] = f"{MARK_HEADER} is {shown!r}, neither 'end' nor 'heartbeat'"
            continue
        replay = replays.get(claims[i]) if i in claims else None
        if replay is not None:
            replay_of[int(batch.partition[i]), int(batch.offset[i])] = replay.name
        groups[batch.is_arrow(i), replay is not None and replay.counted].append(i)
    json, counted_json, arrow, counted_arrow, marks = (
        batch.select(np.array(rows, dtype=np.int64)) for rows in (*groups.values(), list(refused))
    )
    rejected = [marks.reject(i, Reason.UNEXPECTED_MARK, detail) for i, detail in enumerate(refused.values())]
    return SortedMessages(json, arrow, end_markers, counted_json, counted_arrow, replay_of, rejected, heartbeats)


def _decode(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")


_EMPTY = MessageBatch.of([])
