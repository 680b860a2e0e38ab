"""All panel queries by name, executed as Grafana does."""

from datetime import timedelta
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from barograph_server.dashboards.macros import TimeRange, Value, expand
from barograph_server.warehouse import panels
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.panels.query import PanelQuery
from tests.support.two_day_model import END, HOUR_S

RANGE = TimeRange.between(END - timedelta(hours=47), END)


def every_query() -> dict[str, PanelQuery]:
    modules = [import_module(f"{panels.__name__}.{module.name}") for module in iter_modules(panels.__path__)]
    queries = [value for module in modules for value in vars(module).values() if isinstance(value, PanelQuery)]
    by_name = {query.name: query for query in queries}
    assert len(by_name) == len({id(query) for query in queries}), "two queries have one name"
    return by_name


QUERIES = every_query()


def ask(
    client: Client, name: str, *, time_range: TimeRange = RANGE, interval_s: int = HOUR_S, **chosen: Value
) -> list[tuple[Any, ...]]:
    """Run a query by name; the defaults of the variables are those of most pages."""
    variables: dict[str, Value] = {"version": "1", "slice": "all", "window": "1d", **chosen}
    return client.rows(expand(QUERIES[name].sql, time_range, variables, interval_ms=interval_s * 1000))
