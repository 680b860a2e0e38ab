"""Read a file piece by piece and hold every row, or rows spread evenly over it, against the contract."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from barograph.contract import Contract
from barograph.validation.tables import TableChecker, TableViolation, source_columns, unknown_columns
from numpy.typing import NDArray

from cli.load.files import EventFile, LoadError


@dataclass(frozen=True, slots=True)
class Checked:
    """What a file holds against its contract."""

    path: Path
    rows: int
    """Rows of the file."""
    looked_at: int
    """Rows that were checked: all, or the sample."""
    columns: int
    """Columns that the contract watches and the file has."""
    violations: list[TableViolation]


def check_file(
    path: Path, contract: Contract, *, at: str | None = None, without: Collection[str] = (), sample: int | None = None
) -> Checked:
    """Hold a Parquet, CSV or Arrow file against a contract; memory is bounded by a batch of rows.

    Args:
        path: the file.
        contract: the contract.
        at: the column of event times; without, `at` where there is one.
        without: columns that are no features.
        sample: look at this many rows alone, spread evenly from the first to the last.

    Raises:
        LoadError: the file cannot be read, or a column that was named is not there.
    """
    file = EventFile(path, _texts(contract))
    names = file.schema.names
    for name in without:
        if name not in names:
            raise LoadError(f"{path} has no column {name!r}, so it cannot be left out; correct --without.")
    if at is not None and at not in names:
        raise LoadError(f"{path} has no column {at!r} of event times; correct --time.")
    at = at or "at"
    read = source_columns(contract, names)
    columns = {*read.values(), *({at} & set(names))} or set(names[:1])
    # Of columns that are unknown the name is all that counts.
    unknown = [name for name in unknown_columns(contract, names, at, without) if name not in columns]
    checker = TableChecker(contract, at=at, exclude=without, text_values=file.has_text_values)
    rows = file.rows
    if sample is not None and rows is None:
        rows = sum(batch.num_rows for batch in file.batches(columns))
    total = 0
    for batch in file.batches(columns):
        piece = batch
        for name in unknown:
            piece = piece.append_column(name, pa.nulls(piece.num_rows))
        if sample is None or rows is None:
            checker.add(piece)
        else:
            chosen = _chosen(total, batch.num_rows, rows, sample)
            checker.add(piece.take(pa.array(chosen - total)), chosen.tolist())
        total += batch.num_rows
    if total == 0:
        raise LoadError(f"{path} has no rows, so nothing can be said of it; give a file that has some.")
    return Checked(path, total, checker.rows, len(read), checker.violations())


def _texts(contract: Contract) -> Mapping[str, pa.DataType]:
    """CSV cells of watched columns are read as they are written: a cell that is no number costs only itself."""
    types: dict[str, pa.DataType] = {}
    sources = [field.source for field in contract.fields]
    sources += [source for cut in contract.slices for source in cut.sources]
    for source in sources:
        types |= dict.fromkeys((source, source.partition(".")[2] or source), pa.string())
    return types


def _chosen(start: int, length: int, rows: int, sample: int) -> NDArray[np.int64]:
    """The numbers of the rows of a batch that are in the sample: ⌊i·rows/sample⌋ for i = 0 … sample − 1."""
    if sample >= rows:
        return np.arange(start, start + length)
    first = -(-start * sample // rows)
    last = -(-(start + length) * sample // rows)
    return np.arange(first, last, dtype=np.int64) * rows // sample


def as_records(checked: Checked) -> Iterator[dict[str, object]]:
    """The violations as programs read them."""
    for found in checked.violations:
        yield {
            "field": found.field,
            "kind": found.kind,
            "limit": found.limit,
            "must": found.expected_type or None,
            "n": found.n,
            "of": found.n_checked,
            "share": found.share,
            "rows": list(found.rows),
            "examples": list(found.examples),
        }
