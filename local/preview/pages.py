"""One dashboard's JSON, asked for what the page needs of it: panels, variables with their options, annotations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboards.durations import go_duration_s, interval_ms
from dashboards.macros import ALL, TimeRange, Value, expand
from dashboards.parse import Json, panels_of
from warehouse.client import Answer

MIN_INTERVAL_MS = 1_000
POINTS = 600
"""About as many points as a panel is wide: sets `$__interval`."""

Ask = Callable[[str], Answer]
"""Runs one query."""
Variables = Mapping[str, Value]


class PageError(LookupError):
    """The dashboard or panel that was asked for does not exist; the text names it."""


@dataclass(frozen=True)
class Option:
    """One value that a variable can take."""

    text: str
    value: str


def panel_of(page: Json, panel_id: int) -> Json:
    """Find a panel, inside closed rows too.

    Raises:
        PageError: there is none of this id.
    """
    for panel in panels_of(page):
        if panel["id"] == panel_id:
            return panel
    raise PageError(f"The dashboard {page['title']} has no panel {panel_id}.")


def panel_answers(panel: Json, between: TimeRange, chosen: Variables, ask: Ask) -> list[Answer]:
    """Run the queries of a panel, those that are switched off left out."""
    least_ms = (go_duration_s(panel.get("interval", "")) or 0) * 1000 or MIN_INTERVAL_MS
    step_ms = interval_ms(between.to_ms - between.from_ms, POINTS, least_ms)
    return [
        ask(expand(target["rawSql"], between, chosen, interval_ms=step_ms))
        for target in panel.get("targets", ())
        if not target.get("hide")
    ]


def resolve(page: Json, between: TimeRange, given: Variables, ask: Ask) -> tuple[list[dict[str, Any]], Variables]:
    """Give each variable, in order, its options and a value: the one that was given where it is one of them.

    Returns:
        What the page shows of the variables, and all values by name.
    """
    shown: list[dict[str, Any]] = []
    values: dict[str, Value] = {}
    for variable in page["templating"]["list"]:
        name = variable["name"]
        options = options_of(variable, between, values, ask)
        values[name] = _choose(variable, options, given.get(name))
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


def options_of(variable: Json, between: TimeRange, chosen: Variables, ask: Ask) -> list[Option]:
    """The options of a variable: what its query gives, or what it lists."""
    kind = variable["type"]
    if kind == "query":
        sql = expand(variable["query"]["rawSql"], between, chosen, interval_ms=MIN_INTERVAL_MS)
        columns = ask(sql).columns
        texts = [str(text) for text in columns[0]] if columns else []
        found = [Option(text, str(value)) for text, value in zip(texts, columns[-1] if columns else [], strict=True)]
    elif kind == "datasource":
        return [Option("ClickHouse", "clickhouse")]
    else:
        found = [Option(str(each["text"]), str(each["value"])) for each in variable.get("options", ())]
    found = [option for option in found if option.value != ALL]
    return [Option("All", ALL), *found] if variable.get("includeAll") else found


def _choose(variable: Json, options: Sequence[Option], given: Value | None) -> Value:
    current = variable.get("current", {}).get("value", ())
    if variable["type"] in ("constant", "textbox"):
        return given or current or str(variable.get("query", ""))
    known = [option.value for option in options]
    for wanted in (given or (), current or (), known[:1]):
        kept = [value for value in ([wanted] if isinstance(wanted, str) else wanted) if value in known]
        if kept and variable.get("multi"):
            # Once a value is picked beside All, it is the value that is meant.
            return tuple([value for value in kept if value != ALL] or kept)
        if kept:
            return kept[0]
    return ""


def annotations_of(page: Json, between: TimeRange, chosen: Variables, ask: Ask) -> list[dict[str, Any]]:
    """What happened in a range: rows of the dashboard's annotation queries, with the colour of each."""
    found = []
    for annotation in page.get("annotations", {}).get("list", ()):
        sql = annotation.get("target", {}).get("rawSql")
        if not sql or not annotation.get("enable", True):
            continue
        answer = ask(expand(sql, between, chosen, interval_ms=MIN_INTERVAL_MS))
        rows = zip(*answer.columns, strict=True)
        found += [
            {
                "name": annotation["name"],
                "color": annotation.get("iconColor", "blue"),
                **dict(zip(answer.names, row, strict=True)),
            }
            for row in rows
        ]
    return found
