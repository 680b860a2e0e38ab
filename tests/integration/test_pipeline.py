"""The path of an event through real processors, against values computed from the source data alone."""

import time
from collections import Counter
from typing import Any

import numpy as np
import pytest
from barograph.contract import Window
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from numpy.typing import NDArray

from tests.reference.flights_reference import reference_psi
from tests.support.pipeline import Pipeline, simple_baseline, simple_contract
from tests.support.toy_events import HOUR_MS, HOUR_S, START_MS, START_S, messages, toy_event, toy_events

HOURS = 30
REGIONS = {"north": "region=north", "south": "region=south", "west": "region=other"}
X = simple_baseline().fields[0]


@pytest.mark.smoke
def test_every_event_is_counted_once_and_judged_over_a_restart(pipeline: Pipeline) -> None:
    pipeline.prepare(source_partitions=2)
    events = toy_events(6000, hours=HOURS)
    send(pipeline, events[:2500])
    # The processors stop amid panes that are not sealed and windows that are not judged.
    pipeline.wait_rows("SELECT sum(n) = 2500 FROM volume FINAL WHERE slice = 'all'", "the first events")
    pipeline.stop()
    send(pipeline, events[2500:])
    pipeline.end(2)
    pipeline.wait_judged(6000)
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
    pipeline.start_all("sketcher", "monitor")
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


@pytest.mark.long
def test_silent_panes_are_sealed_with_zero_events(pipeline: Pipeline) -> None:
    pipeline.clock = "live"
    pipeline.create(2)
    contract = simple_contract(pane_s=2, lateness_s=1, out_of_order_s=1, windows=(Window(10, 2),))
    pipeline.register(contract, [simple_baseline()])
    pipeline.start_all("sketcher", "monitor")
    # Before any event: a registered model without requests has silent panes.
    pipeline.wait_rows("SELECT count() >= 2 FROM volume FINAL WHERE n = 0 AND sealed", "silence before the first event")
    for batch in range(5):
        now_ms = int(time.time() * 1000)
        # Only one partition gets events; the idle one must not hold back the watermark.
        pipeline.produce(messages(toy_event(10 * batch + i, now_ms) for i in range(10)))
    last_s = now_ms // 1000
    pipeline.wait_rows(
        "SELECT sum(n) = 50 AND min(sealed) FROM volume FINAL WHERE slice = 'all' AND n > 0", "50 events"
    )
    pipeline.wait_rows(
        "SELECT count() >= 3 FROM volume FINAL WHERE n = 0 AND sealed AND slice = 'all' "
        f"AND pane_start > fromUnixTimestamp({last_s})",
        "silence after the last event",
    )
    gaps = pipeline.rows(
        "SELECT (max(toUnixTimestamp(pane_start)) - min(toUnixTimestamp(pane_start))) / 2 + 1 - count() "
        "FROM volume FINAL WHERE slice = 'all'"
    )
    assert gaps == [(0,)], "a pane without a row"
    assert pipeline.rows("SELECT sum(late) FROM volume FINAL") == [(0,)]
    # A window without events is never `stable`.
    assert pipeline.rows("SELECT countIf(level = 'stable') FROM latest_drift WHERE n = 0") == [(0,)]
    traffic_age_s, sealed_age_s = pipeline.rows("SELECT traffic_age_s, sealed_age_s FROM model_freshness")[0]
    assert traffic_age_s > sealed_age_s


def send_month(pipeline: Pipeline, first: int, n: int) -> None:
    pipeline.produce(messages(toy_event(i, START_MS + i * 60_000) for i in range(first, first + n)))


def test_offsets_deleted_by_retention_are_reported_as_lost(pipeline: Pipeline) -> None:
    pipeline.prepare()
    send_month(pipeline, 0, 300)
    pipeline.start_all("monitor", "sketcher", "recorder")
    pipeline.wait_rows("SELECT sum(n) = 300 FROM volume FINAL WHERE slice = 'all'", "300 events")
    pipeline.wait_rows("SELECT max(events) = 300 FROM processors WHERE kind = 'recorder'", "300 raw rows")
    pipeline.stop()
    send_month(pipeline, 300, 300)
    admin = AdminClient({"bootstrap.servers": pipeline.bootstrap})
    first_kept = TopicPartition(pipeline.topics.predictions, 0, 450)
    for future in admin.delete_records([first_kept]).values():
        future.result(30)
    pipeline.start_all("monitor", "sketcher", "recorder")
    pipeline.end(1)
    pipeline.wait_judged(450)
    lost = pipeline.rows("SELECT source_partition, start_offset, end_offset, offsets FROM lost_ranges")
    assert lost == [(0, 300, 450, 150)]
    # Minutes 300 to 450 are in hours 5 to 7: windows around them are incomplete, all others complete.
    windows = pipeline.rows(
        "SELECT intDiv(toUnixTimestamp64Milli(toDateTime64(window_end, 3)) - {start:Int64}, 3600000) AS hour, "
        "min(completeness), any(n) FROM latest_drift WHERE window = '3h' AND slice = 'all' AND n > 0 "
        "GROUP BY hour ORDER BY hour",
        {"start": START_MS},
    )
    completeness = {hour: share for hour, share, _ in windows}
    n = {hour: count for hour, _, count in windows}
    assert completeness[4] == 1.0
    assert completeness[6] == pytest.approx(n[6] / (n[6] + 150))
    assert completeness[8] == pytest.approx(n[8] / (n[8] + 150))
    assert min(completeness.values()) < 1.0
    pipeline.wait_rows(
        "SELECT argMax(details, at) AS last, last['offsets_lost_total predictions'] = 150 "
        "AND last['lag_messages predictions'] = 0 AND last['inserted_rows_total predictions'] = 150 AS reported "
        "FROM processors WHERE kind = 'recorder' HAVING reported",
        "the recorder's report",
    )
    raw = pipeline.rows("SELECT offset FROM predictions FINAL ORDER BY offset")
    assert [offset for (offset,) in raw] == [*range(300), *range(450, 600)]
