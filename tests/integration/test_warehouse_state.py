"""Contents of the tables and results of the views, on the real engine."""

import math
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from barograph.contract import Contract
from barograph.contract.file import dump_contract

from barograph_server.warehouse import queries
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.tables import insert_rows
from tests.support.warehouse import add_row, add_rows, insert, row

HOUR_S, DAY_S = 3600, 86_400
NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
MONDAY = (NOW - timedelta(days=NOW.weekday() + 14)).replace(hour=0)
START_S = int(MONDAY.timestamp())
EPOCH = 1 << 48


def pane(record_seq: int, *, pane_start: int = START_S, pane_s: int = 60, **values: Any) -> dict[str, Any]:
    known = {"model": "m", "version": "1", "baseline_id": "b", "slice": "all", "field": "x"}
    return row("panes", **known | values, record_seq=record_seq, pane_start=pane_start, pane_s=pane_s)


def verdict(table: str, record_seq: int, hours: int, **values: Any) -> dict[str, Any]:
    known = {"model": "m", "version": "1", "baseline_id": "b", "slice": "all", "field": "x", "window": "1h"}
    end_s = START_S + hours * HOUR_S
    return row(table, **known | values, record_seq=record_seq, window_start=end_s - HOUR_S, window_end=end_s)


def prediction(offset: int, received: datetime, **values: Any) -> dict[str, Any]:
    known = {"model": "m", "version": "1", "at": int(received.timestamp() * 1000), "epoch": 1}
    return row("predictions", **known | values, offset=offset, received_at=int(received.timestamp() * 1000))


def write(client: Client, table: str, rows: Sequence[dict[str, Any]]) -> None:
    """Insert each row on its own, so that only merges and FINAL can replace one by another."""
    for one in rows:
        insert_rows(client, table, [one])


def test_the_row_with_the_greatest_pos_replaces_the_others(client: Client) -> None:
    states = [pane(EPOCH + 9, n=1), pane(EPOCH + 10, n=2), pane(2 * EPOCH, n=3, sealed=True)]
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        client.command("TRUNCATE TABLE panes")
        write(client, "panes", [states[i] for i in order])
        for _ in range(2):
            assert client.rows("SELECT n, sealed, record_seq FROM panes FINAL") == [(3, True, 2 * EPOCH)]
            assert client.rows("SELECT n, sealed FROM all_panes") == [(3, True)]
            assert queries.panes(client, "m", START_S, START_S + 60)["n"].to_pylist() == [3]
            client.command("OPTIMIZE TABLE panes FINAL")
        assert client.rows("SELECT count() FROM panes") == [(1,)]


@pytest.mark.parametrize("in_one_batch", [False, True])
def test_of_two_rows_with_one_pos_the_last_written_stays(client: Client, in_one_batch: bool) -> None:
    both = [pane(7, n=1, sketch=b"first"), pane(7, n=1, sketch=b"second")]
    (insert_rows if in_one_batch else write)(client, "panes", both)
    assert client.rows("SELECT sketch FROM panes FINAL") == [("second",)]
    client.command("OPTIMIZE TABLE panes FINAL")
    assert client.rows("SELECT sketch FROM panes") == [("second",)]


@pytest.mark.parametrize("table", ["drift", "rates"])
def test_every_revision_of_a_verdict_is_kept_and_the_view_shows_the_last(client: Client, table: str) -> None:
    first, second = (verdict(table, record_seq, 1, level=level) for record_seq, level in ((5, "major"), (6, "stable")))
    repeated = verdict(table, 5, 1, level="minor")
    other_window = verdict(table, 4, 2, level="insufficient")
    write(client, table, [second, first, other_window, repeated])
    for _ in range(2):
        retained = client.rows(f"SELECT record_seq, level FROM {table} FINAL ORDER BY record_seq")
        assert retained == [(4, "insufficient"), (5, "minor"), (6, "stable")]
        columns = "toUnixTimestamp(window_end), level, revisions, record_seq"
        latest = client.rows(f"SELECT {columns} FROM latest_{table} ORDER BY window_end")
        assert latest == [(START_S + HOUR_S, "stable", 2, 6), (START_S + 2 * HOUR_S, "insufficient", 1, 4)]
        client.command(f"OPTIMIZE TABLE {table} FINAL")
    assert client.rows(f"SELECT count() FROM latest_{table} WHERE level = 'major'") == [(0,)]


