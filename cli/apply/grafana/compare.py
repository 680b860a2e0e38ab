"""Two objects as JSON: whether one holds the other, how they differ, and a fingerprint that stays with them.

Grafana gives back what it was sent in its own spelling: keys without a value are left out or added, `24h` comes back
as `1d`, 1.0 as 1. What is compared here has been through `plain`, which knows these.
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
"""What tells the members of a list apart, the surest first."""
_SHOWN = 40
"""Characters of a value that a difference shows."""
_UNITS_S = {"y": 31_536_000, "w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
_DURATION = re.compile(r"(?:\d+(?:ms|[ywdhms]))+")


def plain(value: Any) -> Any:
    """A value in one spelling: whole floats as integers, tuples as lists."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def without_empty(value: Any) -> Any:
    """A value without the keys that say nothing (null, false, empty), which Grafana leaves out or adds."""
    if isinstance(value, Mapping):
        retained = {key: without_empty(inner) for key, inner in value.items()}
        return {key: inner for key, inner in retained.items() if inner not in (None, "", [], {}) and inner is not False}
    if isinstance(value, list):
        return [without_empty(inner) for inner in value]
    return value


def without(body: Mapping[str, Any], keys: Iterable[str]) -> Json:
    """A body without some of its keys."""
    left_out = frozenset(keys)
    return {key: value for key, value in body.items() if key not in left_out}


def duration_s(text: Any) -> Any:
    """A duration of Prometheus (`1h30m`) in seconds; anything else as it is."""
    if not isinstance(text, str) or not _DURATION.fullmatch(text):
        return text
    return plain(float(sum(int(n) * _UNITS_S[unit] for n, unit in re.findall(r"(\d+)(ms|[ywdhms])", text))))


def fingerprint(content: Any) -> str:
    """16 hexadecimal digits by which content is known again."""
    return hashlib.sha256(_bytes(content)).hexdigest()[:16]


def keyed_fingerprint(content: Any, key: str) -> str:
    """The same of secrets, which nobody without the key can try values against."""
    return hmac.new(key.encode(), _bytes(content), hashlib.sha256).hexdigest()[:16]


def holds(found: Any, wanted: Any) -> bool:
    """Whether everything that is wanted is found: dictionaries may hold more keys, lists are as long."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(key in found and holds(found[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(holds, found, wanted))
    return type(found) is type(wanted) and bool(found == wanted)


def differences(found: Any, wanted: Any, path: str = "") -> Iterator[str]:
    """Say what makes what is wanted of what is found: `+ refresh`, `- links`, `~ panels[Drift].title: "a" → "b"`."""
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        for key in [*wanted, *(key for key in found if key not in wanted)]:
            below = f"{path}.{key}" if path else str(key)
            if key not in found:
                yield f"+ {below}"
            elif key not in wanted:
                yield f"- {below}"
            else:
                yield from differences(found[key], wanted[key], below)
    elif isinstance(found, list) and isinstance(wanted, list):
        yield from _list_differences(found, wanted, path)
    elif not (holds(found, wanted) and holds(wanted, found)):
        yield f"~ {path}: {_words(found)} → {_words(wanted)}"


def _list_differences(found: list[Any], wanted: list[Any], path: str) -> Iterator[str]:
    label = _label(found, wanted)
    if label is None:
        if len(found) != len(wanted):
            yield f"~ {path}: {len(found)} → {len(wanted)} members"
            return
        for position, (one, other) in enumerate(zip(found, wanted, strict=True)):
            yield from differences(one, other, f"{path}[{position}]")
        return
    before = {member[label]: member for member in found}
    after = {member[label]: member for member in wanted}
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
        yield f"~ {path}: in another order"


def _label(found: Sequence[Any], wanted: Sequence[Any]) -> str | None:
    """The key whose values tell the members of both lists apart; None where there is none."""
    for label in _LABELS:
        if all(_distinct(label, members) for members in (found, wanted)):
            return label
    return None


def _distinct(label: str, members: Sequence[Any]) -> bool:
    if not all(isinstance(member, Mapping) and isinstance(member.get(label), str | int) for member in members):
        return False
    return len({member[label] for member in members}) == len(members)


def _words(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _bytes(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
