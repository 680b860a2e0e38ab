"""Columns of `panes`, `rollups`, `volume` and `new_categories`."""

from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from barograph_server.sketches.baseline.columns import FieldColumn
from barograph_server.sketches.baseline.layout import ERRORS, EVENTS, HEADER, SLOW, TIMED
from barograph_server.sketches.sketch.categorical import FrequentValue, UnseenCategories
from barograph_server.streams.monitor.state.commit_rows import Columns, LazyColumns
from barograph_server.streams.monitor.state.merging import UnseenSketch
from barograph_server.streams.monitor.state.pane import Pane
from barograph_server.streams.monitor.state.series import Series
from barograph_server.warehouse.tables import dictionary_column, ragged

PANES_PER_INSERT = 256
"""Most panes whose rows go into one insert: bounds the arrays of a replay."""
COUNTS_PER_INSERT = 500_000
"""Most counts in one insert: a wide model has fewer panes per insert, a very wide one only some slices of a pane."""
MAX_NAMED_CATEGORIES = 50
"""Unseen categories that are named per field and hour."""


def pane_pages(
    series: Series, panes: list[Pane], partials_partition: int, pane_s: int, sealed: NDArray[np.bool_]
) -> Iterator[LazyColumns]:
    """Cut the rows of panes or rollups into inserts.

    The rows of an insert are made when it is written, because those of a wide model are large.

    Args:
        panes: panes, or rollups.
        sealed: which of them are sealed, shape (len(panes),).
    """
    n_slices, width = series.layout.n_slices, series.layout.width
    panes_per_page = max(1, min(PANES_PER_INSERT, COUNTS_PER_INSERT // (n_slices * width)))
    slices_per_page = max(1, COUNTS_PER_INSERT // width)
    slice_pages = [range(i, min(i + slices_per_page, n_slices)) for i in range(0, n_slices, slices_per_page)]
    for first in range(0, len(panes), panes_per_page):
        page = slice(first, first + panes_per_page)
        for slices in slice_pages:
            yield partial(pane_columns, series, panes[page], partials_partition, pane_s, sealed[page], slices)


def pane_columns(
    series: Series,
    panes: list[Pane],
    partials_partition: int,
    pane_s: int,
    sealed: NDArray[np.bool_],
    slices: range | None = None,
) -> Columns:
    """Return rows of `panes` (or `rollups`): one per pane, slice and field with events.

    The slice `all` has a row even without events, so that the pane is found when it is loaded again.

    Args:
        panes: panes, or rollups.
        sealed: which of them are sealed, shape (len(panes),).
        slices: the consecutive slices that get rows; None for all.
    """
    layout = series.layout
    slices = range(layout.n_slices) if slices is None else slices
    chosen_slices = slice(slices.start, slices.stop)
    n_slices, n_fields = len(slices), layout.n_fields
    counts = np.stack([pane.counts[chosen_slices] for pane in panes], dtype=np.int64)
    n_cells = layout.n_cells
    columns = {column: counts[:, :, layout.columns(column)] for column in FieldColumn}
    category = np.array([field.kind == "category" for field in layout.fields])
    columns[FieldColumn.UNSEEN] = np.where(category, columns[FieldColumn.UNSEEN], 0)
    cells = counts[:, :, series.compiled.row_cells]
    firsts = np.concatenate(([0], np.cumsum(n_cells)))[:-1]
    n = np.add.reduceat(cells, firsts, axis=2)
    chosen = (n + columns[FieldColumn.INVALID]) > 0
    if slices.start == 0:
        chosen[:, 0, :] = True
    p, s, f = np.nonzero(chosen)
    chosen_cells = cells[np.repeat(chosen, n_cells, axis=2)]
    offsets = np.concatenate(([0], np.cumsum(n_cells[f])))
    # Only the slice `all` and the slices with sketches have moments, and only if there was a number; NaN otherwise.
    moments = np.full((len(panes), n_slices, n_fields, 4), np.nan)
    if slices.start == 0:
        moments[:, 0] = np.stack([pane.moments for pane in panes])
    for i, pane in enumerate(panes):
        for (j, k), slice_sketch in pane.slice_sketches.items():
            if j in slices:
                moments[i, j - slices.start, k] = slice_sketch.moments
    moments[~np.isfinite(moments[..., 2])] = np.nan
    sketches = [b""] * len(p)
    slice_index = s + slices.start
    with_sketch = np.flatnonzero((slice_index == 0) | np.array([bool(pane.slice_sketches) for pane in panes])[p])
    for row in with_sketch.tolist():
        sketches[row] = _sketch(panes[p[row]], int(slice_index[row]), int(f[row]))
    record_seq = np.stack([pane.record_seq[chosen_slices, 1:] for pane in panes])
    return {
        **common_columns(series, partials_partition, len(p)),
        "slice": dictionary_column(slice_index, layout.slices),
        "field": dictionary_column(f, [field.name for field in layout.fields]),
        "pane_start": np.array([pane.start_s for pane in panes], dtype=np.int64)[p],
        "pane_s": np.full(len(p), pane_s, dtype=np.int64),
        "n": n[p, s, f],
        **{column.key: values[p, s, f] for column, values in columns.items()},
        "counts": ragged(np.ascontiguousarray(chosen_cells), offsets),
        "shift_sum": moments[p, s, f, 0],
        "shift_square_sum": moments[p, s, f, 1],
        "minimum": moments[p, s, f, 2],
        "maximum": moments[p, s, f, 3],
        "sketch": pa.array(sketches, pa.binary()),
        "sealed": sealed[p],
        "record_seq": np.maximum(record_seq[p, s, f], 0),
    }


def _sketch(pane: Pane, slice_index: int, field_index: int) -> bytes:
    if slice_index == 0:
        return pane.sketches[field_index]
    slice_sketch = pane.slice_sketches.get((slice_index, field_index))
    return b"" if slice_sketch is None else slice_sketch.sketch


def category_columns(series: Series, sketches: Iterable[UnseenSketch], pane_s: int) -> Columns | None:
    """Return rows of `new_categories`: the most frequent values of each hour and field that training did not have.

    Args:
        sketches: one per hour and field.

    Returns:
        None if there is no such value.
    """
    values: list[FrequentValue] = []
    sources: list[UnseenSketch] = []
    for entry in sketches:
        sketch = series.codec.open(entry.field_index, entry.sketch)
        assert isinstance(sketch, UnseenCategories)
        surest = sketch.surest(MAX_NAMED_CATEGORIES)
        values += surest
        sources += [entry] * len(surest)
    if not values:
        return None
    fields = np.array([entry.field_index for entry in sources])
    return {
        **series.columns(len(values)),
        "field": dictionary_column(fields, [field.name for field in series.layout.fields]),
        "category": pa.array([value.value for value in values], pa.string()),
        "pane_start": np.array([entry.start_s for entry in sources], dtype=np.int64),
        "pane_s": np.full(len(values), pane_s, dtype=np.int64),
        "n_low": np.array([value.lower for value in values], dtype=np.int64),
        "n_high": np.array([value.upper for value in values], dtype=np.int64),
        "record_seq": np.maximum(np.array([entry.record_seq for entry in sources], dtype=np.int64), 0),
    }


def volume_columns(series: Series, panes: list[Pane], partials_partition: int, sealed: NDArray[np.bool_]) -> Columns:
    """Return rows of `volume`: one per pane and slice with events; the slice `all` has a row in any case.

    Args:
        sealed: which of them are sealed, shape (len(panes),).
    """
    layout = series.layout
    counts = np.stack([pane.counts[:, :HEADER] for pane in panes], dtype=np.int64)
    chosen = counts[:, :, EVENTS] > 0
    chosen[:, 0] = True
    p, s = np.nonzero(chosen)
    late = np.stack([pane.late for pane in panes])
    record_seq = np.stack([pane.record_seq[:, 0] for pane in panes])
    return {
        **common_columns(series, partials_partition, len(p)),
        "slice": dictionary_column(s, layout.slices),
        "pane_start": np.array([pane.start_s for pane in panes], dtype=np.int64)[p],
        "pane_s": np.full(len(p), series.contract.pane_s, dtype=np.int64),
        "n": counts[p, s, EVENTS],
        "errors": counts[p, s, ERRORS],
        "timed": counts[p, s, TIMED],
        "slow": counts[p, s, SLOW],
        "late": late[p, s],
        "sealed": sealed[p],
        "unregistered": np.full(len(p), series.unregistered),
        "record_seq": np.maximum(record_seq[p, s], 0),
    }


def silent_columns(series: Series, starts_s: list[int], partials_partition: int, record_seq: int) -> Columns:
    """Return rows of `volume` of panes without events that a progress record sealed: silence is a result."""
    n = len(starts_s)
    zeros = np.zeros(n, dtype=np.int64)
    return {
        **common_columns(series, partials_partition, n),
        "slice": dictionary_column(zeros, series.layout.slices[:1]),
        "pane_start": np.array(starts_s, dtype=np.int64),
        "pane_s": np.full(n, series.contract.pane_s, dtype=np.int64),
        **dict.fromkeys(("n", "errors", "timed", "slow", "late"), zeros),
        "sealed": np.ones(n, dtype=bool),
        "unregistered": np.zeros(n, dtype=bool),
        "record_seq": np.full(n, record_seq, dtype=np.int64),
    }


def common_columns(series: Series, partials_partition: int, n: int) -> Columns:
    """Return the columns that identify the series of n rows, and the partition that they come from."""
    return {"partials_partition": np.full(n, partials_partition, dtype=np.int64), **series.columns(n)}
