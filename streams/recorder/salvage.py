"""JSON events off the format, which the sketcher counts all the same: whatever can be read of them is read."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from streams.recorder.values import clean

_RAW_MAP = msgspec.json.Decoder(dict[str, msgspec.Raw])
_DEPTH = 2
"""An event's members, and the members of its maps, are read each for itself."""


def parse_counted(value: bytes | None) -> dict[str, Any]:
    """Parse an event that the sketcher's decoder counts: every text of it can be written as UTF-8 then.

    The decoder passes over members that it does not need, so these may hold anything: NaN, halves of surrogate
    pairs, bytes that are no UTF-8, numbers of thousands of digits.
    """
    data = value or b""
    try:
        return dict(msgspec.json.decode(data))
    except (ValueError, RecursionError):
        pass
    try:
        return _clean(json.loads(data.decode()))
    except (ValueError, RecursionError):
        pass
    return {name: _salvage(member, 1) for name, member in _members(data).items()}


def _members(data: bytes) -> dict[str, msgspec.Raw]:
    return _RAW_MAP.decode(data.decode("utf-8", "replace").encode())


def _salvage(data: msgspec.Raw, depth: int) -> Any:
    """Read one member; its text stands for it where nothing else can be read."""
    try:
        return msgspec.json.decode(data)
    except (ValueError, RecursionError):
        pass
    if depth < _DEPTH:
        try:
            return {name: _salvage(member, depth + 1) for name, member in _members(bytes(data)).items()}
        except (ValueError, RecursionError):
            pass
    return bytes(data).decode()


def _clean(event: dict[str, Any]) -> dict[str, Any]:
    """Replace lone surrogates in the texts of an event and of its maps; deeper ones are written as text anyway."""
    found: dict[str, Any] = {}
    for name, value in event.items():
        if isinstance(value, dict):
            value = {clean(key): clean(each) if isinstance(each, str) else each for key, each in value.items()}
        found[clean(name)] = clean(value) if isinstance(value, str) else value
    return found
