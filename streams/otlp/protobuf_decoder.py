"""OTLP export requests in protobuf → spans.

The Collector's encoding `otlp_proto` writes `TracesData`, which has the same bytes as `ExportTraceServiceRequest`.
"""

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from barograph_server.streams.otlp.export_decoder import ExportDecoder
from barograph_server.streams.otlp.rejection import MAX_ATTRIBUTES, ExportError, RequestReason
from barograph_server.streams.otlp.span import (
    MAX_PART_BYTES,
    STATUS_ERROR,
    DecodedRequest,
    check_count,
    check_size,
    part_too_large,
)

MAX_HEAD_BYTES = 256 << 10
"""Most bytes of a resource, or of a scope, in a request that is decoded in parts: each part repeats them."""
_CHILDREN = (0x0A, 0x12, 0x12)
"""Tags of resources in a request, of scopes in a resource, and of spans in a scope."""
_OF_SPAN = (0x4A, 0x5A)
"""Tags of attributes and events in a span."""
_LENGTHS = {1: 8, 5: 4}
"""Bytes of fields of fixed length, by wire type. Type 2 states its length, type 0 is a number of variable length."""


class ProtobufExportDecoder(ExportDecoder):
    """Decodes export requests in protobuf."""

    def decode(self, data: bytes) -> DecodedRequest:
        check_size(len(data))
        request = DecodedRequest()
        for part in [data] if len(data) <= MAX_PART_BYTES else _parts(data):
            self._decode_part(part, request)
            check_count(len(request.spans) + sum(request.rejected.values()))
        return request

    def _decode_part(self, data: bytes, request: DecodedRequest) -> None:
        try:
            message = ExportTraceServiceRequest.FromString(data)
        except (DecodeError, RecursionError):
            raise _not_protobuf() from None
        check_count(len(message.resource_spans), "resources")
        check_count(sum(len(each.scope_spans) for each in message.resource_spans), "scopes")
        groups = [(each.resource, scope) for each in message.resource_spans for scope in each.scope_spans]
        check_count(sum(len(group.spans) for _, group in groups))
        for resource, group in groups:
            scope = self._scope(group.scope.name, group.scope.version, self._resource(resource.attributes))
            for span in group.spans:
                self._add(
                    request,
                    scope,
                    span,
                    span.trace_id,
                    span.span_id,
                    span.parent_span_id,
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    span.status.code == STATUS_ERROR,
                )

    @staticmethod
    def _value(value: Any) -> Any:
        # Most values are texts and counts, and these two are read in half the time of `WhichOneof`.
        known = value.string_value or value.int_value
        if known:
            return known
        kind = value.WhichOneof("value")
        return getattr(value, kind) if kind in _SCALARS else _list(value, kind)

    @staticmethod
    def _text(value: Any) -> str | None:
        return value.string_value if value.WhichOneof("value") == "string_value" else None

    @staticmethod
    def _tree(value: Any) -> Any:
        return _tree(value)

    @staticmethod
    def _event_ns(event: Any) -> int:
        return int(event.time_unix_nano)


def _not_protobuf() -> ExportError:
    return ExportError(
        RequestReason.NOT_PROTOBUF,
        "The body is not an ExportTraceServiceRequest in protobuf: it is cut off, has another encoding, or "
        "nests values more than 100 levels deep.",
    )


def _parts(data: bytes, depth: int = 0) -> Iterator[bytes]:
    """Split a message by its resources, scopes and spans into messages of about `MAX_PART_BYTES`.

    The parser takes many times the size of a message with many small members; so it takes that of a part.
    """
    head, children = bytearray(), []
    for n, (tag, field, value) in enumerate(_fields(data), 1):
        check_count(n, ("resources", "scopes", "spans")[depth])
        if tag == _CHILDREN[depth]:
            children.append(value)
        elif depth:
            head += field
    if len(head) > MAX_HEAD_BYTES:
        raise part_too_large("resource or scope", MAX_HEAD_BYTES)
    part = bytearray(head)
    for child in children:
        if len(child) > MAX_PART_BYTES and depth == len(_CHILDREN) - 1:
            child = _shortened(child)
        for piece in [child] if len(child) <= MAX_PART_BYTES else _parts(child, depth + 1):
            if len(part) > len(head) and len(part) + len(piece) > MAX_PART_BYTES:
                yield bytes(part)
                part = bytearray(head)
            part += bytes((_CHILDREN[depth], *varint(len(piece)))) + piece
    yield bytes(part)


def _shortened(span: bytes) -> bytes:
    """Return a span without its attributes and events of more than `MAX_HEAD_BYTES`, which hold text or media."""
    short = bytearray()
    for n, (tag, field, _) in enumerate(_fields(span), 1):
        if tag not in _OF_SPAN or len(field) <= MAX_HEAD_BYTES:
            short += field
        if len(short) > MAX_PART_BYTES or n > 3 * MAX_ATTRIBUTES:
            raise part_too_large("span without its long attributes", MAX_PART_BYTES)
    return bytes(short)


def _fields(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield the tag, the bytes and the value of each field of a request, a resource, a scope or a span."""
    at = 0
    while at < len(data):
        begin = at
        tag, at = _read_varint(data, at)
        kind = tag & 7
        if kind == 2:
            length, at = _read_varint(data, at)
        elif kind == 0:
            length = _read_varint(data, at)[1] - at
        elif kind in _LENGTHS:
            length = _LENGTHS[kind]
        else:
            raise _not_protobuf()
        if at + length > len(data):
            raise _not_protobuf()
        yield tag, data[begin : at + length], data[at : at + length]
        at += length


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value, at
    raise _not_protobuf()


def varint(n: int) -> Iterator[int]:
    while n > 0x7F:
        yield n & 0x7F | 0x80
        n >>= 7
    yield n


def _list(value: Any, kind: str | None) -> list[Any] | None:
    """Return the flags, numbers and texts of a list; None for anything else."""
    if kind != "array_value":
        return None
    values = value.array_value.values
    return [getattr(each, scalar) for each in values if (scalar := each.WhichOneof("value")) in _SCALARS]


def _tree(value: Any) -> Any:
    """Return a value with all its members; the parser bounds the depth."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_tree(each) for each in value.array_value.values]
    if kind == "kvlist_value":
        return {pair.key: _tree(pair.value) for pair in value.kvlist_value.values}
    return value.string_value if kind == "string_value" else None


_SCALARS = frozenset(("string_value", "int_value", "double_value", "bool_value"))
