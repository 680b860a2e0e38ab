"""OTLP export requests in protobuf → spans.

The Collector's encoding `otlp_proto` writes `TracesData`, which has the same bytes as `ExportTraceServiceRequest`.
"""

from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from barograph_server.streams.otlp.export_decoder import ExportDecoder
from barograph_server.streams.otlp.rejection import ExportError, RequestReason
from barograph_server.streams.otlp.span import STATUS_ERROR, DecodedRequest, check_count, check_size


class ProtobufExportDecoder(ExportDecoder):
    """Decodes export requests in protobuf."""

    def decode(self, data: bytes) -> DecodedRequest:
        check_size(len(data))
        try:
            message = ExportTraceServiceRequest.FromString(data)
        except (DecodeError, RecursionError):
            raise ExportError(
                RequestReason.NOT_PROTOBUF,
                "The body is not an ExportTraceServiceRequest in protobuf: it is cut off, has another encoding, or "
                "nests values more than 100 levels deep.",
            ) from None
        check_count(len(message.resource_spans), "resources")
        check_count(sum(len(each.scope_spans) for each in message.resource_spans), "scopes")
        groups = [(each.resource, scope) for each in message.resource_spans for scope in each.scope_spans]
        check_count(sum(len(group.spans) for _, group in groups))
        request = DecodedRequest()
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
        return request

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
