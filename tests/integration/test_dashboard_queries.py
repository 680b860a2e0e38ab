"""The numbers of queries of dashboards but the page LLM (`test_llm_panels`), over two planted days."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from barograph_server.dashboards.macros import ALL, TimeRange
from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.sketches.baseline.bins import bin_labels
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.operations.status import latest_drift
from barograph_server.warehouse.panels.fragments import (
    LEVEL_NUMBERS,
    STATE_NUMBERS,
    drift_level,
    drift_reason,
    window_seconds,
)
from barograph_server.warehouse.panels.named import named_queries
from barograph_server.warehouse.signals import verdicts as signals
from barograph_server.warehouse.signals.signal import point_sql
from barograph_server.warehouse.signals.verdicts import HoppingWindow, PaneTiming
from barograph_server.warehouse.tables import insert_rows
from tests.support.two_day_model import (
    END,
    END_S,
    ERRORS,
    HOUR_S,
    LATE,
    MOVED_S,
    QUERIES,
    REQUESTS,
    SLOW,
    ask,
    fill,
    fill_pipeline,
    watched,
)
from tests.support.warehouse import emptied, insert, migrated
from tests.support.warehouse import row as table_row

ODD = "it's \\ $model"
KINDS = {"fraud": "binary", "triage": "classes", "demand": "number", ODD: "binary"}
MODELS = {name: watched(kind, name) for name, kind in KINDS.items()}


@pytest.fixture(scope="module")
def client(engine: LocalClickHouse) -> Iterator[Client]:
    with migrated(engine) as client:
        for model in MODELS.values():
            fill(client, model)
        fill_pipeline(client, "fraud")
        yield client


@pytest.fixture
def empty(migrated_client: Client) -> Client:
    return emptied(migrated_client)


def hours_before(hours: float) -> datetime:
    return END - timedelta(hours=hours)


def test_the_values_of_variables(client: Client) -> None:
    assert [row[0] for row in ask(client, "variables.models")] == sorted(MODELS)
    assert ask(client, "variables.versions", model=ODD)[0][0] == "2"
    assert ask(client, "variables.fields", model=ODD)[0][0] == "x"
    errors = {"model": "fraud", "kind": "error", "field": "events", "slice": "all"}
    insert(client, rates=[table_row("rates", **errors, window="8h", window_end=END_S - 30 * HOUR_S, level="stable")])
    assert [row[0] for row in ask(client, "variables.windows", model="fraud")] == ["1d", "6h", "8h"]
    assert [row[0] for row in ask(client, "variables.slices", model="fraud")] == ["all", "arm=a", "arm=b"]


def test_a_window_of_the_last_events_counts_as_the_longest(client: Client) -> None:
    names = "SELECT arrayJoin(['15m', 'last 500', '1d', '1h']) AS name"
    rows = client.rows(f"SELECT name FROM ({names}) ORDER BY {window_seconds('name')} DESC")
    assert [name for (name,) in rows] == ["last 500", "1d", "1h", "15m"]


def test_the_fleet_has_every_model_with_its_state(client: Client) -> None:
    names = QUERIES["fleet.models_now"].names
    rows = {row[0]: dict(zip(names, row, strict=True)) for row in ask(client, "fleet.models_now")}
    assert sorted(rows) == sorted(MODELS)
    for row in rows.values():
        assert row["state"] == "major"
        for reason in ("drift of x, 6h: PSI 0.35", "2 % of predictions failed, SLO 1 %"):
            assert reason in f"{row['why']}; {row['others']}"
        assert row["errors"] == pytest.approx(ERRORS / REQUESTS)
        assert row["slow"] == pytest.approx(SLOW / REQUESTS)
        assert (row["requests"], row["last request"]) == (REQUESTS * (47 + 36), "< 60 min ago")
    much_later = TimeRange.between(hours_before(-120), hours_before(-144))
    states = {row[1] for row in ask(client, "fleet.models_now", time_range=much_later)}
    assert "stable" not in states, "a fleet without verdicts is not healthy"


MEAN_RANKS = {"like training": (0.6, 0.4), "unlike training": (0.9, 1e-6)}


def judged(model: str, window: str, end_s: int, psi: float, level: str, field: str = "x") -> dict[str, Any]:
    known = {"model": model, "version": "1", "baseline_id": "b", "slice": "all", "n": 1, "record_seq": 1}
    if level in MEAN_RANKS:
        rank, p = MEAN_RANKS[level]
        known |= {"mean_rank": rank, "mean_p": p, "reason": "correlated events"}
        level = "insufficient"
    return table_row("drift", **known, field=field, window=window, window_end=end_s, psi=psi, level=level)


def test_over_time_the_fleet_shows_all_windows_of_each_model(empty: Client) -> None:
    verdicts = [
        judged("m", "1d", END_S, 0.05, "stable"),
        judged("m", "90m", END_S - HOUR_S, 0.5, "major"),
        judged("n", "15m", END_S - HOUR_S, 0.15, "minor"),
        # A field without enough data hides no other.
        judged("o", "1d", END_S - HOUR_S, 0.9, "insufficient"),
        judged("o", "1d", END_S - HOUR_S, 0.01, "stable", "y"),
    ]
    insert_rows(empty, "drift", verdicts)
    null_rates = {"model": "n", "version": "1", "slice": "all", "field": "x", "kind": "null"}
    insert_rows(empty, "rates", [table_row("rates", **null_rates, window="15m", window_end=END_S, level="major")])
    levels = {(row[0].timestamp() - END_S, row[1]): row[2] for row in ask(empty, "fleet.levels")}
    number = LEVEL_NUMBERS
    assert levels == {
        (-HOUR_S, "m"): number["major"], (-HOUR_S, "n"): number["minor"], (-HOUR_S, "o"): number["stable"],
        (0, "m"): number["stable"], (0, "n"): number["major"],
    }  # fmt: skip


@pytest.mark.parametrize("old", ["a", "z"])
def test_of_two_baselines_in_a_window_the_one_with_more_events_counts(empty: Client, old: str) -> None:
    new = judged("m", "1d", END_S, 0.5, "major") | {"n": 2632}
    rest = judged("m", "1d", END_S, 0.0, "insufficient")
    rest |= {"n": 88, "baseline_id": old, "window_start": END_S - 24 * HOUR_S}
    counted = {"model": "m", "version": "1", "slice": "all", "window": "1d", "window_end": END_S}
    rates = [table_row("rates", **counted, field="events", kind="error", level="stable")]
    insert(empty, drift=[new, rest], rates=rates, progress=[table_row("progress", model="m")])
    assert [each.level for each in latest_drift(empty, "m")] == ["major"]
    (row,) = ask(empty, "fleet.models_now", time_range=TimeRange.between(hours_before(47), END))
    assert row[named_queries()["fleet.models_now"].names.index("state")] == "major"
    nulls = counted | {"field": "x", "kind": "null", "p_value": 0.0, "training_delta": 0.0, "record_seq": 1}
    known = {"n": 2632, "baseline_id": "b", "delta": 0.3, "delta_low": 0.2, "delta_high": 0.4}
    unknown = {"n": 88, "baseline_id": old, "delta": 0.0, "delta_low": 0.0, "delta_high": 0.1}
    insert(empty, rates=[table_row("rates", **nulls, **each) for each in (known, unknown)])
    window, pane = HoppingWindow("1d", HOUR_S), PaneTiming(60, 60, 60)
    signal = signals.rate("m", ("x",), ("null",), window, pane, 0.05)
    assert [row[-1] for row in empty.rows(point_sql(signal, at=str(END_S + 60)))] == [0.3]
    # The other baseline is newer, but older than the window.
    newer = table_row("baselines", model="m", version="1", baseline_id=old, effective_from=END_S - 25 * HOUR_S)
    tokens = counted | {"field": "ttft_ms"}
    slow, slower = (({"n": n, "baseline_id": id_, "p99": p99}) for n, id_, p99 in ((2632, "b", 0.3), (88, old, 0.9)))
    statistics = [table_row("distances", **tokens, **each) for each in (slow, slower)]
    insert(empty, baselines=[newer], distances=statistics)
    signal = signals.psi("m", ("x",), window, window, pane, 0.2)
    assert [row[-1] for row in empty.rows(point_sql(signal, at=str(END_S + 60)))] == [0.5]
    chosen: Any = {"model": "m", "version": "1", "window": "1d"}
    rows = ask(empty, "generations.first_token", time_range=TimeRange.between(hours_before(47), END), **chosen)
    assert [row[-1] for row in rows] == [0.3]


def test_since_is_the_first_window_after_the_last_stable_one(empty: Client) -> None:
    short_of_data = [("1", hour, "insufficient of y") for hour in (20, 9, 1, 0)]
    ended = [("1", hour, "major") for hour in range(15, 9, -1)] + [("2", hour, "stable") for hour in range(10)]
    drifts = [("1", 4, "stable"), ("1", 3, "insufficient"), ("1", 2, "minor"), ("1", 1, "insufficient")]
    unlike = [("1", hour, f"{'like' if hour == 2 else 'unlike'} training") for hour in range(5)]
    again = [("1", 20, "major"), ("1", 9, "stable"), ("1", 1, "major"), ("1", 0, "major")]
    # Story; verdicts as version, hours before the end, and level; the hours of the range; what is shown as since.
    for story, verdicts, range_h, since in (
        ("a window without enough data ends no drift", [*drifts, ("1", 0, "major")], 47, "2"),
        ("it drifts from before the range on", [("1", hour, "major") for hour in range(40)], 30, "before 39"),
        ("the version that drifted has no traffic any more", ended, 47, ""),
        ("a field without enough data does not make a window unstable", again + short_of_data, 47, "1"),
        ("a window like training ends no drift", [*drifts[:3], ("1", 1, "like training"), ("1", 0, "major")], 47, "2"),
        ("a window like training ends what is unlike it", unlike, 47, "1"),
    ):
        drift, rates = [], []
        for version, hours, text in verdicts:
            level, _, field = text.partition(" of ")
            end_s = END_S - hours * HOUR_S
            drift.append(judged("p", "1d", end_s, 0.3, level, field or "x") | {"version": version})
            known = {"model": "p", "version": version, "slice": "all", "window": "1d", "window_end": end_s}
            rates.append(table_row("rates", **known, field="events", kind="error", level="stable"))
        emptied(empty)
        insert(empty, drift=drift, rates=rates, progress=[table_row("progress", model="p")])
        (row,) = ask(empty, "fleet.models_now", time_range=TimeRange.between(hours_before(range_h), END))
        before, _, hours_text = since.rpartition(" ")
        shown = hours_before(int(hours_text)).strftime("%Y-%m-%d %H:%M") if since else ""
        state = "unlike training" if verdicts is unlike else "major" if since else "stable"
        assert row[1:3] == (state, f"{before} {shown}".strip()), story


def test_after_silent_days_a_page_keeps_its_variables_and_judges_nothing(client: Client) -> None:
    later = TimeRange.between(hours_before(-72), hours_before(-96))
    for name, before in (("versions", "2"), ("slices", "all"), ("fields", "x"), ("windows", "1d")):
        assert ask(client, f"variables.{name}", model="fraud", time_range=later)[0][0] == before, name
    assert ask(client, "freshness.completeness", model="fraud", time_range=later) == []
    # The curve is learned on the wall clock, long after the event times of a replay.
    long_ago = TimeRange.between(hours_before(99 * 24), hours_before(98 * 24))
    assert len(ask(client, "performance.label_maturity", model="triage", time_range=long_ago)) == 3


def test_psi_is_that_of_the_last_revision_with_its_lines(client: Client) -> None:
    for model in MODELS:
        rows = ask(client, "drift.psi", model=model)
        x = {row[0].timestamp(): row[2] for row in rows if row[1] == "x"}
        assert (x[END_S], x[MOVED_S]) == (0.35, 0.05), model
        assert {row[2] for row in rows if row[1] != "x"} == {0.02}
        assert {row[1:] for row in ask(client, "drift.psi_thresholds", model=model)} == {(0.1, 0.2)}
        rows = ask(client, "drift.levels", model=model)
        levels = {(row[0].timestamp(), row[2]): row[3] for row in rows}
        # The field with the largest PSI comes first.
        assert {row[2] for row in rows if row[1] == "01"} == {"x"}
        assert levels[END_S, "x"] == LEVEL_NUMBERS["major"]
        # Its rate of nulls is minor throughout.
        assert levels[MOVED_S, "x"] == LEVEL_NUMBERS["minor"]


def test_fields_come_worst_first(empty: Client) -> None:
    """By level, then by PSI; a window with insufficient data counts only if there is no other."""
    verdicts = [("a", 0.3, "minor"), ("b", 0.25, "major"), ("c", 0.05, "stable"), ("d", 0.07, "stable")]
    verdicts += [("e", 9.0, "insufficient"), ("c", 7.0, "insufficient")]
    rows = [judged("m", "1d", END_S - i * HOUR_S, psi, level, field) for i, (field, psi, level) in enumerate(verdicts)]
    insert_rows(empty, "drift", rows)
    ranked = {row[1]: row[2] for row in ask(empty, "drift.levels", model="m")}
    assert [ranked[rank] for rank in sorted(ranked)] == ["b", "a", "d", "c", "e"]
    # The bars show the last window of each field, so that there the latest verdicts decide.
    assert ask(empty, "drift.worst_fields", model="m") == [("a",), ("b",), ("d",)]


def test_too_little_data_is_never_stable(client: Client) -> None:
    chosen: dict[str, Any] = {"model": "fraud", "slice": "arm=b"}
    assert {row[2] for row in ask(client, "drift.psi", **chosen)} == {None}
    # Rates of nulls have enough.
    assert {row[3] for row in ask(client, "drift.levels", **chosen)} == {LEVEL_NUMBERS["minor"]}
    assert {row[1:3] for row in ask(client, "drift.fields", **chosen)} == {("insufficient", "too few events")}
    verdicts = ask(client, "drift.field_verdicts", **chosen, field="x")
    assert {row[1:3] for row in verdicts} == {("insufficient", "too few events")}


def test_an_undecided_window_says_what_it_tells(client: Client) -> None:
    names = ("level String", "reason String", *(f"{name} Float64" for name in ("readings", "readings_needed")))
    rows = (
        "('insufficient', 'correlated events', 12.3, 367.2, 0.54, 0.43), ('stable', '', 9, 4, 0.5, 1), "
        "('insufficient', 'too few events', 90, 368, 0.7, 1e-4), ('insufficient', 'too few events', 90, 368, 0.7, nan),"
        "('insufficient', 'few training rows', 90, 368, 0.5, 0.5), ('insufficient', 'lost events', 9, 36, 0.7, 1e-4),"
        "('insufficient', 'too few events', 90, 368, 0.1, 0.02), ('insufficient', 'too few events', 90, 368, 0.1, 0.2),"
        "('insufficient', 'too few events', 400, 368, 0.5, 0.5)"
    )
    values = f"values('{', '.join(names)}, mean_rank Float64, mean_p Float64', {rows})"
    like = "correlated events: 12 of 368 independent readings, about 30 such windows; mean rank 0.54 instead of 0.50 "
    few = "too few events: 90 of 368 independent readings, about 5 such windows"
    assert client.rows(f"SELECT {drift_level()}, {drift_reason()} FROM {values}") == [
        ("like training", f"{like}(p 0.43): like training"),
        ("stable", ""),
        ("unlike training", f"{few}; mean rank 0.70 instead of 0.50 (p 0.0001): unlike training"),
        ("insufficient", few),
        (
            "like training",
            "few training rows: 90 of 368 independent readings; mean rank 0.50 instead of 0.50 (p 0.5): like training",
        ),
        ("insufficient", "lost events"),
        ("insufficient", f"{few}; mean rank 0.10 instead of 0.50 (p 0.02)"),
        ("insufficient", f"{few}; mean rank 0.10 instead of 0.50 (p 0.2)"),
        ("like training", "too few events; mean rank 0.50 instead of 0.50 (p 0.5): like training"),
    ]
    by_slice = {row[0]: row[1] for row in ask(client, "drift.slices", model="fraud")}
    assert by_slice == {"all": "major", "arm=a": "major", "arm=b": "insufficient"}


def test_traffic_errors_and_latency_against_the_promises(client: Client) -> None:
    # Panes are an hour long: a rate is one, whatever the step.
    for interval_s in (60, HOUR_S, 5 * HOUR_S):
        rows = ask(client, "traffic.requests", model="fraud", interval_s=interval_s)
        assert {round(row[2], 9) for row in rows} == {round(REQUESTS / 60, 9)}
    # Alerts read all versions, so that the charts that they link to show all versions, too.
    for name, share in (("errors", ERRORS / REQUESTS), ("slow", SLOW / REQUESTS)):
        rows = ask(client, f"traffic.{name}", model="fraud")
        assert {row[1] for row in rows} == {"1", "2"}
        assert {round(row[2], 9) for row in rows} == {round(share, 9)}
    assert {row[1:] for row in ask(client, "traffic.latency", model="fraud")} == {(2.0, 4.0, 5.0)}
    for name, objective in (("errors_slo", 0.01), ("slow_slo", 0.05), ("latency_slo", 100.0)):
        assert [row[1] for row in ask(client, f"traffic.{name}", model="fraud")] == pytest.approx([objective] * 48)
        # Without an objective there is no line, and so no name in the legend.
        assert ask(client, f"traffic.{name}", model="nobody") == []
    assert ask(client, "traffic.errors_now", model="fraud") == [(ERRORS / REQUESTS, 0.01)]


def test_performance_and_its_estimates(client: Client) -> None:
    for name, row in (
        ("measured", ("accuracy", 0.7)),
        ("promises", ("accuracy SLO", 0.65)),
        ("cbpe", ("accuracy", 0.69, 0.7)),
        ("label_coverage", (0.4,)),
        # The main metric stands alone, with its reference. Every window is measured: there is nothing to estimate.
        ("main_metric", ("accuracy", 0.7, None, 0.71)),
        ("main_promise", (0.65,)),
    ):
        assert {each[1:] for each in ask(client, f"performance.{name}", model="triage")} == {row}, name
    maturity = ask(client, "performance.label_maturity", model="triage")
    assert maturity == [("1 min", 0.1), ("2 h", 0.6), ("10 d", 1.0)]


def test_an_estimate_continues_the_main_metric_before_labels(empty: Client) -> None:
    known = {"model": "m", "version": "1", "slice": "all", "metric": "auc", "window": "1d", "predictions": 9}
    known |= {"cbpe": 0.75, "promise": float("nan"), "reference": 0.81}
    days = (("insufficient", 0.2), ("insufficient", float("nan")), ("stable", 0.8), ("major", 0.7))
    rows = [
        table_row("performance", **known, window_end=(END_S // 86_400 - i) * 86_400, value=value, level=level)
        for i, (level, value) in enumerate(days)
    ]
    insert_rows(empty, "performance", rows)
    week = TimeRange.between(hours_before(7 * 24), END)
    shown = [row[2:4] for row in ask(empty, "performance.main_metric", model="m", time_range=week)]
    assert shown == [(0.7, None), (0.8, 0.75), (None, 0.75), (None, 0.75)]


@pytest.mark.parametrize(("model", "field"), [("fraud", "x"), ("fraud", "tokens"), (ODD, "x"), ("triage", "class")])
def test_the_last_window_against_training(client: Client, model: str, field: str) -> None:
    one = MODELS[model]
    baseline = next(each for each in one.fields if each.name == field)
    rows = ask(client, "distribution.now", model=model, field=field)
    trained = [cell / sum(baseline.slices["all"].cells) for cell in baseline.slices["all"].cells]
    if baseline.kind == "numeric":
        names = [*bin_labels(baseline.edges, integer=baseline.integer), "null"]
    else:
        names = [*baseline.categories, "other", "null"]
    assert [row[0] for row in rows] == names
    assert [row[1] for row in rows] == pytest.approx(trained)
    assert ask(client, "distribution.now_of_worst", model=model, worst_field=field) == rows
    # The last day of the field that moved holds its cells the other way round.
    moved = field == one.fields[0].name
    assert [row[2] for row in rows] == pytest.approx(trained[::-1] if moved else trained)
    assert sum(row[2] for row in rows) == pytest.approx(1.0)


def test_verdicts_and_rates_of_a_field_with_their_intervals_and_thresholds(client: Client) -> None:
    rows = partial(ask, client, model=ODD, field="x")
    assert rows("drift.field_psi")[-1][1:] == pytest.approx((0.35, 0.34, 0.36, 0.1, 0.2))
    assert rows("drift.field_psi_now") == [pytest.approx((0.35, 0.34, 0.36))]
    assert rows("drift.field_level") == [(LEVEL_NUMBERS["major"],)]
    newest = rows("drift.field_verdicts")[0]
    assert (newest[0].timestamp(), newest[1], newest[-1]) == (END_S, "major", 2)
    assert rows("rates.categories")[0][0::3] == ("never seen", 14)
    for row in rows("rates.nulls"):
        assert row[1:] == pytest.approx((0.04, 0.001, 0.011, 0.051))
    kinds = ("unseen", "below", "above", "invalid")
    assert {row[1:] for row in rows("rates.outside")} == {(kind, 0) for kind in kinds}
    assert {row[1:] for row in rows("rates.outside_thresholds")} == {(0.01, 0.05)}
    for name, rate in (("nulls", 0.04), ("unseen", 0.001), ("range", 0.001)):
        assert rows(f"rates.{name}_now") == [pytest.approx((rate, 0.001))]


def test_the_pipeline_of_one_model_and_of_all(client: Client) -> None:
    for name, model, number in (
        ("dead_letters", ALL, 5),
        ("dead_letters", "fraud", 5),
        ("dead_letters", "triage", 2),
        ("late", "fraud", LATE / REQUESTS),
        ("completeness", ALL, 0.99),
        ("duplicates", "fraud", 0.2),
    ):
        assert ask(client, f"pipeline.{name}", model=model) == [(number,)], (name, model)
    assert len(ask(client, "pipeline.sealed_age", model=ALL)) == len(MODELS)
    # Times after the range count as its end.
    for end in (END, END - timedelta(hours=24, minutes=20)):
        time_range = TimeRange.between(hours_before(47), end)
        [(_, sealed_s, _, read_s, _)] = ask(client, "pipeline.sealed_age", model="fraud", time_range=time_range)
        assert (sealed_s, read_s) == (0, 0), end


def test_a_processor_that_stopped_reporting_is_silent(client: Client) -> None:
    assert ask(client, "pipeline.silent") == [(1,)]
    rows = {row[0]: row[1:3] for row in ask(client, "pipeline.processors")}
    reporting = {f"{kind} {kind}-1": ("reports", 0) for kind in ("sketcher", "scorer")}
    assert rows == {"monitor monitor-1": ("silent", 120), **reporting}
    assert ask(client, "pipeline.lag_now") == [(15,)]
    assert {row[2] for row in ask(client, "pipeline.watchdog", interval_s=10)} == {7}
    assert {row[2] for row in ask(client, "pipeline.insert_times", interval_s=60)} == {0.25}
    tried = ask(client, "pipeline.retries", interval_s=3600)
    assert sum(row[2] for row in tried if row[1].startswith("sketcher")) >= 1


@pytest.mark.parametrize("step_s", [10, HOUR_S])
def test_metrics_equal_the_reports_of_processors(client: Client, step_s: int) -> None:
    """Gauges are 4 and counters grow by one per second, at any step; long steps are read from another table."""

    rows = partial(ask, client, interval_s=step_s)
    for panel in ("committed_age", "waiting", "memory"):
        assert {row[2] for row in rows(f"pipeline.{panel}")} == {4}, panel
    # Counters of monitor, scorer and sketcher start at the first report within the range.
    assert sum(row[2] for row in rows("pipeline.cpu")) * step_s == pytest.approx(1080 + 1200 + 1200)
    assert {row[1] for row in rows("pipeline.rejected")} == {
        "monitor monitor-1: dead letters empty",
        "sketcher sketcher-1: dead letters empty",
        "sketcher sketcher-1: offsets lost predictions",
    }


def test_the_states_for_serving(client: Client) -> None:
    rows = ask(client, "health.states", model=ODD)
    assert rows == [(hours_before(2), STATE_NUMBERS["degraded"]), (hours_before(1), STATE_NUMBERS["healthy"])]


def test_the_change_before_a_major_verdict(client: Client) -> None:
    ((end, *row, likelihood, evidence, owner),) = ask(client, "changes.causes", model=ODD)
    moved = datetime.fromtimestamp(MOVED_S, UTC)
    assert end.timestamp() == MOVED_S + HOUR_S
    around = [f"{moved + timedelta(minutes=minutes):%m-%d %H:%M}" for minutes in (-1, 1)]
    assert row == ["x", "psi 6h", " to ".join(around), "deploy job abc", f"{moved:%m-%d %H:%M}"]
    assert (likelihood, evidence, owner) == ("likely", "own source, at onset", "ana")
    rows = ask(client, "changes.all", model=ODD)
    by_kind = {row[2]: row for row in rows}
    assert by_kind["deploy"][3:] == ("job abc", "fleet", "ana", "faster")
    assert {"deploy", "version"} <= set(by_kind)
    # A change without a model may concern every model.
    assert by_kind["upgrade"][1] == "any"
    assert {row[1] for row in rows} <= {ODD, "any"}


def test_the_lineage_with_levels(client: Client) -> None:
    nodes = {row[0]: row[1:] for row in ask(client, "lineage.nodes", model=ODD, version="2")}
    assert nodes["field:x"] == ("x", "float", "major", 0, 0, 0, 1, "field", "")
    assert nodes["output:score"] == ("score", "float", "stable", 1, 0, 0, 0, "output", "")
    assert nodes["source:fleet"] == ("fleet", "airflow", "", 0, 0, 0, 0, "source", "ana")
    edges = {row[1:] for row in ask(client, "lineage.edges", model=ODD, version="2")}
    model = f"model:{ODD}"
    expected = {("source:fleet", "field:x"), ("field:x", model), (model, "output:score"), (model, "consumer:gates")}
    assert expected <= edges
    assert {end for edge in edges for end in edge} == set(nodes)
