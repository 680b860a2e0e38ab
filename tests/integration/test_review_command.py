"""`barograph review` from the command line: files, agreement, the page's process, and the role that it needs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from barograph.contract import Contract, Text
from barograph.contract.evaluators import Evaluator
from barograph.contract.file import dump_contract

from barograph_server.contracts import read_contract
from barograph_server.evaluation.review.exchange import collect_entries
from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.warehouse import migrate
from barograph_server.warehouse.client import WarehouseError
from barograph_server.warehouse.evaluation.review_queue import read_queue, read_review_text
from barograph_server.warehouse.evaluation.reviews import Review, read_reviews, store_reviews, unsent_gold
from barograph_server.warehouse.tables import insert_rows
from tests.support.command_line import run
from tests.support.environment import enter_folder
from tests.support.http import request
from tests.support.pipeline import Pipeline, simple_baseline, simple_contract
from tests.support.reviewed_answers import AT, EVALUATOR, MODEL, SOURCE, answer_row, evaluation_row, store
from tests.support.roles_gateway import as_role, roles_gateway

N = 6


def contract() -> Contract:
    return simple_contract(
        model=MODEL, text=Text(content="keep", sample=1.0), evaluators={"cited": Evaluator(check="refusal")}
    )


def rows() -> list[dict[str, Any]]:
    return [
        *(answer_row(f"a{i}", f"=SUM({i})") for i in range(N)),
        *(evaluation_row(f"a{i}", "faulty" if i % 2 else "sound") for i in range(N)),
    ]


def reviews() -> list[Review]:
    labels = [("a0", "ana", "sound"), ("a0", "ben", "sound"), ("a1", "ana", "faulty"), ("a1", "ben", "sound")]
    labels += [("a2", "ana", "unsure"), ("a3", "ben", "faulty"), ("a4", "ana", "sound")]
    return [
        Review(EVALUATOR, id_, "1", name, AT + timedelta(milliseconds=i), label, "random", 1.0, "-1" * (i % 2))
        for i, (id_, name, label) in enumerate(labels)
    ]


@pytest.fixture
def installed(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Pipeline:
    pipeline.create()
    pipeline.register(contract(), [simple_baseline()])
    with pipeline.client as client:
        store(client, rows())
    lines = f'bootstrap_servers = "{pipeline.bootstrap}"', f'topic_prefix = "{pipeline.topics.prefix}"'
    enter_folder(tmp_path, monkeypatch, pipeline.address, *lines)
    return pipeline


def published(pipeline: Pipeline) -> set[tuple[str, bool, int]]:
    values = [message.value() for message in pipeline.read_all(pipeline.topics.labels)]
    events = [json.loads(value) for value in values if value]
    return {(each["id"], each["label"], each["at"]) for each in events}


@pytest.mark.parametrize("file_format", ["csv", "label-studio"])
def test_export_and_import_are_a_round_trip(
    installed: Pipeline, capsys: pytest.CaptureFixture[str], file_format: str
) -> None:
    with installed.client as client:
        store_reviews(client, reviews())
    words = ("labels", "--model", MODEL, "--evaluator", "cited", "--format", file_format)
    assert run("review", "export", *words, "--share", "1") == 0
    assert "labels: 7 labels" in capsys.readouterr().out
    exported = Path("labels").read_bytes()
    with installed.client as client:
        before = read_reviews(client, EVALUATOR)
        client.command("TRUNCATE TABLE reviews")
        assert run("review", "import", *words) == 0
        assert read_reviews(client, EVALUATOR) == before == reviews()
    assert "labels: 7 labels stored, 6 gold labels sent to Kafka." in capsys.readouterr().out
    gold = {(each.id, each.label == "faulty", round(each.at.timestamp() * 1000)) for each in reviews() if each.is_gold}
    assert published(installed) == gold
    assert run("review", "import", *words) == 0
    output = capsys.readouterr().out
    assert "labels: 0 labels stored" in output
    assert "7 stored already" in output
    assert published(installed) == gold
    with installed.client as client:
        assert read_reviews(client, EVALUATOR) == before
        # a5 has no label, and further answers need a second one.
        entries = collect_entries(client, SOURCE, "gold", 1.0)
        assert ("a5", "=SUM(5)") in [(each.id, each.answer) for each in entries if not each.label]
    assert run("review", "export", *words, "--share", "1") == 0
    assert Path("labels").read_bytes() == exported


def test_agreement_lists_answers(installed: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("review", "agreement", "--model", MODEL, "--evaluator", "cited") == 0
    output = capsys.readouterr().out
    assert "No answer has two labels yet" in output
    assert "bot.cited: labels of people count as truth in rates. Two people labelled 0 answers" in output
    with installed.client as client:
        store_reviews(client, reviews())
    assert run("review", "agreement", "--model", MODEL, "--evaluator", "cited", "--format", "json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["labels"], result["agreement"]["items"]) == (7, 2)
    # Two pairs, one of which differs: 1 − 3·2/(16 − 10).
    assert result["agreement"]["alpha"] == pytest.approx(0.0)
    assert (result["label_errors"]["reviewed_twice"], result["label_errors"]["disagreements"]) == (2, 1)
    assert result["disagreements"] == [{"id": "a1", "version": "1", "labels": {"ana": "faulty", "ben": "sound"}}]


def test_the_page_is_served_until_the_signal(installed: Pipeline) -> None:
    words = [sys.executable, "-m", "barograph_server.cli.main", "review", "serve", "--model", MODEL]
    words += ["--evaluator", "cited", "--as", "ana", "--share", "1"]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONUNBUFFERED": "1"}
    pipe = subprocess.PIPE
    process = subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, env=environ)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.match(r"Review 6 answers at (http://127\.0\.0\.1:\d+/) ", line)
        assert match, line
        body = json.dumps({"id": "a1", "version": "1", "label": "faulty"}).encode()
        answer = request("POST", f"{match[1]}api/labels", body, {"Content-Type": "application/json"}, timeout_s=60)
        assert answer.json()["waiting"] == 1
    finally:
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert "1 answer labelled, 1 gold label sent to Kafka." in output
    assert {(event_id, label) for event_id, label, _ in published(installed)} == {("a1", True)}


def test_the_role_allows_review_and_nothing_else(engine: LocalClickHouse, tmp_path: Path) -> None:
    with roles_gateway(tmp_path / "guarded", engine.host, "reviewed") as address:
        with as_role(address, "default", create=True) as client:
            migrate.apply(client)
            store(client, rows())
            row = {"model": MODEL, "contract_id": "c", "yaml": dump_contract(contract()), "applied_at": 1}
            insert_rows(client, "contracts", [row])
        with as_role(address, "barograph_review") as client:
            assert read_contract(client, MODEL).model == MODEL
            queue = read_queue(client, SOURCE, read_reviews(client, EVALUATOR), "ana", "gold", 1.0)
            assert len(queue.items) == N
            assert read_queue(client, SOURCE, [], "ana", "learning", 1.0).items == ()
            assert read_review_text(client, SOURCE, queue.items[0]) is not None
            assert read_review_text(client, SOURCE, replace(queue.items[0], id="gone")) is None
            store_reviews(client, reviews())
            assert len(unsent_gold(client, EVALUATOR)) == 6
            for statement in ("INSERT INTO labels (id) VALUES ('x')", "SELECT * FROM panes"):
                with pytest.raises(WarehouseError, match="Grant the user this right"):
                    client.command(statement)
        with (
            as_role(address, "barograph_analyst") as client,
            pytest.raises(WarehouseError, match=r"readonly|Grant the user this right"),
        ):
            store_reviews(client, [replace(reviews()[0], at=datetime.now(UTC))])
