"""Reads a dashboard's JSON: its panels, its variables, its queries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

Json = Mapping[str, Any]
"""A dashboard, or a part of one, in Grafana's classic form."""


class Asked(NamedTuple):
    """A query as it stands in a dashboard."""

    where: str
    kind: str
    """`variable`, `annotation`, or the type of the panel."""
    sql: str
    format: int
    panel: Json | None


def panels_of(dashboard: Json) -> Iterator[Json]:
    """The panels of a dashboard, those of folded rows too; the rows themselves are left out."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels", [])
        else:
            yield panel


def variables_of(dashboard: Json) -> list[str]:
    """The names of its variables, in their order."""
    return [variable["name"] for variable in dashboard["templating"]["list"]]


def asked_in(dashboard: Json) -> Iterator[Asked]:
    """Every query of ClickHouse that a dashboard holds: of variables, annotations and panels."""
    title = dashboard["title"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield Asked(f"{title}, variable {variable['name']}", "variable", variable["query"]["rawSql"], 1, None)
    for annotation in dashboard["annotations"]["list"]:
        target = annotation.get("target", {})
        if "rawSql" in target:
            where = f"{title}, annotation {annotation['name']}"
            yield Asked(where, "annotation", target["rawSql"], target.get("format", 0), None)
    for panel in panels_of(dashboard):
        for target in panel.get("targets", []):
            where = f"{title}, {panel.get('title')}, query {target.get('refId')}"
            yield Asked(where, panel["type"], target.get("rawSql", ""), target.get("format", 0), panel)
