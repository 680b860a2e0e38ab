"""Accessors for dashboard JSON: panels, variables, queries."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

Json = Mapping[str, Any]
"""A dashboard, or a part of one, in Grafana's classic JSON model."""


class DashboardQuery(NamedTuple):
    """A query in a dashboard."""

    where: str
    kind: str
    """`variable`, `annotation`, or the type of the panel."""
    sql: str
    format: int
    panel: Json | None


def panels_of(dashboard: Json) -> Iterator[Json]:
    """The panels of a dashboard, including those in folded rows, without the rows themselves."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels", [])
        else:
            yield panel


def variables_of(dashboard: Json) -> list[str]:
    """The names of the variables, in order."""
    return [variable["name"] for variable in dashboard["templating"]["list"]]


def queries_in(dashboard: Json) -> Iterator[DashboardQuery]:
    """Every ClickHouse query of a dashboard: of variables, annotations and panels."""
    title = dashboard["title"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield DashboardQuery(
                f"{title}, variable {variable['name']}", "variable", variable["query"]["rawSql"], 1, None
            )
    for annotation in dashboard["annotations"]["list"]:
        target = annotation.get("target", {})
        if "rawSql" in target:
            where = f"{title}, annotation {annotation['name']}"
            yield DashboardQuery(where, "annotation", target["rawSql"], target.get("format", 0), None)
    for panel in panels_of(dashboard):
        for target in panel.get("targets", []):
            where = f"{title}, {panel.get('title')}, query {target.get('refId')}"
            yield DashboardQuery(where, panel["type"], target.get("rawSql", ""), target.get("format", 0), panel)
