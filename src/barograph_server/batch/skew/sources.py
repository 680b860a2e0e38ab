"""The two sides of a comparison as tables: files, and the predictions of a model in ClickHouse."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from barograph.contract import Contract

from barograph_server.batch.backfill.files import csv_types
from barograph_server.errors import CommandError
from barograph_server.profiling.infer.tables import Table, is_number, open_table, plain_type
from barograph_server.profiling.table_columns import event_names, named_columns
from barograph_server.terminal import iso_utc
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.history.served_predictions import served_features, served_range

if TYPE_CHECKING:
    from barograph_server.warehouse.history.served_predictions import FeatureSource

CLICKHOUSE = "clickhouse:"
_NUMBERS = ("float", "int", "bool")


class SkewError(CommandError):
    """The two sides cannot be compared; the text says what to do."""


@dataclass(frozen=True, slots=True)
class ProductionSource:
    """The recorded predictions of a model in a range: `clickhouse:MODEL[@VERSION]`."""

    model: str
    version: str | None
    start: datetime
    end: datetime

    @classmethod
    def parse(cls, text: str, start: datetime, end: datetime) -> ProductionSource:
        """Parse `MODEL[@VERSION]`; the version follows the last @."""
        model, _, version = text.removeprefix(CLICKHOUSE).rpartition("@")
        if not model:
            model, version = version, ""
        if not model:
            raise SkewError(f"--served {text} has no model; write {CLICKHOUSE}MODEL or {CLICKHOUSE}MODEL@VERSION.")
        return cls(model, version or None, start, end)

    def __str__(self) -> str:
        return f"{CLICKHOUSE}{self.model}{f'@{self.version}' if self.version else ''}"


@contextmanager
def open_file(path: Path, on: str, contract: Contract | None, used: Collection[str] = ()) -> Iterator[Table]:
    """Open a Parquet, CSV or Arrow file. In CSV, ids are text, and the contract's columns have its types.

    Columns that the contract names get the names of members of events. Labels and event times are left out, because
    they are not features.

    Args:
        on: the column of ids, by its name in events.
        used: columns that options name; they keep their names.
    """
    types = csv_types(contract) if contract is not None else {}
    types |= {on: pa.string()}
    if contract is None:
        with open_table(path, types) as table:
            yield table
        return
    named = named_columns(contract.columns)
    with open_table(path, types | {column: types[name] for column, name in named.items() if name in types}) as table:
        outcomes = {contract.columns.label, contract.columns.time} - set(used)
        rest = table.without(outcomes)
        names = event_names(contract.columns, list(rest.columns))
        yield rest.renamed({column: name for column, name in names.items() if column not in used})


@contextmanager
def open_production(client: Client, served: ProductionSource, contract: Contract, other: Table) -> Iterator[Table]:
    """Copy the served predictions into a temporary Parquet file, an hour at a time, and open it.

    Args:
        contract: determines how the values of its fields are recorded.
        other: the recomputed table; its columns are read, and the type of a column that is not in the contract
            determines whether it is recorded as a number.
    """
    columns = _recorded_columns(contract, other.columns)
    with tempfile.TemporaryDirectory(prefix="barograph-skew-") as folder:
        path = Path(folder) / "predictions"
        writer: pq.ParquetWriter | None = None
        numeric = {name for name, (column, _) in columns.items() if column in ("numbers", "score")}
        types = ((name, pa.float64() if name in numeric else pa.string()) for name in columns)
        schema = pa.schema([("id", pa.string()), *types])
        for table in served_features(client, served.model, served.version, served.start, served.end, columns):
            if writer is None:
                writer = pq.ParquetWriter(path, schema, compression="zstd")
            writer.write_table(_as_plain(table, schema))
        if writer is None:
            raise SkewError(_no_predictions(client, served))
        writer.close()
        with open_table(path) as opened:
            yield opened


def _no_predictions(client: Client, served: ProductionSource) -> str:
    n, first, last = served_range(client, served.model, served.version)
    predictions = f"raw predictions of {served.model}{f' version {served.version}' if served.version else ''}"
    span = f"from {iso_utc(served.start)} to {iso_utc(served.end)}"
    if not n:
        return f"ClickHouse has no {predictions}. Check the name; a contract with `raw: none` records none."
    return f"ClickHouse has no {predictions} {span}, but {n:,} from {iso_utc(first)} to {iso_utc(last)}."


def _recorded_columns(contract: Contract, others: Mapping[str, pa.DataType]) -> dict[str, tuple[FeatureSource, str]]:
    """Map each column of the other side to the column of `predictions` that records it, and to its key there."""
    recorded: dict[str, tuple[FeatureSource, str]] = {}
    by_source = {field.source: field for field in contract.fields}
    for name, type_ in others.items():
        prefix, dot, member = name.partition(".")
        source = name if dot and prefix in ("features", "context") else f"features.{name}"
        if name in ("score", "class"):
            recorded[name] = ("score", name) if name == "score" else ("class", name)
        elif source not in by_source and f"context.{name}" in by_source:
            recorded[name] = ("context", name)
        elif prefix == "context" and dot:
            recorded[name] = ("context", member)
        else:
            field = by_source.get(source)
            plain = plain_type(type_)
            numeric = is_number(plain) or pa.types.is_boolean(plain) or pa.types.is_temporal(plain)
            if field is not None:
                numeric = field.type in _NUMBERS or (field.type == "timestamp" and numeric)
            recorded[name] = ("numbers" if numeric else "strings", source.removeprefix("features."))
    recorded.pop("id", None)
    return recorded


def _as_plain(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Cast a table to plain types, without dictionaries."""
    columns = []
    for field in schema:
        column = table.column(field.name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        columns.append(column.cast(field.type))
    return pa.Table.from_arrays(columns, schema=schema)
