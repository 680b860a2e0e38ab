"""Sections of a file as structs: reader, writer, JSON Schema and documentation derive from the members.

A member that is a key of the file is annotated with its meaning, and with its kind if the type does not say it:
`top: Annotated[int, IntegerKind(1, 1000), "How many values get a slice."] = 20`. A second text replaces the default in
the documentation, and is the example of a key that has no default. Members without an annotation are no keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec

from barograph.contract.kinds import (
    ChoiceKind,
    Diagnostics,
    DurationKind,
    EventValueKind,
    FlagKind,
    IntegerKind,
    Key,
    ListKind,
    MapKind,
    NameKind,
    NumberKind,
    Path,
    RecordKind,
    TextKind,
    Unreadable,
    ValueKind,
)
from barograph.contract.yaml_nodes import MappingNode, Node, ScalarNode, SequenceNode
from barograph.contract.yaml_text import flag_scalar, flow_list, flow_map, number_scalar, text_scalar

SHOWN: Final = frozenset({"shown"})
"""Marks a key that is written even at its default, so that people see what they can change."""
FOR_NUMBERS: Final = frozenset({"for numbers"})
"""Marks a key of a field that only a field of numbers may change."""

Name = Annotated[str, NameKind()]
File = Annotated[str, NameKind("the name of a file")]
Source = Annotated[str, NameKind("a source such as features.temp")]
EventValue = Annotated[str, EventValueKind()]
Prose = Annotated[str, TextKind()]
Duration = Annotated[int, DurationKind()]
DurationOrZero = Annotated[int, DurationKind(zero=True)]
Positive = Annotated[float, NumberKind(0.0, above=True)]
Share = Annotated[float, NumberKind(0.0, 1.0)]
PositiveShare = Annotated[float, NumberKind(0.0, 1.0, above=True)]


class At(msgspec.Struct, frozen=True):
    """The place of a member in the file: a key, if it is not the member's name, and its group, if it is in one."""

    key: str = ""
    group: str = ""


class Group(msgspec.Struct, frozen=True):
    """A key of the file whose parts are members of the section itself."""

    meaning: str
    default: str
    kind: ValueKind | None = None
    """Reads the parts; None: a map of them."""


class SectionKind(msgspec.Struct, frozen=True):
    """A map whose keys are the members of a struct."""

    struct: type[msgspec.Struct]

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> Any:
        return build(self.struct, record_of(self.struct).read(node, path, diagnostics))

    def write(self, value: msgspec.Struct) -> str:
        return flow_map(settings(value))


class NamedKind(msgspec.Struct, frozen=True):
    """A map from names to sections, read as a tuple of structs with a `name`; if `short`, or a list of names."""

    struct: type[msgspec.Struct]
    short: bool = False

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> tuple[Any, ...]:
        values = self._read(node, path, diagnostics)
        return tuple(build(self.struct, section, name=name) for name, section in values.items())

    def _read(self, node: Node, path: Path, diagnostics: Diagnostics) -> Mapping[str, Mapping[str, Any]]:
        if not self.short or isinstance(node, MappingNode):
            return MapKind(record_of(self.struct)).read(node, path, diagnostics)
        if not isinstance(node, SequenceNode):
            keys = ", ".join(key.name for key in record_of(self.struct).keys)
            raise Unreadable(f"write a list of names, or a map from names to {{{keys}}}")
        names = ListKind(NameKind(), is_distinct=True).read(node, path, diagnostics)
        for position, item in enumerate(node.items):
            if isinstance(item, ScalarNode):
                diagnostics.lines[(*path, item.text)] = item.line
                if (*path, position) in diagnostics.failed:
                    diagnostics.failed.add((*path, item.text))
        return {name: {} for name in names}


class MemberKey(msgspec.Struct, frozen=True):
    """A member of a section, and its key in the file."""

    member: str
    key: Key
    group: str
    default: Any
    is_shown: bool
    for_numbers: bool


@cache
def keys_of(struct: type[msgspec.Struct]) -> tuple[MemberKey, ...]:
    """Return the keys of a section in the order of its members."""
    return tuple(
        _member_key(member, get_args(member.type)[1:])
        for member in msgspec.structs.fields(struct)
        if get_origin(member.type) is Annotated
    )


