"""The scorer's pairs and looks at a candidate, after kills and late labels too."""

import json
import math
import re
import time
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pytest
from barograph import Shadow
from barograph.contract import Contract, LabelSpec, ShadowTest

from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.streams.registry.registry import build_registry
from barograph_server.streams.scorer import shadow_looks
from barograph_server.streams.scorer.rules import make_rules
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.tables import insert_rows
from tests.integration.test_promote import SUMS, measured
from tests.reference.shadow_pairs import BINARY, differences, joined, read_topics, stored
from tests.support import scoring
from tests.support.pipeline import ROOT, Pipeline, wait_for
from tests.support.scoring import DAY_MS, HOUR_MS, START_MS, Killed, MortalClient, Score, label, prediction
from tests.support.scripted_http import Exchange, ScriptedServer, hang
from tests.support.scripted_kafka import ScriptedPublisher
from tests.support.shop_model import WRITTEN_MONDAY, questions
from tests.support.warehouse import insert, row

FIRST_S = int(datetime(2026, 5, 1, 4, tzinfo=UTC).timestamp())
"""Midnight in New York."""
FIRST_DAY = date(2026, 5, 1)
DAY_S = 86_400
DAYS = 60
MATURE_DAYS = 57
LAST_DAY = FIRST_DAY + timedelta(days=DAYS - 1)
CONTRACT = Contract(
    model="m",
    timezone="America/New_York",
    label=LabelSpec(type="bool", positive=True),
    shadow=ShadowTest(candidate="4", of="3", margins={"accuracy": 0.05, "latency": 0.2, "missing": 0.1}, worst_day=0.5),
)
FEWER = msgspec.structs.replace(
    CONTRACT, shadow=ShadowTest(candidate="4", of="3", margins={"accuracy": 0.05, "missing": 0.1}, worst_day=0.5)
)
BASIS = make_rules(CONTRACT, build_registry([(CONTRACT, 1)], [])).basis
VERSIONS: dict[str, Any] = {"model": "m", "candidate": "4", "of": "3", "basis": BASIS, "window_s": 3600}


def pair_rows(day: int, seed: int = 0, records: int = 1) -> list[dict[str, Any]]:
    """Return the pairs of one local day: all, a slice that is better, and one that is worse."""
    rng = np.random.default_rng((seed, day))
    rows = []
    for name, pairs, better in (("all", 400, 0.02), ("country=de", 300, 0.04), ("country=fr", 100, -0.12)):
        won, lost = (int(each) for each in rng.poisson([pairs * (0.1 + better / 2), pairs * (0.1 - better / 2)]))
        missing = {"timeout": int(rng.integers(1, 6))} if name == "all" else {}
        counts = {
            **dict.fromkeys(SUMS, 0.0),
            "requests": pairs + sum(missing.values()),
            "missing": missing,
            **dict.fromkeys(("pairs", "compared", "labelled", "timed"), pairs),
            "candidate_right": won,
            "primary_right": lost,
            "log_latency": float(rng.normal(0, pairs**0.5)),
        }
        start_s = FIRST_S + day * DAY_S + 23 * 3600
        rows.append(row("shadow_pairs", **VERSIONS, slice=name, window_start=start_s, records=records, **counts))
    return rows


def performance_row(day: int, **values: Any) -> dict[str, Any]:
    return measured("3", FIRST_S + day * DAY_S + 23 * 3600, **values)


@pytest.fixture
def score(client: Client, engine: LocalClickHouse) -> Score:
    address = engine.address(client.database)
    usual: dict[str, Any] = {"clock": lambda: FIRST_S + 90 * DAY_S}
    return lambda contract=CONTRACT, **changes: scoring.scorer(client, address, contract, **{**usual, **changes})


@pytest.fixture
def days(client: Client) -> dict[int, list[dict[str, Any]]]:
    rows = {day: pair_rows(day) for day in range(DAYS)}
    insert_rows(client, "shadow_pairs", [each for own in rows.values() for each in own])
    insert_rows(client, "performance", [performance_row(day, mature=day < MATURE_DAYS) for day in range(DAYS)])
    return rows


def stored_looks(client: Client) -> dict[tuple[date, str, str], dict[str, Any]]:
    rows = client.arrow(
        "SELECT * EXCEPT (judged_at), toUnixTimestamp64Milli(judged_at) AS judged_ms FROM shadow_verdicts FINAL "
        "ORDER BY day, slice, criterion"
    ).to_pylist()
    return {(each["day"], each["slice"], each["criterion"]): each for each in rows}


def block_interval(sums: list[float], pairs: list[float], alpha: float = 0.05) -> tuple[float, float, float]:
    t, total = len(sums), math.fsum(pairs)
    value = math.fsum(sums) / total
    if t < 28:
        return value, -math.inf, math.inf
    z = [d - value * n for d, n in zip(sums, pairs, strict=True)]
    square = math.fsum(each * each for each in z)
    part = best = 0.0
    for lag in range(1, 8):
        part += math.fsum(z[i] * z[i - lag] for i in range(lag, t)) / square
        best = max(best, part)
        if lag == 1:
            first = part + (1 + 3 * part) / t + t**-0.5
            first = min(0.95, max(0.0, first))
    kappa = max(1 + 2 * (best + t**-0.5), (1 + first) / (1 - first))
    if t < 6 * kappa:
        return value, -math.inf, math.inf
    rho2 = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha)) + 1) / 60
    radius = math.sqrt(2 * (t * rho2 + 1) * math.log(math.sqrt(t * rho2 + 1) / alpha) / (t * t * rho2))
    half = math.sqrt(kappa * square / t) * radius * t / total
    return value, value - half, value + half


