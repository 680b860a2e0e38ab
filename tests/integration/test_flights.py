"""The flights example on its real data: landings, files, and scores of training."""

from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from barograph_server.examples.flights import replay
from barograph_server.examples.flights.data import read_flights
from barograph_server.examples.flights.features import flight_rows
from barograph_server.examples.flights.model import LATE, ON_TIME, train
from barograph_server.examples.flights.replay import FlightsFiles, between, prepare

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


def test_training_scores_are_the_honest_ones(tables: Tables) -> None:
    training = between(tables.rows, "2013-06-01", "2013-07-31")
    scores = tables.train["score"].to_numpy()
    # No model saw the week that it scored: the first week's is trained on the other folds. And training again
    # gives the same model, to the bit.
    week = (training["original_date"].to_numpy().astype("datetime64[D]") - np.datetime64("2013-06-01")).astype(int) // 7
    without_first_fold = train(training.filter(pa.array(week % 5 != 0)))
    first = week == 0
    np.testing.assert_array_equal(without_first_fold.scores(training.filter(pa.array(first))), scores[first])
