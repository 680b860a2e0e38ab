"""Events that have exactly the members that their contract names → columns, a few hundred events at a time.

The objects of a decoded event take most of its memory: two kilobytes of numbers and texts. They are read into columns
as soon as a few hundred events are decoded, while they are in the CPU cache, and the next events reuse the same memory.
"""

from collections.abc import Sequence
from itertools import compress
from operator import attrgetter
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
from barograph.events import Role
from numpy.typing import NDArray

from barograph_server.streams.events.hashed_values import NOT_HASHED, StructNumbers, replace_plain_values
from barograph_server.streams.recorder.map_columns import FeatureColumns
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


CONTRACT_CHUNK: Final = 256
"""Events whose objects are in memory at a time: half a megabyte."""
_PLAIN = tuple(name for name in ATTRIBUTES if name != "features")
_READ_PLAIN = [attrgetter(ATTRIBUTES[name]) for name in _PLAIN]
_features = attrgetter("features")


class ContractEvents:
    """n events of one model whose members are exactly the contract's.

    Attributes:
        columns: the members of the events except the features, by name.
        messages: each event's message, as an index into the batch.
    """

    def __init__(self, model: RecordedModel) -> None:
        self.model = model
        self.columns: dict[str, list[Any]] = {name: [] for name in _PLAIN}
        self.messages: list[int] = []
        self._matrices: list[NDArray[np.float64]] = []
        """The numeric features, each of shape (events, n_numbers)."""
        member = {name: f"m{i}" for i, name in enumerate(model.order)}
        self._names = [name for name in model.order if name in set(model.numbers)]
        self._numbers: StructNumbers | None = None
        if self._names:
            members = [member[name] for name in self._names]
            self._numbers = StructNumbers(members, all_members=len(members) == len(member))
        rest = (*model.texts, *model.others, *model.ignored)
        self._rest: dict[str, list[Any]] = {name: [] for name in rest}
        self._read_rest = [attrgetter(member[name]) for name in rest]

    def __len__(self) -> int:
        return len(self.messages)

    def add(self, events: Sequence[Any], messages: Sequence[int]) -> None:
        """Read events into columns. The caller may drop the events afterwards."""
        self.messages += messages
        for column, read in zip(self.columns.values(), _READ_PLAIN, strict=True):
            column += map(read, events)
        features = list(map(_features, events))
        if self._numbers is not None:
            self._matrices.append(self._numbers.read(features))
        for column, read in zip(self._rest.values(), self._read_rest, strict=True):
            column += map(read, features)

    def filter(self, mask: NDArray[np.bool_]) -> None:
        """Drop the events that a mask of shape (n,) does not select."""
        flags = mask.tolist()
        for columns in (self.columns, self._rest):
            for name, values in columns.items():
                columns[name] = list(compress(values, flags))
        self.messages = list(compress(self.messages, flags))
        if self._names:
            self._matrices = [self._all_numbers()[mask]]

    def _all_numbers(self) -> NDArray[np.float64]:
        return np.concatenate(self._matrices)

    def feature_arrays(self) -> tuple[dict[str, pa.Array], list[NDArray[np.int64]]]:
        """Separate the features into `numbers`, `strings` and `nulls`. The contract knows all of them."""
        model = self.model
        hashed = model.hashed_names("features")
        features = FeatureColumns(len(self))
        if self._names:
            features.add_matrix(self._names, self._all_numbers())
        for name, values in self._rest.items():
            if name in model.texts:
                texts = pa.array(values, pa.string())
                features.add_texts(name, replace_plain_values(texts, NOT_HASHED) if name in hashed else texts)
            else:
                features.add_values(name, values, numeric=name in model.numeric)
        return features.arrays(), []
