"""Conversion of Arrow columns to recorded text and numbers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from streams.recorder.values import UNWRITABLE, text_of


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


def is_text(kind: pa.DataType) -> bool:
    """Return whether values of a type are text."""
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
        column = column.cast(pa.timestamp("ms", kind.tz), safe=False).cast(pa.int64())
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))


def to_text(column: pa.Array) -> pa.Array:
    """Convert a column to text: flags and integers as in JSON, values that are not scalars as their JSON."""
    kind = column.type
    if is_text(kind):
        return column.cast(pa.string())
    if pa.types.is_null(kind):
        return pa.nulls(len(column), pa.string())
    if pa.types.is_boolean(kind):
        return pc.if_else(column, "true", "false")
    if pa.types.is_integer(kind):
        return column.cast(pa.string())
    try:
        values = column.to_pylist()
    except (OverflowError, ValueError):  # times beyond Python's range
        return pc.if_else(pc.is_valid(column), UNWRITABLE, pa.scalar(None, pa.string()))
    return pa.array([None if value is None else text_of(value) for value in values], pa.string())


def to_mask(column: pa.Array) -> NDArray[np.bool_]:
    """Convert a boolean column without nulls to a mask."""
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=bool)
