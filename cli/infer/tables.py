"""Training tables, read one column at a time in batches of bounded size.

Parquet is read directly. CSV and Arrow files cannot be read by column, so they are first streamed into a temporary
Parquet file, batch by batch.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cli.infer.errors import TableError
from cli.table_files import TITLES, TableFileError, TableFormat, check_names, detect_format, first_line, open_csv

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


class Table:
    """A table whose columns are read one by one.

    Attributes:
        name: The file's name, without its folder.
        rows: Number of rows.
        columns: Type of each readable column, in the order of the file.
        unreadable: Columns of unsupported types, each with a description of its type.
    """

    def __init__(self, name: str, parquet: pq.ParquetFile, unreadable: Mapping[str, str]) -> None:
        self.name = name
        self.rows: int = parquet.metadata.num_rows
        self.columns: dict[str, pa.DataType] = {
            field.name: field.type for field in parquet.schema_arrow if field.name not in unreadable
        }
        self.unreadable = dict(unreadable)
        self._parquet = parquet

    def batches(self, column: str) -> Iterator[pa.Array]:
        """Read one column from the first row to the last, at most `BATCH_ROWS` rows at a time.

        Raises:
            TableError: the file is damaged.
        """
        try:
            # A name with a dot also selects struct members of that path, so the batch may have several columns.
            for batch in self._parquet.iter_batches(batch_size=BATCH_ROWS, columns=[column]):
                yield batch.column(batch.schema.get_field_index(column))
        except (pa.ArrowException, OSError) as error:
            what = f"{self.name}: the column {column!r} cannot be read"
            raise TableError(f"{what}: {first_line(error)}. Write the file again.") from error


@contextmanager
def open_table(path: Path, types: Mapping[str, pa.DataType] | None = None) -> Iterator[Table]:
    """Open a Parquet, CSV (also tab-separated) or Arrow IPC file; the format is detected by content, then extension.

    Args:
        path: the file.
        types: known types of columns of a CSV file; other types, and those that do not fit, are inferred from the
            values.

    Raises:
        TableError: the file does not exist, is not a table or has no rows, or two columns share a name.
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
                if kind == "csv":
                    _csv_to_parquet(path, source, types)
                else:
                    _arrow_to_parquet(path, source, unreadable)
            except pa.ArrowException as error:
                raise TableError(
                    f"{path} cannot be read as {TITLES[kind]}: {first_line(error)}. Fix it, or write it as Parquet."
                ) from error
        try:
            parquet = pq.ParquetFile(source, memory_map=True)
        except (pa.ArrowException, OSError) as error:
            raise TableError(f"{path} cannot be read as Parquet: {first_line(error)}. Write the file again.") from error
        with parquet:
            check_names(parquet.schema_arrow.names, path)
            unreadable |= {f.name: _in_words(f.type) for f in parquet.schema_arrow if not is_readable(f.type)}
            if parquet.metadata.num_rows == 0:
                raise TableError(f"{path} has no rows; use a table with rows")
            yield Table(path.name, parquet, unreadable)


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


def _arrow_to_parquet(path: Path, target: Path, unreadable: dict[str, str]) -> None:
    with pa.memory_map(str(path)) as file:
        if detect_format(path) == "arrow-file":
            reader = pa.ipc.open_file(file)
            batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
        else:
            reader = pa.ipc.open_stream(file)
            batches = iter(reader)
        schema = reader.schema
        check_names(schema.names, path)
        unreadable |= {field.name: _in_words(field.type) for field in schema if not is_readable(field.type)}
        retained = pa.schema([field.remove_metadata() for field in schema if field.name not in unreadable])
        with pq.ParquetWriter(target, retained, compression="zstd") as writer:
            for batch in batches:
                writer.write_batch(batch.select(retained.names).replace_schema_metadata(None))


def _csv_to_parquet(path: Path, target: Path, known: Mapping[str, pa.DataType]) -> None:
    """Stream a CSV file to Parquet; if a later row does not fit a column's type, widen the type and reread the file."""
    types: dict[str, pa.DataType] = dict(known)
    while True:
        try:
            _csv_once(path, target, types)
        except pa.ArrowInvalid as error:
            misfit = _CSV_MISFIT.match(str(error))
            if not misfit:
                raise
            with open_csv(path, {}) as reader:
                name = reader.schema.names[int(misfit[1])]
            types[name] = _WIDER.get(misfit[2], pa.string())
        else:
            return


def _csv_once(path: Path, target: Path, types: Mapping[str, pa.DataType]) -> None:
    with open_csv(path, types) as reader:
        check_names(reader.schema.names, path)
        with pq.ParquetWriter(target, reader.schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch)
