"""Lint rules for dashboards: mistakes that Grafana accepts and users suffer from.

`dashboards.panels` and `dashboards.layout` guarantee the rest for every panel: its data source, grain and place.
Source of the rules: grafana/dashboard-linter, and for SQL what the ClickHouse plugin does (`dashboards.macros`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from dashboards.parse import Json, panels_of, queries_in, variables_of
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
    """List every violated rule of dashboards that are provisioned together, and may use these named queries."""
    together = list(dashboards)
    known = {dedent_sql(query.sql): query for query in queries}
    findings: list[LintFinding] = []
    for dashboard in together:
        findings += _check_page(dashboard)
        for used in queries_in(dashboard):
            if used.sql not in known:
                findings.append(LintFinding("named", used.where, "is not a named query; define it in warehouse/panels"))
            has_rows = used.kind in ("table", "variable", "annotation", "barchart")
            faults = sql_faults(used.sql, variables_of(dashboard), by_time=used.format == 0, rows=has_rows)
            findings += [LintFinding(rule, used.where, message) for rule, message in faults]
        findings += [LintFinding(*fault) for fault in link_faults(dashboard, together, known)]
    return findings


def _check_page(dashboard: Json) -> Iterator[LintFinding]:
    title = dashboard["title"]
    fixed = f"names a fixed data source; use the page's variable, {STYLE.datasource_uid}"
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query" and variable.get("datasource", {}).get("uid") != STYLE.datasource_uid:
            yield LintFinding("datasource", f"{title}, variable {variable['name']}", fixed)
    for annotation in dashboard["annotations"]["list"]:
        if annotation["datasource"].get("type") == PLUGIN and annotation["datasource"]["uid"] != STYLE.datasource_uid:
            yield LintFinding("datasource", f"{title}, annotation {annotation['name']}", fixed)
    several = {variable["name"] for variable in dashboard["templating"]["list"] if variable.get("multi")}
    for panel in panels_of(dashboard):
        where = f"{title}, {panel.get('title') or panel.get('id')}"
        for member in ("title", "description"):
            if not panel.get(member):
                yield LintFinding(member, where, f"has no {member}")
        if panel.get("repeat") and panel["repeat"] not in several:
            yield LintFinding("repeat", where, "is not repeated by a variable with several values")
