"""The worker: a warehouse that is busy now and then changes nothing, damaged records are put aside."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from streams.monitor import worker as worker_module
from streams.monitor.state.store import WarehouseStore
from streams.monitor.worker import NOTHING, Incoming, Superseded, Worker
from streams.records import encode
from streams.runtime.metrics_report import Report
from streams.settings import ProcessorSettings
from tests.support.memory_warehouse import MemoryWarehouse, without
from tests.support.monitor_schedule import PARTIALS_TOPIC, History, make_history
from warehouse.client import Address
from warehouse.errors import WarehouseBusy


class BusyConnection:
    """Refuses calls as a pattern says."""

    database = "memory"

    def __init__(self, warehouse: MemoryWarehouse, pattern: Iterator[bool]) -> None:
        self._warehouse, self._pattern = warehouse, pattern
        self.refused = 0

    def _answer(self) -> None:
        if next(self._pattern):
            self.refused += 1
            raise WarehouseBusy("too busy")

    def rows(self, *told: Any) -> list[tuple[Any, ...]]:
        self._answer()
        return self._warehouse.rows(*told)

    def arrow(self, *told: Any) -> pa.Table:
        self._answer()
        return self._warehouse.arrow(*told)

    def insert(self, table: str, rows: pa.Table) -> None:
        self._answer()
        self._warehouse.insert(table, rows)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "FIRST_RETRY_S", 0.0)
    monkeypatch.setattr(worker_module, "LAST_RETRY_S", 0.0)


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
    return Worker(settings, store, lambda: history.registry, lambda: None, (PARTIALS_TOPIC, 1), report)


def read(history: History, worker: Worker, *, rebalance_at: int | None = None) -> None:
    """Read all records; a rebalance begins a generation that reads on from what was acknowledged."""
    durable, generation, i = 0, 1, 0
    while i < len(history.records):
        if i == rebalance_at and generation == 1:
            generation = 2
            i = next(j for j, (offset, _) in enumerate(history.records) if offset >= durable)
        offset, record = history.records[i]
        durable = max(durable, worker.handle(Incoming(0, offset, encode(record), generation)))
        i += 1


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("seed", range(4))
def test_a_busy_warehouse_changes_nothing(seed: int) -> None:
    history = make_history(seed)
    half = len(history.records) // 2
    calm, busy = MemoryWarehouse(), MemoryWarehouse()
    read(history, make_worker(history, BusyConnection(calm, itertools.repeat(False)), Report("monitor", "m")))
    rng = random.Random(seed)
    connection = BusyConnection(busy, iter(lambda: rng.random() < 0.05, None))
    report = Report("monitor", "m")
    read(history, make_worker(history, connection, report), rebalance_at=half)
    assert connection.refused > 1
    assert report.retries == connection.refused
    for table in ("panes", "volume", "rollups", "offset_ledger", "progress", "losses"):
        left, right = (without(w.tables[table], ("recorded_at", "updated_at")) for w in (calm, busy))
        assert left == right, table
    for table in ("drift", "rates"):
        assert without(calm.last(table), ("judged_at", "record_seq")) == without(
            busy.last(table), ("judged_at", "record_seq")
        )


def test_records_of_an_older_generation_are_refused() -> None:
    history = make_history(1)
    worker = make_worker(history, BusyConnection(MemoryWarehouse(), itertools.repeat(False)), Report("monitor", "m"))
    offset, record = history.records[0]
    worker.supersede(5)
    with pytest.raises(Superseded):
        worker.handle(Incoming(0, offset, encode(record), 4))
    worker.handle(Incoming(0, offset, encode(record), 5))


def test_waiting_for_a_busy_warehouse_ends_when_superseded() -> None:
    history = make_history(1)
    report = Report("monitor", "m")
    worker: Worker

    def pattern() -> Iterator[bool]:
        yield True
        worker.supersede(2)
        while True:
            yield True

    worker = make_worker(history, BusyConnection(MemoryWarehouse(), pattern()), report)
    offset, record = history.records[0]
    with pytest.raises(Superseded):
        worker.handle(Incoming(0, offset, encode(record), 1))
    assert report.retries == 2


def test_damaged_records_are_put_aside_and_counted() -> None:
    history = make_history(1)
    report = Report("monitor", "m")
    worker = make_worker(history, BusyConnection(MemoryWarehouse(), itertools.repeat(False)), report)
    for value in (None, b"", b"P", b"what is this, then?"):
        assert worker.handle(Incoming(0, 0, value, 1)) == NOTHING
    assert report.dead_letters == 4
