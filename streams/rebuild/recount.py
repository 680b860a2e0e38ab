"""The monitor's own work done once more on a stretch of the past, with the source's events in place of its panes.

Nothing is counted, sealed or judged by other rules than the monitor's: a partition's state is made whose record begins
at the stretch, all that came is merged into it at the `record_seq` that the monitor had come to, and one progress record seals
it up to the last window that reaches back into the stretch. Panes before and after come from the warehouse.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from streams.events.columns import EventColumns
from streams.monitor.partition import PartitionState
from streams.monitor.state.offset_ledger import SEQ_EPOCH_BITS, LedgerEntry, Loss, OffsetLedger
from streams.monitor.state.store import SeriesPanes, Store, Writes
from streams.monitor.windows import hour_s
from streams.rebuild.errors import RebuildError
from streams.records import Partial, PartitionProgress, Progress, decode
from streams.registry.registry import Registry
from streams.sketcher.partial_messages import encode_partials
from streams.sketcher.summarise import FlushSummaries
from warehouse.queries import PaneTable
from warehouse.tables import table_of

SOURCE = "rebuild"
_PANES = ("volume", "violations", "panes", "rollups", "new_categories")
_VERDICTS = ("drift", "rates", "distances", "comparisons")
TABLES = (*_VERDICTS, *_PANES)
"""The tables that are rebuilt, in the order in which the monitor writes them."""
JUDGED_TABLES = (*_VERDICTS, "rollups", "new_categories")
"""Those that follow from panes."""
NO_LIMIT = 1 << 62


@dataclass(frozen=True, slots=True)
class Stretch:
    """What is rebuilt, and how far the monitor had come."""

    model: str
    from_s: int
    to_s: int
    """Panes that start in [from, to); whole panes, all sealed."""
    sealed_until_s: int
    ended: bool
    """Whether the model's replay has ended."""
    partition: int
    """Of `partials`; the model's."""
    n_partitions: int
    partials_topic_id: str
    record_seq: int
    """Of the last record that the monitor's offset ledger has: everything up to it is in the panes."""
    losses: tuple[Loss, ...]
    """What stays lost."""
    panes_stay: bool
    """Whether the panes that are there are judged anew, instead of counted anew."""
    late: dict[tuple[str, str, str, int], int]
    """Version, baseline, slice, pane → events that had come late; they stay late."""


class _RecountStore:
    """The warehouse without the stretch: where the recount finds what it does not count itself."""

    def __init__(self, store: Store, stretch: Stretch, until_s: int) -> None:
        self._store, self._stretch, self._until_s = store, stretch, until_s
        self.rows_at_once = store.rows_at_once

    def load_ledger(self, partials_partition: int, partials_topic_id: str) -> tuple[OffsetLedger, int]:
        """A chain of one source that has seen nothing, with the losses that stay."""
        ledger = OffsetLedger(rows={0: LedgerEntry(SOURCE)}, losses=list(self._stretch.losses), partitions=1)
        return ledger, self._stretch.record_seq >> SEQ_EPOCH_BITS

    def ranges(self, table: PaneTable, model: str, start_s: int, end_s: int) -> list[tuple[int, int]]:
        """As the warehouse says; what is within the stretch or after it is left out where it is loaded."""
        return self._store.ranges(table, model, start_s, end_s)

    def load_panes(self, model: str, start_s: int, end_s: int) -> list[SeriesPanes]:
        """Panes outside of the stretch, and before the last window's end."""
        found = []
        for begin, end in self._around(start_s, end_s):
            found += self._store.load_panes(model, begin, end)
        return found

    def load_hours(self, model: str, start_s: int, end_s: int) -> list[SeriesPanes]:
        """Hours that the stretch does not touch."""
        kept = []
        for series in self._store.load_hours(model, start_s, end_s):
            starts = series.table.column("pane_start").to_numpy().astype(np.int64)
            outside = (starts + 3600 <= self._stretch.from_s) | (starts >= self._stretch.to_s)
            kept.append(replace(series, table=series.table.filter(pa.array(outside))))
        return kept

    def load_volume(self, model: str, start_s: int, end_s: int) -> pa.Table:
        """Volume outside of the stretch."""
        tables = [self._store.load_volume(model, begin, end) for begin, end in self._around(start_s, end_s)]
        return pa.concat_tables(tables) if tables else self._store.load_volume(model, 0, 0)

    def sealed_until_s(self, model: str) -> int | None:
        """The stretch's start: from there on all is sealed anew."""
        return self._stretch.from_s

    def first_panes_s(self, model: str) -> dict[tuple[str, str], int | None]:
        """As the warehouse says; the recount finds earlier ones itself."""
        return self._store.first_panes_s(model)

    def write(self, writes: Writes) -> None:
        """Nothing is written here."""
        raise NotImplementedError

    def _around(self, start_s: int, end_s: int) -> list[tuple[int, int]]:
        end_s = min(end_s, self._until_s)
        if self._stretch.panes_stay:
            return [(start_s, end_s)] if start_s < end_s else []
        ranges = [(start_s, min(end_s, self._stretch.from_s)), (max(start_s, self._stretch.to_s), end_s)]
        return [(begin, end) for begin, end in ranges if begin < end]


