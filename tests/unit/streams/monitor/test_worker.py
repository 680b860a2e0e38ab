import itertools
import random
from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from barograph.contract import Contract, Window

from barograph_server.streams.monitor import windows
from barograph_server.streams.monitor.partition import Pace, PartitionState
from barograph_server.streams.monitor.state.commit_rows import CommitRows
from barograph_server.streams.monitor.state.store import WarehouseStore
from barograph_server.streams.monitor.worker import NOTHING, IncomingRecord, Superseded, Worker
from barograph_server.streams.records import OffsetRange, PartitionProgress, Progress, Tally, encode
from barograph_server.streams.registry.registry import RegisteredBaseline, Registry, build_registry
from barograph_server.streams.runtime.metrics_report import Heartbeat, Report
from barograph_server.warehouse.errors import WarehouseBusy
from tests.support.fake_consumer import fake_settings
from tests.support.memory_warehouse import MemoryWarehouse, without
from tests.support.monitor_harness import event, make_partials
from tests.support.monitor_schedule import PARTIALS_TOPIC, T0_S, TOPIC, History, baseline, contract, make_history


class BusyWarehouse(MemoryWarehouse):
    """A warehouse that rejects calls according to a pattern."""

    def __init__(self, pattern: Iterator[bool]) -> None:
        super().__init__()
        self._pattern = pattern
        self.rejected = 0

    def _reject_some(self) -> None:
        if next(self._pattern):
            self.rejected += 1
            raise WarehouseBusy("too busy")

    def rows(self, *arguments: Any) -> list[tuple[Any, ...]]:
        self._reject_some()
        return super().rows(*arguments)

    def arrow(self, *arguments: Any) -> pa.Table:
        self._reject_some()
        return super().arrow(*arguments)

    def insert(self, table: str, rows: pa.Table) -> None:
        self._reject_some()
        super().insert(table, rows)


def make_worker(history: History, connection: Any, report: Report) -> Worker:
    return Worker(
        fake_settings(clock="live" if history.live else "replay", write_s=0.0, revise_s=0.0),
        WarehouseStore(connection),
        lambda: history.registry,
        lambda: None,
        (PARTIALS_TOPIC, 1),
        report,
        retry_s=(0.0, 0.0),
        clock=lambda: float(T0_S),
        monotonic_clock=lambda: 0.0,
    )


def handle_all(history: History, worker: Worker, *, rebalance_at: int | None = None) -> None:
    """Handle all records; a rebalance starts a generation that continues after the acknowledged ones."""
    durable, generation, i = 0, 1, 0
    while i < len(history.records):
        if i == rebalance_at and generation == 1:
            generation = 2
            i = next(j for j, (offset, _) in enumerate(history.records) if offset >= durable)
        offset, record = history.records[i]
        durable = max(durable, worker.handle(IncomingRecord(0, offset, encode(record), generation)))
        i += 1


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in (0, 2, 3))])
def test_busy_warehouse_does_not_change_rows(seed: int) -> None:
    history = make_history(seed)
    half = len(history.records) // 2
    rng = random.Random(seed)
    calm, busy = MemoryWarehouse(), BusyWarehouse(iter(lambda: rng.random() < 0.05, None))
    handle_all(history, make_worker(history, calm, Report("monitor", "m")))
    report = Report("monitor", "m")
    handle_all(history, make_worker(history, busy, report), rebalance_at=half)
    assert report.retries == busy.rejected > 1
    for table in ("panes", "volume", "rollups", "offset_ledger", "progress", "losses"):
        left, right = (without(w.tables[table], ("recorded_at", "updated_at")) for w in (calm, busy))
        assert left == right, table
    for table in ("drift", "rates"):
        assert without(calm.last(table), ("judged_at", "record_seq")) == without(
            busy.last(table), ("judged_at", "record_seq")
        )


