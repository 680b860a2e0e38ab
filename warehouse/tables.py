"""Column-wise inserts with the types that the migrations declare.

`SCHEMAS` is read from the statements of the migrations, so a column's type is written once. Batches travel as Arrow, so
inserts run no Python per row. Repeating an insert after `WarehouseBusy` is safe: rows of one key replace each other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from barograph_server.warehouse import migrate
from barograph_server.warehouse.client import Client, WarehouseError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

TEXT = pa.string()
MILLIS = pa.timestamp("ms", tz="UTC")
SECONDS = pa.timestamp("s", tz="UTC")

BINARY_COLUMNS = frozenset({"sketch"})
"""Columns whose `String` holds bytes instead of text."""

_SCALARS: dict[str, pa.DataType] = {
    "String": TEXT,
    "Bool": pa.bool_(),
    "UInt8": pa.uint8(),
    "UInt16": pa.uint16(),
    "UInt32": pa.uint32(),
    "UInt64": pa.uint64(),
    "Int32": pa.int32(),
    "Int64": pa.int64(),
    "Float64": pa.float64(),
    "Date": pa.date32(),
    "DateTime('UTC')": SECONDS,
    "DateTime64(3, 'UTC')": MILLIS,
}


def arrow_type(kind: str) -> pa.DataType:
    """Return the Arrow type in which values of a ClickHouse type travel.

    Arrays of `UInt64` have 64-bit offsets, as `ragged` builds them.
    """
    if kind in _SCALARS:
        return _SCALARS[kind]
    outer, inner = kind.removesuffix(")").split("(", 1)
    match outer:
        case "LowCardinality" | "Nullable":
            return arrow_type(inner)
        case "SimpleAggregateFunction":
            return arrow_type(inner.split(", ", 1)[1])
        case "Array":
            return (pa.large_list if inner == "UInt64" else pa.list_)(arrow_type(inner))
        case "Map":
            key, value = inner.split(", ", 1)
            return pa.map_(arrow_type(key), arrow_type(value))
        case _:
            raise ValueError(f"no Arrow type for the column type {kind}")


def schemas_of(migrations: Iterable[migrate.Migration]) -> dict[str, pa.Schema]:
    """Return the Arrow schema of each table after these migrations."""
    return {
        table: pa.schema(
            (column.name, pa.binary() if column.name in BINARY_COLUMNS else arrow_type(column.type))
            for column in columns
            if column.default != "MATERIALIZED"
        )
        for table, columns in migrate.relations_of(migrations).items()
    }


SCHEMAS: dict[str, pa.Schema] = schemas_of(migrate.load())
"""The Arrow schema of each table's inserted columns, in order; computed (`MATERIALIZED`) columns are not in it.

Times are timestamps in UTC: whole seconds for `DateTime`, milliseconds for `DateTime64(3)`. Where a type is `string`,
including keys of maps and members of lists, inserts also take dictionary-encoded text and send it as it is.
"""


def insert_arrow(client: Client, table: str, rows: pa.Table) -> None:
    """Insert an Arrow table that holds exactly the columns of the table's schema.

    Columns of another type are cast if no value is lost, such as int64 to uint16. Dictionary-encoded text is sent as it
    is.
    """
    insert_columns(client, table, dict(zip(rows.schema.names, rows.columns, strict=True)))


def insert_columns(client: Client, table: str, columns: Mapping[str, Any]) -> None:
    """Insert columns of equal length: numpy arrays, lists or Arrow arrays.

    Args:
        table: a key of `SCHEMAS`.
        columns: every column of its schema. Times are integers (epoch seconds or milliseconds, by the schema),
            `datetime64` or aware datetimes; a map is a mapping or a list of pairs; arrays of counts come from
            `ragged`.
    """
    client.insert(table, table_of(table, columns))


def insert_rows(client: Client, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert a few rows, as mappings; build many rows as columns instead. Raises as `insert_columns`."""
    if rows:
        insert_columns(client, table, {name: [row[name] for row in rows] for name in rows[0]})


