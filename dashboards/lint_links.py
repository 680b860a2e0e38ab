"""What must hold of links: they lead to pages that there are, and carry the range and what is known there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from dashboards.parse import Json, panels_of, variables_of
from warehouse.panels import PanelQuery

Fault = tuple[str, str, str]
"""A rule, where, and what is wrong."""

_TARGET = re.compile(r"/d/([\w-]+)")
_SET = re.compile(r"var-(\w+)=|\$\{(\w+):queryparam\}")
_COLUMN = re.compile(r"\$\{__data\.fields(?:\.(\w+)|\[\"([^\"]+)\"\])(?::(\w+))?\}")
_LABEL = re.compile(r"\$\{__field\.labels\.(\w+)(?::(\w+))?\}")


def link_faults(dashboard: Json, together: Sequence[Json], known: Mapping[str, PanelQuery]) -> Iterator[Fault]:
    """Name the links of a dashboard that lead nowhere, or forget the range or a choice."""
    pages = {other["uid"]: other for other in together}
    title = dashboard["title"]
    for link in dashboard.get("links", []):
        where = f"{title}, link {link['title']}"
        yield from _leads(link["url"], pages, where)
        if not (link.get("includeVars") and link.get("keepTime")):
            yield "link-carries", where, "does not carry the time range and the variables"
        if link.get("placement"):
            yield "link-shown", where, "is hidden in a menu"
    for panel in panels_of(dashboard):
        for link in panel.get("fieldConfig", {}).get("defaults", {}).get("links", []):
            where = f"{title}, {panel.get('title')}, link {link['title']}"
            url = link["url"]
            yield from _leads(url, pages, where)
            if "${__url_time_range}" not in url or "${datasource:queryparam}" not in url:
                yield "link-carries", where, "does not carry the time range and the data source"
            yield from _chosen(url, dashboard, pages, where)
            yield from _taken(url, panel, known, where)


def _leads(url: str, pages: Mapping[str, Json], where: str) -> Iterator[Fault]:
    found = _TARGET.match(url)
    if found is None or found[1] not in pages:
        yield "link-target", where, f"leads to {url.partition('?')[0]}, which is none of the pages"


def _chosen(url: str, dashboard: Json, pages: Mapping[str, Json], where: str) -> Iterator[Fault]:
    """What it sets must be a variable there; what it passes on must be one here too."""
    found = _TARGET.match(url)
    if found is None or found[1] not in pages:
        return
    here, there = variables_of(dashboard), variables_of(pages[found[1]])
    for setting in _SET.finditer(url):
        name = setting[1] or setting[2]
        if name not in there or (setting[2] and name not in here):
            yield "link-variable", where, f"sets {name}, which is no variable of that page, or of this one"


def _taken(url: str, panel: Json, known: Mapping[str, PanelQuery], where: str) -> Iterator[Fault]:
    """What it takes from a row or a series must be a column of the panel's queries."""
    asked = [known.get(target.get("rawSql", "")) for target in panel.get("targets", [])]
    queries = [query for query in asked if query is not None]
    if not queries or len(queries) < len(asked):
        return  # nobody knows the columns of a query without a name
    columns = {column.name: column.kind for query in queries for column in query.columns}
    for found in (*_COLUMN.finditer(url), *_LABEL.finditer(url)):
        name = next(group for group in found.groups()[:-1] if group)
        if columns.get(name) != "text":
            yield "link-column", where, f"takes {name}, which is no text of the panel's queries"
        if found.groups()[-1] != "percentencode":
            yield "link-column", where, f"puts {name} into the URL as it is; write {name}:percentencode"
