"""All queries of the dashboards by their names."""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from barograph_server.warehouse import panels
from barograph_server.warehouse.panels.query import PanelQuery


@cache
def named_queries() -> dict[str, PanelQuery]:
    """Return every query of the modules of this package by its name."""
    modules = [import_module(f"{panels.__name__}.{each.name}") for each in iter_modules(panels.__path__)]
    queries = [value for module in modules for value in vars(module).values() if isinstance(value, PanelQuery)]
    by_name = {query.name: query for query in queries}
    assert len(by_name) == len({id(query) for query in queries}), "two queries have one name"
    return by_name