def test_records_and_retries_of_an_older_generation_stop() -> None:
    history = make_history(1)
    worker = make_worker(history, MemoryWarehouse(), Report("monitor", "m"))
    offset, record = history.records[0]
    worker.supersede(5)
    with pytest.raises(Superseded):
        worker.handle(IncomingRecord(0, offset, encode(record), 4))
    worker.handle(IncomingRecord(0, offset, encode(record), 5))
    report = Report("monitor", "m")

    def pattern() -> Iterator[bool]:
        yield True
        worker.supersede(2)
        while True:
            yield True

    worker = make_worker(history, BusyWarehouse(pattern()), report)
    with pytest.raises(Superseded):
        worker.handle(IncomingRecord(0, offset, encode(record), 1))
    assert report.retries == 2


def test_damaged_records_are_dead_lettered_and_counted() -> None:
    history = make_history(1)
    report = Report("monitor", "m")
    worker = make_worker(history, MemoryWarehouse(), report)
    for value in (None, b"", b"P", b"what is this, then?"):
        assert worker.handle(IncomingRecord(0, 0, value, 1)) == NOTHING
    assert report.dead_letters == 4


def test_worker_reports_every_unit_of_work_to_the_watchdog() -> None:
    """Otherwise a record that takes minutes looks like a standstill."""
    history, warehouse, report = make_history(0), MemoryWarehouse(), Report("monitor", "monitor-0")
    now_s = [0.0]
    report.heartbeat = Heartbeat(lambda: now_s[0])
    worker = make_worker(history, warehouse, report)
    for offset, record in history.records:
        now_s[0] += 1000.0
        worker.handle(IncomingRecord(0, offset, encode(record), 1))
        if not isinstance(record, Tally):
            assert report.heartbeat.idle_s() == 0.0


PANE_S = 1200
PANES = 72
WIDE, NEIGHBOUR = "a-wide", "b"
"""The wide model comes first in the order of models."""
SMALL_PIECE = 1_500
"""Counts of a few panes of these models."""


