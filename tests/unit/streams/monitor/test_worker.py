"""The worker: retries do not change rows, stale generations stop, and damaged records are dead-lettered."""

import itertools
import random
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from barograph_server.streams.monitor.state.store import WarehouseStore
from barograph_server.streams.monitor.worker import NOTHING, IncomingRecord, Superseded, Worker
from barograph_server.streams.records import Tally, encode
from barograph_server.streams.runtime.heartbeat import Heartbeat
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.warehouse.client import Address
from barograph_server.warehouse.errors import WarehouseBusy
from tests.support.memory_warehouse import MemoryWarehouse, without
from tests.support.monitor_schedule import PARTIALS_TOPIC, T0_S, History, make_history


class BusyConnection:
    """A connection that rejects calls according to a pattern."""

    database = "memory"

    def __init__(self, warehouse: MemoryWarehouse, pattern: Iterator[bool]) -> None:
        self._warehouse, self._pattern = warehouse, pattern
        self.rejected = 0

    def _reject_some(self) -> None:
        if next(self._pattern):
            self.rejected += 1
            raise WarehouseBusy("too busy")

    def rows(self, *arguments: Any) -> list[tuple[Any, ...]]:
        self._reject_some()
        return self._warehouse.rows(*arguments)

    def arrow(self, *arguments: Any) -> pa.Table:
        self._reject_some()
        return self._warehouse.arrow(*arguments)

    def insert(self, table: str, rows: pa.Table) -> None:
        self._reject_some()
        self._warehouse.insert(table, rows)


def make_worker(history: History, connection: Any, report: Report) -> Worker:
    settings = ProcessorSettings(
        instance="monitor-0",
        bootstrap_servers="127.0.0.1:1",
        warehouse=Address("127.0.0.1", 1, "memory"),
        clock="live" if history.live else "replay",
        write_s=0.0,
        revise_s=0.0,
        kafka={"log_level": "0"},
    )
    store = WarehouseStore(connection)
    return Worker(
        settings,
        store,
        lambda: history.registry,
        lambda: None,
        (PARTIALS_TOPIC, 1),
        report,
        first_retry_s=0.0,
        max_retry_s=0.0,
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
    calm, busy = MemoryWarehouse(), MemoryWarehouse()
    handle_all(history, make_worker(history, BusyConnection(calm, itertools.repeat(False)), Report("monitor", "m")))
    rng = random.Random(seed)
    connection = BusyConnection(busy, iter(lambda: rng.random() < 0.05, None))
    report = Report("monitor", "m")
    handle_all(history, make_worker(history, connection, report), rebalance_at=half)
    assert connection.rejected > 1
    assert report.retries == connection.rejected
    for table in ("panes", "volume", "rollups", "offset_ledger", "progress", "losses"):
        left, right = (without(w.tables[table], ("recorded_at", "updated_at")) for w in (calm, busy))
        assert left == right, table
    for table in ("drift", "rates"):
        assert without(calm.last(table), ("judged_at", "record_seq")) == without(
            busy.last(table), ("judged_at", "record_seq")
        )


def test_records_and_retries_of_an_older_generation_stop() -> None:
    history = make_history(1)
    worker = make_worker(history, BusyConnection(MemoryWarehouse(), itertools.repeat(False)), Report("monitor", "m"))
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

    worker = make_worker(history, BusyConnection(MemoryWarehouse(), pattern()), report)
    with pytest.raises(Superseded):
        worker.handle(IncomingRecord(0, offset, encode(record), 1))
    assert report.retries == 2


def test_damaged_records_are_dead_lettered_and_counted() -> None:
    history = make_history(1)
    report = Report("monitor", "m")
    worker = make_worker(history, BusyConnection(MemoryWarehouse(), itertools.repeat(False)), report)
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
