"""OTLP export requests in JSON → spans.

OTLP/JSON is not the JSON mapping of protobuf: ids are hexadecimal, enums are numbers, and 64-bit integers may be
numbers or text. Unknown members are ignored.
"""

from __future__ import annotations

from typing import Any

import msgspec

from barograph_server.streams.otlp.export_decoder import ExportDecoder
from barograph_server.streams.otlp.rejection import ExportError, RequestReason
from barograph_server.streams.otlp.span import MAX_PART_BYTES, STATUS_ERROR, DecodedRequest, check_count, check_size


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


MAX_SEPARATORS = 4_000_000
"""Most members and elements of a request of more than `MAX_PART_BYTES`: as many as one of that size can have."""
_SEPARATORS = (b"{", b"[", b",")
_MAX_UINT64 = 2**64 - 1


_NOT_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


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


_DECODER = msgspec.json.Decoder(_Request)


class JsonExportDecoder(ExportDecoder):
    """Decodes export requests in JSON."""

    _value = staticmethod(_value)
    _tree = staticmethod(_tree)

    def decode(self, data: bytes) -> DecodedRequest:
        check_size(len(data))
        if len(data) > MAX_PART_BYTES and sum(map(data.count, _SEPARATORS)) > MAX_SEPARATORS:
            raise ExportError(
                RequestReason.TOO_LARGE,
                f"The request has more than {MAX_SEPARATORS:,} braces, brackets and commas. Reduce the batch size of "
                "the exporter (OTEL_BSP_MAX_EXPORT_BATCH_SIZE, or the Collector's batch processor).",
            )
        try:
            message = _DECODER.decode(data)
        except RecursionError:
            raise _too_deep() from None
        except UnicodeDecodeError:
            raise ExportError(RequestReason.NOT_JSON, "The body is not UTF-8.") from None
        except msgspec.DecodeError as error:
            # The message names the place and the types, never a value.
            raise ExportError(RequestReason.NOT_JSON, f"The body is not OTLP/JSON: {error}.") from None
        check_count(len(message.resourceSpans), "resources")
        check_count(sum(len(each.scopeSpans) for each in message.resourceSpans), "scopes")
        check_count(sum(len(group.spans) for each in message.resourceSpans for group in each.scopeSpans))
        request = DecodedRequest()
        try:
            for each in message.resourceSpans:
                resource = self._resource(() if each.resource is None else each.resource.attributes)
                for group in each.scopeSpans:
                    name = group.scope or _NO_SCOPE
                    scope = self._scope(name.name, name.version, resource)
                    for span in group.spans:
                        self._add(
                            request,
                            scope,
                            span,
                            _id_bytes(span.traceId),
                            _id_bytes(span.spanId),
                            _id_bytes(span.parentSpanId),
                            _nanoseconds(span.startTimeUnixNano),
                            _nanoseconds(span.endTimeUnixNano),
                            span.status is not None and span.status.code in (STATUS_ERROR, "STATUS_CODE_ERROR"),
                        )
        except RecursionError:
            raise _too_deep() from None
        return request

    @staticmethod
    def _text(value: _Value | None) -> str | None:
        return None if value is None else value.stringValue

    @staticmethod
    def _event_ns(event: _Event) -> int:
        return _nanoseconds(event.timeUnixNano)


def _too_deep() -> ExportError:
    return ExportError(RequestReason.TOO_DEEP, "The JSON is nested too deep.")


def _id_bytes(text: str) -> bytes:
    """Decode a hexadecimal id; an id that cannot be decoded has a wrong length afterwards."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        return _BAD_ID


_NO_SCOPE = _ScopeName()
_BAD_ID = b"\0"
