"""The generated dashboards: they match the code, fit Grafana's types, and avoid errors of the SDK."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from barograph_server.dashboards import style
from barograph_server.dashboards.empty import EMPTY
from barograph_server.dashboards.pages import FOLDER, dashboards
from barograph_server.dashboards.panels import PANEL_TYPES
from barograph_server.dashboards.parse import panels_of, queries_in
from barograph_server.dashboards.uids import DASHBOARDS, PANELS, panel_link
from tests.support.dashboard_lint import lint
from tests.support.json_schema import faults
from tests.support.panel_queries import every_query

ROOT = Path(__file__).resolve().parents[3]
PAGES = dashboards()
SCHEMA: dict[str, Any] = json.loads(
    (ROOT / "tests" / "golden" / f"grafana-{style.GRAFANA_VERSION}.schema.json").read_text("utf-8")
)


def test_pages_are_of_grafanas_types() -> None:
    for page, dashboard in PAGES.items():
        assert faults(dashboard, SCHEMA["dashboard"], page) == []
        for panel in panels_of(dashboard):
            types = SCHEMA["panels"][panel["type"].replace("-", "").lower()]
            where = f"{page}, {panel['title']}"
            assert faults(panel["options"], types["options"], f"{where}, options") == []
            custom = dict(panel["fieldConfig"]["defaults"].get("custom", {}))
            if panel["type"] == "state-timeline":
                # Grafana's state timeline reads both; its published types lack them.
                assert custom.pop("spanNulls") == custom.pop("insertNulls")
            assert faults(custom, types.get("custom", {}), f"{where}, custom") == []


def test_every_named_panel_is_on_its_page_and_no_other() -> None:
    assert PANELS.keys() == DASHBOARDS.keys() == PAGES.keys()
    assert len(set(DASHBOARDS.values())) == len(DASHBOARDS)
    for page, dashboard in PAGES.items():
        assert dashboard["uid"] == DASHBOARDS[page]
        ids = [panel["id"] for panel in panels_of(dashboard)]
        assert sorted(ids) == sorted(PANELS[page].values())
        assert len(set(ids)) == len(ids), page
        assert {panel["type"] for panel in panels_of(dashboard)} <= set(PANEL_TYPES)
    assert panel_link("model", "psi") == ("barograph-model", 21)
    pages = "fleet, model, field, shadow, llm, pipeline"
    with pytest.raises(KeyError, match=f"'overview' is not a page; choose one of {pages}"):
        panel_link("overview", "psi")
    with pytest.raises(KeyError, match="'psy' is not a panel of page field; choose one of level, psi_now"):
        panel_link("field", "psy")


def test_all_pages_pass_the_lint_and_use_every_query() -> None:
    queries = every_query()
    assert [str(finding) for finding in lint(PAGES.values(), queries.values())] == []
    queried = {query.sql for dashboard in PAGES.values() for query in queries_in(dashboard)}
    unasked = [name for name, query in queries.items() if query.sql.split() not in [sql.split() for sql in queried]]
    assert unasked == []


STATS = ("unseen_now", "decision", "days_left")
"""Panels with a single number that say why it is missing."""


def test_every_chart_and_table_says_why_it_is_empty() -> None:
    for page, dashboard in PAGES.items():
        texts = {
            panel["id"]: panel["fieldConfig"]["defaults"].get("noValue")
            for panel in panels_of(dashboard)
            if panel["type"] not in ("stat", "text")
        }
        expected = {PANELS[page][key]: text for key, text in EMPTY[page].items() if key not in STATS}
        assert texts == expected
        assert all(text.endswith(".") and len(text) <= 80 for text in expected.values())


def test_lines_and_states_end_where_data_are_missing() -> None:
    for page, dashboard in PAGES.items():
        for panel in panels_of(dashboard):
            if panel["type"] in ("timeseries", "state-timeline"):
                custom = panel["fieldConfig"]["defaults"]["custom"]
                gap_s = custom["spanNulls"] / 1000
                # A minute of tolerance: a value that is due is not missing yet.
                assert gap_s - 60 in (60, 3600, 86_400, 172_800), (page, panel["title"])
                # Without a row of any series there is no null either; below the step it would interrupt every line.
                assert custom.get("insertNulls") == (gap_s * 1000 if gap_s > 86_400 else None), (page, panel["title"])
    # The SDK puts links and annotations into a menu of their own.
    assert "inControlsMenu" not in json.dumps(PAGES)


def test_grafana_is_provisioned_with_the_generated_folder() -> None:
    provider = yaml.safe_load((ROOT / "deploy" / "grafana" / "provider.yaml").read_text("utf-8"))["providers"][0]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]["grafana"]
    mounts = dict(reversed(volume.removesuffix(":ro").rsplit(":", 1)) for volume in compose["volumes"])
    assert (ROOT / mounts[provider["options"]["path"]]).resolve() == FOLDER
    assert compose["image"] == f"grafana/grafana:{style.GRAFANA_VERSION}"
    assert compose["environment"]["GF_PLUGINS_PREINSTALL_SYNC"] == f"{style.PLUGIN}@{style.PLUGIN_VERSION}"
    source = yaml.safe_load((ROOT / "deploy" / "grafana" / "clickhouse.yaml").read_text("utf-8"))["datasources"][0]
    default = next(each for each in PAGES["fleet"]["templating"]["list"] if each["name"] == "datasource")["current"]
    assert (default["text"], default["value"]) == (source["name"], source["uid"])
