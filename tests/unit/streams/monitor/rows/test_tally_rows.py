"""Rows of tallies: redelivered records do not change them."""

from __future__ import annotations

from barograph_server.streams.monitor.state.offset_ledger import make_record_seq
from barograph_server.streams.records import DeadCount, ErrorCount, OffsetRange, ProducerCount, ProducerHeartbeat, Tally
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
        heartbeats=[ProducerHeartbeat("p", T0_S + n, T0_S, n, 0, False, {})],
    )


def sums(monitor: MonitorHarness) -> tuple[int, ...]:
    tables = monitor.warehouse.tables
    return tuple(
        sum(row["n"] for row in tables[name].values()) for name in ("errors", "producers", "dead_letter_counts")
    )


def test_tallies_are_written_with_the_next_commit_and_count_once() -> None:
    monitor = MonitorHarness(make_registry(), live=True)
    monitor.flush(caught_up_s=T0_S)
    first, second = tally(2, start=0, end=2), tally(3, start=2, end=5)
    assert monitor.state.add_tally(first, monitor.offset) is None
    assert sums(monitor) == (0, 0, 0)
    monitor.restart()
    # Records that were not acknowledged are redelivered, even if they were written.
    for offset in (monitor.offset, monitor.offset + 1, monitor.offset):
        assert monitor.state.add_tally(first if offset == monitor.offset else second, offset) is None
    monitor.offset += 2
    monitor.flush(start=5)
    assert sums(monitor) == (5, 5, 5)
    assert [row["last_seq"] for row in monitor.warehouse.tables["heartbeats"].values()] == [3], "the last one"
    monitor.restart()
    monitor.state.add_tally(second, monitor.offset - 2)
    monitor.flush(start=5)
    assert sums(monitor) == (5, 5, 5)
    [row, _] = monitor.warehouse.tables["producers"].values()
    assert (row["producer"], row["pane_start"], row["pane_s"], row["first_seq"], row["last_seq"]) == (
        *("p", T0_S, HOUR_S, 0, 1),
    )
    assert row["record_seq"] == make_record_seq(0, 1)
    # They need no contract.
    monitor = MonitorHarness(make_registry(), live=True)
    dead = [DeadCount("unknown-model", T0_S, 4)]
    assert monitor.state.add_tally(Tally(model="", topic="labels", dead=dead), monitor.offset) is None
    monitor.offset += 1
    monitor.flush()
    [row] = monitor.warehouse.tables["dead_letter_counts"].values()
    assert (row["topic"], row["model"], row["reason"], row["hour"], row["n"]) == (
        *("labels", "", "unknown-model", T0_S, 4),
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
