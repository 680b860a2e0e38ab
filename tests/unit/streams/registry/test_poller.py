"""Polling the registry: a contract or baseline that cannot be read costs its own model alone."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from queue import Queue
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from barograph.contract.dump import dump_contract
from structlog.testing import capture_logs

from barograph_server.sketches.baseline.baseline import dump_baseline
from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.registry import poller
from barograph_server.streams.registry.poller import RegistryPoller
from barograph_server.warehouse.client import Address
from barograph_server.warehouse.errors import WarehouseBusy
from barograph_server.warehouse.queries import BaselineRow, ContractRow
from tests.support.monitor_schedule import baseline, contract

BROKEN = "format: 99\n"


class Warehouse:
    """Contracts and baselines as `barograph apply` stored them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.contracts: dict[str, str] = {}
        self.baselines: dict[tuple[str, str], str] = {}
        self.revision = 0
        self.is_down = False
        self.n_connections = 0
        self.n_open = 0
        self.closed = threading.Event()
        self.reads_while_down: Queue[bool] = Queue()
        monkeypatch.setattr(
            poller,
            "queries",
            SimpleNamespace(
                registry_stamp=lambda client: self.stamp(),
                contracts=lambda client, drills: self.contract_rows(),
                baselines=lambda client: self.baseline_rows(),
                first_applied_ms=lambda client: dict.fromkeys(self.contracts, 1000),
            ),
        )

    def apply(self, model: str, yaml: str = "", version: str = "1", body: str = "") -> None:
        self.contracts[model] = yaml or dump_contract(contract(model, 3600))
        self.baselines[model, version] = body or dump_baseline(baseline(model, version)).decode()
        self.revision += 1

    def stamp(self) -> int:
        self.reads_while_down.put(self.is_down)
        if self.is_down:
            raise WarehouseBusy("ClickHouse is down")
        return self.revision

    def connect(self, address: Address) -> Any:
        self.stamp()
        self.n_connections += 1
        self.n_open += 1
        return SimpleNamespace(close=self.close)

    def close(self) -> None:
        self.n_open -= 1
        self.closed.set()

    def poller(self) -> RegistryPoller:
        return RegistryPoller(Address(), 0.01, connect_to=self.connect)

    def contract_rows(self) -> list[ContractRow]:
        return [ContractRow(model, "c", yaml, datetime.now(UTC)) for model, yaml in self.contracts.items()]

    def baseline_rows(self) -> list[BaselineRow]:
        start = datetime.fromtimestamp(0, UTC)
        return [
            BaselineRow(model, version, f"{model} {version} {hash(body)}", start, body, "", start)
            for (model, version), body in self.baselines.items()
        ]


