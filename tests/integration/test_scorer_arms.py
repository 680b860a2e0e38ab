"""Arms in the scorer: their counts, and the ratio of their units from raw predictions."""

import math
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest
from barograph.contract import Arms, Contract, LabelSpec, Slice

from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.sketches.baseline.levels import Level
from barograph_server.sketches.comparison.sample_ratio import anytime_p
from barograph_server.streams.registry.registry import build_registry
from barograph_server.streams.scorer.worker import MIN_INTERVAL_S, ArmRatioSchedule
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.rollouts.arm_ratios import ArmRatio, sample_ratio, write_ratio
from barograph_server.warehouse.scoring.label_join import UNIT_BUCKETS
from tests.support import scoring
from tests.support.pipeline import simple_contract
from tests.support.scoring import DAY_MS, HOUR_MS, START_MS, Expected, Score, expected, label, prediction
from tests.support.warehouse import add_rows, insert, migrated

THRESHOLD = 0.4
ARMS = Arms(shares={"a": 0.5, "b": 0.5}, unit="context.user", margins={"accuracy": 0.01, "latency": 0.1, "errors": 0.1})
BINARY = Contract(
    model="m",
    slices=(Slice(name="country", source="context.country", values=("de",)),),
    label=LabelSpec(type="bool", positive=True, threshold=THRESHOLD, horizon_s=3 * 86400),
    arms=ARMS,
)
UNLABELLED = msgspec.structs.replace(
    BINARY, label=None, arms=msgspec.structs.replace(ARMS, unit="", margins={"latency": 0.1})
)
NUMBER = msgspec.structs.replace(
    BINARY, label=LabelSpec(type="float"), arms=msgspec.structs.replace(ARMS, margins={"mae": 1.0})
)
CLASSES = ("x", "y", "z")
MANY = msgspec.structs.replace(BINARY, label=LabelSpec(type="category", classes=CLASSES, horizon_s=3 * 86400))
COUNTS = ("predictions", "failed", "timed", "labelled", "right", "scored")
SUMS = ("log_latency", "loss", "brier", "error")
Rows = dict[str, list[dict[str, Any]]]
Key = tuple[str, str, str, int, int]
"""Slice, arm, version, bucket and start of the window (Unix seconds)."""


def raw_rows(rng: random.Random, n: int, contract: Contract = BINARY) -> Rows:
    """A day of predictions in two arms, in none, or without a unit, and labels, with every anomaly."""
    rows: Rows = {"predictions": [], "labels": []}

    def add(i: int, at_ms: int, **values: Any) -> None:
        rows["predictions"].append(prediction(i, at_ms, len(rows["predictions"]), **values))

    for i in range(n):
        at_ms = START_MS + rng.randrange(DAY_MS)
        truth = rng.random()
        user = f"u{rng.randrange(40)}"
        context = {"country": rng.choice(["de", "fr"])} | ({"user": user} if rng.random() < 0.95 else {})
        values: dict[str, Any] = {
            "score": rng.choice([truth, rng.random(), math.nan, 1.5]),
            "arm": rng.choice(["a", "b", "b", "c", ""]),
            "version": rng.choice(["1", "1", "2"]),
            "latency_ms": rng.choice([math.nan, 0.0, 3.0, 20.0, math.inf]),
            "context": context,
        }
        if contract is MANY:
            shares = {"x": truth * 0.6, "y": truth * 0.4, "z": 1 - truth}
            values["scores"] = rng.choice([shares, shares, {"x": 0.5}, {"x": 1.5, "y": -0.5}, {}])
        if contract is NUMBER:
            values["score"] = rng.choice([truth, rng.random(), math.nan, -1e30, 1e70])
        odd = rng.random()
        if odd < 0.05:
            values |= {"score": math.nan, "error": "TimeoutError"}
        elif odd < 0.1:
            values["class"] = rng.choice([*CLASSES, "bird"] if contract is MANY else ["true", "false", "maybe"])
        add(i, at_ms, **values)
        if rng.random() < 0.05:  # the same prediction, repeated at another time in another arm
            add(i, at_ms + rng.randrange(-5 * HOUR_MS, 5 * HOUR_MS), **{**values, "arm": "a", "score": rng.random()})
        if rng.random() < 0.8:
            value, kind = ("true" if rng.random() < truth else "false", "bool")
            if contract is NUMBER:
                value, kind = repr(truth), "number"
            elif contract is MANY:
                value, kind = rng.choice(CLASSES), "string"
            delay_ms = int(rng.expovariate(1 / (5 * HOUR_MS)))
            rows["labels"].append(label(i, at_ms + delay_ms, len(rows["labels"]), value, kind))
    return rows


