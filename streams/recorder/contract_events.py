"""Events that have exactly the members that their contract names → columns, a few hundred events at a time.

The objects of a decoded event take most of its memory: two kilobytes of numbers and texts. They are read into columns
as soon as a few hundred events are decoded, while they are in the CPU cache, and the next events reuse the same memory.
"""

from collections.abc import Sequence
from itertools import compress
from operator import attrgetter
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from barograph_server.streams.events.hashed_values import NOT_HASHED, StructNumbers, replace_plain_values
from barograph_server.streams.recorder.event_structs import ATTRIBUTES
from barograph_server.streams.recorder.map_columns import FeatureColumns
from barograph_server.streams.recorder.rows import RecordedModel

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
