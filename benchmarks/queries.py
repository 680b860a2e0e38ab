"""Times of all queries of analysts, panels and alert rules on a month of generated history.

Queries go through the HTTP interface as those of Grafana and analysts. The history has one part per day, as far as the
engine has not merged them by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from barograph_server.warehouse import migrate
from barograph_server.warehouse.client import Client, connect
from benchmarks.dashboard_queries import page_queries
from benchmarks.figures import Figures
from benchmarks.history import FULL, History, Size, fill
from benchmarks.history_queries import HistoryQuery, command_queries, question_queries, view_queries
from benchmarks.rule_queries import rule_queries
from benchmarks.stack import Testbed

QUERIES = "Queries on a month of hourly panes"
DATABASE = "history"
SOURCES: tuple[Callable[[History], list[HistoryQuery]], ...] = (
    question_queries,
    view_queries,
    command_queries,
    page_queries,
    rule_queries,
)
"""Functions that return the queries, in the order of execution."""
RUNS = 5
FILL_TIMEOUT_S = 900
MERGE_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class QueryTiming:
    """Time and cost of a query."""

    query: HistoryQuery
    ms: float
    """Median of `RUNS` runs."""
    worst_ms: float
    """Maximum of `RUNS` runs."""
    cpu_ms: float
    """CPU time of the engine, which depends least on other processes."""
    rows: int
    """Rows of the result."""

    @property
    def is_slow(self) -> bool:
        """Whether the query exceeds its limit."""
        return self.ms > self.query.limit_ms

    @property
    def note(self) -> str:
        """The notes on the figure."""
        message = f"up to {self.worst_ms:.0f} ms; {self.cpu_ms:.0f} ms CPU; {self.rows:,} rows"
        return f"{message}; over its limit of {self.query.limit_ms:.0f} ms" if self.is_slow else message


def measure_queries(testbed: Testbed, figures: Figures, *, models: int) -> None:
    """Generate a history, run all queries on it, and report the slowest."""
    size = Size(models, FULL.fields, FULL.days)
    with connect(testbed.address(DATABASE), create=True, timeout_s=FILL_TIMEOUT_S) as client:
        migrate.apply(client)
        began = time.monotonic()
        history = fill(client, size)
        took_s = time.monotonic() - began
        wait_merged(client)
        [(rows, parts, size_on_disk)] = client.rows(
            "SELECT sum(rows), count(), sum(bytes_on_disk) FROM system.parts WHERE active AND database = {of:String}",
            {"of": DATABASE},
        )
        figures.about["history"] = (
            f"{size.models} models of {size.fields} fields, {size.days} days of hourly panes: {rows / 1e6:,.0f} M rows "
            f"in {parts} parts, {size_on_disk / 2**30:.1f} GiB, generated in {took_s:.0f} s"
        )
        result = []
        for source in SOURCES:
            for query in source(history):
                timed = time_query(client, query, testbed.engine_cpu_s)
                result.append(timed)
                figures.add(QUERIES, query.name, timed.ms, "ms", timed.note)
    slowest = max(result, key=lambda timed: timed.ms / timed.query.limit_ms)
    figures.add(
        QUERIES,
        f"**nearest to its limit: {slowest.query.name}**",
        slowest.ms,
        "ms",
        f"to be under {slowest.query.limit_ms:.0f} ms; "
        f"{sum(timed.is_slow for timed in result)} of {len(result)} are not",
    )


def time_query(client: Client, query: HistoryQuery, engine_cpu_s: Callable[[], float]) -> QueryTiming:
    """Run a query once to warm up, then `RUNS` times."""
    rows = query.run(client)
    spent = []
    cpu_s = engine_cpu_s()
    for _ in range(RUNS):
        began = time.perf_counter()
        query.run(client)
        spent.append((time.perf_counter() - began) * 1000)
    return QueryTiming(query, median(spent), max(spent), (engine_cpu_s() - cpu_s) * 1000 / RUNS, rows)


def wait_merged(client: Client) -> None:
    """Wait until the engine has no running merges."""
    deadline = time.monotonic() + MERGE_TIMEOUT_S
    while time.monotonic() < deadline and client.rows("SELECT count() FROM system.merges") != [(0,)]:
        time.sleep(1)
