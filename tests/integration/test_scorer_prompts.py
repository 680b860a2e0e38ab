"""Prompts compared by the hour: the looks of the scorer, the signal of the alert and the command."""

import json
import math
import random
import time
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from barograph.contract import Arms, Contract, Rollback, Text
from barograph.contract.check import check_contract
from barograph.contract.evaluator_contracts import evaluator_contracts
from barograph.contract.evaluators import Evaluator
from barograph.contract.file import dump_contract, parse_contract

from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.streams.registry.registry import build_registry
from barograph_server.streams.scorer.rules import make_rules
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.rollouts.arm_comparisons import last_comparisons, own_margins
from barograph_server.warehouse.rollouts.arm_hours import MAX_DAYS, arm_hours, newest_end
from barograph_server.warehouse.rollouts.rollback_proposals import read_proposals
from barograph_server.warehouse.scoring.arms import PREDICTION
from barograph_server.warehouse.signals import point_sql
from barograph_server.warehouse.signals.prompts import prompt_harm
from barograph_server.warehouse.tables import insert_rows
from tests.support import scoring
from tests.support.command_line import OutputOf
from tests.support.scoring import DAY_MS, HOUR_MS, START_MS, Killed, MortalClient, Score, prediction
from tests.support.warehouse import add_row, add_rows, row

MARGINS = {"errors": 0.01, "ttft": 0.1, "output_tokens": 0.1, "cost": 0.2, "refusals": 0.01}
CONTRACT = Contract(
    model="m",
    arms=Arms(shares={"answer@7": 0.5, "answer@8": 0.5}, unit="context.user"),
    rollback=Rollback(prompt="answer", margins=MARGINS, events=200, units=50),
)
PER_HOUR, USERS, HOURS = 150, 500, 12
METRICS = {"ttft": "ttft_ms", "token_time": "time_per_output_token_ms"}


@pytest.fixture
def score(client: Client, engine: LocalClickHouse) -> Score:
    address = engine.address(client.database)
    usual: dict[str, Any] = {"clock": lambda: (START_MS + DAY_MS) / 1000}
    return lambda contract=CONTRACT, **changes: scoring.scorer(client, address, contract, **{**usual, **changes})


def planted(seed: int, harm: float, hours: int = HOURS, start_ms: int = START_MS) -> list[dict[str, Any]]:
    """Predictions of two arms whose users stay; the second one is slower and longer by a factor."""
    rng = random.Random(seed)
    arm_of = {user: rng.choice(list(CONTRACT.arms.shares)) for user in range(USERS)} if CONTRACT.arms else {}
    rows: list[dict[str, Any]] = []
    for hour in range(hours):
        for _ in range(PER_HOUR):
            user = rng.randrange(USERS)
            factor = harm if arm_of[user] == "answer@8" else 1.0
            metrics = {
                "ttft_ms": rng.lognormvariate(5, 0.5) * factor,
                "output_tokens": float(int(rng.lognormvariate(4, 0.6) * factor)),
                "cost_usd": rng.lognormvariate(-9, 0.6) * factor,
            }
            at_ms = start_ms + hour * HOUR_MS + rng.randrange(HOUR_MS)
            values: dict[str, Any] = {"arm": arm_of[user], "metrics": metrics, "context": {"user": f"u{user}"}}
            values |= {"status": "stop", "error": "Timeout" if rng.random() < 0.01 else ""}
            rows.append(prediction(len(rows), at_ms, len(rows), **values))
    return rows


def later_hours(harm: float) -> list[dict[str, Any]]:
    rows = planted(1, harm, start_ms=START_MS + HOURS * HOUR_MS)
    return [row | {"id": f"later{i}", "offset": row["offset"] + 10_000} for i, row in enumerate(rows)]


