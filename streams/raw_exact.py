"""Events that hold just what their contract names → columns, a stretch at a time.

The objects of a decoded event are the dearest part of it: two kilobytes of numbers and texts. They are read into
columns as soon as a few hundred events are decoded, while they lie in the processor's cache, and the next events are
made in the same memory.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import chain, compress, starmap
from operator import attrgetter
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streams.raw_columns import FeatureColumns
from streams.raw_events import ATTRIBUTES
from streams.raw_rows import RawModel

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
        n = len(model.numbers)
        self._pack = struct.Struct(f"{n}d").pack
        self._numbers = attrgetter(*(f"m{i}" for i in range(n))) if n else None
        rest = (*model.texts, *model.others, *model.ignored)
        self._rest: dict[str, list[Any]] = {name: [] for name in rest}
        self._read_rest = [attrgetter(f"m{i}") for i in range(n, n + len(rest))]

    def __len__(self) -> int:
        return len(self.where)

    def add(self, events: Sequence[Any], where: Sequence[int]) -> None:
        """Read some events, which may be dropped then."""
        self.where += where
        for column, read in zip(self.columns.values(), _READ_PLAIN, strict=True):
            column += map(read, events)
        features = list(map(_features, events))
        self._matrices.append(self._matrix(features))
        for column, read in zip(self._rest.values(), self._read_rest, strict=True):
            column += map(read, features)

    def _matrix(self, features: list[Any]) -> NDArray[np.float64]:
        """The numbers of some events, NaN for null."""
        shape = len(features), len(self.model.numbers)
        if self._numbers is None:
            return np.empty(shape)
        if shape[1] == 1:
            return np.fromiter(map(self._numbers, features), dtype=np.float64, count=shape[0])[:, None]
        try:
            packed = b"".join(starmap(self._pack, map(self._numbers, features)))
        except struct.error:  # not a number among them
            flat = chain.from_iterable(map(self._numbers, features))
            return np.fromiter(flat, dtype=np.float64, count=shape[0] * shape[1]).reshape(shape)
        return np.frombuffer(packed).reshape(shape)

    def take(self, keep: NDArray[np.bool_]) -> None:
        """Keep only some of the events, shape (n,)."""
        chosen = keep.tolist()
        for columns in (self.columns, self._rest):
            for name, values in columns.items():
                columns[name] = list(compress(values, chosen))
        self.where = list(compress(self.where, chosen))
        self._matrices = [self._all_numbers()[keep]]

    def _all_numbers(self) -> NDArray[np.float64]:
        return np.concatenate(self._matrices)

    def into(self, made: dict[str, pa.Array]) -> list[NDArray[np.int64]]:
        """Sort the features into `numbers`, `strings` and `nulls`; none of them is unknown to the contract."""
        model = self.model
        found = FeatureColumns(len(self))
        if model.numbers:
            found.add_matrix(model.numbers, self._all_numbers())
        for name, values in self._rest.items():
            if name in model.texts:
                found.add_texts(name, pa.array(values, pa.string()))
            else:
                found.add(name, values, numeric=name in model.numeric)
        found.into(made)
        return []
