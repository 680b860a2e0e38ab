"""The guard's loop: which rules it evaluates, when it writes, and when it leads again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pytest
from barograph.contract.file import parse_contract
from barograph.guard.health import ModelHealth

from barograph_server.alerts import AlertSettings
from barograph_server.alerts.guard.model_guard import BLIND, BLIND_AFTER_S
from barograph_server.alerts.guard.processor import GuardProcessor
from barograph_server.alerts.rules import rules_for
from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.registry.registry import build_registry
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.warehouse.client import Address
from barograph_server.warehouse.errors import WarehouseError

CONTRACT = parse_contract(
    "contract: 1\nmodel: m\nwindows: [{length: 1h, hop: 1m}]\n"
    "fields: {temp: {type: float, critical: true}}\nfallback: {rules: [psi-major]}"
)
REGISTRY = build_registry([(CONTRACT, 1)], [])
SETTINGS = ProcessorSettings(instance="g1", bootstrap_servers="127.0.0.1:1", warehouse=Address("127.0.0.1", 1, "b"))
T0 = 1_800_000_000
T0_MS = T0 * 1000
LAST = ModelHealth(model="m", state="healthy", since_ms=T0_MS, at_ms=T0_MS, evaluated_at_ms=T0_MS, sequence=T0_MS)


class Log:
    """Takes the place of the topic: keeps what is written, and rejects it on request."""

    def __init__(self, last: ModelHealth | None = None) -> None:
        self.calls: list[str] = []
        self.records = {} if last is None else {"m": last}
        self.rejects = 0
        self.on_call: Callable[[], object] = lambda: None
        self.problem: ProcessorError | None = None
        self.is_closed = False

    def require_one_partition(self) -> None:
        if self.problem is not None:
            raise self.problem

    def lead(self) -> dict[str, ModelHealth]:
        self.calls.append("lead")
        return dict(self.records)

    def publish(self, records: Iterable[ModelHealth]) -> bool:
        self.rejects -= 1
        self.calls.append("rejected" if self.rejects >= 0 else "written")
        if self.rejects < 0:
            self.records |= {record.model: record for record in records}
        self.on_call()
        return self.rejects < 0

    def close(self) -> None:
        self.is_closed = True


class OnlyMember:
    """Takes the place of the consumer: the one partition is assigned at the first poll."""

    def __init__(self) -> None:
        self._on_assign: Any = None

    def subscribe(self, _topics: Any, on_assign: Any, on_revoke: Any) -> None:
        self._on_assign = on_assign

    def poll(self, _timeout_s: float) -> None:
        if self._on_assign is not None:
            from confluent_kafka import TopicPartition

            self._on_assign(self, [TopicPartition("model-health", 0)])
            self._on_assign = None

    def assign(self, _partitions: Any) -> None: ...

    def pause(self, _partitions: Any) -> None: ...

    def close(self) -> None: ...


class Engine:
    """Takes the place of ClickHouse: counts queries and rejects each."""

    def __init__(self) -> None:
        self.queries = 0

    def rows(self, _sql: str) -> Any:
        self.queries += 1
        raise WarehouseError("no")

    def close(self) -> None: ...


class Guard:
    def __init__(self, log: Log, *, delivers: bool = False, connects: bool = True) -> None:
        self.log, self.engine, self.now_s = log, Engine(), float(T0)
        self.changes: list[str] = []
        options: dict[str, Any] = {"connect_to": lambda _: self.engine} if connects else {}
        self.processor = GuardProcessor(
            SETTINGS,
            AlertSettings(),
            lambda: REGISTRY,
            Report("guard", "g1"),
            self.changes.append,
            (lambda _notification, _messages: None) if delivers else None,
            health_log=log,  # type: ignore[arg-type]
            consumer=OnlyMember(),
            clock=lambda: self.now_s,
            **options,
        )


@pytest.fixture(autouse=True)
def no_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("barograph_server.alerts.guard.health_history.insert_rows", lambda *_: None)


def test_a_guard_whose_records_were_not_committed_reads_the_topic_before_it_writes_again() -> None:
    log, stop = Log(), threading.Event()
    log.rejects = 1
    log.on_call = lambda: stop.set() if log.rejects < 0 else None
    Guard(log).processor.run(stop)
    assert log.calls == ["lead", "rejected", "lead", "written"]


@pytest.mark.parametrize("ahead_s", [0, 86_400])
def test_records_continue_after_a_leader_whose_clock_was_ahead(ahead_s: int) -> None:
    last = msgspec.structs.replace(LAST, at_ms=LAST.at_ms + ahead_s * 1000)
    guard, stop = Guard(Log(last)), threading.Event()
    guard.now_s += 15
    guard.log.on_call = stop.set
    guard.processor.run(stop)
    written = guard.log.records["m"]
    assert (written.at_ms, written.sequence) == ((T0 + 15) * 1000, last.sequence + 1)


def test_a_clock_that_steps_back_does_not_suspend_the_rules() -> None:
    guard = Guard(Log())
    guard.processor.step()
    before = guard.engine.queries
    guard.now_s += 1
    guard.processor.step()
    assert guard.engine.queries == before, "no rule is due"
    guard.now_s -= 3600
    guard.processor.step()
    assert guard.engine.queries == 2 * before


def test_only_a_guard_that_sends_notifications_evaluates_rules_that_decide_no_state() -> None:
    rules = rules_for([CONTRACT], AlertSettings())
    deciding = {rule.title for rule in rules if rule.name in ("psi-major", "pipeline-lag", "processor-gone")}
    for delivers, titles in ((False, deciding), (True, {rule.title for rule in rules})):
        guard = Guard(Log(), delivers=delivers)
        guard.processor.step()
        evaluated = {text.partition(": cannot be evaluated")[0] for text in guard.changes if ": cannot be e" in text}
        assert evaluated == titles


def test_a_guard_that_cannot_start_closes_its_log() -> None:
    guard = Guard(Log())
    guard.log.problem = ProcessorError("the topic has 2 partitions")
    with pytest.raises(ProcessorError, match="the topic has 2 partitions"):
        guard.processor.run(threading.Event())
    assert guard.log.is_closed
    assert (guard.log.calls, guard.engine.queries) == ([], 0)


def test_a_guard_that_reaches_no_warehouse_reports_that_it_is_blind() -> None:
    guard = Guard(Log(LAST), connects=False)
    for _ in range(2):
        guard.processor.step()
        guard.now_s += BLIND_AFTER_S
    written = guard.log.records["m"]
    assert written.state == "unknown"
    assert [(each.rule, each.text.partition(": ")[0]) for each in written.reasons] == [
        (BLIND, "ClickHouse does not answer")
    ]
