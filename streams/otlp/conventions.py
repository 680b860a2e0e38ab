"""The table of attribute names (`conventions.yaml`), indexed for decoding and mapping."""

import re
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from importlib import resources
from typing import Any, Literal, NamedTuple

import msgspec
import yaml

Form = Literal["name", "title", "model", "names", "flag", "count", "number", "time", "evidence"]
"""How a value is read: a short text without spaces, a short text, a model's name, several short texts, true or false, a
whole number of things, a number, a time, or a text that only `trust` reads."""
ContentForm = Literal["messages", "text", "role", "unread", "dropped"]
"""Of content: messages with roles, a text, the role of the text with the same number, messages of which only the length
is read, or what nothing is read of."""
Unit = Literal["", "token", "USD", "s"]
Reliability = Literal["reported", "estimated on streams"]
Kind = Literal["generations", "embeddings", "images", "audio"]
"""What a model is called for."""

MAX_CACHED_NAMES = 10_000
"""Attribute names whose meaning is remembered; names with numbers in them are unbounded."""
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")


class AliasName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One attribute name of a meaning."""

    name: str
    convention: str
    member: str | None = None
    """Path of the value in a JSON text; empty for the whole text, None if the value is no JSON text."""
    unseen: bool = False
    """Whether the name was only read in documentation or source text."""


class Meaning(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What attributes mean: form, unit, and names in order of preference."""

    form: Form
    names: tuple[AliasName, ...]
    unit: Unit = ""


class ContentName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An attribute that holds text of a prompt or an answer."""

    name: str
    form: ContentForm


class EventName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event of a span."""

    name: str
    convention: str


class ContentEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event of a span that holds text, and its attributes that do."""

    name: str
    convention: str
    content: str
    attributes: tuple[ContentName, ...]


class ModelCallRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A meaning that decides what a span is, and its values for each."""

    meaning: str
    """`span_name` is the span's name."""
    calls: frozenset[str] = frozenset()
    steps: frozenset[str] = frozenset()
    """Tools and agents."""
    others: frozenset[str] = frozenset()
    kinds: dict[str, Kind] = {}
    """Calls that generate no text."""


class Evidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A value on a span that shows how to read its counts."""

    meaning: str
    contains: str = ""
    is_absent: bool = False
    """Whether the span must not have the value."""

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Return whether a span with these values has it."""
        if self.is_absent:
            return self.meaning not in values
        return self.meaning in values and self.contains in str(values[self.meaning])


