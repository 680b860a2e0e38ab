import math
import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from barograph.contract.file import parse_contract

from barograph_server.alerts import AlertSettings, rules_of
from barograph_server.alerts.templates import guard_rule
from barograph_server.alerts.templates.evaluations import SUITES_EVERY_S
from barograph_server.alerts.wall_clock import LiveAlerts
from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.sketches.comparison.paired_items import paired_difference
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.evaluation import eval_runs
from barograph_server.warehouse.operations.serving_facts import ServingFact, insert_serving_facts
from barograph_server.warehouse.signals import EventTimeRange, Signal, evaluations, point_sql, series_sql
from barograph_server.warehouse.signals.costs import budget_use, cache_hit_fall, token_coverage_fall
from barograph_server.warehouse.signals.drills import drills_overdue
from barograph_server.warehouse.signals.shadow import decided, missing_share, shadow_lag, slice_harm
from barograph_server.warehouse.signals.verdicts import PaneTiming
from barograph_server.warehouse.tables import insert_columns, insert_rows
from tests.support.warehouse import add_row, add_rows, columns, migrated, row

HOUR_S, DAY_S = 3600, 86_400
ODD = 'it\'s "50 %" {{ $__interval }} -- /* \\ 名前'
T0 = int(datetime(2026, 9, 20, tzinfo=UTC).timestamp())
"""A day in the middle of a month; rows are kept for 90 days from receipt, which is their event time here."""


@pytest.fixture(scope="module")
def migrated_client(engine: LocalClickHouse) -> Iterator[Client]:
    with migrated(engine) as client:
        # The tables drop old rows, and the planted days must not depend on today's.
        client.command("ALTER TABLE predictions REMOVE TTL")
        client.command("ALTER TABLE serving_facts REMOVE TTL")
        yield client


def plant(client: Client, first_hour: int, hours: int, metrics: Callable[[int], list[dict[str, float]]]) -> None:
    planted = [
        ((T0 + hour * HOUR_S + i) * 1000, each)
        for hour in range(first_hour, first_hour + hours)
        for i, each in enumerate(metrics(hour))
    ]
    (at, values), n, first_offset = zip(*planted, strict=True), len(planted), (first_hour + 10_000) * 10_000
    known = {"model": ODD, "version": "v", "at": at, "received_at": at, "metrics": values}
    known |= {"id": [f"{first_hour}-{i}" for i in range(n)], "offset": range(first_offset, first_offset + n)}
    insert_columns(client, "predictions", columns("predictions", n, **known))


def number(client: Client, signal: Signal, hour: float, column: str = "value") -> dict[str, float]:
    rows = client.rows(point_sql(signal, column, at=str(T0 + round(hour * HOUR_S))))
    return {row[0]: float(row[1]) for row in rows} if signal.label else {"": float(rows[0][0])}


def priced(cost: float) -> dict[str, float]:
    return {"input_tokens": 100.0, "output_tokens": 10.0, "cost_usd": cost}


def test_what_is_spent_fires_and_an_unknown_cost_does_not_count(client: Client) -> None:
    signal = budget_use(ODD, {"day": 10.0, "month": 100.0})
    assert number(client, signal, 5) == {"day": 1, "month": 1}, "no data: neither fires nor clears"
    plant(client, 0, 24, lambda hour: [priced(1.0), {"input_tokens": 5.0}])
    assert number(client, signal, 5) == {"day": 0.5, "month": 0.05}
    assert number(client, signal, 10) == {"day": 1.0, "month": 0.1}, "all of the budget is not more than it"
    assert number(client, signal, 11) == pytest.approx({"day": 1.1, "month": 0.11})
    assert number(client, signal, 24) == pytest.approx({"day": 2.4, "month": 0.24})
    rows = client.rows(point_sql(signal, at=str(T0 + 11 * HOUR_S), shown_s=DAY_S))
    assert "no forecast yet; the cost of 50 % of the calls is known, so that this is a lower bound" in str(rows[0])


def test_a_forecast_fires_before_the_money_is_spent(client: Client) -> None:
    signal = budget_use(ODD, {"day": 30.0})
    # Seven days of about 48 dollars, most of them in the evening; the first one is not a whole day.
    plant(client, -8 * 24 + 5, 8 * 24 - 5, lambda hour: [priced(0.5 + hour % 3 * 0.01 if hour % 24 < 12 else 3.5)])
    plant(client, 0, 24, lambda hour: [priced(0.5)])
    early = number(client, signal, 6)["day"]
    assert early > 1, "three dollars are spent, and 45 are expected"
    assert early == pytest.approx((3 + 6 * 0.51 + 12 * 3.5) / 30, abs=0.01)
    low, high = number(client, signal, 6, "low")["day"], number(client, signal, 6, "high")["day"]
    assert low <= early <= high
    assert number(client, signal, 24) == pytest.approx({"day": 12 / 30}), "at the end it is what was spent"


