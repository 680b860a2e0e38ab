"""The views of comparisons, on a real ClickHouse."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

from local.clickhouse import LocalClickHouse
from tests.support.warehouse import migrated, row
from warehouse.client import Client
from warehouse.tables import insert_rows

pytestmark = pytest.mark.engine

END_S = 1_790_000_000 // 3600 * 3600


@pytest.fixture(scope="module")
def migrated_client(engine: LocalClickHouse) -> Iterator[Client]:
    with migrated(engine) as client:
        client.command("ALTER TABLE comparisons REMOVE TTL")
        yield client


def comparison(record_seq: int, left: str, right: str, **values: Any) -> dict[str, Any]:
    defaults = {
        "model": "m",
        "kind": "version",
        "field": "score",
        "measure": "psi",
        "window": "1h",
        "window_end": END_S,
    }
    return row("comparisons", **defaults | values, record_seq=record_seq, left=left, right=right)


def test_views_show_the_last_set_of_a_window(client: Client) -> None:
    """The events of version 2 were late: 1 and 3 were compared without it, and are no longer the last two versions."""
    for rows in (
        [comparison(5, "1", "3", difference=0.5), comparison(5, "1", "3", measure="mean", difference=0.1)],
        [comparison(9, "2", "3", difference=0.7), comparison(9, "2", "3", measure="mean", difference=0.2)],
        [comparison(9, "2", "3", difference=0.7)],  # written again after a crash
        [comparison(3, "1", "3", window="1d", difference=0.4)],
        [comparison(4, "a", "b", kind="arm", difference=0.3, reason="lost events")],
    ):
        insert_rows(client, "comparisons", rows)
    query = "SELECT previous, version, measure, difference FROM version_comparison WHERE model = 'm' AND window = '1h' "
    assert client.rows(query + "ORDER BY measure") == [("2", "3", "mean", 0.2), ("2", "3", "psi", 0.7)]
    arms = client.rows("SELECT control, arm, control_value, difference, reason FROM arm_comparison")
    assert arms[0][:2] == ("a", "b")
    assert arms[0][4] == "lost events"
    assert math.isnan(arms[0][2])
    assert len(arms) == 1
    assert client.rows("SELECT count() FROM latest_comparisons") == [(4,)]
