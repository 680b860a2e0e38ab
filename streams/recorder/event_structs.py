"""The msgspec struct types that JSON predictions are decoded into for recording."""

from collections.abc import Sequence
from itertools import compress
from operator import attrgetter
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
from barograph.events import Role
from numpy.typing import NDArray

from barograph_server.streams.recorder.map_entries import FLAG, NULL, OTHER, TEXT, MapEntries
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


class OpenEvents:
    """n events of one model that fit the format, with any features.

    Attributes:
        columns: the members of the events, by name.
        messages: each event's message, as an index into the batch.
    """

    def __init__(self, model: RecordedModel, events: list[Any], messages: Sequence[int]) -> None:
        self._model, self.messages = model, list(messages)
        self.columns = {name: list(map(attrgetter(attribute), events)) for name, attribute in ATTRIBUTES.items()}

    def filter(self, mask: NDArray[np.bool_]) -> None:
        """Drop the events that a mask of shape (n,) does not select."""
        flags = mask.tolist()
        self.columns = {name: list(compress(values, flags)) for name, values in self.columns.items()}
        self.messages = list(compress(self.messages, flags))

    def feature_arrays(self) -> tuple[dict[str, pa.Array], list[NDArray[np.int64]]]:
        """Separate features into `numbers`, `strings` and `nulls`; count those that the contract does not know."""
        model, features = self._model, MapEntries.of(self.columns["features"])
        features.replace_plain(model.hashed_names("features"))
        names = features.names.to_pylist()
        numeric = np.array([name in model.numeric for name in names], dtype=bool)
        features.parse_not_finite(numeric[features.code])
        if (features.kinds == OTHER).any():
            features.convert_to_text(features.kinds == OTHER)
        arrays = {
            "numbers": features.numbers(features.kinds <= FLAG),
            "strings": features.texts(features.kinds == TEXT),
            "nulls": features.keys(features.kinds == NULL),
        }
        unknown = np.array([name not in model.known for name in names], dtype=bool)
        return arrays, [features.count(unknown[features.code] & (features.kinds != NULL))]
