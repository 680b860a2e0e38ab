"""Bring two tables together by the prediction's id."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cli.infer.tables import Table, is_number, is_text, plain_type
from cli.skew.sources import SkewError

RowArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Joined:
    """Which rows of two tables belong together; pairs are in the order of the served rows."""

    served: RowArray
    """Row of each pair in the served table, shape (n,)."""
    recomputed: RowArray
    """Row of each pair in the recomputed table, shape (n,)."""
    served_rows: int
    recomputed_rows: int
    repeated: int
    """Rows of the recomputed table whose id stood there before; the first one counts."""

    def __len__(self) -> int:
        return len(self.served)

    @property
    def only_served(self) -> int:
        """Rows that were served and not recomputed."""
        return self.served_rows - len(self.served)

    @property
    def only_recomputed(self) -> int:
        """Ids that were recomputed and not served."""
        return self.recomputed_rows - self.repeated - len(np.unique(self.recomputed))


def join(served: Table, recomputed: Table, on: str, served_on: str | None = None) -> Joined:
    """Find the pairs by id; of the recomputed ids a hash table is held, of the served ones a batch at a time.

    Args:
        served: what was served; an id may stand there more than once, and each row is compared.
        recomputed: what training computes.
        on: the column of ids.
        served_on: the served side's, where it has another name.

    Raises:
        SkewError: a side has no such column, or no id is on both sides.
    """
    served_on = served_on or on
    check_ids(recomputed, on)
    check_ids(served, served_on)
    known = pa.chunked_array(list(_ids(recomputed, on)), pa.large_string()).combine_chunks()
    left: list[RowArray] = []
    right: list[RowArray] = []
    row = 0
    for batch in _ids(served, served_on):
        where = pc.index_in(batch, value_set=known, skip_nulls=True)
        hit = np.flatnonzero(where.is_valid().to_numpy(zero_copy_only=False))
        left.append(hit + row)
        right.append(where.drop_null().to_numpy(zero_copy_only=False).astype(np.int64))
        row += len(batch)
    joined = Joined(
        np.concatenate([np.empty(0, np.int64), *left]),
        np.concatenate([np.empty(0, np.int64), *right]),
        row,
        len(known),
        len(known) - known.null_count - pc.count_distinct(known).as_py(),
    )
    if not len(joined):
        raise SkewError(
            f"No {on} of {served.name} is in {recomputed.name}: the first ones are {_first(served, served_on)} and "
            f"{_first(recomputed, on)}. Name the column that identifies a prediction with --on."
        )
    return joined


def _first(table: Table, column: str) -> str:
    return repr(next((text[:60] for batch in _ids(table, column) for text in batch[:1].to_pylist() if text), ""))


def check_ids(table: Table, column: str) -> None:
    """See that a column can be joined by.

    Raises:
        SkewError: there is no such column, or it holds no ids.
    """
    if column not in table.columns:
        columns = ", ".join(list(table.columns)[:12])
        raise SkewError(f"{table.name} has no column {column!r} to join by; name one with --on: {columns}.")
    kind = plain_type(table.columns[column])
    if not (is_text(kind) or is_number(kind)):
        raise SkewError(f"{table.name}: the column {column!r} holds {kind}, which is no id; name another with --on.")


def _ids(table: Table, column: str) -> Iterator[pa.Array]:
    return (_as_text(batch) for batch in table.batches(column))


def _as_text(batch: pa.Array) -> pa.Array:
    if isinstance(batch, pa.ExtensionArray):
        batch = batch.storage
    if pa.types.is_dictionary(batch.type):
        batch = batch.dictionary_decode()
    if pa.types.is_floating(batch.type):  # pandas makes floats of whole numbers beside nulls
        with contextlib.suppress(pa.ArrowInvalid):
            batch = batch.cast(pa.int64())
    return batch.cast(pa.large_string())


def texts_at(table: Table, column: str, rows: RowArray) -> dict[int, str]:
    """Read the ids of a few rows."""
    wanted = np.unique(rows)
    found: dict[int, str] = {}
    start = 0
    for batch in table.batches(column):
        stop = start + len(batch)
        here = wanted[(wanted >= start) & (wanted < stop)]
        if len(here):
            texts = _as_text(batch.take(pa.array(here - start))).to_pylist()
            found |= {row: text or "" for row, text in zip(here.tolist(), texts, strict=True)}
        start = stop
    return found
