"""What the monitor writes beside the panes, and of the header: once, whatever comes again."""

from __future__ import annotations

from streams.monitor.state.offset_ledger import make_record_seq
from streams.records import (
    DeadCount,
    ErrorCount,
    OffsetRange,
    ProducerCount,
    Tally,
)
from tests.support.monitor_harness import HOUR_S, Desk, make_registry
from tests.support.monitor_schedule import (
    HIGH,
    LOW,
    SLOW_MS,
    T0_S,
    TOPIC,
    Event,
)


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


def sums(desk: Desk) -> tuple[int, ...]:
    tables = desk.warehouse.tables
    return tuple(
        sum(row["n"] for row in tables[name].values()) for name in ("errors", "producers", "dead_letter_counts")
    )


def test_tallies_are_written_with_the_next_commit_and_add_up_once() -> None:
    desk = Desk(make_registry(), live=True)
    desk.flush(caught_up_s=T0_S)
    first, second = tally(2, start=0, end=2), tally(3, start=2, end=5)
    assert desk.state.tally(first, desk.offset) is None
    assert sums(desk) == (0, 0, 0)
    desk.restart()
    # What was not acknowledged comes again, and so does what was written and not acknowledged.
    for offset in (desk.offset, desk.offset + 1, desk.offset):
        assert desk.state.tally(first if offset == desk.offset else second, offset) is None
    desk.offset += 2
    desk.flush(start=5)
    assert sums(desk) == (5, 5, 5)
    desk.restart()
    desk.state.tally(second, desk.offset - 2)
    desk.flush(start=5)
    assert sums(desk) == (5, 5, 5)
    [row, _] = desk.warehouse.tables["producers"].values()
    assert (row["producer"], row["pane_start"], row["pane_s"], row["first_seq"], row["last_seq"]) == (
        *("p", T0_S, HOUR_S, 0, 1),
    )
    assert row["record_seq"] == make_record_seq(0, 1)


def test_tallies_need_no_contract() -> None:
    desk = Desk(make_registry(), live=True)
    dead = [DeadCount("unknown-model", T0_S, 4)]
    assert desk.state.tally(Tally(model="", topic="labels", dead=dead), desk.offset) is None
    desk.offset += 1
    desk.flush()
    [row] = desk.warehouse.tables["dead_letter_counts"].values()
    assert (row["topic"], row["model"], row["reason"], row["hour"], row["n"]) == (
        *("labels", "", "unknown-model", T0_S, 4),
    )


def test_tallies_over_offsets_that_were_set_back_are_put_aside() -> None:
    desk = Desk(make_registry(), live=True)
    desk.flush(T0_S + 10, T0_S + 20, caught_up_s=T0_S + 30)
    dead = desk.state.tally(tally(1, start=1, end=3), desk.offset)
    assert dead is not None
    assert "sketched before" in dead.reason
    # Labels are no part of the offset ledger, and another topic's offsets are others.
    assert desk.state.tally(Tally(model="m", topic="labels", dead=[DeadCount("empty", T0_S, 1)]), desk.offset) is None
    assert desk.state.tally(tally(1, start=1, end=3, topic_id="another"), desk.offset + 1) is None


def test_slow_answers_and_violations_are_held_over_a_restart() -> None:
    desk = Desk(make_registry(), live=True)
    told = [Event("m", "1", T0_S * 1000, T0_S * 1000, x, "red", "north", False, None, "", ms) for x, ms in GIVEN]
    desk.events(told[:3])
    desk.restart()
    desk.events(told[3:])
    [row] = [row for row in desk.warehouse.tables["volume"].values() if row["slice"] == "all" and row["n"]]
    assert (row["n"], row["errors"], row["timed"], row["slow"]) == (6, 0, 4, 2)
    found = {
        row["kind"]: (row["n"], row["total"], row["policy"]) for row in desk.warehouse.tables["violations"].values()
    }
    assert found == {"null": (1, 6, "reject"), "below": (2, 6, "reject"), "above": (1, 6, "reject")}


GIVEN: list[tuple[float | None, float | None]] = [
    *((0.0, 1.0), (LOW - 1, SLOW_MS + 1), (None, None), (HIGH + 1, SLOW_MS), (LOW - 2, 1e9), (0.0, None)),
]
