"""Lint rules for dashboards: mistakes that Grafana accepts and users suffer from.

Source of the rules: grafana/dashboard-linter, and for SQL what the ClickHouse plugin does (`dashboards.macros`).
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from barograph_server.dashboards.macros import MACROS, regions, without_comments
from barograph_server.dashboards.parse import Json, panels_of
from barograph_server.dashboards.query import dedent_sql
from barograph_server.dashboards.style import PLUGIN, STYLE
from barograph_server.warehouse.panels import PanelQuery

KNOWN_MACROS = MACROS.keys() | {"conditionalAll", "from", "to", "interval", "interval_ms"}
"""Those of the plugin and those of the browser, without `$__`."""


class DashboardQuery(NamedTuple):
    """A query in a dashboard."""

    where: str
    kind: str
    """`variable`, `annotation`, or the type of the panel."""
    sql: str
    format: int
    panel: Json | None


def variables_of(dashboard: Json) -> list[str]:
    """The names of the variables, in order."""
    return [variable["name"] for variable in dashboard["templating"]["list"]]


def queries_in(dashboard: Json) -> Iterator[DashboardQuery]:
    """Every ClickHouse query of a dashboard: of variables, annotations and panels."""
    title = dashboard["title"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            where = f"{title}, variable {variable['name']}"
            yield DashboardQuery(where, "variable", variable["query"]["rawSql"], 1, None)
    for annotation in dashboard["annotations"]["list"]:
        target = annotation.get("target", {})
        if "rawSql" in target:
            where = f"{title}, annotation {annotation['name']}"
            yield DashboardQuery(where, "annotation", target["rawSql"], target.get("format", 0), None)
    for panel in panels_of(dashboard):
        for target in panel.get("targets", []):
            where = f"{title}, {panel.get('title')}, query {target.get('refId')}"
            yield DashboardQuery(where, panel["type"], target.get("rawSql", ""), target.get("format", 0), panel)


def macros_of(sql: str) -> list[str]:
    """List the macros outside comments and quotes, in order, without `$__`."""
    sql = without_comments(sql)
    quoted = {at for start, end, kind in regions(sql) if kind == "quoted" for at in range(start, end)}
    return [match[1] for match in re.finditer(r"\$__(\w+)", sql) if match.start() not in quoted]


class LintFinding(NamedTuple):
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


Fault = tuple[str, str]
"""Rule and message."""

TIME_MACROS = frozenset(
    {"timeFilter", "timeFilter_ms", "dateFilter", "dateTimeFilter", "dt", "timeFrom", "timeTo"}
    | {"fromTime", "toTime", "fromTime_ms", "toTime_ms"}
)
RAW = ("predictions", "labels", "all_predictions", "labelled_predictions", "latest_labels", "duplicates")
"""Tables and views with one row per event."""

_NO_RANGE = re.compile(r"/\* no range: \S.*?\*/")
_VARIABLE = re.compile(r"\$(?!__)(\w+)|\$\{(?!__)(\w+)(?::(\w+))?\}|\[\[(\w+)")
_SAFE = re.compile(r"decodeURLComponent\('\$\{(\w+):percentencode\}'\)")
_WHETHER_ALL = re.compile(r"(?<=,) \$(?!__)(\w+)(?=\))")
_FROM_RAW = re.compile(rf"\b(?:FROM|JOIN)\s+(?:{'|'.join(RAW)})\b")


def sql_faults(sql: str, variables: Collection[str], *, by_time: bool, rows: bool) -> Iterator[Fault]:
    """Yield the rules that a query violates; one that shows every row (`rows`) needs a LIMIT."""
    bare = without_comments(sql)
    named = macros_of(sql)
    for name in named:
        if name not in KNOWN_MACROS:
            yield "macro", f"$__{name} is unknown to Grafana and to plugin 4.20"
    if any("$__" in sql[start:end] for start, end, kind in regions(sql) if kind == "quoted"):
        yield "quoted-macro", "a macro is inside quotes, where it is not expanded"
    if not TIME_MACROS & set(named) and not _NO_RANGE.search(sql):
        yield "time-filter", "has no condition on the time range; add one, or give the reason in /* no range: … */"
    if re.search(r"\bSELECT\s+(?:DISTINCT\s+)?(?:\w+\.)?\*", bare):
        yield "select-all", "selects every column; name the columns"
    if by_time and not re.search(r"\bORDER BY time\b[^()]*$", bare):
        yield "order", "is a time series without ORDER BY time"
    if rows and not re.search(r"\bLIMIT \d+\s*$", bare.rstrip()):
        yield "limit", "returns rows without a LIMIT"
    if _FROM_RAW.search(bare) and ("INTERVAL 1 HOUR" not in bare or "timeFilter" in named):
        yield "raw", "reads raw events over the whole range; read one hour of them, or aggregated tables"
    yield from _unsafe(sql, variables)


def _unsafe(sql: str, variables: Collection[str]) -> Iterator[Fault]:
    """Check quoting: variables appear as decodeURLComponent('${name:percentencode}'), or bare to test for All."""
    for match in (*_SAFE.finditer(sql), *_WHETHER_ALL.finditer(sql)):
        if match[1] not in variables:
            yield "variable", f"${match[1]} is not a variable of the page"
    rest = _WHETHER_ALL.sub("", _SAFE.sub("", sql))
    for match in _VARIABLE.finditer(rest):
        name = match[1] or match[2] or match[4]
        yield "quoting", f"${name} reaches ClickHouse unescaped; write decodeURLComponent('${{{name}:percentencode}}')"


LinkFault = tuple[str, str, str]
"""Rule, location, and message."""

_TARGET = re.compile(r"/d/([\w-]+)")
_SET = re.compile(r"var-(\w+)=|\$\{(\w+):queryparam\}")
_COLUMN = re.compile(r"\$\{__data\.fields(?:\.(\w+)|\[\"([^\"]+)\"\])(?::(\w+))?\}")
_LABEL = re.compile(r"\$\{__field\.labels\.(\w+)(?::(\w+))?\}")


def link_faults(dashboard: Json, together: Sequence[Json], known: Mapping[str, PanelQuery]) -> Iterator[LinkFault]:
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
            if url == "${__value.raw}" and column is not None:
                continue  # an address outside of Grafana
            yield from _check_target(url, pages, where)
            if "${__url_time_range}" not in url or "${datasource:queryparam}" not in url:
                yield "link-carries", where, "does not carry the time range and the data source"
            yield from _check_variables(url, dashboard, pages, where)
            yield from _check_columns(url, column, panel, known, where)


def _links(panel: Json) -> Iterator[tuple[Json, str | None]]:
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


def _check_target(url: str, pages: Mapping[str, Json], where: str) -> Iterator[LinkFault]:
    match = _TARGET.match(url)
    if match is None or match[1] not in pages:
        yield "link-target", where, f"leads to {url.partition('?')[0]}, which is not one of the pages"


def _check_variables(url: str, dashboard: Json, pages: Mapping[str, Json], where: str) -> Iterator[LinkFault]:
    """Check that a link sets only variables of the target page and passes on only variables of this page."""
    match = _TARGET.match(url)
    if match is None or match[1] not in pages:
        return
    here, there = variables_of(dashboard), variables_of(pages[match[1]])
    for setting in _SET.finditer(url):
        name = setting[1] or setting[2]
        if name not in there or (setting[2] and name not in here):
            message = f"sets {name}, which is not a variable of the target page, or not of this page"
            yield "link-variable", where, message


def _check_columns(
    url: str, column: str | None, panel: Json, known: Mapping[str, PanelQuery], where: str
) -> Iterator[LinkFault]:
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
