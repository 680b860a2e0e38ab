"""Recounts a past time range with the monitor's own code, from the source's events instead of its panes.

Counting, sealing and judging follow the monitor's rules. The recount creates a partition state whose record starts at
the range, merges all events at the monitor's current `record_seq`, and applies one progress record that seals it up to
the last window that overlaps the range. Panes before and after come from the warehouse.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from barograph_server.sketches.baseline.layout import EVENTS
from barograph_server.streams.events.columns import EventColumns
from barograph_server.streams.monitor.partition import Pace, PartitionState
from barograph_server.streams.monitor.state.commit_rows import CommitRows
from barograph_server.streams.monitor.state.offset_ledger import (
    SEQ_EPOCH_BITS,
    LedgerEntry,
    Loss,
    OffsetLedger,
    offset_of,
)
from barograph_server.streams.monitor.state.store import SeriesPanes, Store
from barograph_server.streams.monitor.windows import hour_s
from barograph_server.streams.rebuild.stopped_check import RebuildError
from barograph_server.streams.records import Partial, PartitionProgress, Progress, decode
from barograph_server.streams.registry.registry import Registry
from barograph_server.streams.sketcher.partial_messages import encode_partials
from barograph_server.streams.sketcher.summarise import FlushSummaries
from barograph_server.warehouse.queries import PaneTable
from barograph_server.warehouse.tables import table_of

SOURCE = "rebuild"
_PANES = ("volume", "violations", "panes", "rollups", "new_categories")
_VERDICTS = ("drift", "rates", "distances", "comparisons")
TABLES = (*_VERDICTS, *_PANES)
"""Rebuilt tables, in the order in which the monitor writes them."""
JUDGED_TABLES = (*_VERDICTS, "rollups", "new_categories")
"""Tables that are computed from panes."""
NO_LIMIT = 1 << 62


@dataclass(frozen=True, slots=True)
class RebuildScope:
    """The range to rebuild, and the monitor's position."""

    model: str
    from_s: int
    to_s: int
    """The range [from, to) of pane starts. All its panes are sealed."""
    sealed_until_s: int
    ended: bool
    """Whether the model's replay has ended."""
    partition: int
    """The model's partition of `partials`."""
    n_partitions: int
    partials_topic_id: str
    record_seq: int
    """The last record in the monitor's offset ledger: all records up to it are in the panes."""
    losses: tuple[Loss, ...]
    """The losses that the rebuild does not recover."""
    keeps_panes: bool
    """Whether the existing panes are judged again rather than recounted."""
    late: dict[tuple[str, str, str, int], int]
    """Number of late events by version, baseline, slice and pane. They stay late."""


class _RecountStore:
    """The warehouse without the range: the source of everything that the recount does not count itself."""

    def __init__(self, store: Store, scope: RebuildScope, until_s: int) -> None:
        self._store, self._scope, self._until_s = store, scope, until_s
        self.rows_per_load = store.rows_per_load

    def load_ledger(self, partials_partition: int, partials_topic_id: str) -> tuple[OffsetLedger, int]:
        """Return an offset ledger of one source without any record, with the losses that stay."""
        ledger = OffsetLedger(rows={0: LedgerEntry(SOURCE)}, losses=list(self._scope.losses), partitions=1)
        return ledger, self._scope.record_seq >> SEQ_EPOCH_BITS

    def load_ranges(self, table: PaneTable, model: str, start_s: int, end_s: int) -> list[tuple[int, int]]:
        """Return the warehouse's ranges. Loading omits the panes in the range and after it."""
        return self._store.load_ranges(table, model, start_s, end_s)

    def load_panes(self, model: str, start_s: int, end_s: int) -> list[SeriesPanes]:
        """Load the panes outside of the range and before the last window's end."""
        panes = []
        for begin, end in self._around(start_s, end_s):
            panes += self._store.load_panes(model, begin, end)
        return panes

    def load_hours(self, model: str, start_s: int, end_s: int) -> list[SeriesPanes]:
        """Load the hours that do not overlap the range."""
        hours = []
        for series in self._store.load_hours(model, start_s, end_s):
            starts = series.table.column("pane_start").to_numpy().astype(np.int64)
            outside = (starts + 3600 <= self._scope.from_s) | (starts >= self._scope.to_s)
            hours.append(replace(series, table=series.table.filter(pa.array(outside))))
        return hours

    def load_volume(self, model: str, start_s: int, end_s: int) -> pa.Table:
        """Load the volume outside of the range."""
        tables = [self._store.load_volume(model, begin, end) for begin, end in self._around(start_s, end_s)]
        return pa.concat_tables(tables) if tables else self._store.load_volume(model, 0, 0)

    def sealed_until_s(self, model: str) -> int | None:
        """Return the start of the range: everything after it is sealed again."""
        return self._scope.from_s

    def first_panes_s(self, model: str) -> dict[tuple[str, str], int | None]:
        """Return the warehouse's first panes. The recount finds earlier ones itself."""
        return self._store.first_panes_s(model)

    def last_pane_s(self, model: str) -> int | None:
        """Return the warehouse's last pane: a history that has ended is judged up to it."""
        return self._store.last_pane_s(model)

    def write(self, commit: CommitRows) -> None:
        """Not supported: a recount writes nothing."""
        raise NotImplementedError

    def _around(self, start_s: int, end_s: int) -> list[tuple[int, int]]:
        end_s = min(end_s, self._until_s)
        if self._scope.keeps_panes:
            return [(start_s, end_s)] if start_s < end_s else []
        ranges = [(start_s, min(end_s, self._scope.from_s)), (max(start_s, self._scope.to_s), end_s)]
        return [(begin, end) for begin, end in ranges if begin < end]


