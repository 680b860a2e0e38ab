"""The queries of the page LLM on the real engine, over planted facts, calls and windows.

`test_text_queries` has those of the row Text.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from barograph import parse_contract

from dashboards.macros import TimeRange, Value, expand
from local.clickhouse import LocalClickHouse
from tests.support.panel_queries import every_query
from tests.support.warehouse import columns, migrated
from warehouse.client import Client
from warehouse.panels import PanelQuery, costs, generations, serving
from warehouse.serving_facts import ServingFact, insert_serving_facts
from warehouse.serving_sections import store_serving_sections
from warehouse.tables import insert_columns

pytestmark = pytest.mark.engine

AWKWARD = """it's a "model" \\ of $model, ${version}, {{x}}, [[field]] $__interval -- /* 模型 \\'"""
END = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
RANGE = TimeRange.between(END - timedelta(hours=6), END)
TEXT = """contract: 1
model: answers
budget: {day: 100}
user: context.user
deployments: {v1: {quantisation: INT4, gpu: 1 x L4}}
"""
QUERIES = {
    name: query
    for name, query in every_query().items()
    if name.partition(".")[0] in ("serving", "costs", "generations")
}


def milliseconds(hours_ago: float) -> int:
    return round((END - timedelta(hours=hours_ago)).timestamp() * 1000)


@pytest.fixture(scope="module")
def client(engine: LocalClickHouse) -> Iterator[Client]:
    with migrated(engine) as client:
        contract = parse_contract(TEXT)
        store_serving_sections(client, [contract], milliseconds(100))
        fact = ("answers", "host:1")
        other = ("answers", "host:2")
        at = milliseconds(1.5)
        insert_serving_facts(
            client,
            [
                ServingFact(*fact, "running_requests", "", at, "vllm", "gauge", "requests", 3),
                ServingFact(*other, "running_requests", "", at, "vllm", "gauge", "requests", 4),
                ServingFact(*fact, "kv_cache_use", "", at, "vllm", "gauge", "share", 0.4),
                ServingFact(*fact, "prefix_cache_hits", "", at, "vllm", "ratio", "share", 0.5, 100, 50, 15),
                ServingFact(*fact, "prefix_cache_hits", "", at + 1, "vllm", "ratio", "share", 1, 300, 300, 15),
                ServingFact(*fact, "draft_acceptance", "", at, "sglang", "gauge", "share", 0.6),
                ServingFact(*fact, "preemptions", "", at, "vllm", "counter", "requests", 2),
                ServingFact(*fact, "failed_requests", "overloaded", at, "tgi", "counter", "requests", 1),
                ServingFact(*fact, "queue_ms", "", at, "vllm", "histogram", "ms", 10, 10, 100, 15),
                ServingFact(*other, "queue_ms", "", at, "vllm", "histogram", "ms", 40, 30, 1200, 15),
                ServingFact(*fact, "ttft_ms", "", at, "vllm", "histogram", "ms", 65, 20, 1300, 15),
                ServingFact(*fact, "up", "", at, "vllm", "gauge", "", 1),
                ServingFact(*other, "up", "", at, "vllm", "gauge", "", 1),
                ServingFact(*other, "up", "", at + 1, "", "gauge", "", 0),
            ],
        )
        calls: list[dict[str, Any]] = [
            {"version": "v1", "cost": 1.0, "context": {"prompt": "a@1", "user": "ann"}},
            {"version": "v1", "cost": 3.0, "context": {"prompt": "a@2", "user": "bob"}},
            {"version": "v2", "cost": None, "context": {"user": "ann"}},
        ]
        n = len(calls)
        insert_columns(
            client,
            "predictions",
            columns(
                "predictions",
                n,
                model=["answers"] * n,
                version=[call["version"] for call in calls],
                id=[f"i{i}" for i in range(n)],
                offset=list(range(n)),
                at=[milliseconds(1.5)] * n,
                received_at=[milliseconds(1.5)] * n,
                context=[call["context"] for call in calls],
                metrics=[
                    {"input_tokens": 10.0, "output_tokens": 1.0, "queue_ms": 5.0}
                    | ({} if call["cost"] is None else {"cost_usd": call["cost"]})
                    for call in calls
                ],
            ),
        )
        windows = {"ttft_ms": (40.0, 90.0), "time_per_output_token_ms": (5.0, 9.0), "output_tokens": (30.0, 60.0)}
        insert_columns(
            client,
            "distances",
            columns(
                "distances",
                len(windows),
                model=["answers"] * len(windows),
                version=["v1"] * len(windows),
                slice=["all"] * len(windows),
                field=list(windows),
                window=["1h"] * len(windows),
                window_start=[milliseconds(2) // 1000] * len(windows),
                window_end=[milliseconds(1) // 1000] * len(windows),
                mean=[mean for mean, _ in windows.values()],
                p95=[p95 for _, p95 in windows.values()],
            )
            | {"n": [120] * len(windows)},
        )
        insert_columns(
            client,
            "panes",
            columns(
                "panes",
                2,
                model=["answers"] * 2,
                version=["v1"] * 2,
                slice=["all"] * 2,
                field=["output_tokens", "cost_usd"],
                pane_start=[milliseconds(1) // 1000] * 2,
                pane_s=[60] * 2,
                nulls=[1, 4],
            )
            | {"n": [10, 10]},
        )
        yield client


def rows(client: Client, query: PanelQuery, model: str = "answers", range_: TimeRange = RANGE) -> list[tuple[Any, ...]]:
    variables: dict[str, Value] = {"model": model, "datasource": "barograph"}
    variables |= {"version": "v1", "slice": "all", "window": "1h"}
    sql = expand(query.sql, range_, variables)
    result = client.query(sql, settings={})
    records = [tuple(row) for row in zip(*result.columns, strict=True)]
    # An empty result has no names.
    assert not records or list(result.names) == query.names
    return records


def numbers(client: Client, query: PanelQuery) -> dict[str, float]:
    """The last column by the one before it."""
    return {row[-2]: row[-1] for row in rows(client, query)}


@pytest.mark.parametrize("name", QUERIES)
def test_every_query_runs_for_awkward_names_and_returns_nothing(client: Client, name: str) -> None:
    result = rows(client, QUERIES[name], model=AWKWARD)
    assert result in ([], [(None,)]), "a stat without rows is unknown"


def test_servers(client: Client) -> None:
    assert numbers(client, serving.REQUESTS) == {"running": 7}, "both instances"
    assert numbers(client, serving.KV_CACHE) == {"host:1": 0.4}
    assert numbers(client, serving.CACHE_HITS) == {"host:1": 350 / 400}, "of sums, not the mean of shares"
    assert numbers(client, serving.DRAFTS) == {"host:1": 0.6}
    assert numbers(client, serving.COUNTS) == {"preemptions": 2, "failed requests: overloaded": 1}
    assert numbers(client, serving.SERVER_TIMES) == {"queue": 1300 / 40}
    assert numbers(client, serving.SPAN_TIMES) == {"queue": 5}
    assert numbers(client, serving.FIRST_TOKEN) == {"ttft, host:1": 65}
    instances = [row[:4] for row in rows(client, serving.INSTANCES)]
    assert instances == [("host:1", "vllm", "reports", 1), ("host:2", "vllm", "silent", 0.5)]
    assert rows(client, serving.DEPLOYMENTS) == [("v1", "INT4", "", "", "1 x L4", "", "")]


def test_costs(client: Client) -> None:
    assert numbers(client, costs.BY_VERSION) == {"v1": 4, "v2": 0}
    assert numbers(client, costs.BY_PROMPT) == {"a@1": 1, "a@2": 3, "no prompt": 0}
    assert numbers(client, costs.PER_CALL) == {"v1": 2, "v2": None}
    assert [row[1:] for row in rows(client, costs.COVERAGE)] == [(2 / 3, 1)]
    assert [row[:3] for row in rows(client, costs.USERS)] == [("bob", 3, 1), ("ann", 1, 2)]


def test_budgets(client: Client) -> None:
    # The end of the day of the calls, so that the numbers do not depend on the time of the test.
    day = (END - timedelta(hours=1.5)).replace(hour=0, minute=0)
    period = TimeRange.between(day, day + timedelta(days=1))
    ((spent, forecast, low, high, budget, coverage),) = rows(client, costs.DAY, range_=period)
    assert (spent, forecast, low, high, budget) == (4, None, None, None, 100)
    assert coverage == pytest.approx(2 / 3)
    ((spent, _, _, _, budget, _),) = rows(client, costs.MONTH, range_=period)
    assert (spent, budget) == (4, None)


def test_generations(client: Client) -> None:
    assert numbers(client, generations.TOKENS_PER_GENERATION) == {"output": 30}
    assert numbers(client, generations.TOKENS_PER_MINUTE) == {"output": 30 * 120 / 60}
    assert numbers(client, generations.COVERAGE) == {"output tokens": 0.9, "cost": 0.6}
    assert rows(client, generations.TOKENS_OBSERVED) == [(0.9,)]
    assert rows(client, generations.FIRST_TOKEN_NOW) == [(90,)]
    assert rows(client, generations.PER_TOKEN_NOW) == [(9,)]
    assert rows(client, generations.OUTPUT_TOKENS_NOW) == [(30,)]
    assert [row[2] for row in rows(client, generations.FIRST_TOKEN)] == [90]
    assert [row[2] for row in rows(client, generations.PER_TOKEN)] == [9]
    assert rows(client, generations.TOTAL) == []
