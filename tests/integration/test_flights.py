"""The flights example: its files, and replays whose counts, verdicts and causes equal those of the source data."""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from barograph.contract import DeclaredSource
from numpy.typing import NDArray

from barograph_server.alerts.guard.suspected_causes import ExplainedVerdict, explain_verdicts
from barograph_server.examples.flights import replay
from barograph_server.examples.flights.data import read_flights
from barograph_server.examples.flights.features import FEATURES, PLANE, ROUTE, SCHEDULE, WEATHER, flight_rows
from barograph_server.examples.flights.model import LATE, ON_TIME, train
from barograph_server.examples.flights.replay import FlightsFiles, between, prepare
from barograph_server.sketches.sketch.envelope import unseal
from barograph_server.sketches.sketch.numeric import NumericSketch
from barograph_server.warehouse.governance.changes import Change, add_changes
from tests.support.flights import Expected, Flights, as_events, delayed, make_flights, oracle
from tests.support.pipeline import Pipeline
from tests.support.toy_events import messages

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


def test_every_landing_agrees_with_the_delay_on_arrival(tables: Tables) -> None:
    delay = tables.flights["arr_delay"].cast(pa.float64()).to_numpy()
    landed = ~np.isnan(delay)
    assert (tables.flights.num_rows, landed.sum()) == (336_776, 327_346)
    landed_ms, due_ms = (tables.flights[name].cast(pa.int64()) for name in ("landed_at", "scheduled_arrival_at"))
    late_by = pc.subtract(landed_ms, due_ms).cast(pa.float64()).to_numpy() / 60_000
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


MONTH = "2013-10"


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Flights:
    return make_flights(tmp_path_factory.mktemp("flights"))


@pytest.fixture(scope="module")
def expected(flights: Flights) -> Expected:
    return oracle(flights, flights.month(MONTH))


def check_month(pipeline: Pipeline, expected: Expected) -> None:
    rows = pipeline.rows(
        "SELECT slice, field, toUnixTimestamp(pane_start), n, nulls, counts FROM panes FINAL WHERE n > 0"
    )
    result = {tuple(key): (n, nulls, tuple(counts)) for *key, n, nulls, counts in rows}
    assert len(result) == len(expected.panes)
    wrong = {key: (result.get(key), value) for key, value in expected.panes.items() if result.get(key) != value}
    assert not wrong, f"{len(wrong)} panes differ, such as {next(iter(wrong.items()))}"
    check_month_values(pipeline, expected)
    rows = pipeline.rows(
        "SELECT slice, field, window, toUnixTimestamp(window_end), n, psi FROM latest_drift WHERE n > 0"
    )
    verdicts = {tuple(key): (n, psi) for *key, n, psi in rows}
    assert set(verdicts) == set(expected.psi)
    keys = list(expected.psi)
    assert [verdicts[key][0] for key in keys] == [expected.psi[key][0] for key in keys]
    np.testing.assert_allclose([verdicts[k][1] for k in keys], [expected.psi[k][1] for k in keys], rtol=0, atol=1e-9)


def check_month_values(pipeline: Pipeline, expected: Expected) -> None:
    """Ranges to the bit, sums to rounding, quantiles within the sketch's stated error."""
    rows = pipeline.rows(
        "SELECT p.field, toUnixTimestamp(p.pane_start), a.minimum, a.maximum, a.mean, hex(p.sketch) "
        "FROM panes AS p FINAL "
        "INNER JOIN all_panes AS a USING (model, version, baseline_id, slice, field, pane_start, pane_s) "
        "WHERE p.slice = 'all' AND p.n > p.nulls AND p.sketch != ''"
    )
    result = {(field, at): rest for field, at, *rest in rows if (field, at) in expected.values}
    assert set(result) == set(expected.values)
    # Moments are kept of the whole alone: a slice has none, rather than the training mean.
    assert pipeline.rows("SELECT countIf(isFinite(mean) OR isFinite(minimum)) FROM all_panes WHERE slice != 'all'") == [
        (0,)
    ]
    for (field, at), values in expected.values.items():
        low, high, mean, sketch = result[field, at]
        assert (low, high) == (values[0], values[-1]), (field, at)
        assert mean == pytest.approx(values.mean(), rel=1e-9, abs=1e-9), (field, at)
        kind, _ = unseal(bytes.fromhex(sketch))
        opened = NumericSketch.from_bytes(kind, bytes.fromhex(sketch))
        assert opened.n == len(values), (field, at)
        # Rounding to 32 bits can move a value over its equal: the rank may lie anywhere between the two.
        median = float(opened.quantiles([0.5])[0])
        near = abs(median) * 1e-6
        below = np.searchsorted(values, median - near, side="left") / len(values)
        upto = np.searchsorted(values, median + near, side="right") / len(values)
        error = opened.rank_error + 1 / len(values)
        assert below - error <= 0.5 <= upto + error, (field, at, median)


