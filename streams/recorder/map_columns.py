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

from streams.recorder.maps import offsets
from streams.recorder.values import NOT_FINITE, number_of, text_of
from warehouse.dictionary_columns import dictionary_column

Mask = NDArray[np.bool_]
_NUMERIC = {float, int, bool}
_NOTHING = type(None)


@dataclass(slots=True)
class Entries:
    """Columns that become the entries of one map, each with a mask of shape (n,) of the rows that hold it."""

    names: list[str] = field(default_factory=list)
    columns: list[Any] = field(default_factory=list)
    """Of shape (n,), or (n, k) for k names at once."""
    held: list[Mask] = field(default_factory=list)
    """Of the same shapes."""

    def add(self, name: str, column: Any, held: Mask) -> None:
        """Add an entry of the rows that hold it."""
        self.names.append(name)
        self.columns.append(column)
        self.held.append(held)

    def add_all(self, names: Sequence[str], columns: Any, held: Mask) -> None:
        """Add entries that lie side by side, shape (n, len(names))."""
        self.names += names
        self.columns.append(columns)
        self.held.append(held)

    def numbers(self, n: int) -> pa.Array:
        """Maps of n rows of columns that are float64."""
        held, ends, keys = self._keys(n)
        values = _beside(self.columns) if self.columns else np.empty((n, 0))
        return pa.MapArray.from_arrays(ends, keys, pa.array(values.reshape(-1) if held is None else values[held]))

    def texts(self, n: int) -> pa.Array:
        """Maps of n rows of columns that are Arrow strings of shape (n,)."""
        held, ends, keys = self._keys(n)
        end_to_end = pa.concat_arrays(self.columns) if self.columns else pa.array([], pa.string())
        at = np.arange(n)[:, None] + n * np.arange(len(self.names))[None, :]
        items = end_to_end.take(pa.array(at.reshape(-1) if held is None else at[held]))
        return pa.MapArray.from_arrays(ends, keys, items)

    def lists(self, n: int) -> pa.Array:
        """Lists of n rows of the names alone."""
        _, ends, keys = self._keys(n)
        return pa.ListArray.from_arrays(ends, keys)

    def _keys(self, n: int) -> tuple[Mask | None, pa.Array, pa.Array]:
        """Which entries are held, shape (n, n_names), None where all are; the maps' offsets and keys."""
        names = pa.array(self.names, pa.string())
        held = _beside(self.held) if self.held else np.empty((n, 0), dtype=bool)
        if held.all():
            k = len(self.names)
            codes = np.tile(np.arange(k, dtype=np.int32), n)
            return None, pa.array(np.arange(n + 1, dtype=np.int32) * k), dictionary_column(codes, names)
        codes = np.broadcast_to(np.arange(len(self.names), dtype=np.int32), held.shape)[held]
        return held, offsets(held.sum(axis=1)), dictionary_column(codes, names)


def _beside(columns: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Columns side by side, shape (n, n_names)."""
    return columns[0] if len(columns) == 1 and columns[0].ndim == 2 else np.column_stack(columns)


@dataclass(slots=True)
class FeatureColumns:
    """The features of n events, sorted into what becomes `numbers`, `strings` and `nulls`."""

    n: int
    numbers: Entries = field(default_factory=Entries)
    strings: Entries = field(default_factory=Entries)
    nulls: Entries = field(default_factory=Entries)

    def add_matrix(self, names: Sequence[str], values: NDArray[np.float64]) -> None:
        """Add the numbers of several features, shape (n, len(names)); NaN is null."""
        null = np.isnan(values)
        self.numbers.add_all(names, values, ~null)
        if null.any():
            self.nulls.add_all(names, None, null)

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
