"""Differences between two contracts, as lines of text."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from barograph.contract import Contract, format_duration


def contract_difference(old: Contract, new: Contract) -> list[str]:
    """List the differences, one line each: `+` added, `-` removed, `~` changed."""
    before, after = _flatten(old), _flatten(new)
    lines = [f"- {key}" for key in before if key not in after and not _is_parent_removed(key, after)]
    for key, value in after.items():
        if key not in before:
            lines.append(f"+ {key}" if value is None else f"+ {key}: {value}")
        elif before[key] != value:
            lines.append(f"~ {key}: {before[key]} → {value}")
    return [line for line in lines if not _is_detail(line, before, after)]


def _flatten(contract: Contract) -> dict[str, str | None]:
    """Map the path of each member of a contract to its text; None for a field or slice itself."""
    result: dict[str, str | None] = {}
    for name, value in msgspec.to_builtins(contract).items():
        if name in ("fields", "slices"):
            for item in value:
                path = f"{name.removesuffix('s')} {item.pop('name')}"
                result[path] = None
                result |= {f"{path}: {key}": _json_text(inner) for key, inner in item.items()}
        elif name == "windows":
            result["windows"] = ", ".join(
                f"{window.name} {f'of {format_duration(window.length_s)} ' if window.last else ''}"
                f"hop {format_duration(window.hop_s)}"
                for window in contract.windows
            )
        elif name.endswith("_s"):
            result[name.removesuffix("_s")] = format_duration(value) if value else "0s"
        elif isinstance(value, dict):
            result |= {f"{name}: {key}": _json_text(inner) for key, inner in value.items()}
        elif value is not None:
            result[name] = _json_text(value)
    return result


def _is_parent_removed(key: str, after: dict[str, str | None]) -> bool:
    """Whether a member is removed together with its field or slice."""
    parent, colon, _ = key.partition(": ")
    return bool(colon) and parent.startswith(("field ", "slice ")) and parent not in after


def _is_detail(line: str, before: dict[str, str | None], after: dict[str, str | None]) -> bool:
    """Whether a line is a member of a field or slice that is added as a whole."""
    parent, colon, _ = line[2:].partition(": ")
    return bool(colon) and line[0] == "+" and parent in after and parent not in before


def _json_text(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
