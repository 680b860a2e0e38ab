"""Files of events in Parquet, CSV or Arrow, read in batches of bounded size."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import pyarrow as pa
from barograph.contract import Columns, Contract

from barograph_server.errors import CommandError
from barograph_server.profiling.csv_dialect import detect_dialect
from barograph_server.profiling.table_columns import event_names, table_types
from barograph_server.profiling.table_files import (
    TITLES,
    TableFileError,
    check_names,
    detect_format,
    first_line,
    open_batches,
)

BATCH_ROWS = 1 << 16
_EVENT_COLUMNS = Columns()

_TEXT_MEMBERS = ("id", "model", "version", "arm", "class", "class_", "status", "error")
_TYPES = {"float": pa.float64(), "int": pa.int64(), "bool": pa.bool_(), "category": pa.string()}


class LoadError(CommandError):
    """A file cannot be loaded."""


class EventFile:
    """One file of events.

    Attributes:
        schema: Its columns, under the names that they have in events.
        rows: The number of rows; None if only reading the whole file would show it.
        event_names: Columns of the file with another name → their names in events.
    """

    def __init__(self, path: Path, types: Mapping[str, pa.DataType], columns: Columns = _EVENT_COLUMNS) -> None:
        """Open a file. Its first bytes determine the format, then its suffix.

        Args:
            types: the types of columns of a CSV file, by their names in events; the types of other columns are inferred
                from their values.
        """
        self.path = path
        self._types: dict[str, pa.DataType] = {}
        self._original_names: dict[str, str] = {}
        try:
            self._format = detect_format(path)
            with self._open() as (schema, self.rows, _):
                names = schema.names
            check_names(names, path)
            self._types = table_types(types, columns, names)
            with self._open() as (schema, _, _):
                pass
            self.event_names = event_names(columns, names)
            self.schema = pa.schema([field.with_name(self.event_names.get(field.name, field.name)) for field in schema])
            self._original_names = dict(zip(self.schema.names, names, strict=True))
            check_names(self.schema.names, path)
        except TableFileError as error:
            raise LoadError(f"{error}.") from error
        except (pa.ArrowException, OSError) as error:
            raise LoadError(f"{path} cannot be read as {TITLES[self._format]}: {first_line(error)}.") from error

    def batches(self, columns: Collection[str]) -> Iterator[pa.Table]:
        """Read some columns in batches of at most `BATCH_ROWS` rows."""
        names = [name for name in self.schema.names if name in columns]
        originals = [self._original_names[name] for name in names]
        try:
            with self._open(originals) as (_, _, batches):
                for batch in batches:
                    for start in range(0, batch.num_rows, BATCH_ROWS):
                        table = pa.Table.from_batches([batch.slice(start, BATCH_ROWS)]).select(originals)
                        yield table.rename_columns(names)
        except (pa.ArrowException, OSError) as error:
            raise LoadError(f"{self.path} cannot be read further: {first_line(error)}.") from error

    @property
    def notes(self) -> list[str]:
        """How the file is read, if that is not obvious and may be wrong."""
        note = detect_dialect(self.path).note if self.has_text_values else ""
        return [f"{self.path}: {note}."] if note else []

    @property
    def decimal_point(self) -> str:
        return detect_dialect(self.path).decimal_point if self.has_text_values else "."

    @property
    def has_text_values(self) -> bool:
        """Whether the file has its values as text, like CSV."""
        return self._format == "csv"

    def _open(
        self, names: list[str] | None = None
    ) -> AbstractContextManager[tuple[pa.Schema, int | None, Iterator[pa.RecordBatch]]]:
        return open_batches(self.path, self._format, self._types, names, BATCH_ROWS)


def csv_types(contract: Contract) -> dict[str, pa.DataType]:
    """Derive the types of a CSV file's columns from the contract; ids are always text."""
    types = dict.fromkeys(_TEXT_MEMBERS, pa.string())
    types |= {"score": pa.float64(), "latency_ms": pa.float64()}
    if contract.label is not None and contract.label.type != "float":
        # As text, 1, True and yes may occur in one column.
        types["label"] = pa.string()
    for dimension in contract.slices:
        for source in dimension.sources:
            types |= _typed(source, pa.string())
    for field in contract.fields:
        if field.type in _TYPES:
            types |= _typed(field.source, _TYPES[field.type])
    if contract.label is not None and contract.label.type == "bool" and not isinstance(contract.label.positive, str):
        # As in `infer`: True is the class `true` then, and 1.0 the class 1.
        del types["class"], types["class_"]
    return types


def _typed(source: str, type_: pa.DataType) -> dict[str, pa.DataType]:
    """Give a type to the columns of a source: its full name and its bare name."""
    _, dot, bare = source.partition(".")
    return {source: type_, bare: type_} if dot else {source: type_}
