"""Lenient parsing of JSON events that do not fit the format but that the sketcher counts."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from barograph_server.streams.events.rejection import replace_surrogates

_RAW_MAP = msgspec.json.Decoder(dict[str, msgspec.Raw])
_DEPTH = 2
"""Levels at which members are parsed one by one: the event's members and the members of its maps."""


def parse_lenient(value: bytes | None) -> dict[str, Any]:
    """Parse an event that the sketcher's decoder accepts, with all texts encodable as UTF-8.

    The sketcher's decoder skips members that it does not need, so these may contain anything: NaN, lone surrogates,
    invalid UTF-8, numbers of thousands of digits.
    """
    data = value or b""
    try:
        return dict(msgspec.json.decode(data))
    except (ValueError, RecursionError):
        pass
    try:
        return _replace_surrogates(json.loads(data.decode()))
    except (ValueError, RecursionError):
        pass
    return {name: _parse_member(member, 1) for name, member in _members(data).items()}


def _members(data: bytes) -> dict[str, msgspec.Raw]:
    return _RAW_MAP.decode(data.decode("utf-8", "replace").encode())


def _parse_member(data: msgspec.Raw, depth: int) -> Any:
    """Parse one member; return its text if it cannot be parsed."""
    try:
        return msgspec.json.decode(data)
    except (ValueError, RecursionError):
        pass
    if depth < _DEPTH:
        try:
            return {name: _parse_member(member, depth + 1) for name, member in _members(bytes(data)).items()}
        except (ValueError, RecursionError):
            pass
    return bytes(data).decode()


def _replace_surrogates(event: dict[str, Any]) -> dict[str, Any]:
    """Replace lone surrogates in the texts of an event and of its maps; deeper values are recorded as text anyway."""
    cleaned: dict[str, Any] = {}
    for name, value in event.items():
        if isinstance(value, dict):
            value = {
                replace_surrogates(key): replace_surrogates(each) if isinstance(each, str) else each
                for key, each in value.items()
            }
        cleaned[replace_surrogates(name)] = replace_surrogates(value) if isinstance(value, str) else value
    return cleaned
