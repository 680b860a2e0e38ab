"""The signals of evaluators and suites on the real engine, over planted rates, answers and runs."""

import math
import random
import time
from typing import Any

import pytest
from barograph.contract.file import parse_contract

from barograph_server.alerts import AlertSettings, rules_of
from barograph_server.alerts.templates.evaluations import SUITES_EVERY_S
from barograph_server.alerts.wall_clock import LiveAlerts
from barograph_server.sketches.comparison.paired_items import paired_difference
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.evaluation.eval_runs import (
    EvalItem,
    EvalRun,
    accepted_runs,
    read_means,
    read_runs,
    store_acceptances,
    store_run,
)
from barograph_server.warehouse.signals import EventTimeRange, Signal, point_sql, series_sql
from barograph_server.warehouse.signals.evaluations import (
    missing_labels,
    rate_above_promise,
    reviewer_agreement,
    suite_regression,
    unevaluated_calls,
)
from barograph_server.warehouse.tables import insert_rows
from tests.support.warehouse import row

HOUR_S, DAY_S = 3600, 86_400
NOW_S = int(time.time()) // HOUR_S * HOUR_S
ODD = 'it\'s "50 %" {{ $__interval }} -- /* \\ 名前'


def plant_rate(client: Client, hours_ago: float = 0, newest_hours_ago: float = 0, **values: Any) -> None:
    at_s = round(NOW_S - hours_ago * HOUR_S)
    usual = {"model": ODD, "evaluator": "faithful", "evaluator_version": "aaa", "prompt": "*", "judged": 1000}
    rate = {"labels": 200, "rate": 0.08, "low": 0.06, "high": 0.1, "alpha": math.nan, "alpha_low": math.nan}
    own = {"at": at_s, "newest_at": round(at_s - newest_hours_ago * HOUR_S) * 1000, "alpha_high": math.nan}
    insert_rows(client, "evaluation_rates", [row("evaluation_rates", **{**usual, **rate, **own, **values})])


def numbers(client: Client, signal: Signal, column: str = "value", after_s: int = 0) -> dict[str, Any]:
    return {row[0]: row[-1] for row in client.rows(point_sql(signal, column, at=str(NOW_S + after_s)))}


def version_of(client: Client, signal: Signal) -> str:
    ((_, version, *_),) = client.rows(point_sql(signal, at=str(NOW_S), shown_s=DAY_S))
    return str(version)


def test_a_rate_fires_with_its_whole_interval_above_the_promise(client: Client) -> None:
    signal = rate_above_promise(ODD, "faithful", 0.05)
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
    assert numbers(client, rate_above_promise(ODD, "faithful", 0.05)) == {"faithful": 0.05}
    signal = rate_above_promise(ODD, "other", 0.05)
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
    signal = missing_labels(ODD, [*cases, "cited"])
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
    signal = reviewer_agreement(ODD, ["faithful"], 0.667)
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
    rows = [row("predictions", **shared, id=f"{name}{i}", offset=offset + i) for i in range(n)]
    insert_rows(client, "predictions", rows)


def plant_run(
    client: Client, run_id: str, prompt: str, scores: list[float], *, hours_ago: float = 5, **changes: Any
) -> None:
    at_ms = round(NOW_S - hours_ago * HOUR_S) * 1000
    answers = tuple(EvalItem(f"q{i}", 1, score, score >= 0.5, {}) for i, score in enumerate(scores))
    usual = {"suite": "answers", "suite_version": "1", "version": "openai/gpt-4", "format": "inspect-ai"}
    own: dict[str, Any] = {"model": ODD, "run_id": run_id, "prompt": prompt, "started_at_ms": at_ms, "answers": answers}
    run = EvalRun(**{**usual, **own, "scorer": "match", "unscored": 0, **changes})
    assert store_run(client, run, at_ms)


def accept(client: Client, run_id: str, at_ms: int = NOW_S * 1000 - 10 * HOUR_S * 1000) -> None:
    (run,) = (each for each in read_runs(client, ODD) if each.run_id == run_id)
    store_acceptances(client, [(run, "")], "ana", at_ms)


def test_each_version_without_a_run_has_its_own_number(client: Client) -> None:
    signal = unevaluated_calls(ODD, 100.0)
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
        "answer@8": "answer@8 gave 150 answers in the last day, and no suite was run on it; the threshold is 100. "
        "`barograph eval run` runs one.",
        "answer@9": "answer@9 gave 200 answers in the last day, and no suite was run on it; the threshold is 100. "
        "`barograph eval run` runs one.",
    }
    plant_run(client, "r8", "answer@8", [1.0], model="bot")
    assert set(firing()) == {"answer@9"}
    # Answers of a version that no longer serves leave the day, and its instance resolves.
    at_s += 6 * HOUR_S
    assert firing() == {}


def test_a_version_in_traffic_is_compared_as_the_gate_does(client: Client) -> None:
    signal = suite_regression(ODD)
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
    before, after = read_means(client, accepted_runs(client, ODD)["answers"]), read_means(client, "r8")
    expected = paired_difference(list(before.values()), [after[item] for item in before])
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
    signal = suite_regression(ODD)
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
