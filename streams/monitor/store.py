"""What the monitor loads from ClickHouse and writes to it, in the order that makes a crash anywhere harmless."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from sketches.layout import HEADER
from streams.monitor.chain import ENDED_MS, Chain, ChainRow, Loss
from streams.monitor.rows import MAX_MS
from streams.monitor.series import KeptBytes, Pane, Series
from warehouse import queries
from warehouse.client import Client
from warehouse.tables import insert_columns, insert_rows

Columns = dict[str, Any]
FAR_S = 4_102_444_800
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
    "dead_counts",
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
    rollups: list[Columns] = field(default_factory=list)
    new_categories: list[Columns] = field(default_factory=list)
    errors: list[Columns] = field(default_factory=list)
    producers: list[Columns] = field(default_factory=list)
    dead_counts: list[Columns] = field(default_factory=list)
    losses: list[dict[str, Any]] = field(default_factory=list)
    chain: list[dict[str, Any]] = field(default_factory=list)
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

    def load_chain(self, parts_partition: int, parts_topic_id: str) -> tuple[Chain, int]:
        """The chain and the epoch of the present `parts` topic."""

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
    """The store in ClickHouse."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def load_chain(self, parts_partition: int, parts_topic_id: str) -> tuple[Chain, int]:
        queries.sync_replicas(self._client, "chain", "panes", "rollups", "volume", "losses", "progress")
        chain, epoch, newest_epoch = Chain(), None, -1
        for row in queries.chain(self._client, parts_partition):
            newest_epoch = max(newest_epoch, row.epoch)
            if row.parts_topic_id == parts_topic_id:
                epoch = row.epoch
            chain.rows[row.source_partition] = ChainRow(
                row.source_topic_id, row.end_offset, dict(row.watermarks), _ms(row.last_event_at), row.pos, False
            )
            chain.partitions = max(chain.partitions, row.partitions)
            chain.counted_ms = max(chain.counted_ms, _ms(row.counted_at))
        for loss in queries.losses(self._client, parts_partition):
            to_ms = _ms(loss.to_time)
            chain.losses.append(
                Loss(
                    loss.source_partition,
                    loss.start_offset,
                    loss.end_offset,
                    _ms(loss.from_time),
                    ENDED_MS if to_ms >= MAX_MS else to_ms,
                    loss.reason,
                    loss.pos,
                )
            )
        return chain, newest_epoch + 1 if epoch is None else epoch

    def load_panes(self, model: str, start_s: int, end_s: int) -> list[SeriesPanes]:
        table = queries.panes(self._client, model, max(0, start_s), min(end_s, FAR_S))
        return list(_by_series(table))

    def load_hours(self, model: str, start_s: int, end_s: int) -> list[SeriesPanes]:
        return list(_by_series(queries.rollups(self._client, model, start_s, end_s)))

    def load_volume(self, model: str, start_s: int, end_s: int) -> pa.Table:
        return queries.volume(self._client, model, max(0, start_s), min(end_s, FAR_S))

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
        for table in ("losses", "chain", "progress"):
            insert_rows(client, table, getattr(writes, table))


def restore_panes(series: Series, table: pa.Table, into: dict[int, Pane]) -> None:
    """Build panes from rows of `panes`; panes that are already held stay as they are."""
    layout = series.layout
    slice_index = {name: i for i, name in enumerate(layout.slices)}
    columns = {name: table.column(name).to_pylist() for name in ("slice", "field", "sketch", "sealed")}
    starts = table.column("pane_start").to_numpy().astype(np.int64).tolist()
    numbers = {
        name: table.column(name).to_numpy()
        for name in ("invalid", "below", "above", "shift_sum", "shift_square_sum", "minimum", "maximum", "n", "nulls")
    }
    pos = table.column("pos").to_numpy().astype(np.int64)
    counts = table.column("counts").combine_chunks()
    values = counts.values.to_numpy()
    offsets = counts.offsets.to_numpy()
    built: dict[int, Pane] = {}
    for i, start_s in enumerate(starts):
        if start_s in into:
            continue
        s, f = slice_index.get(columns["slice"][i]), layout.field_index.get(columns["field"][i])
        if s is None or f is None:
            continue
        pane = built.get(start_s)
        if pane is None:
            pane = built[start_s] = series.empty_pane(start_s)
            pane.dirty = False
        first, n_cells = int(layout.starts[f]), int(layout.n_cells[f])
        pane.counts[s, first : first + n_cells] = values[offsets[i] : offsets[i + 1]]
        pane.counts[s, first + n_cells : first + n_cells + 3] = [
            numbers[name][i] for name in ("invalid", "below", "above")
        ]
        pane.pos[s, 1 + f] = pos[i]
        pane.sealed = pane.sealed or bool(columns["sealed"][i])
        sketch = columns["sketch"][i] or b""
        has_values = layout.fields[f].kind == "numeric" and numbers["n"][i] > numbers["nulls"][i]
        moments = [numbers[name][i] for name in ("shift_sum", "shift_square_sum", "minimum", "maximum")]
        if s == 0:
            pane.sketches[f] = sketch
            if has_values:
                pane.moments[f] = moments
        elif sketch and has_values:
            pane.kept[s, f] = KeptBytes(np.array(moments), sketch)
    into.update(built)


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
        pane.late[s], pane.pos[s, 0] = row["late"], row["pos"]
        pane.sealed = pane.sealed or bool(row["sealed"])
        series.unregistered = series.unregistered or bool(row["unregistered"])


def _by_series(table: pa.Table) -> Iterator[SeriesPanes]:
    if not table.num_rows:
        return
    keys = table.select(["version", "baseline_id"])
    pairs: Iterable[tuple[str, str]] = sorted(set(zip(*(keys.column(i).to_pylist() for i in range(2)), strict=True)))
    for version, baseline_id in pairs:
        import pyarrow.compute as pc

        mask = pc.and_(pc.equal(keys.column(0), version), pc.equal(keys.column(1), baseline_id))
        yield SeriesPanes(version, baseline_id, table.filter(mask))


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


_HEADER_COLUMNS = ("n", "errors", "timed", "slow")
"""Columns of `volume` that hold the header of a pane's counts, in its order."""
assert len(_HEADER_COLUMNS) == HEADER
