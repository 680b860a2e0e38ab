"""The guard rolls prompts back on real Kafka and ClickHouse: once, whatever stops in between."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from barograph import Prompts
from barograph.contract.file import parse_contract
from barograph.prompts.catalogue import PromptCatalogue
from barograph.prompts.file import parse_content
from barograph.prompts.records import PromptLabel, PromptRecord
from structlog.testing import capture_logs

from barograph_server.alerts.guard.prompt_rollbacks import PromptRollbacks
from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.prompts.changes import Author, Draft, move_label, register_version
from barograph_server.streams.prompts.prompt_log import PromptLog
from barograph_server.streams.prompts.registry_change import change_registry
from barograph_server.streams.registry.registry import build_registry
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.warehouse.client import Address, Client, connect
from barograph_server.warehouse.errors import WarehouseBusy, WarehouseError
from barograph_server.warehouse.rollouts.rollback_proposals import RollbackProposal
from barograph_server.warehouse.tables import insert_records
from tests.support.guards import WAIT_S, running, settings_of
from tests.support.pipeline import Pipeline, wait_for

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
    """Every change of the label that the topic has."""
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


def test_several_guards_at_once_move_the_label_once(pipeline: Pipeline, settings: ProcessorSettings) -> None:
    with connect(pipeline.address) as client:
        insert_records(client, "rollback_proposals", [proposal()])
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

    threads = [threading.Thread(target=check) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert changes_of(settings)[-2:] == [(2, "ana"), (1, "guard")]
    assert sum(author == "guard" for _, author in changes_of(settings)) == 1
    assert len(texts) == 4, "each guard says what it did, or why it did nothing"


@pytest.mark.long
@pytest.mark.parametrize("step", ["before Kafka", "after Kafka"])
def test_a_killed_guard_is_continued(
    pipeline: Pipeline, settings: ProcessorSettings, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """Nothing catches it."""

    publish = PromptLog.publish

    def mortal(log: PromptLog, records: Any) -> None:
        if step == "after Kafka":
            publish(log, records)
        raise Killed

    with connect(pipeline.address) as client:
        insert_records(client, "rollback_proposals", [proposal()])
        with monkeypatch.context() as patched:
            patched.setattr(PromptLog, "publish", mortal)
            with pytest.raises(Killed):
                rollbacks(settings, []).check({"m": CONTRACT})
        assert client.rows(LABELS)[-1][1] == "ana"
        rollbacks(settings, []).check({"m": CONTRACT})
        assert client.rows(LABELS)[-1] == (1, "guard", "harm")
    assert sum(author == "guard" for _, author in changes_of(settings)) == 1


def test_with_clickhouse_away_after_the_change_the_rows_follow(pipeline: Pipeline, settings: ProcessorSettings) -> None:
    calls: list[Address] = []

    def connect_once(address: Address) -> Client:
        calls.append(address)
        if len(calls) == 2:
            raise WarehouseBusy("ClickHouse is down")
        return connect(address)

    texts: list[str] = []
    with connect(pipeline.address) as client:
        insert_records(client, "rollback_proposals", [proposal()])
        own = rollbacks(settings, texts, connect_once)
        with pytest.raises(WarehouseError, match="ClickHouse is down"):
            own.check({"m": CONTRACT})
        assert changes_of(settings)[-1] == (1, "guard")
        assert client.rows(LABELS)[-1][1] == "ana"
        own.check({"m": CONTRACT})
        assert client.rows(LABELS)[-1] == (1, "guard", "harm")
    assert sum(author == "guard" for _, author in changes_of(settings)) == 1


def test_nothing_is_done_that_the_contract_does_not_ask_for(pipeline: Pipeline, settings: ProcessorSettings) -> None:
    texts: list[str] = []
    cases: tuple[tuple[Mapping[str, Any], Mapping[str, Any], list[str]], ...] = (
        ({}, {}, ["no contract of the model has a rollback with mode act"]),
        ({"m": CONTRACT}, {"mode": "propose"}, []),
        ({"m": CONTRACT}, {"arm": "answer@3", "version": 3}, ["the contract has no arm answer@3"]),
        ({"m": CONTRACT}, {"control": "answer@0"}, ["the contract compares with answer@1, not with answer@0"]),
        ({"m": CONTRACT}, {"label": "candidate"}, ["the contract moves answer:production, not answer:candidate"]),
    )
    with connect(pipeline.address) as client:
        for contracts, changes, reasons in cases:
            client.command("TRUNCATE TABLE rollback_proposals")
            insert_records(client, "rollback_proposals", [proposal(**changes)])
            with capture_logs() as lines:
                own = rollbacks(settings, texts)
                own.check(contracts)
                own.check(contracts)
            skipped = [line["reason"] for line in lines if line["event"] == "proposed rollback skipped"]
            assert skipped == reasons, changes
    assert changes_of(settings)[-1] == (2, "ana")
    assert texts == []
