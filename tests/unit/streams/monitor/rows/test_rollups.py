"""Rollups and unseen categories: when they are written and rewritten, and offsets acknowledged meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
from barograph.contract import Window

from tests.support.monitor_harness import DAY_S, HOUR_S, MonitorHarness, event, make_registry
from tests.support.monitor_schedule import T0_S

MINUTES_20 = 1200
TODAY_S = T0_S // DAY_S * DAY_S
TOMORROW_S = TODAY_S + DAY_S


class ColorHarness(MonitorHarness):
    def send(self, *events: tuple[int, str], caught_up_s: int | None = None, end_mark: bool = False) -> None:
        entries = [event(at_s, color=color) for at_s, color in events]
        assert self.flush_events(entries, caught_up_s=caught_up_s, end_mark=end_mark) == []

    def of_color(self, pane_s: int) -> dict[int, int]:
        """Events of rollups of `colour` in `all`, by hours since the day began."""
        return self.rollups(pane_s, "colour", TODAY_S)

    def names(self) -> dict[tuple[int, str], int]:
        return {
            ((row["pane_start"] - TODAY_S) // HOUR_S, row["category"]): row["n_low"]
            for row in self.warehouse.named().values()
        }


def color_harness(*, live: bool, pane_s: int = MINUTES_20, **options: Any) -> ColorHarness:
    windows = (Window(2 * pane_s, pane_s),)
    registry = make_registry(applied_s=TODAY_S, pane_s=pane_s, windows=windows)
    return ColorHarness(registry, live=live, **options)


@pytest.mark.parametrize("pane_s", [MINUTES_20, HOUR_S, 4 * HOUR_S])
def test_day_is_written_once_over_and_again_after_a_late_event(pane_s: int) -> None:
    monitor = color_harness(live=True, pane_s=pane_s)
    monitor.send(*((TODAY_S + i * HOUR_S + 5, "red") for i in range(23)), caught_up_s=TODAY_S + 23 * HOUR_S)
    assert monitor.of_color(DAY_S) == {}
    monitor.restart()
    monitor.send((TODAY_S + 23 * HOUR_S + 9, "green"), caught_up_s=TOMORROW_S + 600)
    assert monitor.of_color(DAY_S) == {}, "its last panes are not sealed yet"
    monitor.send(caught_up_s=TOMORROW_S + 2 * HOUR_S)
    assert monitor.of_color(DAY_S) == {0: 24}
    hours = monitor.of_color(HOUR_S)
    assert hours == (dict.fromkeys(range(24), 1) if pane_s < HOUR_S else {})
    monitor.restart()
    monitor.send((TODAY_S + 7 * HOUR_S, "red"), (TODAY_S + 8 * HOUR_S, "red"), caught_up_s=TOMORROW_S + 2 * HOUR_S)
    assert monitor.of_color(DAY_S) == {0: 26}
    assert monitor.of_color(HOUR_S) == (hours | {7: 2, 8: 2} if hours else {})
    assert monitor.acknowledged == monitor.offset


def test_late_events_rewrite_a_day_once_a_minute_and_are_acknowledged_then() -> None:
    monitor = color_harness(live=True, revise_s=60.0)
    monitor.send((TODAY_S + 9, "red"), caught_up_s=TODAY_S + 3 * HOUR_S)
    monitor.send(caught_up_s=TOMORROW_S + 2 * HOUR_S)
    assert monitor.of_color(DAY_S) == {0: 1}
    monitor.send((TODAY_S + HOUR_S, "red"))
    assert monitor.of_color(DAY_S) == {0: 2}
    assert monitor.acknowledged == monitor.offset
    monitor.clock_s += 20
    before = monitor.offset
    # No window of the last revision contains this time, so only the day is pending.
    monitor.send((TODAY_S + 5 * HOUR_S, "red"))
    assert monitor.of_color(HOUR_S)[5] == 1
    assert monitor.of_color(DAY_S) == {0: 2}
    assert monitor.acknowledged == before
    # A process that crashes now reads the record again.
    monitor.restart()
    monitor.offset = before
    monitor.positions[0] -= 1
    monitor.send((TODAY_S + 5 * HOUR_S, "red"))
    assert monitor.of_color(DAY_S) == {0: 3}
    assert monitor.acknowledged == monitor.offset


def test_the_fifty_most_frequent_categories_of_an_hour_are_named() -> None:
    monitor = color_harness(live=True)
    many = [(T0_S + i, f"c{i:03}") for i in range(80)]
    monitor.send(*many, *many[30:], caught_up_s=T0_S + 100)
    assert monitor.names() == {(18, f"c{i:03}"): 2 for i in range(30, 80)}
    # Categories that become more frequent later replace others.
    monitor.send(*many[:30], *many[:30], caught_up_s=T0_S + 200)
    assert len(monitor.names()) == 50
    assert {name: n for name, n in monitor.names().items() if n == 3} == {(18, f"c{i:03}"): 3 for i in range(30)}