def test_numbers_are_counted_if_they_are_observed(client: Client, score: Score) -> None:
    rng = random.Random(3)
    choices = [None, 0.0, -1.0, 1e13, math.inf, 7.0, 123.5]
    statuses = ["", "stop", "Content_Filter", "stop, refusal", "length", "unsafety"]
    rows: list[dict[str, Any]] = []
    own = defaultdict[str, float](float)
    for i in range(800):
        names = (*METRICS.values(), "input_tokens", "output_tokens", "cost_usd")
        metrics = {name: rng.choice(choices) for name in names}
        status = rng.choice(statuses)
        present = {name: value for name, value in metrics.items() if value is not None}
        at_ms = START_MS + rng.randrange(HOUR_MS)
        values = {"arm": "answer@7", "metrics": present, "status": status, "context": {"user": f"u{i % 9}"}}
        rows.append(prediction(i, at_ms, i, **values))
        own["with_status"] += status != ""
        own["refused"] += status in ("Content_Filter", "stop, refusal")
        for column, name in METRICS.items():
            value = metrics[name]
            if value is not None and 0 < value <= 1e12:
                own[f"with_{column}"] += 1
                own[f"log_{column}"] += math.log(value)
                own[f"log_{column}_squares"] += math.log(value) ** 2
        for column, squares, name, factor in (
            ("input_tokens", "input_token_squares", "input_tokens", 1.0),
            ("output_tokens", "output_token_squares", "output_tokens", 1.0),
            ("micro_cost", "micro_cost_squares", "cost_usd", 1e6),
        ):
            value = metrics[name]
            if value is not None and 0 <= value <= 1e12:
                own["with_cost" if column == "micro_cost" else f"with_{column}"] += 1
                own[column] += value * factor
                own[squares] += (value * factor) ** 2
    insert_rows(client, "predictions", rows)
    score().score_once()
    columns = sorted(own)
    totals = ", ".join(f"sum(counts.{name})" for name in columns)
    (stored,) = client.rows(f"SELECT {totals} FROM arm_counts AS counts FINAL WHERE slice = 'all'")
    assert dict(zip(columns, stored, strict=True)) == {name: pytest.approx(own[name], rel=1e-9) for name in columns}


def test_a_worse_prompt_is_proposed_once(client: Client, score: Score) -> None:
    rows = planted(1, 1.5)
    insert_rows(client, "predictions", rows)
    score().score_once()
    (proposal,) = read_proposals(client)
    own = (proposal.prompt, proposal.label, proposal.version, proposal.target)
    assert own == ("answer", "production", 8, "previous")
    for text in ("answer@8 is worse than answer@7 in m", "ttft +", "margin 10.00"):
        assert text in proposal.reason
    looks = {each.criterion: each for each in last_comparisons(client, "m")}
    assert looks.keys() == MARGINS.keys()
    assert [looks[name].outcome for name in ("ttft", "output_tokens")] == ["harm", "harm"]
    assert looks["errors"].outcome in ("undecided", "no-harm")
    assert looks["refusals"].outcome == "insufficient"  # nothing varies
    assert looks["ttft"].low < 0.5 < looks["ttft"].high
    assert looks["ttft"].control_units + looks["ttft"].arm_units == len({row["context"]["user"] for row in rows})
    # More hours, and a scorer that starts again, add looks and no proposal.
    before = client.rows("SELECT * FROM arm_comparisons FINAL ORDER BY ALL")
    insert_rows(client, "predictions", later_hours(1.5))
    score().score_once()
    after = client.rows("SELECT * FROM arm_comparisons FINAL ORDER BY ALL")
    assert set(before) < set(after)
    assert len(after) == 2 * len(before)
    assert read_proposals(client) == [proposal]


@pytest.mark.long
@pytest.mark.parametrize("table", ["arm_comparisons", "rollback_proposals"])
def test_a_killed_scorer_loses_no_look_and_no_proposal(client: Client, score: Score, table: str) -> None:
    insert_rows(client, "predictions", planted(1, 1.5))
    mortal: Any = MortalClient(client, 1, (table,))
    with pytest.raises(Killed):
        score(connect_to=lambda _address: mortal).score_once()
    score().score_once()
    assert len(read_proposals(client)) == 1
    counts = client.rows("SELECT criterion, count() FROM arm_comparisons FINAL GROUP BY criterion ORDER BY criterion")
    assert counts == [(name, HOURS) for name in sorted(MARGINS)]


def test_arms_in_other_shares_than_planned_are_not_rolled_back(client: Client, score: Score) -> None:
    assert CONTRACT.arms is not None
    shares = {"answer@7": 0.9, "answer@8": 0.1}
    contract = msgspec.structs.replace(CONTRACT, arms=msgspec.structs.replace(CONTRACT.arms, shares=shares))
    insert_rows(client, "predictions", planted(1, 1.0))
    score(contract).score_once()
    assert client.rows("SELECT DISTINCT level FROM arm_ratios") == [("major",)]
    insert_rows(client, "predictions", later_hours(2.0))
    score(contract).score_once()
    assert {each.criterion: each.outcome for each in last_comparisons(client, "m")}["ttft"] == "harm"
    assert read_proposals(client) == []


