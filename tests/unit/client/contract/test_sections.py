"""Every section of the contract: each key is read as it is written."""

from __future__ import annotations

from typing import Any

import msgspec
from barograph import Contract
from barograph.contract.kinds import (
    ChoiceKind,
    Diagnostics,
    DurationKind,
    FlagKind,
    IntegerKind,
    ListKind,
    MapKind,
    NumberKind,
    RecordKind,
    ValueKind,
)
from barograph.contract.model import DayKind, RawShareKind
from barograph.contract.sections import NamedKind, SectionKind, keys_of, record_of, settings
from barograph.contract.yaml_text import flow_map
from barograph.contract.yaml_tree import read_tree


def value_of(kind: ValueKind) -> Any:
    """Make a value that is not the default of any key."""
    match kind:
        case SectionKind(struct):
            return struct(**{each.member: value_of(each.key.kind) for each in keys_of(struct)})
        case NamedKind(struct):
            return (struct(name="a", **{each.member: value_of(each.key.kind) for each in keys_of(struct)}),)
        case ChoiceKind(words):
            return words[-1]
        case NumberKind(low, high):
            return 0.625 if low < 0.625 <= high else high
        case IntegerKind(low, high):
            return min(low + 1234, high)
        case DurationKind():
            return 5_415
        case FlagKind():
            return True
        case RawShareKind():
            return 0.375
        case DayKind():
            return "2026-11-29"
        case ListKind(item, count):
            return (value_of(item), "no")[: max(count, 1)]
        case MapKind(item):
            return {"1.0": value_of(item)}
        case RecordKind(keys):
            return {keys[0].name: value_of(keys[0].kind)}
    return "yes: 1"


def sections_of(struct: type[msgspec.Struct]) -> set[type[msgspec.Struct]]:
    """Find the sections below a struct, itself included."""
    sections = {struct}
    waiting = [each.key.kind for each in keys_of(struct)]
    while waiting:
        match waiting.pop():
            case SectionKind(inner) | NamedKind(inner) if inner not in sections:
                sections |= sections_of(inner)
            case ListKind(item) | MapKind(item):
                waiting.append(item)
            case RecordKind(keys):
                waiting += [key.kind for key in keys]
    return sections


def test_every_key_is_read_as_it_is_written() -> None:
    for struct in sections_of(Contract) - {Contract}:
        named = {"name": "a"} if "name" in struct.__struct_fields__ else {}
        value = struct(**named, **{each.member: value_of(each.key.kind) for each in keys_of(struct)})
        text = flow_map(settings(value))
        diagnostics = Diagnostics("c.yaml")
        kind = NamedKind(struct) if named else SectionKind(struct)
        read = kind.read(read_tree(f"a: {text}" if named else text, "c.yaml"), (), diagnostics)
        assert (diagnostics.problems, read) == ([], (value,) if named else value), struct
        assert list(settings(value)) == [key.name for key in record_of(struct).keys], "each differs from its default"
