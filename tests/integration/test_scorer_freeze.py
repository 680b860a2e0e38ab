"""Which week becomes the reference of a version and when, independent of the passes that find it."""

import random
from functools import partial
from typing import Any

import msgspec
import pytest
from barograph.contract import Contract, LabelSpec, Slo, Window
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.streams.scorer.worker import Scorer
from barograph_server.warehouse.client import Client
from tests.support import scoring
from tests.support.scoring import DAY_MS, HOUR_MS, START_MS, Score, label, prediction
from tests.support.warehouse import emptied, snapshot

PER_DAY = 60
CONTRACT = Contract(
    model="m",
    pane_s=86400,
    windows=(Window(86400, 86400), Window(7 * 86400, 86400)),
    label=LabelSpec(type="bool", positive=True, horizon_s=86400),
)
"""Daily panes give daily score windows, so that passes over weeks are fast."""

JUDGING = ("performance_reference", "performance", "scorer_models", "scorer_checkpoints")
Rows = tuple[list[dict[str, Any]], list[dict[str, Any]]]


@pytest.fixture
def score(client: Client, engine: LocalClickHouse) -> Score:
    address = engine.address(client.database)

    def build_scorer(day: float, contract: Contract = CONTRACT, **changes: Any) -> Scorer:
        return scoring.scorer(client, address, contract, **{"clock": lambda: START_MS / 1000 + day * 86400, **changes})

    return build_scorer


