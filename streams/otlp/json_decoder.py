"""OTLP export requests in JSON → spans.

OTLP/JSON is not the JSON mapping of protobuf: ids are hexadecimal, enums are numbers, and 64-bit integers may be
numbers or text. Unknown members are ignored.
"""

from __future__ import annotations

from typing import Any

import msgspec

from streams.otlp.content import count_chars
from streams.otlp.conventions import Conventions, Use
from streams.otlp.protobuf_decoder import too_many_spans
from streams.otlp.rejection import ExportError, RequestReason, SpanReason
from streams.otlp.span import (
    EXCEPTION_EVENT,
    EXCEPTION_TYPE,
    MAX_ATTRIBUTES,
    MAX_SPANS,
    STATUS_ERROR,
    DecodedRequest,
    InstrumentationScope,
    Span,
    checked_size,
    is_parent_id,
    is_span_id,
    is_trace_id,
)

_VALUE, _LENGTH, _UNKNOWN = Use.VALUE, Use.LENGTH, Use.UNKNOWN


class _Value(msgspec.Struct, gc=False):
    stringValue: str | None = None
    boolValue: bool | None = None
    intValue: int | str | None = None
    doubleValue: float | str | None = None
    arrayValue: _Array | None = None
    kvlistValue: _Map | None = None


class _Array(msgspec.Struct, gc=False):
    values: list[_Value] = []


class _Pair(msgspec.Struct, gc=False):
    key: str = ""
    value: _Value | None = None


class _Map(msgspec.Struct, gc=False):
    values: list[_Pair] = []


class _Event(msgspec.Struct, gc=False):
    timeUnixNano: int | str = 0
    name: str = ""
    attributes: list[_Pair] = []


class _Status(msgspec.Struct, gc=False):
    code: int | str = 0


class _Span(msgspec.Struct, gc=False):
    traceId: str = ""
    spanId: str = ""
    parentSpanId: str = ""
    name: str = ""
    startTimeUnixNano: int | str = 0
    endTimeUnixNano: int | str = 0
    attributes: list[_Pair] = []
    events: list[_Event] = []
    status: _Status | None = None


class _ScopeName(msgspec.Struct, gc=False):
    name: str = ""
    version: str = ""


class _ScopeSpans(msgspec.Struct, gc=False):
    scope: _ScopeName | None = None
    spans: list[_Span] = []


class _Resource(msgspec.Struct, gc=False):
    attributes: list[_Pair] = []


class _ResourceSpans(msgspec.Struct, gc=False):
    resource: _Resource | None = None
    scopeSpans: list[_ScopeSpans] = []


class _Request(msgspec.Struct, gc=False):
    resourceSpans: list[_ResourceSpans] = []


_MAX_UINT64 = 2**64 - 1