def recount(
    store: Store, registry: Registry, stretch: Stretch, events: Iterable[EventColumns]
) -> Iterator[tuple[str, pa.Table]]:
    """Count, seal and judge a stretch anew.

    Args:
        store: the warehouse as it is.
        registry: contracts and baselines in force.
        stretch: what is rebuilt.
        events: of its model and range.

    Returns:
        Rows per table: of panes and volume those of the stretch, of hours and days those that it touches, of verdicts
        those of windows that overlap it. The rows of panes have the offset ledger's `record_seq`, which the next record's follows;
        verdicts the one after, so that they are revisions of what was given before.

    Raises:
        RebuildError: the events do not fit the baselines in force.
    """
    contract = registry.contracts[stretch.model]
    mine = replace(registry, contracts={stretch.model: contract})
    summaries = FlushSummaries(registry)
    for some in events:
        summaries.add(some)
    longest_s = max((window.length_s for window in contract.windows), default=0)
    until_s = stretch.sealed_until_s if stretch.ended else min(stretch.sealed_until_s, stretch.to_s + longest_s)
    state = PartitionState(
        stretch.partition,
        stretch.n_partitions,
        stretch.partials_topic_id,
        _RecountStore(store, stretch, NO_LIMIT if stretch.ended else until_s),
        lambda: mine,
        live=not stretch.ended,
        write_s=0.0,
        revise_s=0.0,
        budget_bytes=NO_LIMIT,
    )
    offset = stretch.record_seq & ((1 << SEQ_EPOCH_BITS) - 1)
    for key, pane in summaries.panes.items():
        for data in encode_partials(key, pane, SOURCE, []):
            partial = decode(data)
            assert isinstance(partial, Partial)
            dead = state.partial(partial, offset)
            if dead is not None:
                raise RebuildError(f"A pane of {stretch.model} cannot be counted anew: {dead.reason}.")
    sealed_ms = (until_s + contract.lateness_s + contract.out_of_order_s) * 1000
    covered = PartitionProgress(
        partition=0,
        start=0,
        end=0,
        newest_ms={},
        end_mark=stretch.ended,
        caught_up_at_ms=None if stretch.ended else sealed_ms,
    )
    progress = Progress(source_topic_id=SOURCE, source_partitions=1, counted_at_ms=0, ranges=[covered])
    writes, _ = state.progress(progress, offset)
    if writes is None:
        return
    for table in JUDGED_TABLES if stretch.panes_stay else TABLES:
        for columns in writes.columns(table):
            rows = _of_stretch(table, table_of(table, columns), stretch, hour_s(contract))
            if rows.num_rows:
                yield table, rows


def _of_stretch(table: str, rows: pa.Table, stretch: Stretch, hour: int) -> pa.Table:
    """Keep what belongs to the stretch."""
    if table in _VERDICTS:
        starts, ends = _seconds(rows, "window_start"), _seconds(rows, "window_end")
        rows = _with(
            rows, "record_seq", pc.add(rows.column("record_seq"), pa.scalar(1, rows.schema.field("record_seq").type))
        )
    else:
        starts = _seconds(rows, "pane_start")
        if table == "new_categories":
            lengths = np.full(len(starts), hour)
        else:
            lengths = rows.column("pane_s").to_numpy().astype(np.int64)
        ends = starts + lengths
    if table == "volume":
        rows = _with(rows, "late", _late(rows, starts, stretch))
    return rows.filter(pa.array((ends > stretch.from_s) & (starts < stretch.to_s)))


def _late(rows: pa.Table, starts: NDArray[np.int64], stretch: Stretch) -> pa.Array:
    names = [rows.column(name).to_pylist() for name in ("version", "baseline_id", "slice")]
    n = rows.column("n").to_pylist()
    late = [min(stretch.late.get((*key, at), 0), of) for *key, at, of in zip(*names, starts.tolist(), n, strict=True)]
    return pa.array(late, rows.schema.field("late").type)


def _seconds(rows: pa.Table, name: str) -> NDArray[np.int64]:
    found: NDArray[np.int64] = rows.column(name).cast(pa.timestamp("s", "UTC")).cast(pa.int64()).to_numpy()
    return found


def _with(rows: pa.Table, name: str, values: object) -> pa.Table:
    return rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), values)
