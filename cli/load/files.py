"""Files of events, read in batches of bounded size: Parquet, CSV, Arrow."""

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
_ARROW_STREAM_MARK = b"\xff\xff\xff\xff"
_CSV_ENDINGS = (".csv", ".tsv", ".txt")

_TEXT_MEMBERS = ("id", "model", "version", "arm", "class", "class_", "status", "error")
_TYPES = {"float": pa.float64(), "int": pa.int64(), "bool": pa.bool_(), "category": pa.string()}


class LoadError(CommandError):
    """A file cannot be loaded as it is."""


class EventFile:
    """One file of events.

    Attributes:
        path: The file.
        schema: Its columns.
        rows: How many rows there are; None where that shows only at the end.
    """

    def __init__(self, path: Path, texts: Mapping[str, pa.DataType]) -> None:
        """Open a file; the content decides what it is, then the ending.

        Args:
            path: the file.
            texts: the types of columns of a CSV file, which says none itself; others are found by their values.

        Raises:
            LoadError: there is no such file, it is no table, or two columns share a name.
        """
        self.path = path
        self.rows: int | None = None
        self._types = dict(texts)
        self._kind = _kind(path)
        try:
            self.schema = self._read_schema()
        except (pa.ArrowException, OSError) as error:
            raise LoadError(f"{path} cannot be read as {self._title}: {_first_line(error)}.") from error
        names = self.schema.names
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise LoadError(f"{path} has the column {twice[0]!r} more than once; rename one of them.")

    def batches(self, columns: Collection[str]) -> Iterator[pa.Table]:
        """Read some columns from the first row to the last, at most `BATCH_ROWS` rows at a time.

        Raises:
            LoadError: the file is damaged, or a cell of a CSV file is not of its column's type.
        """
        wanted = [name for name in self.schema.names if name in columns]
        try:
            for batch in self._read(wanted):
                for start in range(0, batch.num_rows, BATCH_ROWS):
                    yield pa.Table.from_batches([batch.slice(start, BATCH_ROWS)]).select(wanted)
        except (pa.ArrowException, OSError) as error:
            raise LoadError(f"{self.path} cannot be read further: {_first_line(error)}.") from error

    @property
    def has_text_values(self) -> bool:
        """Whether every value is written as text, as in CSV."""
        return self._kind == "csv"

    @property
    def _title(self) -> str:
        return {"parquet": "Parquet", "csv": "a CSV table", "file": "an Arrow file", "stream": "an Arrow stream"}[
            self._kind
        ]

    def _read_schema(self) -> pa.Schema:
        match self._kind:
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

    def _read(self, wanted: list[str]) -> Iterator[pa.RecordBatch]:
        match self._kind:
            case "parquet":
                with pq.ParquetFile(self.path) as file:
                    yield from file.iter_batches(batch_size=BATCH_ROWS, columns=wanted)
            case "csv":
                with self._csv(wanted) as reader:
                    yield from reader
            case "file":
                with pa.ipc.open_file(str(self.path)) as reader:
                    for index in range(reader.num_record_batches):
                        yield reader.get_batch(index)
            case _:
                with self.path.open("rb") as source, pa.ipc.open_stream(source) as reader:
                    yield from reader

    def _csv(self, wanted: list[str] | None) -> pa_csv.CSVStreamingReader:
        return pa_csv.open_csv(
            self.path,
            read_options=pa_csv.ReadOptions(block_size=CSV_BLOCK_BYTES),
            parse_options=pa_csv.ParseOptions(
                delimiter="\t" if self.path.suffix.lower() == ".tsv" else ",", newlines_in_values=True
            ),
            # As `barograph infer` reads it: an empty cell and NA are nulls in text columns too.
            convert_options=pa_csv.ConvertOptions(
                column_types=self._types,
                include_columns=wanted,
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )


def csv_types(contract: Contract) -> dict[str, pa.DataType]:
    """The types of a CSV file's columns as the contract has them; ids are text, whatever they look like."""
    types = dict.fromkeys(_TEXT_MEMBERS, pa.string())
    types |= {"score": pa.float64(), "latency_ms": pa.float64()}
    if contract.label is not None and contract.label.type == "category":
        types["label"] = pa.string()
    for cut in contract.slices:
        for source in cut.sources:
            types |= _named(source, pa.string())
    for field in contract.fields:
        if field.type in _TYPES:
            types |= _named(field.source, _TYPES[field.type])
    return types


def _named(source: str, kind: pa.DataType) -> dict[str, pa.DataType]:
    """A source and its bare name, both of which name a column."""
    _, dot, bare = source.partition(".")
    return {source: kind, bare: kind} if dot else {source: kind}


def _kind(path: Path) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}.") from error
    if head.startswith(_PARQUET_MAGIC):
        return "parquet"
    if head.startswith(_ARROW_FILE_MAGIC):
        return "file"
    if head.startswith(_ARROW_STREAM_MARK):
        return "stream"
    if path.suffix.lower() in _CSV_ENDINGS and head:
        return "csv"
    raise LoadError(f"{path} is no table that is known here: give a Parquet, CSV or Arrow file.")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(". ")
