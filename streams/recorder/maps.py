"""Maps of many events → Arrow map columns, without Python per value.

The members of n maps are laid end to end and sorted out by kind in arrays: one pass in C for the keys, one for the
values, one for their kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from streams.recorder.values import NOT_FINITE, number_of, text_of
from warehouse.dictionary_columns import dictionary_column

NUMBER, FLAG, TEXT, NULL, OTHER = range(5)
_KINDS = {float: NUMBER, int: NUMBER, bool: FLAG, str: TEXT, type(None): NULL, dict: OTHER, list: OTHER}
_EMPTY: dict[str, Any] = {}
_NOT_FINITE = pa.array(NOT_FINITE)


@dataclass(slots=True)
class Members:
    """The members of n maps, N in all, end to end."""

    n: int
    row: NDArray[np.int64]
    """Shape (N,): which map a member is of, ascending."""
    names: pa.Array
    """The distinct keys."""
    code: NDArray[np.int32]
    """Shape (N,): a member's key, as a position in `names`."""
    values: NDArray[np.object_]
    kinds: NDArray[np.int8]

    def count(self, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Count the chosen members per map, shape (n,)."""
        return np.bincount(self.row[chosen], minlength=self.n)

    def numbers(self, chosen: NDArray[np.bool_]) -> pa.Array:
        """Make maps of the chosen members, which are numbers or flags; true is 1."""
        values = self.values[chosen]
        try:
            numbers = values.astype(np.float64)
        except OverflowError:
            numbers = np.array([number_of(value) for value in values.tolist()], dtype=np.float64)
        return self._map(chosen, pa.array(numbers))

    def texts(self, chosen: NDArray[np.bool_]) -> pa.Array:
        """Make maps of the chosen members, which are texts."""
        return self._map(chosen, pa.array(self.values[chosen], pa.string()))

    def keys(self, chosen: NDArray[np.bool_]) -> pa.Array:
        """Make lists of the keys of the chosen members."""
        return pa.ListArray.from_arrays(offsets(self.count(chosen)), dictionary_column(self.code[chosen], self.names))

    def _map(self, chosen: NDArray[np.bool_], items: pa.Array) -> pa.Array:
        return pa.MapArray.from_arrays(
            offsets(self.count(chosen)), dictionary_column(self.code[chosen], self.names), items
        )


def offsets(lengths: NDArray[np.int64]) -> pa.Array:
    """The offsets of lists of these lengths."""
    ends = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=ends[1:])
    return pa.array(ends)


def members(maps: Sequence[dict[str, Any] | None]) -> Members:
    """Lay the members of maps end to end; None is a map of none."""
    held = [each or _EMPTY for each in maps] if any(maps) else [_EMPTY] * len(maps)
    n, own = len(held), set(map(tuple, held))
    if len(own) == 1:
        # All hold the same keys in the same order.
        (names,) = own
        row = np.repeat(np.arange(n), len(names))
        code = np.tile(np.arange(len(names), dtype=np.int32), n)
        keys = pa.array(names, pa.string())
    else:
        row = np.repeat(np.arange(n), np.fromiter(map(len, held), dtype=np.int64, count=n))
        encoded = pa.array(list(chain.from_iterable(held)), pa.string()).dictionary_encode()
        code, keys = encoded.indices.to_numpy(zero_copy_only=False), encoded.dictionary
    flat = list(chain.from_iterable(map(dict.values, held)))
    values = np.fromiter(flat, dtype=object, count=len(flat))
    return Members(n, row, keys, code, values, _kinds(flat))


def _kinds(values: list[Any]) -> NDArray[np.int8]:
    types = set(map(type, values))
    if len(types) == 1:
        return np.full(len(values), _KINDS[types.pop()], dtype=np.int8)
    return np.fromiter(map(_KINDS.__getitem__, map(type, values)), dtype=np.int8, count=len(values))


def as_texts(found: Members, chosen: NDArray[np.bool_]) -> None:
    """Write the chosen members as text, in place."""
    for i in np.flatnonzero((found.kinds != TEXT) & chosen).tolist():
        found.values[i] = text_of(found.values[i])
        found.kinds[i] = TEXT


def spelled_numbers(found: Members, chosen: NDArray[np.bool_]) -> None:
    """Read the texts of numbers that are not finite as these, in place, where `chosen` allows it."""
    texts = np.flatnonzero((found.kinds == TEXT) & chosen)
    if not len(texts):
        return
    spelled = pc.is_in(pa.array(found.values[texts], pa.string()), value_set=_NOT_FINITE)
    for i in texts[spelled.to_numpy(zero_copy_only=False)].tolist():
        found.values[i] = float(found.values[i])
        found.kinds[i] = NUMBER
