"""A dead letter, and the resolution that records its replay or drop."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import msgspec
from barograph.events import Reason

from barograph_server.streams.events.arrow_message import open_table

State = Literal["waiting", "replayed", "dropped"]

_ARROW_START = b"\xff\xff\xff\xff"
"""First bytes of every Arrow IPC stream; JSON never starts with them."""


class DeadLetterPosition(NamedTuple):
    """Position of a dead letter in its topic. The text form names it on the command line and in `replay_of` links."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"

    @staticmethod
    def parse(text: str) -> DeadLetterPosition | None:
        """Parse `TOPIC/PARTITION/OFFSET`. Return None for any other text."""
        topic, _, rest = text.partition("/")
        partition, _, offset = rest.partition("/")
        if not (topic and partition.isdecimal() and offset.isdecimal()):
            return None
        return DeadLetterPosition(topic, int(partition), int(offset))


class Resolution(msgspec.Struct, frozen=True, kw_only=True):
    """The replay or drop of a dead letter, as a message of the topic `dead-letters`."""

    state: Literal["replayed", "dropped"]
    at_ms: int
    reason: str = ""
    """The operator's reason for a drop."""
    token: str = ""
    """Of a replay: 32 random hexadecimal digits, which the replayed message carries too."""
    counted: bool = False
    """Of a replay: whether the event's producer number was counted on first receipt and must not be counted again."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A rejected event in its dead-letter topic."""

    position: DeadLetterPosition
    topic_id: str
    """Kafka's id of the dead-letter topic. A topic that is deleted and recreated counts its offsets from 0 again."""
    at_ms: int
    reason: str
    detail: str
    model: str
    """The model that the event names, with or without a contract; empty if the bytes do not name one."""
    source_topic: str
    source_partition: int
    source_offset: int
    index: int
    """Row in its Arrow batch; 0 for JSON."""
    replay_of: str
    """The replayed dead letter that was rejected again as this one; empty if there is none."""
    value: bytes
    counted: bool
    """Whether its producer's number was counted on first receipt."""
    resolution: Resolution | None = None

    @property
    def state(self) -> State:
        """Whether it waits, was replayed or was dropped."""
        return "waiting" if self.resolution is None else self.resolution.state

    @property
    def has_bytes(self) -> bool:
        """Whether the event's bytes are kept: if very many rows of one batch are rejected, only the first rows' are."""
        return bool(self.value) or self.reason == Reason.EMPTY

    @property
    def is_whole(self) -> bool:
        """Whether it is a whole Arrow message rather than one row of it."""
        return self.is_arrow and self.reason in (Reason.NOT_ARROW, Reason.TOO_LARGE)

    @property
    def key(self) -> str:
        """Message key of its resolution."""
        return resolution_key(self.topic_id, self.position)

    @property
    def is_arrow(self) -> bool:
        """Whether the original message was Arrow, so that the replayed message needs the Arrow header."""
        return self.reason == Reason.NOT_ARROW or (
            self.reason != Reason.NOT_JSON and self.value.startswith(_ARROW_START)
        )


def resolution_key(topic_id: str, position: DeadLetterPosition) -> str:
    """Return the key of a dead letter's resolution: its position in this incarnation of its topic."""
    return f"{position.topic}@{topic_id}/{position.partition}/{position.offset}"


def position_in_key(key: str) -> DeadLetterPosition | None:
    """Return the position of the dead letter that a resolution's key names; None if it names none.

    The client writes topic ids in base64, so that an id may contain slashes.
    """
    topic, _, rest = key.partition("@")
    return DeadLetterPosition.parse("/".join([topic, *rest.split("/")[-2:]]))


def open_dead_letter(message: Any, topic_id: str, resolutions: dict[str, Resolution]) -> DeadLetter:
    """Read a message of a dead-letter topic. A message that Barograph did not write has the reason `?`."""
    headers = {name: (value or b"").decode("utf-8", "replace") for name, value in message.headers() or []}
    position = DeadLetterPosition(message.topic(), message.partition(), message.offset())
    value = message.value() or b""
    reason = headers.get("reason", "?")
    model = headers.get("model", "")
    return DeadLetter(
        position=position,
        topic_id=topic_id,
        at_ms=message.timestamp()[1],
        reason=reason,
        detail=headers.get("detail", ""),
        model=model or model_in(value),
        source_topic=headers.get("source-topic", ""),
        source_partition=_whole(headers.get("source-partition")),
        source_offset=_whole(headers.get("source-offset")),
        index=_whole(headers.get("index")),
        replay_of=headers.get("replay-of", ""),
        value=value,
        counted=bool(model),
        resolution=resolutions.get(resolution_key(topic_id, position)),
    )


def model_in(value: bytes) -> str:
    """Return the model that an event names; empty if its bytes do not name one."""
    if value.startswith(_ARROW_START):
        try:
            table = open_table(value)
            model = table.column("model")[0].as_py() if "model" in table.column_names and table.num_rows else ""
        except (ValueError, KeyError):
            return ""
    else:
        try:
            tree = json.loads(value)
        except (ValueError, RecursionError):
            return ""
        model = tree.get("model") if isinstance(tree, dict) else ""
    return model[:200] if isinstance(model, str) else ""


def _whole(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else -1
