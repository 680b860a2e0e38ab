"""The guard on real servers: verdicts, rules, the topic `model-health`, rollbacks of prompts."""

import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from barograph import Prompts
from barograph.contract.file import parse_contract
from barograph.guard.guard import Guard
from barograph.guard.health import HealthState, ModelHealth, encode_health
from barograph.prompts.catalogue import PromptCatalogue
from barograph.prompts.file import parse_content
from barograph.prompts.records import PromptLabel, PromptRecord
from confluent_kafka import Producer
from structlog.testing import capture_logs

from barograph_server.alerts.guard.health_log import HealthLog
from barograph_server.alerts.guard.prompt_rollbacks import PromptRollbacks
from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.prompts.changes import Author, Draft, move_label, register_version
from barograph_server.streams.prompts.registry_change import PromptLog, change_registry
from barograph_server.streams.registry.registry import build_registry
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.warehouse.client import Address, Client, connect
from barograph_server.warehouse.errors import WarehouseBusy, WarehouseError
from barograph_server.warehouse.rollouts.rollback_proposals import RollbackProposal
from barograph_server.warehouse.tables import insert_records
from tests.support.guards import WAIT_S, FastClock, insert_verdict, running, settings_of
from tests.support.pipeline import Pipeline, wait_for
from tests.support.scoring import Killed

HOSTILE = (
    b"no JSON",
    b"\xff\xfe",
    b'{"model": "m"}',
    b"[" * 100_000,
    b'{"model": "m", "x": ' + b"[" * 100_000,
    *(
        b'{"model": "%s", "state": "%s", "since_ms": 1, "at_ms": %s, "evaluated_at_ms": 1, "sequence": %s}' % values
        for values in (
            (b"m", b"fine", b"1", b"1"),
            (b"m", b"healthy", b"1e400", b"1"),
            (b"m", b"healthy", b"1", b"9" * 20),
            (b"other", b"healthy", b"1", b"%d" % 2**53),
            (b"m", b"degraded", b"1", b"%d" % 2**53),
        )
    ),
)
"""Values of records with the key `m`."""


def health(state: HealthState, sequence: int) -> ModelHealth:
    now_ms = int(time.time() * 1000)
    return ModelHealth(model="m", state=state, since_ms=now_ms, at_ms=now_ms, evaluated_at_ms=now_ms, sequence=sequence)


@pytest.fixture
def log(pipeline: Pipeline) -> Iterator[HealthLog]:
    pipeline.create(1)
    result = HealthLog(settings_of(pipeline, "writer"))
    result.lead()
    yield result
    result.close()


def follow(pipeline: Pipeline, **options: Any) -> Guard:
    return Guard("m", bootstrap_servers=pipeline.bootstrap, topic_prefix=pipeline.topics.prefix, **options)


@pytest.mark.smoke
def test_a_serving_process_follows_the_verdicts(pipeline: Pipeline) -> None:
    pipeline.create(1)
    clock = FastClock()
    with connect(pipeline.address) as client, running(pipeline, "g1", clock):
        states: list[str] = []
        with follow(pipeline) as guard:
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


def test_unreadable_records_are_ignored_and_reported_once(
    pipeline: Pipeline, log: HealthLog, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "barograph.guard"), follow(pipeline) as guard:
        log.publish([health("degraded", 1)])
        wait_for(lambda: guard.state == "degraded", "the first record", WAIT_S)
        producer = Producer({"bootstrap.servers": pipeline.bootstrap})
        topic = pipeline.topics.model_health
        for value in HOSTILE:
            producer.produce(topic, value, b"m")
        producer.produce(topic, b"\x00", b"\xff\xfe")
        producer.produce(topic, encode_health(health("healthy", 9)), b"another model")
        assert producer.flush(30) == 0
        changes: list[str] = []
        guard.on_change(lambda change: changes.append(change.state))
        assert log.publish([health("healthy", 2)])
        wait_for(lambda: changes, "the record after them", WAIT_S)
        assert changes == ["healthy"], "the state was kept"
    [warning] = [each.message for each in caplog.records]
    assert warning.startswith(f"an unreadable record of model m in topic {topic} is ignored, as are further ones: ")
    restored = log.lead()
    assert {model: record.sequence for model, record in restored.items()} == {"m": 2}, "a new leader ignores them too"


