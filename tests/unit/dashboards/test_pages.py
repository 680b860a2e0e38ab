import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from barograph_server.dashboards import macros, style
from barograph_server.dashboards.page_files import panel_ids, read_rows
from barograph_server.dashboards.pages import FOLDER, dashboards
from barograph_server.dashboards.panels import PANEL_TYPES
from barograph_server.dashboards.parse import panels_of
from barograph_server.dashboards.uids import DASHBOARDS, panel_link
from barograph_server.sketches.rollout.decision import HARM_E_VALUE
from barograph_server.warehouse.panels.named import named_queries
from tests.support.dashboard_lint import lint, macros_of, queries_in
from tests.support.json_schema import faults

ROOT = Path(__file__).resolve().parents[3]
PAGES = dashboards()
SCHEMA: dict[str, Any] = json.loads((ROOT / f"tests/golden/grafana-{style.GRAFANA_VERSION}.schema.json").read_bytes())


def test_pages_are_of_grafanas_types() -> None:
    for page, dashboard in PAGES.items():
        assert faults(dashboard, SCHEMA["dashboard"], page) == []
        for panel in panels_of(dashboard):
            if panel["type"] == "alertlist":
                continue  # Grafana publishes no types of it.
            types = SCHEMA["panels"][panel["type"].replace("-", "").lower()]
            where = f"{page}, {panel['title']}"
            assert faults(panel["options"], types["options"], f"{where}, options") == []
            custom = dict(panel["fieldConfig"]["defaults"].get("custom", {}))
            if panel["type"] == "state-timeline":
                # Grafana's state timeline reads both; its published types lack them.
                assert custom.pop("spanNulls") == custom.pop("insertNulls")
            assert faults(custom, types.get("custom", {}), f"{where}, custom") == []


def test_every_named_panel_is_on_its_page_and_no_other() -> None:
    assert DASHBOARDS.keys() == PAGES.keys()
    assert len(set(DASHBOARDS.values())) == len(DASHBOARDS)
    for page, dashboard in PAGES.items():
        assert dashboard["uid"] == DASHBOARDS[page]
        ids = [panel["id"] for panel in panels_of(dashboard)]
        assert sorted(ids) == sorted(panel_ids(page).values())
        assert len(set(ids)) == len(ids), page
        assert {panel["type"] for panel in panels_of(dashboard)} <= set(PANEL_TYPES)
    assert panel_link("model", "psi") == ("barograph-model", 21)
    pages = "fleet, model, field, shadow, llm, pipeline"
    with pytest.raises(KeyError, match=f"'overview' is not a page; choose one of {pages}"):
        panel_link("overview", "psi")
    with pytest.raises(KeyError, match="'psy' is not a panel of page field; choose one of level, psi_now"):
        panel_link("field", "psy")


def test_a_page_has_few_panels() -> None:
    most = {"fleet": 10, "model": 28, "llm": 25}
    assert {page: len(panel_ids(page)) for page in most if len(panel_ids(page)) > most[page]} == {}


def test_a_series_of_each_model_has_a_colour_of_its_own() -> None:
    (panel,) = (panel for panel in panels_of(PAGES["fleet"]) if panel["title"] == "Requests by model")
    assert "fixedColor" not in json.dumps(panel["fieldConfig"]["overrides"])
    colours = style.STYLE.series_colours
    assert colours["p99"] != colours["SLO"]


def test_all_pages_pass_the_lint_and_use_named_queries() -> None:
    queries = named_queries()
    assert [str(finding) for finding in lint(PAGES.values(), queries.values())] == []
    queried = {query.sql for dashboard in PAGES.values() for query in queries_in(dashboard)}
    unasked = [name for name, query in queries.items() if query.sql.split() not in [sql.split() for sql in queried]]
    assert unasked == []


def test_every_chart_and_table_says_why_it_is_empty() -> None:
    for page in PAGES:
        panels = [panel for row in read_rows(page) for panel in row.panels]
        texts = [panel.empty for panel in panels if panel.kind not in ("stat", "text")]
        assert all(text.endswith(".") and len(text) <= 80 for text in texts), page


def test_harm_in_slices_is_red_from_the_threshold_of_the_decision_on() -> None:
    (panel,) = (panel for row in read_rows("shadow") for panel in row.panels if panel.key == "slice_evidence")
    assert panel.options["bad_from"] == HARM_E_VALUE


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


