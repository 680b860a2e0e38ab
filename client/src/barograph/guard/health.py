"""The records of the topic `model-health`: the state of one model, as monitoring sees it.

The topic is compacted, and its key is the model: the newest record of a key is the model's state. The rules for members
are those of events (`barograph.events`).
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

HEALTH_TOPIC = "model-health"

HealthState = Literal["healthy", "degraded", "unknown"]
"""`unknown`: monitoring is blind, or its records have stopped."""
BlindAction = Literal["keep", "degrade"]
"""What serving does while the state is unknown: keep the last known decision, or use the fallback."""
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""An integer that JSON readers of all languages keep exactly."""
FiringState = Literal["Pending", "Alerting", "Recovering"]


class HealthReason(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An instance of an alert rule that fires, or why monitoring is blind."""

    rule: str
    """The rule's name, such as `psi-major`; of a blind monitoring `blind`."""
    field: str = ""
    """The field, if the rule has an instance for each."""
    value: float | None = None
    """The number that the rule compares with its threshold."""
    low: float | None = None
    """Lower end of its 95 % interval, if the rule has one."""
    high: float | None = None
    text: str = ""
    """A sentence for people."""
    since_ms: Count = 0
    """When it began to fire, Unix ms."""


class RuleProgress(msgspec.Struct, frozen=True, kw_only=True):
    """An instance of a rule that is not quiet. A restarted guard continues from it."""

    uid: str
    """The rule's identifier."""
    key: str
    state: FiringState
    since_s: Count
    """When the instance entered the state, Unix seconds."""


class ModelHealth(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One record."""

    model: str
    state: HealthState
    since_ms: Count
    """When the model entered the state, Unix ms."""
    at_ms: Count
    """When the record was written, Unix ms."""
    evaluated_at_ms: Count
    """When the rules were last evaluated completely, Unix ms."""
    sequence: Count
    """Number of the record: each record of a model has a higher one than the record before. The first of a model is its
    time, Unix ms, so that the numbers still grow after the topic was deleted and created again. Readers ignore a record
    whose number is more than a day later than Kafka received it."""
    reasons: tuple[HealthReason, ...] = ()
    when_unknown: BlindAction = "keep"
    guard: str = ""
    """Name of the instance that wrote the record."""
    progress: tuple[RuleProgress, ...] = ()
    known_state: HealthState = "healthy"
    """The state before monitoring became blind; it holds again when monitoring sees again."""
    known_since_ms: Count = 0
    quiet_since_s: Count | None = None
    """Since when no rule fires, Unix seconds; None while one does."""
    blind_since_s: Count | None = None
    """Since when monitoring is blind, Unix seconds; None while it sees. The state becomes unknown later."""


_DECODER = msgspec.json.Decoder(ModelHealth)
_ENCODER = msgspec.json.Encoder()


def encode_health(record: ModelHealth) -> bytes:
    """Encode a record as JSON."""
    return _ENCODER.encode(record)


def decode_health(value: bytes) -> ModelHealth:
    """Decode a record.

    Raises:
        ValueError: The bytes are not a record; `msgspec.DecodeError` is one.
    """
    try:
        return _DECODER.decode(value)
    except RecursionError:
        raise ValueError("the record is nested too deeply") from None