class ScopeTrust(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far the numbers of an instrumentation scope can be trusted."""

    scope: str
    versions: tuple[str, ...]
    tokens: Reliability
    evidence: Evidence | None = None
    """That the server reported the usage of a stream."""
    beside: Evidence | None = None
    """That parts are not in the whole: cached tokens not in the input tokens, and so on."""
    cached: Literal["reported", "not reported"] = "reported"
    ttft: Literal["reported", "estimated"] = "reported"
    cost_zero: Literal["known", "unknown"] = "known"
    own_errors: frozenset[str] = frozenset()
    logs_streams: bool = False


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    attributes: dict[str, Meaning]
    content: dict[str, tuple[ContentName, ...]]
    content_events: tuple[ContentEvent, ...]
    ignored: tuple[str, ...]
    watched_prefixes: tuple[str, ...]
    first_token_events: tuple[EventName, ...]
    model_calls: tuple[ModelCallRule, ...]
    model_calls_by_presence: tuple[str, ...]
    trust: tuple[ScopeTrust, ...]


class Use(Enum):
    """What the decoder does with an attribute."""

    VALUE = "value"
    """It keeps the value."""
    LENGTH = "length"
    """It keeps the length of the text and drops the text."""
    IGNORED = "ignored"
    """It drops the value."""
    UNKNOWN = "unknown"
    """It drops the value and counts the name: the prefix is that of a known convention."""


class Reading(NamedTuple):
    """One meaning that an attribute can supply, and its rank among the names of the meaning."""

    meaning: str
    form: Form
    unit: Unit
    member: str | None
    rank: int


class Attribute(msgspec.Struct, frozen=True):
    """What an attribute name means."""

    use: Use
    readings: tuple[Reading, ...] = ()
    content: str = ""
    """`input_chars` or `output_chars`."""
    content_form: ContentForm = "dropped"


class _AttributeCache(dict[str, Attribute | None]):
    """What names mean, as far as they were looked up."""

    def __init__(self, search: Callable[[str], Attribute | None]) -> None:
        super().__init__()
        self._search_name = search

    def __missing__(self, name: str) -> Attribute | None:
        attribute = self._search_name(name)
        if len(self) >= MAX_CACHED_NAMES:
            self.clear()
        if len(name) <= MAX_NAME_CHARS:
            self[name] = attribute
        return attribute


class Conventions:
    """The table, with a bounded cache of the names that were looked up."""

    def __init__(self, text: str) -> None:
        """Parse and index the table.

        Raises:
            msgspec.ValidationError: the table is not well formed.
        """
        table = msgspec.convert(yaml.safe_load(text), _File)
        self.meanings = table.attributes
        self.content = table.content
        self.ignored = table.ignored
        self.model_calls = table.model_calls
        self.model_calls_by_presence = table.model_calls_by_presence
        self.trust = table.trust
        self.first_token_events = frozenset(event.name for event in table.first_token_events)
        self._watched = table.watched_prefixes
        self._ignored_prefixes = tuple(name[:-1] for name in table.ignored if name.endswith("*"))
        self._ignored = frozenset(name for name in table.ignored if not name.endswith("*"))
        readings: dict[str, list[Reading]] = {}
        for meaning, entry in table.attributes.items():
            for rank, alias in enumerate(entry.names):
                reading = Reading(meaning, entry.form, entry.unit, alias.member, rank)
                readings.setdefault(alias.name, []).append(reading)
        self._known = {name: Attribute(Use.VALUE, tuple(entries)) for name, entries in readings.items()}
        for kind, names in table.content.items():
            for each in names:
                self._known[each.name] = Attribute(Use.LENGTH, (), kind, each.form)
        self.content_events: dict[str, dict[str, Attribute]] = {}
        """Event → its attributes that hold text."""
        for event in table.content_events:
            for each in event.attributes:
                attribute = Attribute(Use.LENGTH, (), event.content, each.form)
                self.content_events.setdefault(event.name, {})[each.name] = attribute
        self.attribute: Callable[[str], Attribute | None] = _AttributeCache(self._search).__getitem__
        """Returns what an attribute name means; None for an ordinary attribute of another convention."""

    def _search(self, name: str) -> Attribute | None:
        known = self._known.get(name) or self._known.get(numberless(name))
        if known is not None:
            return known
        if name in self._ignored or name.startswith(self._ignored_prefixes):
            return _IGNORED
        return _UNKNOWN if name.startswith(self._watched) else None

    def trust_of(self, scope: str) -> ScopeTrust | None:
        """Return the trust in an instrumentation scope; None if it is not listed."""
        return next((entry for entry in self.trust if matches(entry.scope, scope)), None)


MAX_NAME_CHARS = 100
"""Longest attribute name that is remembered or reported."""
_IGNORED = Attribute(Use.IGNORED)
_UNKNOWN = Attribute(Use.UNKNOWN)


def numberless(name: str) -> str:
    """Replace whole numbers between dots by `N`: `llm.tools.0.name` → `llm.tools.N.name`."""
    return _NUMBER.sub("N", name)


def matches(pattern: str, name: str) -> bool:
    """Return whether a name is a pattern's; a `*` at the end of the pattern matches any rest."""
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


@cache
def load_conventions() -> Conventions:
    """Read the table that is part of the package."""
    return Conventions(
        resources.files("barograph_server.streams.otlp").joinpath("conventions.yaml").read_text(encoding="utf-8")
    )
