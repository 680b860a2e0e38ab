"""What differs between two contracts, in words."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from barograph.contract import Contract, Window, format_duration


def contract_difference(old: Contract, new: Contract) -> list[str]:
    """List what differs, one line each: `+` added, `-` removed, `~` changed."""
    before, after = _flat(old), _flat(new)
    lines = [f"- {key}" for key in before if key not in after and not _parent_gone(key, after)]
    for key, value in after.items():
        if key not in before:
            lines.append(f"+ {key}" if value is None else f"+ {key}: {value}")
        elif before[key] != value:
            lines.append(f"~ {key}: {before[key]} → {value}")
    return [line for line in lines if not _is_detail(line, before, after)]


def _flat(contract: Contract) -> dict[str, str | None]:
    """Each member of a contract by its path; a field or slice itself has no text."""
    result: dict[str, str | None] = {}
    for name, value in msgspec.to_builtins(contract).items():
        if name in ("fields", "slices"):
            for item in value:
                path = f"{name.removesuffix('s')} {item.pop('name')}"
                result[path] = None
                result |= {f"{path}: {key}": _words(inner) for key, inner in item.items()}
        elif name == "windows":
            result["windows"] = ", ".join(
                f"{window.name} hop {Window(window.hop_s, window.hop_s).name}" for window in contract.windows
            )
        elif name.endswith("_s"):
            result[name.removesuffix("_s")] = format_duration(value) if value else "0s"
        elif isinstance(value, dict):
            result |= {f"{name}: {key}": _words(inner) for key, inner in value.items()}
        elif value is not None:
            result[name] = _words(value)
    return result


def _parent_gone(key: str, after: dict[str, str | None]) -> bool:
    """Whether a member goes because its field or slice does."""
    parent, colon, _ = key.partition(": ")
    return bool(colon) and parent.startswith(("field ", "slice ")) and parent not in after


def _is_detail(line: str, before: dict[str, str | None], after: dict[str, str | None]) -> bool:
    """Whether a line is a member of a field or slice that is new as a whole."""
    parent, colon, _ = line[2:].partition(": ")
    return bool(colon) and line[0] == "+" and parent in after and parent not in before


def _words(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
