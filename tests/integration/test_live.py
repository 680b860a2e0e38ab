"""In live mode silence is a result: empty panes are sealed with n = 0, and all events are counted exactly."""

from __future__ import annotations

import json
import time

import pytest
from barograph.contract import Window

from tests.support.pipeline import Pipeline, simple_baseline, simple_contract


@pytest.mark.long
def test_silent_panes_are_sealed_with_zero_events(pipeline: Pipeline) -> None:
    pipeline.clock = "live"
    pipeline.create(2)
    contract = simple_contract(pane_s=2, lateness_s=1, out_of_order_s=1, windows=(Window(10, 2),))
    pipeline.register(contract, [simple_baseline()])
    pipeline.start("sketcher")
    pipeline.start("monitor")
    # Before any event: a registered model without requests has silent panes.
    pipeline.wait_rows("SELECT count() >= 2 FROM volume FINAL WHERE n = 0 AND sealed", "silence before the first event")
    for batch in range(5):
        now_ms = int(time.time() * 1000)
        features = {"x": 0.1, "k": 1, "flag": True, "colour": "red"}
        events = [
            {"model": "toy", "version": "1", "id": f"e{batch}-{i}", "at": now_ms, "features": features}
            for i in range(10)
        ]
        # Only one partition gets events; the idle one must not hold back the watermark.
        pipeline.produce((0, json.dumps(event).encode(), None) for event in events)
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