def targets(client: Client, contract: Contract, rows: Rows) -> dict[Key, dict[str, Any]]:
    assert contract.arms is not None
    has_unit = contract.arms.unit != ""
    buckets = dict(
        client.rows(f"SELECT concat('u', toString(number)) AS user, sipHash64(user) % {UNIT_BUCKETS} FROM numbers(40)")
    )

    def groups(event: Mapping[str, Any]) -> list[str]:
        context = dict(event["context"])
        if event["arm"] not in ("a", "b") or (has_unit and "user" not in context):
            return []
        bucket = buckets[context["user"]] if has_unit else 0
        country = context["country"] if context["country"] == "de" else "other"
        return [f"all|{event['arm']}|{bucket}", f"country={country}|{event['arm']}|0"]

    spec = BINARY if contract.label is None else contract
    labels = [] if contract.label is None else rows["labels"]
    result = {}
    for (version, group, start), own in expected(spec, rows["predictions"], labels, groups).items():
        name, arm, bucket = group.split("|")
        result[name, arm, version, int(bucket), start] = counted(contract, own)
    return result


def counted(contract: Contract, own: Expected) -> dict[str, Any]:
    values: dict[str, Any] = dict.fromkeys((*COUNTS, *SUMS), 0)
    values |= {"predictions": own.counts["predictions"], "failed": own.counts["failed"]}
    values |= {"timed": len(own.latencies_ms), "log_latency": sum(map(math.log, own.latencies_ms))}
    for of_class, output, truth in own.outcomes:
        if contract.label is not None and contract.label.type == "float":
            if abs(output - float(truth)) < 1e60:
                values["scored"] += 1
                values["error"] += abs(output - float(truth))
            continue
        if contract.label is not None and contract.label.classes:
            add_class(values, of_class, output, truth)
            continue
        usable = 0 <= output <= 1
        predicted = output >= THRESHOLD if usable else None
        if of_class:
            predicted = {"true": True, "false": False}.get(of_class)
        if predicted is not None:
            values["labelled"] += 1
            values["right"] += predicted == (truth == "true")
        if usable:
            p = output if truth == "true" else 1 - output
            values["scored"] += 1
            values["loss"] -= math.log(max(p, 2.0**-52))
            values["brier"] += (1 - p) ** 2
    return values


def add_class(values: dict[str, Any], of_class: str, scores: Mapping[str, float], truth: str) -> None:
    usable = bool(scores) and all(0 <= p <= 1 for p in scores.values()) and abs(sum(scores.values()) - 1) <= 1e-3
    predicted = max(CLASSES, key=lambda name: scores.get(name, 0.0)) if usable else None
    if of_class:
        predicted = of_class if of_class in CLASSES else None
    if predicted is not None:
        values["labelled"] += 1
        values["right"] += predicted == truth
    if usable:
        values["scored"] += 1
        values["loss"] -= math.log(max(scores.get(truth, 0.0), 2.0**-52))
        values["brier"] += sum((scores.get(name, 0.0) - (name == truth)) ** 2 for name in CLASSES)