RANGE = macros.TimeRange(1_762_000_000_500, 1_762_003_600_999)
"""2025-11-01 12:26:40.5 to 13:26:40.999 UTC."""
DATE_AND_TIME = (
    "(d >= toDate('2025-11-01') AND d <= toDate('2025-11-01')) "
    "AND (t >= toDateTime(1762000000) AND t <= toDateTime(1762003600))"
)
FROM_MS, TO_MS = "fromUnixTimestamp64Milli(1762000000500)", "fromUnixTimestamp64Milli(1762003600999)"
BACKEND = [
    ("$__timeFilter(c)", "c >= toDateTime(1762000000) AND c <= toDateTime(1762003600)"),
    ("$__timeFilter_ms(c)", f"c >= {FROM_MS} AND c <= {TO_MS}"),
    ("$__dateFilter(c)", "c >= toDate('2025-11-01') AND c <= toDate('2025-11-01')"),
    ("$__dateTimeFilter(d, t)", DATE_AND_TIME),
    ("$__dt(d,t)", DATE_AND_TIME),
    ("$__timeFrom(c)", "c >= toDateTime(1762000000)"),
    ("$__timeTo(c)", "c <= toDateTime(1762003600)"),
    ("$__fromTime", "toDateTime(1762000000)"),
    ("$__toTime", "toDateTime(1762003600)"),
    ("$__fromTime_ms", FROM_MS),
    ("$__toTime_ms", TO_MS),
    ("$__timeInterval(c)", "toStartOfInterval(toDateTime(c), INTERVAL 300 second)"),
    ("$__timeInterval_ms(c)", "toStartOfInterval(toDateTime64(c, 3), INTERVAL 300000 millisecond)"),
    ("$__timeGroup(c, 5m)", "toStartOfInterval(toDateTime(c), INTERVAL 300 second)"),
    ("$__timeGroup(c, '1h30m')", "toStartOfInterval(toDateTime(c), INTERVAL 5400 second)"),
    ("$__interval_s", "300"),
    ("$__interval_ms", "300000"),
    ("$__interval", "5m"),
]


def test_the_backend_writes_each_macro_out() -> None:
    for macro, written in BACKEND:
        sql = f"SELECT 1 WHERE {macro} AND 2"
        assert macros.expand_backend(sql, RANGE, 300_000) == f"SELECT 1 WHERE {written} AND 2", macro
    assert macros.expand_backend("$__interval_s", RANGE, 20) == "1", "the least interval"
    assert macros.expand_backend("$__timeInterval(c)", RANGE, 20).endswith("INTERVAL 1 second)")


def test_arguments_are_split_outside_parentheses_only() -> None:
    assert macros.expand_backend("$__timeFilter(if(a, b, c))", RANGE) == (
        "if(a, b, c) >= toDateTime(1762000000) AND if(a, b, c) <= toDateTime(1762003600)"
    )
    assert macros.expand_backend("$__timeInterval(greatest(a, $__fromTime))", RANGE) == (
        "toStartOfInterval(toDateTime(greatest(a, toDateTime(1762000000))), INTERVAL 60 second)"
    )
    nested = macros.expand_backend("$__timeInterval($__timeInterval(a))", RANGE)
    assert nested.count("toStartOfInterval(toDateTime(") == 2
    assert "$" not in nested


def test_comments_are_blanked_and_quotes_are_not() -> None:
    sql = "SELECT '-- $__timeFilter(' AS a -- $__nothing\n, `b /* c` /* $x */ FROM t"
    assert macros.expand_backend(sql, RANGE) == (
        "SELECT '-- $__timeFilter(' AS a " + " " * len("-- $__nothing") + "\n, `b /* c` " + " " * 8 + " FROM t"
    )
    # An escaped quote does not end a text.
    escaped = macros.expand_backend(r"SELECT 'O\'-- B' , 'x''-- y', $__interval_s", RANGE)
    assert escaped == r"SELECT 'O\'-- B' , 'x''-- y', 60"
    assert macros_of("$__timeFilter(a) -- $__b\n'$__c' $__interval") == ["timeFilter", "interval"]


def test_macros_unknown_to_the_plugin_are_rejected() -> None:
    for sql, message in (
        ("$__columns(a, b)", r"\$__columns is not a macro of ClickHouse plugin 4.20"),
        ("$__conditionalAll(a, $b)", r"\$__conditionalAll is not a macro"),
        ("SELECT $model", r"\$model is a dashboard variable"),
        ("SELECT ${model:singlequote}", r"\$model is a dashboard variable"),
        ("$__timeFilter()", r"\$__timeFilter takes 1 arguments, but got 0"),
        ("$__timeFilter(a, b)", r"\$__timeFilter takes 1 arguments, but got 2"),
        ("$__timeFilter(if(a", r"the parenthesis after \$__timeFilter is not closed"),
        ("$__timeGroup(c, 1d)", r"takes a duration such as 30s, 5m or 24h, but got 1d"),
    ):
        with pytest.raises(macros.MacroError, match=message):
            macros.expand_backend(sql, RANGE)


