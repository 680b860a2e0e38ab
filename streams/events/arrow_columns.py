"""Columns over the record batches of several Arrow messages with one schema.

The batches are not combined into a table: building one compares the schema of every message, which takes longer than
reading most columns, and it would join columns that nothing reads.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from barograph.string_views import to_string
from numpy.typing import NDArray


class BatchRows:
    """The n rows of some record batches, in order."""

    def __init__(self, schema: pa.Schema, batches: Sequence[pa.RecordBatch]) -> None:
        self._schema, self._batches = schema, batches
        self._cache: dict[str, pa.Array] = {}

    def __len__(self) -> int:
        return sum(batch.num_rows for batch in self._batches)

    @property
    def names(self) -> list[str]:
        names: list[str] = self._schema.names
        return names

    def has(self, name: str) -> bool:
        return bool(self._schema.get_field_index(name) >= 0)

    def column(self, name: str) -> pa.Array:
        """Return a column of shape (n,); a dictionary-encoded column gets one dictionary."""
        i = self._schema.get_field_index(name)
        kind = self._schema.field(i).type
        if pa.types.is_dictionary(kind) and pa.types.is_null(kind.value_type):
            # pyarrow 26 reads invalid memory when it computes on dictionaries of nulls.
            return pa.nulls(len(self))
        chunks = [batch.column(i) for batch in self._batches]
        if len(chunks) == 1:
            return chunks[0]
        if pa.types.is_dictionary(kind):
            return pa.chunked_array(chunks, kind).unify_dictionaries().combine_chunks()
        return pa.concat_arrays(chunks) if chunks else pa.array([], kind)

    def cached_column(self, name: str) -> pa.Array:
        if name not in self._cache:
            self._cache[name] = self.column(name)
        return self._cache[name]

    def table(self) -> pa.Table:
        return pa.Table.from_batches(self._batches, self._schema)


class RowSelection:
    """n selected rows of some record batches.

    Args:
        indices: the indices of the selected ones.
    """

    def __init__(self, rows: BatchRows, indices: NDArray[np.int64]) -> None:
        self._rows, self._indices = rows, pa.array(indices)
        self.names, self.has = rows.names, rows.has

    def __len__(self) -> int:
        return len(self._indices)

    def column(self, name: str) -> pa.Array:
        column = self._rows.cached_column(name)
        # Arrow cannot `take` from string views.
        return (to_string(column) if pa.types.is_string_view(column.type) else column).take(self._indices)
