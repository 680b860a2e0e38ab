"""Table files in Parquet, CSV and Arrow: format detection, the CSV reader and checks that all commands share."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from barograph_server.profiling.csv_dialect import detect_dialect

TableFormat = Literal["parquet", "csv", "arrow-file", "arrow-stream"]
TITLES: dict[TableFormat, str] = {
    "parquet": "Parquet",
    "csv": "a CSV table",
    "arrow-file": "an Arrow table",
    "arrow-stream": "an Arrow table",
}
"""Names of the formats for messages."""

_MAGIC: dict[bytes, TableFormat] = {
    b"PAR1": "parquet",
    b"ARROW1": "arrow-file",
    # The continuation marker of the first message of a stream.
    b"\xff\xff\xff\xff": "arrow-stream",
}
_CSV_SUFFIXES = (".csv", ".tsv", ".txt")
_CSV_BLOCK_BYTES = 8 << 20
MAX_COLUMNS = 10_000
"""Columns of a table."""


class TableFileError(ValueError):
    """A file is not a readable table. The text has no final period."""


def detect_format(path: Path) -> TableFormat:
    """Detect the format of a file by its first bytes, and CSV by its suffix.

    Raises:
        TableFileError: the file cannot be read, is empty, or has an unknown format.
    """
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise TableFileError(f"{path} cannot be read: {reason}; give the path of a table") from error
    if not head:
        raise TableFileError(f"{path} is empty; give a table")
    for magic, table_format in _MAGIC.items():
        if head.startswith(magic):
            return table_format
    if path.suffix.lower() in _CSV_SUFFIXES:
        return "csv"
    raise TableFileError(f"{path} is not a table in a known format; give a Parquet, CSV or Arrow file")


def check_names(names: Sequence[str], path: Path) -> None:
    """Check that there are not too many columns, and that their names are unique.

    Raises:
        TableFileError: there are more than `MAX_COLUMNS`, or a name repeats.
    """
    if len(names) > MAX_COLUMNS:
        raise TableFileError(
            f"{path} has {len(names):,} columns, and a table may have {MAX_COLUMNS:,}; leave out what no model reads"
        )
    repeated = [name for name, n in Counter(names).items() if n > 1]
    if repeated:
        raise TableFileError(f"{path} has the column {min(repeated)!r} more than once; rename one of them")


@contextmanager
def open_arrow(path: Path, table_format: TableFormat) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    """Open an Arrow file or stream: its schema, and its batches.

    Each batch is validated in full before it is yielded, like messages: Arrow reads beyond the memory of buffers with
    damaged offsets or indices, which ends the process.

    Raises:
        pa.ArrowException: the file is damaged; batches raise it too.
        OSError: the file claims bytes that it does not have; batches raise it too.
    """
    with pa.memory_map(str(path)) as source:
        if table_format == "arrow-file":
            reader = pa.ipc.open_file(source)
            batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
        else:
            reader = pa.ipc.open_stream(source)
            batches = iter(reader)
        try:
            _ = reader.schema.names
        except UnicodeDecodeError as error:
            raise pa.ArrowInvalid(f"the name of a column is not UTF-8: {error}") from error
        yield reader.schema, map(_validated, batches)


def _validated(batch: pa.RecordBatch) -> pa.RecordBatch:
    batch.validate(full=True)
    return batch


def open_csv(path: Path, types: Mapping[str, pa.DataType], names: list[str] | None = None) -> pa_csv.CSVStreamingReader:
    """Open a CSV file in the dialect that `detect_dialect` finds. As in pandas, empty cells and NA are nulls.

    Args:
        types: the types of columns; the types of other columns are inferred from the first block.
        names: the columns to read; None for all.
    """
    dialect = detect_dialect(path)
    return pa_csv.open_csv(
        path,
        read_options=pa_csv.ReadOptions(block_size=_CSV_BLOCK_BYTES, encoding=dialect.encoding),
        parse_options=pa_csv.ParseOptions(delimiter=dialect.separator, newlines_in_values=True),
        # "NA" in quotes is text.
        convert_options=pa_csv.ConvertOptions(
            column_types=types,
            include_columns=names,
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            decimal_point=dialect.decimal_point,
        ),
    )


@contextmanager
def open_batches(
    path: Path,
    table_format: TableFormat,
    types: Mapping[str, pa.DataType],
    names: list[str] | None = None,
    batch_rows: int = 1 << 16,
) -> Iterator[tuple[pa.Schema, int | None, Iterator[pa.RecordBatch]]]:
    """Open a file of any format: its schema, its rows if they are known, and its batches. Errors are those of Arrow.

    Args:
        types: the types of columns of a CSV file.
        names: the columns of a Parquet or CSV file to read; None for all.
        batch_rows: the most rows of a batch of Parquet; batches of other formats are as large as they were written.
    """
    match table_format:
        case "parquet":
            with pq.ParquetFile(path) as file:
                yield file.schema_arrow, file.metadata.num_rows, file.iter_batches(batch_rows, columns=names)
        case "csv":
            with open_csv(path, types, names) as reader:
                yield reader.schema, None, iter(reader)
        case _:
            with open_arrow(path, table_format) as (schema, batches):
                yield schema, None, batches


def first_line(error: Exception) -> str:
    """Return the first line of an error of Arrow, without its final period."""
    return str(error).partition("\n")[0].rstrip(". ")