def compare(client: Client, days: dict[int, list[dict[str, Any]]], matured: int = MATURE_DAYS) -> None:
    rows = stored_looks(client)
    expected_keys = set()
    for last in range(DAYS):
        day = FIRST_DAY + timedelta(days=last)
        assert len({own["outcome"] for key, own in rows.items() if key[0] == day}) == 1, day
        expected_keys |= {(day, each, "accuracy") for each in ("all", "country=de", "country=fr")}
        expected_keys |= {(day, "all", name) for name in ("latency", "missing", "decision")}
        whole = [days[each][0] for each in range(last + 1)]
        labelled = min(last + 1, matured)
        for number, name in enumerate(("all", "country=de", "country=fr")):
            used = [days[each][number] for each in range(labelled)]
            own = rows[day, name, "accuracy"]
            sums = [each["candidate_right"] - each["primary_right"] for each in used]
            value, low, high = block_interval(sums, [each["labelled"] for each in used])
            assert (own["value"], own["low"], own["high"]) == pytest.approx((value, low, high), rel=1e-9), (day, name)
            assert own["days"] == labelled
            assert math.isfinite(own["evidence"]) == (name != "all" and labelled > 28)
        for name, column, count in (("latency", "log_latency", "timed"), ("missing", "", "requests")):
            own = rows[day, "all", name]
            losses = [-each[column] if column else -sum(each["missing"].values()) for each in whole]
            interval = block_interval(losses, [each[count] for each in whole])
            assert (own["value"], own["low"], own["high"]) == pytest.approx(interval, rel=1e-9), (day, name)
            assert own["days"] == last + 1
        decision = rows[day, "all", "decision"]
        assert decision["day_end"] == FIRST_S + (last + 1) * DAY_S
        assert decision["outcome"] == "insufficient" or last >= 27
    assert rows.keys() == expected_keys


@pytest.mark.smoke
def test_every_ended_day_has_a_look_that_equals_the_definition_after_late_labels_too(
    client: Client, score: Score, days: dict[int, list[dict[str, Any]]]
) -> None:
    score().score_once()
    compare(client, days)
    before = stored_looks(client)
    assert before[LAST_DAY, "all", "decision"]["outcome"] == "hold"
    assert before[LAST_DAY, "country=fr", "accuracy"]["state"] == "worse"
    assert before[LAST_DAY, "country=de", "accuracy"]["state"] == "open"
    assert before[date(2026, 5, 3), "all", "accuracy"]["state"] == "insufficient"
    assert before[date(2026, 5, 3), "all", "decision"]["days_left"] > 0
    score().score_once()
    assert repr(stored_looks(client)) == repr(before), "looks that did not change are not written again"
    days[30] = pair_rows(30, seed=1, records=2)
    insert(client, shadow_pairs=days[30], performance=[performance_row(MATURE_DAYS, mature=True, revision=2)])
    score().score_once()
    compare(client, days, MATURE_DAYS + 1)
    changed = {key[0] for key, own in stored_looks(client).items() if own["judged_ms"] != before[key]["judged_ms"]}
    assert min(changed) == FIRST_DAY + timedelta(days=30)
    assert len(changed) == DAYS - 30


@pytest.mark.long
def test_a_pass_killed_between_writes_is_continued(
    client: Client, score: Score, days: dict[int, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(contract: Contract, writes: int) -> None:
        mortal: Any = MortalClient(client, writes, ("shadow_verdicts",))
        with pytest.raises(Killed):
            score(contract, connect_to=lambda _: mortal).score_once()

    monkeypatch.setattr(shadow_looks, "MAX_ROWS", 50)
    for writes in (1, 2, 3):
        client.command("TRUNCATE TABLE shadow_verdicts")
        killed(CONTRACT, writes)
        assert 0 < len({key[0] for key in stored_looks(client)}) < DAYS, writes
        score().score_once()
        compare(client, days)
    killed(FEWER, 1)
    score(FEWER).score_once()
    assert {key[2] for key in stored_looks(client)} == {"accuracy", "missing", "decision"}


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
    apart = ("clocks 59 min apart", "clocks 2 h apart")
    requests = ("paired", *apart, "no answer", "timed out", "answered twice", "own version")
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
    for i, at_ms, odd in (
        (200, HOUR_START_MS + HOUR_MS, {"version": "2", "score": 1.0}),
        (201, HOUR_START_MS, {"version": "2", "error": "shadow-timeout"}),
        (202, HOUR_START_MS, {"version": "3", "score": 1.0}),
    ):
        rows["predictions"].append(prediction(i, at_ms, i, score=0.0))
        rows["shadow_predictions"].append(prediction(i, at_ms, i, **odd))
    insert(client, **rows)
    result = sample(client)
    assert len(expected) == 5
    assert Counter(row[0] for row in result) == {kind: min(5, len(own)) for kind, own in expected.items()}
    names = {kind: [row[1] for row in result if row[0] == kind] for kind in expected}
    assert names == {kind: [name for _, name in sorted(own)[:5]] for kind, own in expected.items()}
    number = int(result[0][1].removeprefix("e"))
    assert result[0][7:9] == ({"country": f"hash-{number}"}, {"x": float(number)})
