"""Comparison of JSON objects: containment, differences, fingerprints.

Grafana returns objects in its own notation: it drops or adds keys without a value, and returns `24h` as `1d` and 1.0 as
1. Callers normalize both sides with `normalize`, `drop_empty` and `duration_s` before they compare.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

Json = dict[str, Any]

_LABELS = ("uid", "id", "name", "refId", "title")
"""Keys that may identify the members of a list, the most specific first."""
_MAX_SHOWN = 40
"""Characters of a value that a difference shows at most."""
_UNITS_S = {"y": 31_536_000, "w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
_DURATION = re.compile(r"(?:\d+(?:ms|[ywdhms]))+")


def normalize(value: Any) -> Any:
    """Convert whole floats to integers and tuples to lists, recursively."""
    if isinstance(value, Mapping):
        return {str(key): normalize(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [normalize(inner) for inner in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def drop_empty(value: Any) -> Any:
    """Drop keys whose value is null, false or empty, recursively: Grafana adds or omits them."""
    if isinstance(value, Mapping):
        retained = {key: drop_empty(inner) for key, inner in value.items()}
        return {key: inner for key, inner in retained.items() if inner not in (None, "", [], {}) and inner is not False}
    if isinstance(value, list):
        return [drop_empty(inner) for inner in value]
    return value


def drop_keys(body: Mapping[str, Any], keys: Iterable[str]) -> Json:
    """Return a body without the given keys."""
    dropped = frozenset(keys)
    return {key: value for key, value in body.items() if key not in dropped}


def duration_s(text: Any) -> Any:
    """Convert a Prometheus duration (`1h30m`) to seconds; any other value is returned unchanged."""
    if not isinstance(text, str) or not _DURATION.fullmatch(text):
        return text
    return normalize(float(sum(int(n) * _UNITS_S[unit] for n, unit in re.findall(r"(\d+)(ms|[ywdhms])", text))))


def fingerprint(content: Any) -> str:
    """Hash content to 16 hexadecimal digits."""
    return hashlib.sha256(_bytes(content)).hexdigest()[:16]


def keyed_fingerprint(content: Any, key: str) -> str:
    """Hash secrets with a key, so that guessed values cannot be tested without the key."""
    return hmac.new(key.encode(), _bytes(content), hashlib.sha256).hexdigest()[:16]


def contains(current: Any, desired: Any) -> bool:
    """Whether the current value has everything desired: dictionaries may have more keys, lists must be as long."""
    if isinstance(desired, Mapping):
        return isinstance(current, Mapping) and all(
            key in current and contains(current[key], desired[key]) for key in desired
        )
    if isinstance(desired, list):
        return isinstance(current, list) and len(current) == len(desired) and all(map(contains, current, desired))
    return type(current) is type(desired) and bool(current == desired)


def differences(current: Any, desired: Any, path: str = "") -> Iterator[str]:
    """List the changes from current to desired: `+ refresh`, `- links`, `~ panels[Drift].title: "a" → "b"`."""
    if isinstance(current, Mapping) and isinstance(desired, Mapping):
        for key in [*desired, *(key for key in current if key not in desired)]:
            below = f"{path}.{key}" if path else str(key)
            if key not in current:
                yield f"+ {below}"
            elif key not in desired:
                yield f"- {below}"
            else:
                yield from differences(current[key], desired[key], below)
    elif isinstance(current, list) and isinstance(desired, list):
        yield from _list_differences(current, desired, path)
    elif not (contains(current, desired) and contains(desired, current)):
        yield f"~ {path}: {_shorten(current)} → {_shorten(desired)}"


def _list_differences(current: list[Any], desired: list[Any], path: str) -> Iterator[str]:
    label = _identifying_key(current, desired)
    if label is None:
        if len(current) != len(desired):
            yield f"~ {path}: {len(current)} → {len(desired)} members"
            return
        for position, (one, other) in enumerate(zip(current, desired, strict=True)):
            yield from differences(one, other, f"{path}[{position}]")
        return
    before = {member[label]: member for member in current}
    after = {member[label]: member for member in desired}
    for name in [*after, *(name for name in before if name not in after)]:
        member = before.get(name, after.get(name))
        below = f"{path}[{member.get('title') or name}]" if isinstance(member, Mapping) else path
        if name not in before:
            yield f"+ {below}"
        elif name not in after:
            yield f"- {below}"
        else:
            yield from differences(before[name], after[name], below)
    common = [name for name in after if name in before]
    if [name for name in before if name in after] != common:
        yield f"~ {path}: order changed"


def _identifying_key(current: Sequence[Any], desired: Sequence[Any]) -> str | None:
    """The key whose values are unique in both lists; None if there is none."""
    for label in _LABELS:
        if all(_distinct(label, members) for members in (current, desired)):
            return label
    return None


def _distinct(label: str, members: Sequence[Any]) -> bool:
    if not all(isinstance(member, Mapping) and isinstance(member.get(label), str | int) for member in members):
        return False
    return len({member[label] for member in members}) == len(members)


def _shorten(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"


def _bytes(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
