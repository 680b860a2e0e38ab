"""The records of the topic `prompts`: versions, and the labels that point to them.

The topic is compacted and has one partition. A version has a record of its own, which never changes; the newest record
of a label is where it points to. The rules for members are those of events (`barograph.events`).
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from barograph.prompts.content import PromptContent, content_hash

PROMPTS_TOPIC = "prompts"

Origin = Literal["file", "mlflow", "langfuse"]
Number = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""An integer that JSON readers of all languages keep exactly."""


class PromptVersion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="version"):
    """A registered version."""

    version: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    """Counted for each name, from 1."""
    content: PromptContent
    content_hash: str
    """SHA-256 of the content, in hexadecimal."""
    registered_at_ms: Number
    """When it was registered, Unix ms."""
    registered_by: str = ""
    origin: Origin = "file"

    @property
    def name(self) -> str:
        """The prompt's name."""
        return self.content.name

    @property
    def key(self) -> bytes:
        """The key of the record."""
        return f"{self.name}\0version\0{self.version}".encode()


class PromptLabel(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="label"):
    """The version that a label points to, and the change that made it so."""

    name: str
    """The prompt's name."""
    label: str
    version: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    previous: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 0
    """The version that it pointed to before; 0 if the label is new."""
    sequence: Number
    """Number of the change: each change of a label has a higher one than the change before. It is the time in Unix ms,
    or one more than the number before, so that the numbers still grow after the topic was deleted and created again.
    Readers ignore a record whose number is more than a day later than Kafka received it."""
    changed_at_ms: Number
    """When it was changed, Unix ms."""
    changed_by: str = ""
    reason: str = ""
    is_rollback: bool = False

    @property
    def key(self) -> bytes:
        """The key of the record."""
        return f"{self.name}\0label\0{self.label}".encode()


PromptRecord = PromptVersion | PromptLabel

_DECODER: msgspec.json.Decoder[PromptRecord] = msgspec.json.Decoder(PromptRecord)
_ENCODER = msgspec.json.Encoder()


def encode_prompt_record(record: PromptRecord) -> bytes:
    """Encode a record as JSON."""
    return _ENCODER.encode(record)


def decode_prompt_record(key: bytes | None, value: bytes) -> PromptRecord:
    """Decode a record.

    Raises:
        ValueError: The bytes are not a record, or not the one that the key names; `msgspec.DecodeError` is one.
    """
    try:
        record = _DECODER.decode(value)
    except RecursionError:
        raise ValueError("the record is nested too deeply") from None
    if key != record.key:
        raise ValueError(f"its key is {key!r}, and its members say {record.key!r}")
    if isinstance(record, PromptVersion) and content_hash(record.content) != record.content_hash:
        raise ValueError("its content does not have the hash that it states")
    return record
