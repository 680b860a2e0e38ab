"""Times of the queries of analysts, commands, panels and alert rules on a generated history of hourly panes.

Queries go through the HTTP interface as those of Grafana and analysts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sized
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import NamedTuple

from barograph_server.alerts import AlertSettings, rules_of
from barograph_server.alerts.simulator import simulate
from barograph_server.dashboards.durations import go_duration_s, interval_ms
from barograph_server.dashboards.macros import ALL, TimeRange, Value, expand
from barograph_server.dashboards.pages import dashboards
from barograph_server.dashboards.parse import queries_in
from barograph_server.warehouse import migrate
from barograph_server.warehouse.client import Client, connect
from barograph_server.warehouse.operations import status
from barograph_server.warehouse.signals import point_sql
from benchmarks.figures import Figures
from benchmarks.history import DAY_S, History, make_history
from benchmarks.questions import MODEL, questions
from benchmarks.stack import Testbed

QUERIES = "Queries on a history of hourly panes"
DATABASE = "history"
LIMIT_MS, RULE_LIMIT_MS, REPLAY_LIMIT_MS = 200.0, 500.0, 10_000.0
"""A backtest, which replays rules, should take seconds."""
POINTS = 600
"""Points of a panel that is half a screen wide."""
RUNS = 5
TIMEOUT_S = 900


class Query(NamedTuple):
    """A query and the time that it may take."""

    name: str
    query: str | Callable[[Client], Sized]
    """SQL, or a function that runs a query and returns its rows."""
    limit_ms: float = LIMIT_MS

    def run(self, client: Client) -> int:
        """Run the query and return the number of rows of its result."""
        return client.arrow(self.query).num_rows if isinstance(self.query, str) else len(self.query(client))


def measure_queries(testbed: Testbed, figures: Figures, *, models: int, days: int) -> None:
    """Generate a history, run all queries on it, and report the nearest to its limit."""
    with connect(testbed.address(DATABASE), create=True, timeout_s=TIMEOUT_S) as client:
        migrate.apply(client)
        began = time.monotonic()
        history = make_history(testbed, DATABASE, client, models=models, days=days)
        while client.rows("SELECT count() FROM system.merges") != [(0,)]:
            time.sleep(1)
        [(rows, parts, size)] = client.rows(
            "SELECT sum(rows), count(), sum(bytes_on_disk) FROM system.parts WHERE active AND database = {of:String}",
            {"of": DATABASE},
        )
        figures.about["history"] = (
            f"{models} models of 201 fields, {days} days of hourly panes: {rows / 1e6:,.0f} M rows in {parts} parts, "
            f"{size / 2**30:.1f} GiB, generated in {time.monotonic() - began:.0f} s"
        )
        shares, slow = {}, 0
        for query in (
            *question_queries(history),
            *command_queries(history),
            *page_queries(history, days),
            *rule_queries(history),
        ):
            n_rows, spent_ms = query.run(client), []
            cpu_s = testbed.engine_cpu_s()
            for _ in range(RUNS):
                began = time.perf_counter()
                query.run(client)
                spent_ms.append((time.perf_counter() - began) * 1000)
            cpu_ms = (testbed.engine_cpu_s() - cpu_s) * 1000 / RUNS
            note = f"up to {max(spent_ms):.0f} ms; {cpu_ms:.0f} ms CPU; {n_rows:,} rows"
            shares[query.name] = median(spent_ms) / query.limit_ms
            if shares[query.name] > 1:
                slow += 1
                note += f"; over its limit of {query.limit_ms:.0f} ms"
            figures.add(QUERIES, query.name, median(spent_ms), "ms", note)
    nearest = max(shares, key=lambda name: shares[name])
    note = f"{slow} of {len(shares)} exceed their limit"
    figures.add(QUERIES, f"share of its limit: {nearest}", shares[nearest], "", note)


def question_queries(history: History) -> Iterator[Query]:
    """The questions of docs/queries.md for the last week that the history covers completely."""
    end = datetime.fromtimestamp(history.end_s, UTC)
    monday = (end - timedelta(days=end.weekday() + 7)).date()
    for each in questions():
        yield Query(
            f"question {each.number}: {each.title}", each.in_week(monday).replace(MODEL, history.contract.model)
        )


def command_queries(history: History) -> Iterator[Query]:
    """The queries of `status`."""
    model = history.contract.model
    yield Query("status: freshness", status.freshness)
    yield Query("status: processors", status.processors)
    yield Query("status: last drift of a model", lambda client: status.latest_drift(client, model))
    yield Query("status: last rates of a model", lambda client: status.latest_rates(client, model))


def page_queries(history: History, days: int) -> Iterator[Query]:
    """Every panel, variable and annotation of every page, over the last day and over the whole history."""
    for dashboard in dashboards().values():
        variables = dashboard["templating"]["list"]
        has_all = any(each["name"] == "model" and each["includeAll"] for each in variables)
        values: dict[str, Value] = {"version": "1", "slice": "all", "field": "amount_00", "window": "1d"}
        values |= {"datasource": "barograph", "model": ALL if has_all else history.contract.model}
        for length in (1, days):
            between = TimeRange(1000 * (history.end_s - length * DAY_S), 1000 * history.end_s)
            for query in queries_in(dashboard):
                least_s = go_duration_s((query.panel or {}).get("interval", "")) or 1
                step_ms = interval_ms(between.to_ms - between.from_ms, POINTS, 1000 * least_s)
                sql = expand(query.sql, between, values, interval_ms=step_ms)
                yield Query(f"{query.where.removeprefix('Barograph / ')}, {length} d", sql)


def rule_queries(history: History) -> Iterator[Query]:
    """Every rule of a model at the end of the history, and a replay of all rules over the history."""
    settings = AlertSettings()
    rules = rules_of(history.contract, settings)
    for rule in rules:
        name = f"rule {rule.name} ({rule.severity}, {len(rule.signal.keys)} instances)"
        yield Query(name, point_sql(rule.signal, at=f"toUInt32({history.end_s})"), RULE_LIMIT_MS)

    def replay(client: Client) -> list[object]:
        return list(simulate(client, rules, settings, history.start_s, history.end_s, "ended").replays)

    yield Query(f"replay of {len(rules)} rules", replay, REPLAY_LIMIT_MS)
