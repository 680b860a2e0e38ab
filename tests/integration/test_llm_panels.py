"""The numbers of the page LLM, over planted facts, calls, windows and prompts whose figures are known."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from dashboards.macros import TimeRange
from local.clickhouse import LocalClickHouse
from tests.support.language_model import fill_serving, fill_topics
from tests.support.panel_queries import RANGE, ask
from tests.support.two_day_model import END
from tests.support.warehouse import migrated
from warehouse.client import Client

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def client(engine: LocalClickHouse) -> Iterator[Client]:
    with migrated(engine) as client:
        fill_serving(client, "answers")
        fill_topics(client, "support-bot")
        yield client


def rows(client: Client, name: str, time_range: TimeRange = RANGE) -> list[tuple[Any, ...]]:
    return ask(client, name, time_range=time_range, model="answers", version="v1", window="1h")


def numbers(client: Client, name: str) -> dict[str, float]:
    """The last column by the one before it."""
    return {row[-2]: row[-1] for row in rows(client, name)}


def test_servers(client: Client) -> None:
    assert numbers(client, "serving.requests") == {"running": 7}, "both instances"
    assert numbers(client, "serving.kv_cache") == {"host:1": 0.4}
    assert numbers(client, "serving.cache_hits") == {"host:1": 350 / 400}, "of sums, not the mean of shares"
    assert numbers(client, "serving.drafts") == {"host:1": 0.6}
    assert numbers(client, "serving.counts") == {"preemptions": 2, "failed requests: overloaded": 1}
    assert numbers(client, "serving.server_times") == {"queue": 1300 / 40}
    assert numbers(client, "serving.span_times") == {"queue": 5}
    assert numbers(client, "serving.first_token") == {"ttft, host:1": 65}
    instances = [row[:4] for row in rows(client, "serving.instances")]
    assert instances == [("host:1", "vllm", "reports", 1), ("host:2", "vllm", "silent", 0.5)]
    assert rows(client, "serving.deployments") == [("v1", "INT4", "", "", "1 x L4", "", "")]


def test_costs_and_budgets(client: Client) -> None:
    assert numbers(client, "costs.version") == {"v1": 4, "v2": 0}
    assert numbers(client, "costs.prompt") == {"a@1": 1, "a@2": 3, "no prompt": 0}
    assert numbers(client, "costs.per_call") == {"v1": 2, "v2": None}
    assert [row[1:] for row in rows(client, "costs.coverage")] == [(2 / 3, 1)]
    assert [row[:3] for row in rows(client, "costs.users")] == [("bob", 3, 1), ("ann", 1, 2)]
    # The end of the day of the calls, so that the numbers do not depend on the time of the test.
    day = (END - timedelta(hours=1.5)).replace(hour=0, minute=0)
    period = TimeRange.between(day, day + timedelta(days=1))
    ((*spent, budget, coverage),) = rows(client, "costs.day", period)
    assert (spent, budget, coverage) == ([4, None, None, None], 100, pytest.approx(2 / 3))
    ((spent_in_month, _, _, _, budget, _),) = rows(client, "costs.month", period)
    assert (spent_in_month, budget) == (4, None)


def test_generations(client: Client) -> None:
    assert numbers(client, "generations.tokens_per_generation") == {"output": 30}
    assert numbers(client, "generations.tokens_per_minute") == {"output": 30 * 120 / 60}
    assert numbers(client, "generations.coverage") == {"output tokens": 0.9, "cost": 0.6}
    assert rows(client, "generations.tokens_observed") == [(0.9,)]
    assert rows(client, "generations.first_token_now") == [(90,)]
    assert rows(client, "generations.per_token_now") == [(9,)]
    assert rows(client, "generations.output_tokens_now") == [(30,)]
    assert [row[2] for row in rows(client, "generations.first_token")] == [90]
    assert [row[2] for row in rows(client, "generations.per_token")] == [9]
    assert [row[2] for row in rows(client, "generations.total")] == [400]


def test_topics_of_prompts(client: Client) -> None:
    def text_rows(name: str) -> list[tuple[Any, ...]]:
        return ask(client, f"llm_text.{name}", model="support-bot")

    shares = [(topic, share) for _, topic, share in text_rows("topics")]
    assert shares == [
        (topic, pytest.approx(share)) for topic, share in (("billing", 0.6), ("other", 0.2), ("refund", 0.2))
    ]
    assert [row[1:] for row in text_rows("languages")] == [("en", pytest.approx(0.9)), ("other", pytest.approx(0.1))]
    assert [share for _, share in text_rows("new")] == [0.25]
    recent = text_rows("recent")
    newest = {"billing": ("g00", "g03", "g04"), "new": ("g02", "g06", "g10"), "refund": ("g01", "g05", "g09")}
    assert [row[:2] for row in recent] == [(topic, id_) for topic, ids in newest.items() for id_ in ids]
    assert {row[5] for row in recent} == {"answer@7"}
    distant = text_rows("distant")
    assert [row[1] for row in distant[:3]] == ["g39", "g38", "g37"]
    assert distant[0][3] == pytest.approx(0.39)
