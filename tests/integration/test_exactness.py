"""A replayed month of flights: every count, PSI, range and quantile equals that of the source data."""

import numpy as np
import pytest

from barograph_server.sketches.sketch.envelope import unseal
from barograph_server.sketches.sketch.numeric import NumericSketch
from tests.support.flights import Expected, Flights, as_events, delayed, make_flights, oracle
from tests.support.pipeline import Pipeline
from tests.support.toy_events import messages

pytestmark = pytest.mark.long
MONTH = "2013-10"


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Flights:
    return make_flights(tmp_path_factory.mktemp("flights"))


@pytest.fixture(scope="module")
def expected(flights: Flights) -> Expected:
    return oracle(flights, flights.month(MONTH))


@pytest.fixture(autouse=True)
def short_flushes(pipeline: Pipeline) -> None:
    pipeline.settings = {"flush_events": 4_000}


def check(pipeline: Pipeline, expected: Expected) -> None:
    result = {
        (slice_, field, at): (n, nulls, tuple(counts))
        for slice_, field, at, n, nulls, counts in pipeline.rows(
            "SELECT slice, field, toUnixTimestamp(pane_start), n, nulls, counts FROM panes FINAL WHERE n > 0"
        )
    }
    assert len(result) == len(expected.panes)
    wrong = [key for key, value in expected.panes.items() if result.get(key) != value]
    assert not wrong, (
        f"{len(wrong)} panes differ, such as {wrong[0]}: {result.get(wrong[0])} for {expected.panes[wrong[0]]}"
    )
    check_values(pipeline, expected)
    verdicts = {
        (slice_, field, window, end): (n, psi)
        for slice_, field, window, end, n, psi in pipeline.rows(
            "SELECT slice, field, window, toUnixTimestamp(window_end), n, psi FROM latest_drift WHERE n > 0"
        )
    }
    assert set(verdicts) == set(expected.psi)
    keys = list(expected.psi)
    assert [verdicts[key][0] for key in keys] == [expected.psi[key][0] for key in keys]
    np.testing.assert_allclose([verdicts[k][1] for k in keys], [expected.psi[k][1] for k in keys], rtol=0, atol=1e-9)


def check_values(pipeline: Pipeline, expected: Expected) -> None:
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
    pipeline.prepare(flights.contract, [flights.baseline], source_partitions=partitions)
    events = as_events(flights.month(MONTH))
    for i in range(min(partitions, 2)):
        pipeline.start("sketcher", f"sketcher-{i}")
    pipeline.start("monitor")
    pipeline.produce(messages(events if partitions == 1 else delayed(events, seed=7), partitions))
    pipeline.end(partitions)
    pipeline.wait_judged(len(events))
    check(pipeline, expected)