def recount(
    store: Store, registry: Registry, scope: RebuildScope, events: Iterable[EventColumns]
) -> Iterator[tuple[str, pa.Table]]:
    """Count, seal and judge a time range again.

    Args:
        events: the events of its model and range.

    Returns:
        Rows per table: panes and volume of the range, hours and days that overlap it, verdicts of windows that overlap
        it. Panes have the offset ledger's `record_seq`, which the monitor's next record exceeds. Verdicts have the next
        `record_seq`, so that they revise the old verdicts.
    """
    contract = registry.contracts[scope.model]
    own_registry = replace(registry, contracts={scope.model: contract})
    summaries = FlushSummaries(registry)
    for batch in events:
        summaries.add(batch)
    longest_s = max((window.length_s for window in contract.windows), default=0)
    until_s = scope.sealed_until_s if scope.ended else min(scope.sealed_until_s, scope.to_s + longest_s)
    state = PartitionState(
        scope.partition,
        (scope.partials_topic_id, scope.n_partitions),
        _RecountStore(store, scope, NO_LIMIT if scope.ended else until_s),
        lambda: own_registry,
        Pace(not scope.ended, 0.0, 0.0, budget_bytes=NO_LIMIT),
    )
    offset = offset_of(scope.record_seq)
    for key, pane in summaries.panes.items():
        for data in encode_partials(key, pane, SOURCE, []):
            partial = decode(data)
            assert isinstance(partial, Partial)
            rejected = state.merge_partial(partial, offset)
            if rejected is not None:
                raise RebuildError(f"A pane of {scope.model} cannot be recounted: {rejected.reason}.")
    if not scope.keeps_panes:
        _mark_late(state, scope)
    sealed_ms = (until_s + contract.lateness_s + contract.out_of_order_s) * 1000
    covered = PartitionProgress(
        partition=0,
        start=0,
        end=0,
        newest_ms={},
        end_mark=scope.ended,
        caught_up_at_ms=None if scope.ended else sealed_ms,
    )
    progress = Progress(source_topic_id=SOURCE, source_partitions=1, counted_at_ms=0, ranges=[covered])
    commit, _ = state.apply_progress(progress, offset)
    if commit is None:
        return
    for table in JUDGED_TABLES if scope.keeps_panes else TABLES:
        for columns in commit.columns(table):
            rows = _select_scope(table, table_of(table, columns), scope, hour_s(contract))
            if rows.num_rows:
                yield table, rows


def _select_scope(table: str, rows: pa.Table, scope: RebuildScope, hour: int) -> pa.Table:
    if table in _VERDICTS:
        starts, ends = _seconds(rows, "window_start"), _seconds(rows, "window_end")
        field = rows.schema.field("record_seq")
        later = pc.add(rows.column("record_seq"), pa.scalar(1, field.type))
        rows = rows.set_column(rows.schema.get_field_index("record_seq"), field, later)
    else:
        starts = _seconds(rows, "pane_start")
        if table == "new_categories":
            lengths = np.full(len(starts), hour)
        else:
            lengths = rows.column("pane_s").to_numpy().astype(np.int64)
        ends = starts + lengths
    return rows.filter(pa.array((ends > scope.from_s) & (starts < scope.to_s)))


def _mark_late(state: PartitionState, scope: RebuildScope) -> None:
    """Set the late events of the recounted panes: they stay late."""
    model = state.models.get(scope.model)
    for series in model.series.values() if model else ():
        for start_s, pane in series.panes.items():
            if scope.from_s <= start_s < scope.to_s:
                names = [(series.version, series.baseline_id, name, start_s) for name in series.layout.slices]
                late = np.array([scope.late.get(name, 0) for name in names], dtype=np.int64)
                pane.late = np.minimum(late, pane.counts[:, EVENTS])


def _seconds(rows: pa.Table, name: str) -> NDArray[np.int64]:
    seconds: NDArray[np.int64] = rows.column(name).cast(pa.timestamp("s", "UTC")).cast(pa.int64()).to_numpy()
    return seconds
