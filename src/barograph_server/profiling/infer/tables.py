"""Training tables, read one column at a time in batches of bounded size.

Parquet is read directly. CSV and Arrow files cannot be read by column, so they are first streamed into a temporary
Parquet file, batch by batch.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from barograph.string_views import to_string

from barograph_server.profiling.csv_dialect import detect_dialect
from barograph_server.profiling.infer.errors import TableError
from barograph_server.profiling.table_files import (
    TITLES,
    TableFileError,
    TableFormat,
    check_names,
    detect_format,
    first_line,
    open_batches,
    open_csv,
)

BATCH_ROWS = 1 << 18
"""Rows in an Arrow array at a time: 2 MB of doubles."""

_WIDER = {
    "null": pa.int64(),
    "int64": pa.float64(),
    "double": pa.timestamp("ns"),
    "date32[day]": pa.timestamp("ns"),
    "timestamp[s]": pa.timestamp("ns"),
    "string": pa.binary(),
}
"""Type of a CSV column → the wider type to use if a later row does not fit it; text by default."""
_CSV_MISFIT = re.compile(r"In CSV column #(\d+): .*?CSV conversion error to ([^:]+):")


ReadBatches = Callable[[Sequence[str], int], Iterator[pa.RecordBatch]]
"""Reads columns in batches of at most so many rows. Two threads may read at the same time."""


class Table:
    """A table whose columns are read one by one, or in batches of rows.

    Attributes:
        name: The file's name, without its folder.
        columns: Type of each readable column, in the order of the file.
        unreadable: Columns of unsupported types, each with a description of its type.
        note: How the file was read, if that is not obvious and may be wrong.
    """

    def __init__(self, name: str, rows: int, schema: pa.Schema, read: ReadBatches) -> None:
        self.name = name
        self.rows = rows
        self.note = ""
        self.unreadable = {field.name: _in_words(field.type) for field in schema if not is_readable(field.type)}
        self.columns: dict[str, pa.DataType] = {
            field.name: field.type for field in schema if field.name not in self.unreadable
        }
        self._read = read

    def batches(self, column: str) -> Iterator[pa.Array]:
        """Read one column from the first row to the last, at most `BATCH_ROWS` rows at a time."""
        for batch in self._batches([column], BATCH_ROWS, f"the column {column!r}"):
            yield batch.column(0)

    def row_batches(self, columns: Sequence[str], batch_rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Read some columns, at least one, from the first row to the last, at most `batch_rows` rows at a time."""
        return self._batches(columns, batch_rows, "a row")

    def without(self, columns: Collection[str]) -> Table:
        rest = Table(self.name, self.rows, pa.schema([]), self._read)
        rest.columns = {name: kind for name, kind in self.columns.items() if name not in columns}
        rest.note = self.note
        rest.unreadable = {name: kind for name, kind in self.unreadable.items() if name not in columns}
        return rest

    def renamed(self, names: Mapping[str, str]) -> Table:
        """Return the same table with other names for some columns.

        Args:
            names: old name → new name; new names do not occur among the others.
        """
        original = {names.get(name, name): name for name in self.columns}

        def read(columns: Sequence[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
            for batch in self._read([original[name] for name in columns], batch_rows):
                yield batch.rename_columns(list(columns))

        table = Table(self.name, self.rows, pa.schema([]), read)
        table.columns = {names.get(name, name): kind for name, kind in self.columns.items()}
        table.unreadable = {names.get(name, name): kind for name, kind in self.unreadable.items()}
        table.note = self.note
        return table

    def _batches(self, columns: Sequence[str], batch_rows: int, what: str) -> Iterator[pa.RecordBatch]:
        try:
            yield from map(_without_views, self._read(columns, batch_rows))
        except (pa.ArrowException, OSError) as error:
            raise TableError(
                f"{self.name}: {what} cannot be read: {first_line(error)}. Write the file again."
            ) from error


def _without_views(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Convert views of texts, as polars makes them, because Arrow has few functions for them."""
    for i, field in enumerate(batch.schema):
        kind = field.type
        if pa.types.is_string_view(kind):
            batch = batch.set_column(i, field.name, to_string(batch.column(i), pa.large_string()))
        elif pa.types.is_dictionary(kind) and pa.types.is_string_view(kind.value_type):
            column = batch.column(i)
            texts = to_string(column.dictionary, pa.large_string())
            batch = batch.set_column(i, field.name, pa.DictionaryArray.from_arrays(column.indices, texts))
    return batch


def memory_table(name: str, table: pa.Table) -> Table:
    try:
        check_names(table.column_names, Path(name))
    except TableFileError as error:
        raise TableError(str(error)) from error
    if table.num_rows == 0:
        raise TableError(f"{name} has no rows; use a table with rows")

    def read(columns: Sequence[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
        for batch in table.select(list(columns)).to_batches(max_chunksize=batch_rows):
            if batch.num_rows:
                yield batch

    return Table(name, table.num_rows, table.schema, read)


@contextmanager
def open_table(path: Path, types: Mapping[str, pa.DataType] | None = None) -> Iterator[Table]:
    """Open a Parquet, CSV (also tab-separated) or Arrow IPC file; the format is detected by content, then extension.

    Args:
        types: known types of columns of a CSV file; other types, and those that do not fit, are inferred from the
            values.
    """
    try:
        kind = detect_format(path)
        with _open(path, kind, types or {}) as table:
            yield table
    except TableFileError as error:
        raise TableError(str(error)) from error


@contextmanager
def _open(path: Path, kind: TableFormat, types: Mapping[str, pa.DataType]) -> Iterator[Table]:
    with tempfile.TemporaryDirectory(prefix="barograph-infer-") as folder:
        unreadable: dict[str, str] = {}
        source = path
        if kind != "parquet":
            source = Path(folder) / "table.parquet"
            try:
                unreadable = _to_parquet(path, kind, source, types)
            except (pa.ArrowException, OSError) as error:
                raise TableError(
                    f"{path} cannot be read as {TITLES[kind]}: {first_line(error)}. Fix it, or write it as Parquet."
                ) from error
        try:
            with pq.ParquetFile(source, memory_map=True) as parquet:
                schema, metadata = parquet.schema_arrow, parquet.metadata
        except (pa.ArrowException, OSError) as error:
            raise TableError(f"{path} cannot be read as Parquet: {first_line(error)}. Write the file again.") from error
        check_names(schema.names, path)
        if metadata.num_rows == 0:
            raise TableError(f"{path} has no rows; use a table with rows")

        readers: list[pq.ParquetFile] = []

        def read(columns: Sequence[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
            # A reader serves one thread at a time. Opening one takes time for every column of the table, so it is used
            # again. A mapped file would count as memory of the process, and buffering ahead would read the columns of
            # all row groups into memory.
            try:
                file = readers.pop()
            except IndexError:
                file = pq.ParquetFile(source, metadata=metadata, pre_buffer=False)
            try:
                # A name with a dot also selects struct members of that path, so the batch may have more columns.
                for batch in file.iter_batches(batch_size=batch_rows, columns=list(columns)):
                    yield batch.select(list(columns))
            finally:
                readers.append(file)

        table = Table(path.name, metadata.num_rows, schema, read)
        table.unreadable |= unreadable
        table.note = detect_dialect(path).note if kind == "csv" else ""
        try:
            yield table
        finally:
            for reader in readers:
                reader.close()


def is_readable(kind: pa.DataType) -> bool:
    """Whether a type is numeric, text, boolean or temporal; nested and binary types are not readable."""
    kind = plain_type(kind)
    return (
        is_number(kind)
        or is_text(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_null(kind)
        or pa.types.is_temporal(kind)
    ) and not pa.types.is_interval(kind)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values, without dictionary and extension types."""
    while True:
        if isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        elif pa.types.is_dictionary(kind):
            kind = kind.value_type
        else:
            return kind


def is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _in_words(kind: pa.DataType) -> str:
    """Describe an unreadable type by its contents, with the same word for all file formats."""
    kind = plain_type(kind)
    if pa.types.is_struct(kind):
        return "structs"
    if pa.types.is_map(kind):
        return "maps"
    if pa.types.is_nested(kind):
        return "unions" if pa.types.is_union(kind) else "lists"
    return "bytes" if "binary" in str(kind) else str(kind)


def _to_parquet(path: Path, kind: TableFormat, target: Path, known: Mapping[str, pa.DataType]) -> dict[str, str]:
    """Stream a file to Parquet without the columns of unreadable types, which it returns with their descriptions.

    If a later row of a CSV file does not fit a column's type, the type is widened and the file is read again.
    """
    types: dict[str, pa.DataType] = dict(known)
    while True:
        try:
            with open_batches(path, kind, types) as (schema, _, batches):
                check_names(schema.names, path)
                unreadable = {field.name: _in_words(field.type) for field in schema if not is_readable(field.type)}
                retained = pa.schema([field.remove_metadata() for field in schema if field.name not in unreadable])
                with pq.ParquetWriter(target, retained, compression="zstd") as writer:
                    for batch in batches:
                        writer.write_batch(batch.select(retained.names).replace_schema_metadata(None))
            return unreadable
        except pa.ArrowInvalid as error:
            misfit = _CSV_MISFIT.match(str(error))
            if kind != "csv" or not misfit:
                raise
            with open_csv(path, {}) as reader:
                name = reader.schema.names[int(misfit[1])]
            types[name] = _WIDER.get(misfit[2], pa.string())
