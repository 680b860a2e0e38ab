"""OTLP export requests in protobuf → spans.

The Collector's encoding `otlp_proto` writes `TracesData`, which has the same bytes as `ExportTraceServiceRequest`.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from streams.otlp.content import count_chars
from streams.otlp.conventions import Conventions, Use
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


class ProtobufExportDecoder:
    """Decodes export requests in protobuf."""

    def __init__(self, conventions: Conventions, resource_names: frozenset[str]) -> None:
        """Prepare the decoder.

        Args:
            conventions: which attributes are kept.
            resource_names: attributes of resources that are kept.
        """
        self._lookup = conventions.attribute
        self._first_token_events = conventions.first_token_events
        self._resource_names = resource_names

    def decode(self, data: bytes) -> DecodedRequest:
        """Decode a request.

        Raises:
            ExportError: the request is too large, or not an export request.
        """
        checked_size(len(data))
        try:
            message = ExportTraceServiceRequest.FromString(data)
        except (DecodeError, RecursionError):
            raise ExportError(
                RequestReason.NOT_PROTOBUF,
                "The body is not an ExportTraceServiceRequest in protobuf: it is cut off, has another encoding, or "
                "nests values more than 100 levels deep.",
            ) from None
        groups = [(each.resource, scope) for each in message.resource_spans for scope in each.scope_spans]
        n_spans = sum(len(group.spans) for _, group in groups)
        if n_spans > MAX_SPANS:
            raise too_many_spans(n_spans)
        request = DecodedRequest()
        for resource, group in groups:
            scope = InstrumentationScope(group.scope.name, group.scope.version, self._resource(resource))
            for span in group.spans:
                self._add(request, scope, span)
        return request

    def _resource(self, resource: Any) -> dict[str, str]:
        names = self._resource_names
        return {
            pair.key: pair.value.string_value
            for pair in resource.attributes
            if pair.key in names and pair.value.WhichOneof("value") == "string_value"
        }

    def _add(self, request: DecodedRequest, scope: InstrumentationScope, span: Any) -> None:
        trace_id, span_id, parent_id = span.trace_id, span.span_id, span.parent_span_id
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
                value = pair.value
                kind = value.WhichOneof("value")
                attributes[name] = getattr(value, kind) if kind in _SCALARS else _list(value, kind)
            elif use is _LENGTH:
                n_chars = count_chars(known.content_form, _tree(pair.value))
                if n_chars is not None:
                    chars[known.content] = chars.get(known.content, 0) + n_chars
            elif use is _UNKNOWN:
                request.count_unknown(name)
        first_token_ns, exception = 0, ""
        for event in span.events:
            if event.name in self._first_token_events:
                first_token_ns = min(first_token_ns or event.time_unix_nano, event.time_unix_nano)
            elif event.name == EXCEPTION_EVENT:
                for pair in event.attributes:
                    if pair.key == EXCEPTION_TYPE:
                        exception = pair.value.string_value
        request.spans.append(
            Span(
                scope,
                trace_id,
                span_id,
                parent_id,
                span.name,
                span.start_time_unix_nano,
                span.end_time_unix_nano,
                span.status.code == STATUS_ERROR,
                attributes,
                chars,
                first_token_ns,
                exception,
            )
        )


def too_many_spans(n_spans: int) -> ExportError:
    """Return the error for a request with too many spans."""
    return ExportError(
        RequestReason.TOO_MANY_SPANS,
        f"The request has {n_spans:,} spans; at most {MAX_SPANS:,} are read. Reduce the exporter's batch size "
        "(OTEL_BSP_MAX_EXPORT_BATCH_SIZE, or the Collector's batch processor).",
    )


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