def _member_key(member: msgspec.structs.FieldInfo, metadata: tuple[Any, ...]) -> MemberKey:
    kind = kind_of(member.type)
    texts = [item for item in metadata if isinstance(item, str)]
    name = member.name.removesuffix("_s" if isinstance(kind, DurationKind) else "_")
    at = next((item for item in metadata if isinstance(item, At)), At())
    default = default_of(member)
    is_required = default is msgspec.NODEFAULT
    words = texts[1] if len(texts) > 1 else "" if is_required else written(kind, default)
    key = Key(at.key or name, kind, texts[0], words, is_required)
    return MemberKey(member.name, key, at.group, default, SHOWN in metadata, FOR_NUMBERS in metadata)


def default_of(member: msgspec.structs.FieldInfo) -> Any:
    """Return the default of a member, or `msgspec.NODEFAULT`."""
    return member.default if member.default_factory is msgspec.NODEFAULT else member.default_factory()


def kind_of(hint: Any) -> ValueKind:
    """Find the kind of a member's type: that of its annotation, or the one that the type implies."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        kinds = (item for item in arguments[1:] if isinstance(item, ValueKind))
        return next(kinds, None) or kind_of(arguments[0])
    if origin in (Union, UnionType):
        return kind_of(next(argument for argument in arguments if argument is not type(None)))
    if origin is Literal:
        return ChoiceKind(tuple(filter(None, arguments)))
    if origin is tuple:
        item = kind_of(arguments[0])
        return ListKind(item, is_distinct=not isinstance(item, SectionKind))
    if origin is dict:
        return MapKind(kind_of(arguments[1]))
    return FlagKind() if hint is bool else SectionKind(hint)


@cache
def record_of(struct: type[msgspec.Struct]) -> RecordKind:
    """Describe a section: its keys, and no others."""
    members = keys_of(struct)
    groups: Mapping[str, Group] = getattr(struct, "GROUPS", {})
    keys: dict[str, Key] = {}
    for each in members:
        if not each.group:
            keys[each.key.name] = each.key
        elif each.group not in keys:
            group = groups[each.group]
            parts = RecordKind(tuple(other.key for other in members if other.group == each.group))
            keys[each.group] = Key(each.group, group.kind or parts, group.meaning, group.default)
    return RecordKind(tuple(keys.values()))


def build(struct: type[msgspec.Struct], values: Mapping[str, Any], **members: Any) -> Any:
    """Build a section from values by key, and further members. What is missing has its default, or is empty."""
    for each in keys_of(struct):
        key, section = each.key, values.get(each.group, {}) if each.group else values
        if key.name in section:
            members[each.member] = section[key.name]
        elif key.required:
            members[each.member] = _blank(key.kind)
    return struct(**members)


def _blank(kind: ValueKind) -> Any:
    match kind:
        case ChoiceKind(words):
            return words[0]
        case ListKind():
            return ()
        case MapKind():
            return {}
        case DurationKind() | IntegerKind() | NumberKind():
            return 0
    return ""


def entries(section: msgspec.Struct) -> list[tuple[Key, Any]]:
    """List the keys of a section to write, with their values: those without a default, changed or marked as `SHOWN`.

    The value of a group is a map from its keys to their values.
    """
    values: dict[str, Any] = {}
    for each in keys_of(type(section)):
        value = getattr(section, each.member)
        if each.is_shown or value != each.default:
            (values.setdefault(each.group, {}) if each.group else values)[each.key.name] = value
    return [(key, values[key.name]) for key in record_of(type(section)).keys if key.name in values]


def settings(section: msgspec.Struct) -> dict[str, str]:
    """Write a section: its keys and their values as YAML."""
    return {key.name: written(key.kind, value) for key, value in entries(section)}


def written(kind: ValueKind, value: Any) -> str:
    """Write a value of a kind as YAML on one line: by the kind's own `write` if it has one, else by type."""
    write: Callable[[Any], str] | None = getattr(kind, "write", None)
    if write is not None:
        return write(value)
    if isinstance(kind, ListKind):
        return flow_list(written(kind.item, item) for item in value)
    if isinstance(kind, MapKind):
        return flow_map({text_scalar(name): written(kind.value, item) for name, item in value.items()})
    if isinstance(kind, RecordKind):
        return flow_map({key.name: written(key.kind, value[key.name]) for key in kind.keys if key.name in value})
    if isinstance(value, bool):
        return flag_scalar(value)
    return text_scalar(value) if isinstance(value, str) else number_scalar(value)
