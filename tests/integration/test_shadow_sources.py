"""Candidates outside the serving process, and a sample of pairs."""

import json
import re
import time
from collections import Counter
from typing import Any

import pytest
from barograph import Contract, Shadow

from barograph_server.warehouse.client import Client
from tests.reference.shadow_pairs import BINARY, differences, joined, read_topics, stored
from tests.support.pipeline import ROOT, Pipeline, wait_for
from tests.support.scoring import DAY_MS, HOUR_MS, START_MS, label, prediction
from tests.support.scripted_http import Exchange, ScriptedServer, hang
from tests.support.scripted_kafka import ScriptedPublisher
from tests.support.shop_model import WRITTEN_MONDAY, questions
from tests.support.warehouse import insert

GUIDE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")


def code_block(heading: str, language: str) -> str:
    section = GUIDE.split(f"### {heading}\n")[1].split("\n## ")[0]
    match = re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert match is not None
    return match[1]


def predict(exchange: Exchange) -> None:
    features = json.loads(exchange.body)
    if features.get("hang"):
        hang(exchange)
        return
    score = json.dumps({"score": features["x"] / 2}).encode()
    exchange.send(score, features.get("status", 200), Content_Type="application/json")


def test_an_http_candidate_is_awaited_and_its_failures_are_reasons() -> None:
    code = code_block("A candidate behind an HTTP endpoint", "python")
    guide: dict[str, Any] = {}
    exec(code.split("shadow = Shadow(")[0], guide)
    serving = ScriptedPublisher(Contract(model="m"))

    def shadow(url: str, version: str, **options: Any) -> Shadow:
        return Shadow(serving.publisher, guide["HttpCandidate"](url), version=version, timeout_ms=3_000, **options)

    with ScriptedServer(predict) as server, shadow(f"{server.url}/predict", "4", workers=50) as candidate:
        candidate.submit(id="good", features={"x": 1})
        candidate.submit(id="server error", features={"x": 1, "status": 503})
        candidate.submit(id="wrong request", features={"x": 1, "status": 422})
        candidate.submit(id="hangs", features={"x": 1, "hang": True})
        candidate.submit(id="no JSON", features={"x": object()})
    with shadow("http://127.0.0.1:9/", "5") as candidate:
        candidate.submit(id="down", features={"x": 1})
    events = {event["id"]: event for event in serving.flush_events()}
    assert events["good"]["score"] == 0.5
    assert {id: event.get("error") for id, event in events.items()} == {
        "good": None,
        "server error": "ClientResponseError",
        "wrong request": "ClientResponseError",
        "hangs": "shadow-timeout",
        "no JSON": "TypeError",
        "down": "ClientConnectorError",
    }
    serving.publisher.close()


