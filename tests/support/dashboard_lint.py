"""Lint rules for dashboard JSON: mistakes that Grafana accepts and users suffer from.

Source of the rules: grafana/dashboard-linter, and for SQL what the ClickHouse plugin does (`dashboards.macros`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from typing import NamedTuple

from barograph.contract import parse_duration

from dashboards.panels import PANEL_TYPES
from dashboards.parse import DashboardQuery, Json, panels_of, queries_in, variables_of
from dashboards.query import dedent_sql
from dashboards.style import PLUGIN, STYLE
from dashboards.variables import ORDER
from tests.support.dashboard_lint_links import link_faults
from tests.support.dashboard_lint_sql import sql_faults
from warehouse.panels import PanelQuery


class LintFinding(NamedTuple):
    """A violated lint rule: where, and what to do."""

    rule: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message} ({self.rule})"


def lint(dashboards: Iterable[Json], queries: Iterable[PanelQuery]) -> list[LintFinding]:
    """List every violated rule, dashboard by dashboard.

    Args:
        dashboards: all dashboards that are provisioned together, in Grafana's classic JSON model.
        queries: the named queries that dashboards may use.
    """
    together = list(dashboards)
    known = {dedent_sql(query.sql): query for query in queries}
    findings = [*_repeated("dashboard-uid", "uid", together), *_repeated("dashboard-title", "title", together)]
    for dashboard in together:
        findings += _of_page(dashboard)
        for panel in panels_of(dashboard):
            findings += _of_panel(panel, f"{dashboard['title']}, {panel.get('title') or panel.get('id')}")
        for dashboard_query in queries_in(dashboard):
            findings += _of_query(dashboard_query, known, variables_of(dashboard))
        findings += [LintFinding(rule, where, text) for rule, where, text in link_faults(dashboard, together, known)]
    return findings


def _repeated(rule: str, member: str, dashboards: list[Json]) -> Iterator[LintFinding]:
    for value, times in Counter(dashboard.get(member) for dashboard in dashboards).items():
        if times > 1 or not value:
            yield LintFinding(
                rule, str(value), f"{times} dashboards share this {member}; Grafana would stop provisioning"
            )


# ----------------------------------------------------------------------------------------------------------- a page


def _of_page(dashboard: Json) -> Iterator[LintFinding]:
    title = dashboard["title"]
    if dashboard.get("graphTooltip") != 1:
        yield LintFinding("crosshair", title, "panels do not share the crosshair; set graphTooltip to 1")
    variables = variables_of(dashboard)
    if variables != [name for name in ORDER if name in variables]:
        yield LintFinding("variable-order", title, f"variables are {variables}; their order is {list(ORDER)}")
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query" and variable.get("datasource", {}).get("uid") != STYLE.datasource_uid:
            yield LintFinding("datasource", f"{title}, variable {variable['name']}", _BY_VARIABLE)
    for annotation in dashboard["annotations"]["list"]:
        if annotation["datasource"].get("type") == PLUGIN and annotation["datasource"]["uid"] != STYLE.datasource_uid:
            yield LintFinding("datasource", f"{title}, annotation {annotation['name']}", _BY_VARIABLE)
    several = {variable["name"] for variable in dashboard["templating"]["list"] if variable.get("multi")}
    for panel in panels_of(dashboard):
        if panel.get("repeat") and panel["repeat"] not in several:
            yield LintFinding(
                "repeat", f"{title}, {panel['title']}", "is not repeated by a variable with several values"
            )
    for number, times in Counter(panel.get("id") for panel in panels_of(dashboard)).items():
        if times > 1 or not number:
            yield LintFinding("panel-id", f"{title}, panel {number}", "several panels share this id, or it is missing")
    finest = [parse_duration(panel["interval"]) for panel in panels_of(dashboard) if "interval" in panel]
    if dashboard.get("refresh") and finest and parse_duration(dashboard["refresh"]) < min(finest):
        yield LintFinding("refresh", title, f"refreshes every {dashboard['refresh']}, more often than its data changes")
    yield from _overlaps(title, dashboard["panels"])
    for row in dashboard["panels"]:
        if row["type"] == "row" and row.get("collapsed"):
            yield from _overlaps(f"{title}, {row['title']}", row["panels"])


def _overlaps(where: str, panels: list[Json]) -> Iterator[LintFinding]:
    for panel in panels:
        grid = panel["gridPos"]
        if grid["x"] < 0 or grid["x"] + grid["w"] > 24 or grid["w"] < 1 or grid["h"] < 1:
            yield LintFinding("grid", f"{where}, {panel.get('title')}", "extends beyond the 24 columns of the grid")
    for one, other in combinations(panels, 2):
        a, b = one["gridPos"], other["gridPos"]
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        if not beside and a["y"] < b["y"] + b["h"] and b["y"] < a["y"] + a["h"]:
            yield LintFinding("grid", f"{where}, {one.get('title')}", f"overlaps {other.get('title')}")


# ---------------------------------------------------------------------------------------------------------- a panel

_BY_VARIABLE = f"names a fixed data source; use the page's variable, {STYLE.datasource_uid}"
_BAND = {"custom.fillBelowTo", "custom.fillOpacity", "custom.lineWidth"}
_LINES = {"custom.lineStyle", "custom.drawStyle"}
_MAY_OVERRIDE = {"color", "displayName", "links", "unit", *_BAND, *_LINES}


def _of_panel(panel: Json, where: str) -> Iterator[LintFinding]:
    if panel["type"] not in PANEL_TYPES:
        yield LintFinding("panel-type", where, f"is a {panel['type']}, which the preview cannot draw: {PANEL_TYPES}")
    if not panel.get("title"):
        yield LintFinding("title", where, "has no title")
    if not panel.get("description"):
        yield LintFinding("description", where, "has no description; say what it shows and how to read it")
    defaults = panel.get("fieldConfig", {}).get("defaults", {})
    if not defaults.get("unit"):
        yield LintFinding("unit", where, "has no unit; `none` is valid")
    if panel.get("transformations"):
        yield LintFinding("transformations", where, "transforms its data in the browser; do it in the query")
    for override in panel.get("fieldConfig", {}).get("overrides", []):
        ids = {each["id"] for each in override["properties"]}
        allowed = {"byName": _MAY_OVERRIDE, "byType": {"unit"}}.get(override["matcher"]["id"], set())
        if not ids <= allowed:
            yield LintFinding(
                "overrides",
                where,
                "overrides more than the unit of a type, or name, colour, links, unit, band and line of a named series",
            )
    yield from _check_insufficient(where, defaults)
    if panel["type"] == "text":
        return
    if panel.get("datasource", {}).get("uid") != STYLE.datasource_uid:
        yield LintFinding("datasource", where, _BY_VARIABLE)
    targets = panel.get("targets", [])
    if not targets:
        yield LintFinding("query", where, "has no query")
    for target in targets:
        if target.get("datasource", {}).get("uid") != STYLE.datasource_uid:
            yield LintFinding("datasource", f"{where}, query {target.get('refId')}", _BY_VARIABLE)
        if target.get("editorType") != "sql":
            yield LintFinding("editor", where, "would open in the plugin's query builder; set editorType to sql")
    for ref_id, times in Counter(target.get("refId") for target in targets).items():
        if times > 1 or not ref_id:
            yield LintFinding("ref-id", where, f"{times} queries have the refId {ref_id}")


def _check_insufficient(where: str, defaults: Json) -> Iterator[LintFinding]:
    """Check that the level `insufficient` has a word and a colour of its own."""
    for mapping in (each for each in defaults.get("mappings", []) if each["type"] == "value"):
        shown = {result["text"]: result.get("color") for result in mapping["options"].values()}
        if "stable" in shown and shown.get("insufficient") in (None, shown["stable"]):
            yield LintFinding("insufficient", where, "shows `insufficient` like `stable`, or not at all")


# ---------------------------------------------------------------------------------------------------------- a query


def _of_query(
    dashboard_query: DashboardQuery, known: Mapping[str, PanelQuery], variables: list[str]
) -> Iterator[LintFinding]:
    query = known.get(dashboard_query.sql)
    if query is None:
        yield LintFinding("named", dashboard_query.where, "is not a named query; define it in warehouse/panels")
    elif dashboard_query.panel is not None:
        interval = dashboard_query.panel.get("interval", "")
        if not interval or parse_duration(interval) < query.grain_s:
            yield LintFinding(
                "interval",
                dashboard_query.where,
                f"needs a minimum interval of {query.grain_s} s, and has {interval!r}",
            )
    if query is not None and query.format != dashboard_query.format:
        yield LintFinding(
            "format",
            dashboard_query.where,
            f"has format {dashboard_query.format}; {query.name} has format {query.format}",
        )
    rows = dashboard_query.kind in ("table", "variable", "annotation", "barchart")
    for rule, message in sql_faults(dashboard_query.sql, variables, by_time=dashboard_query.format == 0, rows=rows):
        yield LintFinding(rule, dashboard_query.where, message)
