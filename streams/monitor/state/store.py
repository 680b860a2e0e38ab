"""What the monitor loads from ClickHouse and writes to it, in the order that makes a crash anywhere harmless."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from streams.monitor.rows.pane_rows import MAX_MS
from streams.monitor.state.offset_ledger import ENDED_MS, LedgerEntry, Loss, OffsetLedger
from warehouse import queries
from warehouse.client import Client
from warehouse.tables import insert_columns, insert_rows

Columns = dict[str, Any]
ROWS_AT_ONCE = 250_000
"""Rows of panes that are read at once: some hundred megabytes, with what they become."""
BY_COLUMN = (
    "drift",
    "rates",
    "distances",
    "comparisons",
    "volume",
    "violations",
    "panes",
    "rollups",
    "new_categories",
    "errors",
    "producers",
    "dead_letter_counts",
)
"""The tables that are written in columns, in the order of writing."""


@dataclass
class Writes:
    """One commit's rows, in the order in which they are written."""

    drift: list[Columns] = field(default_factory=list)
    rates: list[Columns] = field(default_factory=list)
    distances: list[Columns] = field(default_factory=list)
    comparisons: list[Columns] = field(default_factory=list)
    volume: list[Columns] = field(default_factory=list)
    violations: list[Columns] = field(default_factory=list)
    panes: list[Callable[[], Columns]] = field(default_factory=list)
    """Made when they are written: those of a wide model are large, and many may be due at once."""
    rollups: list[Callable[[], Columns]] = field(default_factory=list)
    new_categories: list[Columns] = field(default_factory=list)
    errors: list[Columns] = field(default_factory=list)
    producers: list[Columns] = field(default_factory=list)
    dead_letter_counts: list[Columns] = field(default_factory=list)
    losses: list[dict[str, Any]] = field(default_factory=list)
    offset_ledger: list[dict[str, Any]] = field(default_factory=list)
    progress: list[dict[str, Any]] = field(default_factory=list)

    def columns(self, table: str) -> Iterator[Columns]:
        """The rows of a table that is written in columns, some at a time."""
        for some in getattr(self, table):
            yield some() if callable(some) else some


@dataclass(frozen=True, slots=True)
class SeriesPanes:
    """Rows of `panes` of one series, as the engine gave them."""

    version: str
    baseline_id: str
    table: pa.Table


class Store(Protocol):
    """Where the monitor's state lives between its processes."""

    rows_at_once: int
    """Rows of panes that are read at once; more only where one pane has more."""

    def load_ledger(self, partials_partition: int, partials_topic_id: str) -> tuple[OffsetLedger, int]:
        """The offset ledger and the epoch of the present `partials` topic."""

    def ranges(self, table: queries.PaneTable, model: str, start_s: int, end_s: int) -> list[tuple[int, int]]:
        """Parts of [start, end), without gaps, each of which can be loaded at once."""

    def load_panes(self, model: str, start_s: int, end_s: int) -> list[SeriesPanes]:
        """Panes that start in [start, end), per series."""

    def load_hours(self, model: str, start_s: int, end_s: int) -> list[SeriesPanes]:
        """Hourly roll-ups that start in [start, end), per series."""

    def load_volume(self, model: str, start_s: int, end_s: int) -> pa.Table:
        """Volume rows of panes that start in [start, end)."""

    def sealed_until_s(self, model: str) -> int | None:
        """Up to where panes are sealed and everything that follows from it was written; None where none is."""

    def first_panes_s(self, model: str) -> dict[tuple[str, str], int | None]:
        """Start of the first pane with events that were not late, by (version, baseline); None where all were late."""

    def write(self, writes: Writes) -> None:
        """Write a commit; raises WarehouseBusy where the same is to be tried again."""


