import math
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
from barograph_server.streams.registry.registry import RegisteredBaseline, Registry, build_registry
from barograph_server.streams.sketcher.summarise import MAX_VERSION_CHARS, MAX_VERSIONS, FlushSummaries
from barograph_server.warehouse.client import Address
from barograph_server.warehouse.errors import WarehouseBusy
from barograph_server.warehouse.queries import BaselineRow, ContractRow
from tests.support.monitor_harness import HOUR_S, event
from tests.support.monitor_schedule import T0_S, Event, baseline, columns, contract


def entry(version: str, shift: float, effective_s: int, accepted_ms: int) -> RegisteredBaseline:
    created = baseline("m", version, shift)
    return RegisteredBaseline(created, created.id, effective_s, accepted_ms)


FIRST = entry("1", 0.0, 0, 10)
LATER = entry("1", 0.1, T0_S + 2 * HOUR_S, 20)
LAST = entry("1", 0.2, T0_S + 4 * HOUR_S, 30)
SECOND = entry("2", 0.3, 0, 25)


def registry(*entries: RegisteredBaseline, previous: Registry | None = None) -> Registry:
    return build_registry([(contract("m", HOUR_S), 5)], entries, previous)


def summarise(snapshot: Registry, *events: Event) -> FlushSummaries:
    summaries = FlushSummaries(snapshot)
    summaries.add(columns("m", 0, list(enumerate(events))))
    return summaries


def test_the_first_baseline_holds_before_the_second_and_layouts_are_taken_over() -> None:
    snapshot = registry(LAST, FIRST, LATER)
    resolved: list[Any] = [snapshot.resolve("m", "1", T0_S + h * HOUR_S) for h in (-9999, 0, 1, 2, 3, 4, 99)]
    expected = (FIRST, FIRST, FIRST, LATER, LATER, LAST, LAST)
    assert [(one.baseline_id, one.unregistered) for one in resolved] == [(each.baseline_id, False) for each in expected]
    before = registry(FIRST)
    after = registry(FIRST, LATER, previous=before)
    assert after.layouts[FIRST.baseline_id] is before.layouts[FIRST.baseline_id]
    assert set(after.layouts) == {FIRST.baseline_id, LATER.baseline_id}


def test_an_unregistered_version_is_judged_by_the_newest_version() -> None:
    snapshot = registry(FIRST, SECOND, LATER, LAST)
    resolved: Any = snapshot.resolve("m", "unheard-of", T0_S)
    # Newest is the version whose first baseline was accepted last, not the one with the newest baseline.
    assert (resolved.baseline_id, resolved.unregistered) == (SECOND.baseline_id, True)


def test_a_model_without_baselines_is_not_summarised() -> None:
    snapshot = registry()
    assert snapshot.effective("m", "1") == ((), True)
    assert snapshot.resolve("m", "1", T0_S) is None
    assert snapshot.resolve("nobody's", "1", T0_S) is None
    summaries = summarise(snapshot, event(T0_S), event(T0_S + 1))
    assert (summaries.unwatched, summaries.panes) == (2, {})


def test_a_baseline_without_rows_is_in_force_only_while_there_is_no_other() -> None:
    empty = msgspec.structs.replace(FIRST.baseline, version="none", rows=0, slice_rows={"all": 0})
    entries = [RegisteredBaseline(empty, empty.id, 0, 99)]
    snapshot = registry(*entries)
    assert snapshot.effective("m", "1") == (tuple(entries), True) == snapshot.effective("m", "none")
    summaries = summarise(snapshot, event(T0_S), event(T0_S + 1))
    assert (summaries.unwatched, {key.baseline_id for key in summaries.panes}) == (0, {empty.id})
    later = registry(*entries, SECOND)
    assert later.effective("m", "1") == ((SECOND,), True)
    # Panes from before are still loaded.
    assert empty.id in later.layouts


def test_a_flood_of_versions_is_counted_as_one_version() -> None:
    snapshot = registry(FIRST)
    summaries = FlushSummaries(snapshot)
    names = [f"v{i:04d}" for i in range(3 * MAX_VERSIONS)]
    for batch in (names, names[::-1], ["1", "w" * (MAX_VERSION_CHARS + 1), "1"]):
        summaries.add(columns("m", 0, [(i, event(T0_S, version=name)) for i, name in enumerate(batch)]))
    counted = {key.version: int(pane.counts[0, 0]) for key, pane in summaries.panes.items()}
    # Every distinct one is in both batches, in any order.
    apart = dict.fromkeys(names[:MAX_VERSIONS], 2)
    assert counted == {**apart, "1": 2, "other": 4 * MAX_VERSIONS + 1}
    # Registered versions are never taken together.
    entries = [entry(f"v{i}", i / 1000, 0, i) for i in range(MAX_VERSIONS + 10)]
    summaries = summarise(registry(*entries), *(event(T0_S, version=each.baseline.version) for each in entries))
    assert {key.version for key in summaries.panes} == {each.baseline.version for each in entries}


def test_a_baseline_holds_from_its_pane_until_the_next_one() -> None:
    first, second, third = entry("1", 0.0, 0, 1), entry("1", 1.0, 100, 2), entry("1", 2.0, 200, 3)
    again = RegisteredBaseline(first.baseline, first.baseline_id, 300, 4)
    registry = build_registry([], [second, again, first, third])
    spans = [registry.spans("m", "1", each.baseline_id) for each in (first, second, third)]
    assert spans == [[(-math.inf, 100), (300, math.inf)], [(100, 200)], [(200, 300)]]
    assert registry.spans("m", "1", "unknown") == []
    assert registry.spans("other", "1", first.baseline_id) == []
    # Of two with one moment the later accepted holds, and the other never.
    both = build_registry([], [first, second, entry("1", 3.0, 100, 9)])
    assert both.spans("m", "1", second.baseline_id) == []
    # A version without a baseline is counted on the newest version's.
    assert registry.spans("m", "2", second.baseline_id) == [(100, 200)]


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
        answers = SimpleNamespace(
            registry_stamp=lambda client: self.stamp(),
            contracts=lambda client, drills: self.contract_rows(),
            baselines=lambda client: self.baseline_rows(),
            first_applied_ms=lambda client: self.applied_ms(),
        )
        monkeypatch.setattr(poller, "queries", answers)

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

    def applied_ms(self) -> dict[str, int]:
        return dict.fromkeys(self.contracts, 1000)

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


def test_contracts_may_be_applied_and_deleted_while_the_registry_is_read(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse.apply("model")
    warehouse.apply("drill")

    def applied_ms() -> dict[str, int]:
        del warehouse.contracts["drill"]
        applied = dict.fromkeys(warehouse.contracts, 1000)
        warehouse.apply("new")
        warehouse.apply("drill")
        return applied

    monkeypatch.setattr(warehouse, "applied_ms", applied_ms)
    source = warehouse.poller()
    source.refresh()
    assert source.current().contracts.keys() == {"model"}
    source.refresh()
    assert source.current().contracts.keys() == {"model", "new"}


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
    logged = [entry["event"] for entry in errors(logs)]
    assert logged == [f"{part} cannot be read", "model runs on its last readable copy"], "once for each change"
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
