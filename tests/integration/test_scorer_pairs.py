"""Pairs of a candidate and the primary equal those of a join in plain Python, whatever arrives when."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from barograph.contract import Contract, LabelSpec, ShadowTest, Slice, Slo

from local.clickhouse import LocalClickHouse
from sketches.performance.bins import score_edges
from streams.registry.registry import build_registry
from streams.scorer import statement_chunks
from streams.scorer.rules import make_rules
from streams.scorer.worker import Scorer
from tests.support import scoring
from tests.support.scoring import DAY_MS, HOUR_MS, START_MS, Killed, MortalClient, expected, label, prediction
from tests.support.warehouse import emptied, snapshot
from warehouse.client import Client

pytestmark = pytest.mark.engine

THRESHOLD = 0.4
SHADOW = ShadowTest(
    candidate="4",
    of="3",
    copy="3b",
    margins={"accuracy": 0.01},
    prices={"input": 0.5, "output": 2.0},
    candidate_prices={"output": 1.0, "calls": 3.0},
)
SLOW_MS = 8.0
BINARY = Contract(
    model="m",
    slices=(Slice(name="country", source="context.country", values=("de", "fr")),),
    label=LabelSpec(type="bool", positive=True, threshold=THRESHOLD, horizon_s=3 * 86400),
    shadow=SHADOW,
    slo=Slo(latency_ms=SLOW_MS),
)
UNLABELLED = msgspec.structs.replace(
    BINARY, label=None, shadow=msgspec.structs.replace(SHADOW, margins={"latency": 0.1, "missing": 0.1})
)
COUNTS = (
    *("requests", "pairs", "unpaired", "compared", "agreed", "labelled", "both_right", "primary_right"),
    *("candidate_right", "missing_labelled", "missing_right", "scored", "score_pairs", "timed", "answered_alone"),
    *("copy_compared", "copy_agreed", "copy_candidate_agreed", "slow_primary", "slow_candidate", "costed"),
)
SUMS = (
    *("loss_primary", "loss_candidate", "brier_primary", "brier_candidate"),
    *("score_difference", "score_difference_2", "log_latency"),
)
SPENT = ("spent_primary", "spent_candidate")
METRICS = ("calls", "input", "output")
MAPS = (
    *("missing", "class_pairs", "scores_primary", "scores_candidate", "score_bins", "latencies_primary"),
    *("latencies_candidate", "errors_primary", "errors_candidate"),
)
Rows = list[dict[str, Any]]


@pytest.fixture
def score(client: Client, engine: LocalClickHouse) -> Callable[..., Scorer]:
    address = engine.address(client.database)
    usual: dict[str, Any] = {"clock": lambda: (START_MS + 6 * DAY_MS) / 1000}
    return lambda contract, **changes: scoring.scorer(client, address, contract, **{**usual, **changes})


def raw_rows(rng: random.Random, n: int) -> dict[str, Rows]:
    """A day of requests, a candidate that answers most of them, and labels, with every anomaly."""
    rows: dict[str, Rows] = {"predictions": [], "shadow_predictions": [], "labels": []}
    offset = 0

    def add(table: str, i: int, at_ms: int, **values: Any) -> None:
        nonlocal offset
        rows[table].append(prediction(i, at_ms, offset, **values))
        offset += 1

    for i in range(n):
        at_ms = START_MS + rng.randrange(DAY_MS)
        truth = rng.random()
        latency_ms = rng.choice([math.nan, 8.0, 8.5, rng.lognormvariate(2, 1)])
        shared = {"context": {"country": rng.choice(["de", "fr", "us"])}, "latency_ms": latency_ms}
        shared["metrics"] = metrics(rng)
        odd = rng.random()
        answer: dict[str, Any] = {"score": rng.choice([truth, rng.random(), math.nan, 1.5])}
        if odd < 0.05:
            answer = {"score": math.nan, "error": "TimeoutError"}
        elif odd < 0.1:
            answer["class"] = rng.choice(["true", "false", "maybe"])
        if rng.random() < 0.97:
            version = "3" if rng.random() < 0.9 else "2"
            add("predictions", i, at_ms, version=version, **answer, **shared)
            if rng.random() < 0.05:  # the same prediction, repeated at another time
                moved_ms = at_ms + rng.randrange(-5 * HOUR_MS, 5 * HOUR_MS)
                add("predictions", i, moved_ms, version=version, **(answer | {"score": rng.random()}), **shared)
        if rng.random() < 0.9:
            errors = ["", "", "", "", "", "ValueError", "shadow-timeout", "shadow-skipped-queue", "shadow-closed"]
            error = rng.choice(errors)
            candidate = {"score": math.nan if error else rng.choice([truth, rng.random()]), "error": error}
            latency_ms = math.nan if error else rng.choice([4.0, 16.0, rng.lognormvariate(2, 1)])
            candidate["metrics"] = metrics(rng)
            late_ms = rng.choice([0, 40, 40, 59 * 60_000, HOUR_MS, HOUR_MS + 1, 3 * HOUR_MS, -30 * 60_000])
            version = "4" if rng.random() < 0.95 else "5"
            shadow = {**candidate, "version": version, "latency_ms": latency_ms}
            add("shadow_predictions", i, at_ms + late_ms, **shadow)
            if rng.random() < 0.1:
                moved_ms = at_ms + rng.randrange(-2 * HOUR_MS, 2 * HOUR_MS)
                add("shadow_predictions", i, moved_ms, **(shadow | {"score": rng.random()}))
        if rng.random() < 0.9:
            error = rng.choice(["", "", "", "", "ValueError", "shadow-timeout"])
            copied = {"score": rng.choice([answer["score"], rng.random()]), "error": error}
            late_ms = rng.choice([40, 40, 59 * 60_000, HOUR_MS + 1, -30 * 60_000])
            add("shadow_predictions", i, at_ms + late_ms, version="3b", latency_ms=5.0, metrics=metrics(rng), **copied)
        if rng.random() < 0.8:
            value = "true" if rng.random() < truth else "false"
            delay_ms = int(rng.expovariate(1 / (5 * HOUR_MS)))
            rows["labels"].append(label(i, at_ms + delay_ms, len(rows["labels"]), value))
            if rng.random() < 0.1:  # a correction
                rows["labels"].append(
                    label(i, at_ms + delay_ms + 1, len(rows["labels"]), rng.choice(["true", "false"]))
                )
    return rows


def metrics(rng: random.Random) -> dict[str, float | None]:
    values = {"input": rng.randrange(500) / 4, "output": rng.random(), "calls": rng.choice([1.0, math.inf]), "x": 1.0}
    return {name: value for name, value in values.items() if rng.random() < 0.8}


def order(event: Mapping[str, Any]) -> tuple[int, ...]:
    return event["at"], event["epoch"], event["partition"], event["offset"], event["message_index"]


def decision(event: Mapping[str, Any], contract: Contract = BINARY) -> bool | str | None:
    if event["error"]:
        return None
    if contract.label is None:
        return event["class"] or None
    if event["class"]:
        return {"true": True, "false": False}.get(event["class"])
    return event["score"] >= THRESHOLD if 0 <= event["score"] <= 1 else None


def losses(event: Mapping[str, Any], truth: bool) -> tuple[float, float]:
    p = event["score"] if truth else 1 - event["score"]
    return -math.log(max(p, 2.0**-52)), (1 - p) ** 2


def answers_of(rows: Mapping[str, Sequence[Mapping[str, Any]]], version: str) -> dict[str, list[Mapping[str, Any]]]:
    answers: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for event in sorted(rows["shadow_predictions"], key=order):
        if event["version"] == version:
            answers[event["id"]].append(event)
    return answers


def joined(
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
    contract: Contract = BINARY,
    candidate: str = "4",
    copy: str = "3b",
) -> dict[tuple[str, int], dict[str, Any]]:
    """Pair the rows in plain Python; return counts by slice and start of the window (Unix seconds)."""
    shadows, copies = answers_of(rows, candidate), answers_of(rows, copy)
    requests: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for event in sorted(rows["predictions"], key=order):
        if event["version"] == "3":
            requests[event["id"]].append(event)
    result: dict[tuple[str, int], dict[str, Any]] = defaultdict(
        lambda: {
            **dict.fromkeys(COUNTS, 0),
            **dict.fromkeys(SUMS, 0.0),
            **{name: Counter() for name in MAPS},
            **{name: [0.0] * len(METRICS) for name in SPENT},
        }
    )
    for event_id, events in requests.items():
        event = events[0]
        answer, copied = (
            next((each for each in answers[event_id] if abs(each["at"] - event["at"]) <= HOUR_MS), None)
            for answers in (shadows, copies)
        )
        # The labels are joined by the reference of the scorer's own tests.
        of_id = [each for each in rows["labels"] if each["id"] == event_id and contract.label is not None]
        (own,) = expected(BINARY, [event], of_id).values()
        truth = None
        if own.counts["labelled"]:
            truth = expected(BINARY, [{**event, "error": ""}], of_id).popitem()[1].outcomes[0][2] == "true"
        for name in ("all", f"country={country if (country := event['context']['country']) != 'us' else 'other'}"):
            counts = result[name, event["at"] // HOUR_MS * 3600]
            counts["requests"] += 1
            counts["answered_alone"] += bool(event["error"] and answer is not None and not answer["error"])
            if name == "all":
                of_candidate = answer["error"] if answer is not None else ""
                counts["errors_primary"].update({event["error"]} - {""})
                counts["errors_candidate"].update({of_candidate} - {""} if of_candidate[:7] != "shadow-" else set())
            if event["error"]:
                counts["missing"]["primary-failed"] += 1
            elif answer is None:
                counts["missing"]["no-event"] += 1
            elif answer["error"]:
                error = answer["error"]
                counts["missing"][error.removeprefix("shadow-") if error.startswith("shadow-") else "error"] += 1
            else:
                add_pair(counts, event, answer, truth, copied, contract)
                if name == "all":
                    add_to_bins(counts, event, answer, truth, contract)
                continue
            if truth is not None and decision(event) is not None:
                counts["missing_labelled"] += 1
                counts["missing_right"] += decision(event) == truth
    for event_id, answers in shadows.items():
        primaries = requests.get(event_id, [])
        for hour in {
            each["at"] // HOUR_MS * 3600
            for each in answers
            if not any(abs(each["at"] - request["at"]) <= HOUR_MS for request in primaries)
        }:
            result["all", hour]["unpaired"] += 1
    return dict(result)


def score_bin(score: float, contract: Contract) -> int:
    if contract.label is None:
        return 0 if score == 0 else int(math.copysign(math.floor(8 * math.log2(abs(score))) + 256, score))
    p = min(max(score, 1e-9), 1 - 1e-9)
    return math.floor(min(max(2 * math.log(p / (1 - p)), -24), 24))


def add_to_bins(
    counts: dict[str, Any],
    event: Mapping[str, Any],
    answer: Mapping[str, Any],
    truth: bool | None,
    contract: Contract,
) -> None:
    sides = (("primary", event), ("candidate", answer))
    classes = [decision(each, contract) for each in (event, answer)]
    if None not in classes:
        counts["class_pairs"].update([" → ".join(str(each).lower() for each in classes)])
    scores = [each["score"] for each in (event, answer)]
    if all(map(math.isfinite, scores)):
        bins = [score_bin(score, contract) + 512 for score in scores]
        counts["score_bins"].update([1024 * bins[0] + bins[1]])
    if truth is not None and all(0 <= score <= 1 for score in scores):
        for side, each in sides:
            number = np.searchsorted(score_edges(THRESHOLD), each["score"], "right")
            counts[f"scores_{side}"].update([2 * int(number) + truth])
    if event["latency_ms"] > 0 and answer["latency_ms"] > 0:
        for side, each in sides:
            counts[f"latencies_{side}"].update([math.floor(8 * math.log2(each["latency_ms"]))])


def add_pair(
    counts: dict[str, Any],
    event: Mapping[str, Any],
    answer: Mapping[str, Any],
    truth: bool | None,
    copied: Mapping[str, Any] | None,
    contract: Contract,
) -> None:
    counts["pairs"] += 1
    ours, theirs = decision(event, contract), decision(answer, contract)
    both = ours is not None and theirs is not None
    counts["compared"] += both
    counts["agreed"] += both and ours == theirs
    of_copy = decision(copied, contract) if copied is not None else None
    if both and of_copy is not None:
        counts["copy_compared"] += 1
        counts["copy_agreed"] += ours == of_copy
        counts["copy_candidate_agreed"] += ours == theirs
    of_candidate = ("output", "calls") if answer["version"] == "4" else ("input", "output")
    priced = [(event, ("input", "output"), "spent_primary"), (answer, of_candidate, "spent_candidate")]
    if all(math.isfinite(each["metrics"].get(name, math.nan)) for each, names, _ in priced for name in names):
        counts["costed"] += 1
        for each, _, column in priced:
            values = [each["metrics"].get(name, 0.0) for name in METRICS]
            counts[column] = [a + (b if math.isfinite(b) else 0.0) for a, b in zip(counts[column], values, strict=True)]
    if math.isfinite(event["score"]) and math.isfinite(answer["score"]):
        counts["score_pairs"] += 1
        counts["score_difference"] += answer["score"] - event["score"]
        counts["score_difference_2"] += (answer["score"] - event["score"]) ** 2
    if event["latency_ms"] > 0 and answer["latency_ms"] > 0:
        counts["timed"] += 1
        counts["slow_primary"] += event["latency_ms"] > SLOW_MS
        counts["slow_candidate"] += answer["latency_ms"] > SLOW_MS
        counts["log_latency"] += math.log(answer["latency_ms"] / event["latency_ms"])
    if truth is None:
        return
    if both:
        counts["labelled"] += 1
        right = ours == truth, theirs == truth
        kinds = {(True, True): "both_right", (True, False): "primary_right", (False, True): "candidate_right"}
        if right in kinds:
            counts[kinds[right]] += 1
    if 0 <= event["score"] <= 1 and 0 <= answer["score"] <= 1:
        counts["scored"] += 1
        for side, each in (("primary", event), ("candidate", answer)):
            loss, brier = losses(each, truth)
            counts[f"loss_{side}"] += loss
            counts[f"brier_{side}"] += brier


def stored(client: Client, candidate: str = "4") -> dict[tuple[str, int], dict[str, Any]]:
    names = (*COUNTS, *SUMS, *MAPS, *SPENT)
    rows = client.rows(
        f"SELECT slice, toUnixTimestamp(window_start), {', '.join(names)} FROM shadow_pairs FINAL "
        "WHERE model = 'm' AND candidate = {candidate:String} AND of = '3' AND (requests > 0 OR unpaired > 0)",
        {"candidate": candidate},
    )
    return {(name, start): dict(zip(names, values, strict=True)) for name, start, *values in rows}


def compare(client: Client, rows: Mapping[str, Rows], contract: Contract = BINARY) -> None:
    compare_version(stored(client), joined(rows, contract))
    # The copy is paired like a candidate, without a copy of its own.
    compare_version(stored(client, "3b"), joined(rows, contract, "3b", ""))


def compare_version(result: dict[tuple[str, int], dict[str, Any]], targets: dict[tuple[str, int], Any]) -> None:
    assert result.keys() == targets.keys()
    for key, target in targets.items():
        own = result[key]
        assert {name: own[name] for name in COUNTS} == {name: target[name] for name in COUNTS}, key
        for name in MAPS:
            assert dict(own[name]) == dict(target[name]), (key, name)
        for name in SPENT:
            assert (own[name] or [0.0] * len(METRICS)) == pytest.approx(target[name], abs=1e-9), (key, name)
        assert own["pairs"] + sum(own["missing"].values()) == own["requests"], key
        for name in SUMS:
            assert own[name] == pytest.approx(target[name], abs=1e-9), (key, name)


def test_every_request_is_a_pair_or_missing_for_a_reason(client: Client, score: Callable[..., Scorer]) -> None:
    rows = raw_rows(random.Random(1), 1500)
    for table, own in rows.items():
        scoring.insert(client, table, own)
    score(BINARY).score_once()
    compare(client, rows)
    totals = dict(client.rows("SELECT slice, sum(requests) FROM shadow_pairs FINAL GROUP BY slice"))
    ((settings, of_copy),) = client.rows(
        "SELECT uniqExactIf(settings, candidate = '4'), uniqExact(settings) FROM shadow_pairs"
    )
    assert (settings, of_copy) == (1, 2)
    assert totals["all"] == sum(totals[name] for name in totals if name.startswith("country="))
    ((reasons,),) = client.rows("SELECT mapKeys(sumMap(missing)) FROM shadow_pairs FINAL")
    assert set(reasons) == {"primary-failed", "no-event", "error", "timeout", "skipped-queue", "closed"}


def test_a_model_without_labels_is_paired(client: Client, score: Callable[..., Scorer]) -> None:
    rng = random.Random(5)
    rows = raw_rows(rng, 800)
    for event in rows["shadow_predictions"]:
        if not event["error"]:
            event["class"] = rng.choice(["", "true", "false", "maybe"])
    for half in (0, 1):
        for table, own in rows.items():
            middle = len(own) // 2
            scoring.insert(client, table, own[middle:] if half else own[:middle])
        score(UNLABELLED).score_once()
    compare(client, rows, UNLABELLED)
    (compared, agreed), *_ = client.rows("SELECT sum(compared), sum(agreed) FROM shadow_pairs FINAL")
    assert 0 < agreed < compared
    ((state, reason),) = client.rows("SELECT state, reason FROM scorer_models FINAL")
    assert (state, reason) == ("counted", "The contract names no label: add `label` to measure performance.")
    assert client.rows("SELECT count() FROM performance") == [(0,)]


def test_a_label_named_later_is_used_for_all_pairs(client: Client, score: Callable[..., Scorer]) -> None:
    rows = raw_rows(random.Random(2), 300)
    for table, own in rows.items():
        scoring.insert(client, table, own)
    score(UNLABELLED).score_once()
    score(BINARY).score_once()
    unlabelled = make_rules(UNLABELLED, build_registry([(UNLABELLED, 1)], [])).basis
    client.command("DELETE FROM shadow_pairs WHERE basis = {basis:String}", {"basis": unlabelled})
    compare(client, rows)


def test_a_candidate_named_later_is_paired_from_the_first_row_on(client: Client, score: Callable[..., Scorer]) -> None:
    rows = raw_rows(random.Random(2), 300)
    for table, own in rows.items():
        scoring.insert(client, table, own)
    score(msgspec.structs.replace(BINARY, shadow=None)).score_once()
    assert stored(client) == {}
    score(BINARY).score_once()
    compare(client, rows)


@pytest.mark.parametrize("kills", [1, 3])
def test_a_pass_killed_while_it_pairs_the_past_is_continued(
    client: Client, score: Callable[..., Scorer], monkeypatch: pytest.MonkeyPatch, kills: int
) -> None:
    monkeypatch.setattr(statement_chunks, "MAX_HOURS", 6)
    rows = raw_rows(random.Random(2), 300)
    for table, own in rows.items():
        scoring.insert(client, table, own)
    score(msgspec.structs.replace(BINARY, shadow=None)).score_once()
    mortal: Any = MortalClient(client, kills, ("shadow_pairs",))
    with pytest.raises(Killed):
        score(BINARY, connect_to=lambda _: mortal).score_once()
    score(BINARY).score_once()
    compare(client, rows)


@pytest.mark.long
@pytest.mark.parametrize("seed", [3, 4])
def test_pairs_do_not_depend_on_the_order_of_arrival(client: Client, score: Callable[..., Scorer], seed: int) -> None:
    rng = random.Random(seed)
    rows = raw_rows(rng, 300)
    waiting = {table: scoring.batches(rng, own, 100) for table, own in rows.items()}
    now_s = (START_MS + 6 * DAY_MS) / 1000
    changes: dict[str, Any] = {"clock": lambda: now_s, "grace_s": rng.choice([0.0, 60.0])}
    working = score(BINARY, **changes)
    while any(waiting.values()):
        table = rng.choice([name for name, batches in waiting.items() if batches])
        batch = waiting[table].pop(0)
        scoring.insert(client, table, batch)
        if rng.random() < 0.2:  # read again
            scoring.insert(client, table, batch)
        now_s += rng.choice([1, 20, 70])
        if rng.random() < 0.5:
            working.score_once()
        if rng.random() < 0.2:
            working = score(BINARY, **changes)
    working.score_once()
    compare(client, rows)


@pytest.mark.long
def test_a_pass_killed_at_any_point_is_repeated_into_the_same_pairs(
    client: Client, score: Callable[..., Scorer]
) -> None:
    rng = random.Random(6)
    rows = raw_rows(rng, 150)
    halves = [
        {table: own[: len(own) // 2] for table, own in rows.items()},
        {table: own[len(own) // 2 :] for table, own in rows.items()},
    ]

    def fill(half: int) -> None:
        for table, own in halves[half].items():
            scoring.insert(client, table, own)

    emptied(client)
    fill(0)
    score(BINARY).score_once()
    fill(1)
    kills = 0
    with snapshot(client) as back:
        while True:
            back()
            mortal: Any = MortalClient(client, kills + 1, ("shadow_pairs", "scorer_checkpoints"))
            try:
                score(BINARY, connect_to=lambda _, mortal=mortal: mortal).score_once()
                break
            except Killed:
                kills += 1
            score(BINARY).score_once()
            compare(client, rows)
    assert kills >= 4