def compare(client: Client, contract: Contract, rows: Rows) -> None:
    columns = ", ".join((*COUNTS, *SUMS))
    sql = f"SELECT slice, arm, version, bucket, toUnixTimestamp(window_start), {columns} FROM arm_counts FINAL"
    rows_of_arms = client.rows(f"{sql} WHERE predictions > 0")
    stored = {tuple(row[:5]): dict(zip((*COUNTS, *SUMS), row[5:], strict=True)) for row in rows_of_arms}
    own = targets(client, contract, rows)
    assert stored.keys() == own.keys()
    for key, values in own.items():
        assert {name: stored[key][name] for name in COUNTS} == {name: values[name] for name in COUNTS}, key
        for name in SUMS:
            assert stored[key][name] == pytest.approx(values[name], rel=1e-12, abs=1e-9), (key, name)


@pytest.mark.parametrize(
    "contract", [BINARY, MANY, UNLABELLED, NUMBER], ids=["two classes", "three classes", "without labels", "numbers"]
)
@pytest.mark.smoke
def test_counts_of_arms(client: Client, score: Score, contract: Contract) -> None:
    """Margins that the contract states later count the past, and rows that arrive later are counted again."""
    rows = raw_rows(random.Random(1), 500, contract)
    insert(client, **{name: own[: len(own) // 2] for name, own in rows.items()})
    assert contract.arms is not None
    score(msgspec.structs.replace(contract, arms=msgspec.structs.replace(contract.arms, margins={}))).score_once()
    assert client.rows("SELECT count() FROM arm_counts") == [(0,)]
    working = score(contract)
    working.score_once()
    insert(client, **{name: own[len(own) // 2 :] for name, own in rows.items()})
    working.score_once()
    compare(client, contract, rows)
    units = client.rows("SELECT DISTINCT unit FROM arm_counts")
    assert units == [("prediction" if contract is UNLABELLED else "context.user",)]


APPLIED_MS = 1_790_000_000_000
USERS = Arms(shares={"b": 0.5, "a": 0.5}, unit="context.user")


@pytest.fixture(scope="module")
def migrated_client(engine: LocalClickHouse) -> Iterator[Client]:
    with migrated(engine) as client:
        # The rows of these tests are of a fixed moment, which the TTL would take.
        client.command("ALTER TABLE predictions REMOVE TTL")
        client.command("ALTER TABLE arm_ratios REMOVE TTL")
        yield client


def contract(arms: Arms | None = USERS, **changes: Any) -> Contract:
    return simple_contract(arms=arms, **changes)


def write(
    client: Client, requests: list[tuple[str, str]], first: int = 0, received_ms: int = APPLIED_MS + 1000
) -> None:
    """Requests as (user, arm), one prediction each."""
    rows = [
        {"id": f"p{i}", "offset": i, "arm": arm, "context": [("user", user)] if user else []}
        for i, (user, arm) in enumerate(requests, first)
    ]
    add_rows(client, "predictions", rows, model="toy", version="1", at=received_ms, received_at=received_ms)


def check_due(client: Client, applied: Contract, at_ms: int = APPLIED_MS + 5000) -> ArmRatio:
    result = sample_ratio(client, applied, at_ms)
    assert result is not None
    return result


def test_distinct_units_against_the_source(client: Client) -> None:
    rng = random.Random(1)
    requests = [(f"u{user}", rng.choice("ab")) for user in range(900)]
    requests += [(user, arm) for user, arm in requests for _ in range(rng.randrange(6))]
    requests += [(f"u{user}", "b") for user in range(40)] + [("", "a")] * 7 + [("odd", "no such arm")] * 3
    scoring.register(client, contract(), applied_at=APPLIED_MS)
    write(client, requests)
    write(client, requests[:200])  # read again from Kafka: the same rows
    observations = defaultdict(set)
    for user, arm in requests:
        if user and arm in "ab":
            observations[user].add(arm)
    result = check_due(client, contract())
    assert [arm.arm for arm in result.arms] == ["b", "a"]
    for counted in result.arms:
        assert counted.units == sum(arms == {counted.arm} for arms in observations.values())
        assert counted.crossovers == sum(len(arms) == 2 for arms in observations.values()) > 0
        assert counted.without_unit == (7 if counted.arm == "a" else 0)
    assert result.p_value == pytest.approx(float(anytime_p([arm.units for arm in result.arms], [0.5, 0.5])))
    assert result.level == Level.insufficient


def test_counting_starts_when_the_shares_were_promised(client: Client) -> None:
    other = contract(Arms(shares={"a": 0.1, "b": 0.9}, unit="context.user"))
    last = contract(description="changed since, not the arms")
    for after_ms, applied in ((-2000, other), (0, contract()), (2000, last)):
        scoring.register(client, applied, applied_at=APPLIED_MS + after_ms)
    write(client, [(f"old{i}", "b") for i in range(500)], received_ms=APPLIED_MS - 1000)
    write(client, [(f"new{i}", "ab"[i % 2]) for i in range(500)], first=500)
    result = check_due(client, last)
    assert round(result.since.timestamp() * 1000) == APPLIED_MS
    assert [arm.units for arm in result.arms] == [250, 250]


def test_a_mismatch_persists_within_one_test(client: Client) -> None:
    scoring.register(client, contract(), applied_at=APPLIED_MS)
    write(client, [(f"u{i}", "a") for i in range(40)])
    first = check_due(client, contract())
    assert first.level == Level.major
    write_ratio(client, first)
    write_ratio(client, first)
    write(client, [(f"v{i}", "b") for i in range(40)], first=40)
    second = check_due(client, contract(), APPLIED_MS + 9000)
    assert [arm.units for arm in second.arms] == [40, 40]
    assert (second.p_value, second.level) == (first.p_value, Level.major)
    write_ratio(client, second)
    rows = client.rows("SELECT arm, units, share, level FROM latest_arm_ratios ORDER BY arm")
    assert rows == [("a", 40, 0.5, "major"), ("b", 40, 0.5, "major")]
    assert client.rows("SELECT count() FROM arm_ratios FINAL") == [(4,)]
    other = contract(Arms(shares={"a": 0.6, "b": 0.4}, unit="context.user"))
    scoring.register(client, other, applied_at=APPLIED_MS + 9500)
    assert check_due(client, other, APPLIED_MS + 9600).p_value == 1.0


def test_without_raw_predictions_the_ratio_is_unknown_and_without_two_arms_there_is_none(client: Client) -> None:
    assert sample_ratio(client, contract(None)) is None
    assert sample_ratio(client, contract(Arms(shares={"a": 1.0}))) is None
    applied = contract(raw_share=0.0)
    scoring.register(client, applied, applied_at=APPLIED_MS)
    write(client, [(f"u{i}", "a") for i in range(40)])
    result = check_due(client, applied)
    assert [arm.units for arm in result.arms] == [0, 0]
    assert (result.p_value, result.level) == (1.0, Level.insufficient)
    write_ratio(client, result)
    assert client.rows("SELECT countIf(isNaN(share)), any(reason) FROM latest_arm_ratios") == [(2, "no units")]


def test_the_scorer_looks_now_and_then(client: Client) -> None:
    """Also at models that it cannot measure: this one has no label."""
    scoring.register(client, contract(), applied_at=APPLIED_MS)
    registry = build_registry([(contract(), APPLIED_MS), (simple_contract(model="untested"), APPLIED_MS)], [])
    write(client, [(f"u{i}", "ab"[i % 2]) for i in range(40)])
    now_s = 0.0
    looks = ArmRatioSchedule(lambda: now_s)
    for now_s in (0.0, MIN_INTERVAL_S - 1, MIN_INTERVAL_S):
        looks.check_due(client, registry, APPLIED_MS + 5_000 + int(now_s * 1000))
    observations = client.rows("SELECT model, toUnixTimestamp64Milli(at), arm, units FROM arm_ratios ORDER BY at, arm")
    moments = (APPLIED_MS + 5_000, APPLIED_MS + 5_000 + int(MIN_INTERVAL_S * 1000))
    assert observations == [("toy", at, arm, 20) for at in moments for arm in "ab"]