def two_models() -> Registry:
    day = Window(PANES * PANE_S, PANES * PANE_S)
    windows_of = {WIDE: (Window(3 * PANE_S, PANE_S), Window(PANES * PANE_S, PANE_S)), NEIGHBOUR: (day,)}
    contracts = [
        (msgspec.structs.replace(contract(model, PANE_S), windows=each), T0_S * 1000)
        for model, each in windows_of.items()
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
            (PARTIALS_TOPIC, 1),
            self.store,
            lambda: self.registry,
            Pace(live, 0.0, 0.0, piece_cells=piece_cells),
            write_early=self.write,
            on_work=self.count_work,
            clock=lambda: float(T0_S),
        )
        self.merge()

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
        self.offset = 0
        for model in (WIDE, NEIGHBOUR):
            events = [event(T0_S + i * PANE_S + 5, model=model) for i in range(PANES)]
            for partial in make_partials(self.registry, events, OffsetRange(0, 0, PANES)):
                assert self.state.merge_partial(partial, self.offset) is None
                self.offset += 1

    def progress(self, offset: int) -> int:
        oldest_ms, newest_ms = ((T0_S + i * PANE_S + 5) * 1000 for i in (0, PANES - 1))
        is_first = offset == self.offset
        covered = PartitionProgress(
            partition=0,
            start=0 if is_first else PANES,
            end=PANES,
            newest_ms={WIDE: newest_ms, NEIGHBOUR: newest_ms} if is_first else {},
            oldest_ms=oldest_ms if is_first else None,
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
    process.progress(process.offset)
    assert len(process.writes) == 1
    return verdicts(warehouse)


def test_replay_is_written_in_pieces_within_one_record() -> None:
    warehouse = MemoryWarehouse()
    process = OneRecord(warehouse, live=False, piece_cells=SMALL_PIECE)
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
    with pytest.raises(Crash):
        process.progress(process.offset)
    done = process.writes[-1][WIDE]
    assert 0 < done < PANES
    successor = OneRecord(warehouse, live=False, piece_cells=SMALL_PIECE)
    successor.progress(successor.offset)
    assert successor.writes[0][WIDE] > done
    assert verdicts(warehouse) == judged_at_once(live=False)


def test_live_record_seals_one_piece_and_the_next_records_continue() -> None:
    """Between two pieces the monitor handles the records of other models, and acknowledges its own."""
    warehouse = MemoryWarehouse()
    process = OneRecord(warehouse, live=True, piece_cells=SMALL_PIECE)
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


WINDOWS = [Window(900, 60), Window(3600, 300), Window(86_400, 3600), Window(120, 120)]


def test_ends_are_multiples_of_the_hop_and_those_of_windows_that_contain_a_pane() -> None:
    for window in WINDOWS:
        for after_s, until_s in ((0, 0), (0, 3600), (59, 60), (60, 61), (86_399, 180_001)):
            expected = [end for end in range(after_s + 1, until_s + 1) if end % window.hop_s == 0]
            assert list(windows.ends_between(window, after_s, until_s)) == expected, (window, after_s, until_s)
        for start_s, until_s in itertools.product((0, 60, 3540, 86_340), (0, 3600, 200_000)):
            ends = range(0, until_s + 1, window.hop_s)
            expected = [end for end in ends if end - window.length_s <= start_s and start_s + 60 <= end]
            assert list(windows.ends_covering(window, start_s, 60, until_s)) == expected, (window, start_s, until_s)


def test_long_windows_are_summed_from_hours() -> None:
    for pane_s, window, step in (
        (60, Window(900, 60), 60),
        (60, Window(3600, 300), 60),
        (60, Window(86_400, 3600), 3600),
        (3600, Window(86_400, 3600), 3600),
        (7200, Window(86_400, 7200), 7200),
    ):
        assert windows.step_s(Contract(model="m", pane_s=pane_s), window) == step


def test_reach_differs_for_hours_and_panes_and_adjacent_ranges_share_no_end() -> None:
    contract = Contract(model="m", pane_s=60, windows=tuple(WINDOWS))
    assert windows.uses_hours(contract)
    assert (windows.reach_s(contract, hours=True), windows.reach_s(contract, hours=False)) == (86_400, 3600)
    short = Contract(model="m", pane_s=60, windows=(Window(900, 60),))
    assert not windows.uses_hours(short)
    # The rollup of the open hour needs its panes in any case.
    assert (windows.reach_s(short, hours=True), windows.reach_s(short, hours=False)) == (0, 3600)
    whole = {window: list(ends) for window, ends in windows.all_ends(contract, 0, 90_000)}
    first = {window: list(ends) for window, ends in windows.all_ends(contract, 0, 40_020)}
    second = {window: list(ends) for window, ends in windows.all_ends(contract, 40_020, 90_000)}
    assert whole == {window: first.get(window, []) + second.get(window, []) for window in WINDOWS}
    assert not list(windows.all_ends(contract, 60, 60))


def test_history_is_judged_to_the_next_end_and_runs_split_at_gaps_longer_than_a_window() -> None:
    contract = Contract(model="m", pane_s=1800, windows=(Window(3600, 3600), Window(5400, 5400)))
    assert windows.last_end_s(contract, 5400) == 7200
    assert windows.last_end_s(contract, 10_800) == 10_800
    assert windows.last_end_s(contract, 9000) == 10_800
    window = Window(3600, 300)
    assert windows.split_runs([300, 600, 4200, 7801, 8100], window) == [[300, 600, 4200], [7801, 8100]]
    assert windows.split_runs([], window) == []


@pytest.mark.parametrize("last", [1, 7, 40, 10_000])
def test_a_window_of_the_last_events_has_the_fewest_panes_that_hold_them(last: int) -> None:
    rng = np.random.default_rng(last)
    window = Window(3600, 120, last)
    ends_s = list(range(90_000, 97_200, 120))
    events = rng.poisson(0.5, (ends_s[-1] - ends_s[0] + window.length_s) // 60) * 3
    first_s = ends_s[0] - window.length_s
    starts_s, enough = windows.starts_of_last(window, ends_s, 60, events)
    for start_s, end_s, reaches in zip(starts_s.tolist(), ends_s, enough.tolist(), strict=True):
        expected_s, n = end_s, 0
        while n < last and expected_s > end_s - window.length_s:
            expected_s -= 60
            n += events[(expected_s - first_s) // 60]
        assert (start_s, reaches) == (expected_s, n >= last)
    assert enough.all() == (last < 10_000)
    assert (np.diff(starts_s) >= 0).all()