class WarehouseStore:
    """The store in ClickHouse.

    Args:
        client: where it is.
        rows_at_once: rows of panes or hours that are read at once; more only where one pane has more.
    """

    def __init__(self, client: Client, rows_at_once: int = ROWS_AT_ONCE) -> None:
        self._client, self.rows_at_once = client, rows_at_once

    def load_ledger(self, partials_partition: int, partials_topic_id: str) -> tuple[OffsetLedger, int]:
        queries.sync_replicas(self._client, "offset_ledger", "panes", "rollups", "volume", "losses", "progress")
        ledger, epoch, newest_epoch = OffsetLedger(), None, -1
        for row in queries.offset_ledger(self._client, partials_partition):
            newest_epoch = max(newest_epoch, row.epoch)
            if row.partials_topic_id == partials_topic_id:
                epoch = row.epoch
            ledger.rows[row.source_partition] = LedgerEntry(
                row.source_topic_id, row.end_offset, dict(row.watermarks), _ms(row.last_event_at), row.record_seq, False
            )
            ledger.partitions = max(ledger.partitions, row.partitions)
            ledger.counted_ms = max(ledger.counted_ms, _ms(row.counted_at))
        for loss in queries.losses(self._client, partials_partition):
            to_ms = _ms(loss.to_time)
            ledger.losses.append(
                Loss(
                    loss.source_partition,
                    loss.start_offset,
                    loss.end_offset,
                    _ms(loss.from_time),
                    ENDED_MS if to_ms >= MAX_MS else to_ms,
                    loss.reason,
                    loss.record_seq,
                )
            )
        return ledger, newest_epoch + 1 if epoch is None else epoch

    def ranges(self, table: queries.PaneTable, model: str, start_s: int, end_s: int) -> list[tuple[int, int]]:
        start_s, end_s = max(0, start_s), min(end_s, queries.END_OF_TIME_S)
        found, begin, rows = [], start_s, 0
        for at, more in queries.rows_by_start(self._client, table, model, start_s, end_s):
            if rows and rows + more > self.rows_at_once:
                found.append((begin, at))
                begin, rows = at, 0
            rows += more
        return [*found, (begin, end_s)]

    def load_panes(self, model: str, start_s: int, end_s: int) -> list[SeriesPanes]:
        table = queries.panes(self._client, model, max(0, start_s), min(end_s, queries.END_OF_TIME_S))
        return list(_by_series(table))

    def load_hours(self, model: str, start_s: int, end_s: int) -> list[SeriesPanes]:
        return list(_by_series(queries.rollups(self._client, model, start_s, end_s)))

    def load_volume(self, model: str, start_s: int, end_s: int) -> pa.Table:
        return queries.volume(self._client, model, max(0, start_s), min(end_s, queries.END_OF_TIME_S))

    def sealed_until_s(self, model: str) -> int | None:
        # `progress` is written last: after a crash in the middle of a commit all of it is done again.
        found = self._client.rows(
            "SELECT sealed_until FROM progress FINAL WHERE model = {model:String}", {"model": model}
        )
        return max((_ms(sealed_until) // 1000 for (sealed_until,) in found), default=None)

    def first_panes_s(self, model: str) -> dict[tuple[str, str], int | None]:
        found = self._client.rows(
            "SELECT version, baseline_id, countIf(n > late) > 0, minIf(toUnixTimestamp(pane_start), n > late) "
            "FROM volume FINAL WHERE model = {model:String} AND slice = 'all' AND n > 0 GROUP BY version, baseline_id",
            {"model": model},
        )
        return {
            (str(version), str(baseline)): int(first) if known else None for version, baseline, known, first in found
        }

    def write(self, writes: Writes) -> None:
        client = self._client
        # Volume before panes: whoever loads between the two must not find more values in a pane than events. Violations
        # too: a pane that is written is not dirty after a crash, and what follows from it would not be written again.
        for table in BY_COLUMN:
            for columns in writes.columns(table):
                insert_columns(client, table, columns)
        for table in ("losses", "offset_ledger", "progress"):
            insert_rows(client, table, getattr(writes, table))


def _by_series(table: pa.Table) -> Iterator[SeriesPanes]:
    if not table.num_rows:
        return
    keys = ["version", "baseline_id"]
    pairs = table.group_by(keys).aggregate([]).select(keys)
    for version, baseline_id in sorted(zip(*(column.to_pylist() for column in pairs.columns), strict=True)):
        some = table
        # Most models have one series, and of a wide one a copy is large.
        if pairs.num_rows > 1:
            mask = pc.and_(pc.equal(table.column(keys[0]), version), pc.equal(table.column(keys[1]), baseline_id))
            some = table.filter(mask)
        yield SeriesPanes(version, baseline_id, some)


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
