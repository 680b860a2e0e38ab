"""Files of events in Parquet, CSV or Arrow, read in batches of bounded size."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from barograph.contract import Contract

from cli.errors import CommandError

BATCH_ROWS = 1 << 16
CSV_BLOCK_BYTES = 8 << 20

_PARQUET_MAGIC = b"PAR1"
_ARROW_FILE_MAGIC = b"ARROW1"
_ARROW_STREAM_MAGIC = b"\xff\xff\xff\xff"
_CSV_SUFFIXES = (".csv", ".tsv", ".txt")

_TEXT_MEMBERS = ("id", "model", "version", "arm", "class", "class_", "status", "error")
_TYPES = {"float": pa.float64(), "int": pa.int64(), "bool": pa.bool_(), "category": pa.string()}


class LoadError(CommandError):
    """A file cannot be loaded."""


class EventFile:
    """One file of events.

    Attributes:
        path: The file.
        schema: Its columns.
        rows: The number of rows; None if only reading the whole file would show it.
    """

    def __init__(self, path: Path, types: Mapping[str, pa.DataType]) -> None:
        """Open a file. Its first bytes determine the format, then its suffix.

        Args:
            path: the file.
            types: the types of columns of a CSV file; the types of other columns are inferred from their values.

        Raises:
            LoadError: the file does not exist, is not a table, or has two columns of one name.
        """
        self.path = path
        self.rows: int | None = None
        self._types = dict(types)
        self._format = _detect_format(path)
        try:
            self.schema = self._read_schema()
        except (pa.ArrowException, OSError) as error:
            raise LoadError(f"{path} cannot be read as {self._title}: {_first_line(error)}.") from error
        names = self.schema.names
        duplicates = sorted({name for name in names if names.count(name) > 1})
        if duplicates:
            raise LoadError(f"{path} has the column {duplicates[0]!r} more than once; rename one of them.")

    def batches(self, columns: Collection[str]) -> Iterator[pa.Table]:
        """Read some columns in batches of at most `BATCH_ROWS` rows.

        Raises:
            LoadError: the file is damaged, or a CSV cell does not have its column's type.
        """
        names = [name for name in self.schema.names if name in columns]
        try:
            for batch in self._read(names):
                for start in range(0, batch.num_rows, BATCH_ROWS):
                    yield pa.Table.from_batches([batch.slice(start, BATCH_ROWS)]).select(names)
        except (pa.ArrowException, OSError) as error:
            raise LoadError(f"{self.path} cannot be read further: {_first_line(error)}.") from error

    @property
    def has_text_values(self) -> bool:
        """Whether the file has its values as text, like CSV."""
        return self._format == "csv"

    @property
    def _title(self) -> str:
        return {"parquet": "Parquet", "csv": "a CSV table", "file": "an Arrow file", "stream": "an Arrow stream"}[
            self._format
        ]

    def _read_schema(self) -> pa.Schema:
        match self._format:
            case "parquet":
                with pq.ParquetFile(self.path) as file:
                    self.rows = file.metadata.num_rows
                    return file.schema_arrow
            case "csv":
                with self._csv(None) as reader:
                    return reader.schema
            case "file":
                with pa.ipc.open_file(str(self.path)) as reader:
                    return reader.schema
            case _:
                with self.path.open("rb") as source, pa.ipc.open_stream(source) as reader:
                    return reader.schema

    def _read(self, names: list[str]) -> Iterator[pa.RecordBatch]:
        match self._format:
            case "parquet":
                with pq.ParquetFile(self.path) as file:
                    yield from file.iter_batches(batch_size=BATCH_ROWS, columns=names)
            case "csv":
                with self._csv(names) as reader:
                    yield from reader
            case "file":
                with pa.ipc.open_file(str(self.path)) as reader:
                    for index in range(reader.num_record_batches):
                        yield reader.get_batch(index)
            case _:
                with self.path.open("rb") as source, pa.ipc.open_stream(source) as reader:
                    yield from reader

    def _csv(self, names: list[str] | None) -> pa_csv.CSVStreamingReader:
        return pa_csv.open_csv(
            self.path,
            read_options=pa_csv.ReadOptions(block_size=CSV_BLOCK_BYTES),
            parse_options=pa_csv.ParseOptions(
                delimiter="\t" if self.path.suffix.lower() == ".tsv" else ",", newlines_in_values=True
            ),
            # Like `barograph infer`: empty cells and NA are nulls in text columns too.
            convert_options=pa_csv.ConvertOptions(
                column_types=self._types,
                include_columns=names,
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )


def csv_types(contract: Contract) -> dict[str, pa.DataType]:
    """Derive the types of a CSV file's columns from the contract; ids are always text."""
    types = dict.fromkeys(_TEXT_MEMBERS, pa.string())
    types |= {"score": pa.float64(), "latency_ms": pa.float64()}
    if contract.label is not None and contract.label.type == "category":
        types["label"] = pa.string()
    for dimension in contract.slices:
        for source in dimension.sources:
            types |= _typed(source, pa.string())
    for field in contract.fields:
        if field.type in _TYPES:
            types |= _typed(field.source, _TYPES[field.type])
    return types


def _typed(source: str, type_: pa.DataType) -> dict[str, pa.DataType]:
    """Give a type to the columns of a source: its full name and its bare name."""
    _, dot, bare = source.partition(".")
    return {source: type_, bare: type_} if dot else {source: type_}


def _detect_format(path: Path) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}.") from error
    if head.startswith(_PARQUET_MAGIC):
        return "parquet"
    if head.startswith(_ARROW_FILE_MAGIC):
        return "file"
    if head.startswith(_ARROW_STREAM_MAGIC):
        return "stream"
    if path.suffix.lower() in _CSV_SUFFIXES and head:
        return "csv"
    raise LoadError(f"{path} is not a table in a known format: give a Parquet, CSV or Arrow file.")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(". ")
