"""Rows of tallies: redelivered records do not change them."""

from __future__ import annotations

from streams.records import DeadCount, ErrorCount, OffsetRange, ProducerCount, Tally
from tests.support.monitor_harness import HOUR_S, MonitorHarness, make_registry
from tests.support.monitor_schedule import T0_S, TOPIC


def tally(n: int, *, start: int, end: int, topic_id: str = TOPIC) -> Tally:
    return Tally(
        model="m",
        topic="predictions",
        source_topic_id=topic_id,
        ranges=[OffsetRange(0, start, end)],
        pane_s=HOUR_S,
        errors=[ErrorCount("1", "b", "all", "TimeoutError", T0_S, n)],
        producers=[ProducerCount("p", T0_S, n, 0, n - 1)],
        dead=[DeadCount("not-json", T0_S, n)],
    )


def test_tallies_of_resketched_offsets_are_rejected() -> None:
    monitor = MonitorHarness(make_registry(), live=True)
    monitor.flush(T0_S + 10, T0_S + 20, caught_up_s=T0_S + 30)
    rejected = monitor.state.add_tally(tally(1, start=1, end=3), monitor.offset)
    assert rejected is not None
    assert "sketched before" in rejected.reason
    # The offset ledger does not cover labels, and offsets of another topic are independent.
    of_labels = Tally(model="m", topic="labels", dead=[DeadCount("empty", T0_S, 1)])
    assert monitor.state.add_tally(of_labels, monitor.offset) is None
    assert monitor.state.add_tally(tally(1, start=1, end=3, topic_id="another"), monitor.offset + 1) is None
