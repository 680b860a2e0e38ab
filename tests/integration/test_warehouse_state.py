"""Contents of the tables and results of the views, on the real engine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from barograph_server.warehouse import queries
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.tables import insert_rows
from tests.support.warehouse import row

pytestmark = pytest.mark.engine
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
    if in_one_batch:
        insert_rows(client, "panes", both)
    else:
        write(client, "panes", both)
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
        assert client.rows(f"SELECT record_seq, level FROM {table} FINAL ORDER BY record_seq") == [
            (4, "insufficient"),
            (5, "minor"),
            (6, "stable"),
        ]
        assert client.rows(
            f"SELECT toUnixTimestamp(window_end), level, revisions, record_seq FROM latest_{table} ORDER BY window_end"
        ) == [(START_S + HOUR_S, "stable", 2, 6), (START_S + 2 * HOUR_S, "insufficient", 1, 4)]
        client.command(f"OPTIMIZE TABLE {table} FINAL")
    assert client.rows(f"SELECT count() FROM latest_{table} WHERE level = 'major'") == [(0,)]


@pytest.mark.parametrize(
    ("table", "value", "worst"), [("drift", "psi", "worst_psi"), ("rates", "delta", "worst_delta")]
)
def test_levels_of_windows_are_read_without_their_fields(client: Client, table: str, value: str, worst: str) -> None:
    arguments: list[tuple[str, int, str, float]] = [
        ("x", 1, "major", 0.5), ("y", 1, "major", 0.3), ("z", 1, "stable", 0.01), ("x", 2, "insufficient", math.nan),
    ]  # fmt: skip
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
    insert_rows(
        client,
        "baselines",
        [row("baselines", model="m", version="1", baseline_id="b", body=body, accepted_at=at) for at in (1, 2)],
    )
    shift = values - 10.5
    moments = {"shift_sum": shift.sum(), "shift_square_sum": (shift**2).sum()}
    extremes = {"minimum": values.min(), "maximum": values.max()}
    insert_rows(
        client,
        "panes",
        [
            pane(1, n=6, nulls=2, **moments, **extremes),
            pane(1, pane_start=START_S + 60, n=2, nulls=2, minimum=math.inf, maximum=-math.inf),
            pane(1, slice="country=DE", n=2),
            pane(1, baseline_id="unknown", n=6, nulls=2, **moments, **extremes),
        ],
    )
    [full, empty] = client.rows(
        "SELECT mean, stddev, minimum, maximum FROM all_panes "
        "WHERE slice = 'all' AND baseline_id = 'b' ORDER BY pane_start"
    )
    assert full == pytest.approx((values.mean(), values.std(ddof=1), 9.5, 30.0))
    assert np.isnan(empty).all()
    [no_moments] = client.rows("SELECT mean, stddev, minimum, maximum FROM all_panes WHERE slice != 'all'")
    assert np.isnan(no_moments).all()
    [(mean, stddev)] = client.rows("SELECT mean, stddev FROM all_panes WHERE baseline_id = 'unknown'")
    assert math.isnan(mean)
    assert stddev == pytest.approx(values.std(ddof=1))


def test_features_that_an_event_does_not_hold_are_null_not_zero(client: Client) -> None:
    numbers = [("age", 0.0), ("wind", math.nan)]
    insert_rows(client, "predictions", [prediction(1, NOW, numbers=numbers, nulls=["temp"])])
    [(age, wind, temp, cost)] = client.rows(
        "SELECT numbers['age'], numbers['wind'], numbers['temp'], metrics['cost'] FROM all_predictions"
    )
    assert (age, temp, cost) == (0.0, None, None)
    assert math.isnan(wind)


def test_the_label_with_the_latest_time_then_offset_counts(client: Client) -> None:
    at, received = int(MONDAY.timestamp() * 1000), int(NOW.timestamp() * 1000)

    def label(id_: str, value: str, offset: int, later_ms: int, model: str = "m") -> dict[str, Any]:
        arguments = {"label": value, "label_type": "string", "received_at": received}
        return row("labels", model=model, id=id_, offset=offset, at=at + later_ms, **arguments)

    insert_rows(
        client,
        "labels",
        [
            label("a", "later time", 1, 5),
            label("a", "later offset", 2, 0),
            label("b", "first", 3, 0),
            label("b", "second", 4, 0),
            label("c", "of another model", 5, 0, model="other"),
        ],
    )
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
    insert_rows(client, "drift", [verdict("drift", 1, 1)])
    insert_rows(client, "rates", [verdict("rates", 1, 1, kind="null")])
    insert_rows(client, "panes", [pane(1, pane_s=HOUR_S)])
    insert_rows(client, "volume", [row("volume", model="m", slice="all", pane_start=START_S, record_seq=1)])
    insert_rows(client, "predictions", [prediction(1, NOW, id="a")])
    received = int(NOW.timestamp() * 1000)
    insert_rows(client, "labels", [row("labels", model="m", id="a", at=received, received_at=received)])
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


def named(category: str, hour: int, n: int, record_seq: int, **values: Any) -> dict[str, Any]:
    known = {"model": "m", "version": "1", "baseline_id": "b", "field": "colour", "pane_s": HOUR_S}
    at = START_S + hour * HOUR_S
    return row(
        "new_categories",
        **known | values,
        category=category,
        pane_start=at,
        n_low=n,
        n_high=n + 1,
        record_seq=record_seq,
    )


def test_days_and_hours_are_separate_and_include_panes_of_their_length(client: Client) -> None:
    hours = [pane(1, pane_s=HOUR_S, pane_start=START_S + i * HOUR_S, n=i) for i in range(24)]
    days = [pane(1, pane_s=DAY_S, n=276), pane(2, pane_s=DAY_S, n=277)]
    insert_rows(client, "rollups", hours + days)
    insert_rows(
        client,
        "panes",
        [
            pane(1, n=1),
            pane(1, pane_s=HOUR_S, n=5, field="y"),
            pane(1, pane_s=DAY_S, n=7, field="z"),
            pane(1, pane_s=7 * DAY_S, n=8, field="w"),
        ],
    )
    result = client.rows("SELECT field, n, toUnixTimestamp(pane_end) FROM days ORDER BY field")
    assert result == [("w", 8, START_S + 7 * DAY_S), ("x", 277, START_S + DAY_S), ("z", 7, START_S + DAY_S)]
    by_field = client.rows("SELECT field, count(), sum(n) FROM hours GROUP BY field ORDER BY field")
    assert by_field == [("w", 1, 8), ("x", 24, 276), ("y", 1, 5), ("z", 1, 7)]
    assert queries.rollups(client, "m", START_S, START_S + DAY_S)["n"].to_pylist() == list(range(24))
    assert queries.rollups(client, "m", START_S, START_S + DAY_S, pane_s=DAY_S)["n"].to_pylist() == [277]


def test_new_categories_are_counted_by_their_last_reading(client: Client) -> None:
    insert_rows(
        client,
        "new_categories",
        [
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
        ],
    )
    result = client.rows(
        "SELECT category, toUnixTimestamp(first_seen), toUnixTimestamp(last_seen), n, n_high FROM unseen_categories "
        "WHERE model = 'm' AND field = 'colour' ORDER BY category"
    )
    assert result == [("lime", START_S, START_S, 7, 8), ("pink", START_S, START_S + 6 * HOUR_S, 9, 12)]
    assert client.rows("SELECT count() FROM unseen_categories") == [(4,)]
    plan = client.rows("EXPLAIN indexes = 1 SELECT * FROM unseen_categories WHERE model = 'm' AND field = 'colour'")
    assert "PrimaryKey Keys: model field" in " ".join(" ".join(line for (line,) in plan).replace("│", " ").split())


def comparison(record_seq: int, left: str, right: str, **values: Any) -> dict[str, Any]:
    defaults = {
        "model": "m",
        "kind": "version",
        "field": "score",
        "measure": "psi",
        "window": "1h",
        "window_end": START_S,
    }
    return row("comparisons", **defaults | values, record_seq=record_seq, left=left, right=right)


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
    arms = client.rows("SELECT control, arm, control_value, difference, reason FROM arm_comparison")
    assert arms[0][:2] == ("a", "b")
    assert arms[0][4] == "lost events"
    assert math.isnan(arms[0][2])
    assert len(arms) == 1
    assert client.rows("SELECT count() FROM latest_comparisons") == [(4,)]
