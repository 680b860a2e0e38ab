"""Pairs of a candidate and the primary equal those of a join in plain Python, whatever arrives when."""

import math
import random
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec
import numpy as np
import pytest
from barograph.contract import Contract, LabelSpec, Slo
from scipy.stats import spearmanr

from barograph_server.sketches.rollout.shadow_days import SLO_TIMED
from barograph_server.streams.registry.registry import build_registry
from barograph_server.streams.scorer import statement_chunks
from barograph_server.streams.scorer.rules import make_rules
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.rollouts.days import days_of, read_totals
from barograph_server.warehouse.rollouts.pair_histograms import latency_by_hour, rank_correlation
from barograph_server.warehouse.scoring.pairs import first_window
from barograph_server.warehouse.tables import insert_rows
from tests.reference.shadow_pairs import (
    BINARY,
    METRICS,
    SHADOW,
    UNLABELLED,
    Rows,
    answers_of,
    differences,
    joined,
    order,
    stored,
)
from tests.support import scoring
from tests.support.scoring import DAY_MS, HOUR_MS, START_MS, Killed, MortalClient, Score, label, prediction
from tests.support.warehouse import insert


def raw_rows(rng: random.Random, n: int) -> dict[str, list[dict[str, Any]]]:
    """A day of requests, a candidate that answers most of them, and labels, with every anomaly."""
    rows: dict[str, list[dict[str, Any]]] = {"predictions": [], "shadow_predictions": [], "labels": []}
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
                value = rng.choice(["true", "false"])
                rows["labels"].append(label(i, at_ms + delay_ms + 1, len(rows["labels"]), value))
    return rows


def metrics(rng: random.Random) -> dict[str, float | None]:
    values = {"input": rng.randrange(500) / 4, "output": rng.random(), "calls": rng.choice([1.0, math.inf]), "x": 1.0}
    return {name: value for name, value in values.items() if rng.random() < 0.8}


def fill(client: Client, rows: Rows) -> Rows:
    insert(client, **rows)
    return rows


def compare(client: Client, rows: Rows, contract: Contract = BINARY) -> None:
    assert differences(stored(client), joined(rows, contract)) == []
    # The copy is paired like a candidate, without a copy of its own.
    assert differences(stored(client, "3b"), joined(rows, contract, "3b", "")) == []


def test_every_request_is_a_pair_or_missing_for_a_reason(client: Client, score: Score) -> None:
    rows = fill(client, raw_rows(random.Random(1), 900))
    score(BINARY).score_once()
    compare(client, rows)
    totals = dict(client.rows("SELECT slice, sum(requests) FROM shadow_pairs FINAL GROUP BY slice"))
    sql = "SELECT uniqExactIf(settings, candidate = '4'), uniqExact(settings) FROM shadow_pairs"
    assert client.rows(sql) == [(1, 2)], "the copy has settings of its own"
    assert totals["all"] == sum(totals[name] for name in totals if name.startswith("country="))
    ((reasons,),) = client.rows("SELECT mapKeys(sumMap(missing)) FROM shadow_pairs FINAL")
    assert set(reasons) == {"primary-failed", "no-event", "error", "timeout", "skipped-queue", "closed"}


@pytest.mark.long
def test_requests_before_the_first_event_of_a_candidate_do_not_count(client: Client, score: Score) -> None:
    rows = raw_rows(random.Random(7), 300)
    noon_ms = START_MS + 12 * HOUR_MS
    rows["shadow_predictions"] = [each for each in rows["shadow_predictions"] if each["at"] >= noon_ms]
    insert_rows(client, "predictions", rows["predictions"])
    third = len(rows["labels"]) // 3
    insert_rows(client, "labels", rows["labels"][:third])
    score(msgspec.structs.replace(BINARY, shadow=None)).score_once()
    insert_rows(client, "labels", rows["labels"][third : 2 * third])  # of the hours before the candidate, too
    scorer = score(BINARY)
    scorer.score_once()
    assert stored(client) == {}
    insert_rows(client, "shadow_predictions", rows["shadow_predictions"])
    scorer.score_once()
    insert_rows(client, "labels", rows["labels"][2 * third :])
    scorer.score_once()
    compare(client, rows)
    assert min(start for _, start in stored(client)) == noon_ms // 1000
    # An earlier event arrives late: the hours from it on count, those without an event of the candidate too.
    rules = make_rules(BINARY, build_registry([(BINARY, 1)], []))
    changes = {"id": "earlier", "at": START_MS + 8 * HOUR_MS, "version": "4", "offset": 10**7}
    earlier = rows["shadow_predictions"][0] | changes
    rows["shadow_predictions"].append(earlier)
    insert_rows(client, "shadow_predictions", [earlier])
    scorer.score_once()
    compare(client, rows)
    assert min(start for _, start in stored(client)) == first_window(client, rules) == earlier["at"] // 1000
    client.command("TRUNCATE TABLE shadow_predictions")  # as if they had expired
    assert first_window(client, rules) == earlier["at"] // 1000


