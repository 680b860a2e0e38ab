"""The demo's parts that ask Kafka and ClickHouse; the whole of it is the last step of .ci/run."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from barograph.contract.file import dump_contract
from confluent_kafka.admin import AdminClient

from cli.apply import apply_all
from cli.apply.catalogue import BaselineChange, store_baselines
from cli.demo.chart_data import read_psi, read_scores
from cli.demo.flights import (
    ACCEPTED_AT,
    CANDIDATE,
    DAY,
    DAY_S,
    HOUR_S,
    LATE,
    MODEL,
    VERSION,
    WEEK,
    Calendar,
    infer_options,
    last_pane_end,
)
from cli.demo.fresh_start import DATABASE, fresh_settings, wipe
from cli.demo.signals.inputs import read_inputs
from cli.demo.signals.outputs import read_outputs
from cli.demo.signals.season import read_season
from cli.demo.signals.truth import read_truth
from cli.demo.signals.volume import local_hours, read_volume
from cli.demo.stage_counts import STAGES, StageCount, stage_counts
from cli.infer import infer
from local.clickhouse import LocalClickHouse
from local.kafka import LocalKafka
from local.stack import StackAddresses
from sketches.baseline.baseline import Baseline
from sketches.drift.psi import psi_values
from tests.support.pipeline import simple_baseline, simple_contract, wait_for
from warehouse.client import Client, connect
from warehouse.tables import insert_rows

SHIFT = (datetime.now(UTC) - datetime(2014, 1, 2, tzinfo=UTC)) // timedelta(weeks=1)
"""Shift to the present, as in the demo: ClickHouse deletes rows whose event time is years ago."""
AWAY = timedelta(weeks=SHIFT)
CALENDAR = Calendar(SHIFT)
WEEK_BEGIN = datetime(2013, 12, 5, tzinfo=UTC) + AWAY
"""A Thursday, on which whole weeks since 1970 begin."""
END = datetime(2014, 1, 1, 5, tzinfo=UTC) + AWAY


@pytest.fixture
def addresses(broker: LocalKafka, engine: LocalClickHouse) -> Iterator[StackAddresses]:
    result = StackAddresses(broker.bootstrap_servers, engine.port, engine.host)
    yield result
    wipe(result)


@pytest.fixture
def client(addresses: StackAddresses) -> Iterator[Client]:
    settings = fresh_settings(addresses)
    apply_all(settings, [], [])
    with connect(settings.warehouse) as opened:
        yield opened


def demo_topics(addresses: StackAddresses) -> set[str]:
    admin = AdminClient({"bootstrap.servers": addresses.bootstrap_servers})
    return {name for name in admin.list_topics(timeout=30).topics if name.startswith("demo-")}


def test_each_run_has_topics_of_its_own_and_an_empty_database(addresses: StackAddresses) -> None:
    contract = msgspec.structs.replace(simple_contract(), model=MODEL)
    baseline = msgspec.structs.replace(simple_baseline(100), model=MODEL)
    first = fresh_settings(addresses)
    apply_all(first, [(contract, dump_contract(contract))], [baseline])
    topics = wait_for(lambda: demo_topics(addresses), "the topics of the first run")
    assert all(name.startswith(first.topic_prefix) for name in topics)

    wipe(addresses)
    wait_for(lambda: not demo_topics(addresses), "the topics of the first run to go")
    with connect(first.warehouse, create=True) as opened:
        assert opened.rows(f"SHOW TABLES FROM {DATABASE}") == []
    wipe(addresses)  # a first run finds nothing, and that is well
    wait_for(lambda: fresh_settings(addresses).topic_prefix != first.topic_prefix, "the next second")


def test_counts_of_an_empty_pipeline_are_zero(client: Client) -> None:
    assert stage_counts(client, 0) == dict.fromkeys(STAGES, StageCount(0))


def test_counts_equal_those_of_processors_and_tables(client: Client) -> None:
    now_ms = int(time.time() * 1000)
    insert_rows(
        client,
        "processors",
        [
            {"kind": kind, "instance": "demo", "at": now_ms, "host": "h", "pid": 1, "started_at": now_ms, "lag": lag}
            | {"events": events, "rate": 12.5, "retries": 0, "dead_letters": 0, "last_commit_at": now_ms, "details": {}}
            for kind, lag, events in (("sketcher", 3, 40), ("monitor", -1, 30))
        ],
    )
    for hours in (2, 1):
        insert_rows(client, "volume", [volume_row(END - timedelta(hours=hours), 7)])
    # Panes count as judged when all derived rows are written; `progress` is written last.
    insert_rows(client, "progress", [progress_row(END - timedelta(hours=1))])
    insert_rows(client, "performance", [performance_row("auc", END, n=5), performance_row("accuracy", END, n=6)])
    assert stage_counts(client, 99) == {
        "published": StageCount(99),
        "sketched": StageCount(40, 12.5, 3),
        "recorded": StageCount(0),
        "judged": StageCount(7, 12.5, 0),
        "scored": StageCount(5),
    }


def test_volume_is_grouped_by_months_of_2013_in_new_york(client: Client) -> None:
    hours = [datetime(2013, 11, 1, hour, tzinfo=UTC) for hour in (2, 3, 4, 5)]  # October until 4:00 UTC
    rows = [
        volume_row(hours[0] + AWAY, 5, timed=5, slow=1),
        volume_row(hours[1] + AWAY, 0),
        volume_row(hours[2] + AWAY, 0),
        volume_row(hours[2] + AWAY, 3, version=CANDIDATE, timed=3, errors=1, late=2),
        volume_row(hours[3] + AWAY, 0),
        volume_row(hours[3] + AWAY + timedelta(hours=1), 0),  # beyond the record
    ]
    insert_rows(client, "volume", rows)
    result = read_volume(client, CALENDAR, hours[3] + AWAY + timedelta(hours=1), (8, 2))
    assert list(result.months) == [(date(2013, 10, 1), 5, 0, 1, 5, 1), (date(2013, 11, 1), 3, 1, 0, 3, 1)]
    assert (result.flights, result.failed, result.timed, result.lost) == (8, 1, 8, 2)
    assert result.in_time == 1 - 1 / 8
    assert result.silent == (hours[1] + AWAY, hours[3] + AWAY)
    assert local_hours(result.silent, CALENDAR) == [1, 23]
    assert (result.published, result.labels_published, result.recorded, result.labels_recorded) == (8, 2, 0, 0)


def test_inputs_and_the_queries_that_are_printed(client: Client) -> None:
    week_ends = [datetime(2013, 9, day, tzinfo=UTC) + AWAY for day in (19, 20, 21)]
    for end, level in zip(week_ends, ("stable", "major", "major"), strict=True):
        insert_rows(client, "drift", [drift_row("temp", end, level)])
    # A window over a change of baselines has a part on either.
    insert_rows(client, "drift", [drift_row("temp", week_ends[0] - timedelta(days=1), "insufficient", baseline="b")])
    insert_rows(client, "drift", [drift_row("temp", week_ends[0] - timedelta(days=1), "insufficient", baseline="c")])
    for field, level in (("temp", "major"), ("humid", "stable")):
        insert_rows(client, "rates", [rate_row(field, level)])
    insert_rows(client, "new_categories", [category_row("ILM", 3), category_row("EGE", 5)])

    result = read_inputs(client, CALENDAR, END)
    assert [(f"{day:%d %b}", level) for day, level in result.weeks["temp"]] == [
        ("18 Sep", "insufficient"),
        ("19 Sep", "stable"),
        ("20 Sep", "major"),
        ("21 Sep", "major"),
    ]
    assert [(row.field, row.window_end) for row in result.first_critical] == [("temp", week_ends[1])]
    assert result.missing == ["temp"]
    assert [row[:4] for row in result.nulls] == [("temp", "major", 776, 700)]
    assert [(row[0].replace(tzinfo=UTC), row[1]) for row in result.first_weeks][-3:] == [
        (datetime(2013, 9, 19, tzinfo=UTC), "stable"),
        (datetime(2013, 9, 20, tzinfo=UTC), "major"),
        (datetime(2013, 9, 21, tzinfo=UTC), "major"),
    ]
    assert [row[:2] for row in result.unseen] == [("EGE", 5), ("ILM", 3)]
    assert [point.day for point in read_psi(client, CALENDAR, "temp")] == [date(2013, 9, day) for day in (19, 20, 21)]


def test_truth_compares_arms_of_two_versions_and_leaves_young_weeks_out(client: Client) -> None:
    old, young = (datetime(2013, 12, day, tzinfo=UTC) + AWAY for day in (19, 26))
    for end, mature in ((old, True), (young, False)):
        rows = [
            performance_row("auc", end, n=90, value=0.7, mature=mature),
            performance_row("auc", end, n=90, value=0.7, mature=mature, slice_name="arm=a"),
            performance_row("auc", end, n=10, value=0.6, mature=mature, slice_name="arm=b", version=CANDIDATE),
        ]
        insert_rows(client, "performance", rows)
    insert_rows(client, "performance", [performance_row("auc", old, n=9, window="1d", selective=True, coverage=0.8)])
    insert_rows(client, "performance", [performance_row("accuracy", old, n=90, value=0.8, cbpe=0.9)])
    result = read_truth(client, CALENDAR)
    assert [(week.end, week.n, week.value, week.mature) for week in result.of("auc")] == [
        (old, 90, 0.7, True),
        (young, 90, 0.7, False),
    ]
    [(_, b, a, difference, low, high, sufficient)] = result.arms
    assert (b, a, sufficient) == (0.6, 0.7, True)
    assert (difference, low, high) == pytest.approx((-0.1, -0.1 - math.hypot(0.1, 0.1), -0.1 + math.hypot(0.1, 0.1)))
    assert [(f"{day:%d %b}", coverage) for day, coverage, _ in result.selective] == [("18 Dec", 0.8)]
    assert not result.trust().known  # one matured week says nothing
    assert [row[1] for row in client.rows(result.weeks_sql)] == [0.8]


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Baseline:
    """What `infer` makes of two months of one number, scores and classes."""
    n, rng = 2_000, np.random.default_rng(2013)
    scores = rng.uniform(0.0, 0.8, n)
    table = pa.table(
        {
            "at": pa.array(np.arange(n) * HOUR_S * 730).cast(pa.timestamp("ms", "UTC")),
            "dewp": rng.normal(60.0, 8.0, n),
            "score": scores,
            "class": np.where(scores >= 0.5, LATE, "on time").tolist(),
            "label": rng.choice([LATE, "on time"], n).tolist(),
        }
    )
    path = tmp_path_factory.mktemp("demo") / "train.parquet"
    pq.write_table(table, path)
    options = infer_options(path)
    roles = dataclasses.replace(options.roles, slices=(), critical=frozenset())
    return infer(dataclasses.replace(options, roles=roles)).baseline


def store(client: Client, baseline: Baseline, effective_from: datetime | None) -> None:
    from_s = 0 if effective_from is None else int(effective_from.timestamp())
    store_baselines(client, [BaselineChange(baseline, baseline.id, from_s, "")], "a test", from_s * 1000)


def test_outputs_compare_the_last_week_that_had_weather(client: Client, baseline: Baseline) -> None:
    store(client, baseline, None)
    ends = [END - timedelta(hours=hours) for hours in (5, 29, 5 + 7 * 24)]
    for end, level in zip(ends, ("major", "insufficient", "insufficient"), strict=True):
        rows = [comparison_row(end, "psi", math.nan, level), comparison_row(end, "mean", 0.1, "")]
        insert_rows(client, "comparisons", rows)
    result = read_outputs(client, CALENDAR, END)
    scores = next(field for field in baseline.fields if field.name == "score")
    assert result.trained[0] == scores.mean
    assert result.trained[1] == pytest.approx(3 / 8, abs=0.03)  # from 0.5 on, of scores up to 0.8
    assert result.compared_end == ends[1]
    assert [(row[1], row[-1]) for row in result.compared] == [("mean", ""), ("psi", "insufficient")]
    assert dict(result.levels.rows) == {"insufficient": 2, "major": 1}


def test_weeks_are_judged_again_by_the_baseline_before(client: Client, baseline: Baseline) -> None:
    [field] = [each for each in baseline.fields if each.name == "dewp"]
    moved = msgspec.structs.replace(field.slices["all"], cells=field.slices["all"].cells[::-1])
    others = tuple(each for each in baseline.fields if each.name != "dewp")
    autumn = msgspec.structs.replace(
        baseline, fields=(msgspec.structs.replace(field, slices={**field.slices, "all": moved}), *others)
    )
    begin = CALENDAR.replayed(ACCEPTED_AT)
    store(client, baseline, None)
    store(client, autumn, begin)
    counts = [[(i + 1) * (day + 3) for i in range(field.n_cells)] for day in range(9)]
    for day, cells in enumerate(counts):
        insert_rows(client, "panes", [pane_row(begin + timedelta(days=day, hours=9), autumn.id, cells)])
    for days in (7, 8, 9):
        insert_rows(client, "drift", [drift_row("dewp", begin + timedelta(days=days), "major", baseline=autumn.id)])
    # Before the acceptance, and over it: neither is a week of autumn's.
    insert_rows(client, "drift", [drift_row("dewp", begin + timedelta(days=6), "major", baseline=autumn.id)])
    insert_rows(client, "drift", [drift_row("dewp", begin + timedelta(days=7), "major", baseline=baseline.id)])

    result = read_season(client, CALENDAR, begin + timedelta(days=9, hours=5))
    assert [week.day for week in result.weeks] == [date(2013, 11, day) for day in (11, 12, 13)]
    for week, first in zip(result.weeks, range(3), strict=True):
        counts_of_week = np.sum(counts[first : first + 7], axis=0)
        for judged, expected in ((week.trained, field.slices["all"]), (week.again, moved)):
            psi, _, _, _ = psi_values(np.array(expected.cells), counts_of_week[None], np.array([0]))
            assert judged[1] == pytest.approx(psi[0, 0], rel=1e-12)
        assert week.trained[1] != pytest.approx(week.again[1], rel=0.1)
        assert week.accepted == ("major", 0.3)


def test_scores_are_charted_with_positive_rates_by_week(client: Client) -> None:
    insert_rows(client, "scorer_models", [scorer_row()])
    for days, labelled, positives in ((1, 4, 1), (3, 6, 3), (8, 10, 5)):
        start = f"toDateTime({int((WEEK_BEGIN + timedelta(days=days)).timestamp())}, 'UTC')"
        client.command(
            "INSERT INTO performance_state (model, version, basis, slice, window_start, bins, bin_labelled, "
            f"bin_labelled_scores, bin_positives) SELECT '{MODEL}', '{VERSION}', 'now', 'all', {start}, [7], "
            f"[{labelled}], [{labelled / 2}], [{positives}]"
        )
    result = read_scores(client, CALENDAR)
    ends = [CALENDAR.end_date(WEEK_BEGIN + timedelta(days=days)) for days in (7, 14)]
    assert result == [(ends[0], 0.5, 0.4), (ends[1], 0.5, 0.5)]


def test_the_record_ends_with_the_hour_of_the_last_prediction() -> None:
    at = [END - timedelta(hours=1), END - timedelta(minutes=1)]
    assert last_pane_end(pa.table({"at": pa.array(at, pa.timestamp("ms", "UTC"))})) == END


def volume_row(start: datetime, n: int, *, version: str = VERSION, **counts: int) -> dict[str, object]:
    return {
        "partials_partition": 0,
        "model": MODEL,
        "version": version,
        "baseline_id": "b",
        "slice": "all",
        "pane_start": int(start.timestamp()),
        "pane_s": HOUR_S,
        "n": n,
        **{name: counts.get(name, 0) for name in ("errors", "timed", "slow", "late")},
        "sealed": True,
        "unregistered": False,
        "record_seq": 1,
    }


def progress_row(sealed_until: datetime) -> dict[str, object]:
    at_ms = int(sealed_until.timestamp() * 1000)
    return {
        "partials_partition": 0,
        "model": MODEL,
        "watermark": at_ms,
        "sealed_until": at_ms,
        "updated_at": at_ms,
        "record_seq": 1,
    }


def performance_row(
    metric: str,
    end: datetime,
    *,
    n: int,
    version: str = VERSION,
    slice_name: str = "all",
    window: str = WEEK.name,
    value: float = 0.7,
    mature: bool = True,
    selective: bool = False,
    coverage: float = 0.95,
    cbpe: float = 0.7,
) -> dict[str, object]:
    end_s = int(end.timestamp())
    return {
        "model": MODEL,
        "version": version,
        "slice": slice_name,
        "metric": metric,
        "class": "",
        "window": window,
        "window_start": end_s - (WEEK.length_s if window == WEEK.name else DAY_S),
        "window_end": end_s,
        "value": value,
        "low": value - 0.1,
        "high": value + 0.1,
        "sufficient": True,
        "n": n,
        "predictions": n,
        "coverage": coverage,
        "maturity": 1.0,
        "mature": mature,
        "level": "stable",
        "promise": math.nan,
        "reference": 0.7,
        "difference": value - 0.7,
        "difference_low": -0.1,
        "difference_high": 0.1,
        "selective": selective,
        "selective_p": 0.0,
        **dict.fromkeys(("corrected", "corrected_low", "corrected_high"), float("nan")),
        "cbpe": cbpe,
        "cbpe_low": cbpe - 0.1,
        "cbpe_high": cbpe + 0.1,
        "cbpe_error": cbpe - value,
        "raw_share": 1.0,
        "revised_at": 0,
        "revision": 1,
    }


def scorer_row() -> dict[str, object]:
    return {
        "model": MODEL,
        "state": "scored",
        "reason": "",
        "basis": "now",
        "kind": "binary",
        "raw_share": 1.0,
        "newest_at": 0,
        "scored_until": 0,
        "updated_at": 1,
    }


def category_row(name: str, n: int) -> dict[str, object]:
    return {
        "model": MODEL,
        "version": VERSION,
        "baseline_id": "b",
        "field": "dest",
        "category": name,
        "pane_start": int(END.timestamp()) - HOUR_S,
        "pane_s": HOUR_S,
        "n_low": n,
        "n_high": n,
        "record_seq": 1,
    }


def comparison_row(end: datetime, measure: str, value: float, level: str) -> dict[str, object]:
    end_s = int(end.timestamp())
    return {
        "model": MODEL,
        "kind": "arm",
        "left": "a",
        "right": "b",
        "field": "score",
        "measure": measure,
        "category": "",
        "window": WEEK.name,
        "window_start": end_s - WEEK.length_s,
        "window_end": end_s,
        "n_left": 90,
        "n_right": 10,
        "left_value": value,
        "right_value": value,
        "difference": 0.1,
        "difference_low": 0.0,
        "difference_high": 0.2,
        "p_value": 0.5,
        "df": 9.0,
        "phi_left": 1.0,
        "phi_right": 1.0,
        "level": level,
        "threshold_minor": 0.1,
        "threshold_major": 0.2,
        "top_bin": "",
        "source": "counts",
        "completeness": 1.0,
        "judged_at": 0,
        "record_seq": 1,
    }


def pane_row(start: datetime, baseline_id: str, cells: list[int]) -> dict[str, object]:
    return {
        "partials_partition": 0,
        "model": MODEL,
        "version": VERSION,
        "baseline_id": baseline_id,
        "slice": "all",
        "field": "dewp",
        "pane_start": int(start.timestamp()),
        "pane_s": HOUR_S,
        "n": sum(cells),
        "nulls": cells[-1],
        "invalid": 0,
        "below": 0,
        "above": 0,
        "unseen": 0,
        "counts": cells,
        "shift_sum": 0.0,
        "shift_square_sum": 0.0,
        "minimum": 0.0,
        "maximum": 1.0,
        "sketch": b"",
        "sealed": True,
        "record_seq": 1,
    }


def verdict_row(field: str, level: str, window: str, end: datetime, length_s: int, baseline: str) -> dict[str, object]:
    end_s = int(end.timestamp())
    return {
        "model": MODEL,
        "version": VERSION,
        "baseline_id": baseline,
        "slice": "all",
        "field": field,
        "window": window,
        "window_start": end_s - length_s,
        "window_end": end_s,
        "n": 776,
        "p_value": 0.01,
        "phi": 1.0,
        "level": level,
        "threshold_minor": 0.1,
        "threshold_major": 0.2,
        "completeness": 1.0,
        "judged_at": 0,
        "record_seq": 1,
    }


def drift_row(field: str, end: datetime, level: str, *, baseline: str = "b") -> dict[str, object]:
    return verdict_row(field, level, WEEK.name, end, 7 * DAY_S, baseline) | {
        "psi": 0.3,
        "psi_low": 0.2,
        "psi_high": 0.4,
        "js": 0.1,
        "q_value": 0.01,
        "df": 9,
        "season": "none",
        "top_bin": "[1, 2)",
        "top_bin_index": 1,
        "expected_share": 0.1,
        "actual_share": 0.2,
        "visible_shift": 0.1,
    }


def rate_row(field: str, level: str) -> dict[str, object]:
    return verdict_row(field, level, DAY.name, END, DAY_S, "b") | {
        "kind": "null",
        "k": 700,
        "rate": 0.9,
        "baseline_rate": 0.001,
        "delta": 0.899,
        "delta_low": 0.5,
        "delta_high": 0.95,
    }
