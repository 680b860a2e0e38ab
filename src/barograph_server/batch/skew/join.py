"""Joins two tables by the prediction's id."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from barograph.string_views import to_string
from numpy.typing import NDArray

from barograph_server.batch.skew.sources import SkewError
from barograph_server.profiling.infer.tables import Table, is_number, is_text, plain_type

RowArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class JoinedRows:
    """Pairs of rows of two tables with the same id, in the order of the served rows."""

    served: RowArray
    """Row of each pair in the served table, shape (n,)."""
    recomputed: RowArray
    """Row of each pair in the recomputed table, shape (n,)."""
    served_rows: int
    recomputed_rows: int
    repeated: int
    """Rows of the recomputed table that repeat an id; only the first row of an id is joined."""

    def __len__(self) -> int:
        return len(self.served)

    @property
    def only_served(self) -> int:
        """Number of served rows that were not recomputed."""
        return self.served_rows - len(self.served)

    @property
    def only_recomputed(self) -> int:
        """Number of recomputed ids that were not served."""
        return self.recomputed_rows - self.repeated - len(np.unique(self.recomputed))


def join(served: Table, recomputed: Table, on: str, served_on: str | None = None) -> JoinedRows:
    """Pair rows by id. Keeps a hash table of the recomputed ids and one batch of the served ids in memory.

    Args:
        served: the served rows; an id may repeat, and each row is compared.
        served_on: the column of ids in `served`, if it has another name.
    """
    served_on = served_on or on
    check_ids(recomputed, on)
    check_ids(served, served_on)
    known = pa.chunked_array(list(_ids(recomputed, on)), pa.large_string()).combine_chunks()
    left: list[RowArray] = []
    right: list[RowArray] = []
    row = 0
    for batch in _ids(served, served_on):
        indexes = pc.index_in(batch, value_set=known, skip_nulls=True)
        matches = np.flatnonzero(indexes.is_valid().to_numpy(zero_copy_only=False))
        left.append(matches + row)
        right.append(indexes.drop_null().to_numpy(zero_copy_only=False).astype(np.int64))
        row += len(batch)
    joined = JoinedRows(
        np.concatenate([np.empty(0, np.int64), *left]),
        np.concatenate([np.empty(0, np.int64), *right]),
        row,
        len(known),
        len(known) - known.null_count - pc.count_distinct(known).as_py(),
    )
    if not len(joined):
        raise SkewError(
            f"No {on} of {served.name} is in {recomputed.name}: their first values are "
            f"{_first_id(served, served_on)} and {_first_id(recomputed, on)}. "
            "Name the column that identifies a prediction with --on."
        )
    return joined


def _first_id(table: Table, column: str) -> str:
    return repr(next((text[:60] for batch in _ids(table, column) for text in batch[:1].to_pylist() if text), ""))


def check_ids(table: Table, column: str) -> None:
    if column not in table.columns:
        columns = ", ".join(list(table.columns)[:12])
        raise SkewError(f"{table.name} has no column {column!r} to join on; name one with --on: {columns}.")
    type_ = plain_type(table.columns[column])
    if not (is_text(type_) or is_number(type_)):
        raise SkewError(
            f"{table.name}: the column {column!r} has type {type_}, not that of an id; name another with --on."
        )


def _ids(table: Table, column: str) -> Iterator[pa.Array]:
    return (_as_text(batch) for batch in table.batches(column))


def _as_text(batch: pa.Array) -> pa.Array:
    if isinstance(batch, pa.ExtensionArray):
        batch = batch.storage
    if pa.types.is_dictionary(batch.type):
        batch = batch.dictionary_decode()
    if pa.types.is_floating(batch.type):  # pandas converts integers beside nulls to floats
        with contextlib.suppress(pa.ArrowInvalid):
            batch = batch.cast(pa.int64())
    return to_string(batch, pa.large_string())


def texts_at(table: Table, column: str, rows: RowArray) -> dict[int, str]:
    """Read the ids of a few rows, by row number."""
    sorted_rows = np.unique(rows)
    ids: dict[int, str] = {}
    start = 0
    for batch in table.batches(column):
        stop = start + len(batch)
        in_batch = sorted_rows[(sorted_rows >= start) & (sorted_rows < stop)]
        if len(in_batch):
            texts = _as_text(batch.take(pa.array(in_batch - start))).to_pylist()
            ids |= {row: text or "" for row, text in zip(in_batch.tolist(), texts, strict=True)}
        start = stop
    return ids
