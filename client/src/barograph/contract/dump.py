"""Writes a contract as a YAML file for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from barograph.contract import Contract
from barograph.contract.check import check_contract, without_default_sources
from barograph.contract.kinds import Key, ListKind, MapKind, RecordKind
from barograph.contract.sections import NamedKind, SectionKind, entries, record_of, settings, written
from barograph.contract.yaml_text import escape, flow_list, flow_map, text_scalar

FORMAT_VERSION = 1
"""The version of the file format that this code reads and writes."""

LINE_CHARS = 110
"""Length above which an entry is written over several lines."""


def dump_contract(contract: Contract, comments: str = "") -> str:
    """Write a contract as YAML for people; `parse_contract` reads it back as an equal contract.

    Keys at their default are left out, except for those that every model should consider, so that people see what they
    can change.

    Args:
        comments: Lines at the top of the file, each written after a `#`.

    Raises:
        ContractError: The contract is not valid, so that it could not be read back.
    """
    check_contract(contract)
    lines = [f"# {escape(line)}".rstrip() for line in comments.splitlines()]
    lines.append(f"contract: {FORMAT_VERSION}")
    for key, value in entries(without_default_sources(contract)):
        lines += _lines(key, value)
    return "\n".join(lines) + "\n"


def _lines(key: Key, value: Any) -> Iterator[str]:
    """Write a key of the file, with an entry per line if it holds several sections."""
    name, kind = key.name, key.kind
    if isinstance(kind, NamedKind):
        sections = {section.name: settings(section) for section in value}
        if kind.short and not any(sections.values()):
            yield f"{name}: {flow_list(map(text_scalar, sections))}"
        else:
            yield from _block(name, sections)
    elif isinstance(value, dict) and all(isinstance(entry, msgspec.Struct) for entry in value.values()):
        yield from _block(name, {title: settings(section) for title, section in value.items()})
    elif isinstance(kind, ListKind) and isinstance(kind.item, SectionKind):
        yield from (f"{name}:", *(f"  - {written(kind.item, item)}" for item in value))
    elif isinstance(kind, MapKind):
        yield from (
            f"{name}:",
            *(f"  {text_scalar(title)}: {written(kind.value, item)}" for title, item in value.items()),
        )
    elif isinstance(kind, SectionKind) and any(
        isinstance(part.kind, RecordKind) for part in record_of(kind.struct).keys
    ):
        yield f"{name}:"
        for part, part_value in entries(value):
            yield from (f"  {line}" for line in _lines(part, part_value))
    else:
        yield f"{name}: {written(kind, value)}"


def _block(name: str, sections: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Write a map of sections with a section per line; one that is too long is written over several lines."""
    yield f"{name}:"
    for title, keys in sections.items():
        line = f"  {text_scalar(title)}: {flow_map(keys)}"
        if len(line) <= LINE_CHARS:
            yield line
        else:
            yield f"  {text_scalar(title)}:"
            yield from (f"    {key}: {value}" for key, value in keys.items())
