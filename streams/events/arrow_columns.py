"""Rows of Arrow messages of one schema, end to end, a column at a time.

They are never put together as a table: that compares the schema of every message, which takes longer than most columns,
and puts together what nobody reads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


class Rows:
    """The rows of some batches, n in all.

    Args:
        schema: of all of the batches.
        batches: one after the other.
    """

    def __init__(self, schema: pa.Schema, batches: Sequence[pa.RecordBatch]) -> None:
        self._schema, self._batches = schema, batches
        self._kept: dict[str, pa.Array] = {}

    def __len__(self) -> int:
        return sum(batch.num_rows for batch in self._batches)

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        found: list[str] = self._schema.names
        return found

    def has(self, name: str) -> bool:
        """Whether there is a column of a name."""
        return bool(self._schema.get_field_index(name) >= 0)

    def column(self, name: str) -> pa.Array:
        """A column, shape (n,); one of categories has one dictionary."""
        at = self._schema.get_field_index(name)
        chunks = [batch.column(at) for batch in self._batches]
        if len(chunks) == 1:
            return chunks[0]
        kind = self._schema.field(at).type
        if pa.types.is_dictionary(kind):
            return pa.chunked_array(chunks, kind).unify_dictionaries().combine_chunks()
        return pa.concat_arrays(chunks) if chunks else pa.array([], kind)

    def kept(self, name: str) -> pa.Array:
        """A column that is kept for another part of the rows."""
        if name not in self._kept:
            self._kept[name] = self.column(name)
        return self._kept[name]

    def table(self) -> pa.Table:
        """All rows and columns."""
        return pa.Table.from_batches(self._batches, self._schema)


class Part:
    """The rows at some places, n of them."""

    def __init__(self, rows: Rows, where: NDArray[np.int64]) -> None:
        self._rows, self._where = rows, pa.array(where)
        self.names, self.has = rows.names, rows.has

    def __len__(self) -> int:
        return len(self._where)

    def column(self, name: str) -> pa.Array:
        """A column, shape (n,)."""
        return self._rows.kept(name).take(self._where)