@pytest.mark.parametrize("partitions", [1, 3])
def test_a_month_of_flights_is_counted_and_judged_exactly(
    pipeline: Pipeline, flights: Flights, expected: Expected, partitions: int
) -> None:
    """In order on one partition; with a tenth of the events delayed on three, by two sketchers."""
    pipeline.settings = {"flush_events": 4_000}
    pipeline.prepare(flights.contract, [flights.baseline], source_partitions=partitions)
    events = as_events(flights.month(MONTH))
    for i in range(min(partitions, 2)):
        pipeline.start("sketcher", f"sketcher-{i}")
    pipeline.start("monitor")
    pipeline.produce(messages(events if partitions == 1 else delayed(events, seed=7), partitions))
    pipeline.end(partitions)
    pipeline.wait_judged(len(events))
    check_month(pipeline, expected)


SOURCES = {"weather": WEATHER, "schedule": SCHEDULE, "fleet": PLANE, "routes": ROUTE}
SEED, PLANTED, ALTERED_FOR = 25, 50, timedelta(days=4)
APART = 3 * ALTERED_FOR
"""Least time between two alterations of one field."""


Planted = list[tuple[Change, str]]
"""Changes with the fields that they alter; empty: none."""


def plant_changes(table: pa.Table, random: np.random.Generator) -> Planted:
    """Draw changes at random times between the first and the last two weeks of a table."""
    first, last = (each.as_py().astimezone(UTC) for each in (table["at"][0], table["at"][-1]))
    span_s = (last - first - timedelta(days=28)).total_seconds()
    source_of = {field: source for source, fields in SOURCES.items() for field in fields}
    planted: Planted = []
    while len(planted) < PLANTED:
        time = first + timedelta(days=14, seconds=int(random.uniform(0, span_s)))
        field = str(random.choice(FEATURES)) if len(planted) < PLANTED // 2 else ""
        if any(field == other and abs(change.changed_at - time) < APART for change, other in planted if field):
            continue
        source = source_of[field] if field else str(random.choice(list(SOURCES)))
        planted.append((Change(time, "deploy", "", f"job-{len(planted)}", "", "", source, "", "", ""), field))
    return planted


def altered(flights: Flights, table: pa.Table, planted: Planted, random: np.random.Generator) -> pa.Table:
    """Add two standard deviations to numbers, and replace half of the texts by one, for as long as a change says."""
    for change, field in planted:
        if not field:
            continue
        name, at = f"features.{field}", table["at"]
        column = table[name].combine_chunks()
        begin, end = (pa.scalar(time, at.type) for time in (change.changed_at, change.changed_at + ALTERED_FOR))
        chosen = pc.and_(pc.greater_equal(at, begin), pc.less(at, end))
        if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
            shift = 2 * max(pc.stddev(flights.train[field]).as_py(), 0.5)
            changed: Any = pc.add(column, pa.scalar(shift).cast(column.type, safe=False))
        else:
            chosen = pc.and_(chosen, pa.array(random.random(table.num_rows) < 0.5))
            changed = pc.drop_null(column)[0]
        table = table.set_column(table.column_names.index(name), name, pc.if_else(chosen, changed, column))
    return table


def test_true_causes_rank_first_and_others_are_not_accused(pipeline: Pipeline, flights: Flights) -> None:
    random = np.random.default_rng(SEED)
    planted = plant_changes(flights.predictions, random)
    table = altered(flights, flights.predictions, planted, random)
    contract = msgspec.structs.replace(
        flights.contract,
        declared_sources={name: DeclaredSource(owner=name, fields=fields) for name, fields in SOURCES.items()},
    )
    pipeline.prepare(contract, [flights.baseline])
    events = as_events(table)
    pipeline.start_all("sketcher", "monitor")
    pipeline.produce(messages(events, 1))
    pipeline.end(1)
    pipeline.wait_judged(len(events), patience_s=600)
    add_changes(pipeline.client, [change for change, _ in planted])
    times = [each.as_py() for each in (table["at"][0], table["at"][-1])]
    explained = explain_verdicts(pipeline.client, contract, times[0] - timedelta(days=1), times[1] + timedelta(days=8))

    def follows(verdict: ExplainedVerdict, change: Change, field: str) -> bool:
        """Return whether a verdict on the altered field became major while or just after the field was altered."""
        until = change.changed_at + ALTERED_FOR + timedelta(days=1)
        return verdict.verdict.field == field and change.changed_at < verdict.verdict.window_end <= until

    firsts = [
        (change, each.ranked[0].change == change)
        for change, field in planted
        for each in explained
        if field and follows(each, change, field)
    ]
    right = sum(is_first for _, is_first in firsts)
    innocents = {change.subject for change, field in planted if not field}
    likely = [each.ranked[0] for each in explained if each.ranked and each.ranked[0].likelihood == "likely"]
    accused = {each.change.subject for each in likely} & innocents
    n_altered = len({change.subject for change, _ in firsts})
    print(
        f"{len(explained)} verdicts became major, {len(firsts)} of them after {n_altered} alterations: the cause is "
        f"first in {right}; {len(accused)} of {len(innocents)} other changes are accused"
    )
    assert len(firsts) >= 20
    assert right >= 0.9 * len(firsts)
    assert len(accused) <= 0.1 * len(innocents)
