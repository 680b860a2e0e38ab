"""The monitor's state: silence, losses, bounds, and records that are put aside."""

from __future__ import annotations

import math

import msgspec
import pytest
from barograph.contract import Window

from streams.monitor.partition import PartitionState
from streams.monitor.state.offset_ledger import make_record_seq
from streams.records import (
    OffsetRange,
    Partial,
    decode,
)
from streams.registry.registry import RegisteredBaseline, Registry, build_registry
from streams.sketcher.partial_messages import encode_partials
from streams.sketcher.summarise import FlushSummaries
from tests.support.monitor_harness import DAY_S, HOUR_S, Desk, make_registry
from tests.support.monitor_schedule import (
    PARTIALS_TOPIC,
    T0_S,
    TOPIC,
    Event,
    baseline,
    columns,
    contract,
    registered,
)


def test_silence_has_a_row_for_every_pane_on_the_live_clock() -> None:
    desk = Desk(make_registry(applied_s=T0_S + 600), live=True)
    desk.flush(caught_up_s=T0_S + HOUR_S)
    assert desk.volume() == {}
    desk.flush(caught_up_s=T0_S + 3 * HOUR_S + 1200)
    assert desk.volume() == {0: 0, 1: 0, 2: 0}
    desk.flush(T0_S + 3 * HOUR_S + 1800, caught_up_s=T0_S + 5 * HOUR_S + 1200)
    assert desk.volume() == {0: 0, 1: 0, 2: 0, 3: 1, 4: 0}
    # A window in which nothing came has a verdict, and it is not that all is well.
    levels = desk.verdicts("3h", "level")
    assert set(levels) == {1, 2, 3, 4, 5}
    assert set(levels.values()) == {"insufficient"}


