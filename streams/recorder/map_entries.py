"""Dicts of many events → Arrow map columns, without Python code per value.

The entries of n dicts are concatenated and separated by kind in arrays: one pass in C for the keys, one for the values,
one for their kinds.
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

from barograph_server.streams.events.hashed_values import NOT_HASHED, plain_values
from barograph_server.streams.recorder.values import NOT_FINITE, number_of, text_of
from barograph_server.warehouse.tables import dictionary_column

NUMBER, FLAG, TEXT, NULL, OTHER = range(5)
_KINDS = {float: NUMBER, int: NUMBER, bool: FLAG, str: TEXT, type(None): NULL, dict: OTHER, list: OTHER}
_EMPTY: dict[str, Any] = {}
_NOT_FINITE = pa.array(NOT_FINITE)


@dataclass(slots=True)
class MapEntries:
    """The N entries of n dicts, concatenated."""

    n: int
    row: NDArray[np.int64]
    """Shape (N,): index of each entry's dict, ascending."""
    names: pa.Array
    """Distinct keys."""
    code: NDArray[np.int32]
    """Shape (N,): each entry's key, as an index into `names`."""
    values: NDArray[np.object_]
    kinds: NDArray[np.int8]

    @classmethod
    def of(cls, dicts: Sequence[dict[str, Any] | None]) -> MapEntries:
        """Concatenate the entries of dicts; None is an empty dict."""
        filled = [each or _EMPTY for each in dicts] if any(dicts) else [_EMPTY] * len(dicts)
        n, key_tuples = len(filled), set(map(tuple, filled))
        if len(key_tuples) == 1:
            # All dicts have the same keys in the same order.
            (keys,) = key_tuples
            row = np.repeat(np.arange(n), len(keys))
            code = np.tile(np.arange(len(keys), dtype=np.int32), n)
            names = pa.array(keys, pa.string())
        else:
            row = np.repeat(np.arange(n), np.fromiter(map(len, filled), dtype=np.int64, count=n))
            encoded = pa.array(list(chain.from_iterable(filled)), pa.string()).dictionary_encode()
            code, names = encoded.indices.to_numpy(zero_copy_only=False), encoded.dictionary
        flat = list(chain.from_iterable(map(dict.values, filled)))
        values = np.fromiter(flat, dtype=object, count=len(flat))
        return cls(n, row, names, code, values, _kinds(flat))

    def count(self, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Count the selected entries per dict, shape (n,)."""
        return np.bincount(self.row[mask], minlength=self.n)

    def numbers(self, mask: NDArray[np.bool_]) -> pa.Array:
        """Build maps of the selected entries, which are numbers or flags; true becomes 1."""
        values = self.values[mask]
        try:
            numbers = values.astype(np.float64)
        except OverflowError:
            numbers = np.array([number_of(value) for value in values.tolist()], dtype=np.float64)
        return self._map(mask, pa.array(numbers))

    def texts(self, mask: NDArray[np.bool_]) -> pa.Array:
        """Build maps of the selected entries, which are texts."""
        return self._map(mask, pa.array(self.values[mask], pa.string()))

    def keys(self, mask: NDArray[np.bool_]) -> pa.Array:
        """Build lists of the keys of the selected entries."""
        return pa.ListArray.from_arrays(list_offsets(self.count(mask)), dictionary_column(self.code[mask], self.names))

    def _map(self, mask: NDArray[np.bool_], items: pa.Array) -> pa.Array:
        keys = dictionary_column(self.code[mask], self.names)
        return pa.MapArray.from_arrays(list_offsets(self.count(mask)), keys, items)

    def convert_to_text(self, mask: NDArray[np.bool_]) -> None:
        """Convert the selected entries to text, in place."""
        for i in np.flatnonzero((self.kinds != TEXT) & mask).tolist():
            self.values[i] = text_of(self.values[i])
            self.kinds[i] = TEXT

    def replace_plain(self, names: frozenset[str]) -> None:
        """Replace the values of hashed members that are no hash by `NOT_HASHED`, in place; nulls stay."""
        if not names:
            return
        of_hashed = pc.is_in(self.names, value_set=pa.array(sorted(names))).to_numpy(zero_copy_only=False)[self.code]
        texts = np.flatnonzero(of_hashed & (self.kinds == TEXT))
        plain = plain_values(pa.array(self.values[texts], pa.string()))
        others = np.flatnonzero(of_hashed & (self.kinds != TEXT) & (self.kinds != NULL))
        for rows in (others,) if plain is None else (others, texts[plain]):
            self.values[rows] = NOT_HASHED
            self.kinds[rows] = TEXT

    def parse_not_finite(self, mask: NDArray[np.bool_]) -> None:
        """Convert the selected texts that spell numbers that are not finite to numbers, in place."""
        texts = np.flatnonzero((self.kinds == TEXT) & mask)
        if not len(texts):
            return
        not_finite = pc.is_in(pa.array(self.values[texts], pa.string()), value_set=_NOT_FINITE)
        for i in texts[not_finite.to_numpy(zero_copy_only=False)].tolist():
            self.values[i] = float(self.values[i])
            self.kinds[i] = NUMBER


def list_offsets(lengths: NDArray[np.int64]) -> pa.Array:
    """Build the offsets of an Arrow list array from the lengths of its lists."""
    ends = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=ends[1:])
    return pa.array(ends)


def _kinds(values: list[Any]) -> NDArray[np.int8]:
    types = set(map(type, values))
    if len(types) == 1:
        return np.full(len(values), _KINDS[types.pop()], dtype=np.int8)
    return np.fromiter(map(_KINDS.__getitem__, map(type, values)), dtype=np.int8, count=len(values))
