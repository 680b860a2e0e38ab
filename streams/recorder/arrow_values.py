"""Conversion of Arrow columns to recorded text and numbers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from barograph.string_views import to_string
from numpy.typing import NDArray

from barograph_server.streams.recorder.values import UNWRITABLE, text_of


def plain_array(column: pa.ChunkedArray) -> pa.Array:
    """Combine a column into one array that is not dictionary-encoded."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    if not pa.types.is_dictionary(array.type):
        return array
    values = array.dictionary
    # Arrow cannot `take` from string views.
    return (to_text(values) if is_text(values.type) else values).take(array.indices)


def plain_column(table: pa.Table, name: str) -> pa.Array:
    """Return a table's column as a plain array; null texts if the table does not have it."""
    return plain_array(table.column(name)) if name in table.column_names else pa.nulls(table.num_rows, pa.string())


class PlainRows:
    """n rows of a table as plain arrays.

    Args:
        indices: the indices of the rows, shape (n,); None selects all rows.
    """

    def __init__(self, table: pa.Table, indices: NDArray[np.int64] | None) -> None:
        self._table, self._indices = table, indices
        self._rows = None if indices is None else pa.array(indices)

    def __len__(self) -> int:
        return self._table.num_rows if self._indices is None else len(self._indices)

    @property
    def names(self) -> list[str]:
        names: list[str] = self._table.column_names
        return names

    def column(self, name: str) -> pa.Array:
        """Return a column, shape (n,); null texts if the table does not have it."""
        try:
            return self._take(plain_column(self._table, name))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            # Arrow joins no unions and no dictionaries with nulls, and takes no views and runs.
            return self._take(pa.concat_arrays(list(map(to_text, self._table.column(name).chunks))))

    def select(self, mask: NDArray[np.bool_]) -> PlainRows:
        """Return the rows that a mask of shape (n,) selects."""
        return PlainRows(self._table, np.flatnonzero(mask) if self._indices is None else self._indices[mask])

    def _take(self, column: pa.Array) -> pa.Array:
        return column if self._rows is None else column.take(self._rows)


def is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_number(kind: pa.DataType, *, feature: bool = False) -> bool:
    """Return whether values of a type are numbers; for features, flags and times are numbers too."""
    types = pa.types
    if feature and (types.is_boolean(kind) or types.is_timestamp(kind) or types.is_date(kind)):
        return True
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))


def to_numbers(column: pa.Array) -> NDArray[np.float64]:
    """Convert a column to numbers: true to 1, times to Unix milliseconds, null to NaN."""
    kind = column.type
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    elif pa.types.is_date(kind):
        column = column.cast(pa.timestamp("ms")).cast(pa.int64())
    elif pa.types.is_timestamp(kind):
        # Without the zone, whose name may be damaged.
        column = column.view(pa.timestamp(kind.unit)).cast(pa.timestamp("ms"), safe=False).cast(pa.int64())
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))


def to_text(column: pa.Array) -> pa.Array:
    """Convert a column to text: flags and integers as in JSON, values that are not scalars as their JSON."""
    kind = column.type
    if is_text(kind):
        return to_string(column)
    if pa.types.is_null(kind):
        return pa.nulls(len(column), pa.string())
    if pa.types.is_boolean(kind):
        return pc.if_else(column, "true", "false")
    if pa.types.is_integer(kind):
        return column.cast(pa.string())
    # One value at a time: as Python objects, nested values take up to thirty times their size.
    return pa.array(map(_text_of, column), pa.string(), size=len(column))


def _text_of(scalar: pa.Scalar) -> str | None:
    try:
        value = scalar.as_py()
    except (ArithmeticError, LookupError, ValueError, TypeError, pa.ArrowException):
        # Times beyond Python's range, in unknown zones, names that are not UTF-8, map keys that repeat, and others.
        return UNWRITABLE
    return None if value is None else text_of(value)


def to_mask(column: pa.Array) -> NDArray[np.bool_]:
    """Convert a boolean column without nulls to a mask."""
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=bool)
