"""The table `evaluation_rates` on the real engine: rates, agreement of reviewers, and when the scorer computes them."""

import math
import random
from datetime import UTC, datetime, timedelta
from itertools import count

import numpy as np
import pytest
from barograph.contract import Contract, Text
from barograph.contract.evaluators import Evaluator

from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.sketches.judges.agreement import MISSING, agreement
from barograph_server.sketches.judges.fault_rate import FaultRate
from barograph_server.sketches.judges.label_errors import label_errors
from barograph_server.streams.registry.registry import Registry
from barograph_server.streams.scorer.stored_rates import (
    MIN_INTERVAL_S,
    EvaluationRateSchedule,
    StoredRate,
    compute_rates,
)
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.evaluation.evaluation_rates import ALL_PROMPTS, read_evaluation_rates
from barograph_server.warehouse.evaluation.reviews import RANDOM, UNCERTAIN, Review, store_reviews
from tests.support import scoring
from tests.support.pipeline import simple_contract
from tests.support.warehouse import insert, row

NOW = datetime.now(UTC).replace(microsecond=0)
EVALUATOR = "toy.faithful"
OFFSETS = count()


def contract(**evaluators: Evaluator) -> Contract:
    own = evaluators or {"faithful": Evaluator(check="refusal", promise=0.05)}
    return simple_contract(text=Text(sample=1.0), evaluators=own)


def plant(
    client: Client, n: int, prompt: str, *, faulty: float, days_ago: float = 1, version: str = "aaa", share: str = "1"
) -> None:
    """Insert evaluations, one in eight with a label of people; the evaluator is right in nine of ten cases."""
    rng = random.Random(f"{prompt}{days_ago}{version}")
    at_ms = round((NOW - timedelta(days=days_ago)).timestamp() * 1000)
    context = {"kind": "judge", "version": "1", "prompt": prompt, "sample": share}
    own = {"model": EVALUATOR, "version": version, "at": at_ms, "received_at": at_ms, "context": context}
    rows, labels = [], []
    for i in range(n):
        is_faulty = rng.random() < faulty
        is_flagged = is_faulty != (rng.random() < 0.1)
        answer = {"id": f"{prompt}-{days_ago}-{i}", "class": "faulty" if is_flagged else "sound"}
        rows.append(row("predictions", **own, **answer, offset=next(OFFSETS)))
        if i % 8 == 0:
            value = {"label": "faulty" if is_faulty else "sound", "label_type": "string", "offset": next(OFFSETS)}
            at = {"at": NOW.timestamp() * 1000, "received_at": NOW.timestamp() * 1000}
            labels.append(row("labels", model=EVALUATOR, id=answer["id"], **value, **at))
    insert(client, predictions=rows, labels=labels)


def rates_of(client: Client) -> dict[str, StoredRate]:
    return {each.prompt: each for each in compute_rates(client, contract(), NOW)}


def test_rates_are_those_of_the_command_by_prompt_and_of_all(client: Client) -> None:
    plant(client, 800, "answer@7", faulty=0.1)
    plant(client, 480, "answer@8", faulty=0.4)
    plant(client, 80, "answer@9", faulty=0.4)
    plant(client, 80, "answer@6", faulty=0.4, days_ago=8)
    rows = rates_of(client)
    assert set(rows) == {ALL_PROMPTS, "answer@7", "answer@8", "answer@9"}, "answers of seven days"
    expected = read_evaluation_rates(client, [EVALUATOR], NOW - timedelta(days=7), NOW)
    for i, group in enumerate(expected.groups):
        stored, rate = rows[group.name], expected.rate.rate
        assert (stored.judged, stored.flagged, stored.labels) == (group.judged, group.flagged, group.labels)
        assert (stored.rate, stored.low, stored.high) == (rate.value[i], rate.low[i], rate.high[i])
    total = rows[ALL_PROMPTS]
    assert (total.judged, total.labels) == (1360, 170)
    assert rows["answer@7"].high < total.rate < rows["answer@8"].low
    assert {name: each.reason for name, each in rows.items() if each.reason} == {"answer@9": "little gold"}
    assert total.newest_at == NOW - timedelta(days=1)


def test_answers_that_were_chosen_with_different_shares_are_weighted(client: Client) -> None:
    plant(client, 800, "answer@7", faulty=0.05)
    plant(client, 800, "answer@8", faulty=0.5, share="0.1")
    rows = rates_of(client)
    assert {each.reason for each in rows.values()} == {""}
    total, first, second = (rows[name] for name in (ALL_PROMPTS, "answer@7", "answer@8"))
    # The traffic has ten times as many answers of the second prompt.
    assert total.rate == pytest.approx((first.rate + 10 * second.rate) / 11)
    assert total.high - total.rate == pytest.approx(
        math.hypot(first.high - first.rate, 10 * (second.high - second.rate)) / 11
    )
    assert (total.judged, total.labels) == (1600, 200)


