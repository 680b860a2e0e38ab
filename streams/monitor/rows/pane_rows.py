"""The monitor's state → columns of `panes`, `rollups`, `new_categories`, `volume`, `offset_ledger`, `losses`, `progress`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sketches.baseline.columns import FieldColumn
from sketches.baseline.layout import ERRORS, EVENTS, HEADER, SLOW, TIMED
from sketches.sketch.categorical import FrequentValue, UnseenCategories
from streams.monitor.state.offset_ledger import Loss, OffsetLedger
from streams.monitor.state.series import Pane, Series
from warehouse.dictionary_columns import constant_column, dictionary_column
from warehouse.tables import ragged

Columns = dict[str, Any]

PANES_PER_INSERT = 256
"""Panes whose rows go into one insert: bounds the arrays of a replay."""
COUNTS_PER_INSERT = 500_000
"""… and no more of them, or of the slices of one, than hold so many counts."""


def pane_pages(
    series: Series, panes: list[Pane], partials_partition: int, pane_s: int, sealed: NDArray[np.bool_]
) -> Iterator[Callable[[], Columns]]:
    """Rows of `panes` (or of `rollups`), some at a time, made when they are asked for: those of a wide model are large.

    Takes the arguments of `pane_columns`.
    """
    n_slices, width = series.layout.n_slices, series.layout.width
    at_once = max(1, min(PANES_PER_INSERT, COUNTS_PER_INSERT // (n_slices * width)))
    slices_at_once = max(1, COUNTS_PER_INSERT // width)
    pages = [range(i, min(i + slices_at_once, n_slices)) for i in range(0, n_slices, slices_at_once)]
    for first in range(0, len(panes), at_once):
        some = slice(first, first + at_once)
        for slices in pages:
            yield partial(pane_columns, series, panes[some], partials_partition, pane_s, sealed[some], slices)


def pane_columns(
    series: Series,
    panes: list[Pane],
    partials_partition: int,
    pane_s: int,
    sealed: NDArray[np.bool_],
    slices: range | None = None,
) -> Columns:
    """Rows of `panes` (or of `rollups`): one per pane, slice and field in which anything was seen.

    The slice `all` has its rows always, so that a pane that is held is found again.

    Args:
        series: whose panes they are.
        panes: some of them.
        partials_partition: where their parts came from.
        pane_s: how long each is.
        sealed: which are, shape (len(panes),).
        slices: consecutive ones that are told; None: all.
    """
    layout = series.layout
    slices = range(layout.n_slices) if slices is None else slices
    only = slice(slices.start, slices.stop)
    n_slices, n_fields = len(slices), layout.n_fields
    counts = np.stack([pane.counts[only] for pane in panes], dtype=np.int64)
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
    kept = cells[np.repeat(chosen, n_cells, axis=2)]
    offsets = np.concatenate(([0], np.cumsum(n_cells[f])))
    # Moments are kept of the slice `all` and of those that the contract names, and only where there was a number;
    # elsewhere they are no zeros.
    moments = np.full((len(panes), n_slices, n_fields, 4), np.nan)
    if slices.start == 0:
        moments[:, 0] = np.stack([pane.moments for pane in panes])
    for i, pane in enumerate(panes):
        for (j, k), of_slice in pane.kept.items():
            if j in slices:
                moments[i, j - slices.start, k] = of_slice.moments
    moments[~np.isfinite(moments[..., 2])] = np.nan
    sketches = [b""] * len(p)
    # Other slices than `all` have sketches only in panes that keep some.
    told = s + slices.start
    with_sketch = np.flatnonzero((told == 0) | np.array([bool(pane.kept) for pane in panes])[p])
    for row in with_sketch.tolist():
        sketches[row] = _sketch(panes[p[row]], int(told[row]), int(f[row]))
    record_seq = np.stack([pane.record_seq[only, 1:] for pane in panes])
    return {
        **common_columns(series, partials_partition, len(p)),
        "slice": dictionary_column(told, layout.slices),
        "field": dictionary_column(f, [field.name for field in layout.fields]),
        "pane_start": np.array([pane.start_s for pane in panes], dtype=np.int64)[p],
        "pane_s": np.full(len(p), pane_s, dtype=np.int64),
        "n": n[p, s, f],
        **{column.key: values[p, s, f] for column, values in columns.items()},
        "counts": ragged(np.ascontiguousarray(kept), offsets),
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
    kept = pane.kept.get((slice_index, field_index))
    return b"" if kept is None else kept.sketch


TOP_CATEGORIES = 50
"""Values named per field and hour."""


def category_columns(series: Series, hours: Iterable[tuple[int, int, int, bytes]], pane_s: int) -> Columns | None:
    """Rows of `new_categories`: of each hour and field the values that training did not hold.

    Args:
        series: whose hours they are.
        hours: start, field, `record_seq` and sketch of each.
        pane_s: how long each is.
    """
    starts: list[int] = []
    fields: list[int] = []
    positions: list[int] = []
    found: list[FrequentValue] = []
    for start_s, field_index, record_seq, data in hours:
        sketch = series.open_sketch(field_index, data)
        assert isinstance(sketch, UnseenCategories)
        surest = sketch.surest(TOP_CATEGORIES)
        found += surest
        starts += [start_s] * len(surest)
        fields += [field_index] * len(surest)
        positions += [record_seq] * len(surest)
    if not found:
        return None
    columns = common_columns(series, 0, len(found))
    del columns["partials_partition"]
    return {
        **columns,
        "field": dictionary_column(np.array(fields), [field.name for field in series.layout.fields]),
        "category": pa.array([each.value for each in found], pa.string()),
        "pane_start": np.array(starts, dtype=np.int64),
        "pane_s": np.full(len(found), pane_s, dtype=np.int64),
        "n_low": np.array([each.lower for each in found], dtype=np.int64),
        "n_high": np.array([each.upper for each in found], dtype=np.int64),
        "record_seq": np.maximum(np.array(positions, dtype=np.int64), 0),
    }


def volume_columns(series: Series, panes: list[Pane], partials_partition: int, sealed: NDArray[np.bool_]) -> Columns:
    """Rows of `volume`: one per pane and slice with events; the slice `all` always."""
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
    """Rows of `volume` of sealed panes in which nothing came: silence is a result."""
    n = len(starts_s)
    zeros = np.zeros(n, dtype=np.int64)
    return {
        **common_columns(series, partials_partition, n),
        "slice": dictionary_column(zeros, series.layout.slices[:1]),
        "pane_start": np.array(starts_s, dtype=np.int64),
        "pane_s": np.full(n, series.contract.pane_s, dtype=np.int64),
        "n": zeros,
        "errors": zeros,
        "timed": zeros,
        "slow": zeros,
        "late": zeros,
        "sealed": np.ones(n, dtype=bool),
        "unregistered": np.zeros(n, dtype=bool),
        "record_seq": np.full(n, record_seq, dtype=np.int64),
    }


def ledger_rows(
    ledger: OffsetLedger, partials_partition: int, partials_topic_id: str, epoch: int
) -> list[dict[str, Any]]:
    """Rows of `offset_ledger` that changed."""
    return [
        {
            "partials_partition": partials_partition,
            "source_partition": partition,
            "end_offset": row.end,
            "watermarks": list(row.watermarks.items()),
            "last_event_at": row.last_event_ms,
            "partitions": ledger.partitions,
            "counted_at": ledger.counted_ms,
            "source_topic_id": row.source_topic_id,
            "partials_topic_id": partials_topic_id,
            "epoch": epoch,
            "record_seq": max(row.record_seq, 0),
        }
        for partition, row in sorted(ledger.rows.items())
        if row.dirty
    ]


MAX_MS = 4_102_444_800_000
"""2100: what stands in a table for `from now on` and for the end of a replay."""


def loss_rows(losses: list[Loss], partials_partition: int, now_ms: int) -> list[dict[str, Any]]:
    """Rows of `losses`."""
    return [
        {
            "partials_partition": partials_partition,
            "source_partition": loss.source_partition,
            "start_offset": loss.start,
            "end_offset": loss.end,
            "from_time": loss.from_ms,
            "to_time": min(loss.to_ms, MAX_MS),
            "reason": loss.reason,
            "recorded_at": now_ms,
            "record_seq": loss.record_seq,
        }
        for loss in losses
    ]


def common_columns(series: Series, partials_partition: int, n: int) -> Columns:
    """The columns that say which series n rows are of."""
    return {
        "partials_partition": np.full(n, partials_partition, dtype=np.int64),
        "model": constant_column(series.contract.model, n),
        "version": constant_column(series.version, n),
        "baseline_id": constant_column(series.baseline_id, n),
    }
