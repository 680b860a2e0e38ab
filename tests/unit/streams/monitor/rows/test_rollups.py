"""Days and new categories: when they are written, when again, and what is acknowledged meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
from barograph.contract import Window

from streams.monitor.partition import PartitionState
from streams.records import OffsetRange, Partial, PartitionProgress, Progress, decode
from streams.sketcher.partial_messages import encode_partials
from streams.sketcher.summarise import FlushSummaries
from tests.support.monitor_harness import DAY_S, HOUR_S, Desk, make_registry
from tests.support.monitor_schedule import PARTIALS_TOPIC, T0_S, TOPIC, Event, columns

MINUTES_20 = 1200
TODAY_S = T0_S // DAY_S * DAY_S
TOMORROW_S = TODAY_S + DAY_S


class Shop(Desk):
    """A desk that is asked for colours."""

    def send(self, *events: tuple[int, str], caught_up_s: int | None = None, end_mark: bool = False) -> None:
        """Bring a flush of events, each a time and a colour."""
        first = self.positions.get(0, 0)
        end = self.positions[0] = first + len(events)
        summaries = FlushSummaries(self.registry)
        found = [Event("m", "1", s * 1000, s * 1000, 0.1, colour, "north", False) for s, colour in events]
        if found:
            summaries.add(columns("m", 0, [(first + i, event) for i, event in enumerate(found)]))
        for key, pane in summaries.panes.items():
            for data in encode_partials(key, pane, TOPIC, [OffsetRange(0, first, end)]):
                partial = decode(data)
                assert isinstance(partial, Partial)
                assert self.state.partial(partial, self.offset) is None
                self.offset += 1
        times = [s * 1000 for s, _ in events]
        read = PartitionProgress(
            partition=0,
            start=first,
            end=end,
            newest_ms={"m": max(times)} if times else {},
            oldest_ms=min(times, default=None),
            caught_up_at_ms=None if caught_up_s is None else caught_up_s * 1000,
            end_mark=end_mark,
        )
        progress = Progress(source_topic_id=TOPIC, source_partitions=1, counted_at_ms=1, ranges=[read])
        writes, durable = self.state.progress(progress, self.offset)
        self.offset += 1
        if writes is not None:
            self.store.write(writes)
            self.acknowledged = durable

    def rollups(self, pane_s: int) -> dict[int, int]:
        """Events of roll-ups of `colour` in `all` by the hours since the day began."""
        return {
            (row["pane_start"] - TODAY_S) // HOUR_S: row["n"]
            for row in self.warehouse.tables["rollups"].values()
            if (row["pane_s"], row["field"], row["slice"]) == (pane_s, "colour", "all")
        }

    def names(self) -> dict[tuple[int, str], int]:
        """Events by hour of the day and new colour."""
        return {
            ((row["pane_start"] - TODAY_S) // HOUR_S, row["category"]): row["n_low"]
            for row in self.warehouse.named().values()
        }


def shop(*, live: bool, pane_s: int = MINUTES_20, **changes: Any) -> Shop:
    windows = (Window(2 * pane_s, pane_s),)
    return Shop(make_registry(applied_s=TODAY_S, pane_s=pane_s, windows=windows, **changes), live=live)


@pytest.mark.parametrize("pane_s", [MINUTES_20, HOUR_S, 4 * HOUR_S])
def test_a_day_is_written_when_it_is_over_and_again_when_a_late_event_comes(pane_s: int) -> None:
    desk = shop(live=True, pane_s=pane_s)
    desk.send(*((TODAY_S + i * HOUR_S + 5, "red") for i in range(23)), caught_up_s=TODAY_S + 23 * HOUR_S)
    assert desk.rollups(DAY_S) == {}
    desk.restart()
    desk.send((TODAY_S + 23 * HOUR_S + 9, "green"), caught_up_s=TOMORROW_S + 600)
    assert desk.rollups(DAY_S) == {}, "its last panes are not sealed yet"
    desk.send(caught_up_s=TOMORROW_S + 2 * HOUR_S)
    assert desk.rollups(DAY_S) == {0: 24}
    hours = desk.rollups(HOUR_S)
    assert hours == (dict.fromkeys(range(24), 1) if pane_s < HOUR_S else {})
    desk.restart()
    desk.send((TODAY_S + 7 * HOUR_S, "red"), (TODAY_S + 8 * HOUR_S, "red"), caught_up_s=TOMORROW_S + 2 * HOUR_S)
    assert desk.rollups(DAY_S) == {0: 26}
    assert desk.acknowledged == desk.offset


def test_panes_that_do_not_divide_a_day_have_no_days() -> None:
    desk = shop(live=True, pane_s=5 * HOUR_S)
    desk.send((T0_S, "pink"), caught_up_s=T0_S)
    desk.send(caught_up_s=T0_S + 5 * DAY_S)
    assert desk.rollups(DAY_S) == desk.rollups(HOUR_S) == {}
    [(_, colour)] = desk.names()
    assert colour == "pink"


def test_the_end_of_history_ends_its_last_hour_and_day() -> None:
    desk = shop(live=False)
    desk.send((T0_S + 10, "red"), (T0_S + HOUR_S + 10, "pink"), end_mark=True)
    assert desk.rollups(HOUR_S) == {18: 1, 19: 1}
    assert desk.rollups(DAY_S) == {0: 2}
    assert desk.names() == {(19, "pink"): 1}
    # More of the same history, sent afterwards, is added.
    desk.send((T0_S + 2 * HOUR_S, "pink"))
    assert desk.rollups(HOUR_S) == {18: 1, 19: 1, 20: 1}
    assert desk.rollups(DAY_S) == {0: 3}


def test_late_events_have_a_day_written_again_once_a_minute_and_are_acknowledged_then() -> None:
    desk = shop(live=True)
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
    desk.send((TODAY_S + 9, "red"), caught_up_s=TODAY_S + 3 * HOUR_S)
    desk.send(caught_up_s=TOMORROW_S + 2 * HOUR_S)
    assert desk.rollups(DAY_S) == {0: 1}
    desk.send((TODAY_S + HOUR_S, "red"))
    assert desk.rollups(DAY_S) == {0: 2}
    assert desk.acknowledged == desk.offset
    clock[0] += 20
    before = desk.offset
    # A moment that no window of the last revision holds, so that only the day waits.
    desk.send((TODAY_S + 5 * HOUR_S, "red"))
    assert desk.rollups(HOUR_S)[5] == 1
    assert desk.rollups(DAY_S) == {0: 2}
    assert desk.acknowledged == before
    # Whoever dies now reads it again.
    restart()
    desk.offset = before
    desk.positions[0] -= 1
    desk.send((TODAY_S + 5 * HOUR_S, "red"))
    assert desk.rollups(DAY_S) == {0: 3}
    assert desk.acknowledged == desk.offset


def test_new_categories_are_named_while_the_hour_is_open_and_when_late_ones_come() -> None:
    desk = shop(live=True)
    desk.send((T0_S + 5, "pink"), (T0_S + 6, "pink"), (T0_S + 7, "red"), caught_up_s=T0_S + 60)
    assert desk.names() == {(18, "pink"): 2}
    desk.restart()
    desk.send((T0_S + 2000, "pink"), (T0_S + 2000, "lime"), caught_up_s=T0_S + 2060)
    assert desk.names() == {(18, "pink"): 3, (18, "lime"): 1}
    # Half of the hour is sealed now; it is open all the same.
    desk.send(caught_up_s=T0_S + MINUTES_20 + 1200)
    desk.send((T0_S + 3000, "lime"), caught_up_s=T0_S + 3000)
    assert desk.names() == {(18, "pink"): 3, (18, "lime"): 2}
    desk.send((T0_S + 2 * HOUR_S, "red"), caught_up_s=T0_S + 2 * HOUR_S)
    assert desk.names() == {(18, "pink"): 3, (18, "lime"): 2}
    desk.restart()
    desk.send((T0_S + 100, "mauve"), caught_up_s=T0_S + 2 * HOUR_S)
    assert desk.names() == {(18, "pink"): 3, (18, "lime"): 2, (18, "mauve"): 1}


def test_the_fifty_surest_of_an_hour_are_named() -> None:
    desk = shop(live=True)
    many = [(T0_S + i, f"c{i:03}") for i in range(80)]
    desk.send(*many, *many[30:], caught_up_s=T0_S + 100)
    assert desk.names() == {(18, f"c{i:03}"): 2 for i in range(30, 80)}
    # Those that come more often later take the others' place.
    desk.send(*many[:30], *many[:30], caught_up_s=T0_S + 200)
    assert len(desk.names()) == 50
    assert {name: n for name, n in desk.names().items() if n == 3} == {(18, f"c{i:03}"): 3 for i in range(30)}
