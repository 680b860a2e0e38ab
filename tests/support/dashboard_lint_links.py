"""Lint rules for links: the target page exists, and the link carries the range and valid variables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from dashboards.parse import Json, panels_of, variables_of
from warehouse.panels import PanelQuery

Fault = tuple[str, str, str]
"""Rule, location, and message."""

_TARGET = re.compile(r"/d/([\w-]+)")
_SET = re.compile(r"var-(\w+)=|\$\{(\w+):queryparam\}")
_COLUMN = re.compile(r"\$\{__data\.fields(?:\.(\w+)|\[\"([^\"]+)\"\])(?::(\w+))?\}")
_LABEL = re.compile(r"\$\{__field\.labels\.(\w+)(?::(\w+))?\}")


def link_faults(dashboard: Json, together: Sequence[Json], known: Mapping[str, PanelQuery]) -> Iterator[Fault]:
    """Yield the links of a dashboard that lead nowhere or drop the range or a variable."""
    pages = {other["uid"]: other for other in together}
    title = dashboard["title"]
    for link in dashboard.get("links", []):
        where = f"{title}, link {link['title']}"
        yield from _check_target(link["url"], pages, where)
        if not (link.get("includeVars") and link.get("keepTime")):
            yield "link-carries", where, "does not carry the time range and the variables"
    for panel in panels_of(dashboard):
        for link, column in _links(panel):
            where = f"{title}, {panel.get('title')}, link {link['title']}"
            url = link["url"]
            yield from _check_target(url, pages, where)
            if "${__url_time_range}" not in url or "${datasource:queryparam}" not in url:
                yield "link-carries", where, "does not carry the time range and the data source"
            yield from _check_variables(url, dashboard, pages, where)
            yield from _check_columns(url, column, panel, known, where)


def _links(panel: Json) -> Iterator[tuple[Json, str | None]]:
    """Yield the links of a panel, each with the column that has it; None for all columns and for the title."""
    for link in panel.get("links", []):
        yield link, None
    config = panel.get("fieldConfig", {})
    for link in config.get("defaults", {}).get("links", []):
        yield link, None
    for override in config.get("overrides", []):
        for each in override["properties"]:
            if each["id"] == "links":
                for link in each["value"]:
                    yield link, override["matcher"]["options"]


def _check_target(url: str, pages: Mapping[str, Json], where: str) -> Iterator[Fault]:
    match = _TARGET.match(url)
    if match is None or match[1] not in pages:
        yield "link-target", where, f"leads to {url.partition('?')[0]}, which is not one of the pages"


def _check_variables(url: str, dashboard: Json, pages: Mapping[str, Json], where: str) -> Iterator[Fault]:
    """Check that a link sets only variables of the target page and passes on only variables of this page."""
    match = _TARGET.match(url)
    if match is None or match[1] not in pages:
        return
    here, there = variables_of(dashboard), variables_of(pages[match[1]])
    for setting in _SET.finditer(url):
        name = setting[1] or setting[2]
        if name not in there or (setting[2] and name not in here):
            yield (
                "link-variable",
                where,
                f"sets {name}, which is not a variable of the target page, or not of this page",
            )


def _check_columns(
    url: str, column: str | None, panel: Json, known: Mapping[str, PanelQuery], where: str
) -> Iterator[Fault]:
    """Check that a link takes only text columns, and labels that every series with the link has."""
    named = [known.get(target.get("rawSql", "")) for target in panel.get("targets", [])]
    queries = [query for query in named if query is not None]
    if not queries or len(queries) < len(named):
        return  # the columns of an unnamed query are unknown
    columns = {column.name: column.kind for query in queries for column in query.columns}
    for match in (*_COLUMN.finditer(url), *_LABEL.finditer(url)):
        name = next(group for group in match.groups()[:-1] if group)
        if columns.get(name) != "text":
            yield "link-column", where, f"takes {name}, which is not a text column of the panel's queries"
        if match.groups()[-1] != "percentencode":
            yield "link-column", where, f"puts {name} into the URL unescaped; write {name}:percentencode"
    linked = [query for query in queries if column is None or column in query.names]
    for match in _LABEL.finditer(url):
        if not all(match[1] in query.names for query in linked):
            yield "link-column", where, f"takes {match[1]}, which is not a label of each series that has the link"
