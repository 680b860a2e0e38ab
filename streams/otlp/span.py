"""A decoded span: what Barograph may know of it. Both encodings of OTLP decode to it.

Text of prompts and answers is gone, unless the contract of the span's model has a section `text`.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from barograph_server.streams.otlp.conventions import MAX_NAME_CHARS, numberless
from barograph_server.streams.otlp.rejection import ExportError, RequestReason, SpanReason

MAX_REQUEST_BYTES = 20 << 20
"""Largest export request, packed and unpacked."""
MAX_PART_BYTES = 4 << 20
"""Bytes of a request in protobuf that are parsed at once: hostile ones take 440 MB while they are decoded."""
MAX_SPANS = 10_000
"""Most spans, resources and scopes of one export request; the Collector's batches have 8,192 by default."""
MAX_JSON_TEXT = 64 << 10
"""Longest JSON text, in characters, whose members are read."""
MAX_UNKNOWN_NAMES = 200
"""Unknown attribute names that are counted by name; further ones count as `other`."""
NS_PER_MS = 1_000_000
OTHER = "other"
STATUS_ERROR = 2
EXCEPTION_EVENT, EXCEPTION_TYPE = "exception", "exception.type"
"""An event that records an exception, and its only attribute that is read: message and stack trace may hold text."""
_TRACE_ID_BYTES, _SPAN_ID_BYTES = 16, 8
_NO_TRACE, _NO_SPAN = bytes(_TRACE_ID_BYTES), bytes(_SPAN_ID_BYTES)


class InstrumentationScope(msgspec.Struct, frozen=True):
    """The instrumentation that emitted a span, and the resource that it belongs to."""

    name: str
    version: str
    resource: dict[str, str]
    """Attributes of the resource that are text and that Barograph reads, such as `service.name`."""
    reads_text: bool = False
    """Whether the model's contract has a section `text`."""


class SpanText(NamedTuple):
    """Text of a span, for as long as a request is handled."""

    prompt: str | None
    """The last message of the user."""
    answer: str | None


class Span(msgspec.Struct, gc=False):
    """One span. Attributes are only those of the table of conventions."""

    scope: InstrumentationScope
    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    """Empty for a root."""
    name: str
    """May contain anything; never published."""
    start_ns: int
    """Unix nanoseconds; 0 if it is missing."""
    end_ns: int
    failed: bool
    """Whether the status is `ERROR`."""
    attributes: dict[str, Any]
    """Name → flag, number, text or list of these."""
    chars: dict[str, int]
    """`input_chars`, `output_chars`: lengths in characters of all texts."""
    first_token_ns: int = 0
    """Time of the first event that marks the first token; 0 if there is none."""
    exception: str = ""
    """The type of the last recorded exception."""
    text: SpanText | None = None
    """None if the contract reads no text, or the span has none."""


@dataclass(slots=True)
class DecodedRequest:
    """The spans of one export request, and what was left out."""

    spans: list[Span] = field(default_factory=list)
    rejected: Counter[SpanReason] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    """Names of attributes of known conventions that no table lists."""

    def count_unknown(self, name: str) -> None:
        """Count an unknown attribute name, with numbers replaced by `N`."""
        known = numberless(name[:MAX_NAME_CHARS])
        if known not in self.unknown and (len(self.unknown) >= MAX_UNKNOWN_NAMES or not _looks_like_a_name(known)):
            known = OTHER
        self.unknown[known] += 1


def _looks_like_a_name(name: str) -> bool:
    return name.isascii() and name.replace(".", "").replace("_", "").replace("-", "").isalnum()


def is_trace_id(value: bytes) -> bool:
    return len(value) == _TRACE_ID_BYTES and value != _NO_TRACE


def is_span_id(value: bytes) -> bool:
    return len(value) == _SPAN_ID_BYTES and value != _NO_SPAN


def is_parent_id(value: bytes) -> bool:
    """Return whether bytes are the id of a parent, or empty for a root."""
    return not value or is_span_id(value)


def check_count(n: int, what: str = "spans") -> None:
    """Check the number of spans of an export request, of its resources or of its scopes."""
    if n > MAX_SPANS:
        raise ExportError(
            RequestReason.TOO_MANY_SPANS,
            f"The request has {n:,} {what}; at most {MAX_SPANS:,} are read. Reduce the exporter's batch size "
            "(OTEL_BSP_MAX_EXPORT_BATCH_SIZE, or the Collector's batch processor).",
        )


def check_size(n_bytes: int) -> None:
    """Check the size of an export request."""
    if n_bytes > MAX_REQUEST_BYTES:
        raise ExportError(
            RequestReason.TOO_LARGE,
            f"The request has more than {MAX_REQUEST_BYTES:,} bytes. Reduce the exporter's batch size "
            "(OTEL_BSP_MAX_EXPORT_BATCH_SIZE, or the Collector's batch processor), or export no content of messages.",
        )


def part_too_large(what: str, n_bytes: int) -> ExportError:
    return ExportError(
        RequestReason.TOO_LARGE,
        f"A {what} of a request with more than {MAX_PART_BYTES:,} bytes has more than {n_bytes:,}. "
        "Shorten its attributes.",
    )
