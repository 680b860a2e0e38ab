"""A recount gives the monitor's verdicts on windows of the last events, also where events were late."""

from __future__ import annotations

import numpy as np
from barograph.contract import Window

from barograph_server.streams.monitor.state.offset_ledger import make_record_seq
from barograph_server.streams.rebuild.recount import RebuildScope, recount
from tests.support.monitor_harness import HOUR_S, MonitorHarness, event, make_registry
from tests.support.monitor_schedule import PARTIALS_TOPIC, T0_S, columns

AT_S = (T0_S + 10, T0_S + HOUR_S, T0_S + 4 * HOUR_S)
LATE_S = T0_S + 2 * HOUR_S


def test_late_events_do_not_move_the_start_of_a_window_in_a_recount() -> None:
    registry = make_registry(windows=(Window(6 * HOUR_S, HOUR_S, last=2),))
    monitor = MonitorHarness(registry, live=True)
    monitor.flush(*AT_S, caught_up_s=T0_S + 6 * HOUR_S + 1200)
    monitor.flush(LATE_S)
    late = {
        (row["version"], row["baseline_id"], row["slice"], row["pane_start"]): row["late"]
        for row in monitor.warehouse.tables["volume"].values()
        if row["late"]
    }
    assert {at_s for *_, at_s in late} == {LATE_S}
    expected = {
        (row["slice"], row["field"], row["window_start"], row["window_end"]): (row["n"], row["level"], row["reason"])
        for row in monitor.warehouse.last("drift").values()
    }
    scope = RebuildScope(
        model="m",
        from_s=T0_S,
        to_s=T0_S + 6 * HOUR_S,
        sealed_until_s=T0_S + 6 * HOUR_S,
        ended=False,
        partition=0,
        n_partitions=1,
        partials_topic_id=PARTIALS_TOPIC,
        record_seq=make_record_seq(1, monitor.offset),
        losses=(),
        keeps_panes=False,
        late=late,
    )
    events = columns("m", 0, [(i, event(at_s)) for i, at_s in enumerate([*AT_S, LATE_S])])
    tables = list(recount(monitor.make_store(), registry, scope, [events]))
    rows = [row for name, table in tables if name == "drift" for row in table.to_pylist()]
    actual = {
        (row["slice"], row["field"], int(row["window_start"].timestamp()), int(row["window_end"].timestamp())): (
            row["n"],
            row["level"],
            row["reason"],
        )
        for row in rows
    }
    assert actual
    assert actual == {key: row for key, row in expected.items() if key in actual}
    starts = {int((end_s - T0_S) / HOUR_S): start_s for name, _, start_s, end_s in actual if name == "all"}
    assert starts[5] == T0_S + HOUR_S
    volume = [row for name, table in tables if name == "volume" for row in table.to_pylist() if row["slice"] == "all"]
    assert np.sum([row["late"] for row in volume]) == 1
