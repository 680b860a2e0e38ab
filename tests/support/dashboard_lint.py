"""Lint rules for dashboard JSON: mistakes that Grafana accepts and users suffer from.

Source of the rules: grafana/dashboard-linter, and for SQL what the ClickHouse plugin does (`dashboards.macros`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from typing import NamedTuple

from barograph.contract import parse_duration

from dashboards.parse import DashboardQuery, Json, panels_of, queries_in, variables_of
from dashboards.query import dedent_sql
from dashboards.style import PLUGIN, STYLE
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


def _of_panel(panel: Json, where: str) -> Iterator[LintFinding]:
    for member in ("title", "description"):
        if not panel.get(member):
            yield LintFinding(member, where, f"has no {member}")
    if panel["type"] == "text":
        return
    sources = [panel, *panel.get("targets", [])]
    if any(each.get("datasource", {}).get("uid") != STYLE.datasource_uid for each in sources):
        yield LintFinding("datasource", where, _BY_VARIABLE)
    for ref_id, times in Counter(target.get("refId") for target in panel.get("targets", [])).items():
        if times > 1 or not ref_id:
            yield LintFinding("ref-id", where, f"{times} queries have the refId {ref_id}")


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
