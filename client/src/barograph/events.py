"""What travels in `predictions` and `labels`: events, their encodings, headers and limits.

Four rules keep old and new programs together; tests show each in both directions:

1. Unknown members are tolerated: an old reader reads a new event.
2. A new member is optional and has a default: a new reader reads an old event.
3. A member never changes its type or meaning; a new meaning gets a new name.
4. A member that is no longer written stays known, so that its name is never used again for something else.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec
import pyarrow as pa

PREDICTIONS_TOPIC = "predictions"
LABELS_TOPIC = "labels"

CONTENT_TYPE_HEADER = "content-type"
ARROW_CONTENT_TYPE = b"application/vnd.apache.arrow.stream"
"""An Arrow IPC stream of one or more record batches. Messages without the header are JSON."""
JSON_CONTENT_TYPE = b"application/json"
MARK_HEADER = "barograph-mark"
"""On a message without value: a mark, not an event."""
END_MARK = b"end"
"""Whoever replays history has no more of it: its windows may be sealed."""

MAX_MESSAGE_BYTES = 1 << 20
"""The largest message; `max.message.bytes` of both topics."""
MAX_EVENT_BYTES = 1_000_000
"""The largest event that the publisher sends: the limit less room for headers and the record's own frame."""
BATCH_ROWS = 1_000
"""Rows per Arrow message: enough that the schema (about 2 KB) costs little, few enough to decode at once."""
BATCH_BYTES = 900_000
"""Above this an Arrow message is split in two."""
MAX_MEMBERS = 10_000
"""Members of one map (features, context, scores, metrics) that the publisher sends."""
MAX_AHEAD_S = 300
"""An event further ahead of the time Kafka received it is a dead letter: its producer's clock is wrong."""

FEATURES, CONTEXT, SCORES, METRICS = "features", "context", "scores", "metrics"
MAPS = (FEATURES, CONTEXT, SCORES, METRICS)
"""Members that are maps; in Arrow each key is a column of its own, named `MAP.KEY`."""

Value = float | int | str | bool | None
"""A feature's value."""


class Reason(StrEnum):
    """Why an event was put aside; the closed set of reason codes of dead letters."""

    EMPTY = "empty"
    """A message without value or of no bytes, and no mark."""
    NOT_JSON = "not-json"
    """Not UTF-8, not JSON, or cut off."""
    NOT_AN_OBJECT = "not-an-object"
    """JSON, but a list, a string, a number, true, false or null."""
    TOO_DEEP = "too-deep"
    """JSON nested deeper than the reader's stack allows."""
    TOO_LARGE = "too-large"
    """More bytes or members than the limits allow."""
    NOT_ARROW = "not-arrow"
    """The header promises Arrow, and the bytes are no Arrow IPC stream."""
    MISSING_MODEL = "missing-model"
    UNKNOWN_MODEL = "unknown-model"
    """No contract of this model was applied."""
    MISSING_VERSION = "missing-version"
    MISSING_ID = "missing-id"
    MISSING_TIME = "missing-time"
    BAD_TIME = "bad-time"
    """`at` is neither whole epoch milliseconds nor RFC 3339 text with an offset."""
    FUTURE_TIME = "future-time"
    """More than five minutes ahead of the time Kafka received it."""
    TOO_OLD = "too-old"
    """Older than panes are kept."""
    WRONG_TYPE = "wrong-type"
    """`model`, `version` or `id` is no text, a map is no object, or a label is no label."""


class Prediction(msgspec.Struct, kw_only=True, omit_defaults=True, rename={"class_": "class"}):
    """One prediction: what it was made from and what came out. It is identified by (model, version, id)."""

    model: str
    """The model's name, as its contract has it."""
    version: str
    """The model's version, as people write it: `3`, `2024-06-a`."""
    id: str
    """The request's id; versions and shadows of one request share it."""
    at: int | str
    """Event time, when the prediction was made: epoch milliseconds, or RFC 3339 with an offset."""
    arm: str | None = None
    """The arm of an A/B test that the request was assigned to."""
    context: dict[str, str | None] | None = None
    """What is known of the request and is no feature."""
    features: dict[str, Value] | None = None
    """What the model saw, by name; null is a missing value. Numbers that are not finite are text, as in `score`."""
    score: float | str | None = None
    """The model's number. Text only where it is not finite: `NaN`, `Infinity`, `-Infinity`."""
    class_: str | bool | int | None = None
    """The model's decision; a flag or a whole number counts as its JSON text."""
    scores: dict[str, float | str | None] | None = None
    """A probability per class."""
    metrics: dict[str, float | str | None] | None = None
    """Further numbers of this prediction: tokens, cost, time to first token."""
    latency_ms: float | str | None = None
    """How long the prediction took, in milliseconds."""
    status: str | None = None
    """How the request ended, in the serving system's own words."""
    error: str | None = None
    """The kind of error; present means that the prediction failed."""
    producer: str | None = None
    """The publisher process that wrote the event, unique to it."""
    seq: int | None = None
    """Counts the events of a producer from 0, dropped ones included, so that gaps show loss."""


class Label(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The ground truth of one prediction. It is identified by (model, id); the one of the largest `at` holds."""

    model: str
    """The model's name."""
    id: str
    """The prediction's id; the label is that of every version that answered the request."""
    label: bool | float | int | str
    """The truth: a flag, a class or a number, as the contract's `label` says."""
    at: int | str
    """When the truth was known: epoch milliseconds, or RFC 3339 with an offset."""


def label_key(model: str, event_id: str) -> bytes:
    """The Kafka key of a label: its partition is crc32(key) modulo the number of partitions."""
    return f"{model}\x00{event_id}".encode()


def encode_json(event: Prediction | Label) -> bytes:
    """Write an event as JSON, its values as they are: floats that are not finite become null.

    The publisher cleans values first (`barograph.values`), so that these are text and not taken for missing.
    """
    return _ENCODER.encode(event)


def decode_prediction(data: bytes) -> Prediction:
    """Read one JSON prediction, strictly.

    Raises:
        msgspec.ValidationError: a member is missing or has the wrong type.
        msgspec.DecodeError: the bytes are no JSON.
    """
    return _PREDICTION.decode(data)


def decode_label(data: bytes) -> Label:
    """Read one JSON label, strictly; raises as `decode_prediction` does."""
    return _LABEL.decode(data)


def encode_predictions(table: Any) -> bytes:
    """Write a pyarrow Table or RecordBatch as one Arrow IPC stream, its columns as they are.

    The columns must have the names of the Arrow batch (docs/events.md); nothing is checked here. An empty
    table gives a stream without rows.
    """
    return _encode_stream(table)


def encode_labels(table: Any) -> bytes:
    """Write a pyarrow Table or RecordBatch of labels (model, id, label, at) as one Arrow IPC stream."""
    return _encode_stream(table)


def _encode_stream(table: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


_ENCODER = msgspec.json.Encoder()
_PREDICTION = msgspec.json.Decoder(Prediction)
_LABEL = msgspec.json.Decoder(Label)
