"""`barograph review`: files, agreement, the role that it needs, and labels of people in the tables."""

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

from barograph_server.contracts import read_contract
from barograph_server.evaluation.review.exchange import collect_entries
from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.warehouse import migrate
from barograph_server.warehouse.client import Client, WarehouseError
from barograph_server.warehouse.evaluation.review_queue import ReviewQueue, read_queue, read_review_text, uniform_hash
from barograph_server.warehouse.evaluation.reviews import (
    Review,
    read_reviews,
    review_agreement,
    store_reviews,
    unsent_gold,
)
from tests.support import scoring
from tests.support.command_line import OutputOf
from tests.support.environment import enter_folder
from tests.support.http import request
from tests.support.pipeline import Pipeline, simple_baseline, simple_contract
from tests.support.reviewed_answers import AT, EVALUATOR, MODEL, SOURCE, answer_row, evaluation_row, store
from tests.support.roles_gateway import as_role, roles_gateway
from tests.support.warehouse import add_rows

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
    pipeline.prepare(contract(), [simple_baseline()])
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
def test_export_and_import_are_a_round_trip(installed: Pipeline, output_of: OutputOf, file_format: str) -> None:
    with installed.client as client:
        store_reviews(client, reviews())
    words = ("labels", "--model", MODEL, "--evaluator", "cited", "--format", file_format)
    assert "labels: 7 labels" in output_of(0, "review", "export", *words, "--share", "1")
    exported = Path("labels").read_bytes()
    with installed.client as client:
        before = read_reviews(client, EVALUATOR)
        client.command("TRUNCATE TABLE reviews")
        output = output_of(0, "review", "import", *words)
        assert read_reviews(client, EVALUATOR) == before == reviews()
    assert "labels: 7 labels stored, 6 gold labels sent to Kafka." in output
    gold = {(each.id, each.label == "faulty", round(each.at.timestamp() * 1000)) for each in reviews() if each.is_gold}
    assert published(installed) == gold
    output = output_of(0, "review", "import", *words)
    assert "labels: 0 labels stored" in output
    assert "7 stored already" in output
    assert published(installed) == gold
    with installed.client as client:
        assert read_reviews(client, EVALUATOR) == before
        # a5 has no label, and further answers need a second one.
        entries = collect_entries(client, SOURCE, "gold", 1.0)
        assert ("a5", "=SUM(5)") in [(each.id, each.answer) for each in entries if not each.label]
    output_of(0, "review", "export", *words, "--share", "1")
    assert Path("labels").read_bytes() == exported


def test_agreement_lists_answers(installed: Pipeline, output_of: OutputOf) -> None:
    words = ("review", "agreement", "--model", MODEL, "--evaluator", "cited")
    output = output_of(0, *words)
    for text in ("No answer has two labels yet", "count as truth in rates. Two people labelled 0 answers"):
        assert text in output
    with installed.client as client:
        store_reviews(client, reviews())
    result = json.loads(output_of(0, *words, "--format", "json"))
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
            scoring.register(client, contract())
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
        refused = pytest.raises(WarehouseError, match=r"readonly|Grant the user this right")
        with as_role(address, "barograph_analyst") as client, refused:
            store_reviews(client, [replace(reviews()[0], at=datetime.now(UTC))])


ANSWERS = 400


def review(event_id: str, reviewer: str = "ana", label: str = "faulty", **changes: Any) -> Review:
    plain = Review(EVALUATOR, event_id, "1", reviewer, datetime.now(UTC), label, "random", 0.1)
    return replace(plain, **changes)


def ids(queue: ReviewQueue) -> set[str]:
    return {item.id for item in queue.items}


@pytest.fixture
def answers(client: Client) -> Client:
    rows = [answer_row(f"a{i}") for i in range(ANSWERS)]
    rows += [evaluation_row(f"a{i}", "faulty" if i % 4 == 0 else "sound") for i in range(ANSWERS)]
    # Without text, without a result, without an evaluation: nobody can review these.
    rows += [answer_row("t", text=""), evaluation_row("t", "sound")]
    rows += [answer_row("e"), evaluation_row("e", "", error="answer-cut"), answer_row("n")]
    store(client, rows)
    return client


def test_a_random_part_is_chosen_by_hash_of_the_id(answers: Client) -> None:
    queue = read_queue(answers, SOURCE, [], "ana", "gold", 0.25)
    expected = {f"a{i}" for i in range(ANSWERS) if uniform_hash("gold", EVALUATOR, f"a{i}") < 0.25}
    assert 50 < len(expected) < 150
    assert ids(queue) == expected
    assert {(item.version, item.reason, item.probability) for item in queue.items} == {("1", "random", 0.25)}
    assert read_queue(answers, SOURCE, [], "ana", "gold", 0.25) == queue
    assert ids(read_queue(answers, SOURCE, [], "ana", "gold", 0.5)) > expected
    assert ids(read_queue(answers, SOURCE, [], "ana", "gold", 1.0)) == {f"a{i}" for i in range(ANSWERS)}
    # Another reviewer gets the same sample, in another order.
    other = read_queue(answers, SOURCE, [], "ben", "gold", 0.25)
    assert ids(other) == expected
    assert other.items != queue.items