@pytest.mark.parametrize(("rates", "outcome"), [((0.1, 0.35), "harm"), ((0.1, 0.1), "no-harm")])
def test_evaluations_compare_prompts(client: Client, score: Score, rates: tuple[float, float], outcome: str) -> None:
    assert CONTRACT.rollback is not None
    parent = msgspec.structs.replace(
        CONTRACT,
        text=Text(content="keep", sample=1.0),
        evaluators={"faithful": Evaluator(judge="faithful.yaml", endpoint="small")},
        rollback=msgspec.structs.replace(CONTRACT.rollback, margins={"errors": 0.01, "faithful": 0.1}),
    )
    check_contract(parent)
    (derived,) = evaluator_contracts(parent)
    assert derived.rollback == Rollback(prompt="answer", margins={"faulty": 0.1}, criteria=2, events=200, units=50)
    assert parse_contract(dump_contract(derived)) == derived
    rng = random.Random(7)
    rows = []
    for event in planted(1, 1.0):
        # One in ten has no result, and counts for neither.
        is_faulty = rng.random() < rates[event["arm"] == "answer@8"]
        metrics = {} if rng.random() < 0.1 else {"faulty": float(is_faulty), "calls": 1.0}
        class_ = "" if not metrics else "faulty" if is_faulty else "sound"
        rows.append(event | {"model": derived.model, "metrics": metrics, "class": class_, "error": ""})
    insert_rows(client, "predictions", rows)
    score(derived).score_once()
    (comparison,) = last_comparisons(client, "m.faithful")
    assert (comparison.criterion, comparison.outcome) == ("faulty", outcome)
    assert comparison.control_events + comparison.arm_events == sum("faulty" in row["metrics"] for row in rows)
    assert abs(comparison.value - (rates[1] - rates[0])) < 0.05
    assert [each.model for each in read_proposals(client)] == (["m.faithful"] if outcome == "harm" else [])
    # The model itself has no predictions here, and looks at its own criteria only.
    assert own_margins(parent.rollback or derived.rollback) == {"errors": 0.01}


@pytest.mark.parametrize(("unit", "units"), [("context.user", [[0, 0], [0, 0]]), ("", [[10, 10], [20, 20]])])
def test_hours_with_both_arms_give_a_look_within_the_longest_comparison(
    client: Client, unit: str, units: list[list[int]]
) -> None:
    assert CONTRACT.arms is not None
    contract = msgspec.structs.replace(CONTRACT, arms=msgspec.structs.replace(CONTRACT.arms, unit=unit))
    rules = make_rules(contract, build_registry([(contract, 1)], []))
    assert rules.arms is not None
    first_s, hour_s = START_MS // 1000, HOUR_MS // 1000
    late_s = first_s + MAX_DAYS * DAY_MS // 1000
    own = {"model": "m", "basis": rules.basis, "unit": unit or PREDICTION, "slice": "all", "window_s": hour_s}

    def write(arm: str, *starts_s: int, predictions: int = 10) -> None:
        counts = {**own, "arm": arm, "predictions": predictions, "records": predictions}
        add_rows(client, "arm_counts", [{"window_start": each} for each in starts_s], **counts)

    arguments = "m", rules.arms, "answer@7", "answer@8", rules.basis
    assert newest_end(client, *arguments) == 0
    write("answer@7", first_s, first_s + 3 * hour_s, first_s + 4 * hour_s)
    write("answer@8", first_s + hour_s)
    write("answer@8", first_s + 4 * hour_s, predictions=0)
    assert newest_end(client, *arguments) == 0, "no hour has both"
    write("answer@7", first_s + 2 * hour_s, late_s)
    write("answer@8", first_s, first_s + 2 * hour_s, late_s)
    hours = arm_hours(client, *arguments, ())
    assert hours is not None
    assert hours.ends.tolist() == [first_s + hour_s, first_s + 3 * hour_s]
    assert hours.units.tolist() == units, "no raw rows of users; without a unit each prediction is one"
    assert newest_end(client, *arguments) == hours.ends[-1]
    assert (hours.sums["predictions"].sum(axis=-1) == 10).all()
    # The hour before the limit is compared.
    write("answer@7", late_s - hour_s)
    write("answer@8", late_s - hour_s)
    assert newest_end(client, *arguments) == late_s


