"""Events that hold just what their contract names → columns, a stretch at a time.

The objects of a decoded event are the dearest part of it: two kilobytes of numbers and texts. They are read into
columns as soon as a few hundred events are decoded, while they lie in the processor's cache, and the next events are
made in the same memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from operator import attrgetter
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streams.events.struct_numbers import StructNumbers
from streams.recorder.event_structs import ATTRIBUTES
from streams.recorder.map_columns import FeatureColumns
from streams.recorder.rows import RawModel

STRETCH: Final = 256
"""Events whose objects are held at a time: half a megabyte of them."""
_PLAIN = tuple(name for name in ATTRIBUTES if name != "features")
_READ_PLAIN = [attrgetter(ATTRIBUTES[name]) for name in _PLAIN]
_features = attrgetter("features")


class ExactEvents:
    """Events of one model, n in all.

    Attributes:
        model: whose they are.
        columns: the members of the events beside their features, by name.
        where: each one's message, as a position in the batch.
    """

    def __init__(self, model: RawModel) -> None:
        self.model = model
        self.columns: dict[str, list[Any]] = {name: [] for name in _PLAIN}
        self.where: list[int] = []
        self._matrices: list[NDArray[np.float64]] = []
        """The numbers, shape (events, n_numbers) each."""
        member = {name: f"m{i}" for i, name in enumerate(model.order)}
        self._names = [name for name in model.order if name in set(model.numbers)]
        every = len(self._names) == len(member)
        self._numbers = (
            StructNumbers([member[name] for name in self._names], all_members=every) if self._names else None
        )
        rest = (*model.texts, *model.others, *model.ignored)
        self._rest: dict[str, list[Any]] = {name: [] for name in rest}
        self._read_rest = [attrgetter(member[name]) for name in rest]

    def __len__(self) -> int:
        return len(self.where)

    def add(self, events: Sequence[Any], where: Sequence[int]) -> None:
        """Read some events, which may be dropped then."""
        self.where += where
        for column, read in zip(self.columns.values(), _READ_PLAIN, strict=True):
            column += map(read, events)
        features = list(map(_features, events))
        if self._numbers is not None:
            self._matrices.append(self._numbers.read(features))
        for column, read in zip(self._rest.values(), self._read_rest, strict=True):
            column += map(read, features)

    def take(self, keep: NDArray[np.bool_]) -> None:
        """Keep only some of the events, shape (n,)."""
        chosen = keep.tolist()
        for columns in (self.columns, self._rest):
            for name, values in columns.items():
                columns[name] = list(compress(values, chosen))
        self.where = list(compress(self.where, chosen))
        if self._names:
            self._matrices = [self._all_numbers()[keep]]

    def _all_numbers(self) -> NDArray[np.float64]:
        return np.concatenate(self._matrices)

    def into(self, made: dict[str, pa.Array]) -> list[NDArray[np.int64]]:
        """Sort the features into `numbers`, `strings` and `nulls`; none of them is unknown to the contract."""
        model = self.model
        found = FeatureColumns(len(self))
        if self._names:
            found.add_matrix(self._names, self._all_numbers())
        for name, values in self._rest.items():
            if name in model.texts:
                found.add_texts(name, pa.array(values, pa.string()))
            else:
                found.add(name, values, numeric=name in model.numeric)
        found.into(made)
        return []
