"""The scorer over weeks of a degrading model: maturity, levels, estimates, and which week becomes the reference."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
import numpy as np
import pytest
from barograph.contract import Contract, LabelSpec, Slo, Window
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.warehouse.client import Address, Client
from barograph_server.warehouse.tables import insert_columns, insert_rows
from tests.support import scoring
from tests.support.scoring import DAY_MS, HOUR_MS, START_MS, Score, label, prediction
from tests.support.warehouse import add_rows, columns, emptied, insert, migrated, snapshot

DAYS = 12
PER_DAY = 4_000
BAD_DAY = 10
"""From this day on a third of the labels are inverted: the meaning of scores changes."""
SELECTIVE_DAY = 9
"""On this day labels arrive for high scores more often than for low scores."""
LATE_H, EARLY_H, HORIZON_H = 5.0, 2.0, 24
"""Mean label delays of wrong and of right predictions: early labels differ from late ones."""
NOW_MS = START_MS + int(11.5 * DAY_MS)

CONTRACT = Contract(
    model="m",
    windows=(Window(3600, 3600), Window(7 * 86400, 86400)),
    label=LabelSpec(type="bool", positive=True, horizon_s=HORIZON_H * 3600, mature=0.9),
)


@dataclass(frozen=True)
class Traffic:
    at_ms: NDArray[np.int64]
    score: NDArray[np.float64]
    truth: NDArray[np.bool_]
    delay_ms: NDArray[np.int64]
    """-1 if no label arrives."""

    def accuracy(self, first_day: float, days: float, within_ms: float = HORIZON_H * HOUR_MS) -> tuple[float, int]:
        """Return the accuracy on labels that arrived within an age, and their number."""
        start = START_MS + first_day * DAY_MS
        own = (self.at_ms >= start) & (self.at_ms < start + days * DAY_MS) & (self.delay_ms >= 0)
        own &= self.delay_ms <= within_ms
        return float(np.mean((self.score >= 0.5)[own] == self.truth[own])), int(own.sum())

    def accuracy_at(self, age_ms: float, length_ms: float) -> float:
        """Return the accuracy of the first week, with the labels that a window of a length and age would have."""
        own = (self.at_ms < START_MS + 7 * DAY_MS) & (self.delay_ms >= 0)
        came = np.clip((age_ms + length_ms - self.delay_ms[own]) / length_ms, 0.0, 1.0)
        return float(np.average((self.score >= 0.5)[own] == self.truth[own], weights=came))


World = tuple[Client, Address, Traffic]


def traffic(seed: int = 5) -> Traffic:
    rng = np.random.default_rng(seed)
    n = DAYS * PER_DAY
    at_ms = START_MS + (np.arange(n) * (DAY_MS / PER_DAY)).astype(np.int64)
    day = (at_ms - START_MS) / DAY_MS
    score = rng.beta(0.8, 1.2, n)
    truth = rng.random(n) < score
    truth ^= (day >= BAD_DAY) & (rng.random(n) < 1 / 3)
    delay_ms = (rng.exponential(np.where(truth == (score >= 0.5), EARLY_H, LATE_H) * HOUR_MS)).astype(np.int64)
    never = (rng.random(n) < 0.2) | (delay_ms > HORIZON_H * HOUR_MS)
    never |= (day // 1 == SELECTIVE_DAY) & (score < 0.5) & (rng.random(n) < 0.8)
    return Traffic(at_ms, score, truth, np.where(never, -1, delay_ms))


@pytest.fixture(scope="module")
def world(engine: LocalClickHouse) -> Iterator[World]:
    """Insert all rows that arrived by `NOW_MS`, and do one pass."""
    with migrated(engine) as client:
        sent = traffic()
        ids = [f"e{i}" for i in range(len(sent.at_ms))]
        came = np.flatnonzero(sent.at_ms <= NOW_MS)
        own: dict[str, Any] = {"id": [ids[i] for i in came], "at": sent.at_ms[came], "received_at": sent.at_ms[came]}
        own |= {"offset": came, "score": sent.score[came]}
        insert_columns(client, "predictions", columns("predictions", len(came), model="m", version="1", **own))
        insert_labels(client, sent, -1, NOW_MS)
        address = engine.address(client.database)
        scoring.scorer(client, address, CONTRACT, clock=lambda: NOW_MS / 1000).score_once()
        yield client, address, sent


def insert_labels(client: Client, sent: Traffic, after_ms: int, until_ms: int) -> None:
    label_ms = sent.at_ms + sent.delay_ms
    came = np.flatnonzero((sent.delay_ms >= 0) & (label_ms > after_ms) & (label_ms <= until_ms))
    own: dict[str, Any] = {"id": [f"e{i}" for i in came], "label": ["true" if sent.truth[i] else "false" for i in came]}
    own |= {"at": label_ms[came], "received_at": label_ms[came], "message_index": came}
    # In the order in which they came.
    own |= {"offset": label_ms[came] - START_MS}
    insert_columns(client, "labels", columns("labels", len(came), model="m", label_type="bool", **own))


def accuracy_rows(client: Client, window: str, day: float) -> dict[str, Any]:
    result = client.arrow(
        "SELECT * FROM latest_performance WHERE metric = 'accuracy' AND window = {window:String} "
        "AND window_start = toDateTime({start:UInt32})",
        {"window": window, "start": int(START_MS / 1000 + day * 86400)},
    ).to_pylist()
    assert len(result) == 1
    return dict(result[0])


def test_the_first_week_is_frozen_at_every_age_of_its_labels(world: World) -> None:
    client, _, sent = world
    rows = client.rows(
        "SELECT age_s, predictions, labelled, confusion, toUnixTimestamp(from_time), toUnixTimestamp(to_time) "
        "FROM performance_reference FINAL WHERE slice = 'all' ORDER BY age_s"
    )
    assert [age_s // 3600 for age_s, *_ in rows] == [1, 3, 6, 12, 24]
    for age_s, predictions, labelled, confusion, first_s, end_s in rows:
        value, n = sent.accuracy(0, 7, age_s * 1000)
        assert (predictions, labelled) == (7 * PER_DAY, n)
        assert (confusion[0] + confusion[3]) / sum(confusion) == pytest.approx(value)
        assert (first_s, end_s) == (START_MS // 1000, START_MS // 1000 + 7 * 86400)


def test_windows_are_compared_with_the_reference_at_their_own_age(world: World) -> None:
    client, _, sent = world
    whole, _ = sent.accuracy(0, 7)
    for length, length_ms, ago_h in (("1h", HOUR_MS, (0, 1, 2, 4, 6, 9, 15, 20, 24, 60)), ("1d", DAY_MS, (12, 36, 60))):
        for hours_ago in ago_h:
            start_ms = NOW_MS - hours_ago * HOUR_MS - length_ms
            result = accuracy_rows(client, length, (start_ms - START_MS) / DAY_MS)
            target = sent.accuracy_at(hours_ago * HOUR_MS, length_ms)
            near = 1e-9 if hours_ago >= HORIZON_H else 0.01
            assert result["reference"] == pytest.approx(target, abs=near), (length, hours_ago)
            assert result["difference"] == pytest.approx(result["value"] - result["reference"])
            assert result["difference_low"] < result["difference"] < result["difference_high"]
    assert sent.accuracy_at(0, HOUR_MS) > whole + 0.05, "the accuracy of the first labels"


def test_an_estimate_without_labels_is_right_until_the_meaning_of_scores_changes(world: World) -> None:
    client, _, _ = world
    for day in range(SELECTIVE_DAY):
        result = accuracy_rows(client, "1d", day)
        assert abs(result["cbpe_error"]) < 0.03
        assert result["cbpe_low"] < result["cbpe"] < result["cbpe_high"]
    drifted = accuracy_rows(client, "1d", BAD_DAY)
    assert drifted["cbpe_error"] > 0.1
    young = accuracy_rows(client, "1h", (NOW_MS - HOUR_MS - START_MS) / DAY_MS)
    assert not young["mature"]
    assert young["cbpe"] == pytest.approx(drifted["cbpe"], abs=0.1)
    assert np.isnan(young["cbpe_error"])


def test_an_estimate_that_was_wrong_is_no_longer_trusted(world: World) -> None:
    client, _, _ = world
    measured = "SELECT DISTINCT metric, window FROM latest_performance WHERE slice = 'all' AND NOT isNaN(cbpe_error)"
    trusted = dict(client.rows("SELECT (metric, window), (windows, trusted) FROM estimate_trust"))
    assert sorted(trusted) == sorted(client.rows(measured))
    assert trusted["accuracy", "1d"][1], "one bad day of ten is not enough to say"
    assert trusted["accuracy", "1h"] == (20, False), "the last twenty hours were all bad"
    assert not trusted["auc", "1h"][1]


def test_labels_that_depend_on_the_score_are_reported_and_corrected_for(world: World) -> None:
    client, _, sent = world
    result = {day: accuracy_rows(client, "1d", day) for day in range(11)}
    assert [day for day, each in result.items() if each["selective"]] == [SELECTIVE_DAY]
    assert result[SELECTIVE_DAY]["selective_p"] < 1e-6
    own = (sent.at_ms - START_MS) // DAY_MS == SELECTIVE_DAY
    true = np.mean((sent.score >= 0.5)[own] == sent.truth[own])
    selective = result[SELECTIVE_DAY]
    assert selective["corrected_low"] < true < selective["corrected_high"]
    assert abs(selective["corrected"] - true) < abs(selective["value"] - true)
    others = [each["corrected"] for day, each in result.items() if day != SELECTIVE_DAY]
    assert np.isnan(others).all()


def test_a_window_matures_without_new_rows_and_is_revised(world: World) -> None:
    client, address, sent = world
    now_ms = NOW_MS
    working = scoring.scorer(client, address, CONTRACT, clock=lambda: now_ms / 1000)
    working.score_once()
    start_day = (NOW_MS - 5 * HOUR_MS - START_MS) / DAY_MS
    before = accuracy_rows(client, "1h", start_day)
    assert not before["mature"]
    now_ms = NOW_MS + 6 * HOUR_MS
    working.score_once()
    after = accuracy_rows(client, "1h", start_day)
    assert after["mature"]
    assert after["revisions"] == before["revisions"] + 1
    assert (after["value"], after["n"]) == (before["value"], before["n"])
    # Its labels arrive, but later than expected.
    insert_labels(client, sent, NOW_MS, now_ms)
    working.score_once()
    last = accuracy_rows(client, "1h", start_day)
    assert last["n"] > after["n"]
    assert last["revisions"] == before["revisions"] + 2


def test_mature_windows_are_compared_with_the_performance_target(world: World) -> None:
    client, address, sent = world
    good, _ = sent.accuracy(0, 7)
    promised = msgspec.structs.replace(CONTRACT, slo=Slo(performance={"accuracy": good - 0.03, "auc": 0.99}))
    # A later clock, so that all windows of the last days are revised.
    for name in ("performance", "scorer_models"):
        client.command(f"TRUNCATE TABLE {name}")
    scoring.scorer(client, address, promised, clock=lambda: NOW_MS / 1000).score_once()
    assert {accuracy_rows(client, "1d", day)["level"] for day in range(SELECTIVE_DAY)} == {"stable"}
    assert accuracy_rows(client, "1d", BAD_DAY)["level"] == "major"
    assert accuracy_rows(client, "1d", BAD_DAY)["promise"] == pytest.approx(good - 0.03)
    auc = client.rows("SELECT DISTINCT level FROM latest_performance WHERE metric = 'auc' AND window = '1d' AND mature")
    assert auc == [("major",)]
    sql = "SELECT DISTINCT isNaN(promise) FROM latest_performance WHERE metric = 'recall' AND window = '1d'"
    assert client.rows(sql) == [(True,)]


def test_a_version_that_misses_its_target_from_the_start_has_no_reference(world: World) -> None:
    client, address, _ = world
    for name in ("performance", "scorer_models", "performance_reference"):
        client.command(f"TRUNCATE TABLE {name}")
    promised = msgspec.structs.replace(CONTRACT, slo=Slo(performance={"auc": 0.99}))
    scoring.scorer(client, address, promised, clock=lambda: NOW_MS / 1000).score_once()
    assert client.rows("SELECT count() FROM performance_reference") == [(0,)]
    assert np.isnan(accuracy_rows(client, "1d", 3)["reference"])


def test_estimates_are_refused_where_the_class_is_not_the_score_at_the_threshold(world: World) -> None:
    client, address, _ = world
    client.command("ALTER TABLE predictions UPDATE class = toString(score >= 0.65) WHERE 1 SETTINGS mutations_sync = 1")
    for threshold, reason in ((0.5, "class differs from score and threshold"), (0.65, "")):
        for name in ("performance", "scorer_models", "performance_state", "performance_reference"):
            client.command(f"TRUNCATE TABLE {name}")
        label = LabelSpec(type="bool", positive=True, horizon_s=HORIZON_H * 3600, mature=0.9, threshold=threshold)
        cut = msgspec.structs.replace(CONTRACT, label=label)
        scoring.scorer(client, address, cut, clock=lambda: NOW_MS / 1000).score_once()
        result = accuracy_rows(client, "1d", 3)
        assert (result["cbpe_reason"], np.isnan(result["cbpe"])) == (reason, bool(reason))
    assert abs(result["cbpe_error"]) < 0.03


def test_few_windows_that_are_off_do_not_cost_trust_and_a_bias_does(engine: LocalClickHouse) -> None:
    """Metric, value, errors and the half-widths of their intervals → share off, mean, whether sufficient, trusted."""
    cases = {
        "few": (("accuracy", 0.8, [0.1, 0.0, 0.01, -0.01, 0.0, 0.0], 0.03), (1 / 6, 0.1 / 6, True, True)),
        "more": (("accuracy", 0.8, [0.1, 0.1, 0.0, 0.0, 0.0, 0.0], 0.03), (1 / 3, 0.2 / 6, True, False)),
        "none alone": (("accuracy", 0.8, [0.03] * 20, 0.04), (0.0, 0.03, True, False)),
        "known and small": (("accuracy", 0.8, [0.015] * 20, 0.001), (0.0, 0.015, True, True)),
        "two windows": (("accuracy", 0.8, [0.1] * 2, 0.01), (1.0, 0.1, False, False)),
        # All windows are off significantly: by 5 % and 15 % of mae.
        "small": (("mae", 100.0, [5.0] * 6, 1.0), (0.0, 5.0, True, True)),
        "large": (("mae", 100.0, [15.0] * 6, 1.0), (1.0, 15.0, True, False)),
    }
    with migrated(engine) as client:
        for model, ((metric, value, errors, half), _) in cases.items():
            known = {"model": model, "version": "1", "slice": "all", "metric": metric, "window": "1d", "revision": 1}
            part = half / np.sqrt(2)  # of the estimate and of the value
            known |= {"predictions": 99, "value": value, "low": value - part, "high": value + part, "mature": True}
            days = [
                {"cbpe": value + error, "cbpe_low": value + error - part, "cbpe_high": value + error + part}
                | {"cbpe_error": error, "window_start": start, "window_end": start + 86400}
                for start, error in zip(range(START_MS // 1000, 2**32, 86400), errors, strict=False)
            ]
            add_rows(client, "performance", days, **known)
        trust = client.rows("SELECT model, off_share, bias, sufficient, trusted FROM estimate_trust")
    assert {model: row for model, *row in trust} == {
        model: [pytest.approx(off_share), pytest.approx(bias), *decisions]
        for model, (_, (off_share, bias, *decisions)) in cases.items()
    }


A_DAY = 60
DAILY = Contract(
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
    return lambda day, contract=DAILY, **changes: scoring.scorer(
        client, address, contract, **{"clock": lambda: START_MS / 1000 + day * 86400, **changes}
    )


def weeks(days: int, *, labelled_from: int = 0, wrong_until: int = 0) -> Rows:
    """Return predictions and labels in time order, as in the partitions of both topics."""
    rng = random.Random(days)
    predictions: list[dict[str, Any]] = []
    label_events: list[tuple[int, int, bool]] = []
    for i in range(days * A_DAY):
        at_ms = START_MS + i * (DAY_MS // A_DAY)
        score = rng.random()
        predictions.append(prediction(i, at_ms, i, score=score))
        truth = (rng.random() < score) != (i < wrong_until * A_DAY)
        if i >= labelled_from * A_DAY and rng.random() < 0.9:
            label_events.append((at_ms + int(rng.expovariate(1 / (3 * HOUR_MS))), i, truth))
    labels = [
        label(i, at_ms, offset, "true" if truth else "false")
        for offset, (at_ms, i, truth) in enumerate(sorted(label_events))
    ]
    return predictions, labels


def fill(client: Client, rows: Rows) -> None:
    insert(client, predictions=rows[0], labels=rows[1])


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
    contract = msgspec.structs.replace(DAILY, slo=Slo(performance={"accuracy": 0.65}))
    rows = weeks(16, wrong_until=7)
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
                insert_rows(client, step, waiting[step].pop(0))
    for table, left in waiting.items():
        for part in left:
            insert_rows(client, table, part)
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
    predictions, labels = weeks(10)
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
    predictions, labels = weeks(10)
    behind = [each for each in predictions if each["partition"] == 0 or each["at"] < START_MS + 5 * DAY_MS]
    fill(client, (behind, labels))
    working = score(12)
    working.score_once()
    assert reference_weeks(client) == []
    fill(client, (predictions, []))
    working.score_once()
    assert reference_weeks(client) == [(0.0, 5)]
    assert client.rows("SELECT DISTINCT predictions FROM performance_reference FINAL") == [(7 * A_DAY,)]


@pytest.mark.long
def test_a_week_without_labels_is_skipped(client: Client, score: Score) -> None:
    fill(client, weeks(16, labelled_from=6))
    score(20).score_once()
    assert reference_weeks(client) == [(0.0, 5)], "a day of labels is enough"
    emptied(client)
    fill(client, weeks(16, labelled_from=7))
    score(20).score_once()
    assert reference_weeks(client) == [(7.0, 5)]


def test_weeks_without_traffic_of_a_version_are_skipped(client: Client, score: Score) -> None:
    predictions, labels = weeks(24)
    for i, each in enumerate(predictions):
        each["version"] = "2" if i == 0 or each["at"] >= START_MS + 14 * DAY_MS else "1"
    fill(client, (predictions, labels))
    score(30).score_once()
    result = client.rows("SELECT DISTINCT version, toUnixTimestamp(from_time) FROM performance_reference ORDER BY ALL")
    days = [(version, (start_s - START_MS / 1000) / 86400) for version, start_s in result]
    assert days == [("1", 0.0), ("2", 14.0)]


def test_a_week_whose_raw_rows_are_deleted_is_not_a_reference(client: Client, score: Score) -> None:
    fill(client, weeks(16))
    score(7.5).score_once()
    client.command(f"ALTER TABLE predictions DELETE WHERE toUnixTimestamp(at) < {START_MS // 1000 + 2 * 86400}")
    score(20).score_once()
    assert reference_weeks(client) == [(7.0, 5)]
