"""One dead letter as its topic holds it, and the mark that says what was done with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import msgspec
from barograph.events import Reason

from streams.events.arrow_message import open_table

State = Literal["waiting", "replayed", "dropped"]

_ARROW_START = b"\xff\xff\xff\xff"
"""How every Arrow IPC stream begins; no JSON does."""
_UNCOUNTED = frozenset(
    {
        Reason.EMPTY,
        Reason.NOT_JSON,
        Reason.NOT_AN_OBJECT,
        Reason.TOO_DEEP,
        Reason.NOT_ARROW,
        Reason.MISSING_MODEL,
        Reason.UNKNOWN_MODEL,
    }
)
"""Reasons that leave the model unknown, and with it the producer's number uncounted."""


class DeadLetterPosition(NamedTuple):
    """Where a letter lies: its name on the command line and in the link of a letter that came back."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"

    @staticmethod
    def parse(text: str) -> DeadLetterPosition | None:
        """Read `TOPIC/PARTITION/OFFSET`; None where it is no such text."""
        topic, _, rest = text.partition("/")
        partition, _, offset = rest.partition("/")
        if not (topic and partition.isdecimal() and offset.isdecimal()):
            return None
        return DeadLetterPosition(topic, int(partition), int(offset))


class Resolution(msgspec.Struct, frozen=True, kw_only=True):
    """What was done with a letter, and when."""

    state: Literal["replayed", "dropped"]
    at_ms: int
    reason: str = ""
    """Of a drop."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter."""

    position: DeadLetterPosition
    topic_id: str
    """Kafka's id of the letter's topic: one that was deleted and made anew counts its offsets from 0 again."""
    at_ms: int
    """When it was put aside."""
    reason: str
    detail: str
    model: str
    """As the event names it, applied or not; empty where the bytes do not say."""
    source_topic: str
    source_partition: int
    source_offset: int
    index: int
    """The row of its Arrow batch; 0 for JSON."""
    replay_of: str
    """The letter that was replayed and came back as this one; empty where it is none."""
    value: bytes
    counted: bool
    """Whether its producer's number was counted when it first came."""
    resolution: Resolution | None = None

    @property
    def state(self) -> State:
        """What became of it."""
        return "waiting" if self.resolution is None else self.resolution.state

    @property
    def has_bytes(self) -> bool:
        """Whether the event's bytes are here: of very many rows of one batch only the first ones' are kept."""
        return bool(self.value) or self.reason == Reason.EMPTY

    @property
    def is_whole(self) -> bool:
        """Whether it is a whole Arrow message, not one row of it."""
        return self.is_arrow and self.reason in (Reason.NOT_ARROW, Reason.TOO_LARGE)

    @property
    def key(self) -> str:
        """The key of its mark."""
        return resolution_key(self.topic_id, self.position)

    @property
    def is_arrow(self) -> bool:
        """Whether the original message said that it is Arrow, so that the replayed one must say so too."""
        return self.reason == Reason.NOT_ARROW or (
            self.reason != Reason.NOT_JSON and self.value.startswith(_ARROW_START)
        )


def resolution_key(topic_id: str, place: DeadLetterPosition) -> str:
    """The key of a letter's mark: its place in this incarnation of its topic."""
    return f"{place.topic}@{topic_id}/{place.partition}/{place.offset}"


def open_dead_letter(message: Any, topic_id: str, marks: dict[str, Resolution]) -> DeadLetter:
    """Read a message of a topic of dead letters; one that Barograph did not write has `?` as its reason."""
    headers = {name: (value or b"").decode("utf-8", "replace") for name, value in message.headers() or []}
    place = DeadLetterPosition(message.topic(), message.partition(), message.offset())
    value = message.value() or b""
    reason = headers.get("reason", "?")
    known = headers.get("model", "")
    return DeadLetter(
        position=place,
        topic_id=topic_id,
        at_ms=message.timestamp()[1],
        reason=reason,
        detail=headers.get("detail", ""),
        model=known or model_in(value),
        source_topic=headers.get("source-topic", ""),
        source_partition=_whole(headers.get("source-partition")),
        source_offset=_whole(headers.get("source-offset")),
        index=_whole(headers.get("index")),
        replay_of=headers.get("replay-of", ""),
        value=value,
        # Letters of before the header say it by their reason.
        counted=bool(known) if "model" in headers else reason not in _UNCOUNTED,
        resolution=marks.get(resolution_key(topic_id, place)),
    )


def model_in(value: bytes) -> str:
    """The model that an event names; empty where its bytes do not say."""
    if value.startswith(_ARROW_START):
        try:
            table = open_table(value)
            found = table.column("model")[0].as_py() if "model" in table.column_names and table.num_rows else ""
        except (ValueError, KeyError):
            return ""
    else:
        try:
            tree = json.loads(value)
        except (ValueError, RecursionError):
            return ""
        found = tree.get("model") if isinstance(tree, dict) else ""
    return found[:200] if isinstance(found, str) else ""


def _whole(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else -1
