"""The path of an event through real processors, against counts and verdicts computed from the source data alone."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.reference.flights_reference import reference_psi
from tests.support.pipeline import Pipeline, simple_baseline, simple_contract
from tests.support.toy_events import HOUR_MS, HOUR_S, START_MS, START_S, messages, toy_events

HOURS = 30
REGIONS = {"north": "region=north", "south": "region=south", "west": "region=other"}
X = simple_baseline().fields[0]


@pytest.mark.smoke
def test_every_event_is_counted_once_and_judged_over_a_restart(pipeline: Pipeline) -> None:
    pipeline.create(source_partitions=2)
    pipeline.register(simple_contract(), [simple_baseline()])
    events = toy_events(6000, hours=HOURS)
    send(pipeline, events[:2500])
    # The processors stop amid panes that are not sealed and windows that are not judged.
    pipeline.wait_rows("SELECT sum(n) = 2500 FROM volume FINAL WHERE slice = 'all'", "the first events")
    pipeline.stop()
    send(pipeline, events[2500:])
    pipeline.end(2)
    pipeline.wait_rows("SELECT sum(n) = 6000 AND min(sealed) FROM volume FINAL WHERE slice = 'all'", "sealed volume")
    pipeline.wait_settled()
    expected = cells_by_hour(events)
    rows = pipeline.rows(
        "SELECT slice, toUnixTimestamp(pane_start), n, nulls, counts FROM panes FINAL WHERE field = 'x' AND n > 0"
    )
    assert {(name, at): (n, nulls, counts) for name, at, n, nulls, counts in rows} == {
        (name, START_S + hour * HOUR_S): (sum(cells), cells[-1], cells)
        for name, hours in expected.items()
        for hour, cells in enumerate(hours.tolist())
    }
    check_verdicts(pipeline, expected)


def send(pipeline: Pipeline, events: list[dict[str, Any]]) -> None:
    for kind in ("sketcher", "monitor"):
        pipeline.start(kind)
    pipeline.produce(messages(events, partitions=2))


def cells_by_hour(events: list[dict[str, Any]]) -> dict[str, NDArray[np.int64]]:
    counts = {name: np.zeros((HOURS, len(X.edges) + 2), np.int64) for name in ("all", *REGIONS.values())}
    for event in events:
        x = event["features"]["x"]
        cell = -1 if x is None else np.searchsorted(X.edges, x, side="right")
        for name in ("all", REGIONS[event["context"]["region"]]):
            counts[name][(event["at"] - START_MS) // HOUR_MS, cell] += 1
    return counts


def check_verdicts(pipeline: Pipeline, expected: dict[str, NDArray[np.int64]]) -> None:
    """Compare PSI, interval, p-value and level of every window that is recorded as a whole."""
    rows = pipeline.rows(
        "SELECT slice, window, toUnixTimestamp(window_start), toUnixTimestamp(window_end), n, psi, p_value, psi_low, "
        "psi_high, df, level FROM latest_drift WHERE field = 'x' AND slice != 'region=other'"
    )
    judged = Counter[str]()
    for name, window, start_s, end_s, n, psi, p_value, low, high, df, level in rows:
        first, last = (start_s - START_S) // HOUR_S, (end_s - START_S) // HOUR_S
        if first < 0 or last > HOURS:
            continue
        reference = reference_psi(np.array(X.slices[name].cells), expected[name][first:last].sum(axis=0))
        where = name, window, end_s
        assert (n, df, level) == (reference.n, reference.df, reference.level), where
        assert (psi, p_value) == pytest.approx((reference.psi, reference.p_value), rel=1e-9), where
        # The monitor reads quantiles of the noncentral distribution from a table.
        assert (low, high) == pytest.approx((reference.low, reference.high), rel=1e-6, abs=1e-9), where
        judged[window] += 1
    # Three slices have training data; of whole days, two end at a multiple of 3 h.
    assert judged == {"3h": 3 * (HOURS - 2), "1d": 3 * 2}