def test_what_the_contract_names_later_holds_for_the_past(client: Client, score: Score) -> None:
    """First the model alone, then a candidate, then a label, at last other settings of pairs."""
    rows = fill(client, raw_rows(random.Random(2), 300))
    score(msgspec.structs.replace(BINARY, shadow=None)).score_once()
    assert stored(client) == {}
    score(UNLABELLED).score_once()
    compare(client, rows, UNLABELLED)
    unlabelled = make_rules(UNLABELLED, build_registry([(UNLABELLED, 1)], [])).basis
    plain = msgspec.structs.replace(SHADOW, copy="", prices={}, candidate_prices={})
    earlier = msgspec.structs.replace(BINARY, shadow=plain, slo=Slo(latency_ms=2.0))
    score(earlier).score_once()
    client.command("DELETE FROM shadow_pairs WHERE basis = {basis:String}", {"basis": unlabelled})
    ((slow, limit),) = client.rows("SELECT sum(slow_primary), any(slow_ms) FROM shadow_pairs FINAL")
    assert (slow > 0, limit) == (True, 2.0)
    # Days of two settings do not add up.
    rules = [make_rules(each, build_registry([(each, 1)], [])) for each in (earlier, BINARY)]
    versions = {"model": "m", "candidate": "4", "of": "3", "zone": "UTC", "basis": rules[1].basis}
    before = read_totals(client, versions | {"settings": rules[0].pair_settings.hash})
    assert before.cost_metrics == frozenset()
    score(BINARY).score_once()
    compare(client, rows)
    assert not any(row[-1] for row in read_totals(client, versions | {"settings": "other"}).rows.values())
    after = read_totals(client, versions | {"settings": rules[1].pair_settings.hash})
    assert after.cost_metrics == set(METRICS)
    (whole, *_) = days_of(after, 0)
    expected_slow = sum(each["slow_primary"] for (name, _), each in joined(rows).items() if name == "all")
    assert whole.sums["slow_primary"].sum() == expected_slow
    assert whole.sums[SLO_TIMED].sum() == whole.sums["timed"].sum() > 0
    assert whole.sums["costed"].sum() > 0
    correlation = rank_correlation(client, versions)
    scores = [(event["score"], answer["score"]) for event, answer in paired(rows) if math.isfinite(event["score"])]
    assert correlation == pytest.approx(spearmanr(np.array(scores)).statistic, abs=0.03)
    hours = latency_by_hour(client, versions)
    assert sum(each.pairs for each in hours) == whole.sums["timed"].sum()
    assert all(list(side) == sorted(side) for each in hours for side in (each.primary, each.candidate))


def paired(rows: Rows) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    answers = answers_of(rows, "4")
    requests: dict[str, Mapping[str, Any]] = {}
    for event in sorted(rows["predictions"], key=order):
        if event["version"] == "3":
            requests.setdefault(event["id"], event)
    pairs = []
    for event_id, event in requests.items():
        near = [each for each in answers[event_id] if abs(each["at"] - event["at"]) <= HOUR_MS]
        if near and not near[0]["error"] and not event["error"]:
            pairs.append((event, near[0]))
    return pairs


def test_models_of_every_kind_are_paired(client: Client, score: Score) -> None:
    rows = raw_rows(random.Random(2), 300)
    for event in rows["shadow_predictions"]:
        event["class"] = "" if event["error"] else "maybe"
    fill(client, rows)
    by_class = Counter(f"{event['class']} → maybe" for event, _ in paired(rows) if event["class"])
    assert by_class
    for label_spec, class_pairs in (
        (LabelSpec(type="category", classes=("true", "false", "maybe")), by_class),
        (LabelSpec(type="float"), {}),
    ):
        contract = msgspec.structs.replace(BINARY, label=label_spec)
        score(contract).score_once()
        requests, pairs, timed, score_pairs, bins, classes, latencies = client.rows(
            "SELECT sum(requests), sum(pairs), sum(timed), sum(score_pairs), sumMap(score_bins), sumMap(class_pairs), "
            "sumMap(latencies_candidate) FROM shadow_pairs FINAL WHERE candidate = '4' AND slice = 'all' "
            "AND basis = {basis:String}",
            {"basis": make_rules(contract, build_registry([(contract, 1)], [])).basis},
        )[0]
        assert 0 < pairs < requests, label_spec
        assert sum(bins.values()) == score_pairs > 0, label_spec
        assert sum(latencies.values()) == timed > 0, label_spec
        assert classes == class_pairs, label_spec


