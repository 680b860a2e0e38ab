"""Rows of `panes`, `rollups` and `volume` → panes in memory, a pane at a time and nothing in Python per row."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sketches.baseline.columns import TAIL_KEYS
from sketches.baseline.layout import HEADER, IntArray
from streams.monitor.state.series import KeptBytes, Pane, Series

ROWS_TOGETHER = 32_768
"""Rows that are worked on together: some ten megabytes, where each has a dozen cells."""
_MOMENT_COLUMNS = ("shift_sum", "shift_square_sum", "minimum", "maximum")
_HEADER_COLUMNS = ("n", "errors", "timed", "slow")
"""Columns of `volume` that hold the header of a pane's counts, in its order."""
assert len(_HEADER_COLUMNS) == HEADER


def restore_panes(series: Series, table: pa.Table, held: Container[int] = ()) -> dict[int, Pane]:
    """Build panes from rows of `panes` or `rollups`, by start; those that are held already are left out.

    Rows of slices and fields that the baseline has not are left out.

    Raises:
        ValueError: a row has not as many counts as its field has cells.
    """
    built: dict[int, Pane] = {}
    for first in range(0, table.num_rows, ROWS_TOGETHER):
        _restore_rows(series, table.slice(first, ROWS_TOGETHER), held, built)
    return built


def _restore_rows(series: Series, table: pa.Table, held: Container[int], built: dict[int, Pane]) -> None:
    """Put some rows into panes, which are made where they are new; raises as `restore_panes`."""
    layout = series.layout
    slices = _positions(table, "slice", {name: i for i, name in enumerate(layout.slices)})
    fields = _positions(table, "field", layout.field_index)
    starts = table.column("pane_start").to_numpy().astype(np.int64)
    tail = np.stack([table.column(key).to_numpy() for key in TAIL_KEYS], axis=1)
    moments = np.stack([table.column(name).to_numpy() for name in _MOMENT_COLUMNS], axis=1)
    record_seq, sealed = table.column("record_seq").to_numpy().astype(np.int64), table.column("sealed").to_numpy()
    counts = table.column("counts").combine_chunks()
    values, offsets = counts.values.to_numpy(), counts.offsets.to_numpy().astype(np.int64)
    numeric = np.array([field.kind == "numeric" for field in layout.fields], dtype=bool)
    sketches = table.column("sketch")
    has_sketch = pc.fill_null(pc.greater(pc.binary_length(sketches), 0), False).to_numpy()
    for start_s, rows in _by_start(starts, (slices >= 0) & (fields >= 0)):
        if start_s in held:
            continue
        if start_s not in built:
            built[start_s] = series.empty_pane(start_s)
            built[start_s].dirty = False
        pane = built[start_s]
        s, f = slices[rows], fields[rows]
        first, n_cells = layout.starts[f], layout.n_cells[f]
        if (offsets[rows + 1] - offsets[rows] != n_cells).any():
            raise ValueError(
                f"the panes of model {series.contract.model} that start at {start_s} do not have the cells "
                f"that baseline {series.baseline_id} asks for"
            )
        within = np.arange(n_cells.sum()) - np.repeat(np.cumsum(n_cells) - n_cells, n_cells)
        cells = np.repeat(s * layout.width + first, n_cells) + within
        pane.counts.reshape(-1)[cells] = values[np.repeat(offsets[rows], n_cells) + within]
        for i in range(tail.shape[1]):
            pane.counts[s, first + n_cells + i] = tail[rows, i]
        pane.record_seq[s, 1 + f] = record_seq[rows]
        pane.sealed = pane.sealed or bool(sealed[rows].any())
        # Where there was no number they are NaN in the table.
        described = numeric[f] & np.isfinite(moments[rows, 2])
        whole = (s == 0) & described
        pane.moments[f[whole]] = moments[rows[whole]]
        for i in np.flatnonzero(has_sketch[rows]).tolist():
            data = sketches[int(rows[i])].as_py()
            if s[i] == 0:
                pane.sketches[int(f[i])] = data
            elif described[i]:
                pane.kept[int(s[i]), int(f[i])] = KeptBytes(moments[rows[i]].copy(), data)


def restore_volume(series: Series, table: pa.Table, panes: dict[int, Pane]) -> None:
    """Put the header and late counts of rows of `volume` into panes that are held and not yet changed."""
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


def _positions(table: pa.Table, name: str, places: Mapping[str, int]) -> IntArray:
    """Where each row's text stands among some; -1 where it is not one of them."""
    coded = table.column(name).combine_chunks().dictionary_encode()
    of_word = np.array([places.get(word, -1) for word in coded.dictionary.to_pylist()], dtype=np.int64)
    codes = coded.indices.to_numpy()
    return of_word[codes] if len(codes) else np.empty(0, dtype=np.int64)


def _by_start(starts: IntArray, known: NDArray[np.bool_]) -> Iterator[tuple[int, IntArray]]:
    """The known rows of each pane: its start, and their positions."""
    rows = np.flatnonzero(known)
    rows = rows[np.argsort(starts[rows], kind="stable")]
    found, first = np.unique(starts[rows], return_index=True)
    yield from zip(found.tolist(), np.split(rows, first[1:]), strict=False)
