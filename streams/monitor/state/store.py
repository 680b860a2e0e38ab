"""Loads the monitor's state from ClickHouse and writes commits in an order that makes a crash at any point harmless."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from barograph_server.streams.monitor.state.commit_rows import COLUMN_TABLES, ROW_TABLES, CommitRows
from barograph_server.streams.monitor.state.offset_ledger import (
    END_OF_TIME_MS,
    ENDED_MS,
    LedgerEntry,
    Loss,
    OffsetLedger,
)
from barograph_server.warehouse import queries
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.history import counted_panes
from barograph_server.warehouse.tables import insert_columns, insert_rows

ROWS_PER_LOAD = 250_000
"""Rows of panes that are loaded at once: a few hundred megabytes, with the panes that are built from them."""


@dataclass(frozen=True, slots=True)
class SeriesPanes:
    """Rows of `panes` or `rollups` of one series, as ClickHouse returned them."""

    version: str
    baseline_id: str
    table: pa.Table


class Store(Protocol):
    """Where the monitor's state lives between processes."""

    rows_per_load: int
    """Rows of panes or hours that are loaded at once; more only if a single pane has more."""

    def load_ledger(self, partials_partition: int, partials_topic_id: str) -> tuple[OffsetLedger, int]:
        """Load the offset ledger and the epoch of the current `partials` topic."""

    def load_ranges(self, table: queries.PaneTable, model: str, start_s: int, end_s: int) -> list[tuple[int, int]]:
        """Cut [start, end) into ranges without gaps, each small enough to be loaded at once."""

    def load_panes(self, model: str, start_s: int, end_s: int) -> list[SeriesPanes]:
        """Load the panes that start in [start, end), per series."""

    def load_hours(self, model: str, start_s: int, end_s: int) -> list[SeriesPanes]:
        """Load the hourly rollups that start in [start, end), per series."""

    def load_volume(self, model: str, start_s: int, end_s: int) -> pa.Table:
        """Load the volume rows of panes that start in [start, end)."""

    def sealed_until_s(self, model: str) -> int | None:
        """Load the time until which panes are sealed and all that follows from it is written; None if there is none."""

    def first_panes_s(self, model: str) -> dict[tuple[str, str], int | None]:
        """Load the start of the first pane with an event in time, by (version, baseline id); None if all were late."""

    def last_pane_s(self, model: str) -> int | None:
        """Load the start of the last pane with an event; None if there is none."""

    def write(self, commit: CommitRows) -> None:
        """Write a commit."""


class WarehouseStore:
    """The store in ClickHouse.

    Args:
        rows_per_load: rows of panes or hours that are loaded at once; more only if a single pane has more.
        on_work: called after each insert.
    """

    def __init__(
        self, client: Client, rows_per_load: int = ROWS_PER_LOAD, *, on_work: Callable[[], None] = lambda: None
    ) -> None:
        self._client, self.rows_per_load, self._on_work = client, rows_per_load, on_work

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
                    ENDED_MS if to_ms >= END_OF_TIME_MS else to_ms,
                    loss.reason,
                    loss.record_seq,
                )
            )
        return ledger, newest_epoch + 1 if epoch is None else epoch

    def load_ranges(self, table: queries.PaneTable, model: str, start_s: int, end_s: int) -> list[tuple[int, int]]:
        start_s, end_s = max(0, start_s), min(end_s, queries.END_OF_TIME_S)
        ranges, begin_s, rows = [], start_s, 0
        for at_s, rows_of_pane in queries.rows_by_start(self._client, table, model, start_s, end_s):
            if rows and rows + rows_of_pane > self.rows_per_load:
                ranges.append((begin_s, at_s))
                begin_s, rows = at_s, 0
            rows += rows_of_pane
        return [*ranges, (begin_s, end_s)]

    def load_panes(self, model: str, start_s: int, end_s: int) -> list[SeriesPanes]:
        table = queries.panes(self._client, model, max(0, start_s), min(end_s, queries.END_OF_TIME_S))
        return list(_split_by_series(table))

    def load_hours(self, model: str, start_s: int, end_s: int) -> list[SeriesPanes]:
        return list(_split_by_series(queries.rollups(self._client, model, start_s, end_s)))

    def load_volume(self, model: str, start_s: int, end_s: int) -> pa.Table:
        return queries.volume(self._client, model, max(0, start_s), min(end_s, queries.END_OF_TIME_S))

    def sealed_until_s(self, model: str) -> int | None:
        return counted_panes.sealed_until_s(self._client, model)

    def first_panes_s(self, model: str) -> dict[tuple[str, str], int | None]:
        return counted_panes.first_panes_s(self._client, model)

    def last_pane_s(self, model: str) -> int | None:
        return counted_panes.last_pane_s(self._client, model)

    def write(self, commit: CommitRows) -> None:
        for table in COLUMN_TABLES:
            for columns in commit.columns(table):
                insert_columns(self._client, table, columns)
                self._on_work()
        for row_table in ROW_TABLES:
            insert_rows(self._client, row_table, commit.rows(row_table))


def _split_by_series(table: pa.Table) -> Iterator[SeriesPanes]:
    if not table.num_rows:
        return
    keys = ["version", "baseline_id"]
    # One thread: waking the others takes longer than grouping the few rows of most queries.
    pairs = table.group_by(keys, use_threads=False).aggregate([]).select(keys)
    for version, baseline_id in sorted(zip(*(column.to_pylist() for column in pairs.columns), strict=True)):
        rows = table
        # Most models have one series; of a wide model a copy would be large.
        if pairs.num_rows > 1:
            mask = pc.and_(pc.equal(table.column(keys[0]), version), pc.equal(table.column(keys[1]), baseline_id))
            rows = table.filter(mask)
        yield SeriesPanes(version, baseline_id, rows)


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
