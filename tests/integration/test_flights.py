"""The flights example on its real data: times, features, model and files."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from examples.flights import replay
from examples.flights.data import read_flights
from examples.flights.features import flight_rows
from examples.flights.model import LATE, ON_TIME, train
from examples.flights.replay import FlightsFiles, between, prepare

pytestmark = pytest.mark.long

IntArray = NDArray[np.int64]

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Tables(NamedTuple):
    flights: pa.Table
    rows: pa.Table
    files: FlightsFiles
    train: pa.Table
    predictions: pa.Table
    labels: pa.Table


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    flights = read_flights()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replay, "read_flights", lambda: flights)  # read once, for both
        files = prepare(tmp_path_factory.mktemp("flights") / "new", NOW)
    read = (pq.read_table(path) for path in (files.train, files.predictions, files.labels))
    return Tables(flights, flight_rows(flights), files, *read)


def _seconds(times: Any) -> IntArray:
    seconds: IntArray = times.cast(pa.int64()).to_numpy() // 1000
    return seconds


def _minutes(flights: pa.Table, later: str, earlier: str) -> NDArray[np.float64]:
    milliseconds = pc.subtract(*(flights[name].cast(pa.int64()) for name in (later, earlier)))
    minutes: NDArray[np.float64] = milliseconds.cast(pa.float64()).to_numpy() / 60_000
    return minutes


def test_every_landing_agrees_with_the_delay_on_arrival(tables: Tables) -> None:
    delay = tables.flights["arr_delay"].cast(pa.float64()).to_numpy()
    landed = ~np.isnan(delay)
    assert (tables.flights.num_rows, landed.sum()) == (336_776, 327_346)
    late_by = _minutes(tables.flights, "landed_at", "scheduled_arrival_at")
    np.testing.assert_array_equal(late_by, delay)  # NaN, where there is no label, included


def test_every_landing_leaves_time_to_fly_and_taxi(tables: Tables) -> None:
    # A wrong time zone shifts schedule and landing alike, so the delays would not show it; the air time does.
    gate_to_gate = _minutes(tables.flights, "landed_at", "scheduled_at") - _float(tables.flights["dep_delay"])
    taxi = gate_to_gate - _float(tables.flights["air_time"])
    assert 5 <= np.nanmin(taxi) <= np.nanmax(taxi) < 240
    dest = tables.flights["dest"].to_numpy()
    for airport in ("BQN", "PSE", "SJU", "STT", "HNL", "PHX", "ANC", "DEN", "LAX"):
        assert 20 < np.nanmedian(taxi[dest == airport]) < 40, airport


def _float(column: Any) -> NDArray[np.float64]:
    values: NDArray[np.float64] = column.cast(pa.float64()).to_numpy()
    return values


def test_rows_equal_the_source_of_one_flight(tables: Tables) -> None:
    row = tables.rows.filter(pc.equal(tables.rows["id"], "UA-1545-20130101-EWR")).to_pylist()
    assert row == [
        {
            "id": "UA-1545-20130101-EWR",
            "at": datetime(2013, 1, 1, 10, 15, tzinfo=UTC),
            "landed_at": datetime(2013, 1, 1, 14, 30, tzinfo=UTC),  # 8:30 in Houston
            "original_date": "2013-01-01",
            "label": False,  # 11 minutes after its schedule
            "temp": 39.02,
            "dewp": 28.04,
            "humid": 64.43,
            "visib": 10.0,
            "wind_speed": 12.658579999999999,
            "wind_gust": None,
            "pressure": 1011.9,
            "wind_dir": 260,
            "precip": 0.0,
            "time_of_day": 5 * 60 + 15,
            "block_min": 4 * 60 + 4,
            "distance": 1400,
            "age": 14,
            "seats": 149,
            "engines": 2,
            "engine": "Turbo-fan",
            "manufacturer": "BOEING",
            "carrier": "UA",
            "origin": "EWR",
            "dest": "IAH",
        }
    ]


def test_files_hold_the_months_they_should(tables: Tables) -> None:
    assert pc.count_distinct(tables.rows["id"]).as_py() == tables.rows.num_rows == 336_776
    for table in (tables.train, tables.predictions, tables.labels):
        assert (np.diff(_seconds(table["at"])) >= 0).all()
    assert tables.train.num_rows == 57_668
    assert tables.train["label"].null_count > 0  # cancelled flights are predicted too
    assert tables.predictions.num_rows == 141_193
    assert (tables.labels.num_rows, tables.labels["label"].null_count) == (138_375, 0)
    assert pc.is_in(tables.labels["id"], value_set=tables.predictions["id"].combine_chunks()).to_numpy().all()
    for column in (tables.labels["label"], tables.predictions["class"]):
        assert set(column.unique().to_pylist()) == {LATE, ON_TIME}
    flight = tables.labels.slice(0, 1)["id"][0].as_py()
    [row] = tables.rows.filter(pc.equal(tables.rows["id"], flight)).to_pylist()
    assert tables.labels["label"][0].as_py() == (LATE if row["label"] else ON_TIME)


def test_the_candidate_answers_a_tenth_of_the_flights_from_october_on(tables: Tables) -> None:
    table = tables.predictions
    on_b = pc.equal(table["arm"], "b")
    assert pc.equal(on_b, pc.equal(table["version"], "2")).to_numpy().all()
    since_october = pc.greater_equal(table["context.original_date"], "2013-10-01")
    assert not pc.any(pc.and_(on_b, pc.invert(since_october))).as_py()
    assert on_b.filter(since_october).to_numpy().mean() == pytest.approx(0.1, abs=0.005)
    candidate = pq.read_table(tables.files.candidate_train)
    assert candidate.drop(["score", "class"]).equals(tables.train.drop(["score", "class"]))
    assert not candidate["score"].equals(tables.train["score"])


def test_times_move_by_whole_weeks_to_just_before_now(tables: Tables) -> None:
    replayed = between(tables.rows, "2013-08-01", "2013-12-31")
    shift = timedelta(weeks=tables.files.tables.shift_weeks)
    for moved, original in (
        (tables.predictions.select(["id", "at"]), replayed.select(["id", "at"])),
        (tables.labels.select(["id", "at"]), replayed.select(["id", "landed_at"]).rename_columns(["id", "at"])),
    ):
        both = moved.join(original, "id", right_suffix=".original")
        assert both.num_rows == moved.num_rows
        assert pc.unique(pc.subtract(both["at"], both["at.original"])).to_pylist() == [shift]
    newest = max(pc.max(table["at"]).as_py() for table in (tables.predictions, tables.labels))
    assert NOW - timedelta(weeks=1) < newest <= NOW


def test_training_scores_are_the_honest_ones(tables: Tables) -> None:
    training = between(tables.rows, "2013-06-01", "2013-07-31")
    scores = tables.train["score"].to_numpy()
    # No model saw the week that it scored: the first week's is trained on the other folds. And training again
    # gives the same model, to the bit.
    week = (training["original_date"].to_numpy().astype("datetime64[D]") - np.datetime64("2013-06-01")).astype(int) // 7
    without_first_fold = train(training.filter(pa.array(week % 5 != 0)))
    first = week == 0
    np.testing.assert_array_equal(without_first_fold.scores(training.filter(pa.array(first))), scores[first])


def test_the_model_is_worth_watching(tables: Tables) -> None:
    metrics = tables.files.tables
    assert metrics.in_sample.auc > metrics.out_of_fold.auc > metrics.held_out.auc
    assert metrics.out_of_fold.auc == pytest.approx(0.762, abs=0.02)
    assert metrics.held_out.auc == pytest.approx(0.682, abs=0.02)
    assert metrics.out_of_fold.mean_score == pytest.approx(metrics.out_of_fold.late_share, abs=0.01)
    # Calibrated by tenths of the score, where a tenth holds enough flights.
    labelled = tables.train.filter(tables.train["label"].is_valid())
    late, score = pc.equal(labelled["label"], LATE).to_numpy(), labelled["score"].to_numpy()
    for tenth in range(9):
        inside = (score >= tenth / 10) & (score < (tenth + 1) / 10)
        if inside.sum() > 500:
            assert late[inside].mean() == pytest.approx(score[inside].mean(), abs=0.07), tenth
