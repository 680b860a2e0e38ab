"""A small generated history: every table and view has rows, and all queries of the benchmarks are valid."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from benchmarks.dashboard_queries import page_queries
from benchmarks.history import History, Size, fill
from benchmarks.history.generate import TABLE_FILLS
from benchmarks.history.series import SERIES
from benchmarks.history_queries import HistoryQuery, command_queries, question_queries, view_queries
from benchmarks.rule_queries import rule_queries
from local.clickhouse import LocalClickHouse
from tests.support.warehouse import migrated
from warehouse.client import Client
from warehouse.tables import SCHEMAS

SMALL = Size(models=2, fields=14, days=2)
NOT_MADE = {
    *("performance_reference", "scorer_checkpoints", "offset_ledger", "topics"),
    *("prediction_hours", "hour_labels", "duplicate_predictions"),
}
"""Tables that no view reads."""


@pytest.fixture(scope="module")
def client(engine: LocalClickHouse) -> Iterator[Client]:
    with migrated(engine) as result:
        yield result


@pytest.fixture(scope="module")
def history(client: Client) -> History:
    return fill(client, SMALL)


def test_columns_are_those_of_the_tables(client: Client) -> None:
    for filling in TABLE_FILLS:
        columns = client.rows(
            "SELECT name FROM system.columns WHERE database = {database:String} AND table = {table:String} "
            "AND default_kind != 'MATERIALIZED'",
            {"database": client.database, "table": filling.table},
        )
        assert sorted(filling.columns) == sorted(name for (name,) in columns), filling.table


def test_every_hour_and_field_has_a_row(client: Client, history: History) -> None:
    [(hours, fields, models)] = client.rows(
        "SELECT uniqExact(pane_start), uniqExact(field), uniqExact(model) FROM all_panes WHERE slice = 'all'"
    )
    assert hours == (history.end_s - history.start_s) // 3600
    assert (fields, models) == (SMALL.fields, SMALL.models)
    assert client.rows(
        "SELECT model, uniqExact(version) FROM all_volume WHERE n > 0 GROUP BY model ORDER BY model"
    ) == [(history.models[1], 1), (history.models[0], 2)]
    assert client.rows("SELECT count() FROM all_panes WHERE n != arraySum(counts)") == [(0,)]


def test_every_table_holds_something(client: Client, history: History) -> None:
    empty = client.rows(
        "SELECT name FROM system.tables WHERE database = {database:String} AND total_rows = 0",
        {"database": client.database},
    )
    assert {name for (name,) in empty} & set(SCHEMAS) <= NOT_MADE
    assert SERIES not in {name for (name,) in empty}


def test_every_view_has_a_query_and_is_valid(client: Client, history: History) -> None:
    views = {
        name
        for (name,) in client.rows(
            "SELECT name FROM system.tables WHERE database = {database:String} AND engine = 'View'",
            {"database": client.database},
        )
    }
    queried = view_queries(history)
    assert {each.name.split(":")[0] for each in queried} == views
    assert [each.name for each in queried if not each.run(client)] == []


@pytest.mark.parametrize("source", [question_queries, command_queries, page_queries, rule_queries])
def test_every_query_is_valid_on_a_recorded_history(
    source: Callable[[History], list[HistoryQuery]], client: Client, history: History
) -> None:
    for each in source(history):
        each.run(client)
