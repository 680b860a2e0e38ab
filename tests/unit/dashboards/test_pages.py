"""The generated dashboards: they match the code, fit Grafana's types, and avoid errors of the SDK."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards import style
from dashboards.__main__ import main
from dashboards.empty import EMPTY
from dashboards.pages import FOLDER, dashboards, files
from dashboards.panels import PANEL_TYPES
from dashboards.parse import panels_of, queries_in
from dashboards.query import dedent_sql
from dashboards.uids import DASHBOARDS, PANELS
from tests.support.dashboard_lint import lint
from tests.support.json_schema import faults
from tests.support.panel_queries import every_query
from warehouse.panels.fragments import LEVELS
from warehouse.panels.health import STATES

ROOT = Path(__file__).resolve().parents[3]
PAGES = dashboards()
SCHEMA: dict[str, Any] = json.loads(
    (ROOT / "tests" / "golden" / f"grafana-{style.GRAFANA_VERSION}.schema.json").read_text("utf-8")
)


def test_the_checked_in_files_are_as_the_code_has_them() -> None:
    assert main(["--check"]) == 0
    assert {path.name for path in FOLDER.iterdir()} == {f"{uid}.json" for uid in DASHBOARDS.values()}


def test_a_stale_or_unknown_file_is_reported_and_fixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("dashboards.pages.FOLDER", tmp_path)
    monkeypatch.setattr("dashboards.__main__.FOLDER", tmp_path)
    assert main(["--write"]) == 0
    assert main(["--check"]) == 0
    (tmp_path / "barograph-fleet.json").write_text("{}")
    (tmp_path / "old.json").write_text("{}")
    assert main(["--check"]) == 1
    errors = capsys.readouterr().err
    assert "barograph-fleet.json differs from the code: run python -m dashboards --write" in errors
    assert "old.json is not generated any more" in errors
    assert main(["--write"]) == 0
    assert sorted(tmp_path.iterdir()) == sorted(files())


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_of_grafanas_types(page: str) -> None:
    assert faults(PAGES[page], SCHEMA["dashboard"], page) == []
    for panel in panels_of(PAGES[page]):
        types = SCHEMA["panels"][panel["type"].replace("-", "").lower()]
        where = f"{page}, {panel['title']}"
        assert faults(panel["options"], types["options"], f"{where}, options") == []
        custom = dict(panel["fieldConfig"]["defaults"].get("custom", {}))
        if panel["type"] == "state-timeline":
            # Grafana's state timeline reads both; its published types lack them.
            assert custom.pop("spanNulls") == custom.pop("insertNulls")
        assert faults(custom, types.get("custom", {}), f"{where}, custom") == []


def test_values_that_violate_the_schema_of_grafana_are_reported() -> None:
    page = json.loads(json.dumps(PAGES["model"]))
    page["timezones"] = "utc"
    page["panels"][1]["gridPos"]["w"] = "wide"
    page["templating"]["list"][0]["hide"] = 7
    result = faults(page, SCHEMA["dashboard"], "page")
    assert {fault.partition(":")[0] for fault in result} == {
        "page.panels[1]", "page.templating.list[0].hide", "page",
    }  # fmt: skip
    table = next(panel for panel in panels_of(PAGES["fleet"]) if panel["type"] == "table")
    assert faults(table["options"] | {"footer": {"show": False}}, SCHEMA["panels"]["table"]["options"], "table")


def test_every_named_panel_is_on_its_page_and_no_other() -> None:
    for page, dashboard in PAGES.items():
        assert dashboard["uid"] == DASHBOARDS[page]
        assert sorted(panel["id"] for panel in panels_of(dashboard)) == sorted(PANELS[page].values())
        assert {panel["type"] for panel in panels_of(dashboard)} <= set(PANEL_TYPES)


def test_all_pages_pass_the_lint_and_use_every_query() -> None:
    queries = every_query()
    assert [str(finding) for finding in lint(PAGES.values(), queries.values())] == []
    queried = {query.sql for dashboard in PAGES.values() for query in queries_in(dashboard)}
    unasked = [name for name, query in queries.items() if query.sql.split() not in [sql.split() for sql in queried]]
    assert unasked == []


@pytest.mark.parametrize("page", PAGES)
def test_every_panel_query_sets_all_members_explicitly(page: str) -> None:
    for panel in panels_of(PAGES[page]):
        for target in panel.get("targets", []):
            assert target["datasource"] == {"type": style.PLUGIN, "uid": "${datasource}"}
            assert target["editorType"] == "sql"
            assert target["format"] in (0, 1)
            assert target["pluginVersion"] == style.PLUGIN_VERSION
            assert target["meta"] == {"timezone": "UTC"}
    assert PAGES[page]["schemaVersion"] == 42


def test_series_are_named_without_the_ref_id_of_their_query() -> None:
    """Grafana's own names begin with the query's refId and the column: `A psi temp`."""
    queries = {dedent_sql(query.sql): query for query in every_query().values()}
    for dashboard in PAGES.values():
        for panel in panels_of(dashboard):
            if panel["type"] not in ("timeseries", "state-timeline", "heatmap"):
                continue
            names = {
                override["matcher"]["options"]: each["value"]
                for override in panel["fieldConfig"]["overrides"]
                for each in override["properties"]
                if each["id"] == "displayName"
            }
            shown = [queries[target["rawSql"]] for target in panel["targets"]]
            labelled = [query for query in shown if any(column.kind == "text" for column in query.columns)]
            numbers = {
                column.name
                for query in (shown if len(shown) > 1 else labelled)
                for column in query.columns
                if column.kind == "number"
            }
            assert set(names) == numbers, panel["title"]
            # A metric and its SLO are told apart by their labels.
            of_labels = [PANELS["model"][key] for key in ("performance", "performance_errors")]
            assert len(set(names.values())) == len(names) or panel["id"] in of_labels
    psi = next(panel for panel in panels_of(PAGES["model"]) if panel["id"] == PANELS["model"]["psi"])
    texts = json.dumps(psi["fieldConfig"]["overrides"])
    assert '{"id": "displayName", "value": "${__field.labels.field}"}' in texts
    assert '{"id": "displayName", "value": "minor threshold"}' in texts


@pytest.mark.parametrize(
    ("page", "key"), [("fleet", "worst_psi_over_time"), ("model", "psi"), ("model", "score"), ("field", "psi")]
)
def test_thresholds_stay_visible_beside_a_large_psi(page: str, key: str) -> None:
    queries = {dedent_sql(query.sql): query for query in every_query().values()}
    panel = next(panel for panel in panels_of(PAGES[page]) if panel["id"] == PANELS[page][key])
    defaults = panel["fieldConfig"]["defaults"]
    assert defaults["custom"]["scaleDistribution"] == {"type": "log", "log": 10}
    assert defaults["min"] == style.LEAST_PSI
    drawn = {name for target in panel["targets"] for name in queries[target["rawSql"]].names}
    assert {"minor threshold", "major threshold"} <= drawn
    bands = [
        (override["matcher"]["options"], each["value"])
        for override in panel["fieldConfig"]["overrides"]
        for each in override["properties"]
        if each["id"] == "custom.fillBelowTo"
    ]
    assert bands == ([("at most", "at least")] if page == "field" else [])


@pytest.mark.parametrize(
    "key", ["errors", "latency", "latency_quantiles", "performance", "performance_errors", "main_metric"]
)
def test_an_slo_is_red(key: str) -> None:
    panel = next(panel for panel in panels_of(PAGES["model"]) if panel["id"] == PANELS["model"][key])
    colours = [
        each["value"]
        for override in panel["fieldConfig"]["overrides"]
        for each in override["properties"]
        if (override["matcher"]["options"], each["id"]) == ("SLO", "color")
    ]
    assert colours == [{"mode": "fixed", "fixedColor": style.MAJOR}]


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


def test_an_empty_cell_does_not_show_the_text_of_an_empty_table() -> None:
    for panel in (panel for page in PAGES.values() for panel in panels_of(page) if panel["type"] == "table"):
        special = [
            each["options"] for each in panel["fieldConfig"]["defaults"]["mappings"] if each["type"] == "special"
        ]
        assert {each["match"]: each["result"]["text"] for each in special} == {"null": "–", "empty": "–"}


def folded_panels(page: str) -> set[int]:
    return {panel["id"] for row in PAGES[page]["panels"] if row.get("collapsed") for panel in row["panels"]}


@pytest.mark.parametrize(
    ("page", "keys"),
    [
        (
            "model",
            {"class_shares", "calibration", "performance", "score_quantiles", "latency_quantiles", "arms", "arm_ratio"},
        ),
        ("field", {"quantiles", "distances", "categories"}),
    ],
)
def test_panels_that_depend_on_a_type_or_task_are_folded(page: str, keys: set[str]) -> None:
    assert {PANELS[page][key] for key in keys} <= folded_panels(page)
    # No other panel says that it is empty because of a type.
    assert {key for key, text in EMPTY[page].items() if "the field is not" in text or "the model " in text} <= keys


def test_a_page_reaches_far_enough_back_to_show_since_when() -> None:
    ranges = {page: dashboard["time"]["from"] for page, dashboard in PAGES.items()}
    assert ranges == {
        "fleet": "now-7d",
        "model": "now-7d",
        "field": "now-7d",
        "shadow": "now-90d",
        "llm": "now-7d",
        "pipeline": "now-6h",
    }


def properties(page: str, key: str, property_id: str) -> dict[str, Any]:
    """The overrides of one property of a panel, by the name of the series."""
    (panel,) = (panel for panel in panels_of(PAGES[page]) if panel["id"] == PANELS[page][key])
    return {
        override["matcher"]["options"]: each["value"]
        for override in panel["fieldConfig"]["overrides"]
        for each in override["properties"]
        if each["id"] == property_id
    }


def test_estimates_are_dashed() -> None:
    for key, name in (("main_metric", "estimated"), ("cbpe", "expected")):
        styles = properties("model", key, "custom.lineStyle")
        assert {series: style["fill"] for series, style in styles.items()} == {name: "dash"}


@pytest.mark.parametrize("key", ["late", "dead_letters", "duplicates", "unmatched_labels", "rejected"])
def test_nothing_lost_is_a_line_at_zero_among_bars(key: str) -> None:
    assert properties("pipeline", key, "custom.drawStyle") == {"none": "line"}


def test_the_worst_fields_are_a_panel_for_each() -> None:
    (panel,) = (panel for panel in panels_of(PAGES["model"]) if "repeat" in panel)
    assert (panel["id"], panel["repeatDirection"], panel["gridPos"]["w"]) == (PANELS["model"]["distributions"], "h", 24)
    (variable,) = (each for each in PAGES["model"]["templating"]["list"] if each["name"] == panel["repeat"])
    assert (variable["multi"], variable["includeAll"], variable["hide"]) == (True, True, 2)
    assert variable["current"]["value"] == "$__all"
    assert "var-field=${worst_field:percentencode}" in panel["links"][0]["url"]


GAP_AFTER_S = {
    "fleet": {
        **dict.fromkeys(("worst_psi_over_time", "levels_over_time"), 86_400),
        **dict.fromkeys(("requests", "errors", "latency"), 3600),
    },
    "model": {
        **dict.fromkeys(("latency_quantiles", "score_quantiles"), 172_800),
        **dict.fromkeys(
            ("psi", "rates", "levels", "score", "performance", "performance_errors", "cbpe", "main_metric", "health"),
            86_400,
        ),
        **dict.fromkeys(("requests", "errors", "latency", "error_kinds", "class_shares", "label_coverage"), 3600),
    },
    "field": {
        **dict.fromkeys(("quantiles", "distances"), 172_800),
        **dict.fromkeys(("psi", "nulls", "range"), 86_400),
    },
    "shadow": {
        **dict.fromkeys(("intervals", "outcomes"), 86_400),
        **dict.fromkeys(("missing", "traffic", "latency", "latencies", "agreement", "scores"), 3600),
    },
    "llm": {
        **dict.fromkeys(("first_token", "per_token", "total", "tokens", "tokens_per_minute"), 2 * 86_400),
        **dict.fromkeys(("code_share", "topic_distance"), 2 * 86_400),
        **dict.fromkeys(("prompt_intervals", "prompt_outcomes", "new_topics"), 86_400),
        **dict.fromkeys(("coverage", "topics", "languages", "span_times"), 3600),
        **dict.fromkeys(("cost_versions", "cost_prompts", "cost_per_call", "cost_coverage"), 3600),
        **dict.fromkeys(("serving_requests", "kv_cache", "cache_hits", "server_times", "server_tokens"), 60),
        **dict.fromkeys(("serving_counts", "draft_acceptance"), 60),
        **dict.fromkeys(
            ("flagged", "citation_faults", "stored_rates", "without_result", "judge_cost", "judge_latency"), 3600
        ),
    },
    "pipeline": {
        "completeness": 86_400,
        **dict.fromkeys(("late", "dead_letters", "duplicates", "unmatched_labels"), 3600),
        **dict.fromkeys(("lag", "rate", "retries", "insert_times", "watchdog", "committed_age", "waiting"), 60),
        **dict.fromkeys(("healthy", "memory", "cpu", "events", "rejected", "inserted", "scored"), 60),
    },
}
"""Page → chart → time without values after which its lines end, in seconds, as docs/dashboards.md has it."""


@pytest.mark.parametrize("page", PAGES)
def test_lines_and_states_end_where_data_are_missing(page: str) -> None:
    charts = {
        panel["id"]: panel["fieldConfig"]["defaults"]["custom"]
        for panel in panels_of(PAGES[page])
        if panel["type"] in ("timeseries", "state-timeline")
    }
    # A minute of tolerance: a value that is due is not missing yet.
    gaps = {PANELS[page][key]: (after_s + 60) * 1000 for key, after_s in GAP_AFTER_S[page].items()}
    assert {id_: custom["spanNulls"] for id_, custom in charts.items()} == gaps
    # Without a row of any series there is no null either; a bound below the step would interrupt every line.
    long_gaps = {id_: gap for id_, gap in gaps.items() if gap > 86_400_000}
    assert {id_: custom["insertNulls"] for id_, custom in charts.items() if "insertNulls" in custom} == long_gaps


def test_links_and_annotations_are_in_sight() -> None:
    # The SDK puts both into a menu of their own.
    assert "inControlsMenu" not in json.dumps(PAGES)


def test_levels_are_words_and_too_little_data_has_a_colour_of_its_own() -> None:
    shown = style.STYLE.numbered_levels()
    assert [word for word, _ in shown.values()] == ["no verdict", *LEVELS]
    assert len({colour for _, colour in shown.values()}) == len(shown)
    mapped = [
        mapping["options"]
        for dashboard in PAGES.values()
        for panel in panels_of(dashboard)
        if panel["type"] == "state-timeline"
        for mapping in panel["fieldConfig"]["defaults"]["mappings"]
    ]
    states = [options for options in mapped if options["1"]["text"] == "healthy"]
    assert [[each["text"] for each in options.values()] for options in states] == [list(STATES)]
    assert [len({each["color"] for each in options.values()}) for options in states] == [len(STATES)]
    mapped = [options for options in mapped if options not in states]
    assert mapped
    assert all(options["2"] == {"text": "insufficient", "color": style.INSUFFICIENT} for options in mapped)


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
