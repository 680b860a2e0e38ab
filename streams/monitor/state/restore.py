"""Restores panes from rows of `panes`, `rollups` and `volume`, by array operations on all rows of a pane at once."""

from collections.abc import Container, Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from barograph_server.sketches.baseline.columns import TAIL_KEYS
from barograph_server.sketches.baseline.layout import HEADER, IntArray
from barograph_server.streams.monitor.state.pane import Pane, SliceSketch
from barograph_server.streams.monitor.state.series import Series

ROWS_PER_CHUNK = 32_768
"""Rows that are restored at once: some ten megabytes, if each has a dozen cells."""
_MOMENT_COLUMNS = ("shift_sum", "shift_square_sum", "minimum", "maximum")
_HEADER_COLUMNS = ("n", "errors", "timed", "slow")
"""Columns of `volume` with the header of a pane's counts, in its order."""
assert len(_HEADER_COLUMNS) == HEADER


def restore_panes(series: Series, table: pa.Table, exclude: Container[int] = ()) -> dict[int, Pane]:
    """Build panes from rows of `panes` or `rollups`, by start; rows of unknown slices and fields are ignored.

    Args:
        exclude: starts of panes that are not built, because they are in memory.

    Raises:
        ValueError: the number of counts of a row differs from the number of cells of its field.
    """
    panes: dict[int, Pane] = {}
    for first in range(0, table.num_rows, ROWS_PER_CHUNK):
        _restore_rows(series, table.slice(first, ROWS_PER_CHUNK), exclude, panes)
    return panes


def _restore_rows(series: Series, table: pa.Table, exclude: Container[int], panes: dict[int, Pane]) -> None:
    layout = series.layout
    slices = _indices(table, "slice", {name: i for i, name in enumerate(layout.slices)})
    fields = _indices(table, "field", layout.field_index)
    starts = table.column("pane_start").to_numpy().astype(np.int64)
    tail = np.stack([table.column(key).to_numpy() for key in TAIL_KEYS], axis=1)
    moments = np.stack([table.column(name).to_numpy() for name in _MOMENT_COLUMNS], axis=1)
    record_seq, sealed = table.column("record_seq").to_numpy().astype(np.int64), table.column("sealed").to_numpy()
    counts = table.column("counts").combine_chunks()
    values, offsets = counts.values.to_numpy(), counts.offsets.to_numpy().astype(np.int64)
    numeric = np.array([field.kind == "numeric" for field in layout.fields], dtype=bool)
    sketches = table.column("sketch")
    has_sketch = pc.fill_null(pc.greater(pc.binary_length(sketches), 0), False).to_numpy()
    for start_s, rows in _rows_by_start(starts, (slices >= 0) & (fields >= 0)):
        if start_s in exclude:
            continue
        if start_s not in panes:
            panes[start_s] = series.empty_pane(start_s)
            panes[start_s].dirty = False
        pane = panes[start_s]
        s, f = slices[rows], fields[rows]
        first, n_cells = layout.starts[f], layout.n_cells[f]
        if (offsets[rows + 1] - offsets[rows] != n_cells).any():
            raise ValueError(
                f"the panes of model {series.contract.model} that start at {start_s} do not have the cells "
                f"that baseline {series.baseline_id} requires"
            )
        within = np.arange(n_cells.sum()) - np.repeat(np.cumsum(n_cells) - n_cells, n_cells)
        cells = np.repeat(s * layout.width + first, n_cells) + within
        pane.counts.reshape(-1)[cells] = values[np.repeat(offsets[rows], n_cells) + within]
        for i in range(tail.shape[1]):
            pane.counts[s, first + n_cells + i] = tail[rows, i]
        pane.record_seq[s, 1 + f] = record_seq[rows]
        pane.sealed = pane.sealed or bool(sealed[rows].any())
        # The table stores NaN if there was no number.
        described = numeric[f] & np.isfinite(moments[rows, 2])
        unsliced = (s == 0) & described
        pane.moments[f[unsliced]] = moments[rows[unsliced]]
        for i in np.flatnonzero(has_sketch[rows]).tolist():
            data = sketches[int(rows[i])].as_py()
            if s[i] == 0:
                pane.sketches[int(f[i])] = data
            elif described[i]:
                pane.slice_sketches[int(s[i]), int(f[i])] = SliceSketch(moments[rows[i]].copy(), data)


def restore_volume(series: Series, table: pa.Table, panes: dict[int, Pane]) -> None:
    """Set the header and the late counts of restored panes from rows of `volume`."""
    slice_index = {name: i for i, name in enumerate(series.layout.slices)}
    for row in table.to_pylist():
        if row["version"] != series.version or row["baseline_id"] != series.baseline_id:
            continue
        pane, s = panes.get(int(row["pane_start"])), slice_index.get(row["slice"])
        if pane is None or s is None:
            continue
        pane.counts[s, :HEADER] = [row[name] for name in _HEADER_COLUMNS]
        pane.late[s], pane.record_seq[s, 0] = row["late"], row["record_seq"]
        pane.sealed = pane.sealed or bool(row["sealed"])
        series.unregistered = series.unregistered or bool(row["unregistered"])


def _indices(table: pa.Table, name: str, index_of: Mapping[str, int]) -> IntArray:
    """Return the index of each row's text; -1 if it has none."""
    encoded = table.column(name).combine_chunks().dictionary_encode()
    of_code = np.array([index_of.get(text, -1) for text in encoded.dictionary.to_pylist()], dtype=np.int64)
    codes = encoded.indices.to_numpy()
    return of_code[codes] if len(codes) else np.empty(0, dtype=np.int64)


def _rows_by_start(starts: IntArray, chosen: NDArray[np.bool_]) -> Iterator[tuple[int, IntArray]]:
    """Yield each pane's start and the indices of its chosen rows."""
    rows = np.flatnonzero(chosen)
    rows = rows[np.argsort(starts[rows], kind="stable")]
    distinct, first = np.unique(starts[rows], return_index=True)
    yield from zip(distinct.tolist(), np.split(rows, first[1:]), strict=False)
