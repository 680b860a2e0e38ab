"""Table files in Parquet, CSV and Arrow: format detection, the CSV reader and checks that all commands share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.csv as pa_csv

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
    """Check that the names of columns are unique.

    Raises:
        TableFileError: a name repeats.
    """
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise TableFileError(f"{path} has the column {duplicates[0]!r} more than once; rename one of them")


def open_csv(path: Path, types: Mapping[str, pa.DataType], names: list[str] | None = None) -> pa_csv.CSVStreamingReader:
    """Open a CSV file in the dialect that `detect_dialect` finds. As in pandas, empty cells and NA are nulls.

    Args:
        path: the file.
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


def first_line(error: Exception) -> str:
    """Return the first line of an error of Arrow, without its final period."""
    return str(error).partition("\n")[0].rstrip(". ")
