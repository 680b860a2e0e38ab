"""What must hold of every dashboard, read from its JSON: what Grafana would accept and people would suffer from.

Source of the rules: grafana/dashboard-linter, and for SQL what the ClickHouse plugin does (`dashboards.macros`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from typing import NamedTuple

from barograph.contract import parse_duration

from dashboards.lint_links import link_faults
from dashboards.lint_sql import sql_faults
from dashboards.panels import PANEL_TYPES
from dashboards.parse import Asked, Json, asked_in, panels_of, variables_of
from dashboards.query import laid_out
from dashboards.style import PLUGIN, STYLE
from dashboards.variables import ORDER
from warehouse.panels import PanelQuery


class Finding(NamedTuple):
    """A rule that does not hold, where, and what to do."""

    rule: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message} ({self.rule})"


def lint(dashboards: Iterable[Json], queries: Iterable[PanelQuery]) -> list[Finding]:
    """List every rule that does not hold, dashboard by dashboard.

    Args:
        dashboards: all that are provisioned together, in Grafana's classic form.
        queries: the named queries that they may ask.
    """
    together = list(dashboards)
    known = {laid_out(query.sql): query for query in queries}
    found = [*_repeated("dashboard-uid", "uid", together), *_repeated("dashboard-title", "title", together)]
    for dashboard in together:
        found += _of_page(dashboard)
        for panel in panels_of(dashboard):
            found += _of_panel(panel, f"{dashboard['title']}, {panel.get('title') or panel.get('id')}")
        for asked in asked_in(dashboard):
            found += _of_query(asked, known, variables_of(dashboard))
        found += [Finding(rule, where, text) for rule, where, text in link_faults(dashboard, together, known)]
    return found


def _repeated(rule: str, member: str, dashboards: list[Json]) -> Iterator[Finding]:
    for value, times in Counter(dashboard.get(member) for dashboard in dashboards).items():
        if times > 1 or not value:
            yield Finding(rule, str(value), f"{times} dashboards have this {member}: Grafana would stop provisioning")


# ----------------------------------------------------------------------------------------------------------- a page


def _of_page(dashboard: Json) -> Iterator[Finding]:
    title = dashboard["title"]
    if dashboard.get("graphTooltip") != 1:
        yield Finding("crosshair", title, "panels do not share the crosshair; set graphTooltip to 1")
    variables = variables_of(dashboard)
    if variables != [name for name in ORDER if name in variables]:
        yield Finding("variable-order", title, f"variables are {variables}; their order is {list(ORDER)}")
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query" and variable.get("datasource", {}).get("uid") != STYLE.datasource_uid:
            yield Finding("datasource", f"{title}, variable {variable['name']}", _BY_VARIABLE)
    for annotation in dashboard["annotations"]["list"]:
        if annotation["datasource"].get("type") == PLUGIN and annotation["datasource"]["uid"] != STYLE.datasource_uid:
            yield Finding("datasource", f"{title}, annotation {annotation['name']}", _BY_VARIABLE)
    for number, times in Counter(panel.get("id") for panel in panels_of(dashboard)).items():
        if times > 1 or not number:
            yield Finding("panel-id", f"{title}, panel {number}", "several panels have this id, or none")
    finest = [parse_duration(panel["interval"]) for panel in panels_of(dashboard) if "interval" in panel]
    if dashboard.get("refresh") and finest and parse_duration(dashboard["refresh"]) < min(finest):
        yield Finding("refresh", title, f"is read anew every {dashboard['refresh']}, more often than anything changes")
    yield from _overlaps(title, dashboard["panels"])
    for row in dashboard["panels"]:
        if row["type"] == "row" and row.get("collapsed"):
            yield from _overlaps(f"{title}, {row['title']}", row["panels"])


def _overlaps(where: str, panels: list[Json]) -> Iterator[Finding]:
    for panel in panels:
        grid = panel["gridPos"]
        if grid["x"] < 0 or grid["x"] + grid["w"] > 24 or grid["w"] < 1 or grid["h"] < 1:
            yield Finding("grid", f"{where}, {panel.get('title')}", "reaches beyond the 24 columns of the grid")
    for one, other in combinations(panels, 2):
        a, b = one["gridPos"], other["gridPos"]
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        if not beside and a["y"] < b["y"] + b["h"] and b["y"] < a["y"] + a["h"]:
            yield Finding("grid", f"{where}, {one.get('title')}", f"lies over {other.get('title')}")


# ---------------------------------------------------------------------------------------------------------- a panel

_BY_VARIABLE = f"names a data source; use the page's variable, {STYLE.datasource_uid}"
_MAY_OVERRIDE = {"color", "unit"}


def _of_panel(panel: Json, where: str) -> Iterator[Finding]:
    if panel["type"] not in PANEL_TYPES:
        yield Finding("panel-type", where, f"is a {panel['type']}, which the preview cannot draw: {PANEL_TYPES}")
    if not panel.get("title"):
        yield Finding("title", where, "has no title")
    if not panel.get("description"):
        yield Finding("description", where, "has no description: what it shows, and how to read it")
    defaults = panel.get("fieldConfig", {}).get("defaults", {})
    if not defaults.get("unit"):
        yield Finding("unit", where, "has no unit; `none` is one")
    if panel.get("transformations"):
        yield Finding("transformations", where, "changes its data in the browser; write it into the query")
    for override in panel.get("fieldConfig", {}).get("overrides", []):
        ids = {each["id"] for each in override["properties"]}
        if override["matcher"]["id"] != "byName" or not ids <= _MAY_OVERRIDE:
            yield Finding("overrides", where, "overrides more than colour and unit of a series by its name")
    yield from _healthy_looking(where, defaults)
    if panel["type"] == "text":
        return
    if panel.get("datasource", {}).get("uid") != STYLE.datasource_uid:
        yield Finding("datasource", where, _BY_VARIABLE)
    targets = panel.get("targets", [])
    if not targets:
        yield Finding("query", where, "asks nothing")
    for target in targets:
        if target.get("datasource", {}).get("uid") != STYLE.datasource_uid:
            yield Finding("datasource", f"{where}, query {target.get('refId')}", _BY_VARIABLE)
        if target.get("editorType") != "sql":
            yield Finding("editor", where, "would open in the plugin's builder; set editorType to sql")
    for ref_id, times in Counter(target.get("refId") for target in targets).items():
        if times > 1 or not ref_id:
            yield Finding("ref-id", where, f"{times} queries have the refId {ref_id}")


def _healthy_looking(where: str, defaults: Json) -> Iterator[Finding]:
    """Where a level is shown, the one of too little data has a word and a colour that mean nothing else."""
    for mapping in defaults.get("mappings", []):
        shown = {result["text"]: result.get("color") for result in mapping["options"].values()}
        if "stable" in shown and shown.get("insufficient") in (None, shown["stable"]):
            yield Finding("insufficient", where, "shows `insufficient` as it shows health, or not at all")


# ---------------------------------------------------------------------------------------------------------- a query


def _of_query(asked: Asked, known: Mapping[str, PanelQuery], variables: list[str]) -> Iterator[Finding]:
    query = known.get(asked.sql)
    if query is None:
        yield Finding("named", asked.where, "is no named query; write it in warehouse/panels")
    elif asked.panel is not None:
        interval = asked.panel.get("interval", "")
        if not interval or parse_duration(interval) < query.grain_s:
            yield Finding(
                "interval", asked.where, f"needs a minimum interval of {query.grain_s} s, and has {interval!r}"
            )
    if query is not None and query.format != asked.format:
        yield Finding("format", asked.where, f"has the format {asked.format}; {query.name} is of {query.format}")
    rows = asked.kind in ("table", "variable", "annotation", "barchart")
    for rule, message in sql_faults(asked.sql, variables, by_time=asked.format == 0, rows=rows):
        yield Finding(rule, asked.where, message)
