"""Rows of errors, producers, their heartbeats and dead letters, each of one record: a redelivery replaces them."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from barograph.contract import Contract, Field

from barograph_server.sketches.baseline.baseline import FieldBaseline
from barograph_server.sketches.baseline.columns import FieldColumn
from barograph_server.streams.monitor.rows.pane_rows import PANES_PER_INSERT, common_columns, pane_pages, volume_columns
from barograph_server.streams.monitor.state.commit_rows import Columns, Row, TableColumns, TallyTable
from barograph_server.streams.monitor.state.model import ModelState
from barograph_server.streams.monitor.state.offset_ledger import END_OF_TIME_MS, Loss, OffsetLedger
from barograph_server.streams.monitor.state.pane import Pane
from barograph_server.streams.monitor.state.series import Series
from barograph_server.streams.records import Tally
from barograph_server.warehouse.tables import dictionary_column

_ERRORS = ("model", "version", "baseline_id", "slice", "kind", "pane_start", "pane_s", "n", "record_seq")
_PRODUCERS = ("model", "producer", "pane_start", "pane_s", "n", "first_seq", "last_seq", "record_seq")
_HEARTBEATS = ("model", "producer", "since", "at", "last_seq", "queued", "ended", "discarded", "record_seq")
_DEAD = ("topic", "model", "reason", "hour", "n", "record_seq")


def tally_rows(tallies: Sequence[tuple[Tally, int]], partials_partition: int) -> Iterator[TableColumns]:
    """Yield the rows of tallies, each with the `record_seq` of its record, as columns per table."""
    errors = [
        (tally.model, e.version, e.baseline_id, e.slice, e.kind, e.pane_start_s, tally.pane_s, e.n, record_seq)
        for tally, record_seq in tallies
        for e in tally.errors
    ]
    producers = [
        (tally.model, p.producer, p.pane_start_s, tally.pane_s, p.n, p.first_seq, p.last_seq, record_seq)
        for tally, record_seq in tallies
        for p in tally.producers
    ]
    heartbeats = [
        (tally.model, h.producer, h.since_s, h.at_s, h.last_seq, h.queued, h.ended, h.discarded, record_seq)
        for tally, record_seq in tallies
        for h in tally.heartbeats
    ]
    dead = [
        (tally.topic, tally.model, d.reason, d.hour_s, d.n, record_seq)
        for tally, record_seq in tallies
        for d in tally.dead
    ]
    tables: tuple[tuple[TallyTable, Sequence[str], Sequence[tuple[object, ...]]], ...] = (
        ("errors", _ERRORS, errors),
        ("producers", _PRODUCERS, producers),
        ("heartbeats", _HEARTBEATS, heartbeats),
        ("dead_letter_counts", _DEAD, dead),
    )
    for table, names, rows in tables:
        if rows:
            columns: Columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
            yield table, {"partials_partition": [partials_partition] * len(rows), **columns}


def changed_panes(
    series: Series, dirty: list[Pane], sealed_until_s: int, partials_partition: int
) -> Iterator[TableColumns]:
    """Yield the rows of `panes`, `volume` and `violations` of changed panes.

    Args:
        dirty: the panes that changed, in order.
        sealed_until_s: panes that end by then are sealed.
    """
    pane_s = series.contract.pane_s
    sealed = np.array([pane.sealed or pane.start_s + pane_s <= sealed_until_s for pane in dirty], dtype=bool)
    for page in pane_pages(series, dirty, partials_partition, pane_s, sealed):
        yield "panes", page
    for first in range(0, len(dirty), PANES_PER_INSERT):
        chosen = slice(first, first + PANES_PER_INSERT)
        yield "volume", volume_columns(series, dirty[chosen], partials_partition, sealed[chosen])
        violations = violation_columns(series, dirty[chosen], partials_partition)
        if violations is not None:
            yield "violations", violations


CLASS = "class"
"""Source of the field whose values `label.classes` lists."""


def violation_columns(series: Series, panes: list[Pane], partials_partition: int) -> Columns | None:
    """Return rows of `violations`: one per pane, field and kind with violations; None if there are none."""
    layout, contract = series.layout, series.contract
    declared = {field.name: field for field in contract.fields}
    violations = [
        (i, kind, columns)
        for i, field in enumerate(layout.fields)
        if field.name in declared
        for kind, columns in _counted_columns(contract, declared[field.name], field, int(layout.starts[i]))
    ]
    if not violations:
        return None
    counts = np.stack([pane.counts[0] for pane in panes], dtype=np.int64)
    n = np.stack([counts[:, columns].sum(axis=1) for _, _, columns in violations], axis=1)
    p, c = np.nonzero(n)
    if not len(p):
        return None
    field_of = np.array([i for i, _, _ in violations])
    f = field_of[c]
    # All values of the field: its cells and `invalid`, the column after them.
    ends = np.cumsum(np.concatenate((np.zeros((len(panes), 1), dtype=np.int64), counts), axis=1), axis=1)
    total = ends[p, layout.columns(FieldColumn.INVALID)[f] + 1] - ends[p, layout.starts[f]]
    record_seq = np.stack([pane.record_seq[0, 1:] for pane in panes])
    policies = [declared[field.name].policy if field.name in declared else "" for field in layout.fields]
    return {
        **common_columns(series, partials_partition, len(p)),
        "field": dictionary_column(f, [field.name for field in layout.fields]),
        "kind": dictionary_column(c, [kind for _, kind, _ in violations]),
        "pane_start": np.array([pane.start_s for pane in panes], dtype=np.int64)[p],
        "pane_s": np.full(len(p), contract.pane_s, dtype=np.int64),
        "n": n[p, c],
        "total": total,
        "policy": pa.array(policies, pa.string()).take(pa.array(f)),
        "record_seq": np.maximum(record_seq[p, f], 0),
    }


def _counted_columns(
    contract: Contract, field: Field, trained: FieldBaseline, start: int
) -> list[tuple[str, list[int]]]:
    """Return the kinds of violation that the contract defines for a field, each with the columns that count it."""
    null, invalid, below, above = (
        start + trained.n_cells + column
        for column in (FieldColumn.NULL, FieldColumn.INVALID, FieldColumn.BELOW, FieldColumn.ABOVE)
    )
    columns = [("invalid", [invalid])]
    if field.nulls == "refuse":
        columns.append(("null", [null]))
    if field.low is not None:
        columns.append(("below", [below]))
    if field.high is not None:
        columns.append(("above", [above]))
    classes = set(contract.label.classes) if contract.label is not None else set()
    if field.source == CLASS and trained.kind == "category" and classes and classes <= set(trained.categories):
        # Every class has a cell of its own, so `unseen` and all other cells count values that are no class.
        others = [start + i for i, category in enumerate(trained.categories) if category not in classes]
        columns.append(("unseen", [*others, start + len(trained.categories)]))
    return columns


def ledger_rows(ledger: OffsetLedger, partials_partition: int, partials_topic_id: str, epoch: int) -> list[Row]:
    """Return the rows of `offset_ledger` that changed since the last commit."""
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


def loss_rows(losses: list[Loss], partials_partition: int, now_ms: int) -> list[Row]:
    """Return rows of `losses`, recorded at `now_ms`."""
    return [
        {
            "partials_partition": partials_partition,
            "source_partition": loss.source_partition,
            "start_offset": loss.start,
            "end_offset": loss.end,
            "from_time": loss.from_ms,
            "to_time": min(loss.to_ms, END_OF_TIME_MS),
            "reason": loss.reason,
            "recorded_at": now_ms,
            "record_seq": loss.record_seq,
        }
        for loss in losses
    ]


def progress_rows(
    state: ModelState, ledger: OffsetLedger, partials_partition: int, record_seq: int, now_ms: int
) -> list[Row]:
    """Return the row of `progress` of a model; none before its first seal.

    Args:
        ledger: has the model's watermark.
        record_seq: of the progress record that triggers the commit.
    """
    contract = state.contract
    watermark_ms = ledger.watermark_ms(contract.model, contract.out_of_order_s * 1000)
    if watermark_ms is None or state.sealed_until_s is None:
        return []
    return [
        {
            "partials_partition": partials_partition,
            "model": contract.model,
            "watermark": max(0, min(watermark_ms, END_OF_TIME_MS)),
            "sealed_until": state.sealed_until_s * 1000,
            "updated_at": now_ms,
            "record_seq": record_seq,
        }
    ]
