"""The events of the topics `predictions` and `labels`: their members, encodings, headers and limits.

Four rules keep old and new programs compatible; tests check each in both directions:

1. Readers tolerate unknown members: an old reader reads a new event.
2. A new member is optional and has a default: a new reader reads an old event.
3. A member never changes its type or meaning; a new meaning gets a new name.
4. A member that is no longer written stays reserved, so that its name is never reused.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final, Literal, get_args

import msgspec

if TYPE_CHECKING:
    import pyarrow as pa

PREDICTIONS_TOPIC = "predictions"
LABELS_TOPIC = "labels"

CONTENT_TYPE_HEADER = "content-type"
ARROW_CONTENT_TYPE = b"application/vnd.apache.arrow.stream"
"""An Arrow IPC stream of one or more record batches. Messages without the header are JSON."""
MARK_HEADER = "barograph-mark"
"""Header of a message that is not an event: an end marker, which has no value, or a heartbeat. Others are ignored."""
END_MARK = b"end"
"""The header's value: a history has no further events, so that processors on the replay clock may seal its windows."""
HEARTBEAT_MARK = b"heartbeat"
"""The header's value: the message is a `PublisherHeartbeat` in JSON, with its producer as key."""

MAX_MESSAGE_BYTES = 1 << 20
"""The largest message; `max.message.bytes` of both topics."""
MAX_EVENT_BYTES = 1_000_000
"""The largest event that the publisher sends: the message limit less space for headers and Kafka's record framing."""
BATCH_ROWS = 1_000
"""Rows per Arrow message: enough to amortize the schema (about 2 KB), few enough to decode at once."""
BATCH_BYTES = 900_000
"""Size above which an Arrow message is split in two."""
BATCH_VALUES = 500_000
"""Values per Arrow message: about half of what consumers accept, who count at least eight bytes for each value."""
MAX_MEMBERS = 10_000
"""The most members of one map (features, context, scores, metrics) that the publisher sends."""
MAX_AHEAD_S = 300
"""An event further ahead of the time Kafka received it is a dead letter: its producer's clock is wrong."""

FEATURES, CONTEXT, SCORES, METRICS = "features", "context", "scores", "metrics"
MAPS = (FEATURES, CONTEXT, SCORES, METRICS)
"""Members that are maps; in Arrow each key is a column of its own, named `MAP.KEY`."""

MAX_SEQ = 1 << 62
"""The largest number in a heartbeat."""
Cause = Annotated[str, msgspec.Meta(max_length=50)]
Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_SEQ)]
FeatureValue = float | int | str | bool | None
Role = Literal["primary", "shadow"]
"""Whether a prediction's answer was used."""
ROLES: Final[tuple[Role, ...]] = get_args(Role)
SHADOW: Final[Role] = "shadow"


class Reason(StrEnum):
    """Why an event was dead-lettered: the closed set of reason codes of dead letters."""

    EMPTY = "empty"
    """A message without value, or of no bytes, that has no mark."""
    UNEXPECTED_MARK = "unexpected-mark"
    """An end marker on the live clock, which accepts none, a heartbeat that cannot be read, or another mark."""
    NOT_JSON = "not-json"
    """The message is not UTF-8, not JSON, or truncated."""
    NOT_AN_OBJECT = "not-an-object"
    """The message is JSON, but a list, a string, a number, true, false or null."""
    TOO_DEEP = "too-deep"
    """The JSON is nested deeper than the reader's stack allows."""
    TOO_LARGE = "too-large"
    """The message has more bytes or members than the limits allow."""
    NOT_ARROW = "not-arrow"
    """The header announces Arrow, and the bytes are not an Arrow IPC stream."""
    MISSING_MODEL = "missing-model"
    """The event has no `model`."""
    UNKNOWN_MODEL = "unknown-model"
    """No contract of this model was applied."""
    MISSING_VERSION = "missing-version"
    """The prediction has no `version`."""
    MISSING_ID = "missing-id"
    """The event has no `id`."""
    MISSING_TIME = "missing-time"
    """The event has no `at`."""
    BAD_TIME = "bad-time"
    """`at` is neither whole epoch milliseconds nor RFC 3339 text with an offset."""
    FUTURE_TIME = "future-time"
    """The event time is more than five minutes after Kafka received the event."""
    TOO_OLD = "too-old"
    """The event time is older than the retention of panes."""
    WRONG_TYPE = "wrong-type"
    """`model`, `version` or `id` is not text, a map is not an object, or a label has a wrong type."""