def test_numbers_add_up_in_any_unit_and_what_is_too_large_does_not_count(client: Client, score: Score) -> None:
    contract = msgspec.structs.replace(BINARY, label=LabelSpec(type="float", horizon_s=3 * 86400))
    sizes = [(1e30, 3e30), (2e59, 1e25), (1e61, 1.0), (1.0, 1e200)]
    for i, outputs in enumerate(sizes):
        for side, (table, version) in enumerate((("predictions", "3"), ("shadow_predictions", "4"))):
            event = prediction(i, START_MS, 2 * i + side, version=version, score=outputs[side])
            insert_rows(client, table, [event | {"context": {"country": "de"}}])
        insert_rows(client, "labels", [label(i, START_MS + HOUR_MS, i, "0", "number")])
    # Three hours later, without a label: a latency that is none, and a difference whose square is large.
    for table, version, value in (("predictions", "3", 0.0), ("shadow_predictions", "4", 1e20)):
        event = prediction(9, START_MS + 3 * HOUR_MS, 99, version=version, score=value)
        event |= {"latency_ms": math.inf if value else 3.0, "context": {"country": "de"}}
        insert_rows(client, table, [event])
    score(contract).score_once()
    first, later = client.rows(
        "SELECT pairs, timed, scored, score_pairs, score_difference, score_difference_2, error_primary, "
        "error_candidate FROM shadow_pairs FINAL WHERE candidate = '4' AND slice = 'all' AND requests > 0 "
        "ORDER BY window_start"
    )
    *_, primary, candidate = first
    assert first[2:4] == (2, 0)
    assert (primary, candidate) == pytest.approx((2e59, 3e30), rel=1e-4)
    assert later[:6] == (1, 0, 0, 1, 1e20, pytest.approx(1e40))
    versions = {"model": "m", "candidate": "4", "of": "3", "zone": "UTC"}
    rules = make_rules(contract, build_registry([(contract, 1)], []))
    versions |= {"basis": rules.basis, "settings": rules.pair_settings.hash}
    (whole, *_) = days_of(read_totals(client, versions), 0)
    assert [whole.sums[f"error_{side}"].sum() for side in ("primary", "candidate")] == [primary, candidate]


@pytest.mark.long
@pytest.mark.parametrize("kills", [1, 3])
def test_a_pass_killed_while_it_pairs_the_past_is_continued(
    client: Client, score: Score, monkeypatch: pytest.MonkeyPatch, kills: int
) -> None:
    monkeypatch.setattr(statement_chunks, "MAX_HOURS", 6)
    rows = fill(client, raw_rows(random.Random(2), 300))
    score(msgspec.structs.replace(BINARY, shadow=None)).score_once()
    mortal: Any = MortalClient(client, kills, ("shadow_pairs",))
    with pytest.raises(Killed):
        score(BINARY, connect_to=lambda _: mortal).score_once()
    score(BINARY).score_once()
    compare(client, rows)


@pytest.mark.long
@pytest.mark.parametrize("seed", [3, 4])
def test_pairs_do_not_depend_on_the_order_of_arrival(client: Client, score: Score, seed: int) -> None:
    rng = random.Random(seed)
    rows = raw_rows(rng, 300)
    scoring.arrive(client, rng, rows, partial(score, BINARY))
    compare(client, rows)


@pytest.mark.long
def test_a_pass_killed_at_any_point_is_repeated_into_the_same_pairs(client: Client, score: Score) -> None:
    rows = raw_rows(random.Random(6), 150)
    fill(client, {table: own[: len(own) // 2] for table, own in rows.items()})
    score(BINARY).score_once()
    fill(client, {table: own[len(own) // 2 :] for table, own in rows.items()})
    tables = "shadow_pairs", "scorer_checkpoints"
    assert scoring.kill_everywhere(client, partial(score, BINARY), lambda: compare(client, rows), tables) >= 4
