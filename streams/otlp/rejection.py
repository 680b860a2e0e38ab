"""Why an export request, a span or a value of a span is not used: closed sets of reasons, which are counted."""

from enum import StrEnum
from typing import Self

MAX_ATTRIBUTES = 10_000
"""Most attributes and most events of a span; OpenInference writes several attributes per message of a conversation."""


class RequestReason(StrEnum):
    """Why a whole export request is rejected."""

    EMPTY = "empty"
    """A message of Kafka without value."""
    NOT_PROTOBUF = "not-protobuf"
    """The bytes are not an `ExportTraceServiceRequest`."""
    NOT_JSON = "not-json"
    """The bytes are not OTLP/JSON: not UTF-8, no JSON, or a member has another type than the protocol's."""
    NOT_GZIP = "not-gzip"
    """The content encoding is gzip, and the bytes are not."""
    TOO_DEEP = "too-deep"
    """Values are nested too deep."""
    TOO_LARGE = "too-large"
    """The request has more bytes than the limit, packed or unpacked."""
    TOO_MANY_SPANS = "too-many-spans"
    """The request has more spans, resources or scopes than the limit."""


class SpanReason(StrEnum):
    """Why a span is rejected."""

    cause: str
    """What the documentation says."""
    advice: str
    """What the answer to the exporter says."""

    def __new__(cls, reason: str, cause: str, advice: str) -> Self:
        member = str.__new__(cls, reason)
        member._value_, member.cause, member.advice = reason, cause, advice
        return member

    BAD_ID = (
        "bad-id",
        "a trace or span id that is missing, all zeros, of the wrong length, or in JSON not hexadecimal",
        "trace and span ids must have 16 and 8 bytes, in JSON as 32 and 16 hexadecimal digits",
    )
    TOO_MANY_ATTRIBUTES = (
        "too-many-attributes",
        f"more than {MAX_ATTRIBUTES:,} attributes or events",
        f"a span may have {MAX_ATTRIBUTES:,} attributes and {MAX_ATTRIBUTES:,} events",
    )
    BAD_TIME = (
        "bad-time",
        "a model call without start, or with one that is not a whole number",
        "a model call needs a start time",
    )
    FUTURE_TIME = (
        "future-time",
        "a start more than 5 minutes after the receipt: the clock of its host is wrong",
        "a model call starts more than five minutes in the future; correct the host's clock",
    )
    TOO_OLD = (
        "too-old",
        "a start longer ago than predictions are kept (`retention_days`)",
        "a model call started before the time that predictions are kept (retention_days)",
    )
    MISSING_MODEL = (
        "missing-model",
        "no `service.name`",
        "the resource has no service.name without spaces; set OTEL_SERVICE_NAME",
    )
    MISSING_VERSION = (
        "missing-version",
        "no model of the request or the response, on a call that did not fail",
        "a model call names no model; it needs gen_ai.request.model or gen_ai.response.model",
    )


class SpanOutcome(StrEnum):
    """What happened to a span that was not rejected."""

    COUNTED = "counted"
    NESTED = "nested"
    """A model call inside of another, or around one that has counted."""
    TWIN = "twin"
    """Another description of a call that counts, which is neither inside of it nor around it."""
    STREAM_START = "stream-start"
    """The request of a stream, whose call another record describes."""
    DUPLICATE = "duplicate"
    """The span was received before."""
    UNKNOWN_OPERATION = "unknown-operation"
    """It has a model or tokens, and the table of conventions does not know what it does."""
    UNASSIGNED = "unassigned"
    """A call for embeddings, images or audio of an application that `otlp.models` names no model for."""
    STEP = "step"
    """A tool or an agent: model calls inside of it are other calls than one around it."""
    NO_CALL = "no-call"
    """Not a model call: a chain, retrieval, an HTTP request."""


class ValueReason(StrEnum):
    """Why a value of a model call counts as not observed."""

    cause: str
    """What the documentation says."""

    def __new__(cls, reason: str, cause: str) -> Self:
        member = str.__new__(cls, reason)
        member._value_, member.cause = reason, cause
        return member

    WRONG_TYPE = (
        "wrong-type",
        "text or a flag where a number belongs, a number where a text belongs, a broken JSON text",
    )
    NEGATIVE = "negative", "a negative count, cost or time"
    TOO_LARGE = (
        "too-large",
        "more than 10 million tokens, a duration of more than a day, a cost of more than a million dollars",
    )
    NOT_FINITE = "not-finite", "NaN, infinity"
    NOT_A_NAME = "not-a-name", "a text that does not look like a name"
    AFTER_END = "after-end", "a first token before the start or after the end"
    INCONSISTENT = "inconsistent", "more tokens of a part, such as cached ones, than of the whole; and the cost"
    NO_PRICE = (
        "no-price",
        "the cost of tokens of audio or of a service tier without a price, or of audio beside cached tokens",
    )
    NO_CACHED_TOKENS = (
        "no-cached-tokens",
        "the cost, if cached tokens have a price and the instrumentation does not report them",
    )
    INSTRUMENTATION_ERROR = (
        "instrumentation-error",
        "an error of the instrumentation, or of a client that ended a stream: the call did not fail",
    )
    NO_END = "no-end", "no end: the latency is not observed"


class ExportError(Exception):
    """An export request cannot be used. The message says what is wrong and never contains values of the request."""

    def __init__(self, reason: RequestReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
