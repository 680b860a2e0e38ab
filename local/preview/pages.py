"""Extracts panels, variables with their options, and annotations from dashboard JSON."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from barograph_server.dashboards.macros import ALL, TimeRange, Value, expand, go_duration_s, interval_ms
from barograph_server.dashboards.parse import Json, panels_of
from barograph_server.warehouse.client import QueryResult

MIN_INTERVAL_MS = 1_000
POINTS = 600
"""Approximate width of a panel in points; determines `$__interval`."""

QueryRunner = Callable[[str], QueryResult]
"""Runs one query."""
Variables = Mapping[str, Value]


class PageError(LookupError):
    """The requested dashboard or panel does not exist; the text names it."""


@dataclass(frozen=True)
class Option:
    text: str
    value: str


def panel_of(page: Json, panel_id: int) -> Json:
    """Find a panel, including panels in folded rows.

    Raises:
        PageError: no panel has this id.
    """
    for panel in panels_of(page):
        if panel["id"] == panel_id:
            return panel
    raise PageError(f"The dashboard {page['title']} has no panel {panel_id}.")


def panel_answers(panel: Json, time_range: TimeRange, selected: Variables, run_query: QueryRunner) -> list[QueryResult]:
    """Run the queries of a panel, except disabled ones."""
    least_ms = (go_duration_s(panel.get("interval", "")) or 0) * 1000 or MIN_INTERVAL_MS
    step_ms = interval_ms(time_range.to_ms - time_range.from_ms, POINTS, least_ms)
    return [
        run_query(expand(target["rawSql"], time_range, selected, interval_ms=step_ms))
        for target in panel.get("targets", ())
        if not target.get("hide")
    ]


def resolve(
    page: Json, time_range: TimeRange, requested: Variables, run_query: QueryRunner
) -> tuple[list[dict[str, Any]], Variables]:
    """Determine the options and the value of each variable, in order. A requested value is used if it is an option.

    Returns:
        The variables as the page shows them, and all values by name.
    """
    shown: list[dict[str, Any]] = []
    values: dict[str, Value] = {}
    for variable in page["templating"]["list"]:
        name = variable["name"]
        options = options_of(variable, time_range, values, run_query)
        values[name] = _choose(variable, options, requested.get(name))
        shown.append(
            {
                "name": name,
                "label": variable.get("label") or name,
                "hide": variable.get("hide", 0),
                "multi": bool(variable.get("multi")),
                "options": [{"text": option.text, "value": option.value} for option in options],
            }
        )
    return shown, values


def options_of(variable: Json, time_range: TimeRange, selected: Variables, run_query: QueryRunner) -> list[Option]:
    kind = variable["type"]
    if kind == "query":
        sql = expand(variable["query"]["rawSql"], time_range, selected, interval_ms=MIN_INTERVAL_MS)
        columns = run_query(sql).columns
        texts = [str(text) for text in columns[0]] if columns else []
        matches = [Option(text, str(value)) for text, value in zip(texts, columns[-1] if columns else [], strict=True)]
    elif kind == "datasource":
        return [Option("ClickHouse", "clickhouse")]
    else:
        matches = [Option(str(each["text"]), str(each["value"])) for each in variable.get("options", ())]
    matches = [option for option in matches if option.value != ALL]
    return [Option("All", ALL), *matches] if variable.get("includeAll") else matches


def _choose(variable: Json, options: Sequence[Option], requested: Value | None) -> Value:
    current = variable.get("current", {}).get("value", ())
    if variable["type"] in ("constant", "textbox"):
        return requested or current or str(variable.get("query", ""))
    known = [option.value for option in options]
    for candidate in (requested or (), current or (), known[:1]):
        valid = [value for value in ([candidate] if isinstance(candidate, str) else candidate) if value in known]
        if valid and variable.get("multi"):
            # If All and another value are selected, the other value wins.
            return tuple([value for value in valid if value != ALL] or valid)
        if valid:
            return valid[0]
    return ""


def annotations_of(
    page: Json, time_range: TimeRange, selected: Variables, run_query: QueryRunner
) -> list[dict[str, Any]]:
    """Rows of the dashboard's annotation queries in a range, with their colours."""
    matches = []
    for annotation in page.get("annotations", {}).get("list", ()):
        sql = annotation.get("target", {}).get("rawSql")
        if not sql or not annotation.get("enable", True):
            continue
        answer = run_query(expand(sql, time_range, selected, interval_ms=MIN_INTERVAL_MS))
        rows = zip(*answer.columns, strict=True)
        matches += [
            {
                "name": annotation["name"],
                "color": annotation.get("iconColor", "blue"),
                **dict(zip(answer.names, row, strict=True)),
            }
            for row in rows
        ]
    return matches
