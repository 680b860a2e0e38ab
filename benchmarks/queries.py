"""How long analysts, panels and alert rules wait: whatever is asked, on a month of generated history.

Queries go through the HTTP door as Grafana's and the analysts' do. The history lies in the parts in which it came, a
day each, as far as the engine has merged them by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from benchmarks.figures import Figures
from benchmarks.history import FULL, History, Size, fill
from benchmarks.history_queries import HistoryQuery, asked_by_commands, asked_views, worked_questions
from benchmarks.pages import asked_by_pages
from benchmarks.rules import asked_by_rules
from benchmarks.stack import World
from warehouse import migrate
from warehouse.client import Client, connect

QUERIES = "Queries on a month of hourly panes"
DATABASE = "history"
SOURCES: tuple[Callable[[History], list[HistoryQuery]], ...] = (
    worked_questions,
    asked_views,
    asked_by_commands,
    asked_by_pages,
    asked_by_rules,
)
"""What is asked of the history, in this order."""
RUNS = 5
FILL_PATIENCE_S = 900
MERGE_PATIENCE_S = 300.0


@dataclass(frozen=True, slots=True)
class Timed:
    """What a query took."""

    asked: HistoryQuery
    ms: float
    """The median."""
    worst_ms: float
    cpu_ms: float
    """CPU time of the engine, which other processes change least."""
    rows: int
    """Of the answer."""

    @property
    def is_slow(self) -> bool:
        """Whether it took longer than it may."""
        return self.ms > self.asked.limit_ms

    @property
    def note(self) -> str:
        """What is said beside the median."""
        message = f"up to {self.worst_ms:.0f} ms; {self.cpu_ms:.0f} ms CPU; {self.rows:,} rows"
        return f"{message}; over its limit of {self.asked.limit_ms:.0f} ms" if self.is_slow else message


def measure_queries(world: World, figures: Figures, *, models: int) -> None:
    """Make a history, ask everything of it, and name the slowest."""
    size = Size(models, FULL.fields, FULL.days)
    with connect(world.address(DATABASE), create=True, timeout_s=FILL_PATIENCE_S) as client:
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
            f"in {parts} parts, {size_on_disk / 2**30:.1f} GiB, made in {took_s:.0f} s"
        )
        result = []
        for source in SOURCES:
            for requested in source(history):
                timed = time_asked(client, requested, world.engine_cpu_s)
                result.append(timed)
                figures.add(QUERIES, requested.name, timed.ms, "ms", timed.note)
    slowest = max(result, key=lambda timed: timed.ms / timed.asked.limit_ms)
    figures.add(
        QUERIES,
        f"**nearest to its limit: {slowest.asked.name}**",
        slowest.ms,
        "ms",
        f"to be under {slowest.asked.limit_ms:.0f} ms; {sum(timed.is_slow for timed in result)} of {len(result)} are not",
    )


def time_asked(client: Client, asked: HistoryQuery, engine_cpu_s: Callable[[], float]) -> Timed:
    """Ask once to warm up, then `RUNS` times."""
    rows = asked.of(client)
    spent = []
    cpu_s = engine_cpu_s()
    for _ in range(RUNS):
        began = time.perf_counter()
        asked.of(client)
        spent.append((time.perf_counter() - began) * 1000)
    return Timed(asked, median(spent), max(spent), (engine_cpu_s() - cpu_s) * 1000 / RUNS, rows)


def wait_merged(client: Client) -> None:
    """Wait until the engine has merged what it wants to."""
    deadline = time.monotonic() + MERGE_PATIENCE_S
    while time.monotonic() < deadline and client.rows("SELECT count() FROM system.merges") != [(0,)]:
        time.sleep(1)