def test_labels_of_four_weeks_for_random_answers_show_agreement_and_errors_of_people(client: Client) -> None:
    plant(client, 800, "answer@7", faulty=0.2)
    rng = random.Random(2)
    codes_of: dict[str, list[int]] = {"ana": [], "ben": [], "eva": []}
    counts = {"faulty": [0, 0, 0], "sound": [0, 0, 0]}
    verdicts = dict(client.rows("SELECT id, class FROM predictions"))

    def review(id_: str, reviewer: str, code: int, reason: str = RANDOM, days_ago: float = 3) -> Review:
        label = "faulty" if code else "sound"
        return Review(EVALUATOR, id_, "1", reviewer, NOW - timedelta(days=days_ago), label, reason, 1.0)

    reviews = []
    for i in range(60):
        truth, id_ = rng.random() < 0.4, f"answer@7-1-{i}"
        two = [int(truth != (rng.random() < 0.2)) for _ in range(2)]
        # A third label of a difficult answer counts in the agreement, but not in the errors.
        codes = [*two, 1 if sum(two) == 1 else MISSING]
        for days_ago, (reviewer, own), code in zip((3, 2, 1), codes_of.items(), codes, strict=True):
            own.append(code)
            reviews += [review(id_, reviewer, code, days_ago=days_ago)] * (code != MISSING)
        counts[verdicts[id_]][sum(two)] += 1
    # Neither difficult answers nor old labels count.
    for i in range(40):
        for reviewer, code in (("ana", 0), ("ben", 1)):
            reviews += [review(f"u{i}", reviewer, code, UNCERTAIN), review(f"o{i}", reviewer, code, days_ago=29)]
    before = rates_of(client)[ALL_PROMPTS]
    store_reviews(client, reviews)
    rows = rates_of(client)
    expected, errors = agreement(list(codes_of.values()), (10, 0)), label_errors(list(counts.values()))
    total = rows[ALL_PROMPTS]
    interval = (expected.alpha, expected.low, expected.high)
    assert (total.alpha, total.alpha_low, total.alpha_high) == pytest.approx(interval)
    assert (total.reviewed_twice, total.disagreements) == (60, len(expected.disagreements))
    assert math.isnan(rows["answer@7"].alpha)
    value, low, high = (np.array(each) for each in (before.rate, before.low, before.high))
    rate = errors.corrected(FaultRate(value, low, high, np.array(0, np.int8)))
    corrected = [float(each) for each in (rate.value, rate.low, rate.high)]
    assert (total.rate, total.low, total.high) == pytest.approx(corrected)
    assert total.low < before.low < before.high < total.high


def test_rates_are_written_about_hourly_and_only_after_changes(client: Client, engine: LocalClickHouse) -> None:
    plant(client, 80, "answer@7", faulty=0.2)
    scoring.scorer(client, engine.address(client.database), contract()).score_once()
    rows = client.rows("SELECT prompt, judged, labels FROM evaluation_rates FINAL ORDER BY prompt")
    assert rows == [(ALL_PROMPTS, 80, 10), ("answer@7", 80, 10)], "a pass of the scorer writes them"
    client.command("TRUNCATE TABLE evaluation_rates")
    now_s = 0.0
    schedule = EvaluationRateSchedule(lambda: now_s)
    registry = Registry(contracts={"toy": contract(), "other": simple_contract(model="other")})

    def times(changed: set[str], after_s: float) -> int:
        nonlocal now_s
        now_s += after_s
        at_ms = round((NOW.timestamp() + now_s) * 1000)
        schedule.compute_due(client, registry, at_ms, changed)
        ((n,),) = client.rows("SELECT uniqExact(at) FROM evaluation_rates")
        return int(n)

    assert times(set(), 0) == 1, "the state before the start is unknown"
    assert times({EVALUATOR}, 60) == 1, "not before an hour is over"
    assert times(set(), MIN_INTERVAL_S) == 2, "a change of the last hour"
    assert times({"toy"}, 2 * MIN_INTERVAL_S) == 2, "nothing changed in the evaluator's model"
    registry.contracts["toy"] = contract(faithful=Evaluator(check="refusal"), cited=Evaluator(check="refusal"))
    assert times(set(), MIN_INTERVAL_S) == 3, "another evaluator"
    sql = "SELECT model, evaluator, prompt, judged FROM evaluation_rates FINAL ORDER BY at, prompt LIMIT 2"
    assert client.rows(sql) == [("toy", "faithful", ALL_PROMPTS, 80), ("toy", "faithful", "answer@7", 80)]
