"""The struct types that JSON predictions are decoded into for recording, and the decoders of all models' events."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import or_
from typing import Any, Final, Literal

import msgspec

from streams.recorder.rows import RawModel

MAPS: Final = ("features", "context", "scores", "metrics")
TEXTS: Final = ("arm", "class", "status", "error", "producer")
NUMBERS: Final = ("score", "latency_ms")
PLAIN: Final = (*TEXTS, *NUMBERS, "seq")
NAMES: Final = ("version", "id", "at", *MAPS, *PLAIN)
ATTRIBUTES: Final = {name: f"{name}_" if name in PLAIN else name for name in NAMES}
"""By member its name in the struct: `class` is no name for Python."""
OFF_FORMAT: Final = (ValueError, RecursionError, TypeError)
"""What msgspec raises; its own errors are ValueErrors, as is that of text which is no UTF-8."""


def event_type(model: RawModel, *, exact: bool = False, strict: bool = True) -> Any:
    """The struct of one model's events; a strict one refuses unknown members."""
    some_map = dict[str, Any] | None
    members: list[Any] = [("version", str), ("id", str), ("at", int | str)]
    members.append(("features", _features_type(model)) if exact else ("features", some_map, None))
    members += [(name, some_map, None) for name in MAPS[1:]]
    members += [(ATTRIBUTES[name], Any, None) for name in PLAIN]
    rename = {ATTRIBUTES[name]: name for name in PLAIN}
    return msgspec.defstruct(
        "event_", members, rename=rename, gc=False, tag_field="model", tag=model.model, forbid_unknown_fields=strict
    )


def _features_type(model: RawModel) -> Any:
    """The struct of features m0, m1, …, in the model's order: all that are watched, of their types, and no unknown."""
    kinds: dict[str, tuple[Any, ...]] = dict.fromkeys(model.numbers, (float | bool | None,))
    kinds |= dict.fromkeys(model.texts, (str | None,))
    kinds |= dict.fromkeys(model.others, (Any,))
    kinds |= dict.fromkeys(model.ignored, (Any, msgspec.UNSET))
    members = [(f"m{i}", *kinds[name]) for i, name in enumerate(model.order)]
    names = {f"m{i}": name for i, name in enumerate(model.order)}
    return msgspec.defstruct("features_", members, rename=names, gc=False, forbid_unknown_fields=True)


def id_type(model: RawModel) -> Any:
    """The struct of one model's events of which the id alone is read; what else they hold is passed over."""
    return msgspec.defstruct("id_", [("id", str)], gc=False, tag_field="model", tag=model.model)


class _Nobody(msgspec.Struct, tag_field="model", tag="\x00nobody"):
    """Makes a union of even a single model's type: outside a union msgspec does not ask for the tag."""

    never: Literal["\x00never"]


def decoder(types: dict[str, Any]) -> Callable[[Any], Any]:
    """The decoder of the events of all models, each into its own type."""
    return msgspec.json.Decoder(reduce(or_, types.values(), _Nobody)).decode
