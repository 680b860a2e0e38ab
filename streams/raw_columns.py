"""Columns of many events → Arrow map columns: entry by entry in arrays, no Python per value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from streams.raw_maps import offsets
from streams.raw_values import NOT_FINITE, number_of, text_of

Mask = NDArray[np.bool_]
_NUMERIC = {float, int, bool}
_NOTHING = type(None)


@dataclass(slots=True)
class Entries:
    """Columns that become the entries of one map, each with a mask of shape (n,) of the rows that hold it."""

    names: list[str] = field(default_factory=list)
    columns: list[Any] = field(default_factory=list)
    held: list[Mask] = field(default_factory=list)

    def add(self, name: str, column: Any, held: Mask) -> None:
        """Add an entry of the rows that hold it."""
        self.names.append(name)
        self.columns.append(column)
        self.held.append(held)

    def numbers(self, n: int) -> pa.Array:
        """Maps of n rows of columns that are float64 of shape (n,)."""
        held, ends, keys = self._keys(n)
        values = np.column_stack(self.columns)[held] if self.columns else np.empty(0)
        return pa.MapArray.from_arrays(ends, keys, pa.array(values))

    def texts(self, n: int) -> pa.Array:
        """Maps of n rows of columns that are Arrow strings."""
        held, ends, keys = self._keys(n)
        end_to_end = pa.concat_arrays(self.columns) if self.columns else pa.array([], pa.string())
        at = np.arange(n)[:, None] + n * np.arange(len(self.names))[None, :]
        return pa.MapArray.from_arrays(ends, keys, end_to_end.take(pa.array(at[held])))

    def lists(self, n: int) -> pa.Array:
        """Lists of n rows of the names alone."""
        _, ends, keys = self._keys(n)
        return pa.ListArray.from_arrays(ends, keys)

    def _keys(self, n: int) -> tuple[Mask, pa.Array, pa.Array]:
        held = np.column_stack(self.held) if self.held else np.empty((n, 0), dtype=bool)
        code = np.broadcast_to(np.arange(len(self.names)), held.shape)[held]
        return held, offsets(held.sum(axis=1)), pa.array(self.names, pa.string()).take(pa.array(code))


@dataclass(slots=True)
class FeatureColumns:
    """The features of n events, sorted into what becomes `numbers`, `strings` and `nulls`."""

    n: int
    numbers: Entries = field(default_factory=Entries)
    strings: Entries = field(default_factory=Entries)
    nulls: Entries = field(default_factory=Entries)

    def add_numbers(self, name: str, values: NDArray[np.float64]) -> None:
        """Add a feature's numbers; NaN is null, for JSON has no other."""
        self._add(name, self.numbers, values, np.isnan(values))

    def add_texts(self, name: str, values: pa.Array) -> None:
        """Add a feature's texts."""
        self._add(name, self.strings, values, pc.is_null(values).to_numpy(zero_copy_only=False))

    def add(self, name: str, values: Sequence[Any], *, numeric: bool) -> None:
        """Sort a feature's values, as JSON gives them; what is of no JSON type means that the feature is absent.

        Args:
            name: the feature.
            values: one per event.
            numeric: whether the texts of numbers that are not finite stand for these.
        """
        kinds = set(map(type, values))
        if kinds <= {*_NUMERIC, _NOTHING}:
            self.add_numbers(name, _floats(values))
        elif kinds <= {str, _NOTHING} and not (numeric and not set(NOT_FINITE).isdisjoint(values)):
            self.add_texts(name, pa.array(values, pa.string()))
        elif kinds != {msgspec.UnsetType}:
            self._add_mixed(name, values, numeric=numeric)

    def _add(self, name: str, entries: Entries, values: Any, null: Mask) -> None:
        entries.add(name, values, ~null)
        if null.any():
            self.nulls.add(name, None, null)

    def _add_mixed(self, name: str, values: Sequence[Any], *, numeric: bool) -> None:
        numbers = [
            value if type(value) in _NUMERIC else number_of(value) if numeric and type(value) is str else None
            for value in values
        ]
        texts = [
            text_of(value) if number is None and type(value) in (str, list, dict) else None
            for number, value in zip(numbers, values, strict=True)
        ]
        self.numbers.add(name, _floats(numbers), np.array([number is not None for number in numbers]))
        self.strings.add(name, pa.array(texts, pa.string()), np.array([text is not None for text in texts]))
        self.nulls.add(name, None, np.array([value is None for value in values]))

    def into(self, made: dict[str, pa.Array]) -> None:
        """Make the columns of the table."""
        made["numbers"] = self.numbers.numbers(self.n)
        made["strings"] = self.strings.texts(self.n)
        made["nulls"] = self.nulls.lists(self.n)


def _floats(values: Sequence[Any]) -> NDArray[np.float64]:
    """Numbers and flags as float64, NaN for None."""
    try:
        return np.array(values, dtype=np.float64)
    except OverflowError:
        return np.array([number_of(value) if type(value) is int else value for value in values], dtype=np.float64)