def test_a_share_of_the_answers_goes_to_two_reviewers(answers: Client) -> None:
    first = read_queue(answers, SOURCE, [], "ana", "gold", 0.5, 0.3)
    done = [review(item.id, "ana") for item in first.items]
    assert read_queue(answers, SOURCE, done, "ana", "gold", 0.5, 0.3).items == ()
    second = read_queue(answers, SOURCE, done, "ben", "gold", 0.5, 0.3)
    assert ids(second) == {each for each in ids(first) if uniform_hash("second", EVALUATOR, each) < 0.3}
    assert 0 < len(second.items) < len(first.items)
    done += [review(item.id, "ben") for item in second.items]
    assert read_queue(answers, SOURCE, done, "eva", "gold", 0.5, 0.3).items == ()


def test_labels_for_learning_do_not_thin_out_gold(answers: Client) -> None:
    """A random part without the uncertain answers would be biased."""
    everything = read_queue(answers, SOURCE, [], "ana", "gold", 1.0, 0.0)
    learned = [review(f"a{i}", "ana", reason="uncertain", probability=1.0) for i in range(10)]
    left = read_queue(answers, SOURCE, learned, "ana", "gold", 1.0, 0.0)
    assert ids(everything) - ids(left) == {f"a{i}" for i in range(10)}
    assert sorted(left.adopted, key=lambda each: each.id) == [
        replace(each, reason="random", probability=1.0) for each in sorted(learned, key=lambda each: each.id)
    ]
    assert ids(read_queue(answers, SOURCE, learned, "ben", "gold", 1.0, 0.0)) == ids(everything)


def test_uncertain_and_disagreeing_answers_for_learning(client: Client) -> None:
    n = 39
    rows = [answer_row(f"a{i}") for i in range(n)]
    rows += [evaluation_row(f"a{i}", "faulty" if i < 10 else "sound", float(i)) for i in range(n)]
    rows += [answer_row("split"), evaluation_row("split", "", error="judge-disagreement")]
    rows += [evaluation_row("a30", "faulty", model="bot.judge"), evaluation_row("a31", "sound", model="bot.judge")]
    store(client, rows)
    queue = read_queue(client, SOURCE, [], "ana", "learning", 1.0)
    reasons = {item.id: item.reason for item in queue.items}
    # The boundary is at 9.5: the nearest tenth of the 39 scores, and those equally near, are 8 to 11.
    assert reasons == {**dict.fromkeys(["a8", "a9", "a10", "a11", "split"], "uncertain"), "a30": "disagreement"}
    half = read_queue(client, SOURCE, [], "ana", "learning", 0.5)
    assert ids(half) == {each for each in reasons if uniform_hash("learning", EVALUATOR, each) < 0.5}
    done = [review("a30", "ana", reason="disagreement")]
    assert "a30" not in ids(read_queue(client, SOURCE, done, "ana", "learning", 1.0))


def test_the_latest_label_of_a_reviewer_counts(client: Client) -> None:
    store_reviews(client, [review("a", at=AT), review("b", at=AT), review("a", "ben", "unsure", at=AT, note="“?”")])
    for event_id, label in (("a", "sound"), ("b", "")):
        store_reviews(client, [review(event_id, label=label, at=AT + timedelta(seconds=1))])
    assert [(each.id, each.reviewer, each.label, each.note) for each in read_reviews(client, EVALUATOR)] == [
        ("a", "ben", "unsure", "“?”"),
        ("a", "ana", "sound", ""),
    ]
    assert [each.label for each in read_reviews(client, EVALUATOR, reviewer="ana")] == ["sound"]
    assert read_reviews(client, "other") == []


def test_gold_that_is_not_recorded_yet(client: Client) -> None:
    store_reviews(client, [review(name, at=AT) for name in "abc"])
    store_reviews(client, [review("d", label="unsure"), review("e", reason="uncertain")])
    ms = int(AT.timestamp() * 1000)
    stored = [{"id": "a", "at": ms, "offset": 1}, {"id": "b", "at": ms - 1, "offset": 2}]
    add_rows(client, "labels", stored, model=EVALUATOR, label="faulty", received_at=ms)
    assert [each.id for each in unsent_gold(client, EVALUATOR)] == ["b", "c"]
    assert unsent_gold(client, EVALUATOR, "ben") == []


def test_agreement_of_reviewers_and_their_weeks(client: Client) -> None:
    monday = datetime(2026, 11, 2, tzinfo=UTC)
    labels = {"a": ("faulty", "faulty"), "b": ("sound", "faulty"), "c": ("sound", "sound"), "d": ("unsure", "sound")}
    for event_id, pair in labels.items():
        at = monday + timedelta(days=7 if event_id == "d" else 0)
        named = zip(("ana", "ben"), pair, strict=True)
        store_reviews(client, [review(event_id, name, label, at=at) for name, label in named])
    result = review_agreement(read_reviews(client, EVALUATOR))
    # Three pairs, one of which differs: 1 − 5·2/(36 − 18).
    assert result.agreement.alpha == pytest.approx(1 - 5 * 2 / 18)
    assert result.agreement.items == 3
    assert [(each.id, each.labels) for each in result.disagreements] == [("b", {"ana": "sound", "ben": "faulty"})]
    assert [(each.reviewer, each.week.day, each.labels, each.faulty, each.unsure) for each in result.weeks] == [
        *(("ana", 2, 3, 1, 0), ("ana", 9, 1, 0, 1)),
        *(("ben", 2, 3, 2, 0), ("ben", 9, 1, 0, 0)),
    ]
    assert review_agreement([]).agreement.items == 0
