"""The catalog of all panel queries, for lint, tests and benchmarks."""

from __future__ import annotations

from warehouse.panels import (
    annotation_queries,
    comparisons,
    distribution,
    drift,
    fleet,
    freshness,
    performance,
    pipeline,
    rates,
    traffic,
    variables,
)
from warehouse.panels.query import PanelQuery

_MODULES = (
    annotation_queries,
    comparisons,
    distribution,
    drift,
    fleet,
    freshness,
    performance,
    pipeline,
    rates,
    traffic,
    variables,
)


def every_query() -> dict[str, PanelQuery]:
    """Return all queries by name."""
    queries = [value for module in _MODULES for value in vars(module).values() if isinstance(value, PanelQuery)]
    by_name = {query.name: query for query in queries}
    assert len(by_name) == len({id(query) for query in queries}), "two queries have one name"
    return by_name