@pytest.mark.parametrize(
    ("table", "value", "worst"), [("drift", "psi", "worst_psi"), ("rates", "delta", "worst_delta")]
)
def test_levels_of_windows_are_read_without_their_fields(client: Client, table: str, value: str, worst: str) -> None:
    arguments = [("x", 1, "major", 0.5), ("y", 1, "major", 0.3), ("z", 1, "stable", 0.01)]
    arguments.append(("x", 2, "insufficient", math.nan))
    rows = [verdict(table, 5, hours, field=field, level=level, **{value: n}) for field, hours, level, n in arguments]
    write(client, table, [*rows, rows[1]])
    view = "drift_levels" if table == "drift" else "rate_levels"
    sql = f"SELECT toUnixTimestamp(window_end), level, {worst} FROM {view} WHERE slice = 'all' AND window = '1h'"
    for _ in range(2):
        result = {(at, level): n for at, level, n in client.rows(sql)}
        assert math.isnan(result.pop((START_S + 2 * HOUR_S, "insufficient")))
        assert result == {(START_S + HOUR_S, "major"): 0.5, (START_S + HOUR_S, "stable"): 0.01}
        client.command(f"OPTIMIZE TABLE {table} FINAL")
    plan = client.rows(f"EXPLAIN {sql}")
    assert "ReadFromMergeTree (levels)" in "\n".join(line for (line,) in plan)


