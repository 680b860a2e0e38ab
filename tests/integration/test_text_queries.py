"""The queries of the row Text on the real engine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dashboards.macros import TimeRange, expand
from local.clickhouse import LocalClickHouse
from sketches.baseline.baseline import Baseline, FieldBaseline, SliceCounts, dump_baseline
from tests.support.panel_queries import every_query
from tests.support.warehouse import migrated
from tests.support.warehouse import row as table_row
from warehouse.client import Client
from warehouse.tables import insert_rows

pytestmark = pytest.mark.engine

QUERIES = {name: query for name, query in every_query().items() if name.startswith("llm_text.")}
END = datetime(2026, 11, 29, tzinfo=UTC)
END_S = int(END.timestamp())
HOUR_S = 3600
MODEL = "support-bot"
SECRET = "jane@example.org"


@pytest.fixture(scope="module")
def client(engine: LocalClickHouse) -> Iterator[Client]:
    with migrated(engine) as client:
        fill(client)
        yield client


def baseline() -> Baseline:
    counts = SliceCounts(cells=(600, 390, 10, 0))
    field = FieldBaseline(name="topic", kind="category", categories=("billing", "refund"), slices={"all": counts})
    return Baseline(model=MODEL, version="1", fields=(field,), rows=1000, slice_rows={"all": 1000})


def fill(client: Client) -> None:
    insert_rows(
        client,
        "baselines",
        [table_row("baselines", model=MODEL, version="1", baseline_id="b", body=dump_baseline(baseline()).decode())],
    )
    rows = []
    for i in range(40):
        topic = ("billing", "refund", "new", "billing")[i % 4]
        rows.append(
            table_row(
                "predictions",
                model=MODEL,
                version="1",
                id=f"g{i:02}",
                at=(END_S - HOUR_S - 1 - i) * 1000,
                received_at=(END_S - HOUR_S - 1 - i) * 1000,
                strings={"topic": topic, "language": "en"},
                numbers={"topic_distance": i / 100, "code_share": 0.0},
                context={"prompt": "answer@7", "prompt_text": SECRET},
                offset=i,
            )
        )
    insert_rows(client, "predictions", rows)
    pane = {"model": MODEL, "version": "1", "baseline_id": "b", "slice": "all", "field": "topic", "pane_s": HOUR_S}
    counts = {"n": 10, "counts": [6, 2, 2, 0], "unseen": 2}
    insert_rows(client, "rollups", [table_row("rollups", **pane, pane_start=END_S - 2 * HOUR_S, **counts)])


def ask(client: Client, name: str) -> list[tuple[Any, ...]]:
    chosen: dict[str, Any] = {"model": MODEL, "version": "1", "slice": "all", "window": "1d"}
    time_range = TimeRange.between(END - timedelta(hours=24), END)
    return client.rows(expand(QUERIES[name].sql, time_range, chosen, interval_ms=HOUR_S * 1000))


@pytest.mark.parametrize("name", sorted(QUERIES))
def test_every_query_answers_in_its_shape_and_without_text(client: Client, name: str) -> None:
    rows = ask(client, name)
    assert all(len(row) == len(QUERIES[name].columns) for row in rows)
    assert SECRET not in repr(rows)


def test_hourly_shares_of_topics(client: Client) -> None:
    assert [(topic, share) for _, topic, share in ask(client, "llm_text.topics")] == [
        ("billing", pytest.approx(0.6)),
        ("other", pytest.approx(0.2)),
        ("refund", pytest.approx(0.2)),
    ]
    assert ask(client, "llm_text.languages") == []


def test_the_share_of_new_prompts(client: Client) -> None:
    rows = ask(client, "llm_text.new")
    assert [share for _, share in rows] == [0.25]


def test_recent_generations_of_each_topic(client: Client) -> None:
    rows = ask(client, "llm_text.recent")
    assert [(row[0], row[1]) for row in rows] == [
        ("billing", "g00"),
        ("billing", "g03"),
        ("billing", "g04"),
        ("new", "g02"),
        ("new", "g06"),
        ("new", "g10"),
        ("refund", "g01"),
        ("refund", "g05"),
        ("refund", "g09"),
    ]
    assert {row[5] for row in rows} == {"answer@7"}


def test_the_most_distant_generations(client: Client) -> None:
    rows = ask(client, "llm_text.distant")
    assert [row[1] for row in rows[:3]] == ["g39", "g38", "g37"]
    assert rows[0][3] == pytest.approx(0.39)