@pytest.fixture
def warehouse(monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    return Warehouse(monkeypatch)


def errors(logs: Any) -> list[dict[str, Any]]:
    return [dict(entry) for entry in logs if entry["log_level"] == "error"]


def test_a_processor_starts_although_one_contract_cannot_be_read(warehouse: Warehouse) -> None:
    warehouse.apply("good")
    warehouse.apply("bad", yaml=BROKEN)
    source = warehouse.poller()
    with capture_logs() as logs:
        source.start()
        source.stop()
    registry = source.current()
    assert (set(registry.contracts), set(registry.baselines)) == ({"good"}, {"good"})
    assert registry.unreadable.keys() == {"bad"}
    assert not source.is_readable()
    read, consequence = errors(logs)
    assert (read["event"], read["model"]) == ("contract cannot be read", "bad")
    assert "contract of bad" in read["reason"]
    assert (consequence["event"], consequence["model"]) == ("model is not monitored", "bad")


def test_a_baseline_that_cannot_be_read_leaves_its_model_without_any(warehouse: Warehouse) -> None:
    warehouse.apply("good")
    warehouse.apply("bad")
    warehouse.apply("bad", version="2", body="{}")
    source = warehouse.poller()
    with capture_logs() as logs:
        source.refresh()
    registry = source.current()
    assert set(registry.contracts) == {"good", "bad"}
    # Events of version 2 would else be binned on version 1's baseline, unlike by a processor that reads both.
    assert registry.effective("bad", "2") == ((), True)
    assert errors(logs)[0]["version"] == "2"
    assert registry.resolve("good", "1", 0) is not None


@pytest.mark.parametrize("part", ["contract", "baseline"])
def test_a_running_processor_keeps_the_last_readable_copy_of_one_model_until_it_recovers(
    warehouse: Warehouse, part: str
) -> None:
    warehouse.apply("good")
    warehouse.apply("bad")
    source = warehouse.poller()
    source.refresh()
    assert source.is_readable()
    before = source.current()
    broken = {"yaml": BROKEN} if part == "contract" else {"body": "{}"}
    changed = msgspec.structs.replace(contract("good", 3600), lateness_s=7)
    warehouse.apply("good", yaml=dump_contract(changed), version="2")
    warehouse.apply("bad", version="2", **broken)
    with capture_logs() as logs:
        source.refresh()
        source.refresh()
    registry = source.current()
    assert registry.contracts["good"].lateness_s == 7, "other models follow their changes"
    assert set(registry.baselines["good"]) == {"1", "2"}
    assert registry.contracts["bad"] is before.contracts["bad"]
    assert registry.baselines["bad"] == before.baselines["bad"]
    assert registry.applied_at_ms.keys() == {"good", "bad"}
    assert [entry["event"] for entry in errors(logs)] == [
        f"{part} cannot be read",
        "model runs on its last readable copy",
    ], "once for each change, not at each poll"
    warehouse.apply("bad", version="2")
    source.refresh()
    assert source.is_readable()
    assert set(source.current().baselines["bad"]) == {"1", "2"}


def test_the_first_read_waits_for_the_warehouse_and_gives_up_in_the_end(warehouse: Warehouse) -> None:
    warehouse.is_down = True
    source = warehouse.poller()
    with pytest.raises(ProcessorError, match="Contracts and baselines cannot be read: ClickHouse is down"):
        source.start(timeout_s=0.0)
    source.stop()
    with pytest.raises(ProcessorError, match="ClickHouse is down"):
        source.start(timeout_s=60.0)
    assert source.age_s() == float("inf")


def test_polling_continues_with_the_last_copy_while_the_warehouse_is_down(warehouse: Warehouse) -> None:
    warehouse.apply("good")
    now_s = 100.0
    source = RegistryPoller(Address(), 0.01, connect_to=warehouse.connect, monotonic=lambda: now_s)
    source.refresh()
    warehouse.is_down = True
    now_s = 107.0
    with pytest.raises(WarehouseBusy):
        source.refresh()
    assert (set(source.current().contracts), source.age_s()) == ({"good"}, 7.0)
    # A poller that was not started closes its connection.
    warehouse.is_down = False
    source.refresh()
    assert warehouse.n_open == 1
    source.close()
    assert warehouse.n_open == 0


def test_a_started_poller_logs_an_outage_once_and_reads_again_after_it(warehouse: Warehouse) -> None:
    def wait_for_reads(n: int) -> None:
        while n:
            n -= warehouse.reads_while_down.get(timeout=60) is warehouse.is_down

    warehouse.apply("good")
    source = warehouse.poller()
    with capture_logs() as logs:
        source.start()
        warehouse.is_down = True
        wait_for_reads(3)
        assert set(source.current().contracts) == {"good"}
        warehouse.apply("later")
        warehouse.is_down = False
        wait_for_reads(1)
        warehouse.closed.clear()
        source.stop()
        assert warehouse.closed.wait(60)
    outages = [log["event"] for log in logs if log["log_level"] == "warning"]
    assert outages == ["registry not read: the last copy stays in force"]
    assert (set(source.current().contracts), warehouse.n_open) == ({"good", "later"}, 0)
