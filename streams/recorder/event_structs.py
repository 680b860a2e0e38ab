"""The msgspec struct types that JSON predictions are decoded into for recording."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from barograph.events import Role

from barograph_server.streams.recorder.rows import RecordedModel

MAPS: Final = ("features", "context", "scores", "metrics")
TEXTS: Final = ("arm", "class", "status", "error", "producer")
NUMBERS: Final = ("score", "latency_ms")
PLAIN: Final = (*TEXTS, *NUMBERS, "role", "seq")
NAMES: Final = ("version", "id", "at", *MAPS, *PLAIN)
ATTRIBUTES: Final = {name: f"{name}_" if name in PLAIN else name for name in NAMES}
"""Struct attribute of each member: `class`, for one, is not a valid Python name."""
FORMAT_ERRORS: Final = (ValueError, RecursionError, TypeError)
"""Errors that msgspec raises for events off the format. Its own errors and that of invalid UTF-8 are ValueErrors."""


def event_type(model: RecordedModel, *, exact: bool = False, strict: bool = True) -> Any:
    """Build the struct type of one model's events.

    Args:
        exact: whether the features are exactly the contract's, each null or of its type.
        strict: whether unknown members are refused.
    """
    some_map = dict[str, Any] | None
    members: list[Any] = [("version", str), ("id", str), ("at", int | str)]
    members.append(("features", _features_type(model)) if exact else ("features", some_map, None))
    members += [(name, some_map, None) for name in MAPS[1:]]
    members += [(ATTRIBUTES[name], Role | None if name == "role" else Any, None) for name in PLAIN]
    rename = {ATTRIBUTES[name]: name for name in PLAIN}
    return msgspec.defstruct(
        "event_", members, rename=rename, gc=False, tag_field="model", tag=model.model, forbid_unknown_fields=strict
    )


def _features_type(model: RecordedModel) -> Any:
    """Build the struct type of the known features, named m0, m1, … in the model's order."""
    kinds: dict[str, tuple[Any, ...]] = dict.fromkeys(model.numbers, (float | bool | None,))
    kinds |= dict.fromkeys(model.texts, (str | None,))
    kinds |= dict.fromkeys(model.others, (Any,))
    kinds |= dict.fromkeys(model.ignored, (Any, msgspec.UNSET))
    members = [(f"m{i}", *kinds[name]) for i, name in enumerate(model.order)]
    names = {f"m{i}": name for i, name in enumerate(model.order)}
    return msgspec.defstruct("features_", members, rename=names, gc=False, forbid_unknown_fields=True)


def id_type(model: RecordedModel) -> Any:
    """Build the struct type that reads only the id of one model's events."""
    return msgspec.defstruct("id_", [("id", str)], gc=False, tag_field="model", tag=model.model)
