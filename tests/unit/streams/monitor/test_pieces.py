"""A wide model: the monitor judges it in pieces that are written, other models have their turn, and it is not stuck."""

from functools import cache
from typing import Any

import msgspec
import pytest
from barograph.contract import Window

from barograph_server.streams.monitor.partition import PartitionState
from barograph_server.streams.monitor.state.commit_rows import CommitRows
from barograph_server.streams.monitor.state.store import WarehouseStore
from barograph_server.streams.records import OffsetRange, Partial, PartitionProgress, Progress, decode
from barograph_server.streams.registry.registry import RegisteredBaseline, Registry, build_registry
from barograph_server.streams.sketcher.partial_messages import encode_partials
from barograph_server.streams.sketcher.summarise import FlushSummaries
from tests.support.memory_warehouse import MemoryWarehouse
from tests.support.monitor_schedule import PARTIALS_TOPIC, T0_S, TOPIC, Event, baseline, columns, contract

PANE_S = 1200
PANES = 72
WIDE, NEIGHBOUR = "a-wide", "b"
"""The wide model comes first in the order of models."""
SMALL_PIECE = 1_500
"""Counts of a few panes of these models."""


def two_models() -> Registry:
    day = Window(PANES * PANE_S, PANES * PANE_S)
    windows = {WIDE: (Window(3 * PANE_S, PANE_S), Window(PANES * PANE_S, PANE_S)), NEIGHBOUR: (day,)}
    contracts = [
        (msgspec.structs.replace(contract(model, PANE_S), windows=each), T0_S * 1000) for model, each in windows.items()
    ]
    baselines = [baseline(model, "1") for model in (WIDE, NEIGHBOUR)]
    return build_registry(contracts, [RegisteredBaseline(each, each.id, 0, 1) for each in baselines])


class Crash(Exception):
    """The process dies."""


class OneRecord:
    """A process that merges 72 panes of two models, and applies one progress record that seals all of them."""

    def __init__(self, warehouse: MemoryWarehouse, *, live: bool, piece_cells: int, crash_at: int = -1) -> None:
        self.registry, self.live, self.crash_at = two_models(), live, crash_at
        self.store = WarehouseStore(warehouse)  # type: ignore[arg-type]
        self.writes: list[dict[str, int]] = []
        self.work = 0
        self.state = PartitionState(
            0,
            1,
            PARTIALS_TOPIC,
            self.store,
            lambda: self.registry,
            live=live,
            write_s=0.0,
            revise_s=0.0,
            write_early=self.write,
            piece_cells=piece_cells,
            on_work=self.count_work,
            clock=lambda: float(T0_S),
        )

    def count_work(self) -> None:
        self.work += 1

    def write(self, commit: CommitRows) -> None:
        if len(self.writes) == self.crash_at:
            raise Crash
        self.store.write(commit)
        rows = commit.rows("progress")
        if rows:
            self.writes.append({row["model"]: (row["sealed_until"] // 1000 - T0_S) // PANE_S for row in rows})

    def merge(self) -> None:
        summaries = FlushSummaries(self.registry)
        for model in (WIDE, NEIGHBOUR):
            events = [self._event(model, T0_S + i * PANE_S + 5) for i in range(PANES)]
            summaries.add(columns(model, 0, list(enumerate(events))))
        offset = 0
        for key, pane in summaries.panes.items():
            for data in encode_partials(key, pane, TOPIC, [OffsetRange(0, 0, PANES)]):
                partial = decode(data)
                assert isinstance(partial, Partial)
                assert self.state.merge_partial(partial, offset) is None
                offset += 1
        self.offset = offset

    @staticmethod
    def _event(model: str, at_s: int) -> Event:
        return Event(model, "1", at_s * 1000, at_s * 1000, 0.1, "red", "north", False)

    def progress(self, offset: int) -> int:
        """Apply a progress record, and return the offset up to which records may be acknowledged."""
        times_ms = [(T0_S + i * PANE_S + 5) * 1000 for i in range(PANES)]
        covered = PartitionProgress(
            partition=0,
            start=0 if offset == self.offset else PANES,
            end=PANES,
            newest_ms={WIDE: max(times_ms), NEIGHBOUR: max(times_ms)} if offset == self.offset else {},
            oldest_ms=min(times_ms) if offset == self.offset else None,
            caught_up_at_ms=(T0_S + (PANES + 2) * PANE_S) * 1000 if self.live else None,
            end_mark=not self.live,
        )
        record = Progress(source_topic_id=TOPIC, source_partitions=1, counted_at_ms=1, ranges=[covered])
        commit, durable = self.state.apply_progress(record, offset)
        assert commit is not None
        self.write(commit)
        return durable


def verdicts(warehouse: MemoryWarehouse) -> dict[Any, tuple[Any, ...]]:
    return {key: (row["n"], row["psi"], row["level"], row["reason"]) for key, row in warehouse.last("drift").items()}


@cache
def judged_at_once(*, live: bool) -> dict[Any, tuple[Any, ...]]:
    warehouse = MemoryWarehouse()
    process = OneRecord(warehouse, live=live, piece_cells=1 << 40)
    process.merge()
    process.progress(process.offset)
    assert len(process.writes) == 1
    return verdicts(warehouse)


def test_replay_is_written_in_pieces_within_one_record() -> None:
    warehouse = MemoryWarehouse()
    process = OneRecord(warehouse, live=False, piece_cells=SMALL_PIECE)
    process.merge()
    assert process.progress(process.offset) == process.offset + 1
    sealed = [write[WIDE] for write in process.writes]
    assert len(sealed) > 5
    assert sealed == sorted(set(sealed)), "each piece advances"
    assert sealed[-1] == PANES
    assert process.writes[0][NEIGHBOUR] >= PANES, "the neighbour does not wait for the wide model"
    assert process.work > len(sealed), "each piece is a unit of work"
    assert verdicts(warehouse) == judged_at_once(live=False)


def test_process_that_dies_continues_after_its_last_piece() -> None:
    warehouse = MemoryWarehouse()
    process = OneRecord(warehouse, live=False, piece_cells=SMALL_PIECE, crash_at=3)
    process.merge()
    with pytest.raises(Crash):
        process.progress(process.offset)
    done = process.writes[-1][WIDE]
    assert 0 < done < PANES
    successor = OneRecord(warehouse, live=False, piece_cells=SMALL_PIECE)
    successor.merge()
    successor.progress(successor.offset)
    assert successor.writes[0][WIDE] > done
    assert verdicts(warehouse) == judged_at_once(live=False)


def test_live_record_seals_one_piece_and_the_next_records_continue() -> None:
    """Between two pieces the monitor handles the records of other models, and acknowledges its own."""
    warehouse = MemoryWarehouse()
    process = OneRecord(warehouse, live=True, piece_cells=SMALL_PIECE)
    process.merge()
    assert process.progress(process.offset) == process.offset + 1
    assert len(process.writes) == 1
    assert process.writes[0][NEIGHBOUR] >= PANES
    assert 0 < process.writes[0][WIDE] < PANES
    for offset in range(process.offset + 1, process.offset + 200):
        if process.writes[-1][WIDE] >= PANES:
            break
        assert process.progress(offset) == offset + 1
    assert process.writes[-1][WIDE] >= PANES
    assert verdicts(warehouse) == judged_at_once(live=True)