@pytest.mark.smoke
def test_events_of_a_mirror_are_paired(pipeline: Pipeline) -> None:
    """Labels arrive first, then the candidate's answers, then those of the primary."""
    example = json.loads(code_block("A mirror outside the process", "json"))
    start_ms = (int(time.time() * 1000) // HOUR_MS - 48) * HOUR_MS + HOUR_MS // 2
    primary = {"model": "m", "version": "3", "at": start_ms, "score": 0.6, "latency_ms": 8.0}
    primary |= {"context": {"country": "de"}}
    mirror = {**example, "model": "m", "at": start_ms + 120}
    requests = (
        *("paired", "clocks 59 min apart", "clocks 2 h apart", "no answer", "timed out"),
        *("answered twice", "own version"),
    )
    answers = [
        {**mirror, "id": "paired"},
        {**mirror, "id": "clocks 59 min apart", "at": start_ms + 59 * 60_000},
        {**mirror, "id": "clocks 2 h apart", "at": start_ms + 2 * HOUR_MS},
        {**mirror, "id": "timed out", "score": None, "error": "shadow-timeout"},
        {**mirror, "id": "answered twice", "score": 0.1},
        {**mirror, "id": "answered twice", "at": start_ms - 1},
        {**mirror, "id": "own version", "version": "3"},
        {**mirror, "id": "without primary"},
    ]
    pipeline.prepare(BINARY, [])
    pipeline.start("recorder")
    pipeline.start("scorer", score_s=0.5)
    topics = pipeline.topics
    labels = [{"model": "m", "id": id, "label": True, "at": start_ms + HOUR_MS} for id in requests]
    for topic, table, events in (
        (topics.labels, "labels", labels),
        (topics.predictions, "shadow_predictions", answers),
        (topics.predictions, "predictions", [{**primary, "id": id} for id in requests]),
    ):
        pipeline.produce(((0, json.dumps(event).encode(), None) for event in events), topic)
        pipeline.wait_rows(f"SELECT count() = {len(events)} FROM {table}", f"rows of {table}")
    expected = joined(read_topics(pipeline))
    with pipeline.client as client:
        wait_for(lambda: not differences(stored(client), expected), "the pairs")
        result = stored(client)
    hour = start_ms // HOUR_MS * 3600
    counts = result["all", hour]
    assert (counts["requests"], counts["pairs"], counts["labelled"]) == (7, 3, 3)
    assert counts["missing"] == {"no-event": 3, "timeout": 1}
    assert counts["score_difference"] == pytest.approx(3 * (example["score"] - 0.6)), "the earliest answer counts"
    assert {key: each["unpaired"] for key, each in result.items() if each["unpaired"]} == {
        ("all", hour): 1,
        ("all", hour + 7200): 1,
    }
    assert pipeline.rows("SELECT count() FROM dead_letters") == [(0,)]


HOUR_START_MS = START_MS + 2 * DAY_MS + 14 * HOUR_MS
"""The query reads the hour from 14:00 of a Wednesday."""
LABELLED, TOTAL = 60, 80


def sample(client: Client) -> list[tuple[Any, ...]]:
    (question,) = (each for each in questions() if each.title == "Disagreements of a candidate")
    assert "'2026-11-11 14:00:00'" in question.sql
    first_day = WRITTEN_MONDAY.fromordinal(719_163 + START_MS // DAY_MS)
    return client.rows(question.in_week(first_day).replace("shop-fraud", "m"))


def test_each_kind_of_pair_has_the_five_that_differ_most(client: Client) -> None:
    rows: dict[str, list[dict[str, Any]]] = {"predictions": [], "shadow_predictions": [], "labels": []}
    expected: dict[str, list[tuple[float, str]]] = {}
    for i in range(TOTAL):
        at_ms = HOUR_START_MS + i * 1000
        ours, theirs, truth = ("a", "b")[i % 2], ("a", "b")[i // 2 % 2], ("a", "b", "c")[i % 3]
        score = (i * 37 % TOTAL) / TOTAL
        shared = {"context": {"country": f"hash-{i}"}, "numbers": {"x": float(i)}}
        rows["predictions"].append(prediction(i, at_ms, i, score=0.0, **{"class": ours}, **shared))
        shadow = {"version": "2", "score": score, "class": theirs}
        rows["shadow_predictions"].append(prediction(i, at_ms + 50, i, **shadow))
        if i < LABELLED:
            rows["labels"].append(label(i, at_ms + HOUR_MS, i, truth, "string"))
        kind = "both are wrong"
        if ours == theirs:
            kind = "same class"
        elif i >= LABELLED:
            kind = "no label yet"
        elif truth in (ours, theirs):
            kind = "only the primary is right" if truth == ours else "only the candidate is right"
        expected.setdefault(kind, []).append((-score, f"e{i}"))
    # Outside the hour, failed, without a pair, or of another version.
    rows["predictions"].append(prediction(200, HOUR_START_MS + HOUR_MS, 200, score=0.0))
    rows["shadow_predictions"].append(prediction(200, HOUR_START_MS + HOUR_MS, 200, version="2", score=1.0))
    rows["predictions"].append(prediction(201, HOUR_START_MS, 201, score=0.0))
    rows["shadow_predictions"].append(prediction(201, HOUR_START_MS, 201, version="2", error="shadow-timeout"))
    rows["predictions"].append(prediction(202, HOUR_START_MS, 202, score=0.0))
    rows["shadow_predictions"].append(prediction(202, HOUR_START_MS, 202, version="3", score=1.0))
    insert(client, **rows)
    result = sample(client)
    assert len(expected) == 5
    assert Counter(row[0] for row in result) == {kind: min(5, len(own)) for kind, own in expected.items()}
    names = {kind: [row[1] for row in result if row[0] == kind] for kind in expected}
    assert names == {kind: [name for _, name in sorted(own)[:5]] for kind, own in expected.items()}
    number = int(result[0][1].removeprefix("e"))
    assert result[0][7:9] == ({"country": f"hash-{number}"}, {"x": float(number)})
