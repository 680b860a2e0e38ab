"""Each rule of the lint catches the fault that it is for, planted into a small page that has none."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from dashboards.style import PLUGIN
from tests.support.dashboard_lint import lint
from warehouse.panels import TABLE, TIME_SERIES, Column, PanelQuery

SOURCE = {"type": PLUGIN, "uid": "${datasource}"}
MODEL = "model = decodeURLComponent('${model:percentencode}')"
OVER_TIME = PanelQuery(
    "t.over_time",
    f"SELECT $__timeInterval(at) AS time, field, max(x) AS x FROM t WHERE {MODEL} AND $__timeFilter(at) "
    "GROUP BY time, field ORDER BY time",
    TIME_SERIES,
    (Column("time", "time"), Column("field", "text"), Column("x", "number")),
    60,
)
THRESHOLD = PanelQuery(
    "t.threshold",
    f"SELECT $__timeInterval(at) AS time, max(y) AS y FROM t WHERE {MODEL} AND $__timeFilter(at) "
    "GROUP BY time ORDER BY time",
    TIME_SERIES,
    (Column("time", "time"), Column("y", "number")),
    60,
)
ROWS = PanelQuery(
    "t.rows",
    f"SELECT field, x FROM t WHERE $__conditionalAll({MODEL}, $model) AND $__timeFilter(at) ORDER BY x LIMIT 10",
    TABLE,
    (Column("field", "text"), Column("x", "number")),
    60,
)
NAMES = PanelQuery(
    "t.names", "SELECT DISTINCT model FROM t LIMIT 10 /* no range: all */", TABLE, (Column("model", "text"),), 60
)
MARKS = PanelQuery(
    "t.marks",
    "SELECT at AS time, x AS text FROM t WHERE $__timeFilter(at) LIMIT 9",
    TABLE,
    (Column("time", "time"),),
    60,
)
OTHER = "/d/other?${__url_time_range}&${datasource:queryparam}&${model:queryparam}"
QUERIES = [OVER_TIME, THRESHOLD, ROWS, NAMES, MARKS]


def target(query: PanelQuery, ref_id: str = "A") -> dict[str, Any]:
    return {
        "refId": ref_id, "datasource": SOURCE, "editorType": "sql", "rawSql": query.sql, "format": query.format,
    }  # fmt: skip


def panel(number: int, kind: str, query: PanelQuery, x: int, link: str) -> dict[str, Any]:
    mapping = {"1": {"text": "stable", "color": "green"}, "2": {"text": "insufficient", "color": "purple"}}
    return {
        "id": number,
        "type": kind,
        "title": f"Panel {number}",
        "description": "What it shows.",
        "datasource": SOURCE,
        "interval": "1m",
        "gridPos": {"x": x, "y": 1, "w": 12, "h": 8},
        "targets": [target(query)],
        "fieldConfig": {
            "defaults": {
                "unit": "none",
                "mappings": [{"type": "value", "options": mapping}],
                "links": [
                    {
                        "title": "Down",
                        "url": f"{OTHER}&{link}",
                    }
                ],
            },
            "overrides": [
                {"matcher": {"id": "byName", "options": "x"}, "properties": [{"id": "unit", "value": "s"}]},
            ],
        },
        "options": {},
    }


def variable(name: str) -> dict[str, Any]:
    if name == "datasource":
        return {"name": name, "type": "datasource", "query": PLUGIN}
    return {"name": name, "type": "query", "datasource": SOURCE, "query": {"rawSql": NAMES.sql, "refId": "A"}}


def page(uid: str, *variables: str) -> dict[str, Any]:
    folded = panel(3, "table", ROWS, 0, "var-field=${__data.fields.field:percentencode}")
    return {
        "uid": uid,
        "title": f"The {uid}",
        "graphTooltip": 1,
        "refresh": "1m",
        "links": [{"title": "Up", "url": "/d/other", "includeVars": True, "keepTime": True}],
        "templating": {"list": [variable(name) for name in variables]},
        "annotations": {"list": [{"name": "Marks", "datasource": SOURCE, "target": target(MARKS)}]},
        "panels": [
            {"type": "row", "id": 100, "title": "Row", "gridPos": {"x": 0, "y": 0, "w": 24, "h": 1}, "panels": []},
            panel(1, "timeseries", OVER_TIME, 0, "var-field=${__field.labels.field:percentencode}"),
            panel(2, "table", ROWS, 12, 'var-field=${__data.fields["field"]:percentencode}'),
            {
                "type": "row", "id": 101, "title": "Folded", "collapsed": True,
                "gridPos": {"x": 0, "y": 9, "w": 24, "h": 1}, "panels": [folded],
            },
        ],
    }  # fmt: skip


def pages() -> list[dict[str, Any]]:
    return [page("one", "datasource", "model"), page("other", "datasource", "model", "field")]


def test_a_sound_page_has_no_findings() -> None:
    assert lint(pages(), QUERIES) == []


Plant = Callable[[dict[str, Any]], object]


def graph(page: dict[str, Any]) -> dict[str, Any]:
    return page["panels"][1]  # type: ignore[no-any-return]


def sql(text: str, *, rows: bool = False) -> Plant:
    """Put a query into a panel; that it is no named one is another finding."""
    return lambda page: page["panels"][2 if rows else 1]["targets"][0].update(rawSql=text)


def url(change: Callable[[str], str]) -> Plant:
    def plant(page: dict[str, Any]) -> None:
        link = graph(page)["fieldConfig"]["defaults"]["links"][0]
        link["url"] = change(link["url"])

    return plant


FAULTS: list[tuple[str, str, Plant]] = [
    ("dashboard-uid", "of another page", lambda page: page.update(uid="other")),
    ("dashboard-title", "of another page", lambda page: page.update(title="The other")),
    ("crosshair", "none", lambda page: page.update(graphTooltip=0)),
    ("refresh", "too often", lambda page: page.update(refresh="10s")),
    ("variable-order", "swapped", lambda page: page["templating"]["list"].reverse()),
    ("variable-order", "a strange one", lambda page: page["templating"]["list"].append(variable("colour"))),
    ("datasource", "of a panel", lambda page: graph(page).update(datasource={"type": PLUGIN, "uid": "barograph"})),
    ("datasource", "of a target", lambda page: graph(page)["targets"][0].update(datasource={"uid": "barograph"})),
    ("datasource", "of a folded panel", lambda page: page["panels"][3]["panels"][0].pop("datasource")),
    ("datasource", "of a variable", lambda page: page["templating"]["list"][1].update(datasource={"uid": "b"})),
    (
        "datasource",
        "of an annotation",
        lambda page: page["annotations"]["list"][0].update(datasource={"type": PLUGIN, "uid": "barograph"}),
    ),
    ("title", "none", lambda page: graph(page).update(title="")),
    ("description", "none", lambda page: graph(page).pop("description")),
    ("unit", "none", lambda page: graph(page)["fieldConfig"]["defaults"].pop("unit")),
    ("panel-id", "of another panel", lambda page: graph(page).update(id=2)),
    ("panel-id", "of a folded panel", lambda page: graph(page).update(id=3)),
    ("panel-id", "none", lambda page: graph(page).pop("id")),
    ("ref-id", "twice", lambda page: graph(page)["targets"].append(target(OVER_TIME))),
    ("query", "none", lambda page: graph(page).update(targets=[])),
    ("editor", "the builder", lambda page: graph(page)["targets"][0].pop("editorType")),
    ("grid", "too wide", lambda page: page["panels"][2]["gridPos"].update(w=13)),
    ("grid", "over another", lambda page: page["panels"][2]["gridPos"].update(x=11)),
    ("grid", "over another row", lambda page: graph(page)["gridPos"].update(h=9)),
    ("panel-type", "a gauge", lambda page: graph(page).update(type="gauge")),
    ("transformations", "some", lambda page: graph(page).update(transformations=[{"id": "merge"}])),
    (
        "overrides",
        "a width",
        lambda page: graph(page)["fieldConfig"]["overrides"][0]["properties"].append(
            {"id": "custom.width", "value": 9}
        ),
    ),
    (
        "overrides",
        "by a pattern",
        lambda page: graph(page)["fieldConfig"]["overrides"][0].update(matcher={"id": "byRegexp", "options": "x"}),
    ),
    (
        "insufficient",
        "green",
        lambda page: graph(page)["fieldConfig"]["defaults"]["mappings"][0]["options"]["2"].update(color="green"),
    ),
    (
        "insufficient",
        "not named",
        lambda page: graph(page)["fieldConfig"]["defaults"]["mappings"][0]["options"].pop("2"),
    ),
    ("interval", "none", lambda page: graph(page).pop("interval")),
    ("interval", "finer than the data", lambda page: graph(page).update(interval="10s")),
    ("format", "missing", lambda page: page["panels"][2]["targets"][0].pop("format")),
    ("named", "a query of its own", sql(OVER_TIME.sql.replace("max", "min"))),
    ("time-filter", "none", sql(OVER_TIME.sql.replace("$__timeFilter(at)", "1"))),
    ("time-filter", "in a comment", sql(OVER_TIME.sql.replace("$__timeFilter(at)", "1 /* $__timeFilter(at) */"))),
    ("macro", "unknown", sql(OVER_TIME.sql.replace("max(x)", "$__lttb(100, x)"))),
    ("quoted-macro", "in quotes", sql(OVER_TIME.sql.replace("max(x)", "'$__interval_s'"))),
    ("select-all", "a star", sql(ROWS.sql.replace("field, x", "*"), rows=True)),
    ("select-all", "a star of a table", sql(ROWS.sql.replace("field, x", "t.*"), rows=True)),
    ("order", "none", sql(OVER_TIME.sql.replace("ORDER BY time", ""))),
    ("order", "by another", sql(OVER_TIME.sql.replace("ORDER BY time", "ORDER BY x"))),
    ("limit", "none", sql(ROWS.sql.replace("LIMIT 10", ""), rows=True)),
    ("raw", "events over the range", sql(OVER_TIME.sql.replace("FROM t", "FROM all_predictions"))),
    ("quoting", "bare", sql(OVER_TIME.sql.replace(MODEL, "model = '$model'"))),
    ("quoting", "in quotes", sql(OVER_TIME.sql.replace(MODEL, "model = ${model:singlequote}"))),
    ("quoting", "in old form", sql(OVER_TIME.sql.replace(MODEL, "model = '[[model]]'"))),
    ("variable", "unknown", sql(OVER_TIME.sql.replace("${model:", "${modle:"))),
    ("variable", "unknown to conditionalAll", sql(ROWS.sql.replace("$model)", "$modle)"), rows=True)),
    ("link-target", "nowhere", url(lambda url: url.replace("/d/other", "/d/gone"))),
    ("repeat", "by one value", lambda page: graph(page).update(repeat="model")),
    (
        "link-target",
        "of a title",
        lambda page: graph(page).update(links=[{"title": "a", "url": OTHER.replace("other", "x")}]),
    ),
    ("link-target", "elsewhere", lambda page: page["links"][0].update(url="https://example.com")),
    ("link-carries", "no range", url(lambda url: url.replace("${__url_time_range}", ""))),
    ("link-carries", "no variables", lambda page: page["links"][0].update(includeVars=False)),
    ("link-carries", "no time", lambda page: page["links"][0].update(keepTime=False)),
    ("link-shown", "hidden", lambda page: page["links"][0].update(placement="inControlsMenu")),
    ("link-variable", "unknown there", url(lambda url: url.replace("var-field", "var-colour"))),
    ("link-variable", "unknown here", url(lambda url: url + "&${field:queryparam}")),
    ("link-column", "unknown", url(lambda url: url.replace("labels.field", "labels.slice"))),
    ("link-column", "a number", url(lambda url: url + "&var-field=${__data.fields.x:percentencode}")),
    ("link-column", "no label", lambda page: graph(page)["targets"].append(target(THRESHOLD, "B"))),
    ("link-column", "as it is", url(lambda url: url.replace("field:percentencode", "field"))),
]


@pytest.mark.parametrize(("rule", "plant"), [(rule, plant) for rule, _, plant in FAULTS], ids=[
    f"{rule}, {what}" for rule, what, _ in FAULTS
])  # fmt: skip
def test_a_planted_fault_is_found(rule: str, plant: Plant) -> None:
    planted = copy.deepcopy(pages())
    plant(planted[0])
    result = lint(planted, QUERIES)
    assert rule in {finding.rule for finding in result}, [str(finding) for finding in result]
    # The lint reports only the fault and its consequences.
    follows = {
        "dashboard-uid": {"link-target", "link-variable", "variable"},
        "format": {"order"},
        "variable-order": {"link-variable"},
    }
    assert {finding.rule for finding in result} <= {rule, "named"} | follows.get(rule, set()), result


def test_a_finding_names_the_problem_the_location_and_the_rule() -> None:
    planted = pages()
    graph(planted[0])["title"] = ""
    assert [str(finding) for finding in lint(planted, QUERIES)] == ["The one, 1: has no title (title)"]


def test_an_hour_of_raw_events_may_be_read() -> None:
    hour = PanelQuery(
        "t.raw",
        "SELECT count() AS n FROM duplicates WHERE hour = toStartOfHour($__toTime) - INTERVAL 1 HOUR LIMIT 1",
        TABLE,
        (Column("n", "number"),),
        60,
    )
    planted = pages()
    planted[0]["panels"][2]["targets"] = [target(hour)]
    planted[0]["panels"][2]["fieldConfig"]["defaults"]["links"] = []
    assert lint(planted, [*QUERIES, hour]) == []