def insert_records(client: Client, table: str, records: Sequence[DataclassInstance]) -> None:
    """Insert a few dataclass instances whose fields are the table's columns; raises as `insert_columns`."""
    if records:
        names = [field.name for field in dataclasses.fields(records[0])]
        insert_columns(client, table, {name: [getattr(record, name) for record in records] for name in names})


def table_of(table: str, columns: Mapping[str, Any]) -> pa.Table:
    """Build an Arrow table of the table's schema. Raises WarehouseError as `insert_columns`."""
    schema = SCHEMAS[table]
    missing, unknown = set(schema.names) - set(columns), set(columns) - set(schema.names)
    if missing or unknown:
        raise WarehouseError(
            f"An insert into {table} needs each of its columns once: missing {sorted(missing)}, "
            f"unknown {sorted(unknown)}."
        )
    fields, arrays = [], []
    for field in schema:
        try:
            array = _array(columns[field.name], field.type)
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            raise WarehouseError(
                f"A value for column {field.name} of {table} does not fit {field.type}: {error}"
            ) from error
        fields.append(pa.field(field.name, array.type))
        arrays.append(array)
    lengths = {len(array) for array in arrays}
    if len(lengths) > 1:
        by_name = {field.name: len(array) for field, array in zip(fields, arrays, strict=True)}
        raise WarehouseError(f"The columns for {table} differ in length: {by_name}.")
    return pa.table(arrays, schema=pa.schema(fields))


def ragged(values: NDArray[np.int64 | np.uint64], offsets: NDArray[np.int64]) -> pa.LargeListArray:
    """Build a column of arrays without copying: row i is `values[offsets[i]:offsets[i + 1]]`.

    Args:
        values: shape (total,), never negative.
        offsets: shape (rows + 1,), ascending, from 0 to total.
    """
    return pa.LargeListArray.from_arrays(
        pa.array(offsets, type=pa.int64()), pa.array(values.view(np.uint64), type=pa.uint64())
    )


def dictionary_column(codes: NDArray[Any], texts: Sequence[str] | pa.Array) -> pa.DictionaryArray:
    """Build a text column from indexes into `texts`, which may repeat; ClickHouse accepts distinct texts only.

    Args:
        codes: shape (rows,), the index of each row's text.
    """
    names = texts if isinstance(texts, pa.Array) else pa.array(texts, pa.string())
    if len(pc.unique(names)) < len(names):
        distinct = names.dictionary_encode()
        codes, names = distinct.indices.to_numpy(zero_copy_only=False)[codes.astype(np.int64)], distinct.dictionary
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32, copy=False)), names)


def constant_column(text: str, n: int) -> pa.DictionaryArray:
    """Build a column that repeats one text n times."""
    return dictionary_column(np.zeros(n, dtype=np.int32), [text])


def _array(values: Any, kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        if _is_sendable(values.type, kind):
            return values
        return values.cast(kind)
    if pa.types.is_timestamp(kind):
        if not isinstance(values, np.ndarray) and all(isinstance(value, int | np.integer) for value in values):
            values = np.asarray(values, dtype=np.int64)
        if isinstance(values, np.ndarray):
            return pa.array(values.astype(f"datetime64[{kind.unit}]").astype(np.int64)).cast(kind)
    if pa.types.is_map(kind):
        values = [list(value.items()) if isinstance(value, Mapping) else value for value in values]
    return pa.array(values, type=kind)


def _is_sendable(actual: pa.DataType, kind: pa.DataType) -> bool:
    """Whether a column is sent as it is: it has the declared type, or its text is dictionary-encoded."""
    if pa.types.is_map(actual) and pa.types.is_map(kind):
        return _is_sendable(actual.key_type, kind.key_type) and _is_sendable(actual.item_type, kind.item_type)
    if pa.types.is_list(actual) and pa.types.is_list(kind):
        return _is_sendable(actual.value_type, kind.value_type)
    return bool(actual == kind or (pa.types.is_dictionary(actual) and actual.value_type == TEXT and kind == TEXT))
