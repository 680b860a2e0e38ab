"""Query times by the days of history in the warehouse."""

from __future__ import annotations

import time
from statistics import median

from barograph_server.warehouse import migrate
from barograph_server.warehouse.client import Client, connect
from benchmarks.growth_measurement import Growth
from benchmarks.history import Size, fill
from benchmarks.history_queries import HistoryQuery, command_queries, view_queries
from benchmarks.stack import Testbed

DAYS = (2, 4, 8, 16, 28)
MODELS, FIELDS = 5, 40
RUNS = 5
TIMEOUT_S = 300
QUERIES = {
    "all models now": "latest_drift: all models, newest window",
    "a field's month": "latest_distances: a field, month",
    "status of a model": "status: last drift of a model",
}
"""Curve → query: one of the present, one of the whole history, one of a command."""


def measure_history(testbed: Testbed, growth: Growth) -> None:
    """Generate histories of increasing length and run the same queries on each."""
    spent: dict[str, list[float]] = {name: [] for name in QUERIES}
    stored = []
    for days in DAYS:
        database = f"history_{days:02d}"
        with testbed.client(database) as client:
            migrate.apply(client)
        with connect(testbed.address(database), timeout_s=TIMEOUT_S) as client:
            history = fill(client, Size(models=MODELS, fields=FIELDS, days=days))
            [(size,)] = client.rows(
                "SELECT sum(bytes_on_disk) FROM system.parts WHERE database = {database:String} AND active "
                "AND table NOT IN ('predictions', 'labels')",
                {"database": database},
            )
            stored.append(int(size) / 2**20)
            queries = {query.name: query for query in (*view_queries(history), *command_queries(history))}
            for name, title in QUERIES.items():
                spent[name].append(_median_ms(queries[title], client))
    constants = f"{MODELS} models of {FIELDS} fields, panes of an hour, verdicts every hour"
    growth.add("ClickHouse", "days", "stored bytes without raw rows", "MiB", "days", constants, DAYS, stored)
    for name, costs in spent.items():
        growth.add("ClickHouse", f"query by days: {name}", f"query time: {name}", "ms", "days", constants, DAYS, costs)


def _median_ms(query: HistoryQuery, client: Client) -> float:
    query.run(client)
    result = []
    for _ in range(RUNS):
        began = time.monotonic()
        query.run(client)
        result.append(time.monotonic() - began)
    return 1e3 * median(result)