def test_a_forecast_whose_interval_contains_the_budget_does_not_fire(client: Client) -> None:
    signal = budget_use(ODD, {"day": 22.0})
    plant(client, -8 * 24, 8 * 24, lambda hour: [priced(0.2 if hour // 24 % 2 else 2.0)])
    plant(client, 0, 24, lambda hour: [priced(1.0)])
    values = {column: number(client, signal, 1, column)["day"] for column in ("value", "observed", "low", "high")}
    assert values["low"] < 1 < values["observed"] < values["high"]
    assert values["value"] == 1


def test_a_month_is_forecast_from_the_days_before(client: Client) -> None:
    signal = budget_use(ODD, {"month": 500.0})
    plant(client, -19 * 24, 20 * 24, lambda hour: [priced(1.0)])
    # The first planted day is the first of the month: 20 days of 24 dollars, and ten are left.
    for column in ("value", "observed"):
        assert number(client, signal, 24, column) == pytest.approx({"month": 30 * 24 / 500})


def test_the_history_agrees_with_single_times(client: Client) -> None:
    signal = budget_use(ODD, {"day": 30.0, "month": 600.0})
    plant(client, -6 * 24, 7 * 24, lambda hour: [priced(1.0 + hour % 5 * 0.2)])
    period = EventTimeRange(str(T0), str(T0 + DAY_S))
    history = {(row[0], row[1]): row[2] for row in client.rows(series_sql(signal, period))}
    for hour in (3, 12, 24):
        single = number(client, signal, hour)
        assert {key: history[T0 + hour * HOUR_S, key] for key in single} == pytest.approx(single)


def cached(share: float, calls: int = 5) -> list[dict[str, float]]:
    return [{"input_tokens": 1000.0, "output_tokens": 1.0, "cached_input_tokens": 1000 * share}] * calls


def test_a_fall_of_the_cache_fires_for_spans(client: Client) -> None:
    signal = cache_hit_fall(ODD, 0.1)
    plant(client, -8 * 24, 7 * 24, lambda hour: cached(0.6 + hour % 2 * 0.02))
    assert number(client, signal, -7 * 24 - 5) == {"spans": 0.1, "servers": 0.1}, "the week before is not there yet"
    plant(client, -24, 24, lambda hour: cached(0.3))
    values = number(client, signal, 0)
    assert values["spans"] == pytest.approx(0.31, abs=0.001)
    assert values["servers"] == 0.1
    assert number(client, signal, 0, "low")["spans"] > 0.29


def test_a_small_or_uncertain_fall_does_not_fire(client: Client) -> None:
    signal = cache_hit_fall(ODD, 0.1)
    plant(client, -8 * 24, 7 * 24, lambda hour: cached(0.9 if hour % 2 else 0.1))
    plant(client, -24, 24, lambda hour: cached(0.75 if hour % 2 else 0.0))
    assert number(client, signal, 0, "observed")["spans"] == pytest.approx(0.125, abs=0.001)
    assert number(client, signal, 0)["spans"] == 0.1, "capped at the threshold"


def test_a_fall_of_the_cache_fires_for_servers(client: Client) -> None:
    signal = cache_hit_fall(ODD, 0.1)
    facts = [
        ServingFact(
            *(ODD, "host:1", "prefix_cache_hits", "", (T0 + hour * HOUR_S) * 1000, "vllm", "ratio", "share"),
            *(share, 1000.0, 1000 * share, 15.0),
        )
        for hour in range(-8 * 24, 0)
        for share in [0.7 + hour % 3 * 0.01 if hour < -24 else 0.2]
    ]
    insert_serving_facts(client, facts)
    values = number(client, signal, 0)
    assert values["servers"] == pytest.approx(0.51, abs=0.005)
    assert values["spans"] == 0.1


def test_a_fall_of_observed_tokens_fires(client: Client) -> None:
    signal = token_coverage_fall(ODD, 0.05)
    without = [{"input_tokens": 1.0}]
    with_tokens = [without[0] | {"output_tokens": 1.0}]
    plant(client, -8 * 24, 7 * 24, lambda hour: with_tokens * 10)
    plant(client, -24, 24, lambda hour: with_tokens * 8 + without * (2 + hour % 2))
    assert number(client, signal, 0)[""] == pytest.approx(1 - 8 / 10.5, abs=0.001)
    assert number(client, signal, -7 * 24 - 5)[""] == 0.05, "neither fires nor clears without a week before"


NOW_S = int(time.time()) // HOUR_S * HOUR_S


def plant_rate(client: Client, hours_ago: float = 0, newest_hours_ago: float = 0, **values: Any) -> None:
    at_s = round(NOW_S - hours_ago * HOUR_S)
    usual = {"model": ODD, "evaluator": "faithful", "evaluator_version": "aaa", "prompt": "*", "judged": 1000}
    rate = {"labels": 200, "rate": 0.08, "low": 0.06, "high": 0.1, "alpha": math.nan, "alpha_low": math.nan}
    own = {"at": at_s, "newest_at": round(at_s - newest_hours_ago * HOUR_S) * 1000, "alpha_high": math.nan}
    add_row(client, "evaluation_rates", **{**usual, **rate, **own, **values})


def numbers(client: Client, signal: Signal, column: str = "value", after_s: int = 0) -> dict[str, Any]:
    return {row[0]: row[-1] for row in client.rows(point_sql(signal, column, at=str(NOW_S + after_s)))}


def version_of(client: Client, signal: Signal) -> str:
    ((_, version, *_),) = client.rows(point_sql(signal, at=str(NOW_S), shown_s=DAY_S))
    return str(version)


def test_a_rate_fires_with_its_whole_interval_above_the_promise(client: Client) -> None:
    signal = evaluations.rate_above_promise(ODD, "faithful", 0.05)
    assert numbers(client, signal) == {"faithful": 0.05}, "no rate: neither fires nor clears"
    plant_rate(client, hours_ago=2, rate=0.09, low=0.04, high=0.12)
    assert numbers(client, signal) == {"faithful": 0.05}, "the interval includes the promise"
    plant_rate(client, hours_ago=1)
    plant_rate(client, hours_ago=1, prompt="answer@8", rate=0.2, low=0.1, high=0.3)
    plant_rate(client, hours_ago=1, prompt="answer@9", rate=0.5, low=0.4, high=0.6, reason="little gold")
    plant_rate(client, hours_ago=1, prompt="answer@7", rate=0.4, low=0.3, high=0.5, newest_hours_ago=30)
    plant_rate(client, hours_ago=1, evaluator="other", rate=0.9, low=0.8, high=1.0)
    assert numbers(client, signal) == {"faithful": 0.2}
    assert version_of(client, signal) == "aaa, answer@8"
    plant_rate(client, rate=0.03, low=0.02, high=0.04)
    assert numbers(client, signal) == {"faithful": 0.03}
    assert version_of(client, signal) == "aaa, all prompts"


def test_insufficient_rates_and_versions_that_were_replaced_do_not_count(client: Client) -> None:
    plant_rate(client, reason="little gold", rate=0.9, low=0.8, high=1.0)
    plant_rate(client, prompt="a@1", reason="no gold", rate=math.nan, low=math.nan, high=math.nan)
    plant_rate(client, prompt="a@2", reason="little gold", rate=0.0, low=0.0, high=0.1)
    assert numbers(client, evaluations.rate_above_promise(ODD, "faithful", 0.05)) == {"faithful": 0.05}
    signal = evaluations.rate_above_promise(ODD, "other", 0.05)
    plant_rate(client, evaluator="other", newest_hours_ago=25)
    plant_rate(client, evaluator="other", evaluator_version="bbb", rate=0.01, low=0.0, high=0.02)
    assert numbers(client, signal) == {"other": 0.01}
    assert numbers(client, signal, after_s=DAY_S + 1) == {"other": 0.05}, "the rates have expired"


def test_the_labels_that_an_evaluator_lacks(client: Client) -> None:
    cases: dict[str, tuple[dict[str, Any], tuple[int, int, int], str]] = {
        "a": ({"labels": 12, "reason": "little gold"}, (38, 12, 50), " Insufficient data: too few labels."),
        "b": ({"labels": 60, "reason": "no gold"}, (1, 60, 61), " Insufficient data: no label of one verdict."),
        "c": ({"labels": 0, "reason": "no gold"}, (50, 0, 50), " Insufficient data: too few labels."),
        "d": ({"labels": 60}, (0, 60, 60), ""),
        "e": ({"labels": 60, "reason": "wide interval"}, (0, 60, 60), ""),
        "f": ({"labels": 3, "judged": 49, "reason": "little gold"}, (0, 3, 3), ""),
    }
    signal = evaluations.missing_labels(ODD, [*cases, "cited"])
    for evaluator, (values, _, _) in cases.items():
        plant_rate(client, evaluator=evaluator, **values)
        none: dict[str, Any] = {"evaluator": evaluator, "labels": 0, "reason": "no gold"}
        plant_rate(client, **none, prompt="answer@8")
        plant_rate(client, **none, evaluator_version="old", newest_hours_ago=25)
    lacking = numbers(client, signal, "tuple(value, low, high)")
    reasons = {each[0]: each[6] for each in client.rows(point_sql(signal, at=str(NOW_S), shown_s=DAY_S))}
    assert lacking.pop("cited")[0] == 0.5, "without rates it neither fires nor clears"
    assert lacking == {evaluator: expected for evaluator, (_, expected, _) in cases.items()}
    assert {evaluator: reasons[evaluator] for evaluator in cases} == {each: case[2] for each, case in cases.items()}


def test_reviewers_disagree_if_the_whole_interval_is_below_the_threshold(client: Client) -> None:
    signal = evaluations.reviewer_agreement(ODD, ["faithful"], 0.667)
    plant_rate(client, hours_ago=3, alpha=0.1)
    assert numbers(client, signal) == {"faithful": 0.667}, "an alpha without an interval does not count"
    plant_rate(client, hours_ago=2, alpha=0.5, alpha_low=0.3, alpha_high=0.7)
    assert numbers(client, signal) == {"faithful": 0.667}
    plant_rate(client, hours_ago=1, alpha=0.4, alpha_low=0.2, alpha_high=0.6)
    plant_rate(client, hours_ago=1, evaluator_version="bbb", alpha=0.4, alpha_low=0.2, alpha_high=0.6)
    assert numbers(client, signal) == {"faithful": 0.4}
    plant_rate(client, alpha=0.8, alpha_low=0.6, alpha_high=0.9)
    assert numbers(client, signal) == {"faithful": 0.8}


def plant_answers(client: Client, prompt: str, n: int, *, model: str = ODD, hours_ago: int = 2) -> None:
    at = (NOW_S - hours_ago * HOUR_S) * 1000 + 1
    name = f"{prompt} {hours_ago} "
    shared = {"model": model, "version": "gpt-4", "at": at, "received_at": at, "context": {"prompt": prompt}}
    offset = random.Random(name).randrange(2**40)
    add_rows(client, "predictions", [{"id": f"{name}{i}", "offset": offset + i} for i in range(n)], **shared)


def plant_run(
    client: Client, run_id: str, prompt: str, scores: list[float], *, hours_ago: float = 5, **changes: Any
) -> None:
    at_ms = round(NOW_S - hours_ago * HOUR_S) * 1000
    answers = tuple(eval_runs.EvalItem(f"q{i}", 1, score, score >= 0.5, {}) for i, score in enumerate(scores))
    usual = {"suite": "answers", "suite_version": "1", "version": "openai/gpt-4", "format": "inspect-ai"}
    own: dict[str, Any] = {"model": ODD, "run_id": run_id, "prompt": prompt, "started_at_ms": at_ms, "answers": answers}
    run = eval_runs.EvalRun(**{**usual, **own, "scorer": "match", "unscored": 0, **changes})
    assert eval_runs.store_run(client, run, at_ms)


def accept(client: Client, run_id: str, at_ms: int = NOW_S * 1000 - 10 * HOUR_S * 1000) -> None:
    (run,) = (each for each in eval_runs.read_runs(client, ODD) if each.run_id == run_id)
    eval_runs.store_acceptances(client, [(run, "")], "ana", at_ms)


def test_each_version_without_a_run_has_its_own_number(client: Client) -> None:
    signal = evaluations.unevaluated_calls(ODD, 100.0)
    for prompt, n in {"answer@7": 150, "answer@8": 120, "answer@9": 90, "": 130}.items():
        plant_answers(client, prompt, n)
    plant_answers(client, "answer@8", 30, hours_ago=20)
    plant_answers(client, "answer@8", 30, hours_ago=30)
    assert numbers(client, signal) == {"": 100.0, "gpt-4": 0.0}, "the model has no suite"
    plant_run(client, "r7", "answer@7", [1.0])
    assert numbers(client, signal) == {"": 100.0, "answer@7": 0.0, "answer@8": 150.0, "answer@9": 90.0}
    plant_run(client, "r8", "answer@8", [1.0], hours_ago=0)
    assert numbers(client, signal)["answer@8"] == 0.0
    # In history, the run does not count before it was imported.
    period = EventTimeRange(str(NOW_S - 8 * HOUR_S), str(NOW_S + HOUR_S))
    series = [(at, value) for at, key, value, *_ in client.rows(series_sql(signal, period)) if key == "answer@8"]
    assert [value for at, value in series if at == NOW_S - HOUR_S] == [150.0]


def test_each_version_without_a_run_fires_and_clears_by_itself(client: Client) -> None:
    contract = parse_contract(
        "contract: 1\nmodel: bot\nalerts: {for: 0s, keep_firing_for: 0s, rules: {unevaluated-version: {}}}"
    )
    rules = [rule for rule in rules_of(contract, AlertSettings()) if rule.name == "unevaluated-version"]
    alerts = LiveAlerts(rules, AlertSettings(), lambda _: None)
    at_s = NOW_S // SUITES_EVERY_S * SUITES_EVERY_S

    def firing() -> dict[str, str]:
        nonlocal at_s
        alerts.step(client, at_s)
        at_s += SUITES_EVERY_S
        return {each.key: each.summary for each in alerts.instances() if each.state == "Alerting"}

    assert firing() == {}
    plant_run(client, "r7", "answer@7", [1.0], model="bot")
    for prompt in ("answer@7", "answer@8"):
        plant_answers(client, prompt, 150, model="bot")
    plant_answers(client, "answer@9", 200, model="bot", hours_ago=22)
    assert firing() == {
        prompt: f"{prompt} gave {n} answers in the last day, and no suite was run on it; the threshold is 100. "
        "`barograph eval run` runs one."
        for prompt, n in (("answer@8", 150), ("answer@9", 200))
    }
    plant_run(client, "r8", "answer@8", [1.0], model="bot")
    assert set(firing()) == {"answer@9"}
    # Answers of a version that no longer serves leave the day, and its instance resolves.
    at_s += 6 * HOUR_S
    assert firing() == {}


def test_a_version_in_traffic_is_compared_as_the_gate_does(client: Client) -> None:
    signal = evaluations.suite_regression(ODD)
    rng = random.Random(3)
    old = [float(rng.random() < 0.8) for _ in range(40)]
    new = [score * (rng.random() < 0.6) for score in old]
    plant_answers(client, "answer@7", 150)
    plant_answers(client, "answer@8", 120)
    assert numbers(client, signal) == {"": 0.0}
    plant_run(client, "r7", "answer@7", old, hours_ago=12)
    plant_run(client, "r8-first", "answer@8", old, hours_ago=8)
    plant_run(client, "r8", "answer@8", new, hours_ago=6)
    plant_run(client, "r9", "answer@9", new)
    plant_run(client, "scored", "answer@8", new, scorer="other", suite="facts")
    accept(client, "r7")
    assert eval_runs.accepted_runs(client, ODD) == {"answers": "r7"}
    expected = paired_difference(old, new)
    result = numbers(client, signal, "tuple(value, low, high)")
    assert result == {"": (0.0, pytest.approx(math.nan, nan_ok=True), pytest.approx(math.nan, nan_ok=True))} | {
        "answers: answer@8": tuple(map(pytest.approx, (-expected.high, -expected.high, -expected.low)))
    }
    assert -expected.high > 0
    period = EventTimeRange(str(NOW_S - 4 * HOUR_S), str(NOW_S))
    live = {key for _, key, *_ in client.rows(series_sql(signal, period, "judged"))}
    replayed = {key for _, key, *_ in client.rows(series_sql(signal, period, "ended"))}
    assert (live, replayed) == ({"", "answers: answer@8"}, {""})
    plant_run(client, "r8-again", "answer@8", old, hours_ago=1)
    assert numbers(client, signal)["answers: answer@8"] < 0


def test_runs_of_another_kind_and_versions_with_few_answers_are_not_compared(client: Client) -> None:
    signal = evaluations.suite_regression(ODD)
    plant_answers(client, "answer@8", 99)
    plant_run(client, "r7", "answer@7", [1.0] * 30, hours_ago=12)
    plant_run(client, "r8", "answer@8", [0.0] * 30)
    accept(client, "r7")
    assert numbers(client, signal) == {"": 0.0}
    plant_answers(client, "answer@9", 120)
    changes: list[dict[str, Any]] = [{"suite_version": "2"}, {"scorer": "other"}, {"format": "promptfoo"}]
    for i, change in enumerate(changes):
        plant_run(client, f"r9-{i}", "answer@9", [0.0] * 30, **change)
    assert numbers(client, signal) == {"": 0.0}
    plant_answers(client, "answer@8", 1, hours_ago=1)
    assert numbers(client, signal)["answers: answer@8"] > 0.8


LONG_AGO = (int(time.time()) // DAY_S - 400) * DAY_S
OVERDUE = drills_overdue(ODD, "drills-overdue", 30.0 * DAY_S)
SILENT = guard_rule(AlertSettings())


def apply_contract(client: Client, day: int, yaml: str = "drills-overdue: {}", model: str = ODD) -> None:
    values = {"model": model, "contract_id": f"{day}", "yaml": yaml, "applied_at": (LONG_AGO + day * DAY_S) * 1000}
    add_row(client, "contracts", **values)


def drill(client: Client, day: float, passed: bool, fault: str = "silence", **changes: Any) -> None:
    values = {"model": ODD, "fault": fault, "at": (LONG_AGO + round(day * DAY_S)) * 1000, "passed": passed}
    add_row(client, "drills", drill_id=f"{day} {fault} {changes.get('field')}", **values | changes)


def days(client: Client, day: float) -> float:
    ((value,),) = client.rows(point_sql(OVERDUE, at=str(LONG_AGO + round(day * DAY_S))))
    return float(value) / DAY_S


def test_time_without_any_drill_counts_from_the_first_contract_with_the_rule(client: Client) -> None:
    assert days(client, 40) == 30, "no contract: neither fires nor clears"
    apply_contract(client, -300, "contract: 1")
    apply_contract(client, -300, model="another")
    apply_contract(client, 10)
    apply_contract(client, 20)
    assert days(client, 10.5) == 0.5, "an old model that asks for drills today has 30 days, too"
    assert days(client, 45) == 35
    assert days(client, 390) == 380, "however long ago"


def test_a_drill_that_passed_counts_until_the_next(client: Client) -> None:
    apply_contract(client, 0)
    drill(client, 50, passed=True)
    drill(client, 60, passed=True, model="another")
    assert [days(client, day) for day in (49, 51, 85)] == [49, 1, 35]
    drill(client, 85.25, passed=True, fault="null-rise", field="x")
    assert days(client, 86.25) == 1
    assert days(client, 380) == 380, "after half a year without drills, time counts from the contract again"


def test_a_failed_drill_must_be_repeated_with_success(client: Client) -> None:
    apply_contract(client, 0)
    drill(client, 10, passed=True, fault="null-rise", field="x")
    for day in range(20, 80, 7):
        drill(client, day, passed=True)
        drill(client, day, passed=False, fault="null-rise", field="x")
        drill(client, day, passed=True, fault="null-rise", field="y")
    assert days(client, 21) == 11, "since the last time that it passed"
    assert days(client, 77) == 67
    drill(client, 78, passed=True, fault="null-rise", field="x")
    assert days(client, 79) == 1


def test_the_history_equals_the_rule_and_replays_have_none(client: Client) -> None:
    apply_contract(client, 0)
    for day, passed in ((10, True), (20, False), (30, True), (31, False)):
        drill(client, day, passed)
    period = EventTimeRange(f"{LONG_AGO + 5 * DAY_S}", f"{LONG_AGO + 100 * DAY_S}")
    rows = client.rows(series_sql(OVERDUE, period, "judged", str(HOUR_S)))
    assert len(rows) >= 5
    for at, _, value, *_ in rows:
        assert days(client, (at - LONG_AGO) / DAY_S) * DAY_S == value, (at - LONG_AGO) / DAY_S
    assert {each[2] for each in client.rows(series_sql(OVERDUE, period, "ended", str(HOUR_S)))} == {30.0 * DAY_S}


def test_a_guard_is_as_old_as_its_last_record_of_any_model(client: Client) -> None:
    start_s = int(time.time()) // 60 * 60 - 3 * DAY_S

    def age_s(after_s: int) -> float:
        ((value,),) = client.rows(point_sql(SILENT.signal, at=str(start_s + after_s)))
        return float(value)

    assert age_s(0) == SILENT.threshold, "no guard ever ran: neither fires nor clears"
    for model, after_s in (("a", 0), ("b", 30), ("a", 60)):
        add_row(client, "model_health", model=model, at=(start_s + after_s) * 1000)
    assert age_s(70) == 10
    assert age_s(60 + 600) == 600 > SILENT.threshold
    assert age_s(59 + DAY_S) == DAY_S - 1
    assert age_s(60 + DAY_S) == SILENT.threshold, "removed"
    period = EventTimeRange(f"{start_s}", f"{start_s + 1000}")
    replayed = client.rows(series_sql(SILENT.signal, period, "ended", "1"))
    assert {each[2] for each in replayed} == {SILENT.threshold}, "replayed history has no guard"


TWO_WEEKS_AGO = (int(time.time()) // DAY_S - 14) * DAY_S
NAMES = {"model": ODD, "candidate": "4'", "of": "3"}
LAG = shadow_lag(**NAMES, pane=PaneTiming(HOUR_S, 600, 600), threshold_s=3.0 * HOUR_S)
MISSING = missing_share(**NAMES, threshold=0.05)
HARM = slice_harm(**NAMES, horizon_s=2 * DAY_S, threshold=10.0)
DECIDED = decided(**NAMES, horizon_s=2 * DAY_S)


def pairs(hour: int, requests: int = 100, **changes: Any) -> dict[str, Any]:
    missing = changes.get("missing", {})
    counts = {"requests": requests, "pairs": requests - sum(missing.values()), "records": 1, "slice": "all"}
    times = {"window_start": TWO_WEEKS_AGO + hour * HOUR_S, "window_s": HOUR_S, "basis": "b"}
    return row("shadow_pairs", **NAMES, **{**counts, **times, **changes})


def traffic(hour: int, n: int = 100) -> dict[str, Any]:
    pane = {"pane_start": TWO_WEEKS_AGO + hour * HOUR_S, "pane_s": HOUR_S, "slice": "all", "sealed": True}
    return row("volume", model=ODD, version="3", n=n, record_seq=1, **pane)


def look_row(day: int, outcome: str, evidence: float) -> dict[str, Any]:
    end_s = TWO_WEEKS_AGO + day * DAY_S
    when = {"day": datetime.fromtimestamp(end_s - 1, UTC).date(), "day_end": end_s, "judged_at": (end_s + 7200) * 1000}
    values = {"slice": "all", "criterion": "decision", "outcome": outcome, "evidence": evidence}
    return row("shadow_verdicts", **NAMES, **when, **values)


def number_at(client: Client, signal: Signal, at_s: int, key: str = "") -> float:
    rows = client.rows(point_sql(signal, at=str(at_s)))
    return float({own[0] if len(own) > 1 else "": own[-1] for own in rows}[key])


def test_traffic_without_paired_events_is_a_lag(client: Client) -> None:
    insert_rows(client, "volume", [traffic(hour) for hour in range(20)])
    insert_rows(client, "shadow_pairs", [pairs(hour) for hour in range(10)])
    nothing = {"no-event": 95, "primary-failed": 5}
    insert_rows(client, "shadow_pairs", [pairs(hour, pairs=0, missing=nothing) for hour in range(10, 18)])
    assert number_at(client, LAG, TWO_WEEKS_AGO + 10 * HOUR_S) == 0
    assert number_at(client, LAG, TWO_WEEKS_AGO + 12 * HOUR_S) == 2 * HOUR_S
    assert number_at(client, LAG, TWO_WEEKS_AGO + 20 * HOUR_S) == 10 * HOUR_S
    insert_rows(client, "shadow_pairs", [pairs(18, pairs=0, missing={"timeout": 1, "no-event": 99})])
    assert number_at(client, LAG, TWO_WEEKS_AGO + 20 * HOUR_S) == HOUR_S, "a time-out is an event of the candidate"


def test_neither_silence_of_the_primary_nor_a_candidate_without_any_event_is_a_lag(client: Client) -> None:
    insert_rows(client, "volume", [traffic(hour, n=100 if hour < 10 else 0) for hour in range(20)])
    assert number_at(client, LAG, TWO_WEEKS_AGO + 10 * HOUR_S) == LAG.threshold, (
        "no event of the candidate: neither fires nor clears"
    )
    insert_rows(client, "shadow_pairs", [pairs(hour) for hour in range(10)])
    assert number_at(client, LAG, TWO_WEEKS_AGO + 20 * HOUR_S) == 0


def test_the_share_of_missing_pairs_leaves_out_what_is_planned(client: Client) -> None:
    insert_rows(client, "shadow_pairs", [pairs(-100, 20, pairs=18, missing={"error": 2})])
    assert number_at(client, MISSING, TWO_WEEKS_AGO - 99 * HOUR_S) == MISSING.threshold, "capped: too few requests"
    planned = {"skipped-sample": 500, "primary-failed": 100}
    for hours, lost in ((range(24), 8), (range(24, 48), 40)):
        missing = {**planned, "timeout": lost}
        insert_rows(client, "shadow_pairs", [pairs(hour, 1000, pairs=400 - lost, missing=missing) for hour in hours])
    for hour, share in ((24, 0.02), (36, 0.06), (48, 0.1)):
        assert number_at(client, MISSING, TWO_WEEKS_AGO + hour * HOUR_S) == pytest.approx(share)
    ((low, high),) = client.rows(point_sql(MISSING, "low, high", at=str(TWO_WEEKS_AGO + 48 * HOUR_S)))
    assert low < 0.1 < high


def test_pairs_that_were_counted_by_earlier_rules_do_not_count(client: Client) -> None:
    insert_rows(client, "volume", [traffic(hour) for hour in range(20)])
    earlier = [pairs(hour, 1000, basis="a", missing={"timeout": 500}, counted_at=1000) for hour in range(20)]
    insert_rows(client, "shadow_pairs", earlier)
    assert number_at(client, MISSING, TWO_WEEKS_AGO + 20 * HOUR_S) == pytest.approx(0.5)
    assert number_at(client, LAG, TWO_WEEKS_AGO + 20 * HOUR_S) == 0
    later = [pairs(hour, 1000, missing={"timeout": 20}, counted_at=2000) for hour in range(10)]
    insert_rows(client, "shadow_pairs", later)
    assert number_at(client, MISSING, TWO_WEEKS_AGO + 20 * HOUR_S) == pytest.approx(0.02)
    assert number_at(client, LAG, TWO_WEEKS_AGO + 20 * HOUR_S) == 10 * HOUR_S


def test_the_newest_look_decides_and_expires(client: Client) -> None:
    looks = ((1, "insufficient", math.nan), (2, "insufficient", 1.0), (3, "hold", math.log(40.0)))
    insert_rows(client, "shadow_verdicts", [look_row(*each) for each in looks])
    # Without evidence and once it has expired, the rule neither fires nor clears.
    for day, evidence in ((1, HARM.threshold), (2, math.e), (3, 40.0), (10, HARM.threshold)):
        assert number_at(client, HARM, TWO_WEEKS_AGO + day * DAY_S) == pytest.approx(evidence), day
    insert_rows(client, "shadow_verdicts", [look_row(4, "roll back", 1.0)])
    for day, outcome in ((2, ""), (3, "hold"), (4, "roll back")):
        for key in ("hold", "promote", "roll back"):
            assert number_at(client, DECIDED, TWO_WEEKS_AGO + day * DAY_S, key) == (key == outcome), day


def test_rules_and_their_history_have_the_same_numbers(client: Client) -> None:
    insert_rows(client, "volume", [traffic(hour, n=100 * (hour % 7 > 1)) for hour in range(200)])
    paired = [pairs(hour, missing={"timeout": hour % 13}) for hour in range(200) if hour % 17 > 3]
    insert_rows(client, "shadow_pairs", paired)
    outcomes = ("insufficient", "promote", "hold")
    insert_rows(client, "shadow_verdicts", [look_row(day, outcomes[day % 3], day / 2) for day in range(1, 9)])
    period = EventTimeRange(str(TWO_WEEKS_AGO), str(TWO_WEEKS_AGO + 200 * HOUR_S))
    for signal in (LAG, MISSING, HARM, DECIDED):
        history = {(key, at): value for at, key, value, *_ in client.rows(series_sql(signal, period, "now"))}
        for hour in (1, 26, 60, 61, 100, 130, 199):
            at_s = TWO_WEEKS_AGO + hour * HOUR_S
            for key in signal.keys:
                last = max(at for own, at in history if own == key and at <= at_s)
                single = number_at(client, signal, at_s, key)
                assert single == pytest.approx(history[key, last], nan_ok=True), (signal, hour, key)
