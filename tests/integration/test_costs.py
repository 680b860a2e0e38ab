"""Costs from contract to SQL: apply, the receiver of spans, and the views, on the real engine."""

import json
import math
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from barograph import parse_contract

from barograph_server.dashboards.macros import TimeRange
from barograph_server.streams.otlp.conventions import load_conventions
from barograph_server.streams.otlp.ingest import Ingest
from barograph_server.streams.otlp.run import ContractCosts
from barograph_server.streams.otlp.settings import OtlpSettings
from barograph_server.streams.registry.registry import Registry
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.operations.serving_facts import (
    ServingFact,
    insert_serving_facts,
    store_serving_sections,
)
from barograph_server.warehouse.tables import insert_columns
from tests.support import scoring
from tests.support.command_line import OutputOf
from tests.support.otlp import RECEIVED_MS, as_json, export_of, span
from tests.support.two_day_model import ask
from tests.support.warehouse import columns

PAGE = Path(__file__).resolve().parents[2] / "docs" / "llm.md"
HOUR_MS = 3_600_000
NOW = int(time.time() * 1000) // HOUR_MS * HOUR_MS
TEXT = """contract: 1
model: answers
prices: [{version: "gpt*", input: 2, cached_input: 1, output: 10}]
budget: {day: 5}
user: context.user
deployments:
  gpt-4: {quantisation: INT4, continuous_batching: true, gpu: 1 x L4, engine: vLLM 0.32}
  gpt-5: {speculative_decoding: none}
"""


def record(client: Client, rows: list[dict[str, Any]]) -> None:
    defaults: dict[str, Any] = {"model": "answers", "version": "gpt-4", "at": NOW, "error": "", "class": ""}
    defaults |= {"metrics": {}, "context": {}, "latency_ms": math.nan}
    filled = [{**defaults, "id": f"i{i}", "offset": i, **row} for i, row in enumerate(rows)]
    table = {name: [row[name] for row in filled] for name in (*defaults, "id", "offset")}
    insert_columns(client, "predictions", columns("predictions", len(rows), **table, received_at=table["at"]))


def test_costs_are_summed_by_hour_version_and_prompt(client: Client) -> None:
    priced = {"input_tokens": 10.0, "output_tokens": 2.0, "cached_input_tokens": 4.0, "cost_usd": 0.5}
    free = {"input_tokens": 7.0, "output_tokens": 0.0, "cost_usd": 0.0}
    first, second = {"prompt": "a@1"}, {"prompt": "a@2"}
    recorded: list[dict[str, Any]] = [
        {"metrics": priced, "context": first},
        # A repeated export has the same id and counts once.
        {"metrics": priced, "context": first, "id": "i0", "offset": 100},
        {"metrics": free, "context": first},
        {"metrics": {"input_tokens": 5.0}, "context": second},
        {"error": "Timeout", "context": second},
        {"metrics": priced, "at": NOW - HOUR_MS},
        {"metrics": priced, "version": "gpt-5"},
    ]
    record(client, recorded)
    hour = NOW // 1000
    assert client.rows(
        "SELECT version, prompt, toUnixTimestamp(hour), calls, answered, with_tokens, with_cost, input_tokens, "
        "cached_input_tokens, cacheable_tokens, output_tokens, cost FROM model_costs ORDER BY ALL"
    ) == [
        ("gpt-4", "", hour - 3600, 1, 1, 1, 1, 10, 4, 10, 2, 0.5),
        ("gpt-4", "a@1", hour, 2, 2, 2, 2, 17, 4, 10, 2, 0.5),
        ("gpt-4", "a@2", hour, 2, 1, 0, 0, 5, 0, 0, 0, 0),
        ("gpt-5", "", hour, 1, 1, 1, 1, 10, 4, 10, 2, 0.5),
    ]


def test_costs_by_user_need_a_contract_that_names_one(client: Client) -> None:
    record(
        client,
        [
            {"metrics": {"cost_usd": 0.5}, "context": {"user": "ann"}},
            {"metrics": {"cost_usd": 0.25}, "context": {"user": "ann"}},
            {"context": {"user": "bob"}},
            {"metrics": {"cost_usd": 1.0}},
            {"model": "other", "metrics": {"cost_usd": 1.0}, "context": {"user": "eve"}},
        ],
    )
    sql = "SELECT user, sum(calls), sum(with_cost), sum(cost) FROM user_costs GROUP BY user ORDER BY user"
    assert client.rows(sql) == []
    store_serving_sections(client, [parse_contract(TEXT), parse_contract("contract: 1\nmodel: other")], NOW)
    assert client.rows(sql) == [("", 1, 1, 1.0), ("ann", 2, 2, 0.75), ("bob", 1, 0, 0)]
    store_serving_sections(client, [parse_contract("contract: 1\nmodel: answers")], NOW + 1)
    assert client.rows(sql) == []


def test_sections_of_the_contract_in_effect_are_rows(client: Client) -> None:
    store_serving_sections(client, [parse_contract(TEXT)], NOW)
    deployments = "SELECT version, quantisation, continuous_batching, gpu, engine FROM latest_deployments ORDER BY 1"
    assert client.rows(deployments) == [("gpt-4", "INT4", "yes", "1 x L4", "vLLM 0.32"), ("gpt-5", "", "", "", "")]
    ((day, month, member),) = client.rows("SELECT budget_day, budget_month, user_member FROM cost_settings")
    assert (day, member) == (5, "user")
    assert math.isnan(month)
    # A contract without descriptions ends them.
    store_serving_sections(client, [parse_contract("contract: 1\nmodel: answers")], NOW + 1)
    assert client.rows(deployments) == []