def test_one_stray_old_event_does_not_have_every_pane_since_judged() -> None:
    desk = Desk(make_registry(applied_s=T0_S), live=True)
    now_s = T0_S + 2 * HOUR_S
    old_s = T0_S - 300 * DAY_S
    desk.flush(old_s, now_s, caught_up_s=now_s + 1)
    desk.flush(caught_up_s=now_s + 2 * HOUR_S)
    volume = desk.volume()
    assert volume[(old_s - T0_S) // HOUR_S] == 1
    assert volume[2] == 1
    assert len(volume) < 12
    # Its own windows are judged all the same.
    first = (old_s - T0_S) // HOUR_S
    assert {end: n for end, n in desk.verdicts("3h").items() if end < -99} == {first + 1 + i: 1 for i in range(3)}
    desk.restart()
    desk.flush(caught_up_s=now_s + 4 * HOUR_S)
    assert len(desk.volume()) == len(volume) + 2


def test_after_a_long_stop_every_pane_since_is_sealed() -> None:
    desk = Desk(make_registry(applied_s=T0_S), live=True)
    desk.flush(T0_S + 10, caught_up_s=T0_S + 2 * HOUR_S)
    desk.restart()
    desk.flush(caught_up_s=T0_S + 100 * HOUR_S + 1200)
    assert desk.volume() == {0: 1, **dict.fromkeys(range(1, 100), 0)}


def test_idle_partitions_hold_nothing_back_but_unread_ones_do() -> None:
    desk = Desk(make_registry(), live=True)
    desk.flush(T0_S + 10, T0_S + 5 * HOUR_S, partition=0, partitions=2)
    assert desk.volume() == {}
    desk.flush(caught_up_s=T0_S + 2 * HOUR_S, partition=1, partitions=2)
    assert desk.volume() == {0: 1}


def test_late_events_are_counted_as_late_and_revise_their_windows() -> None:
    desk = Desk(make_registry(), live=True)
    desk.flush(T0_S + 10, caught_up_s=T0_S + 4 * HOUR_S + 1200)
    assert desk.verdicts("3h") == {1: 1, 2: 1, 3: 1, 4: 0}
    revisions = len(desk.warehouse.tables["drift"])
    desk.flush(T0_S + 20, T0_S + HOUR_S)
    assert desk.verdicts("3h") == {1: 2, 2: 3, 3: 3, 4: 1}
    late = {(k[-1] - T0_S) // HOUR_S: v["late"] for k, v in desk.warehouse.tables["volume"].items() if k[3] == "all"}
    assert late == {0: 1, 1: 1, 2: 0, 3: 0}
    assert len(desk.warehouse.tables["drift"]) > revisions, "what was known before stays"


def test_a_version_of_which_all_was_late_is_judged_after_a_restart_as_without() -> None:
    found = []
    for restarts in (False, True):
        desk = Desk(build_registry([(contract("m", 1200), T0_S * 1000)], [registered("m")]), live=True)
        desk.flush(T0_S + 10, caught_up_s=T0_S + 2 * HOUR_S + 1200)
        desk.flush(T0_S + 20, version="unheard-of")
        if restarts:
            desk.restart()
        # Its one pane lies before what a window of panes reaches into, and within one of hours.
        desk.flush(caught_up_s=T0_S + 4 * HOUR_S + 1200)
        verdicts = desk.warehouse.last("drift")
        found.append({key: row["n"] for key, row in verdicts.items() if "unheard-of" in key and "all" in key})
    assert found[0] == found[1]
    assert [n for key, n in found[0].items() if key[4:7] == ("x", "4h", T0_S + 4 * HOUR_S)] == [1]


def test_acknowledgements_wait_for_the_windows_that_late_events_touched() -> None:
    desk = Desk(make_registry(), live=True)
    clock = [0.0]

    def restart() -> None:
        desk.state = PartitionState(
            0,
            1,
            PARTIALS_TOPIC,
            desk.store,
            lambda: desk.registry,
            live=True,
            write_s=0.0,
            revise_s=60.0,
            clock=lambda: clock[0],
        )

    restart()
    clock[0] = 1000.0
    desk.flush(T0_S + 10, caught_up_s=T0_S + 4 * HOUR_S + 1200)
    desk.flush(T0_S + 20)
    assert desk.acknowledged == desk.offset
    first_waiting = desk.offset
    desk.flush(T0_S + 30)
    desk.flush(T0_S + 40)
    assert desk.acknowledged == first_waiting
    assert desk.verdicts("3h")[1] == 2
    clock[0] += 61
    desk.flush()
    assert desk.acknowledged == desk.offset
    assert desk.verdicts("3h")[1] == 4


def test_losses_make_windows_incomplete() -> None:
    desk = Desk(make_registry(windows=(Window(HOUR_S, HOUR_S),)), live=False)
    desk.flush(T0_S + 10, T0_S + HOUR_S + 10)
    # Offsets 2 to 5 are gone: between an event at 1:00:10 and one at 2:00:10.
    desk.flush(T0_S + 2 * HOUR_S + 10, start=5)
    desk.flush(T0_S + 3 * HOUR_S + 10, T0_S + 8 * HOUR_S)
    assert desk.verdicts("1h", "completeness") == {
        # Within out_of_order_s of the event before the gap.
        1: 1 / 4,
        2: 1 / 4,
        3: 1 / 4,
        4: 1.0,
        5: 1.0,
        6: 1.0,
        7: 1.0,
    }
    [loss] = desk.warehouse.tables["losses"].values()
    assert (loss["start_offset"], loss["end_offset"], loss["reason"]) == (2, 5, "gap")


def test_offsets_that_were_set_back_are_put_aside_and_recorded() -> None:
    desk = Desk(make_registry(), live=True)
    desk.flush(T0_S + 10, T0_S + 20, caught_up_s=T0_S + 30)
    [dead] = desk.flush(T0_S + 20, T0_S + 30, T0_S + 40, start=1)
    assert "sketched before" in dead.reason
    [loss] = desk.warehouse.tables["losses"].values()
    assert (loss["start_offset"], loss["end_offset"], loss["reason"]) == (2, 4, "re-sketch")
    assert desk.flush(T0_S + 50) == []
    desk.flush(caught_up_s=T0_S + 3 * HOUR_S)
    assert desk.volume()[0] == 3


def test_what_was_put_aside_is_not_merged_when_it_comes_again() -> None:
    desk = Desk(make_registry(), live=True)
    desk.flush(T0_S + 10, T0_S + 20, caught_up_s=T0_S + 30)
    set_back = desk.offset
    assert desk.flush(T0_S + 20, T0_S + 30, T0_S + 40, start=1)
    # The commit was written and never acknowledged.
    desk.restart()
    desk.offset = set_back
    desk.flush(T0_S + 20, T0_S + 30, T0_S + 40, start=1)
    assert desk.flush(T0_S + 50) == []
    desk.flush(caught_up_s=T0_S + 3 * HOUR_S)
    assert desk.volume()[0] == 3
    assert len(desk.warehouse.tables["losses"]) == 1


def test_parts_without_contract_or_baseline_are_put_aside() -> None:
    desk = Desk(make_registry(), live=True)
    known = desk.registry
    other = msgspec.structs.replace(contract("m", HOUR_S), pane_s=1800)
    first = baseline("m", "1")
    entries = [RegisteredBaseline(first, first.id, 0, 1)]
    for registry, reason in (
        (Registry(), "no contract of model m"),
        (build_registry([(known.contracts["m"], 1)], []), "no baseline"),
        (build_registry([(other, 1)], entries), "panes last 3600 s"),
    ):
        fresh = Desk(known, live=True)
        made = fresh.registry
        state = PartitionState(0, 1, PARTIALS_TOPIC, fresh.store, lambda found=registry: found, live=True)  # type: ignore[misc]
        summaries = FlushSummaries(made)
        summaries.add(columns("m", 0, [(0, Event("m", "1", T0_S * 1000, T0_S * 1000, 0.1, "red", "north", False))]))
        [(key, pane)] = summaries.panes.items()
        [data] = encode_partials(key, pane, TOPIC, [OffsetRange(0, 0, 1)])
        partial = decode(data)
        assert isinstance(partial, Partial)
        dead = state.partial(partial, 0)
        assert dead is not None
        assert reason in dead.reason


def test_a_damaged_sketch_is_put_aside_and_nothing_of_its_part_is_merged() -> None:
    desk = Desk(make_registry(), live=True)
    summaries = FlushSummaries(desk.registry)
    summaries.add(columns("m", 0, [(0, Event("m", "1", T0_S * 1000, T0_S * 1000, 0.1, "red", "north", False))]))
    [(key, pane)] = summaries.panes.items()
    [data] = encode_partials(key, pane, TOPIC, [OffsetRange(0, 0, 1)])
    partial = decode(data)
    assert isinstance(partial, Partial)
    good = list(partial.sketches)
    partial.sketches[0] = good[0][:-1] + bytes([good[0][-1] ^ 1])
    dead = desk.state.partial(partial, 0)
    assert dead is not None
    assert "sketch of field x" in dead.reason
    partial.sketches = good
    assert desk.state.partial(partial, 1) is None
    desk.offset = 2
    desk.positions[0] = 1
    desk.flush(caught_up_s=T0_S + 2 * HOUR_S)
    assert desk.volume() == {0: 1}


def test_unregistered_versions_are_counted_and_flagged() -> None:
    desk = Desk(make_registry(), live=True)
    desk.flush(T0_S + 10, version="unheard-of")
    desk.flush(caught_up_s=T0_S + HOUR_S + 1200)
    flags = {(row["version"], row["n"]): row["unregistered"] for row in desk.warehouse.tables["volume"].values()}
    # The registered version was silent meanwhile, and that is a result too.
    assert flags == {("unheard-of", 1): True, ("1", 0): False}


def test_a_new_parts_topic_begins_a_new_epoch() -> None:
    desk = Desk(make_registry(), live=True)
    for i in range(5):
        desk.flush(T0_S + i, caught_up_s=T0_S + i)
    desk.topic, desk.offset = "made anew", 0
    desk.restart()
    desk.flush(T0_S + 9, caught_up_s=T0_S + 2 * HOUR_S)
    assert desk.volume() == {0: 6}
    [row] = [row for row in desk.warehouse.tables["panes"].values() if (row["slice"], row["field"]) == ("all", "x")]
    assert row["record_seq"] >= make_record_seq(1, 0)
    assert not desk.warehouse.tables["losses"]
    desk.restart()
    desk.flush(T0_S + HOUR_S + 5)
    assert max(row["epoch"] for row in desk.warehouse.tables["offset_ledger"].values()) == 1


def with_another_baseline(effective_s: int) -> tuple[Registry, str, str]:
    """The registry after another baseline was accepted, and the ids of both."""
    first, second = baseline("m", "1"), baseline("m", "1", shift=1.0)
    entries = [RegisteredBaseline(first, first.id, 0, 1), RegisteredBaseline(second, second.id, effective_s, 2)]
    return build_registry([(contract("m", HOUR_S), T0_S * 1000)], entries), first.id, second.id


def test_another_baseline_holds_from_its_pane_on_and_verdicts_before_stay() -> None:
    desk = Desk(make_registry(), live=True)
    desk.flush(*(T0_S + h * HOUR_S + 10 for h in range(6)), caught_up_s=T0_S + 6 * HOUR_S + 1200)
    before = dict(desk.warehouse.tables["drift"])
    assert {key[2] for key in before} == {baseline("m", "1").id}
    # Accepted now, to hold in two hours; the processors read it one after the other, the monitor before a restart.
    desk.registry, old, new = with_another_baseline(T0_S + 8 * HOUR_S)
    desk.flush(*(T0_S + h * HOUR_S + 10 for h in (6, 7)), caught_up_s=T0_S + 8 * HOUR_S + 1200)
    # Until then silence is told of the one that holds alone, and the other has no rows.
    assert {row["baseline_id"] for row in desk.warehouse.tables["volume"].values()} == {old}
    assert {key[2] for key in desk.warehouse.tables["drift"]} == {old}
    desk.flush(*(T0_S + h * HOUR_S + 10 for h in range(8, 12)), caught_up_s=T0_S + 12 * HOUR_S + 1200)
    assert before.items() <= desk.warehouse.tables["drift"].items(), "what was given stays to the bit"
    found = {
        (row["baseline_id"], (row["window_end"] - T0_S) // HOUR_S): (row["n"], row["level"] == "insufficient")
        for row in desk.warehouse.last("drift").values()
        if (row["field"], row["slice"], row["window"]) == ("x", "all", "3h") and row["window_end"] > T0_S + 7 * HOUR_S
    }
    # Windows of three hours that reach over the change are in both, each with its own events.
    assert {key: n for key, (n, _) in found.items()} == {
        (old, 8): 3,
        (old, 9): 2,
        (new, 9): 1,
        (old, 10): 1,
        (new, 10): 2,
        (new, 11): 3,
        (new, 12): 3,
    }
    silent = T0_S + 14 * HOUR_S
    desk.restart()
    desk.flush(caught_up_s=silent + 1200)
    after = {
        (row["baseline_id"], row["n"])
        for row in desk.warehouse.tables["volume"].values()
        if row["pane_start"] >= T0_S + 12 * HOUR_S
    }
    assert after == {(new, 0)}


def test_windows_over_the_change_of_a_baseline_are_insufficient() -> None:
    registry, old, new = with_another_baseline(T0_S + 4 * HOUR_S)
    desk = Desk(registry, live=True)
    hours = [T0_S + h * HOUR_S + 1 + i for h in range(8) for i in range(600)]
    desk.flush(*hours, caught_up_s=T0_S + 8 * HOUR_S + 1200)
    levels = {
        (row["baseline_id"], (row["window_end"] - T0_S) // HOUR_S): row["level"]
        for row in desk.warehouse.last("drift").values()
        if (row["field"], row["slice"], row["window"]) == ("x", "all", "3h")
    }
    told = {key for key, level in levels.items() if level != "insufficient"}
    assert told == {(old, 3), (old, 4), (new, 7), (new, 8)}
    assert {key for key in levels if key not in told} == {(old, 1), (old, 2), (old, 5), (old, 6), (new, 5), (new, 6)}
    # A late event revises a window of the old one by the old one.
    desk.flush(T0_S + 2 * HOUR_S)
    last = desk.warehouse.last("drift").values()
    revised = [row for row in last if row["n"] == 1801 and row["field"] == "x" and row["slice"] == "all"]
    assert {row["baseline_id"] for row in revised} == {old}


@pytest.mark.parametrize("late", [False, True])
def test_roll_ups_hold_what_the_panes_of_their_hour_hold(late: bool) -> None:
    registry = make_registry(pane_s=1200, windows=(Window(2 * HOUR_S, HOUR_S),))
    desk = Desk(registry, live=True)
    desk.flush(T0_S + 10, T0_S + 1300, T0_S + 2500, caught_up_s=T0_S + HOUR_S + 1300)
    wanted = 3
    if late:
        desk.restart()
        desk.flush(T0_S + 20)
        wanted = 4
    rows = [row for row in desk.warehouse.tables["rollups"].values() if (row["slice"], row["field"]) == ("all", "x")]
    assert [(row["pane_start"], row["pane_s"], row["n"]) for row in rows] == [(T0_S, HOUR_S, wanted)]


def test_a_replay_is_judged_to_its_end_and_windows_beyond_it_are_insufficient() -> None:
    desk = Desk(make_registry(), live=False)
    desk.flush(*(T0_S + h * HOUR_S + 10 for h in range(7)), caught_up_s=T0_S + DAY_S)
    assert max(desk.volume()) == 4, "the wall clock moves nothing"
    desk.flush(end_mark=True)
    assert desk.volume() == dict.fromkeys(range(9), 0) | dict.fromkeys(range(7), 1)
    assert desk.verdicts("3h")[9] == 1
    assert max(desk.verdicts("3h")) == 9
    assert desk.verdicts("6h", "level")[9] == "insufficient"


def test_damaged_sketches_in_the_warehouse_stop_nothing() -> None:
    """Windows go on being judged and described, those that hold the damaged panes by their moments alone."""
    desk = Desk(make_registry(pane_s=1200), live=True)
    hours = [T0_S + h * HOUR_S for h in range(9)]
    desk.flush(*[at + 600 for at in hours[:4]], caught_up_s=hours[3] + 1200)
    for row in desk.warehouse.tables["panes"].values():
        if row["field"] == "x" and row["pane_start"] == hours[2]:
            row["sketch"] = b"no sketch"
    desk.restart()
    assert not desk.flush(*[at + 600 for at in hours[4:]], caught_up_s=hours[8] + 1200)
    last = {
        (row["window_end"] - T0_S) // HOUR_S: row
        for row in desk.warehouse.last("distances").values()
        if row["window"] == "3h"
    }
    assert {end: row["n"] for end, row in last.items()} == {1: 1, 2: 2, **dict.fromkeys(range(3, 9), 3)}
    assert {end for end, row in last.items() if math.isnan(row["ks"])} == {4, 5}, "3 was described before"
    assert not any(math.isnan(row["mean"]) for row in last.values())
    assert desk.verdicts("3h")[8] == 3


def test_a_clock_that_steps_back_does_not_hold_back_what_is_written() -> None:
    desk = Desk(make_registry(), live=True)
    clock_s, pace_s = [T0_S + 600.0], [0.0]
    desk.state = PartitionState(
        0,
        1,
        desk.topic,
        desk.store,
        lambda: desk.registry,
        live=True,
        write_s=10.0,
        revise_s=60.0,
        clock=lambda: clock_s[0],
        pace=lambda: pace_s[0],
    )
    desk.flush(T0_S + 10)
    assert not desk.warehouse.tables["panes"]
    clock_s[0] -= 3600
    pace_s[0] += 10
    desk.flush(T0_S + 20)
    assert {row["n"] for key, row in desk.warehouse.tables["volume"].items() if key[3] == "all"} == {2}