HOUR_S = 3600
NOW_S = int(time.time()) // HOUR_S * HOUR_S
COMPARED = parse_contract(
    "contract: 1\nmodel: m\narms: {shares: {answer@7: 0.5, answer@8: 0.5}}\n"
    "rollback: {prompt: answer, margins: {errors: 0.01, ttft: 0.1, cost: 0.2}}\n"
)


def look_row(hours_ago: int, criterion: str, value: float, half: float, margin: float, outcome: str) -> dict[str, Any]:
    return row(
        "arm_comparisons",
        **{"model": "m", "control": "answer@7", "arm": "answer@8", "criterion": criterion, "margin": margin},
        **{"at": NOW_S - hours_ago * HOUR_S, "value": value, "low": value - half, "high": value + half},
        **{"unit": "share" if criterion == "errors" else "ratio", "control_value": 0.01, "outcome": outcome},
        **{"control_events": 1000, "arm_events": 990, "control_units": 1000, "arm_units": 990},
        compared_at=NOW_S * 1000,
    )


@pytest.fixture
def filled(client: Client) -> Client:
    looks = [
        look_row(2, "errors", 0.0, math.inf, 0.01, "insufficient"),
        look_row(1, "errors", 0.03, 0.01, 0.01, "harm"),
        look_row(1, "ttft", 0.0, 0.05, 0.1, "no-harm"),
        look_row(1, "cost", 0.15, 0.1, 0.2, "undecided"),
    ]
    insert_rows(client, "arm_comparisons", looks)
    return client


def test_the_signal_is_above_0_at_harm_alone(filled: Client) -> None:
    signal = prompt_harm("m", "answer@7", ["answer@8"], ["errors", "ttft", "cost"])

    def values(at_s: int, column: str = "value") -> dict[str, float]:
        return dict(filled.rows(point_sql(signal, column, at=str(at_s))))

    assert values(NOW_S) == {
        "answer@8: errors": pytest.approx(0.01),
        "answer@8: ttft": pytest.approx(-0.15),
        "answer@8: cost": pytest.approx(-0.15),
    }
    assert values(NOW_S - 2 * HOUR_S) == dict.fromkeys(signal.keys, 0.0), "not enough data"
    assert values(NOW_S + 6 * HOUR_S) == dict.fromkeys(signal.keys, 0.0), "the looks have expired"


def test_the_command_prints_one_table(filled: Client, config: str, output_of: OutputOf) -> None:
    words = ("prompts", "compare", "--config", config, "--model")
    scoring.register(filled, COMPARED)
    own = {"model": "m", "prompt": "answer", "label": "production", "version": 8, "control": "answer@7"}
    what = {"arm": "answer@8", "target": "previous", "mode": "propose", "at": NOW_S, "reason": "worse"}
    add_row(filled, "rollback_proposals", **own, **what, proposed_at=NOW_S * 1000)
    lines = [" ".join(line.split()) for line in output_of(0, *words, "m").splitlines()]
    assert lines[0] == "m: prompt answer, compared with answer@7"
    at = datetime.fromtimestamp(NOW_S - HOUR_S, UTC).strftime("%Y-%m-%d %H:%M")
    assert f"answer@8 errors +3.00 points +2.00 to +4.00 1 1,000 and 990 1,000 and 990 {at} harm" in lines
    assert f"answer@8 ttft +0.00 % -5.00 to +5.00 10 1,000 and 990 1,000 and 990 {at} no harm" in lines
    assert lines[-1].endswith("roll answer:production back from 8 to the version before (propose): worse")
    shown = json.loads(output_of(0, *words, "m", "--format", "json"))
    assert [each["outcome"] for each in shown["looks"]] == ["harm", "no-harm", "undecided"]
    assert shown["proposals"][0]["version"] == 8
    assert "has no contract of 'x'" in output_of(1, *words, "x")
    filled.command("TRUNCATE TABLE arm_comparisons")
    assert "No hour of m has predictions of answer@7 and another arm yet" in output_of(1, *words, "m")
