"""The numbers of the page LLM and of `barograph evaluations`, over planted facts, calls, prompts and evaluations."""

import json
from datetime import timedelta
from typing import Any

import pytest
from barograph.contract import Text
from barograph.contract.evaluators import Evaluator

from barograph_server.dashboards.macros import TimeRange
from barograph_server.sketches.judges.trust import FEW_LABELS, NO_BETTER, WORSE
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.evaluation.evaluation_rates import read_evaluation_rates, read_evaluator_trust
from tests.support.command_line import OutputOf
from tests.support.language_model import (
    EVALUATION_BEGIN,
    EVALUATION_END,
    FAITHFUL,
    SECOND_FAITHFUL,
    SECRET,
    fill_evaluations,
    fill_serving,
    fill_topics,
)
from tests.support.pipeline import simple_contract
from tests.support.scoring import register
from tests.support.two_day_model import END, RANGE, ask
from tests.support.warehouse import add_row

MODEL = "support.bot"


@pytest.fixture(scope="module")
def client(migrated_client: Client) -> Client:
    fill_serving(migrated_client, "answers")
    fill_topics(migrated_client, "support-bot")
    fill_evaluations(migrated_client, MODEL)
    return migrated_client


def evaluated(client: Client, name: str) -> list[tuple[Any, ...]]:
    return ask(client, name, time_range=TimeRange.between(EVALUATION_BEGIN, EVALUATION_END), model=MODEL)


def test_the_panel_and_the_library_compute_the_same_rates(client: Client) -> None:
    models = [f"{MODEL}.faithful", f"{MODEL}.cited"]
    rates = read_evaluation_rates(client, models, EVALUATION_BEGIN, EVALUATION_END)
    panel = {each[:3]: each for each in evaluated(client, "evaluations.rates") if each[0] in ("faithful", "cited")}
    assert len(panel) == len(rates.groups) == 5
    for i, group in enumerate(rates.groups):
        shown = panel[group.evaluator, group.evaluator_version, group.name]
        assert shown[3:5] == (group.judged, group.without_result)
        assert shown[6] == group.labels
        rate = rates.rate.rate
        if group.evaluator_version == FAITHFUL:
            assert shown[8] == pytest.approx(float(rate.value[i]), abs=1e-9)
            low, high = map(float, shown[9].split(" – "))
            assert [low, high] == pytest.approx([100 * float(rate.low[i]), 100 * float(rate.high[i])], abs=0.006)
            assert low < 20 < high
            assert shown[5] > 0.3
            assert shown[10] == ""
        elif group.evaluator == "cited":
            assert shown[9:] == ("", "no result")
    by_day = read_evaluation_rates(client, models, EVALUATION_BEGIN, EVALUATION_END, "day")
    assert {group.name for group in by_day.groups} == {f"{EVALUATION_BEGIN:%Y-%m-%d}"}


def test_stored_rates_and_suites(client: Client) -> None:
    # The interval of all prompts.
    stored = {name: value for _, name, value in evaluated(client, "evaluations.stored_rates")}
    assert stored == {
        f"faithful aaaaaa, {end}": rate for end, rate in (("at least", 0.1), ("rate", 0.2), ("at most", 0.3))
    }
    suites = {each[1]: each for each in evaluated(client, "suites.runs")}
    assert sorted(suites) == ["answer@7", "answer@8"]
    assert suites["answer@7"][4:] == (60, 0.5, "40 – 60", "accepted")
    assert suites["answer@8"][7] == ""


def test_which_evaluators_are_trusted(client: Client) -> None:
    models = [f"{MODEL}.{name}" for name in ("faithful", "cited", "agrees", "unlabelled")]
    trusts = read_evaluator_trust(client, models, EVALUATION_BEGIN, EVALUATION_END)
    by_version = {each.evaluator_version[0]: each for each in trusts}
    reasons = {version: each.trust.reason for version, each in by_version.items()}
    assert reasons == {"a": "", "b": FEW_LABELS, "d": "", "e": WORSE, "f": FEW_LABELS, "g": NO_BETTER}
    measured_by = {version: each.measured_by for version, each in by_version.items()}
    assert measured_by == {**dict.fromkeys("ab", "verdict"), **dict.fromkeys("defg", "score")}
    n_labels = {version: each.trust.faulty + each.trust.sound for version, each in by_version.items()}
    assert n_labels["a"] > n_labels["d"] == n_labels["e"] > n_labels["b"] > n_labels["f"] == 0
    assert by_version["d"].trust.auroc == pytest.approx(1 - by_version["e"].trust.auroc)