@pytest.mark.parametrize("table", ["predictions", "labels"])
def test_a_replay_replaces_raw_rows(client: Client, table: str) -> None:
    at = int(MONDAY.timestamp() * 1000)
    rows = [
        row(table, model="m", id=f"i{i}", offset=i // 2, message_index=i % 2, epoch=epoch, at=at, received_at=at)
        for i in range(6)
        for epoch in (1, 2)
    ]
    for _ in range(3):
        insert_rows(client, table, rows)
    assert client.rows(f"SELECT count() FROM {table} FINAL") == [(12,)]
    client.command(f"OPTIMIZE TABLE {table} FINAL")
    assert client.rows(f"SELECT count() FROM {table}") == [(12,)]


def test_a_replay_over_many_weeks_of_receipt_is_one_insert(client: Client) -> None:
    weeks = [prediction(i, NOW - timedelta(weeks=i)) for i in range(12)]
    insert_rows(client, "predictions", weeks)
    insert_rows(client, "predictions", weeks[:3])
    assert client.rows("SELECT count(), uniqExact(received_at) FROM all_predictions") == [(12, 12)]
    sql = "SELECT uniqExact(partition) FROM system.parts WHERE database = {d:String} AND table = 'predictions'"
    assert client.rows(sql, {"d": client.database}) == [(12,)]


def test_panes_show_mean_and_deviation_around_the_training_mean(client: Client) -> None:
    values = np.array([12.0, 9.5, 30.0, 11.25])
    body = '{"id": "b", "baseline": {"fields": [{"name": "x", "mean": 10.5}, {"name": "y", "mean": -1}]}}'
    rows = [row("baselines", model="m", version="1", baseline_id="b", body=body, accepted_at=at) for at in (1, 2)]
    insert_rows(client, "baselines", rows)
    shift = values - 10.5
    moments = {"shift_sum": shift.sum(), "shift_square_sum": (shift**2).sum()}
    extremes = {"minimum": values.min(), "maximum": values.max()}
    rows = [
        pane(1, n=6, nulls=2, **moments, **extremes),
        pane(1, pane_start=START_S + 60, n=2, nulls=2, minimum=math.inf, maximum=-math.inf),
        pane(1, slice="country=DE", n=2),
        pane(1, baseline_id="unknown", n=6, nulls=2, **moments, **extremes),
    ]
    insert_rows(client, "panes", rows)
    sql = "SELECT mean, stddev, minimum, maximum FROM all_panes ORDER BY baseline_id, slice, pane_start"
    spread = (values.std(ddof=1), 9.5, 30.0)
    expected = [(values.mean(), *spread), (math.nan,) * 4, (math.nan,) * 4, (math.nan, *spread)]
    np.testing.assert_allclose(client.rows(sql), expected, rtol=1e-6)


def test_features_that_an_event_does_not_hold_are_null_not_zero(client: Client) -> None:
    numbers = [("age", 0.0), ("wind", math.nan)]
    insert_rows(client, "predictions", [prediction(1, NOW, numbers=numbers, nulls=["temp"])])
    values = "numbers['age'], isNaN(numbers['wind']), numbers['temp'], metrics['cost']"
    assert client.rows(f"SELECT {values} FROM all_predictions") == [(0.0, True, None, None)]


def test_the_label_with_the_latest_time_then_offset_counts(client: Client) -> None:
    at, received = int(MONDAY.timestamp() * 1000), int(NOW.timestamp() * 1000)

    rows = [
        {"id": id_, "label": value, "offset": offset, "at": at + later_ms, "model": model}
        for id_, value, offset, later_ms, model in (
            *(("a", "later time", 1, 5, "m"), ("a", "later offset", 2, 0, "m")),
            *(("b", "first", 3, 0, "m"), ("b", "second", 4, 0, "m"), ("c", "of another model", 5, 0, "other")),
        )
    ]
    add_rows(client, "labels", rows, label_type="string", received_at=received)
    built = [("a", "1"), ("a", "2"), ("b", "1"), ("c", "1")]
    insert_rows(
        client, "predictions", [prediction(i, NOW, id=id_, version=version) for i, (id_, version) in enumerate(built)]
    )
    result = client.rows("SELECT id, version, labelled, label FROM labelled_predictions ORDER BY id, version")
    assert result == [
        ("a", "1", True, "later time"),
        ("a", "2", True, "later time"),
        ("b", "1", True, "second"),
        ("c", "1", False, ""),
    ]
    assert client.rows("SELECT label_count FROM latest_labels WHERE model = 'm' ORDER BY id") == [(2,), (2,)]


def test_conditions_reach_the_index_through_the_views(client: Client) -> None:
    insert(client, drift=[verdict("drift", 1, 1)], rates=[verdict("rates", 1, 1, kind="null")])
    insert_rows(client, "panes", [pane(1, pane_s=HOUR_S)])
    add_row(client, "volume", model="m", slice="all", pane_start=START_S, record_seq=1)
    insert_rows(client, "predictions", [prediction(1, NOW, id="a")])
    received = int(NOW.timestamp() * 1000)
    add_row(client, "labels", model="m", id="a", at=received, received_at=received)
    time = f"toDateTime({START_S - 1}, 'UTC')"
    for view, conditions, keys in (
        ("latest_drift", f"field = 'x' AND window = '1h' AND window_end > {time}", "model field window window_end"),
        ("latest_rates", f"field = 'x' AND kind = 'null' AND window_end > {time}", "model field kind window_end"),
        ("all_panes", f"field = 'x' AND pane_start > {time}", "model field pane_start"),
        ("hours", f"field = 'x' AND pane_start > {time}", "model field pane_s pane_start"),
        ("all_volume", f"slice = 'all' AND pane_start > {time}", "model slice pane_start"),
        ("all_predictions", f"at > {time}", "model toStartOfHour(at)"),
        ("labelled_predictions", f"at > {time}", "model toStartOfHour(at)"),
        ("latest_labels", "id = 'a'", "model id"),
    ):
        where = f"model = 'm' AND {conditions}"
        plan = client.rows(f"EXPLAIN indexes = 1 SELECT * FROM {view} WHERE {where}")
        # The plan is drawn as a tree: compare its text without the lines.
        words = " ".join(line for (line,) in plan).replace("│", " ").split()
        assert f"PrimaryKey Keys: {keys} Condition:" in " ".join(words), view
        assert client.rows(f"SELECT count() FROM {view} WHERE {where}") == [(1,)], view


def test_days_and_hours_are_separate_and_include_panes_of_their_length(client: Client) -> None:
    hours = [pane(1, pane_s=HOUR_S, pane_start=START_S + i * HOUR_S, n=i) for i in range(24)]
    days = [pane(1, pane_s=DAY_S, n=276), pane(2, pane_s=DAY_S, n=277)]
    insert_rows(client, "rollups", hours + days)
    others = ((HOUR_S, 5, "y"), (DAY_S, 7, "z"), (7 * DAY_S, 8, "w"))
    insert_rows(client, "panes", [pane(1, n=1), *(pane(1, pane_s=s, n=n, field=field) for s, n, field in others)])
    result = client.rows("SELECT field, n, toUnixTimestamp(pane_end) FROM days ORDER BY field")
    assert result == [("w", 8, START_S + 7 * DAY_S), ("x", 277, START_S + DAY_S), ("z", 7, START_S + DAY_S)]
    by_field = client.rows("SELECT field, count(), sum(n) FROM hours GROUP BY field ORDER BY field")
    assert by_field == [("w", 1, 8), ("x", 24, 276), ("y", 1, 5), ("z", 1, 7)]
    assert queries.rollups(client, "m", START_S, START_S + DAY_S)["n"].to_pylist() == list(range(24))
    assert queries.rollups(client, "m", START_S, START_S + DAY_S, pane_s=DAY_S)["n"].to_pylist() == [277]


def test_new_categories_are_counted_by_their_last_reading(client: Client) -> None:
    def named(category: str, hour: int, n: int, record_seq: int, **values: Any) -> dict[str, Any]:
        counted = {"category": category, "pane_start": START_S + hour * HOUR_S, "n_low": n, "n_high": n + 1}
        return counted | {"record_seq": record_seq} | values

    rows = [
        # An hour that was read twice: categories that dropped out of the fifty are not counted.
        named("pink", 0, 5, 10),
        named("mauve", 0, 4, 10),
        named("pink", 0, 6, 20),
        named("lime", 0, 7, 20),
        named("pink", 5, 1, 30),
        # The same value in another version, model and field.
        named("pink", 6, 2, 40, version="2"),
        named("pink", 7, 9, 40, model="other"),
        named("pink", 8, 9, 40, field="flag"),
    ]
    known = {"model": "m", "version": "1", "baseline_id": "b", "field": "colour", "pane_s": HOUR_S}
    add_rows(client, "new_categories", rows, **known)
    result = client.rows(
        "SELECT category, toUnixTimestamp(first_seen), toUnixTimestamp(last_seen), n, n_high FROM unseen_categories "
        "WHERE model = 'm' AND field = 'colour' ORDER BY category"
    )
    assert result == [("lime", START_S, START_S, 7, 8), ("pink", START_S, START_S + 6 * HOUR_S, 9, 12)]
    assert client.rows("SELECT count() FROM unseen_categories") == [(4,)]
    plan = client.rows("EXPLAIN indexes = 1 SELECT * FROM unseen_categories WHERE model = 'm' AND field = 'colour'")
    assert "PrimaryKey Keys: model field" in " ".join(" ".join(line for (line,) in plan).replace("│", " ").split())


def comparison(record_seq: int, left: str, right: str, **values: Any) -> dict[str, Any]:
    known = {"model": "m", "kind": "version", "field": "score", "measure": "psi", "window": "1h"} | values
    return row("comparisons", **known, window_end=START_S, record_seq=record_seq, left=left, right=right)


def test_views_show_the_last_set_of_a_window(client: Client) -> None:
    """The events of version 2 were late: 1 and 3 were compared without it, and are no longer the last two versions."""
    for rows in (
        [comparison(5, "1", "3", difference=0.5), comparison(5, "1", "3", measure="mean", difference=0.1)],
        [comparison(9, "2", "3", difference=0.7), comparison(9, "2", "3", measure="mean", difference=0.2)],
        [comparison(9, "2", "3", difference=0.7)],  # written again after a crash
        [comparison(3, "1", "3", window="1d", difference=0.4)],
        [comparison(4, "a", "b", kind="arm", difference=0.3, reason="lost events")],
    ):
        insert_rows(client, "comparisons", rows)
    query = "SELECT previous, version, measure, difference FROM version_comparison WHERE model = 'm' AND window = '1h' "
    assert client.rows(query + "ORDER BY measure") == [("2", "3", "mean", 0.2), ("2", "3", "psi", 0.7)]
    arms = client.rows("SELECT control, arm, isNaN(control_value), reason FROM arm_comparison")
    assert arms == [("a", "b", True, "lost events")]
    assert client.rows("SELECT count() FROM latest_comparisons") == [(4,)]


NOW_S = int(datetime.now(UTC).timestamp())
RECENT_S = NOW_S // 3600 * 3600


def arrived(name: str, at_s: int, n: int, first: int, last: int, record_seq: int, **values: Any) -> dict[str, Any]:
    counted = {"pane_start": at_s, "pane_s": 60, "n": n, "first_seq": first, "last_seq": last}
    return row("producers", **{"model": "m", **values}, producer=name, **counted, record_seq=record_seq)


def volume(pane_start: int, n: int, **values: Any) -> dict[str, Any]:
    known = {"model": "m", "version": "1", "baseline_id": "b", "slice": "all", "pane_s": 60, "sealed": True}
    return row("volume", **known | values, pane_start=pane_start, n=n)


def applied(client: Client, model: str, raw_share: float = 1.0) -> None:
    yaml = dump_contract(Contract(model=model, raw_share=raw_share))
    add_row(client, "contracts", model=model, yaml=yaml, applied_at=NOW_S * 1000)


def test_kinds_of_errors_add_up_over_records_and_not_over_repeats(client: Client) -> None:
    known = {"model": "m", "version": "1", "baseline_id": "b", "slice": "all", "pane_start": RECENT_S, "pane_s": 60}
    counted = [
        row("errors", **known, kind=kind, n=n, record_seq=record_seq)
        for kind, n, record_seq in (("TimeoutError", 3, 7), ("TimeoutError", 4, EPOCH), ("ValueError", 1, 7))
    ]
    write(client, "errors", [*counted, counted[0], counted[1]])
    expected = [("TimeoutError", 7, RECENT_S + 60), ("ValueError", 1, RECENT_S + 60)]
    for _ in range(2):
        assert client.rows("SELECT kind, n, toUnixTimestamp(pane_end) FROM errors_by_kind ORDER BY kind") == expected
        client.command("OPTIMIZE TABLE errors FINAL")
    assert client.rows("SELECT count() FROM errors") == [(3,)]


def test_dead_letters_add_up_over_records_and_not_over_repeats(client: Client) -> None:
    counted = [
        {"model": model, "n": n, "record_seq": record_seq, "partials_partition": partition}
        # Another partition's records may have the same place.
        for model, n, record_seq, partition in (("", 3, 7, 0), ("", 4, 8, 0), ("", 5, 8, 1), ("m", 1, 8, 0))
    ]
    for each in counted * 2:
        add_row(client, "dead_letter_counts", topic="predictions", reason="not-json", hour=RECENT_S, **each)
    assert client.rows("SELECT topic, model, reason, toUnixTimestamp(hour), n FROM dead_letters ORDER BY model") == [
        ("predictions", "", "not-json", RECENT_S, 12),
        ("predictions", "m", "not-json", RECENT_S, 1),
    ]


def test_volume_by_hour_adds_up_panes_baselines_and_revisions(client: Client) -> None:
    rows = [
        volume(RECENT_S, 10, errors=1, timed=8, slow=2, late=1, record_seq=1),
        volume(RECENT_S, 12, errors=1, timed=10, slow=2, late=3, record_seq=2),
        volume(RECENT_S + 60, 4, timed=2, slow=1, baseline_id="c"),
        volume(RECENT_S + 120, 0, sealed=False),
        volume(RECENT_S + 3600, 0),
        volume(RECENT_S, 9, slice="arm=a"),
    ]
    write(client, "volume", rows)
    result = client.rows(
        "SELECT toUnixTimestamp(hour), requests, errors, error_rate, timed, slow, slow_share, late, sealed "
        "FROM volume_by_hour WHERE model = 'm' AND slice = 'all' ORDER BY hour"
    )
    assert result[0] == (RECENT_S, 16, 1, 1 / 16, 12, 3, 0.25, 3, False)
    assert result[1][:3] == (RECENT_S + 3600, 0, 0)
    assert np.isnan([result[1][3], result[1][6]]).all()
    shares = client.rows("SELECT n, slow, slow_share FROM all_volume WHERE slice = 'all' AND timed ORDER BY n")
    assert shares == [(4, 1, 0.5), (12, 2, 0.2)]


def gaps(client: Client) -> dict[tuple[str, str], tuple[Any, ...]]:
    result = client.rows(
        "SELECT model, producer, received, start_seq, first_seq, last_seq, lost, lost_share, models, unattributed "
        "FROM producer_gaps"
    )
    return {(model, producer): tuple(rest) for model, producer, *rest in result}


def missing(client: Client, producer: str) -> list[tuple[int, int]]:
    columns = "toUnixTimestamp(pane_start) AS at, missing"
    sql = f"SELECT {columns} FROM producer_panes WHERE producer = {{p:String}} ORDER BY at"
    return [(at - RECENT_S, n) for at, n in client.rows(sql, {"p": producer})]


def test_gaps_in_the_numbers_of_a_producer_are_losses(client: Client) -> None:
    rows = [
        # 2 to 9 and 12 are missing; the second record brings 3, late.
        arrived("p", RECENT_S, 2, 0, 1, 5),
        arrived("p", RECENT_S + 60, 3, 10, 13, 6),
        arrived("p", RECENT_S + 120, 1, 3, 3, 7),
        arrived("q", RECENT_S, 5, 0, 4, 5),
        arrived("q", RECENT_S + 60, 2, 5, 6, 8),
    ]
    write(client, "producers", [*rows, rows[1]])
    assert gaps(client) == {("m", "p"): (6, 0, 0, 13, 8, 8 / 14, 1, 0), ("m", "q"): (7, 0, 0, 6, 0, 0.0, 1, 0)}
    assert missing(client, "p") == [(0, 0), (60, 9), (120, -1)]
    assert missing(client, "q") == [(0, 0), (60, 0)]
    # Events of pooled producers make losses uncertain.
    write(client, "producers", [arrived("other", RECENT_S, 9, -1, -1, 1)])
    assert {unattributed for *_, unattributed in gaps(client).values()} == {9}


def test_a_producer_older_than_retention_is_counted_from_its_first_number(client: Client) -> None:
    old_s = RECENT_S - 30 * DAY_S + 2 * 3600
    write(client, "producers", [arrived("p", old_s, 10, 500, 509, 1), arrived("p", RECENT_S, 1, 511, 511, 2)])
    assert gaps(client)["m", "p"][:5] == (11, 500, 500, 511, 1)
    assert missing(client, "p") == [(old_s - RECENT_S, 0), (0, 1)]


def test_totals_are_gaps_from_a_projection_and_numbers_across_models_count_no_loss_of_one(client: Client) -> None:
    long_ago = RECENT_S - 31 * DAY_S
    rows = [
        arrived("p", RECENT_S - 60, 4, 0, 3, 5),
        arrived("p", RECENT_S, 2, 8, 9, 6),
        arrived("q", RECENT_S, 1, 0, 0, 5),
        arrived("q", RECENT_S, 1, 1, 1, 5, model="n"),
        arrived("q", long_ago, 1, 2, 2, 1, model="o"),
        arrived("other", RECENT_S, 9, -1, -1, 1),
        arrived("r", long_ago, 1, 2, 2, 1),
    ]
    write(client, "producers", rows)
    expected = {("m", "p"): (6, 0, 0, 9, 4, 0.4, 1, 9), ("m", "q"): (1, 0, 0, 0, None, None, 2, 9)}
    expected["n", "q"] = (1, 0, 1, 1, None, None, 2, 0)
    assert gaps(client) == expected
    sql = "SELECT (model, producer), (received, lost, lost_share, models) FROM producer_totals"
    assert dict(client.rows(sql)) == {key: (own[0], *own[4:7]) for key, own in expected.items()}
    plan = client.rows("EXPLAIN SELECT * FROM producer_totals")
    assert "ReadFromMergeTree (totals)" in "\n".join(line for (line,) in plan)


def test_heartbeats_reveal_what_no_later_event_does(client: Client) -> None:
    now_s = int(time.time())  # of this test: after ten minutes a producer is silent

    def beat(producer: str, last: int, queued: int, ended: bool, at_s: int = now_s, **values: Any) -> dict[str, Any]:
        known = {"model": "m", "since": at_s - 60, "at": at_s, "discarded": {}, "record_seq": 2, **values}
        return row("heartbeats", producer=producer, last_seq=last, queued=queued, ended=ended, **known)

    old_s, ago_s, names = now_s - 601, now_s - 2 * 3600, ("live", "ended", "killed", "nothing came", "long ago")
    write(client, "producers", [arrived(name, ago_s, 4, 0, 3, 5) for name in names[:3]])
    rows = [beat("live", 9, 6, False), beat("ended", 9, 6, False), beat("killed", 7, 3, False, old_s)]
    rows += [beat("nothing came", 4, 0, True), beat("long ago", 4, 0, True, since=now_s - 40 * DAY_S)]
    write(client, "heartbeats", [*rows, beat("ended", 10, 0, True, record_seq=3), *rows])
    expected = {"live": (0, "live", 6), "ended": (7, "ended", 0), "killed": (4, "silent", 3)}
    expected |= {"nothing came": (5, "ended", 0), "long ago": (0, "ended", 0)}
    for view in ("producer_gaps", "producer_totals"):
        result = client.rows(f"SELECT producer, (lost, state, queued) FROM {view}")
        assert {name: tuple(values) for name, values in result} == expected
    for name, (lost, *_) in expected.items():
        assert sum(n for _, n in missing(client, name)) == lost


def test_panes_add_up_to_the_loss_whatever_comes_in_whatever_order(client: Client) -> None:
    rng = random.Random(5)
    rows, truth = [], {}
    for producer in ("p", "q", "r"):
        retained = [seq for seq in range(400) if rng.random() < 0.9]
        truth[producer] = retained[-1] + 1 - len(retained)
        panes: dict[tuple[int, int], list[int]] = {}
        for seq in retained:
            panes.setdefault((max(0, seq // 40 + rng.choice([0, 0, 0, -1, 2])), rng.randrange(3)), []).append(seq)
        rows += [
            arrived(producer, RECENT_S + 60 * at, len(seqs), min(seqs), max(seqs), record_seq)
            for (at, record_seq), seqs in panes.items()
        ]
    insert_rows(client, "producers", rows)
    assert {producer: result[4] for (_, producer), result in gaps(client).items()} == truth
    for producer, lost in truth.items():
        assert sum(n for _, n in missing(client, producer)) == lost


def event(i: int, event_id: str, at_s: int = RECENT_S, **values: Any) -> dict[str, Any]:
    known = {"model": "m", "version": "1", "received_at": NOW_S * 1000}
    return row("predictions", **known | values, offset=i, id=event_id, at=at_s * 1000)


DUPLICATES = (
    f"SELECT version, toUnixTimestamp(hour) - {RECENT_S}, counted, recorded, ids, repeats, repeat_rate, raw_share "
    "FROM duplicates ORDER BY model, version, hour"
)


def test_the_same_id_of_the_same_version_is_a_repeat(client: Client) -> None:
    applied(client, "m")
    rows = [
        event(0, "a"),
        event(1, "b"),
        event(2, "a", RECENT_S + 5),
        # A shadow shares the id; another hour is looked at by itself.
        event(3, "a", version="2"),
        event(4, "a", RECENT_S + 3600),
    ]
    # What the recorder reads again replaces itself and is no repeat.
    write(client, "predictions", [*rows, rows[0]])
    write(client, "volume", [volume(RECENT_S, 2), volume(RECENT_S + 60, 1), volume(RECENT_S + 3600, 1)])
    assert client.rows(DUPLICATES) == [
        ("1", 0, 3, 3, 2, 1, 1 / 3, 1.0),
        ("1", 3600, 1, 1, 1, 0, 0.0, 1.0),
        ("2", 0, 0, 1, 1, 0, 0.0, 1.0),
    ]


def test_where_no_raw_event_is_kept_repeats_are_not_known(client: Client) -> None:
    applied(client, "m", 0.0)
    write(client, "volume", [volume(RECENT_S, 5), volume(RECENT_S + 3600, 0)])
    assert client.rows(DUPLICATES) == [("1", 0, 5, 0, 0, None, None, 0.0)]


def history(model: str, last_s: int, n: int, *, days: int = 8, step: int = 1) -> list[dict[str, Any]]:
    """Hourly panes up to one that ends at `last_s`; one in `step` has events."""
    hours = range(days * 24)
    return [volume(last_s - 3600 * (i + 1), n * (i % step == 0), model=model, pane_s=3600) for i in hours]


def until_now_s() -> int:
    """The end of the hour after this one: a run that began before it is still in traffic."""
    return int(time.time()) // 3600 * 3600 + 2 * 3600


def test_a_model_is_silent_for_longer_than_is_usual_of_it(client: Client) -> None:
    stopped = {"for a while": 7200, "for days": 5 * DAY_S, "for weeks": 30 * DAY_S}
    panes = history("busy", until_now_s(), 100)
    for model, ago_s in stopped.items():
        last_s = RECENT_S - ago_s
        # Silent panes since then do not make silence usual.
        panes += history(model, last_s, 100)
        panes += [volume(at, 0, model=model) for at in range(last_s, RECENT_S, 3600)]
    panes += history("rare", RECENT_S - 2 * 3600, 1, step=5) + history("gone", RECENT_S - 6 * 3600, 1, step=5)
    panes += [volume(RECENT_S - 3600 * i, 0, model="waiting", pane_s=3600) for i in range(1, 9)]
    # Versions are taken together.
    panes += history("two versions", RECENT_S - DAY_S, 60)
    panes += [{**each, "version": "2"} for each in history("two versions", until_now_s(), 40)]
    insert_rows(client, "volume", panes)
    for model in ("busy", *stopped, "rare", "gone", "new", "waiting", "two versions"):
        applied(client, model)
    result = dict(client.rows("SELECT model, (state, usual_n, usual_gap_s, silent_s) FROM silence"))
    assert result["busy"] == result["two versions"] == ("active", 100.0, 0, 0)
    assert {model: result[model][0] for model in stopped} == dict.fromkeys(stopped, "silent")
    assert result["for days"][1] == 100.0
    assert result["for a while"][3] >= 7200
    assert result["rare"][:3] == ("quiet", 0.0, 4 * 3600)
    assert result["gone"][:3] == ("silent", 0.0, 4 * 3600)
    assert result["new"] == result["waiting"] == ("never", 0.0, 0, -1), "a model without any traffic is not healthy"
