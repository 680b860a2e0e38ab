"""The guard: verdicts in ClickHouse, rules, the topic `model-health`, and the state in a serving process."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from barograph.contract.file import parse_contract
from barograph.guard.guard import Guard
from barograph.guard.health import ModelHealth, decode_health

from alerts import AlertSettings
from alerts.guard.health_log import HealthLog
from alerts.guard.processor import GuardProcessor
from local.clickhouse import LocalClickHouse
from local.kafka import LocalKafka
from streams.registry.registry import Registry, build_registry
from streams.runtime.metrics_report import Report
from streams.settings import ProcessorSettings
from tests.support.operation import held_up
from tests.support.pipeline import Pipeline, wait_for
from tests.support.warehouse import row
from warehouse.client import Address, Client, connect
from warehouse.tables import insert_rows

HOUR_S = 3600
CONTRACT = parse_contract(
    "contract: 1\nmodel: m\nwindows: [{length: 1h, hop: 1m}]\n"
    "fields: {temp: {type: float, critical: true}}\n"
    "fallback: {rules: [psi-major], recover: 2s}\n"
    "alerts: {every: 60s, for: 0s, keep_firing_for: 0s}"
)
REGISTRY = build_registry([(CONTRACT, 1)], [])
WAIT_S = 60.0


class FastClock:
    """Unix seconds that pass a hundred times faster, so that rules that are due every minute are evaluated at once."""

    def __init__(self) -> None:
        self._start_s, self._began_s = time.time(), time.monotonic()

    def __call__(self) -> float:
        return self._start_s + 100 * (time.monotonic() - self._began_s)


def settings_of(pipeline: Pipeline, instance: str) -> ProcessorSettings:
    return ProcessorSettings(
        instance=instance,
        bootstrap_servers=pipeline.bootstrap,
        warehouse=pipeline.address,
        topics=pipeline.topics,
        session_timeout_s=6.0,
    )


def insert_verdict(client: Client, at: int, psi: float, record_seq: int) -> None:
    insert_rows(
        client,
        "drift",
        [
            row(
                "drift",
                **{"model": "m", "version": "1", "slice": "all", "field": "temp", "window": "1h", "n": 5000},
                **{"record_seq": record_seq, "window_start": at - HOUR_S, "window_end": at},
                **{"psi": psi, "psi_low": psi, "psi_high": psi, "level": "major" if psi > 0.2 else "stable"},
                judged_at=at * 1000,
            )
        ],
    )


def connect_soon(address: Address) -> Client:
    return connect(address, timeout_s=2)


@contextmanager
def running(pipeline: Pipeline, instance: str, clock: Any, registry: Registry = REGISTRY) -> Iterator[threading.Event]:
    """A guard on a thread of its own; its errors fail the test."""
    stop = threading.Event()
    errors: list[BaseException] = []
    settings = settings_of(pipeline, instance)
    guard = GuardProcessor(
        settings,
        AlertSettings(),
        lambda: registry,
        Report("guard", instance),
        print,
        clock=clock,
        connect_to=connect_soon,
    )

    def run() -> None:
        try:
            guard.run(stop)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(WAIT_S)
        assert not thread.is_alive()
        assert not errors, errors


def records(pipeline: Pipeline) -> dict[str, ModelHealth]:
    return HealthLog(settings_of(pipeline, "reader")).lead()


def test_a_serving_process_follows_the_verdicts(pipeline: Pipeline) -> None:
    pipeline.create(1)
    clock = FastClock()
    with connect(pipeline.address) as client, running(pipeline, "g1", clock):
        states: list[str] = []
        with Guard("m", bootstrap_servers=pipeline.bootstrap, topic_prefix=pipeline.topics.prefix) as guard:
            assert guard.state == "unknown"
            guard.on_change(lambda changed: states.append(changed.state))
            answer = guard.use(lambda x: ("primary", x), lambda x: ("fallback", x))
            wait_for(lambda: guard.state == "healthy", "the first record", WAIT_S)
            assert answer(1) == ("primary", 1)
            insert_verdict(client, int(clock()) // 60 * 60, 0.5, 1)
            wait_for(lambda: guard.state == "degraded", "the drift", WAIT_S)
            assert answer(2) == ("fallback", 2)
            (reason,) = guard.reasons
            assert (reason.rule, reason.field, reason.value, reason.low) == ("psi-major", "temp", 0.5, 0.5)
            insert_verdict(client, int(clock()) // 60 * 60, 0.01, 2)
            wait_for(lambda: guard.state == "healthy", "the recovery", WAIT_S)
            assert answer(3) == ("primary", 3)
            history = "SELECT DISTINCT state, toString(rules), toString(fields) FROM model_health"
            stored = {("healthy", "[]", "[]"), ("degraded", "['psi-major']", "['temp']")}
            wait_for(lambda: stored <= set(client.rows(history)), "the rows of the table model_health", WAIT_S)
        assert states == ["healthy", "degraded", "healthy"]


@pytest.mark.long
def test_a_new_leader_continues_where_the_one_before_ended(pipeline: Pipeline) -> None:
    pipeline.create(1)
    clock = FastClock()
    with connect(pipeline.address) as client:
        insert_verdict(client, int(clock()) // 60 * 60, 0.5, 1)
    with (
        running(pipeline, "g1", clock) as first,
        Guard("m", bootstrap_servers=pipeline.bootstrap, topic_prefix=pipeline.topics.prefix) as guard,
    ):
        states: list[str] = []
        wait_for(lambda: guard.state == "degraded", "the drift", WAIT_S)
        guard.on_change(lambda changed: states.append(changed.state))
        with running(pipeline, "g2", clock):
            first.set()
            wait_for(lambda: guard._record is not None and guard._record.guard == "g2", "the second leader", WAIT_S)
            before = guard._record
            wait_for(lambda: guard._record is not before, "another record", WAIT_S)
        assert guard.state == "degraded"
        assert not states, "the state must not flap when the leader changes"


def published(pipeline: Pipeline) -> list[ModelHealth]:
    """Every record of the topic, in order."""
    return [decode_health(message.value()) for message in pipeline.read_all(pipeline.topics.model_health)]


@pytest.mark.long
def test_killed_and_paused_leaders_never_make_the_state_flap(pipeline: Pipeline) -> None:
    pipeline.create(1)
    pipeline.register(CONTRACT, [])
    with connect(pipeline.address) as client:
        insert_verdict(client, int(time.time()) // 60 * 60, 0.5, 1)
    pipeline.start("guard", "g1", clock="live")
    with Guard("m", bootstrap_servers=pipeline.bootstrap, topic_prefix=pipeline.topics.prefix) as guard:

        def leads(instance: str) -> bool:
            return guard._record is not None and guard._record.guard == instance

        wait_for(lambda: guard.state == "degraded", "the drift", WAIT_S)
        states: list[str] = []
        guard.on_change(lambda changed: states.append(changed.state))
        pipeline.kill("g1")
        pipeline.start("guard", "g2", clock="live")
        wait_for(lambda: leads("g2"), "the guard after the killed one", WAIT_S)
        paused = pipeline.processes.pop("g2")
        paused.send_signal(signal.SIGSTOP)
        pipeline.start("guard", "g3", clock="live")
        wait_for(lambda: leads("g3"), "the guard after the paused one", WAIT_S)
        paused.send_signal(signal.SIGCONT)
        # It joins the group again, or its transaction is fenced and it ends. The group may make it the leader again.
        later = int(time.time() * 1000) + 15_000
        wait_for(lambda: guard._record is not None and guard._record.at_ms > later, "further records", WAIT_S)
        paused.send_signal(signal.SIGKILL)
        paused.wait(WAIT_S)
        assert not states
    records = published(pipeline)
    sequences = [record.sequence for record in records]
    assert sequences == sorted(set(sequences)), "each record has a higher number than the one before"
    assert {record.state for record in records} <= {"degraded", "healthy"}
    order = [key for key, _ in itertools.groupby(record.guard for record in records)]
    assert order[:3] == ["g1", "g2", "g3"]


@pytest.mark.long
def test_without_clickhouse_the_state_is_unknown_and_returns_by_itself(
    broker: LocalKafka, topic_prefix: str, tmp_path: Path
) -> None:
    with LocalClickHouse(tmp_path / "clickhouse", port=0) as engine:
        pipeline = Pipeline(broker.bootstrap_servers, engine.address("guard"), topic_prefix, tmp_path)
        pipeline.create(1)
        clock = FastClock()
        with (
            running(pipeline, "g1", clock),
            Guard("m", bootstrap_servers=pipeline.bootstrap, topic_prefix=pipeline.topics.prefix) as guard,
        ):
            states: list[str] = []
            wait_for(lambda: guard.state == "healthy", "the first record", WAIT_S)
            guard.on_change(lambda changed: states.append(changed.state))
            with held_up(engine.pid):
                wait_for(lambda: guard.state == "unknown", "blindness", WAIT_S)
                assert not guard.uses_fallback
                (reason,) = guard.reasons
                assert reason.rule == "blind"
            wait_for(lambda: guard.state == "healthy", "sight", WAIT_S)
        assert states == ["unknown", "healthy"]
