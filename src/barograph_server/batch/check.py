"""Reads a file in batches and checks every row, or a sample of rows, against the contract."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from barograph.contract import Contract
from barograph.contract.file import load_contract
from barograph.validation.tables import TableChecker, TableViolation, source_columns, unknown_columns
from numpy.typing import NDArray

from barograph_server.batch.backfill.files import EventFile, LoadError
from barograph_server.profiling.table_columns import with_columns


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The violations of the contract in a file."""

    path: Path
    n_rows: int
    """Rows of the file."""
    n_checked: int
    """Rows that were checked: all, or the sample."""
    n_columns: int
    """Columns of the file that the contract watches."""
    violations: list[TableViolation]


def check(
    data: str | Path,
    contract: ContractOrPath,
    *,
    time: str | None = None,
    id: str | None = None,
    score: str | None = None,
    class_: str | None = None,
    label: str | None = None,
    without: Collection[str] = (),
    sample: int | None = None,
) -> CheckReport:
    """Check a Parquet, CSV or Arrow file against a contract. Needs memory for one batch of rows.

    Args:
        time: the column of event times; by default `at` if the file has it.
        id: the column of ids; this and the following by default as in the contract's `columns`.
        without: columns that are not features.
        sample: check only this many rows, evenly spread from the first to the last.

    Raises:
        ContractError: the contract cannot be read.
    """
    path, at = Path(data), time
    contract = with_columns(contract_of(contract), id=id, score=score, class_=class_, label=label)
    file = EventFile(path, _text_columns(contract), contract.columns)
    names = file.schema.names
    without = [file.event_names.get(name, name) for name in without]
    for name in without:
        if name not in names:
            raise LoadError(f"{path} has no column {name!r}; correct --without.")
    if at is not None and file.event_names.get(at, at) not in names:
        raise LoadError(f"{path} has no column {at!r} of event times; correct --time.")
    at = file.event_names.get(at, at) if at is not None else "at"
    watched = source_columns(contract, names)
    columns = {*watched.values(), *({at} & set(names))} or set(names[:1])
    # Unknown columns are reported by name, so their values are not read.
    unknown = [name for name in unknown_columns(contract, names, at, without) if name not in columns]
    checker = TableChecker(contract, at=at, exclude=without, text_values=file.has_text_values)
    n_rows = file.rows
    if sample is not None and n_rows is None:
        n_rows = sum(batch.num_rows for batch in file.batches(columns))
    total = 0
    numbers = {
        watched[field.source] for field in contract.fields if field.type != "category" and field.source in watched
    }
    for batch in file.batches(columns):
        table = batch if file.decimal_point == "." else _with_points(batch, numbers)
        for name in unknown:
            table = table.append_column(name, pa.nulls(table.num_rows))
        if sample is None or n_rows is None:
            checker.add(table)
        else:
            rows = _sample_rows(total, batch.num_rows, n_rows, sample)
            checker.add(table.take(pa.array(rows - total)), rows.tolist())
        total += batch.num_rows
    if total == 0:
        raise LoadError(f"{path} has no rows; give a file with rows.")
    return CheckReport(path, total, checker.rows, len(watched), checker.violations())


def _text_columns(contract: Contract) -> Mapping[str, pa.DataType]:
    """Read watched CSV columns as text, so that a malformed cell affects only itself."""
    types: dict[str, pa.DataType] = {}
    sources = [field.source for field in contract.fields]
    sources += [source for dimension in contract.slices for source in dimension.sources]
    for source in sources:
        types |= dict.fromkeys((source, source.partition(".")[2] or source), pa.string())
    return types


def _with_points(table: pa.Table, columns: Collection[str]) -> pa.Table:
    """Replace decimal commas by points in columns of numbers that are read as text."""
    for position, name in enumerate(table.column_names):
        if name in columns and pa.types.is_string(table.schema.field(name).type):
            column = pc.replace_substring_regex(table.column(name), r"^(\s*[+-]?\d*),(\d+)", r"\1.\2")
            table = table.set_column(position, name, column)
    return table


def _sample_rows(start: int, length: int, n_rows: int, sample: int) -> NDArray[np.int64]:
    """Number the rows of a batch that are in the sample: ⌊i·n_rows/sample⌋ for i = 0 … sample − 1."""
    if sample >= n_rows:
        return np.arange(start, start + length)
    first = -(-start * sample // n_rows)
    last = -(-(start + length) * sample // n_rows)
    return np.arange(first, last, dtype=np.int64) * n_rows // sample


ContractOrPath = Contract | str | Path


def contract_of(contract: ContractOrPath) -> Contract:
    """Return a contract, or read it from its file.

    Raises:
        ContractError: the file is not a contract.
    """
    return contract if isinstance(contract, Contract) else load_contract(Path(contract))