class ShadowReason(StrEnum):
    """Why a shadow did not answer a request: the values of `error` that `Shadow` reserves.

    If the candidate raised an exception, `error` is the name of its class instead.
    """

    TIMEOUT = "shadow-timeout"
    """The candidate did not answer in time."""
    SKIPPED_SAMPLE = "shadow-skipped-sample"
    """The request is not in the sample."""
    SKIPPED_QUEUE = "shadow-skipped-queue"
    """The queue of the candidate's workers was full."""
    SKIPPED_BREAKER = "shadow-skipped-breaker"
    """The circuit breaker was open: the candidate failed too often, or all workers hung."""
    SKIPPED_BUDGET = "shadow-skipped-budget"
    """The budget of requests per minute was used up."""
    WRONG_OUTPUT = "shadow-wrong-output"
    """The candidate returned something else than a number or members of a prediction."""
    CLOSED = "shadow-closed"
    """The shadow was closed before the candidate answered, or before the request."""


class PublisherHeartbeat(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a process that publishes predictions reports about itself; no prediction."""

    model: str
    """The model's name, as in its contract."""
    producer: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    """The `producer` of its events."""
    since: Annotated[int, msgspec.Meta(ge=0)]
    """When the process began to publish, in epoch milliseconds."""
    seq: Count = 0
    """The newest `seq`, of sent, waiting and dropped events alike."""
    queued: Count = 0
    """Events that wait or are in flight, labels included."""
    ended: bool = False
    """Whether the process has ended: the heartbeat is its farewell."""
    discarded: Annotated[dict[Cause, Count], msgspec.Meta(max_length=20)] = msgspec.field(default_factory=dict)
    """Of a farewell: events that were not sent, by the causes of `Stats.dropped` and `not-delivered`; labels too."""


class Prediction(msgspec.Struct, kw_only=True, omit_defaults=True, rename={"class_": "class"}):
    """One prediction: its inputs and its outputs. It is identified by (model, version, id)."""

    model: str
    """The model's name, as in its contract."""
    version: str
    """The model's version, as people write it: `3`, `2024-06-a`."""
    id: str
    """The request's id; versions and shadows of one request share it."""
    at: int | str
    """Event time, when the prediction was made: epoch milliseconds, or RFC 3339 with an offset."""
    arm: str | None = None
    """The arm of an A/B test that the request was assigned to."""
    context: dict[str, str | None] | None = None
    """Request attributes that are not features."""
    features: dict[str, FeatureValue] | None = None
    """The model's input, by name; null is a missing value. Numbers that are not finite are text, as in `score`."""
    score: float | str | None = None
    """The model's number. Text only if it is not finite: `NaN`, `Infinity`, `-Infinity`."""
    class_: str | bool | int | None = None
    """The model's decision; a flag or a whole number counts as its JSON text."""
    scores: dict[str, float | str | None] | None = None
    """A probability per class."""
    metrics: dict[str, float | str | None] | None = None
    """Further numbers of this prediction: tokens, cost, time to first token."""
    latency_ms: float | str | None = None
    """How long the prediction took, in milliseconds."""
    status: str | None = None
    """How the request ended, in the serving system's words."""
    error: str | None = None
    """The kind of error; if present, the prediction failed."""
    role: Role | None = None
    """`shadow` if a candidate answered the request and its answer was not used; `primary` by default."""
    producer: str | None = None
    """The id of the publisher process that wrote the event."""
    seq: int | None = None
    """The event's sequence number per producer, from 0. Dropped events have numbers too, so that gaps reveal loss."""


class Label(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The ground truth of one prediction. It is identified by (model, id); the label with the latest `at` counts."""

    model: str
    """The model's name."""
    id: str
    """The prediction's id. The label applies to every version that answered the request."""
    label: bool | float | int | str
    """The truth: a flag, a class or a number, as declared by the contract's `label`."""
    at: int | str
    """When the truth was known: epoch milliseconds, or RFC 3339 with an offset."""


def label_key(model: str, event_id: str) -> bytes:
    """Return the Kafka key of a label; its partition is crc32(key) modulo the number of partitions."""
    return f"{model}\x00{event_id}".encode()


def encode_json(event: Prediction | Label) -> bytes:
    """Encode an event as JSON with its values unchanged; floats that are not finite become null.

    The publisher cleans values first (`barograph.values`), so that such floats become text and do not look missing.
    """
    return _ENCODER.encode(event)


def encode_arrow(table: pa.Table | pa.RecordBatch) -> bytes:
    """Encode predictions or labels as one Arrow IPC stream with their columns unchanged.

    The columns must have the names of the Arrow format (docs/events.md); they are not checked here. An empty table
    yields a stream without rows.
    """
    import pyarrow as pa  # serving publishes single events, which need no Arrow

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


_ENCODER = msgspec.json.Encoder()
