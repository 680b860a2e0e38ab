"""Concatenates columns of one table."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from barograph_server.streams.monitor.state.commit_rows import Columns


class ColumnBuffer:
    def __init__(self) -> None:
        self.n = 0
        self._chunks: list[Columns] = []

    def add(self, columns: Columns) -> None:
        """Add rows; empty columns add nothing."""
        if columns and len(columns["record_seq"]):
            self._chunks.append(columns)
            self.n += len(columns["record_seq"])

    def drain(self) -> Columns | None:
        """Remove and return all rows, concatenated; None if there are none."""
        chunks, self._chunks, self.n = self._chunks, [], 0
        return concat_columns(chunks)


def concat_columns(chunks: Sequence[Columns]) -> Columns | None:
    """Concatenate columns of one table; None if there are none."""
    if not chunks:
        return None
    if len(chunks) == 1:
        return chunks[0]
    joined: Columns = {}
    for name, first in chunks[0].items():
        columns = [chunk[name] for chunk in chunks]
        if isinstance(first, pa.Array):
            joined[name] = pa.chunked_array(columns).unify_dictionaries().combine_chunks()
        else:
            joined[name] = np.concatenate(columns)
    return joined