def test_a_forked_serving_process_follows_with_a_reader_of_its_own(pipeline: Pipeline, log: HealthLog) -> None:
    with follow(pipeline) as guard:
        log.publish([health("healthy", 1)])
        wait_for(lambda: guard.state == "healthy", "the first record", WAIT_S)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                assert str(guard.state) == "healthy", "until it has read, the state of the parent holds"
                end_s = time.monotonic() + WAIT_S
                while guard.state != "degraded" and time.monotonic() < end_s:
                    time.sleep(0.01)
                answer = guard.use(lambda: "primary", lambda: "fallback")
                code = 0 if answer() == "fallback" else 2
                guard.close()
            finally:
                os._exit(code)
        log.publish([health("degraded", 2)])
        assert os.waitpid(pid, 0)[1] == 0
        wait_for(lambda: guard.state == "degraded", "the parent follows too", WAIT_S)


CONTRACT = parse_contract(
    "contract: 1\nmodel: m\narms: {shares: {answer@1: 0.5, answer@2: 0.5}}\n"
    "rollback: {prompt: answer, margins: {errors: 0.01}, mode: act}\n"
    "fallback: {rules: [errors]}\n"
)
IN_FORCE_S = 5.0
LABELS = "SELECT version, changed_by, reason FROM prompt_labels FINAL ORDER BY sequence"


def proposal(**changes: Any) -> RollbackProposal:
    now = datetime.now(UTC).replace(microsecond=0)
    return replace(
        RollbackProposal("m", "answer", "production", 2, "answer@1", "answer@2", "previous", "act", now, "harm", now),
        **changes,
    )


def move(settings: ProcessorSettings, version: int, ago: timedelta = timedelta(0), by: str = "ana") -> None:
    """Let the label point to a version of two, as a person does."""

    def plan(catalogue: PromptCatalogue, author: Author) -> list[PromptRecord]:
        records: list[PromptRecord] = []
        for text in ("a", "b"):
            draft = Draft(parse_content(f"name: answer\ntemplate: {text}\n"), "answer.yaml")
            record, is_new = register_version(catalogue, draft, author)
            if is_new:
                catalogue.add(record)
                records.append(record)
        change = move_label(catalogue, "answer", "production", version, author, "by hand")
        return [*records, *([] if change is None else [change])]

    author = Author(by, int((time.time() - ago.total_seconds()) * 1000))
    assert not change_registry(settings, plan, author, lambda: connect(settings.warehouse)).failure


def changes_of(settings: ProcessorSettings) -> list[tuple[int, str]]:
    log = PromptLog(settings)
    log.read()
    return [(each.version, each.changed_by) for each in log.records if isinstance(each, PromptLabel)]


@pytest.fixture
def settings(pipeline: Pipeline) -> ProcessorSettings:
    """Version 2 has been in production for an hour."""
    pipeline.create(1)
    own = settings_of(pipeline, "g1")
    move(own, 1, timedelta(hours=2))
    move(own, 2, timedelta(hours=1))
    return own


@pytest.fixture
def proposed(pipeline: Pipeline, settings: ProcessorSettings) -> Iterator[Client]:
    with connect(pipeline.address) as client:
        insert_records(client, "rollback_proposals", [proposal()])
        yield client


def rollbacks(settings: ProcessorSettings, texts: list[str], connect_to: Any = connect) -> PromptRollbacks:
    return PromptRollbacks(settings, texts.append, connect_to, time.time)


def test_a_proposal_reaches_serving_processes_and_only_once(pipeline: Pipeline, settings: ProcessorSettings) -> None:
    registry = build_registry([(CONTRACT, 1)], [])
    with (
        connect(pipeline.address) as client,
        Prompts(bootstrap_servers=pipeline.bootstrap, topic_prefix=pipeline.topics.prefix) as prompts,
        running(pipeline, "g1", time.time, registry),
    ):
        assert prompts.wait(WAIT_S)
        assert prompts.get("answer").id == "answer@2"
        insert_records(client, "rollback_proposals", [proposal()])
        wait_for(lambda: client.rows(LABELS)[-1] == (1, "guard", "harm"), "the guard's change", WAIT_S)
        wait_for(lambda: prompts.get("answer").id == "answer@1", "the rollback", IN_FORCE_S)
        columns = "kind, subject, before, after, reason, changed_by"
        last = client.rows(f"SELECT {columns} FROM changes FINAL ORDER BY changed_at DESC LIMIT 1")
        assert last == [("prompt-rollback", "answer:production", "2", "1", "harm", "guard")]
    # A person decides otherwise; a guard that starts then has the old proposal only.
    move(settings, 2)
    texts: list[str] = []
    rollbacks(settings, texts).check({"m": CONTRACT})
    assert changes_of(settings)[-1] == (2, "ana")
    (text,) = texts
    assert "ana changed answer:production after the hours of the evidence" in text


