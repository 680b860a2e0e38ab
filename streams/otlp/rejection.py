"""Why an export request, a span or a value of a span is not used: closed sets of reasons, which are counted."""

from enum import StrEnum


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

    BAD_ID = "bad-id"
    """The trace id or the span id is missing, all zeros or has the wrong length; in JSON, ids are hexadecimal."""
    TOO_MANY_ATTRIBUTES = "too-many-attributes"
    """The span has more attributes or events than the limit."""
    BAD_TIME = "bad-time"
    """A model call has no start time, or one that is not a whole number."""
    FUTURE_TIME = "future-time"
    """A model call starts more than five minutes after its receipt: the clock of its host is wrong."""
    TOO_OLD = "too-old"
    """A model call started longer ago than predictions are kept."""
    MISSING_MODEL = "missing-model"
    """The resource of a model call has no `service.name`."""
    MISSING_VERSION = "missing-version"
    """A model call names no model, neither that of the request nor that of the response."""


class ValueReason(StrEnum):
    """Why a value of a model call counts as not observed."""

    WRONG_TYPE = "wrong-type"
    """Text where a number belongs, a number where a text belongs, an unreadable JSON text."""
    NEGATIVE = "negative"
    """A negative count, cost or time."""
    TOO_LARGE = "too-large"
    """More than ten million tokens, a duration of more than a day, a cost of more than a million dollars."""
    NOT_FINITE = "not-finite"
    """NaN or an infinity."""
    NOT_A_NAME = "not-a-name"
    """A text that does not look like a name: it could be text of a prompt or an error message."""
    AFTER_END = "after-end"
    """The first token is later than the end of the span, or before its start."""
    INSTRUMENTATION_ERROR = "instrumentation-error"
    """An error of the instrumentation's own code, listed in the table of trust: the call itself did not fail."""
    NO_END = "no-end"
    """The span has no end time."""


class ExportError(Exception):
    """An export request cannot be used. The message says what is wrong and never contains values of the request."""

    def __init__(self, reason: RequestReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
