"""All panel queries by name, executed as Grafana does."""

from datetime import timedelta
from typing import Any

from barograph_server.dashboards.macros import TimeRange, Value, expand
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.panels.named import named_queries
from tests.support.two_day_model import END, HOUR_S

RANGE = TimeRange.between(END - timedelta(hours=47), END)


QUERIES = named_queries()


def ask(
    client: Client, name: str, *, time_range: TimeRange = RANGE, interval_s: int = HOUR_S, **chosen: Value
) -> list[tuple[Any, ...]]:
    variables: dict[str, Value] = {"version": "1", "slice": "all", "window": "1d", **chosen}
    return client.rows(expand(QUERIES[name].sql, time_range, variables, interval_ms=interval_s * 1000))