@pytest.mark.usefixtures("proposed")
def test_several_guards_at_once_move_the_label_once(settings: ProcessorSettings) -> None:
    texts: list[str] = []
    start = threading.Barrier(4)

    def check() -> None:
        own = rollbacks(settings, texts)
        start.wait()
        for _ in range(20):
            try:
                own.check({"m": CONTRACT})
            except ProcessorError:
                continue  # another one fenced it
            return

    with ThreadPoolExecutor(4) as pool:
        for each in [pool.submit(check) for _ in range(4)]:
            each.result(WAIT_S)
    assert changes_of(settings)[-2:] == [(2, "ana"), (1, "guard")]
    assert sum(author == "guard" for _, author in changes_of(settings)) == 1
    assert len(texts) == 4, "each guard says what it did, or why it did nothing"


@pytest.mark.long
@pytest.mark.parametrize("step", ["before Kafka", "after Kafka"])
def test_a_killed_guard_is_continued(
    proposed: Client, settings: ProcessorSettings, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = PromptLog.publish

    def mortal(log: PromptLog, records: Any) -> None:
        if step == "after Kafka":
            publish(log, records)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(PromptLog, "publish", mortal)
        with pytest.raises(Killed):
            rollbacks(settings, []).check({"m": CONTRACT})
    assert proposed.rows(LABELS)[-1][1] == "ana"
    rollbacks(settings, []).check({"m": CONTRACT})
    assert proposed.rows(LABELS)[-1] == (1, "guard", "harm")
    assert sum(author == "guard" for _, author in changes_of(settings)) == 1


def test_with_clickhouse_away_after_the_change_the_rows_follow(proposed: Client, settings: ProcessorSettings) -> None:
    calls: list[Address] = []

    def connect_once(address: Address) -> Client:
        calls.append(address)
        if len(calls) == 2:
            raise WarehouseBusy("ClickHouse is down")
        return connect(address)

    own = rollbacks(settings, [], connect_once)
    with pytest.raises(WarehouseError, match="ClickHouse is down"):
        own.check({"m": CONTRACT})
    assert (changes_of(settings)[-1], proposed.rows(LABELS)[-1][1]) == ((1, "guard"), "ana")
    own.check({"m": CONTRACT})
    assert proposed.rows(LABELS)[-1] == (1, "guard", "harm")
    assert sum(author == "guard" for _, author in changes_of(settings)) == 1


def test_nothing_is_done_that_the_contract_does_not_ask_for(proposed: Client, settings: ProcessorSettings) -> None:
    texts: list[str] = []
    cases: tuple[tuple[Mapping[str, Any], Mapping[str, Any], list[str]], ...] = (
        ({}, {}, ["no contract of the model has a rollback with mode act"]),
        ({"m": CONTRACT}, {"mode": "propose"}, []),
        ({"m": CONTRACT}, {"arm": "answer@3", "version": 3}, ["the contract has no arm answer@3"]),
        ({"m": CONTRACT}, {"control": "answer@0"}, ["the contract compares with answer@1, not with answer@0"]),
        ({"m": CONTRACT}, {"label": "candidate"}, ["the contract moves answer:production, not answer:candidate"]),
    )
    for contracts, changes, reasons in cases:
        proposed.command("TRUNCATE TABLE rollback_proposals")
        insert_records(proposed, "rollback_proposals", [proposal(**changes)])
        with capture_logs() as lines:
            own = rollbacks(settings, texts)
            own.check(contracts)
            own.check(contracts)
        skipped = [line["reason"] for line in lines if line["event"] == "proposed rollback skipped"]
        assert skipped == reasons, changes
    assert changes_of(settings)[-1] == (2, "ana")
    assert texts == []
