"""Variables, panels and annotations of a dashboard's JSON, with queries answered by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from barograph_server.dashboards.macros import ALL, TimeRange
from barograph_server.local.preview.pages import PageError, annotations_of, panel_answers, panel_of, resolve
from barograph_server.warehouse.client import QueryResult

HOUR_MS = 3_600_000
BETWEEN = TimeRange(0, 24 * HOUR_MS)
PAGE: dict[str, Any] = {
    "uid": "p",
    "title": "Page",
    "templating": {
        "list": [
            {"name": "datasource", "type": "datasource"},
            {"name": "model", "type": "query", "query": {"rawSql": "MODELS"}},
            {
                "name": "field",
                "type": "query",
                "multi": True,
                "includeAll": True,
                "current": {"value": [ALL]},
                "query": {"rawSql": "FIELDS ${model:singlequote}"},
            },
            {
                "name": "window",
                "type": "custom",
                "options": [{"text": "a day", "value": "1d"}, {"text": "a week", "value": "7d"}],
            },
        ]
    },
    "annotations": {
        "list": [
            {"name": "built in", "builtIn": 1},
            {"name": "deployments", "iconColor": "blue", "target": {"rawSql": "NOTES"}},
            {"name": "off", "enable": False, "target": {"rawSql": "NEVER"}},
        ]
    },
    "panels": [{"id": 2, "type": "row", "collapsed": True, "panels": [{"id": 3}]}],
}  # fmt: skip


class Desk:
    def __init__(self, **answers: list[list[Any]]) -> None:
        self.answers, self.queries = answers, list[str]()

    def __call__(self, sql: str) -> QueryResult:
        self.queries.append(sql)
        columns = self.answers.get(sql.split()[0], [])
        names = ("time", "text") if len(columns) == 2 else ("x",) * len(columns)
        return QueryResult(names, ("String",) * len(columns), columns)


def selected(requested: dict[str, Any], **answers: list[list[Any]]) -> tuple[dict[str, Any], Desk]:
    desk = Desk(**answers)
    _, values = resolve(PAGE, BETWEEN, requested, desk)
    return dict(values), desk


def test_each_variable_has_a_value_that_later_queries_use() -> None:
    values, desk = selected({}, MODELS=[["it's", "b"]], FIELDS=[["x", "y"]])
    assert values == {"datasource": "clickhouse", "model": "it's", "field": (ALL,), "window": "1d"}
    assert desk.queries == ["MODELS", r"FIELDS 'it\'s'"]


def test_what_was_given_is_taken_where_it_is_an_option() -> None:
    requested = {"model": "b", "field": ("y", ALL), "window": "1h"}
    values, _ = selected(requested, MODELS=[["a", "b"]], FIELDS=[["x", "y"]])
    assert (values["model"], values["field"], values["window"]) == ("b", ("y",), "1d")
    assert selected({"model": "b"})[0]["model"] == "", "there are no models"
    shown, _ = resolve(PAGE, BETWEEN, {}, Desk(MODELS=[["Model A"], ["a"]]))
    assert shown[1]["options"] == [{"text": "Model A", "value": "a"}]


def test_a_step_is_the_one_that_grafana_chooses() -> None:
    for hours, least, expected_s in ((1, None, 5), (24, None, 120), (24, "1h", 3600), (24 * 180, "1m", 21_600)):
        desk = Desk()
        panel = {"targets": [{"rawSql": "A $__interval_s"}, {"rawSql": "B", "hide": True}]}
        panel_answers(panel | ({"interval": least} if least else {}), TimeRange(0, hours * HOUR_MS), {}, desk)
        assert desk.queries == [f"A {expected_s}"]


def test_panels_in_closed_rows_are_found_and_others_are_named() -> None:
    assert panel_of(PAGE, 3) == {"id": 3}
    with pytest.raises(PageError, match="The dashboard Page has no panel 9"):
        panel_of(PAGE, 9)


def test_annotations_have_a_kind_and_a_colour() -> None:
    at = datetime(2026, 11, 3, tzinfo=UTC)
    matches = annotations_of(PAGE, BETWEEN, {}, Desk(NOTES=[[at], ["version 4"]]))
    assert matches == [{"name": "deployments", "color": "blue", "time": at, "text": "version 4"}]