def traffic(days: int, *, labelled_from: int = 0, wrong_until: int = 0) -> Rows:
    """Return predictions and labels in time order, as in the partitions of both topics."""
    rng = random.Random(days)
    predictions: list[dict[str, Any]] = []
    label_events: list[tuple[int, int, bool]] = []
    for i in range(days * PER_DAY):
        at_ms = START_MS + i * (DAY_MS // PER_DAY)
        score = rng.random()
        predictions.append(prediction(i, at_ms, i, score=score))
        truth = (rng.random() < score) != (i < wrong_until * PER_DAY)
        if i >= labelled_from * PER_DAY and rng.random() < 0.9:
            label_events.append((at_ms + int(rng.expovariate(1 / (3 * HOUR_MS))), i, truth))
    labels = [
        label(i, at_ms, offset, "true" if truth else "false")
        for offset, (at_ms, i, truth) in enumerate(sorted(label_events))
    ]
    return predictions, labels


def fill(client: Client, rows: Rows) -> None:
    scoring.insert(client, "predictions", rows[0])
    scoring.insert(client, "labels", rows[1])


def known(client: Client) -> dict[str, list[Any]]:
    rows = client.rows("SELECT * EXCEPT frozen_at FROM performance_reference FINAL ORDER BY ALL")
    return scoring.everything(client) | {"performance_reference": list(map(repr, rows))}


def reference_weeks(client: Client) -> list[tuple[float, int]]:
    rows = client.rows(
        "SELECT toUnixTimestamp(from_time), uniqExact(age_s) FROM performance_reference FINAL GROUP BY from_time"
    )
    return [((start_s - START_MS / 1000) / 86400, ages) for start_s, ages in rows]


TABLES = ("predictions", "labels")
RACE = (("predictions", 99), ("pass", 2), ("labels", 99))
"""Two passes see the predictions of a backfill before its first label."""
PARTIAL_LABELS = (("predictions", 99), ("labels", 4), ("pass", 2))
"""Two passes see a share of the labels of each week."""
RESTARTED = (*PARTIAL_LABELS, ("restart", 1), ("labels", 3), ("pass", 2), ("restart", 1), ("pass", 1))
LATE_START = (("predictions", 1), ("labels", 99), ("pass", 2), ("restart", 1), ("predictions", 99), ("pass", 1))
"""Whole partitions of predictions are read late."""
TARGETS: dict[str, list[Any]] = {}
"""Kind of clock → what one scorer finds that has all rows before its first pass."""
STEPS = st.tuples(st.sampled_from(("predictions", "labels", "pass", "restart")), st.integers(1, 4))


@pytest.mark.long
@settings(max_examples=3, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(clock=st.sampled_from(("live", "replay")), steps=st.lists(STEPS, min_size=4, max_size=12).map(tuple))
@example(clock="replay", steps=RACE)
@example(clock="live", steps=RACE)
@example(clock="replay", steps=PARTIAL_LABELS)
@example(clock="live", steps=PARTIAL_LABELS)
@example(clock="replay", steps=RESTARTED)
@example(clock="replay", steps=LATE_START)
def test_the_same_rows_give_the_same_reference_in_any_order_of_rows_passes_and_restarts(
    client: Client, score: Score, clock: str, steps: tuple[tuple[str, int], ...]
) -> None:
    # The first week misses the target, which a part of its labels does not show.
    contract = msgspec.structs.replace(CONTRACT, slo=Slo(performance={"accuracy": 0.65}))
    rows = traffic(16, wrong_until=7)
    if clock not in TARGETS:
        fill(client, rows)
        working = score(20, contract, clock_kind=clock)
        working.score_once()
        working.score_once()
        TARGETS[clock] = references_in_verdicts(client)
        assert reference_weeks(client) == [(7.0, 5)]
        emptied(client)
    waiting = {table: parts(each) for table, each in zip(TABLES, rows, strict=True)}
    working = score(20, contract, clock_kind=clock)
    for step, times in steps:
        for _ in range(times):
            if step == "pass":
                working.score_once()
            elif step == "restart":
                working = score(20, contract, clock_kind=clock)
            elif waiting[step]:
                scoring.insert(client, step, waiting[step].pop(0))
    for table, left in waiting.items():
        for part in left:
            scoring.insert(client, table, part)
    working.score_once()
    working.score_once()
    result = references_in_verdicts(client)
    emptied(client)
    assert result == TARGETS[clock]


def parts(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    return [rows[len(rows) * i // 8 : len(rows) * (i + 1) // 8] for i in range(8)]


def references_in_verdicts(client: Client) -> list[Any]:
    rows = client.rows(
        "SELECT version, metric, window, toUnixTimestamp(window_start), round(reference, 9) FROM latest_performance "
        "WHERE slice = 'all' ORDER BY ALL"
    )
    return list(map(repr, rows))


@pytest.mark.long
def test_a_freezing_pass_killed_at_any_point_is_repeated_into_the_same_rows(client: Client, score: Score) -> None:
    predictions, labels = traffic(10)
    early = [each for each in predictions if each["at"] < START_MS + 7.5 * DAY_MS]
    early_labels = [each for each in labels if each["at"] < START_MS + 7.5 * DAY_MS]
    fill(client, (early, early_labels))
    score(7.5).score_once()
    assert reference_weeks(client) == []
    fill(client, (predictions, labels))
    with snapshot(client) as back:
        score(12).score_once()
        targets = known(client)
        assert reference_weeks(client) == [(0.0, 5)]
        back()

    def check() -> None:
        result = known(client)
        for name, target in targets.items():
            assert result[name] == target, name

    assert scoring.kill_everywhere(client, partial(score, 12), check, JUDGING) >= 5


def test_a_week_that_is_not_completely_read_is_not_frozen(client: Client, score: Score) -> None:
    predictions, labels = traffic(10)
    behind = [each for each in predictions if each["partition"] == 0 or each["at"] < START_MS + 5 * DAY_MS]
    fill(client, (behind, labels))
    working = score(12)
    working.score_once()
    assert reference_weeks(client) == []
    fill(client, (predictions, []))
    working.score_once()
    assert reference_weeks(client) == [(0.0, 5)]
    assert client.rows("SELECT DISTINCT predictions FROM performance_reference FINAL") == [(7 * PER_DAY,)]


@pytest.mark.long
def test_a_week_without_labels_is_skipped(client: Client, score: Score) -> None:
    fill(client, traffic(16, labelled_from=6))
    working = score(20)
    working.score_once()
    assert reference_weeks(client) == [(0.0, 5)], "a day of labels is enough"
    emptied(client)
    fill(client, traffic(16, labelled_from=7))
    score(20).score_once()
    assert reference_weeks(client) == [(7.0, 5)]


def test_weeks_without_traffic_of_a_version_are_skipped(client: Client, score: Score) -> None:
    predictions, labels = traffic(24)
    for i, each in enumerate(predictions):
        each["version"] = "2" if i == 0 or each["at"] >= START_MS + 14 * DAY_MS else "1"
    fill(client, (predictions, labels))
    score(30).score_once()
    result = client.rows("SELECT DISTINCT version, toUnixTimestamp(from_time) FROM performance_reference ORDER BY ALL")
    days = [(version, (start_s - START_MS / 1000) / 86400) for version, start_s in result]
    assert days == [("1", 0.0), ("2", 14.0)]


def test_a_week_whose_raw_rows_are_deleted_is_not_a_reference(client: Client, score: Score) -> None:
    fill(client, traffic(16))
    score(7.5).score_once()
    client.command(f"ALTER TABLE predictions DELETE WHERE toUnixTimestamp(at) < {START_MS // 1000 + 2 * 86400}")
    score(20).score_once()
    assert reference_weeks(client) == [(7.0, 5)]
