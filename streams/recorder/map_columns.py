"""Columns of many events → Arrow map columns, computed in arrays without Python code per value."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from barograph_server.streams.recorder.map_entries import list_offsets
from barograph_server.streams.recorder.values import NOT_FINITE, number_of, text_of
from barograph_server.warehouse.tables import dictionary_column

Mask = NDArray[np.bool_]
_NUMERIC = {float, int, bool}
_NULL = type(None)


@dataclass(slots=True)
class MapColumns:
    """Columns that become the entries of one map column, each with a mask of shape (n,) of the rows that have it."""

    names: list[str] = field(default_factory=list)
    columns: list[Any] = field(default_factory=list)
    """Each of shape (n,), or (n, k) for k names."""
    present: list[Mask] = field(default_factory=list)
    """Masks of the same shapes."""

    def add(self, name: str, column: Any, present: Mask) -> None:
        self.names.append(name)
        self.columns.append(column)
        self.present.append(present)

    def add_matrix(self, names: Sequence[str], columns: Any, present: Mask) -> None:
        """Add the columns of a matrix, shape (n, len(names))."""
        self.names += names
        self.columns.append(columns)
        self.present.append(present)

    def numbers(self, n: int) -> pa.Array:
        """Build maps of n rows from float64 columns."""
        present, ends, keys = self._keys(n)
        values = _side_by_side(self.columns) if self.columns else np.empty((n, 0))
        items = pa.array(values.reshape(-1) if present is None else values[present])
        return pa.MapArray.from_arrays(ends, keys, items)

    def texts(self, n: int) -> pa.Array:
        """Build maps of n rows from Arrow string columns of shape (n,)."""
        present, ends, keys = self._keys(n)
        flat = pa.concat_arrays(self.columns) if self.columns else pa.array([], pa.string())
        index = np.arange(n)[:, None] + n * np.arange(len(self.names))[None, :]
        items = flat.take(pa.array(index.reshape(-1) if present is None else index[present]))
        return pa.MapArray.from_arrays(ends, keys, items)

    def lists(self, n: int) -> pa.Array:
        """Build lists of n rows of the names that each row has."""
        _, ends, keys = self._keys(n)
        return pa.ListArray.from_arrays(ends, keys)

    def _keys(self, n: int) -> tuple[Mask | None, pa.Array, pa.Array]:
        """Return the mask of entries, shape (n, n_names), None if all are present; the maps' offsets and keys."""
        names = pa.array(self.names, pa.string())
        present = _side_by_side(self.present) if self.present else np.empty((n, 0), dtype=bool)
        if present.all():
            k = len(self.names)
            codes = np.tile(np.arange(k, dtype=np.int32), n)
            return None, pa.array(np.arange(n + 1, dtype=np.int32) * k), dictionary_column(codes, names)
        codes = np.broadcast_to(np.arange(len(self.names), dtype=np.int32), present.shape)[present]
        return present, list_offsets(present.sum(axis=1)), dictionary_column(codes, names)


def _side_by_side(columns: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Stack columns to shape (n, n_names)."""
    return columns[0] if len(columns) == 1 and columns[0].ndim == 2 else np.column_stack(columns)


@dataclass(slots=True)
class FeatureColumns:
    """The features of n events, separated into the columns `numbers`, `strings` and `nulls`."""

    n: int
    numbers: MapColumns = field(default_factory=MapColumns)
    strings: MapColumns = field(default_factory=MapColumns)
    nulls: MapColumns = field(default_factory=MapColumns)

    def add_matrix(self, names: Sequence[str], values: NDArray[np.float64]) -> None:
        """Add the numbers of several features, shape (n, len(names)); NaN means null."""
        null = np.isnan(values)
        self.numbers.add_matrix(names, values, ~null)
        if null.any():
            self.nulls.add_matrix(names, None, null)

    def add_texts(self, name: str, values: pa.Array) -> None:
        self._add(name, self.strings, values, pc.is_null(values).to_numpy(zero_copy_only=False))

    def add_values(self, name: str, values: Sequence[Any], *, numeric: bool) -> None:
        """Add a feature's parsed JSON values; a value of no JSON type means that the feature is absent.

        Args:
            values: one per event.
            numeric: whether texts that spell numbers that are not finite are numbers.
        """
        kinds = set(map(type, values))
        if kinds <= {*_NUMERIC, _NULL}:
            numbers = _floats(values)
            # JSON has no NaN.
            self._add(name, self.numbers, numbers, np.isnan(numbers))
        elif kinds <= {str, _NULL} and not (numeric and not set(NOT_FINITE).isdisjoint(values)):
            self.add_texts(name, pa.array(values, pa.string()))
        elif kinds != {msgspec.UnsetType}:
            self._add_mixed(name, values, numeric=numeric)

    def _add(self, name: str, entries: MapColumns, values: Any, null: Mask) -> None:
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

    def arrays(self) -> dict[str, pa.Array]:
        """Build the table's columns `numbers`, `strings` and `nulls`."""
        return {
            "numbers": self.numbers.numbers(self.n),
            "strings": self.strings.texts(self.n),
            "nulls": self.nulls.lists(self.n),
        }


def _floats(values: Sequence[Any]) -> NDArray[np.float64]:
    """Convert numbers and flags to float64, NaN for None."""
    try:
        return np.array(values, dtype=np.float64)
    except OverflowError:
        return np.array([number_of(value) if type(value) is int else value for value in values], dtype=np.float64)