def test_the_queries_of_the_page_run(client: Client) -> None:
    store_serving_sections(client, [parse_contract(TEXT)], NOW)
    record(client, [{"metrics": {"cost_usd": 0.5, "input_tokens": 1.0}, "context": {"user": "ann", "prompt": "a@1"}}])
    at = int(time.time() * 1000) - 60_000
    fact = ServingFact("answers", "host:1", "queue_ms", "", at, "vllm", "histogram", "ms", 10, 10, 100, 15)
    insert_serving_facts(client, [fact])
    queries = re.findall(r"```sql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(queries) == 5
    for query in queries:
        assert len(client.rows(query)) == 1, query
    for name in ("cost-budget", "cache-hit-fall", "token-coverage"):
        runbook = (PAGE.parent / "runbooks" / f"{name}.md").read_text(encoding="utf-8").replace("MODEL", "answers")
        for query in re.findall(r"```sql\n(.*?)```", runbook, re.DOTALL):
            assert client.rows(query), query


def test_the_current_hour_is_spent_and_its_rest_is_forecast(client: Client) -> None:
    """Each hour of six days costs a dollar."""
    store_serving_sections(client, [parse_contract(TEXT)], NOW)
    hours = [{"at": NOW - i * HOUR_MS, "metrics": {"cost_usd": 1.0}} for i in range(1, 6 * 24)]
    record(client, [{"metrics": {"cost_usd": 0.5}}, *hours])
    begin, now = (datetime.fromtimestamp(NOW / 1000 + s, UTC) for s in (-3600, 1800))
    today, _ = ask(client, "costs.budget", time_range=TimeRange.between(begin, now), model="answers")
    assert today[:3] == ("today", now.hour + 0.5, pytest.approx(24.0))


def received(text: str, attributes: dict[str, Any], scope: str = "my.client") -> dict[str, Any]:
    """Publish one span with the prices of a contract, and return the event."""
    registry = Registry(contracts={"answers": parse_contract(text)})
    otlp = OtlpSettings(models="bot=answers")
    costs = ContractCosts(lambda: registry)
    ingest = Ingest(load_conventions(), otlp, producer=None, seq=iter([None] * 9), steps=[costs.add_cost])
    call = {"gen_ai.operation.name": "chat", "gen_ai.response.model": "gpt-4", **attributes}
    export = ingest.json.decode(as_json(export_of(span(attributes=call), service="bot", scope=scope)))
    events, rejected, _ = ingest.add(export, RECEIVED_MS)
    assert not rejected
    (event,) = [*events, *ingest.release()]
    return dict(json.loads(event).get("metrics", {}))


def test_the_receiver_computes_a_cost_only_from_observed_tokens() -> None:
    tokens = {"gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 100}
    cached = {"gen_ai.usage.cache_read.input_tokens": 400}
    assert math.isclose(received(TEXT, tokens)["cost_usd"], 0.003)
    assert math.isclose(received(TEXT, {**tokens, **cached})["cost_usd"], 0.0026)
    assert received(TEXT, {**tokens, "gen_ai.usage.cost": 0.5})["cost_usd"] == 0.5, "an observed cost stays"
    assert "cost_usd" not in received(TEXT, {"gen_ai.usage.input_tokens": 1000})
    assert "cost_usd" not in received(TEXT.replace("gpt*", "claude*"), tokens)
    assert "cost_usd" not in received("contract: 1\nmodel: answers", tokens)
    # OpenLIT: a cost of 0 means that it knows no price.
    plain = {**tokens, "gen_ai.request.stream": False, "gen_ai.usage.cost": 0.0}
    assert math.isclose(received(TEXT, plain, scope="openlit.instrumentation.openai")["cost_usd"], 0.003)


def test_calls_are_listed_from_the_worst_on_with_links_to_their_traces(
    client: Client, config: str, output_of: OutputOf
) -> None:
    scoring.register(client, parse_contract(TEXT + 'trace_url: "https://traces.example/{trace_id}"\n'))
    ids = [f"{i:032x}-{i:016x}" for i in range(4)]
    at = int(time.time() * 1000) - 60_000
    rows = [{"id": name, "at": at + i, "latency_ms": 100.0 * (4 - i)} for i, name in enumerate(ids)]
    rows[1] |= {"metrics": {"cost_usd": 0.5}, "context": {"prompt": "a@1"}}
    rows[2] |= {"error": "Timeout", "latency_ms": math.nan}
    rows[3] |= {"metrics": {"cost_usd": 0.7}}
    record(client, [*rows, {"id": "own", "at": at - 2 * HOUR_MS, "latency_ms": 9e9}])
    evaluation = {"model": "answers.right", "at": at, "context": {"kind": "check", "version": "gpt-4"}}
    record(client, [{**evaluation, "id": ids[0], "class": "sound"}, {**evaluation, "id": ids[3], "class": "faulty"}])

    def calls(code: int, *words: str) -> str:
        return output_of(code, "calls", "--model", "answers", "--config", config, *words)

    def listed(*words: str) -> list[tuple[str, str]]:
        result = json.loads(calls(0, "--format", "json", *words))
        return [(each["call"]["id"], each["trace"]) for each in result["calls"]]

    def linked(*chosen: int) -> list[tuple[str, str]]:
        return [(ids[i], f"https://traces.example/{i:032x}") for i in chosen]

    assert listed() == linked(3, 2, 1, 0)
    assert listed("--slow") == linked(0, 1, 3)
    assert listed("--slow", "--since", "1d", "--limit", "1") == [("own", "")]
    assert listed("--failed") == linked(2)
    assert listed("--costly") == linked(3, 1)
    assert listed("--faulty") == linked(3)
    text = calls(0, "--costly")
    assert "a@1" in text
    assert "0.7" in text
    assert "exclude each other" in calls(1, "--slow", "--failed")
