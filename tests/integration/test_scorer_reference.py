"""The scorer over weeks of a model that goes bad: maturity, reference, levels and estimates, held to the raw values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pytest
from barograph.contract import Contract, LabelSpec, Slo, Window
from numpy.typing import NDArray

from local.clickhouse import LocalClickHouse
from sketches.performance.cbpe import cbpe_trust, realised_error
from sketches.performance.metric import MetricEstimate
from streams.scorer.worker import Scorer
from tests.support import scoring
from tests.support.scoring import DAY_MS, HOUR_MS, START_MS
from tests.support.warehouse import columns, migrated
from warehouse.client import Address, Client
from warehouse.tables import insert_columns

pytestmark = [pytest.mark.engine, pytest.mark.slow]

DAYS = 12
PER_DAY = 4_000
BAD_DAY = 10
"""From this day on a third of the labels are the opposite of what they were: scores mean something else."""
SELECTIVE_DAY = 9
"""On this day labels come for high scores rather than for low ones."""
LATE_H, EARLY_H, HORIZON_H = 5.0, 2.0, 24
"""Mean delays of labels of wrong and of right predictions: what comes early is not like what comes late."""
NOW_MS = START_MS + int(11.5 * DAY_MS)

CONTRACT = Contract(
    model="m",
    windows=(Window(3600, 3600), Window(7 * 86400, 86400)),
    label=LabelSpec(type="bool", positive=True, horizon_s=HORIZON_H * 3600, mature=0.9),
)


@dataclass(frozen=True)
class Traffic:
    """Raw values by prediction."""

    at_ms: NDArray[np.int64]
    score: NDArray[np.float64]
    truth: NDArray[np.bool_]
    delay_ms: NDArray[np.int64]
    """-1 where no label comes."""

    def accuracy(self, first_day: float, days: float, within_ms: float = HORIZON_H * HOUR_MS) -> tuple[float, int]:
        """Of the labels that came within an age: their share that was predicted, and how many."""
        start = START_MS + first_day * DAY_MS
        own = (self.at_ms >= start) & (self.at_ms < start + days * DAY_MS) & (self.delay_ms >= 0)
        own &= self.delay_ms <= within_ms
        return float(np.mean((self.score >= 0.5)[own] == self.truth[own])), int(own.sum())

    def accuracy_at(self, age_ms: float, length_ms: float) -> float:
        """Of the first week, had its labels come as they have in a window of a length that ended so long ago."""
        own = (self.at_ms < START_MS + 7 * DAY_MS) & (self.delay_ms >= 0)
        came = np.clip((age_ms + length_ms - self.delay_ms[own]) / length_ms, 0.0, 1.0)
        return float(np.average((self.score >= 0.5)[own] == self.truth[own], weights=came))


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
def world(engine: LocalClickHouse) -> Iterator[tuple[Client, Address, Traffic]]:
    """Everything that had come by `NOW_MS`, and one pass over it."""
    with migrated(engine) as client:
        made = traffic()
        ids = [f"e{i}" for i in range(len(made.at_ms))]
        came = np.flatnonzero(made.at_ms <= NOW_MS)
        told = columns(
            "predictions",
            len(came),
            model=["m"] * len(came),
            version=["1"] * len(came),
            id=[ids[i] for i in came],
            at=made.at_ms[came],
            received_at=made.at_ms[came],
            offset=came,
            score=made.score[came],
        )
        insert_columns(client, "predictions", told)
        insert_labels(client, made, -1, NOW_MS)
        address = Address(engine.host, engine.port, client.database)
        scoring.scorer(client, address, CONTRACT, clock=lambda: NOW_MS / 1000).score_once()
        yield client, address, made


def insert_labels(client: Client, made: Traffic, after_ms: int, until_ms: int) -> None:
    label_ms = made.at_ms + made.delay_ms
    came = np.flatnonzero((made.delay_ms >= 0) & (label_ms > after_ms) & (label_ms <= until_ms))
    told = columns(
        "labels",
        len(came),
        model=["m"] * len(came),
        id=[f"e{i}" for i in came],
        label=["true" if made.truth[i] else "false" for i in came],
        label_type=["bool"] * len(came),
        at=label_ms[came],
        received_at=label_ms[came],
        offset=label_ms[came] - START_MS,  # in the order in which they came
        message_index=came,
    )
    insert_columns(client, "labels", told)


def accuracy_rows(client: Client, window: str, day: float) -> dict[str, Any]:
    found = client.arrow(
        "SELECT * FROM latest_performance WHERE metric = 'accuracy' AND window = {window:String} "
        "AND window_start = toDateTime({start:UInt32})",
        {"window": window, "start": int(START_MS / 1000 + day * 86400)},
    ).to_pylist()
    assert len(found) == 1
    return dict(found[0])


def test_the_curve_of_maturity_is_that_of_the_delays(world: tuple[Client, Address, Traffic]) -> None:
    client, _, made = world
    rows = client.rows("SELECT age_s, share, share_low, share_high, coverage, mature_age_s FROM label_maturity")
    assert len(rows) > 20
    delays_s = made.delay_ms[(made.delay_ms >= 0) & (made.at_ms < START_MS + 10 * DAY_MS)] / 1000
    for age_s, share, low, high, coverage, mature_age_s in rows:
        assert share == pytest.approx(np.mean(delays_s <= age_s), abs=0.02), age_s
        assert low <= share <= high
        assert 0.7 < coverage < 0.8  # a fifth never comes, and a day comes selectively
        assert mature_age_s == pytest.approx(np.quantile(delays_s, 0.9), rel=0.05)


def test_the_first_week_is_frozen_at_every_age_of_its_labels(world: tuple[Client, Address, Traffic]) -> None:
    client, _, made = world
    rows = client.rows(
        "SELECT age_s, predictions, labelled, confusion, toUnixTimestamp(from_time), toUnixTimestamp(to_time) "
        "FROM performance_reference FINAL WHERE slice = 'all' ORDER BY age_s"
    )
    assert [age_s // 3600 for age_s, *_ in rows] == [1, 3, 6, 12, 24]
    for age_s, predictions, labelled, confusion, first_s, end_s in rows:
        value, n = made.accuracy(0, 7, age_s * 1000)
        assert (predictions, labelled) == (7 * PER_DAY, n)
        assert (confusion[0] + confusion[3]) / sum(confusion) == pytest.approx(value)
        assert (first_s, end_s) == (START_MS // 1000, START_MS // 1000 + 7 * 86400)


def test_windows_are_compared_with_the_reference_at_their_own_age(world: tuple[Client, Address, Traffic]) -> None:
    client, _, made = world
    whole, _ = made.accuracy(0, 7)
    for length, length_ms, ago_h in (
        ("1h", HOUR_MS, (0, 1, 2, 4, 6, 9, 15, 20, 24, 60)),
        ("1d", DAY_MS, (12, 36, 60)),
    ):
        for hours_ago in ago_h:
            start_ms = NOW_MS - hours_ago * HOUR_MS - length_ms
            found = accuracy_rows(client, length, (start_ms - START_MS) / DAY_MS)
            wanted = made.accuracy_at(hours_ago * HOUR_MS, length_ms)
            near = 1e-9 if hours_ago >= HORIZON_H else 0.01
            assert found["reference"] == pytest.approx(wanted, abs=near), (length, hours_ago)
            assert found["difference"] == pytest.approx(found["value"] - found["reference"])
            assert found["difference_low"] < found["difference"] < found["difference_high"]
    assert made.accuracy_at(0, HOUR_MS) > whole + 0.05, "what the first labels show"


def test_a_model_that_goes_bad_is_major_and_was_stable_before(world: tuple[Client, Address, Traffic]) -> None:
    client, _, made = world
    levels = {day: accuracy_rows(client, "1d", day)["level"] for day in range(11)}
    assert {levels[day] for day in range(SELECTIVE_DAY)} == {"stable"}
    assert levels[BAD_DAY] == "major"
    bad = accuracy_rows(client, "1d", BAD_DAY)
    value, n = made.accuracy(BAD_DAY, 1, NOW_MS)
    assert bad["mature"]
    assert bad["n"] <= n
    assert bad["value"] == pytest.approx(value, abs=0.01)
    assert bad["high"] < bad["reference"] - 0.05


def test_an_estimate_without_labels_holds_until_scores_mean_something_else(
    world: tuple[Client, Address, Traffic],
) -> None:
    client, _, _ = world
    for day in range(SELECTIVE_DAY):
        found = accuracy_rows(client, "1d", day)
        assert abs(found["cbpe_error"]) < 0.03
        assert found["cbpe_low"] < found["cbpe"] < found["cbpe_high"]
    drifted = accuracy_rows(client, "1d", BAD_DAY)
    assert drifted["cbpe_error"] > 0.1
    young = accuracy_rows(client, "1h", (NOW_MS - HOUR_MS - START_MS) / DAY_MS)
    assert not young["mature"]
    assert young["cbpe"] == pytest.approx(drifted["cbpe"], abs=0.1)
    assert np.isnan(young["cbpe_error"])


def test_an_estimate_that_was_off_is_no_longer_trusted(world: tuple[Client, Address, Traffic]) -> None:
    client, _, _ = world
    errors = (
        "SELECT metric, window, value, low, high, cbpe, cbpe_low, cbpe_high FROM latest_performance "
        "WHERE slice = 'all' AND NOT isNaN(cbpe_error) ORDER BY window_end DESC LIMIT 20 BY metric, window"
    )
    by_key: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for metric, window, *figures in client.rows(errors):
        by_key.setdefault((metric, window), []).append(tuple(figures))
    rows = client.rows("SELECT metric, window, windows, bias, off_share, sufficient, trusted FROM estimate_trust")
    assert {(metric, window) for metric, window, *_ in rows} == by_key.keys()
    trusted = {}
    for metric, window, *told in rows:
        value, low, high, guess, guess_low, guess_high = np.array(by_key[metric, window]).T
        sure = np.ones(len(value), dtype=bool)
        wanted = cbpe_trust(
            realised_error(MetricEstimate(guess, guess_low, guess_high, sure), MetricEstimate(value, low, high, sure))
        )
        assert told[:3] == pytest.approx([wanted.windows, wanted.bias, wanted.off])
        assert (told[3], told[4]) == (wanted.known, wanted.trusted), (metric, window)
        trusted[metric, window] = told[4]
    assert trusted["accuracy", "1d"], "one bad day of ten is not enough to say"
    assert not trusted["accuracy", "1h"], "the last twenty hours were all bad"
    assert not trusted["auc", "1h"]


def test_labels_that_depend_on_the_score_are_said_and_corrected_for(world: tuple[Client, Address, Traffic]) -> None:
    client, _, made = world
    found = {day: accuracy_rows(client, "1d", day) for day in range(11)}
    assert [day for day, each in found.items() if each["selective"]] == [SELECTIVE_DAY]
    assert found[SELECTIVE_DAY]["selective_p"] < 1e-6
    own = (made.at_ms - START_MS) // DAY_MS == SELECTIVE_DAY
    true = np.mean((made.score >= 0.5)[own] == made.truth[own])
    selective = found[SELECTIVE_DAY]
    assert selective["corrected_low"] < true < selective["corrected_high"]
    assert abs(selective["corrected"] - true) < abs(selective["value"] - true)
    others = [each["corrected"] for day, each in found.items() if day != SELECTIVE_DAY]
    assert np.isnan(others).all()


def test_a_window_matures_without_a_new_record_and_is_revised(world: tuple[Client, Address, Traffic]) -> None:
    client, address, made = world
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
    # Its labels come, only later than it was thought.
    insert_labels(client, made, NOW_MS, now_ms)
    working.score_once()
    last = accuracy_rows(client, "1h", start_day)
    assert last["n"] > after["n"]
    assert last["revisions"] == before["revisions"] + 2


def test_a_promise_is_what_mature_windows_are_held_against(world: tuple[Client, Address, Traffic]) -> None:
    client, address, made = world
    good, _ = made.accuracy(0, 7)
    promised = msgspec.structs.replace(CONTRACT, slo=Slo(performance={"accuracy": good - 0.03, "auc": 0.99}))
    # Another clock, so that every window of the last days has something said of it anew.
    client.command("TRUNCATE TABLE performance")
    client.command("TRUNCATE TABLE scorer_models")
    scoring.scorer(client, address, promised, clock=lambda: NOW_MS / 1000).score_once()
    assert {accuracy_rows(client, "1d", day)["level"] for day in range(SELECTIVE_DAY)} == {"stable"}
    assert accuracy_rows(client, "1d", BAD_DAY)["level"] == "major"
    assert accuracy_rows(client, "1d", BAD_DAY)["promise"] == pytest.approx(good - 0.03)
    auc = client.rows("SELECT DISTINCT level FROM latest_performance WHERE metric = 'auc' AND window = '1d' AND mature")
    assert auc == [("major",)]
    recall = client.rows(
        "SELECT count(), countIf(isNaN(promise)) FROM latest_performance WHERE metric = 'recall' AND window = '1d'"
    )
    assert recall[0][0] == recall[0][1] > 0


def test_a_version_that_breaks_its_promise_from_the_start_is_no_reference(
    world: tuple[Client, Address, Traffic],
) -> None:
    client, address, _ = world
    client.command("TRUNCATE TABLE performance")
    client.command("TRUNCATE TABLE scorer_models")
    client.command("TRUNCATE TABLE performance_reference")
    promised = msgspec.structs.replace(CONTRACT, slo=Slo(performance={"auc": 0.99}))
    working: Scorer = scoring.scorer(client, address, promised, clock=lambda: NOW_MS / 1000)
    working.score_once()
    assert client.rows("SELECT count() FROM performance_reference") == [(0,)]
    assert np.isnan(accuracy_rows(client, "1d", 3)["reference"])
