"""Rollups of days and hours, and unseen categories by name, on the real engine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.warehouse import row
from warehouse import queries
from warehouse.client import Client
from warehouse.tables import insert_rows

pytestmark = pytest.mark.engine

HOUR_S, DAY_S = 3600, 86_400
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
START_S = int((TODAY - timedelta(days=30)).timestamp())


def pane(record_seq: int, *, pane_start: int = START_S, pane_s: int = 60, **values: Any) -> dict[str, Any]:
    known = {"model": "m", "version": "1", "baseline_id": "b", "slice": "all", "field": "x"}
    return row("panes", **known | values, record_seq=record_seq, pane_start=pane_start, pane_s=pane_s)


def named(category: str, hour: int, n: int, record_seq: int, **values: Any) -> dict[str, Any]:
    known = {"model": "m", "version": "1", "baseline_id": "b", "field": "colour", "pane_s": HOUR_S}
    at = START_S + hour * HOUR_S
    return row(
        "new_categories",
        **known | values,
        category=category,
        pane_start=at,
        n_low=n,
        n_high=n + 1,
        record_seq=record_seq,
    )


def test_days_and_hours_are_separate_and_include_panes_of_their_length(client: Client) -> None:
    hours = [pane(1, pane_s=HOUR_S, pane_start=START_S + i * HOUR_S, n=i) for i in range(24)]
    days = [pane(1, pane_s=DAY_S, n=276), pane(2, pane_s=DAY_S, n=277)]
    insert_rows(client, "rollups", hours + days)
    insert_rows(
        client,
        "panes",
        [
            pane(1, n=1),
            pane(1, pane_s=HOUR_S, n=5, field="y"),
            pane(1, pane_s=DAY_S, n=7, field="z"),
            pane(1, pane_s=7 * DAY_S, n=8, field="w"),
        ],
    )
    result = client.rows("SELECT field, n, toUnixTimestamp(pane_end) FROM days ORDER BY field")
    assert result == [("w", 8, START_S + 7 * DAY_S), ("x", 277, START_S + DAY_S), ("z", 7, START_S + DAY_S)]
    by_field = client.rows("SELECT field, count(), sum(n) FROM hours GROUP BY field ORDER BY field")
    assert by_field == [("w", 1, 8), ("x", 24, 276), ("y", 1, 5), ("z", 1, 7)]
    assert queries.rollups(client, "m", START_S, START_S + DAY_S)["n"].to_pylist() == list(range(24))
    assert queries.rollups(client, "m", START_S, START_S + DAY_S, pane_s=DAY_S)["n"].to_pylist() == [277]


def test_new_categories_are_counted_by_their_last_reading(client: Client) -> None:
    insert_rows(
        client,
        "new_categories",
        [
            # An hour that was read twice: categories that dropped out of the fifty are not counted.
            named("pink", 0, 5, 10),
            named("mauve", 0, 4, 10),
            named("pink", 0, 6, 20),
            named("lime", 0, 7, 20),
            named("pink", 5, 1, 30),
            # The same value in another version, model and field.
            named("pink", 6, 2, 40, version="2"),
            named("pink", 7, 9, 40, model="other"),
            named("pink", 8, 9, 40, field="flag"),
        ],
    )
    result = client.rows(
        "SELECT category, toUnixTimestamp(first_seen), toUnixTimestamp(last_seen), n, n_high FROM unseen_categories "
        "WHERE model = 'm' AND field = 'colour' ORDER BY category"
    )
    assert result == [("lime", START_S, START_S, 7, 8), ("pink", START_S, START_S + 6 * HOUR_S, 9, 12)]
    assert client.rows("SELECT count() FROM unseen_categories") == [(4,)]
    plan = client.rows("EXPLAIN indexes = 1 SELECT * FROM unseen_categories WHERE model = 'm' AND field = 'colour'")
    assert "PrimaryKey Keys: model field" in " ".join(" ".join(line for (line,) in plan).replace("│", " ").split())
