"""Comparison of JSON objects.

Grafana returns objects in its own notation: it drops or adds keys without a value, and returns `24h` as `1d`. Callers
prepare both sides with `drop_empty` and `duration_s` before they compare.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

Json = dict[str, Any]

_LABELS = ("uid", "id", "name", "refId", "title")
"""Keys that may identify the members of a list, the most specific first."""
_MAX_SHOWN = 40
"""Characters of a value that a difference shows at most."""
_UNITS_S = {"y": 31_536_000, "w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}


def drop_empty(value: Any) -> Any:
    """Drop keys whose value is null, false or empty, recursively: Grafana adds or omits them."""
    if isinstance(value, Mapping):
        retained = {key: drop_empty(inner) for key, inner in value.items()}
        return {key: inner for key, inner in retained.items() if inner not in (None, "", [], {}) and inner is not False}
    if isinstance(value, list):
        return [drop_empty(inner) for inner in value]
    return value


def drop_keys(body: Mapping[str, Any], keys: Iterable[str]) -> Json:
    dropped = frozenset(keys)
    return {key: value for key, value in body.items() if key not in dropped}


def duration_s(text: Any) -> Any:
    """Convert a Prometheus duration (`1h30m`) to seconds; any other value is returned unchanged."""
    if not isinstance(text, str) or not re.fullmatch(r"(\d+[ywdhms])+", text):
        return text
    return sum(int(count) * _UNITS_S[unit] for count, unit in re.findall(r"(\d+)([ywdhms])", text))


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
    elif current != desired:
        yield f"~ {path}: {_shorten(current)} → {_shorten(desired)}"


def _list_differences(current: list[Any], desired: list[Any], path: str) -> Iterator[str]:
    label = next((each for each in _LABELS if _is_identified(current, each) and _is_identified(desired, each)), None)
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
        member = before[name] if name in before else after[name]
        below = f"{path}[{member.get('title') or name}]"
        if name not in before:
            yield f"+ {below}"
        elif name not in after:
            yield f"- {below}"
        else:
            yield from differences(before[name], after[name], below)
    if [name for name in before if name in after] != [name for name in after if name in before]:
        yield f"~ {path}: order changed"


def _is_identified(members: Sequence[Any], label: str) -> bool:
    """Whether a key identifies each member of a list."""
    if not all(isinstance(member, Mapping) and isinstance(member.get(label), str | int) for member in members):
        return False
    return len({member[label] for member in members}) == len(members)


def _shorten(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"