class JsonExportDecoder:
    """Decodes export requests in JSON."""

    def __init__(self, conventions: Conventions, resource_names: frozenset[str]) -> None:
        """Prepare the decoder.

        Args:
            conventions: which attributes are kept.
            resource_names: attributes of resources that are kept.
        """
        self._lookup = conventions.attribute
        self._first_token_events = conventions.first_token_events
        self._resource_names = resource_names
        self._decoder = msgspec.json.Decoder(_Request)

    def decode(self, data: bytes) -> DecodedRequest:
        """Decode a request.

        Raises:
            ExportError: the request is too large, or not OTLP/JSON.
        """
        checked_size(len(data))
        try:
            message = self._decoder.decode(data)
        except RecursionError:
            raise _too_deep() from None
        except UnicodeDecodeError:
            raise ExportError(RequestReason.NOT_JSON, "The body is not UTF-8.") from None
        except msgspec.DecodeError as error:
            # The message names the place and the types, never a value.
            raise ExportError(RequestReason.NOT_JSON, f"The body is not OTLP/JSON: {error}.") from None
        n_spans = sum(len(group.spans) for each in message.resourceSpans for group in each.scopeSpans)
        if n_spans > MAX_SPANS:
            raise too_many_spans(n_spans)
        request = DecodedRequest()
        try:
            for each in message.resourceSpans:
                resource = self._resource(each.resource)
                for group in each.scopeSpans:
                    name = group.scope or _NO_SCOPE
                    scope = InstrumentationScope(name.name, name.version, resource)
                    for span in group.spans:
                        self._add(request, scope, span)
        except RecursionError:
            raise _too_deep() from None
        return request

    def _resource(self, resource: _Resource | None) -> dict[str, str]:
        pairs = () if resource is None else resource.attributes
        return {
            pair.key: pair.value.stringValue
            for pair in pairs
            if pair.key in self._resource_names and pair.value is not None and pair.value.stringValue is not None
        }

    def _add(self, request: DecodedRequest, scope: InstrumentationScope, span: _Span) -> None:
        trace_id, span_id, parent_id = map(_id_bytes, (span.traceId, span.spanId, span.parentSpanId))
        if not (is_trace_id(trace_id) and is_span_id(span_id) and is_parent_id(parent_id)):
            request.rejected[SpanReason.BAD_ID] += 1
            return
        if len(span.attributes) > MAX_ATTRIBUTES or len(span.events) > MAX_ATTRIBUTES:
            request.rejected[SpanReason.TOO_MANY_ATTRIBUTES] += 1
            return
        attributes: dict[str, Any] = {}
        chars: dict[str, int] = {}
        lookup = self._lookup
        for pair in span.attributes:
            name = pair.key
            known = lookup(name)
            if known is None:
                continue
            use = known.use
            if use is _VALUE:
                attributes[name] = _value(pair.value)
            elif use is _LENGTH:
                n_chars = count_chars(known.content_form, _tree(pair.value))
                if n_chars is not None:
                    chars[known.content] = chars.get(known.content, 0) + n_chars
            elif use is _UNKNOWN:
                request.count_unknown(name)
        first_token_ns, exception = 0, ""
        for event in span.events:
            if event.name in self._first_token_events:
                at_ns = _nanoseconds(event.timeUnixNano)
                first_token_ns = min(first_token_ns or at_ns, at_ns)
            elif event.name == EXCEPTION_EVENT:
                for pair in event.attributes:
                    if pair.key == EXCEPTION_TYPE and pair.value is not None:
                        exception = pair.value.stringValue or ""
        failed = span.status is not None and span.status.code in (STATUS_ERROR, "STATUS_CODE_ERROR")
        request.spans.append(
            Span(
                scope,
                trace_id,
                span_id,
                parent_id,
                span.name,
                _nanoseconds(span.startTimeUnixNano),
                _nanoseconds(span.endTimeUnixNano),
                failed,
                attributes,
                chars,
                first_token_ns,
                exception,
            )
        )


def _too_deep() -> ExportError:
    return ExportError(RequestReason.TOO_DEEP, "The JSON is nested too deep.")


def _id_bytes(text: str) -> bytes:
    """Decode a hexadecimal id; an id that cannot be decoded has a wrong length afterwards."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        return _BAD_ID


def _nanoseconds(value: int | str) -> int:
    """Return Unix nanoseconds; 0, which means that a time is missing, for anything else than an unsigned integer."""
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit() and len(value) <= 20):
            return 0
        value = int(value)
    return value if 0 <= value <= _MAX_UINT64 else 0


def _value(value: _Value | None) -> Any:
    """Return a flag, number or text, a list of these, or None for anything else."""
    if value is None:
        return None
    if value.stringValue is not None:
        return value.stringValue
    if value.intValue is not None:
        return _integer(value.intValue)
    if value.doubleValue is not None:
        return _double(value.doubleValue)
    if value.boolValue is not None:
        return value.boolValue
    if value.arrayValue is not None:
        return [
            _value(each) for each in value.arrayValue.values if each.arrayValue is None and each.kvlistValue is None
        ]
    return None


def _integer(value: int | str) -> int | None:
    if isinstance(value, int):
        return value
    return int(value) if value.isascii() and value.removeprefix("-").isdigit() and len(value) <= 20 else None


def _double(value: float | str) -> float | None:
    if isinstance(value, str):
        return _NOT_FINITE.get(value)
    return value


def _tree(value: _Value | None) -> Any:
    """Return a value with all its members; the parser bounds the depth."""
    if value is None:
        return None
    if value.arrayValue is not None:
        return [_tree(each) for each in value.arrayValue.values]
    if value.kvlistValue is not None:
        return {pair.key: _tree(pair.value) for pair in value.kvlistValue.values}
    return value.stringValue


_NO_SCOPE = _ScopeName()
_BAD_ID = b"\0"
_NOT_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
