"""The monitor's state: silence, losses, bounds, and records that are put aside."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from barograph.contract import Window

from streams.flush import part_messages
from streams.monitor.chain import make_pos
from streams.monitor.partition import Dead, PartitionState
from streams.monitor.store import WarehouseStore
from streams.records import Part, PartitionProgress, Progress, Range, decode
from streams.registry import RegisteredBaseline, Registry, build_registry
from streams.summarise import FlushSummaries
from tests.support.memory_warehouse import MemoryWarehouse
from tests.support.monitor_schedule import PARTS_TOPIC, T0_S, TOPIC, Event, baseline, columns, contract

HOUR_S = 3600
DAY_S = 86_400


def make_registry(applied_s: int = T0_S, **changes: Any) -> Registry:
    told = msgspec.structs.replace(contract("m", HOUR_S), **changes)
    first = baseline("m", "1")
    return build_registry([(told, applied_s * 1000)], [RegisteredBaseline(first, first.id, 0, 1)])


class Desk:
    """One state with what it wrote, and flushes made by hand."""

    def __init__(self, registry: Registry, *, live: bool, topic: str = PARTS_TOPIC) -> None:
        self.registry, self.live, self.topic = registry, live, topic
        self.warehouse = MemoryWarehouse()
        self.offset = 0
        self.positions: dict[int, int] = {}
        self.acknowledged = 0
        self.restart()

    def restart(self) -> None:
        self.store = WarehouseStore(self.warehouse)  # type: ignore[arg-type]
        self.state = PartitionState(
            0, 1, self.topic, self.store, lambda: self.registry, live=self.live, write_s=0.0, revise_s=0.0
        )

    def flush(
        self,
        *at_s: int,
        partition: int = 0,
        start: int | None = None,
        caught_up_s: int | None = None,
        version: str = "1",
        partitions: int = 1,
        end_mark: bool = False,
    ) -> list[Dead]:
        """Bring a flush of events at these times, as parts and progress; return what was put aside."""
        first = self.positions.get(partition, 0) if start is None else start
        end = first + len(at_s)
        self.positions[partition] = max(end, self.positions.get(partition, 0))
        events = [Event("m", version, s * 1000, s * 1000, 0.1, "red", "north", False) for s in at_s]
        summaries = FlushSummaries(self.registry)
        if events:
            summaries.add(columns("m", partition, [(first + i, event) for i, event in enumerate(events)]))
        dead = []
        for key, pane in summaries.panes.items():
            for data in part_messages(key, pane, TOPIC, [Range(partition, first, end)]):
                part = decode(data)
                assert isinstance(part, Part)
                dead.append(self.state.part(part, self.offset))
                self.offset += 1
        read = PartitionProgress(
            partition=partition,
            start=first,
            end=end,
            newest_ms={"m": max(at_s) * 1000} if at_s else {},
            oldest_ms=min(at_s) * 1000 if at_s else None,
            caught_up_at_ms=None if caught_up_s is None else caught_up_s * 1000,
            end_mark=end_mark,
        )
        progress = Progress(source_topic_id=TOPIC, source_partitions=partitions, counted_at_ms=1, ranges=[read])
        writes, durable = self.state.progress(progress, self.offset)
        self.offset += 1
        if writes is not None:
            self.store.write(writes)
            self.acknowledged = durable
        return [one for one in dead if one is not None]

    def volume(self) -> dict[int, int]:
        """Events of sealed panes of `all` by the hours since T0."""
        return {
            (row["pane_start"] - T0_S) // HOUR_S: row["n"]
            for row in self.warehouse.tables["volume"].values()
            if row["slice"] == "all" and row["sealed"]
        }

    def verdicts(self, window: str, column: str = "n") -> dict[int, Any]:
        """The last verdicts on `x` in `all` by the hours since T0 at which the window ends."""
        return {
            (row["window_end"] - T0_S) // HOUR_S: row[column]
            for row in self.warehouse.last("drift").values()
            if row["field"] == "x" and row["slice"] == "all" and row["window"] == window
        }


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


def test_acknowledgements_wait_for_the_windows_that_late_events_touched() -> None:
    desk = Desk(make_registry(), live=True)
    clock = [0.0]

    def restart() -> None:
        desk.state = PartitionState(
            0,
            1,
            PARTS_TOPIC,
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
        state = PartitionState(0, 1, PARTS_TOPIC, fresh.store, lambda found=registry: found, live=True)  # type: ignore[misc]
        summaries = FlushSummaries(made)
        summaries.add(columns("m", 0, [(0, Event("m", "1", T0_S * 1000, T0_S * 1000, 0.1, "red", "north", False))]))
        [(key, pane)] = summaries.panes.items()
        [data] = part_messages(key, pane, TOPIC, [Range(0, 0, 1)])
        part = decode(data)
        assert isinstance(part, Part)
        dead = state.part(part, 0)
        assert dead is not None
        assert reason in dead.reason


def test_a_damaged_sketch_is_put_aside_and_nothing_of_its_part_is_merged() -> None:
    desk = Desk(make_registry(), live=True)
    summaries = FlushSummaries(desk.registry)
    summaries.add(columns("m", 0, [(0, Event("m", "1", T0_S * 1000, T0_S * 1000, 0.1, "red", "north", False))]))
    [(key, pane)] = summaries.panes.items()
    [data] = part_messages(key, pane, TOPIC, [Range(0, 0, 1)])
    part = decode(data)
    assert isinstance(part, Part)
    good = list(part.sketches)
    part.sketches[0] = good[0][:-1] + bytes([good[0][-1] ^ 1])
    dead = desk.state.part(part, 0)
    assert dead is not None
    assert "sketch of field x" in dead.reason
    part.sketches = good
    assert desk.state.part(part, 1) is None
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
    assert row["pos"] >= make_pos(1, 0)
    assert not desk.warehouse.tables["losses"]
    desk.restart()
    desk.flush(T0_S + HOUR_S + 5)
    assert max(row["epoch"] for row in desk.warehouse.tables["chain"].values()) == 1


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