MODEL = "it's \\ a ${model} $__interval {{x}} модель"
NAMES: dict[str, macros.Value] = {"model": MODEL, "version": macros.ALL, "slice": "", "field": ("a'b", "c")}


def test_the_frontend_writes_variables() -> None:
    for sql, written in (
        ("$__from $__to", "1762000000500 1762003600999"),
        ("${__from} [[__to]]", "1762000000500 1762003600999"),
        ("$__interval $__interval_ms", "5m 300000"),
        ("$__interval_s $__timeFilter(c)", "$__interval_s $__timeFilter(c)"),
        ("$model", MODEL),
        ("${model:raw} [[model]]", f"{MODEL} {MODEL}"),
        ("${model:singlequote}", "'it\\'s \\ a ${model} $__interval {{x}} модель'"),
        (
            "'${model:percentencode}'",
            "'it%27s%20%5C%20a%20%24%7Bmodel%7D%20%24__interval%20%7B%7Bx%7D%7D"
            "%20%D0%BC%D0%BE%D0%B4%D0%B5%D0%BB%D1%8C'",
        ),
        ("${field:queryparam}", "var-field=a%27b&var-field=c"),
        ("$field", "'a'b','c'"),
        ("${field:singlequote}", "'a\\'b','c'"),
        ("${field:percentencode}", "%7Ba%27b%2Cc%7D"),
        ("${field:raw}", "a'b,c"),
        ("$__conditionalAll(v = ${version:singlequote}, $version)", "1=1"),
        ("$__conditionalAll(s = ${slice:singlequote}, ${slice})", "1=1"),
        ("$__conditionalAll(f IN (${field:singlequote}), $field) AND b", "f IN ('a\\'b','c') AND b"),
        ("$__conditionalAll(a OR $__conditionalAll(b, $field), $field)", "a OR b"),
    ):
        assert macros.expand_frontend(sql, RANGE, NAMES, 300_000) == written, sql


def test_the_frontend_rejects_unknown_macros() -> None:
    for sql, message in (
        ("$mdoel", r"\$mdoel is not a variable of this dashboard; it has field, model, slice, version"),
        ("${model:sql}", r"\$\{model:sql\} has an unsupported format; use percentencode, queryparam"),
        ("$__conditionalAll(a)", r"\$__conditionalAll takes a condition and a variable, but got 1"),
        ("$__conditionalAll(a, $mdoel)", r"\$mdoel is not a variable of this dashboard"),
    ):
        with pytest.raises(macros.MacroError, match=message):
            macros.expand_frontend(sql, RANGE, NAMES, 60_000)


def test_both_halves_and_a_name_that_looks_like_a_macro() -> None:
    variables: dict[str, macros.Value] = {"model": "$__timeFilter(x) -- $y"}
    assert macros.expand("m = ${model:singlequote} AND $__timeFilter(t)", RANGE, variables) == (
        "m = '$__timeFilter(x) -- $y' AND t >= toDateTime(1762000000) AND t <= toDateTime(1762003600)"
    )
    assert macros.expand("decodeURLComponent('${model:percentencode}')", RANGE, variables) == (
        "decodeURLComponent('%24__timeFilter%28x%29%20--%20%24y')"
    )


def test_times_intervals_and_durations_are_grafanas_and_gos() -> None:
    start, end = datetime(2025, 11, 1, tzinfo=UTC), datetime(2025, 11, 1, 0, 0, 0, 1000, tzinfo=UTC)
    assert macros.TimeRange.between(start, end) == macros.TimeRange(1_761_955_200_000, 1_761_955_200_001)
    written = {0: "1ms", 20: "20ms", 1500: "1s", 90_000: "1m", 300_000: "5m", 90_000_000: "1d", 31_536_000_000: "1y"}
    assert {milliseconds: macros.format_interval(milliseconds) for milliseconds in written} == written
    read = {"5m": 300, "1h30m": 5400, "1.5s": 2, "500ms": 1, **dict.fromkeys(("499ms", "1d", "", "5", "5 m"))}
    assert {text: macros.go_duration_s(text) for text in read} == read
    for hours, points, least_ms, step_ms in (
        (1, 1000, 1000, 5_000),  # 3.6 s
        (6, 1000, 1000, 20_000),  # 21.6 s
        (24, 1000, 60_000, 60_000),  # 86.4 s
        (24 * 30, 1000, 60_000, 1_800_000),  # 2,592 s
        (1, 1000, 60_000, 60_000),
        (24 * 365 * 100, 100, 1, 31_536_000_000),
    ):
        assert macros.interval_ms(hours * 3_600_000, points, least_ms) == step_ms, hours
