"""What both encodings of an export request share: which attributes of a span are kept, counted or dropped."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from barograph_server.streams.otlp.conventions import Attribute, ContentForm, Conventions, Use
from barograph_server.streams.otlp.media import mark_of, replace_media
from barograph_server.streams.otlp.rejection import MAX_ATTRIBUTES, SpanReason
from barograph_server.streams.otlp.settings import SERVICE_NAME, OtlpSettings
from barograph_server.streams.otlp.span import (
    EXCEPTION_EVENT,
    EXCEPTION_TYPE,
    DecodedRequest,
    InstrumentationScope,
    Span,
    is_parent_id,
    is_span_id,
    is_trace_id,
)
from barograph_server.streams.otlp.text_reader import TextReader

RESOURCE_NAMES = frozenset((SERVICE_NAME, "barograph.arm", "barograph.prompt.name", "barograph.prompt.version"))
"""Attributes of a resource that are kept, beside that of `otlp.model_attribute`."""
_VALUE, _LENGTH, _UNKNOWN = Use.VALUE, Use.LENGTH, Use.UNKNOWN


class ExportDecoder(ABC):
    """Decodes export requests. A subclass parses an encoding, and reads values of its messages."""

    def __init__(
        self,
        conventions: Conventions,
        otlp: OtlpSettings,
        reads_text: Callable[[Mapping[str, str]], bool] = lambda resource: False,
    ) -> None:
        """Prepare the decoder.

        Args:
            reads_text: returns whether text of a resource's spans is read, by the attributes of the resource.
        """
        self._lookup = conventions.attribute
        self._first_token_events, self._content_events = conventions.first_token_events, conventions.content_events
        self._resource_names, self._reads_text = RESOURCE_NAMES | {otlp.model_attribute}, reads_text

    @abstractmethod
    def decode(self, data: bytes) -> DecodedRequest:
        """Decode a request."""

    @staticmethod
    @abstractmethod
    def _value(value: Any) -> Any:
        """Return a flag, number or text, a list of these, or None for anything else."""

    @staticmethod
    @abstractmethod
    def _text(value: Any) -> str | None:
        """Return a text; None for anything else."""

    @staticmethod
    @abstractmethod
    def _tree(value: Any) -> Any:
        """Return a value with all its members; the parser bounds the depth."""

    @staticmethod
    @abstractmethod
    def _event_ns(event: Any) -> int:
        """Return the time of an event, Unix nanoseconds; 0 if it is missing."""

    def _resource(self, pairs: Any) -> dict[str, str]:
        """Return the attributes of a resource that are kept."""
        names = self._resource_names
        texts = ((pair.key, self._text(pair.value)) for pair in pairs if pair.key in names)
        return {name: text for name, text in texts if text is not None}

    def _scope(self, name: str, version: str, resource: dict[str, str]) -> InstrumentationScope:
        return InstrumentationScope(name, version, resource, self._reads_text(resource))

    def _add(
        self,
        request: DecodedRequest,
        scope: InstrumentationScope,
        span: Any,
        trace_id: bytes,
        span_id: bytes,
        parent_id: bytes,
        start_ns: int,
        end_ns: int,
        failed: bool,
    ) -> None:
        """Add a span to a request, or count why it is rejected.

        Args:
            span: with `name`, `attributes` and `events`.
            parent_id: of its parent; empty for a root.
            start_ns: Unix nanoseconds; 0 if it is missing.
            end_ns: Unix nanoseconds; 0 if it is missing.
        """
        if not (is_trace_id(trace_id) and is_span_id(span_id) and is_parent_id(parent_id)):
            request.rejected[SpanReason.BAD_ID] += 1
            return
        pairs, events = span.attributes, span.events
        if len(pairs) > MAX_ATTRIBUTES or len(events) > MAX_ATTRIBUTES:
            request.rejected[SpanReason.TOO_MANY_ATTRIBUTES] += 1
            return
        attributes: dict[str, Any] = {}
        chars: dict[str, int] = {}
        reader = TextReader() if scope.reads_text else None
        lookup, value_of = self._lookup, self._value
        for pair in pairs:
            name = pair.key
            known = lookup(name)
            if known is None:
                continue
            use = known.use
            if use is _VALUE:
                attributes[name] = value_of(pair.value)
            elif use is _LENGTH:
                add_content(name, known, self._tree(pair.value), chars, reader)
            elif use is _UNKNOWN:
                request.count_unknown(name)
        first_token_ns, exception = 0, ""
        event_chars: dict[str, int] = {}
        for event in events:
            content = self._content_events.get(event.name)
            if content is not None:
                for pair in event.attributes:
                    known = content.get(pair.key)
                    # Attributes that repeat a text come first.
                    if known is not None and known.content not in chars:
                        add_content(pair.key, known, self._tree(pair.value), event_chars, reader)
            elif event.name in self._first_token_events:
                at_ns = self._event_ns(event)
                first_token_ns = min(first_token_ns or at_ns, at_ns)
            elif event.name == EXCEPTION_EVENT:
                for pair in event.attributes:
                    if pair.key == EXCEPTION_TYPE:
                        exception = self._text(pair.value) or ""
        chars.update(event_chars)
        request.spans.append(
            Span(
                scope,
                trace_id,
                span_id,
                parent_id,
                span.name,
                start_ns,
                end_ns,
                failed,
                attributes,
                chars,
                first_token_ns,
                exception,
                None if reader is None else reader.text(),
            )
        )


_TEXT_MEMBERS = ("content", "text")
_PART_MEMBERS = frozenset(("type", "text"))


def _is_part(value: Any) -> bool:
    return isinstance(value, dict) and (not _PART_MEMBERS.isdisjoint(value) or mark_of(value) is not None)


def add_content(name: str, known: Attribute, tree: Any, chars: dict[str, int], reader: TextReader | None) -> None:
    """Add a content attribute of a span or an event to its lengths, and to its texts."""
    form = known.content_form
    if form in ("messages", "unread"):
        tree = parse_messages(tree)
    elif form == "text" and isinstance(tree, str) and tree.startswith("["):
        parts = parse_messages(tree)
        # OpenLLMetry writes the parts of a message as JSON.
        if isinstance(parts, list) and all(map(_is_part, parts)):
            tree = parts
    n_chars = count_chars(form, tree)
    if reader is not None:
        reader.add(name, known, tree)
    if n_chars is not None:
        chars[known.content] = chars.get(known.content, 0) + n_chars


def parse_messages(value: Any) -> Any:
    """Return the lists and maps of a JSON text of messages; anything else as it is."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return value


def count_chars(form: ContentForm, value: Any) -> int | None:
    """Count the characters of a content attribute, without encoded media; None if it does not count.

    Args:
        form: of the attribute. Of `messages` only the texts count, not roles, types and JSON's own characters.
        value: text, or lists and maps of texts; of `messages` what `parse_messages` returns.
    """
    if form in ("dropped", "role"):
        return None
    if isinstance(value, str):
        return _length(value)
    return _count_texts(value) if isinstance(value, list | dict) else None


def _length(text: str) -> int:
    return len(replace_media(text, with_marks=False))


def _count_texts(tree: Any) -> int:
    total, pending = 0, [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            if mark_of(node) is not None:
                continue
            for name, value in node.items():
                if isinstance(value, list | dict):
                    pending.append(value)
                elif name in _TEXT_MEMBERS and isinstance(value, str):
                    total += _length(value)
        else:
            for value in node:
                if isinstance(value, list | dict):
                    pending.append(value)
                elif isinstance(value, str):
                    total += _length(value)
    return total
