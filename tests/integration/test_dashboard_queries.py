"""Every query of every dashboard on the real engine, with Grafana's variables and macros written out.

Variables are resolved as Grafana does it: page by page, from the left, each by its own query and the ones before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import clickhouse_connect
import pytest
from barograph.contract.check import PERFORMANCE_METRICS
from clickhouse_connect.driver.client import Client as DriverClient

from dashboards.macros import ALL, TimeRange, Value, expand
from dashboards.pages import dashboards
from dashboards.parse import DashboardQuery, queries_in
from local.clickhouse import LocalClickHouse
from sketches.baseline.bins import bin_labels
from streams.scorer.measure import ERRORS as ERRORS_OF_MODELS
from streams.scorer.measure import SIGNED
from tests.support.panel_queries import every_query
from tests.support.two_day_model import (
    END,
    END_S,
    ERRORS,
    HOUR_S,
    LATE,
    MOVED_S,
    REQUESTS,
    SLOW,
    START_S,
    Watched,
    fill,
    fill_pipeline,
    watched,
)
from tests.support.warehouse import login, migrated
from tests.support.warehouse import row as table_row
from warehouse.client import Client
from warehouse.panels import PanelQuery
from warehouse.panels.fragments import LEVEL_NUMBERS, interval, window_seconds
from warehouse.panels.health import STATE_NUMBERS
from warehouse.tables import insert_rows

pytestmark = pytest.mark.engine

AWKWARD = """it's a "model" \\ of $model, ${version}, {{x}}, [[field]] $__interval -- /* 模型 модель \\'"""
NAMES = {"binary": "fraud", "classes": "triage", "number": "demand", "awkward": AWKWARD}
RANGE = TimeRange.between(END - timedelta(hours=47), END)
PAGES = dashboards()
QUERIES = every_query()
SHADOW: dict[str, Value] = {"candidate": "3", "criterion": "accuracy"}


@pytest.fixture(scope="module")
def models() -> dict[str, Watched]:
    return {key: watched("binary" if key == "awkward" else key, name) for key, name in NAMES.items()}


@pytest.fixture(scope="module")
def client(engine: LocalClickHouse, models: dict[str, Watched]) -> Iterator[Client]:
    with migrated(engine) as client:
        for model in models.values():
            fill(client, model)
        fill_pipeline(client, NAMES["binary"])
        yield client


def choose(client: Client, page: str, **url_variables: str) -> dict[str, Value]:
    """Return the variables of a page that is opened with some variables in its URL."""
    chosen: dict[str, Value] = {}
    for variable in PAGES[page]["templating"]["list"]:
        name = variable["name"]
        if variable["type"] == "datasource":
            chosen[name] = "barograph"
        elif name in url_variables:
            chosen[name] = url_variables[name]
        elif variable["includeAll"]:
            chosen[name] = ALL
        else:
            first = client.rows(expand(variable["query"]["rawSql"], RANGE, chosen))
            chosen[name] = first[0][0] if first else ""
    return chosen


def ask(
    client: Client,
    query: PanelQuery,
    chosen: dict[str, Value],
    *,
    interval_s: int = HOUR_S,
    time_range: TimeRange = RANGE,
) -> list[tuple[Any, ...]]:
    sql = expand(
        query.sql, time_range, {"version": "1", "slice": "all", "window": "1d"} | chosen, interval_ms=interval_s * 1000
    )
    return client.rows(sql)


def kind_of(engine_type: str) -> str:
    bare = engine_type.removeprefix("LowCardinality(").removeprefix("Nullable(").rstrip(")")
    if bare.startswith("DateTime"):
        assert not engine_type.startswith("Nullable"), engine_type
        return "time"
    if bare.startswith("String"):
        return "text"
    assert bare.startswith(("UInt", "Int", "Float")), engine_type
    return "number"


def all_queries() -> list[Any]:
    return [
        pytest.param(page, query, id=query.where)
        for page, dashboard in PAGES.items()
        for query in queries_in(dashboard)
    ]


def of(panel_query: DashboardQuery) -> PanelQuery:
    return next(query for query in QUERIES.values() if panel_query.sql.split() == query.sql.split())


@pytest.fixture(scope="module")
def opened(client: Client) -> dict[tuple[str, str], dict[str, Value]]:
    return {(page, name): choose(client, page, model=name) for page in PAGES for name in NAMES.values()}


@pytest.fixture(scope="module")
def driver(engine: LocalClickHouse, client: Client) -> Iterator[DriverClient]:
    with clickhouse_connect.get_client(**login(engine.address()), database=client.database) as driver:
        yield driver


@pytest.mark.parametrize(("page", "panel_query"), all_queries())
def test_every_query_answers_in_its_shape(
    driver: DriverClient, opened: dict[tuple[str, str], dict[str, Value]], page: str, panel_query: DashboardQuery
) -> None:
    query = of(panel_query)
    for name in NAMES.values():
        sql = expand(panel_query.sql, RANGE, opened[page, name], interval_ms=query.grain_s * 1000)
        answer = driver.query(sql)
        rows = answer.result_rows
        if rows:
            types = [kind_of(each.name) for each in answer.column_types]
            assert list(zip(answer.column_names, types, strict=True)) == list(query.columns), name
        if query.format == 0:
            times = [row[0] for row in rows]
            assert times == sorted(times)
            labels = [
                tuple(row[i] for i, column in enumerate(query.columns) if column.kind != "number") for row in rows
            ]
            assert len(set(labels)) == len(labels), "two rows of one time and series: the plugin keeps one"
            assert all(START_S - 86_400 <= time.timestamp() <= END_S for time in times)


# These models are no language models: test_llm_panels, test_text_queries and test_evaluation_queries plant rows of one.
ELSEWHERE = (
    *("pipeline.none_", "serving.", "costs.", "llm_text.", "generations."),
    *("evaluations.", "reviews.", "suites."),
)


@pytest.mark.parametrize("name", sorted(name for name in QUERIES if not name.startswith(ELSEWHERE)))
def test_every_query_shows_something_of_some_model(client: Client, models: dict[str, Watched], name: str) -> None:
    chosen: dict[str, Value] = {"field": "x", "worst_field": "x", **SHADOW}
    result = (
        row
        for model in NAMES.values()
        for version in ("2", "1")
        for row in ask(client, QUERIES[name], chosen | {"model": model, "version": version})
    )
    assert any(any(value is not None for value in row) for row in result)


@pytest.mark.parametrize("name", sorted(QUERIES))
def test_no_query_fails_without_data(client: Client, name: str) -> None:
    nobody: dict[str, Value] = {"model": "", "version": "", "slice": "", "window": "", "field": "", "worst_field": ""}
    nobody |= {"candidate": "", "criterion": ""}
    long_ago = TimeRange.between(datetime(2001, 1, 1, tzinfo=UTC), datetime(2001, 1, 2, tzinfo=UTC))
    rows = ask(client, QUERIES[name], nobody, time_range=long_ago)
    assert all(len(row) == len(QUERIES[name].columns) for row in rows)


# ----------------------------------------------------------------------------------------------- what can be chosen


def test_what_is_chosen_by_default(client: Client) -> None:
    chosen = choose(client, "field", model=AWKWARD)
    assert chosen == {
        "datasource": "barograph", "model": AWKWARD, "version": "2", "slice": "all", "field": "x", "window": "1d",
    }  # fmt: skip
    assert [row[0] for row in ask(client, QUERIES["variables.models"], {})] == sorted(NAMES.values())
    assert [row[0] for row in ask(client, QUERIES["variables.windows"], {"model": "fraud"})] == ["1d", "6h"]
    assert [row[0] for row in ask(client, QUERIES["variables.slices"], {"model": "fraud"})] == ["all", "arm=a", "arm=b"]


def test_a_window_of_the_last_events_counts_as_the_longest(client: Client) -> None:
    names = ["15m", "last 500", "1d", "1h"]
    rows = client.rows(
        f"SELECT name FROM (SELECT arrayJoin({{names:Array(String)}}) AS name) ORDER BY {window_seconds('name')} DESC",
        {"names": names},
    )
    assert [name for (name,) in rows] == ["last 500", "1d", "1h", "15m"]


def test_the_ends_of_an_interval_keep_their_sign_and_their_digits(client: Client) -> None:
    ends = {
        "0.00001, 0.00004": "0.00001 – 0.00004",
        "-0.0001234567, 0": "-0.0001235 – 0",
        "0.123456, 12.3456": "0.1235 – 12.35",
        "-inf, 1234567.891": "-∞ – 1234567.89",
        "-2, inf": "-2 – ∞",
        "nan, 1": "",
        "1, nan": "",
    }
    values = ", ".join(f"({text})" for text in ends)
    sql = f"SELECT {interval('low', 'high')} FROM VALUES('low Float64, high Float64', {values})"
    assert [text for (text,) in client.rows(sql)] == list(ends.values())


# ------------------------------------------------------------------------------------------------------------ fleet


def test_the_fleet_has_every_model_with_its_levels(client: Client) -> None:
    query = QUERIES["fleet.levels_now"]
    rows = {row[0]: dict(zip(query.names, row, strict=True)) for row in ask(client, query, {})}
    assert sorted(rows) == sorted(NAMES.values())
    for row in rows.values():
        assert (row["drift"], row["rates"], row["performance"], row["traffic"]) == (
            "major",
            "minor",
            "stable",
            "active",
        )
        assert (row["worst field"], row["PSI"]) == ("x", 0.35)
        assert row["errors"] == pytest.approx(ERRORS / REQUESTS)
        assert row["slow"] == pytest.approx(SLOW / REQUESTS)
        assert row["requests"] == REQUESTS * (47 + 36)
        assert row["last request"] == 0
    assert ask(client, QUERIES["fleet.in_breach"], {}) == [(4,)]
    assert ask(client, QUERIES["fleet.insufficient"], {}) == [(0,)]
    assert ask(client, QUERIES["fleet.silent"], {}) == [(0,)]
    assert ask(client, QUERIES["fleet.models"], {}) == [(4,)]


def judged(model: str, window: str, end_s: int, psi: float, level: str) -> dict[str, Any]:
    """A verdict on the field `x` of version 1."""
    known = {"model": model, "version": "1", "baseline_id": "b", "slice": "all", "field": "x", "n": 1, "record_seq": 1}
    return table_row("drift", **known, window=window, window_end=end_s, psi=psi, level=level)


def test_over_time_the_fleet_shows_the_longest_windows_of_each_model(engine: LocalClickHouse) -> None:
    with migrated(engine) as client:
        insert_rows(
            client,
            "drift",
            [
                judged("m", "1d", END_S, 0.05, "stable"),
                judged("m", "90m", END_S - HOUR_S, 0.5, "major"),
                judged("n", "15m", END_S - HOUR_S, 0.15, "minor"),
                # Another field of the window of o is stable; it says nothing about the one without enough data.
                judged("o", "1d", END_S - HOUR_S, 0.9, "insufficient"),
                judged("o", "1d", END_S - HOUR_S, 0.01, "stable") | {"field": "y"},
            ],
        )
        assert [row[1:] for row in ask(client, QUERIES["fleet.levels"], {})] == [("n", 3), ("o", 2), ("m", 1)]
        assert [row[1:] for row in ask(client, QUERIES["fleet.worst_psi_over_time"], {})] == [
            ("n", 0.15),
            ("o", None),
            ("m", 0.05),
        ]


@pytest.mark.parametrize(
    ("verdicts", "range_h", "since_h"),
    [
        pytest.param(
            [
                ("1", "1d", 4, "stable"),
                ("1", "1d", 3, "insufficient"),
                ("1", "1d", 2, "minor"),
                ("1", "1d", 1, "insufficient"),
                ("1", "1d", 0, "major"),
            ],
            47,
            2,
            id="a window without enough data ends no drift",
        ),
        pytest.param(
            [*(("1", "1d", hour, "major") for hour in range(40))],
            30,
            "before 30",
            id="it drifts from the start of the range on",
        ),
        pytest.param(
            [("1", "7d", 10, "major"), *(("1", "1d", hour, "stable") for hour in range(6))],
            6,
            None,
            id="no window of the level is in the range",
        ),
        pytest.param(
            [
                *(("1", "1d", hour, "major") for hour in range(15, 9, -1)),
                *(("2", "1d", hour, "stable") for hour in range(10)),
            ],
            47,
            None,
            id="the version that drifted has no traffic any more",
        ),
        pytest.param(
            [
                *(("1", "1d", 20, "major"), ("1", "1d", 9, "stable"), ("1", "1d", 1, "major"), ("1", "1d", 0, "major")),
                *(("1", "1d", hour, "insufficient of y") for hour in (20, 9, 1, 0)),
            ],
            47,
            1,
            id="a field without enough data does not make a window unstable",
        ),
    ],
)
def test_since_is_the_first_window_after_the_last_stable_one(
    engine: LocalClickHouse, verdicts: list[tuple[str, str, int, str]], range_h: int, since_h: int | str | None
) -> None:
    with migrated(engine) as client:
        for version, window, hours, text in verdicts:
            level, _, field = text.partition(" of ")
            of = {"version": version, "field": field or "x"}
            end_s = END_S - hours * HOUR_S
            insert_rows(client, "drift", [judged("p", window, end_s, 0.3, level) | of])
            known = {"model": "p", "version": version, "slice": "all", "window": window, "window_end": end_s}
            insert_rows(client, "rates", [table_row("rates", **known, field="events", kind="error", level="stable")])
        insert_rows(client, "progress", [table_row("progress", model="p")])
        query = QUERIES["fleet.levels_now"]
        (row,) = ask(client, query, {}, time_range=TimeRange.between(END - timedelta(hours=range_h), END))
        before, _, since_hours = str(since_h).rpartition(" ")
        since = "" if since_h is None else (END - timedelta(hours=int(since_hours))).strftime("%Y-%m-%d %H:%M")
        assert row[1:3] == ("major", f"{before} {since}".strip())


def test_a_fleet_without_traffic_is_silent_and_not_healthy(client: Client) -> None:
    later = TimeRange.between(END + timedelta(hours=2), END + timedelta(hours=5))
    assert ask(client, QUERIES["fleet.silent"], {}, time_range=later) == [(4,)]
    much_later = TimeRange.between(END + timedelta(days=5), END + timedelta(days=6))
    rows = ask(client, QUERIES["fleet.levels_now"], {}, time_range=much_later)
    # No model is in breach then, because none is judged.
    assert ask(client, QUERIES["fleet.insufficient"], {}, time_range=much_later) == [(4,)]
    assert {row[1:6] for row in rows} == {("no verdict", "", "no verdict", "no verdict", "silent")}


# ------------------------------------------------------------------------------------------------------------ model


def test_after_silent_days_a_page_keeps_its_variables_and_judges_nothing(client: Client) -> None:
    later = TimeRange.between(END + timedelta(days=3), END + timedelta(days=4))
    chosen: dict[str, Value] = {"model": "fraud"}
    for name, before in (("versions", "2"), ("slices", "all"), ("fields", "x"), ("windows", "1d")):
        rows = ask(client, QUERIES[f"variables.{name}"], chosen, time_range=later)
        assert rows[0][0] == before, name
    assert ask(client, QUERIES["freshness.completeness"], chosen, time_range=later) == []
    assert len(ask(client, QUERIES["performance.label_maturity"], {"model": "triage"}, time_range=RANGE)) == 3
    # The curve is learned on the wall clock, long after the event times of a replay.
    long_ago = TimeRange.between(END - timedelta(days=99), END - timedelta(days=98))
    assert len(ask(client, QUERIES["performance.label_maturity"], {"model": "triage"}, time_range=long_ago)) == 3


@pytest.mark.parametrize("name", NAMES.values())
def test_psi_is_that_of_the_last_revision_with_its_lines(client: Client, name: str) -> None:
    chosen: dict[str, Value] = {"model": name}
    rows = ask(client, QUERIES["drift.psi"], chosen)
    x = {row[0].timestamp(): row[2] for row in rows if row[1] == "x"}
    assert x[END_S] == 0.35
    assert x[MOVED_S] == 0.05
    assert {row[2] for row in rows if row[1] != "x"} == {0.02}
    assert {row[1:] for row in ask(client, QUERIES["drift.psi_thresholds"], chosen)} == {(0.1, 0.2)}
    levels = {(row[0].timestamp(), row[2]): row[3] for row in ask(client, QUERIES["drift.levels"], chosen)}
    # The field with the largest PSI comes first.
    assert {row[2] for row in ask(client, QUERIES["drift.levels"], chosen) if row[1] == "01"} == {"x"}
    assert levels[END_S, "x"] == LEVEL_NUMBERS["major"]
    assert levels[MOVED_S, "x"] == LEVEL_NUMBERS["stable"]
    assert ask(client, QUERIES["drift.worst_level"], chosen) == [(LEVEL_NUMBERS["major"],)]
    assert ask(client, QUERIES["drift.worst_psi"], chosen) == [(0.35, "x")]


def test_fields_come_worst_first(engine: LocalClickHouse) -> None:
    """By level, then by PSI; a window with insufficient data counts only if there is no other."""
    with migrated(engine) as client:
        verdicts = [("a", 0.3, "minor"), ("b", 0.25, "major"), ("c", 0.05, "stable"), ("d", 0.07, "stable")]
        verdicts += [("e", 9.0, "insufficient"), ("c", 7.0, "insufficient")]
        rows = [
            judged("m", "1d", END_S - i * HOUR_S, psi, level) | {"field": f}
            for i, (f, psi, level) in enumerate(verdicts)
        ]
        insert_rows(client, "drift", rows)
        ranked = {row[1]: row[2] for row in ask(client, QUERIES["drift.levels"], {"model": "m"})}
        assert [ranked[rank] for rank in sorted(ranked)] == ["b", "a", "d", "c", "e"]
        # The bars show the last window of each field, so that there the latest verdicts decide.
        assert ask(client, QUERIES["drift.worst_fields"], {"model": "m"}) == [("a",), ("b",), ("d",)]


def test_a_step_of_several_windows_is_as_bad_as_the_worst(client: Client) -> None:
    rows = ask(client, QUERIES["drift.levels"], {"model": "fraud"}, interval_s=24 * HOUR_S)
    assert max(row[3] for row in rows if row[2] == "x") == LEVEL_NUMBERS["major"]


def test_too_little_data_is_never_stable(client: Client) -> None:
    chosen: dict[str, Value] = {"model": "fraud", "slice": "arm=b"}
    assert {row[2] for row in ask(client, QUERIES["drift.psi"], chosen)} == {None}
    assert {row[3] for row in ask(client, QUERIES["drift.levels"], chosen)} == {LEVEL_NUMBERS["insufficient"]}
    assert ask(client, QUERIES["drift.worst_level"], chosen) == [(LEVEL_NUMBERS["insufficient"],)]
    assert {row[1:3] for row in ask(client, QUERIES["drift.fields"], chosen)} == {("insufficient", "too few events")}
    verdicts = ask(client, QUERIES["drift.field_verdicts"], {**chosen, "field": "x"})
    assert {row[1:3] for row in verdicts} == {("insufficient", "too few events")}
    by_slice = {row[0]: row[1] for row in ask(client, QUERIES["drift.slices"], {"model": "fraud"})}
    assert by_slice == {"all": "major", "arm=a": "major", "arm=b": "insufficient"}


def test_traffic_errors_and_latency_against_the_promises(client: Client) -> None:
    chosen: dict[str, Value] = {"model": "fraud"}
    # Panes are an hour long: a rate is one, whatever the step.
    for interval_s in (60, HOUR_S, 5 * HOUR_S):
        rows = ask(client, QUERIES["traffic.requests"], chosen, interval_s=interval_s)
        assert {round(row[2], 9) for row in rows} == {round(REQUESTS / 60, 9)}
    # Alerts read all versions, so that the charts that they link to show all versions, too.
    for name, share in (("errors", ERRORS / REQUESTS), ("slow", SLOW / REQUESTS)):
        rows = ask(client, QUERIES[f"traffic.{name}"], chosen)
        assert {row[1] for row in rows} == {"1", "2"}
        assert {round(row[2], 9) for row in rows} == {round(share, 9)}
    latency = ask(client, QUERIES["traffic.latency"], chosen)
    assert {row[1:] for row in latency} == {(2.0, 4.0, 5.0)}
    for name, objective in (("errors_slo", 0.01), ("slow_slo", 0.05), ("latency_slo", 100.0)):
        rows = ask(client, QUERIES[f"traffic.{name}"], chosen)
        assert [row[1] for row in rows] == pytest.approx([objective] * 48)
        # Without an objective there is no line, and so no name in the legend.
        assert ask(client, QUERIES[f"traffic.{name}"], {"model": "nobody"}) == []
    assert ask(client, QUERIES["traffic.requests_now"], chosen) == [(REQUESTS * 47,)]


def test_performance_and_its_estimates(client: Client) -> None:
    chosen: dict[str, Value] = {"model": "triage"}
    assert {row[1:] for row in ask(client, QUERIES["performance.measured"], chosen)} == {("accuracy", 0.7)}
    assert {row[1:] for row in ask(client, QUERIES["performance.promises"], chosen)} == {("accuracy SLO", 0.65)}
    assert {row[1:] for row in ask(client, QUERIES["performance.cbpe"], chosen)} == {("accuracy", 0.69, 0.7)}
    assert ask(client, QUERIES["performance.label_maturity"], chosen) == [("1 min", 0.1), ("2 h", 0.6), ("10 d", 1.0)]
    assert {row[1] for row in ask(client, QUERIES["performance.label_coverage"], chosen)} == {0.4}


def test_the_main_metric_stands_alone_with_its_reference(client: Client) -> None:
    rows = ask(client, QUERIES["performance.main_metric"], {"model": "triage"})
    # Every window is measured, so that there is nothing to estimate.
    assert {row[1:] for row in rows} == {("accuracy", 0.7, None, 0.71)}
    assert {row[1] for row in ask(client, QUERIES["performance.main_promise"], {"model": "triage"})} == {0.65}


def test_an_estimate_continues_the_main_metric_before_labels(engine: LocalClickHouse) -> None:
    with migrated(engine) as client:
        known = {"model": "m", "version": "1", "slice": "all", "metric": "auc", "window": "1d", "predictions": 9}
        for days, level, value in (
            (0, "insufficient", 0.2),
            (1, "insufficient", float("nan")),
            (2, "stable", 0.8),
            (3, "major", 0.7),
        ):
            end_s = END_S // 86_400 * 86_400 - days * 86_400
            measured = {"window_end": end_s, "value": value, "level": level, "cbpe": 0.75, "promise": float("nan")}
            insert_rows(client, "performance", [table_row("performance", **known, **measured, reference=0.81)])
        week = TimeRange.between(END - timedelta(days=7), END)
        rows = ask(client, QUERIES["performance.main_metric"], {"model": "m"}, time_range=week)
        assert [row[2:4] for row in rows] == [(0.7, None), (0.8, 0.75), (None, 0.75), (None, 0.75)]


def test_metrics_of_opposite_directions_are_on_two_panels(engine: LocalClickHouse) -> None:
    names = {name for kind in PERFORMANCE_METRICS.values() for name in kind}
    with migrated(engine) as client:
        known = {"model": "m", "version": "1", "slice": "all", "window": "1d", "window_end": END_S, "predictions": 9}
        measured = [table_row("performance", **known, metric=name, value=0.5, promise=0.4) for name in names]
        insert_rows(client, "performance", measured)
        of_shares, of_errors = (
            {row[1] for row in ask(client, QUERIES[f"performance.{name}"], {"model": "m"})}
            for name in ("measured", "errors")
        )
        assert of_errors == {name for name in names if name in ERRORS_OF_MODELS | SIGNED}
        assert of_shares == names - of_errors
        for name, metrics in (("promises", of_shares), ("error_promises", of_errors)):
            assert {row[1] for row in ask(client, QUERIES[f"performance.{name}"], {"model": "m"})} == {
                f"{metric} SLO" for metric in metrics
            }


def test_comparisons_follow_the_window(client: Client) -> None:
    for name, version in (("versions", "2"), ("arms", "1")):
        chosen: dict[str, Value] = {"model": "fraud", "version": version}
        assert ask(client, QUERIES[f"comparisons.{name}"], {**chosen, "window": "1d"})
        assert ask(client, QUERIES[f"comparisons.{name}"], {**chosen, "window": "6h"}) == []


def test_answers_by_class(client: Client) -> None:
    rows = ask(client, QUERIES["distribution.class_shares"], {"model": "triage"})
    last = {row[1]: row[2] for row in rows if row[0].timestamp() == END_S - HOUR_S}
    assert list(last)[:2] == ["no", "null"]
    assert sum(last.values()) == pytest.approx(1.0)
    assert not ask(client, QUERIES["distribution.class_shares"], {"model": "demand"})


# ------------------------------------------------------------------------------------------------------------ field


@pytest.mark.parametrize(("model", "field"), [("fraud", "x"), ("fraud", "tokens"), (AWKWARD, "x"), ("triage", "class")])
def test_the_last_window_against_training(client: Client, models: dict[str, Watched], model: str, field: str) -> None:
    one = next(each for each in models.values() if each.name == model)
    baseline = next(each for each in one.fields if each.name == field)
    rows = ask(client, QUERIES["distribution.now"], {"model": model, "field": field})
    trained = [cell / sum(baseline.slices["all"].cells) for cell in baseline.slices["all"].cells]
    if baseline.kind == "numeric":
        names = [*bin_labels(baseline.edges, integer=baseline.integer), "null"]
    else:
        names = [*baseline.categories, "other", "null"]
    assert [row[0] for row in rows] == names
    assert [row[1] for row in rows] == pytest.approx(trained)
    assert ask(client, QUERIES["distribution.now_of_worst"], {"model": model, "worst_field": field}) == rows
    # The last day of the field that moved holds its cells the other way round.
    moved = field == one.fields[0].name
    assert [row[2] for row in rows] == pytest.approx(trained[::-1] if moved else trained)
    assert sum(row[2] for row in rows) == pytest.approx(1.0)


def test_cells_over_time_are_in_their_order(client: Client, models: dict[str, Watched]) -> None:
    rows = ask(client, QUERIES["distribution.heatmap"], {"model": "fraud", "field": "x"})
    edges = models["binary"].fields[0].edges
    names = [*bin_labels(edges, integer=False), "null"]
    assert sorted({row[1:3] for row in rows}) == [(f"{i:03d}", name) for i, name in enumerate(names, 1)]
    by_time: dict[float, float] = {}
    for time, *_, share in rows:
        by_time[time.timestamp()] = by_time.get(time.timestamp(), 0.0) + share
    assert len(by_time) == 47
    assert all(total == pytest.approx(1.0) for total in by_time.values())


def test_verdicts_with_their_intervals(client: Client) -> None:
    chosen: dict[str, Value] = {"model": AWKWARD, "field": "x"}
    row = ask(client, QUERIES["drift.field_psi"], chosen)[-1]
    assert row[1:] == pytest.approx((0.35, 0.34, 0.36, 0.1, 0.2))
    assert ask(client, QUERIES["drift.field_psi_now"], chosen) == [pytest.approx((0.35, 0.34, 0.36))]
    assert ask(client, QUERIES["drift.field_level"], chosen) == [(LEVEL_NUMBERS["major"],)]
    newest = ask(client, QUERIES["drift.field_verdicts"], chosen)[0]
    assert (newest[0].timestamp(), newest[1], newest[-1]) == (END_S, "major", 2)
    assert ask(client, QUERIES["rates.categories"], chosen)[0][0::3] == ("never seen", 14)


def test_rates_have_training_rates_and_thresholds(client: Client) -> None:
    chosen: dict[str, Value] = {"model": "fraud", "field": "x"}
    for row in ask(client, QUERIES["rates.nulls"], chosen):
        assert row[1:] == pytest.approx((0.04, 0.001, 0.011, 0.051))
    outside = {row[1:] for row in ask(client, QUERIES["rates.outside"], chosen)}
    assert outside == {(kind, 0) for kind in ("unseen", "below", "above", "invalid")}
    assert {row[1:] for row in ask(client, QUERIES["rates.outside_thresholds"], chosen)} == {(0.01, 0.05)}
    for name, rate in (("nulls", 0.04), ("unseen", 0.001), ("range", 0.001)):
        assert ask(client, QUERIES[f"rates.{name}_now"], chosen) == [pytest.approx((rate, 0.001))]


# --------------------------------------------------------------------------------------------------------- pipeline


def test_the_pipeline_of_one_model_and_of_all(client: Client) -> None:
    everything: dict[str, Value] = {"model": ALL}
    one: dict[str, Value] = {"model": "fraud"}
    assert ask(client, QUERIES["pipeline.dead_letters"], everything) == [(5,)]
    assert ask(client, QUERIES["pipeline.dead_letters"], one) == [(5,)]
    assert ask(client, QUERIES["pipeline.dead_letters"], {"model": "triage"}) == [(2,)]
    assert ask(client, QUERIES["pipeline.late"], one) == [(LATE / REQUESTS,)]
    assert ask(client, QUERIES["pipeline.completeness"], everything) == [(0.99,)]
    assert ask(client, QUERIES["pipeline.duplicates"], one) == [(0.2,)]
    assert len(ask(client, QUERIES["pipeline.sealed_age"], everything)) == len(NAMES)
    [(_, sealed_s, read_s, _)] = ask(client, QUERIES["pipeline.sealed_age"], one)
    assert (sealed_s, read_s) == (0, 0)
    yesterday = TimeRange.between(END - timedelta(hours=47), END - timedelta(hours=24, minutes=20))
    [(_, sealed_s, read_s, _)] = ask(client, QUERIES["pipeline.sealed_age"], one, time_range=yesterday)
    assert (sealed_s, read_s) == (0, 0), "times after the range count as its end"
    of_model: dict[str, Value] = {"model": "fraud"}
    assert ask(client, QUERIES["freshness.sealed_age"], of_model, time_range=yesterday) == [(0,)]


def test_a_processor_that_stopped_reporting_is_silent(client: Client) -> None:
    assert ask(client, QUERIES["pipeline.silent"], {}) == [(1,)]
    rows = {row[0]: row[1:3] for row in ask(client, QUERIES["pipeline.processors"], {})}
    reporting = {f"{kind} {kind}-1": ("reports", 0) for kind in ("sketcher", "scorer")}
    assert rows == {"monitor monitor-1": ("silent", 120), **reporting}
    assert ask(client, QUERIES["pipeline.lag_now"], {}) == [(15,)]
    assert {row[2] for row in ask(client, QUERIES["pipeline.watchdog"], {}, interval_s=10)} == {7}
    assert {row[2] for row in ask(client, QUERIES["pipeline.insert_times"], {}, interval_s=60)} == {0.25}
    tried = ask(client, QUERIES["pipeline.retries"], {}, interval_s=3600)
    assert sum(row[2] for row in tried if row[1].startswith("sketcher")) >= 1


def test_nothing_lost_is_zero_only_where_somebody_counted(client: Client, engine: LocalClickHouse) -> None:
    quiet = ("rejected", "late", "dead", "duplicate", "unmatched")
    for name in quiet:
        assert ask(client, QUERIES[f"pipeline.none_{name}"], {"model": "fraud"}) == [], name
    with migrated(engine) as idle:
        for name in quiet:
            assert ask(idle, QUERIES[f"pipeline.none_{name}"], {"model": ALL}) == [], name
        for hours in (3, 2):
            insert_rows(
                idle, "processors", [table_row("processors", kind="sketcher", at=(END_S - hours * HOUR_S) * 1000)]
            )
        insert_rows(idle, "volume", [table_row("volume", model="m", slice="all", n=9, pane_start=END_S - HOUR_S)])
        for name, hours_before in (("rejected", [3, 2]), ("dead", [3, 2]), ("late", [1])):
            rows = ask(idle, QUERIES[f"pipeline.none_{name}"], {"model": ALL})
            assert [(row[0].timestamp(), row[1]) for row in rows] == [(END_S - h * HOUR_S, 0) for h in hours_before], (
                name
            )


def test_an_idle_processor_has_no_overdue_commit(engine: LocalClickHouse) -> None:
    with migrated(engine) as client:
        times = {"at": END_S * 1000, "started_at": (END_S - 9000) * 1000, "last_commit_at": (END_S - 1000) * 1000}
        for kind, lag in (("recorder", 0), ("sketcher", 9)):
            insert_rows(client, "processors", [table_row("processors", kind=kind, instance="a", lag=lag, **times)])
        query = QUERIES["pipeline.processors"]
        index = query.names.index("last commit")
        assert {row[0]: row[index] for row in ask(client, query, {})} == {"recorder a": None, "sketcher a": 1000}


@pytest.mark.parametrize("step_s", [10, 300, HOUR_S])
def test_metrics_equal_the_reports_of_processors(client: Client, step_s: int) -> None:
    """Gauges are 4 and counters grow by one per second, at any step; long steps are read from another table."""
    for panel in ("committed_age", "waiting", "healthy", "memory"):
        rows = ask(client, QUERIES[f"pipeline.{panel}"], {}, interval_s=step_s)
        assert {row[2] for row in rows} == {4}, panel
    assert {row[1] for row in ask(client, QUERIES["pipeline.committed_age"], {}, interval_s=step_s)} == {
        "monitor monitor-1: committed age predictions",
        "monitor monitor-1: loop age",
        "scorer scorer-1: loop age",
        "sketcher sketcher-1: committed age predictions",
        "sketcher sketcher-1: loop age",
    }
    # Counters start at the first report within the range.
    grown: dict[str, float] = {}
    for _, what, n in ask(client, QUERIES["pipeline.events"], {}, interval_s=step_s):
        grown[what] = grown.get(what, 0) + n
    assert grown == {
        "monitor monitor-1: events counted": 1080,
        "scorer scorer-1: events counted": 1200,
        "sketcher sketcher-1: events counted": 1200,
    }
    put_aside = {row[1] for row in ask(client, QUERIES["pipeline.rejected"], {}, interval_s=step_s)}
    assert put_aside == {
        "monitor monitor-1: dead letters empty",
        "sketcher sketcher-1: dead letters empty",
        "sketcher sketcher-1: offsets lost predictions",
    }
    cpu = [row[2] for row in ask(client, QUERIES["pipeline.cpu"], {}, interval_s=step_s)]
    assert sum(cpu) * step_s == pytest.approx(1080 + 1200 + 1200)
    inserted = {row[1] for row in ask(client, QUERIES["pipeline.inserted"], {}, interval_s=step_s)}
    assert inserted == {f"{kind} {kind}-1: inserted rows contracts" for kind in ("monitor", "scorer")}
    assert {row[1] for row in ask(client, QUERIES["pipeline.scored"], {}, interval_s=step_s)} == {
        "scorer scorer-1: windows new"
    }


# ------------------------------------------------------------------------------------------------ state for serving


def test_the_states_for_serving_and_their_reasons(client: Client) -> None:
    rows = ask(client, QUERIES["health.states"], {"model": AWKWARD})
    assert [(row[0].timestamp() - END_S, row[1]) for row in rows] == [
        (-2 * HOUR_S, STATE_NUMBERS["degraded"]),
        (-HOUR_S, STATE_NUMBERS["healthy"]),
    ]
    ((*reason, first, last, text),) = ask(client, QUERIES["health.reasons"], {"model": AWKWARD})
    assert (reason, text) == (["errors", "", "degraded"], "errors 59")
    assert (first.timestamp(), last.timestamp()) == (END_S - 7200, END_S - 7200 + 59 * 60)


def test_a_guard_that_stopped_has_no_record(client: Client) -> None:
    after = TimeRange.between(END - timedelta(minutes=10), END + timedelta(minutes=30))
    rows = ask(client, QUERIES["health.states"], {"model": "fraud"}, time_range=after, interval_s=60)
    names = {number: state for state, number in STATE_NUMBERS.items()}
    states = [(row[0].timestamp() - END_S, names[row[1]]) for row in rows]
    # The last record is a minute before the end; `no record` begins three minutes after it.
    assert states[-2:] == [(-60, "healthy"), (120, "no record")]
    assert {state for _, state in states[:-1]} == {"healthy"}


# ---------------------------------------------------------------------------------------------------- detectability


def test_the_change_before_a_major_verdict(client: Client) -> None:
    ((end, *row, likelihood, evidence, owner),) = ask(client, QUERIES["changes.causes"], {"model": AWKWARD})
    moved = datetime.fromtimestamp(MOVED_S, UTC)
    assert end.timestamp() == MOVED_S + HOUR_S
    around = [f"{moved + timedelta(minutes=minutes):%m-%d %H:%M}" for minutes in (-1, 1)]
    assert row == ["x", "psi 6h", " to ".join(around), "deploy job abc", f"{moved:%m-%d %H:%M}"]
    assert (likelihood, evidence, owner) == ("likely", "own source, at onset", "ana")


def test_all_changes_of_a_model(client: Client) -> None:
    rows = ask(client, QUERIES["changes.all"], {"model": AWKWARD})
    by_kind = {row[2]: row for row in rows}
    assert list(by_kind["deploy"][3:]) == ["job abc", "fleet", "ana", "faster"]
    assert {"deploy", "version"} <= set(by_kind)
    # A change without a model may concern every model.
    assert by_kind["upgrade"][1] == "any"
    assert {row[1] for row in rows} <= {AWKWARD, "any"}


def test_the_lineage_with_levels(client: Client) -> None:
    chosen: dict[str, Value] = {"model": AWKWARD, "version": "2", "window": "1d"}
    nodes = {row[0]: row[1:] for row in ask(client, QUERIES["lineage.nodes"], chosen)}
    stable, nothing, major = (1, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 1)
    assert nodes["field:x"] == ("x", "float", "major", *major, "field", "")
    assert nodes["output:score"] == ("score", "float", "stable", *stable, "output", "")
    assert nodes["source:fleet"] == ("fleet", "airflow", "", *nothing, "source", "ana")
    edges = {row[1:] for row in ask(client, QUERIES["lineage.edges"], chosen)}
    model = f"model:{AWKWARD}"
    assert {
        ("source:fleet", "field:x"),
        ("field:x", model),
        (model, "output:score"),
        (model, "consumer:gates"),
    } <= edges
    assert {end for edge in edges for end in edge} == set(nodes)


def test_the_last_computation_of_what_is_detected(client: Client) -> None:
    chosen: dict[str, Value] = {"model": AWKWARD, "version": "2"}
    sizes = ("", "1 (0.5 sd)", "0.5 (0.25 sd)")
    ((field, *row, at),) = ask(client, QUERIES["detectability.blind_spots"], chosen)
    assert row == ["a sentence", "psi-major", *sizes]
    assert at.timestamp() == END_S
    ((*row,),) = ask(client, QUERIES["detectability.windows"], chosen)
    assert row == [field, "all", "shift of the mean", "1h", 500.0, 3.0, *sizes]
    assert ask(client, QUERIES["detectability.windows"], {"model": AWKWARD, "version": "1"}) == []


# ----------------------------------------------------------------------------------------------------------- drills


def test_the_last_drill_of_each_model_fault_and_field(engine: LocalClickHouse) -> None:
    with migrated(engine) as client:
        insert_rows(client, "contracts", [table_row("contracts", model=model) for model in ("fraud", "triage")])
        assert ask(client, QUERIES["drills.last"], {}) == [], "without any drill the panel says how to run one"
        shared = {"model": "fraud", "fault": "null-rise", "mode": "fast"}
        at_ms = int(datetime(2026, 3, 1, 12, 30, tzinfo=UTC).timestamp()) * 1000
        timed = {"page_after_s": 600.0, "predicted_low_s": 300.0, "predicted_high_s": 900.0, "degraded_after_s": 660.0}
        texts = {"expected": ["page null-rate x", "no other page"], "observed": ["it paged", "latency"]}
        rows = [
            {"field": "x", "at": at_ms - 1000, "passed": False, "drill_id": "c", **texts, "met": [True, False]},
            {"field": "x", "at": at_ms, "passed": True, "drill_id": "a", **timed, **texts, "met": [True, True]},
            {"field": "score", "at": at_ms - 2000, "passed": False, "drill_id": "b", **texts, "met": [True, False]},
        ]
        insert_rows(client, "drills", [table_row("drills", **shared, **own) for own in rows])
        nothing = (None, None, None, None)
        assert ask(client, QUERIES["drills.last"], {}) == [
            ("fraud", "null-rise", "score", "failed", "2026-03-01 12:29", *nothing, "fast", "no other page: latency"),
            ("triage", "", "", "never run", "", *nothing, "", ""),
            ("fraud", "null-rise", "x", "passed", "2026-03-01 12:30", 600, 300, 900, 660, "fast", ""),
        ]


# ------------------------------------------------------------------------------------------------------ annotations


def test_deployments_and_baselines_are_marked(client: Client) -> None:
    chosen: dict[str, Value] = {"model": AWKWARD}
    # Version 1 began before the range.
    assert [row[1:] for row in ask(client, QUERIES["events.deployments"], chosen)] == [
        (f"{AWKWARD}: version 2", "deployment")
    ]
    marked = ask(client, QUERIES["events.baselines"], chosen)
    assert [(row[0].timestamp(), row[1]) for row in marked] == [
        (END_S - 3 * HOUR_S, f"{AWKWARD}: new baseline of 2 – retrained")
    ]
    assert len(ask(client, QUERIES["events.all_deployments"], {})) == len(NAMES)