def test_the_command_prints_rates(client: Client, config: str, output_of: OutputOf) -> None:
    evaluators = {"faithful": Evaluator(judge="f.yaml", endpoint="e"), "cited": Evaluator(check="refusal")}
    register(client, simple_contract(model=MODEL, text=Text(content="keep", sample=1.0), evaluators=evaluators))
    words = ("evaluations", f"--since={EVALUATION_BEGIN:%Y-%m-%dT%H:%M:%SZ}", "--config", config, "--model")
    printed = output_of(0, *words, MODEL)
    for text in (FAITHFUL, "insufficient: no gold", "not trusted: fewer than 20 labels faulty or sound"):
        assert text in printed
    assert SECRET not in printed
    document = json.loads(output_of(0, *words, MODEL, "--format", "json"))
    trusted = {each["evaluator_version"]: each for each in document["trusts"]}
    assert {version: not each["trust"]["reason"] for version, each in trusted.items()} == {
        FAITHFUL: True,
        SECOND_FAITHFUL: False,
    }
    trust = trusted[FAITHFUL]["trust"]
    assert trust["low"] < trust["auroc"] < trust["high"]
    assert {each["group"]["evaluator"] for each in document["rates"]} == {"faithful", "cited"}
    assert "no contract of 'support'" in output_of(1, *words, "support")


def rows(client: Client, name: str, time_range: TimeRange = RANGE) -> list[tuple[Any, ...]]:
    return ask(client, name, time_range=time_range, model="answers", version="v1", window="1h")


def numbers(client: Client, name: str) -> dict[str, float]:
    return {row[-2]: row[-1] for row in rows(client, name)}


def test_servers(client: Client) -> None:
    assert numbers(client, "serving.requests") == {"running": 7}, "both instances"
    assert numbers(client, "serving.kv_cache") == {"host:1": 0.4}
    assert numbers(client, "serving.cache_hits") == {"host:1": 350 / 400}, "of sums, not the mean of shares"
    instances = [row[:4] for row in rows(client, "serving.instances")]
    assert instances == [("host:1", "vllm", "reports", 1), ("host:2", "vllm", "silent", 0.5)]


def test_costs_and_budgets(client: Client) -> None:
    assert numbers(client, "costs.version") == {"v1": 4, "v2": 0}
    assert [row[1:] for row in rows(client, "costs.coverage")] == [(2 / 3, 1)]
    assert [row[:3] for row in rows(client, "costs.users")] == [("bob", 3, 1), ("ann", 1, 2)]
    # The end of the day of the calls, so that the numbers do not depend on the time of the test.
    day = (END - timedelta(hours=1.5)).replace(hour=0, minute=0)
    period = TimeRange.between(day, day + timedelta(days=1))
    today, month = rows(client, "costs.budget", period)
    assert (today[:-1], today[-1]) == (("today", 4, None, None, None, 100), pytest.approx(2 / 3))
    assert (month[:2], month[5]) == (("this month", 4), None)


def test_calls_of_each_kind_link_their_traces(client: Client) -> None:
    def call(model: str, number: int, hours: float, latency_ms: float, error: str = "", **metrics: float) -> None:
        at, event_id = END - timedelta(hours=hours), f"{number:032x}-{number:016x}" if number else "own-id"
        known = {"model": model, "version": "v1", "id": event_id, "at": at, "received_at": at, "offset": number}
        add_row(client, "predictions", **known, latency_ms=latency_ms, error=error, metrics=metrics)

    for yaml in ('trace_url: "https://t.example/{trace_id}?x=1"  # Tempo', "other: 1"):
        model = "traced" if "trace" in yaml else "untraced"
        add_row(client, "contracts", model=model, contract_id="c", yaml=f"model: {model}\n{yaml}\n", applied_at=END)
        call(model, 1, 1.5, 100, cost_usd=2.0)
        call(model, 2, 1.4, 900)
        call(model, 3, 1.4, float("nan"), error="Timeout")
        call(model, 4, 2.5, 300, cost_usd=5.0)
        call(model, 0, 1.4, 9_999, cost_usd=9.0)
    shown = ask(client, "generations.traces", time_range=RANGE, model="traced")
    assert [(each[1], int(each[6].removeprefix("https://t.example/")[:32], 16)) for each in shown] == [
        *(("costly", 4), ("costly", 1), ("failed", 3), ("slow", 2), ("slow", 4))
    ], "of each hour one of each kind, the worst first, and none without a trace"
    assert [each[2:6] for each in shown[2:4]] == [("v1", "Timeout", None, None), ("v1", "", 900, None)]
    assert {each[6][-4:] for each in shown} == {"?x=1"}
    assert ask(client, "generations.traces", time_range=RANGE, model="untraced") == []


def test_generations(client: Client) -> None:
    assert numbers(client, "generations.tokens_per_generation") == {"output": 30}
    assert numbers(client, "generations.coverage") == {"output tokens": 0.9, "cost": 0.6}
    assert rows(client, "generations.latency_now") == [(90, 9)]
    assert [row[2] for row in rows(client, "generations.first_token")] == [90]
    assert [row[2] for row in rows(client, "generations.per_token")] == [9]


def test_topics_of_prompts(client: Client) -> None:
    def text_rows(name: str) -> list[tuple[Any, ...]]:
        return ask(client, f"llm_text.{name}", model="support-bot")

    shares = {topic: share for _, topic, share in text_rows("topics")}
    assert shares == pytest.approx({"billing": 0.6, "other": 0.2, "refund": 0.2})
    assert [*shares] == sorted(shares)
    assert {row[0]: row[2] for row in text_rows("text")} == pytest.approx({"language: en": 0.9, "language: other": 0.1})
    assert [share for _, share in text_rows("new")] == [0.25]
