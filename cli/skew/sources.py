"""The two sides of a comparison as tables of columns: files, and what ClickHouse holds of a model's predictions."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from barograph.contract import Contract
from barograph.contract.file import parse_contract

from cli.errors import CommandError
from cli.infer.tables import Table, is_number, open_table, plain_type
from cli.load.files import csv_types
from warehouse.client import Client
from warehouse.queries import contracts
from warehouse.served_predictions import served_features, served_range

if TYPE_CHECKING:
    from warehouse.served_predictions import Room

CLICKHOUSE = "clickhouse:"
_NUMBERS = ("float", "int", "bool")


class SkewError(CommandError):
    """Two sides cannot be compared; the text says what to do about it."""


@dataclass(frozen=True, slots=True)
class Production:
    """What was served, as ClickHouse recorded it: `clickhouse:MODEL[@VERSION]`."""

    model: str
    version: str | None
    start: datetime
    end: datetime

    @classmethod
    def parse(cls, text: str, start: datetime, end: datetime) -> Production:
        """Read `MODEL[@VERSION]`; the last @ divides."""
        model, _, version = text.removeprefix(CLICKHOUSE).rpartition("@")
        if not model:
            model, version = version, ""
        if not model:
            raise SkewError(f"--served {text} names no model; write {CLICKHOUSE}MODEL or {CLICKHOUSE}MODEL@VERSION.")
        return cls(model, version or None, start, end)

    def __str__(self) -> str:
        return f"{CLICKHOUSE}{self.model}{f'@{self.version}' if self.version else ''}"


@contextmanager
def open_file(path: Path, on: str, contract: Contract | None) -> Iterator[Table]:
    """Open a Parquet, CSV or Arrow file; in CSV ids are text, and watched columns have the contract's types.

    Raises:
        TableError: it cannot be read.
    """
    types = csv_types(contract) if contract is not None else {}
    with open_table(path, {**types, on: pa.string()}) as table:
        yield table


def contract_in_force(client: Client, model: str) -> Contract:
    """The contract that was applied of a model.

    Raises:
        SkewError: there is none.
    """
    rows = {row.model: row for row in contracts(client)}
    if model not in rows:
        known = f"; known are {', '.join(sorted(rows))}" if rows else ""
        raise SkewError(f"ClickHouse at {client.where} has no contract of {model!r}{known}. Correct the model's name.")
    return parse_contract(rows[model].yaml, f"contract of {model}")


@contextmanager
def open_production(client: Client, served: Production, contract: Contract, other: Table) -> Iterator[Table]:
    """Copy what was served into a temporary file of columns, an hour at a time, and open it.

    Args:
        client: ClickHouse.
        served: which predictions.
        contract: says how the values of its fields are recorded.
        other: the recomputed table; its columns are looked for, and where the contract does not know one its type
            says whether it is a number.

    Raises:
        SkewError: there are no such predictions.
    """
    columns = _recorded(contract, other.columns)
    with tempfile.TemporaryDirectory(prefix="barograph-skew-") as folder:
        path = Path(folder) / "predictions"
        writer: pq.ParquetWriter | None = None
        schema = pa.schema([("id", pa.string()), *((name, _arrow_type(room)) for name, (room, _) in columns.items())])
        for piece in served_features(client, served.model, served.version, served.start, served.end, columns):
            if writer is None:
                writer = pq.ParquetWriter(path, schema, compression="zstd")
            writer.write_table(_as_plain(piece, schema))
        if writer is None:
            raise SkewError(_nothing_served(client, served))
        writer.close()
        with open_table(path) as table:
            yield table


def _nothing_served(client: Client, served: Production) -> str:
    n, first, last = served_range(client, served.model, served.version)
    which = f"raw predictions of {served.model}{f' version {served.version}' if served.version else ''}"
    span = f"from {served.start:%Y-%m-%dT%H:%M:%SZ} to {served.end:%Y-%m-%dT%H:%M:%SZ}"
    if not n:
        return f"ClickHouse holds no {which}. Check the name; a contract with `raw: none` records none."
    return (
        f"ClickHouse holds no {which} {span}, but {n:,} from {first:%Y-%m-%dT%H:%M:%SZ} to {last:%Y-%m-%dT%H:%M:%SZ}."
    )


def _recorded(contract: Contract, others: Mapping[str, pa.DataType]) -> dict[str, tuple[Room, str]]:
    """Where each column of the other side is recorded in `predictions`."""
    found: dict[str, tuple[Room, str]] = {}
    by_source = {field.source: field for field in contract.fields}
    for name, kind in others.items():
        room, dot, member = name.partition(".")
        source = name if dot and room in ("features", "context") else f"features.{name}"
        if name in ("score", "class"):
            found[name] = ("score", name) if name == "score" else ("class", name)
        elif source not in by_source and f"context.{name}" in by_source:
            found[name] = ("context", name)
        elif room == "context" and dot:
            found[name] = ("context", member)
        else:
            field = by_source.get(source)
            kind = plain_type(kind)
            numeric = is_number(kind) or pa.types.is_boolean(kind) or pa.types.is_temporal(kind)
            if field is not None:
                numeric = field.type in _NUMBERS or (field.type == "timestamp" and numeric)
            found[name] = ("numbers" if numeric else "strings", source.removeprefix("features."))
    found.pop("id", None)
    return found


def _arrow_type(room: Room) -> pa.DataType:
    return pa.float64() if room in ("numbers", "score") else pa.string()


def _as_plain(piece: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = []
    for field in schema:
        column = piece.column(field.name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        columns.append(column.cast(field.type))
    return pa.Table.from_arrays(columns, schema=schema)
