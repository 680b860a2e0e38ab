"""Events that fit the format, whatever features they hold → columns: features are laid end to end and sorted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streams.recorder import maps
from streams.recorder.event_structs import ATTRIBUTES
from streams.recorder.rows import RawModel


class FreeEvents:
    """Events of one model that fit the format, n in all, whatever features they hold.

    Attributes:
        columns: the members of the events, by name.
        where: each one's message, as a position in the batch.
    """

    def __init__(self, model: RawModel, events: list[Any], where: Sequence[int]) -> None:
        self._model, self.where = model, list(where)
        self.columns = {name: list(map(attrgetter(attribute), events)) for name, attribute in ATTRIBUTES.items()}

    def take(self, keep: NDArray[np.bool_]) -> None:
        """Keep only some of the events, shape (n,)."""
        chosen = keep.tolist()
        self.columns = {name: list(compress(values, chosen)) for name, values in self.columns.items()}
        self.where = list(compress(self.where, chosen))

    def into(self, made: dict[str, pa.Array]) -> list[NDArray[np.int64]]:
        """Sort features into `numbers`, `strings` and `nulls`; count those that the contract does not know."""
        model, found = self._model, maps.members(self.columns["features"])
        names = found.names.to_pylist()
        numeric = np.array([name in model.numeric for name in names], dtype=bool)
        maps.spelled_numbers(found, numeric[found.code])
        if (found.kinds == maps.OTHER).any():
            maps.as_texts(found, found.kinds == maps.OTHER)
        made["numbers"] = found.numbers(found.kinds <= maps.FLAG)
        made["strings"] = found.texts(found.kinds == maps.TEXT)
        made["nulls"] = found.keys(found.kinds == maps.NULL)
        foreign = np.array([name not in model.known for name in names], dtype=bool)
        return [found.count(foreign[found.code] & (found.kinds != maps.NULL))]
