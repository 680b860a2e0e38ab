"""Each rule of the lint finds the fault that it is for, planted into the page of a model."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from dashboards.pages import dashboards
from dashboards.parse import panels_of
from tests.support.dashboard_lint import lint
from tests.support.panel_queries import every_query

Plant = Callable[[dict[str, Any], dict[str, Any], dict[str, Any]], object]
"""Changes a page, its time series and its table."""
PAGES = {name: dict(page) for name, page in dashboards().items()}
GRAPH, TABLE = 21, 24
QUERIES = every_query().values()
SAFE = "decodeURLComponent('${model:percentencode}')"


def page() -> dict[str, Any]:
    """The page of a model, with two of its panels."""
    panels = [panel for panel in panels_of(PAGES["model"]) if panel["id"] in (GRAPH, TABLE)]
    return copy.deepcopy({**PAGES["model"], "panels": panels})


def planted(plant: Plant) -> dict[str, str]:
    """The rules that a fault violates, each with a finding."""
    changed = page()
    plant(changed, *changed["panels"])
    others = [{**other, "panels": []} for name, other in PAGES.items() if name != "model"]
    return {finding.rule: str(finding) for finding in lint([changed, *others], QUERIES)}


def sql(old: str, new: str, *, table: bool = False) -> Plant:
    def plant(_: dict[str, Any], graph: dict[str, Any], rows: dict[str, Any]) -> None:
        target = (rows if table else graph)["targets"][0]
        assert old in target["rawSql"]
        target["rawSql"] = target["rawSql"].replace(old, new)

    return plant


def url(old: str, new: str) -> Plant:
    def plant(_: dict[str, Any], __: dict[str, Any], rows: dict[str, Any]) -> None:
        link = rows["fieldConfig"]["defaults"]["links"][0]
        assert old in link["url"]
        link["url"] = link["url"].replace(old, new)

    return plant


FIXED = {"type": "grafana-clickhouse-datasource", "uid": "barograph"}
FAULTS: list[tuple[str, Plant]] = [
    ("datasource", lambda page, *_: page["templating"]["list"][1].update(datasource=FIXED)),
    ("datasource", lambda page, *_: page["annotations"]["list"][-1].update(datasource=FIXED)),
    ("title", lambda _, graph, __: graph.update(title="")),
    ("description", lambda _, graph, __: graph.pop("description")),
    ("repeat", lambda _, graph, __: graph.update(repeat="model")),
    ("named", sql("max(", "min(")),
    ("time-filter", sql("$__timeFilter(window_end)", "1 /* $__timeFilter(window_end) */")),
    ("macro", sql("$__timeInterval(window_end)", "$__lttb(window_end)")),
    ("quoted-macro", sql("'insufficient'", "'$__interval_s'")),
    ("select-all", sql("SELECT field FROM", "SELECT ranked.* FROM")),
    ("order", sql("ORDER BY time, field", "")),
    ("limit", sql("LIMIT 500", "", table=True)),
    ("raw", sql("FROM latest_drift", "FROM all_predictions")),
    ("quoting", sql(SAFE, "'$model'")),
    ("quoting", sql(SAFE, "${model:singlequote}")),
    ("quoting", sql(SAFE, "'[[model]]'")),
    ("variable", sql("${model:", "${modle:")),
    ("link-target", url("/d/barograph-field", "/d/gone")),
    ("link-target", lambda page, *_: page["links"][0].update(url="https://example.com")),
    ("link-carries", url("${__url_time_range}", "")),
    ("link-carries", lambda page, *_: page["links"][0].update(keepTime=False)),
    ("link-variable", url("var-field", "var-colour")),
    ("link-variable", url("${slice:queryparam}", "${field:queryparam}")),
    ("link-column", url("fields.field:", "fields.slice:")),
    ("link-column", url("fields.field:", "fields.events:")),
    ("link-column", url("field:percentencode", "field")),
]


def test_the_page_has_no_findings() -> None:
    assert planted(lambda *_: None) == {}


@pytest.mark.parametrize(("rule", "plant"), FAULTS, ids=[f"{i}-{rule}" for i, (rule, _) in enumerate(FAULTS)])
def test_a_planted_fault_is_found(rule: str, plant: Plant) -> None:
    result = planted(plant)
    assert rule in result, result


def test_a_finding_names_the_panel_and_what_to_do() -> None:
    def untitled(_: dict[str, Any], graph: dict[str, Any], __: dict[str, Any]) -> None:
        graph["title"] = ""

    assert planted(untitled)["title"] == f"{PAGES['model']['title']}, {GRAPH}: has no title (title)"
