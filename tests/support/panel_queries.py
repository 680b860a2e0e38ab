"""All panel queries by name."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from warehouse import panels
from warehouse.panels.query import PanelQuery


def every_query() -> dict[str, PanelQuery]:
    """Return all queries by name."""
    modules = [import_module(f"{panels.__name__}.{module.name}") for module in iter_modules(panels.__path__)]
    queries = [value for module in modules for value in vars(module).values() if isinstance(value, PanelQuery)]
    by_name = {query.name: query for query in queries}
    assert len(by_name) == len({id(query) for query in queries}), "two queries have one name"
    return by_name
