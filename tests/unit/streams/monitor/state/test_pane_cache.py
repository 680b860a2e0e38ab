"""Panes beyond the budget: set down once they are written, read one after the other, in memory again to be changed."""

from __future__ import annotations

from barograph.contract import Window

from streams.monitor.partition import PartitionState
from streams.monitor.state.series import Series
from streams.monitor.state.store import SeriesPanes, WarehouseStore
from tests.support.monitor_harness import HOUR_S, Desk, make_registry
from tests.support.monitor_schedule import PARTIALS_TOPIC, T0_S

MINUTES_10 = 600
PER_HOUR = HOUR_S // MINUTES_10


class _Store(WarehouseStore):
    """Notes what was loaded."""

    loaded: list[list[int]]
    """The starts of the panes of each query."""

    def load_panes(self, model: str, start_s: int, end_s: int) -> list[SeriesPanes]:
        found = super().load_panes(model, start_s, end_s)
        self.loaded.append(sorted({at for each in found for at in each.table.column("pane_start").to_pylist()}))
        return found


class Tight(Desk):
    """A desk with room for few written panes, on which events lie ten minutes apart."""

    def __init__(self, budget_bytes: int, rows_at_once: int) -> None:
        self.budget_bytes, self.rows_at_once = budget_bytes, rows_at_once
        windows = (Window(2 * MINUTES_10, MINUTES_10), Window(HOUR_S, HOUR_S), Window(2 * HOUR_S, HOUR_S))
        super().__init__(make_registry(pane_s=MINUTES_10, windows=windows), live=True)

    def restart(self) -> None:
        self.store = self.reads = _Store(self.warehouse, self.rows_at_once)  # type: ignore[arg-type]
        self.reads.loaded = []
        self.state = PartitionState(
            *(0, 1, PARTIALS_TOPIC, self.store, lambda: self.registry),
            live=True,
            write_s=0.0,
            revise_s=0.0,
            budget_bytes=self.budget_bytes,
        )

    @property
    def series(self) -> Series:
        [series] = self.state._models["m"].series.values()
        return series

    def fill(self, hours: int) -> None:
        """Bring one event in each pane of some hours, a flush each."""
        for i in range(hours * PER_HOUR):
            at_s = T0_S + i * MINUTES_10 + 7
            self.flush(at_s, caught_up_s=at_s)

    def seal(self, hours: int) -> None:
        """Have the first hours sealed."""
        self.flush(caught_up_s=T0_S + hours * HOUR_S + 1200)

    def of_hours(self) -> dict[int, int]:
        """Events of the hourly roll-ups of `x` in `all`."""
        return {
            (row["pane_start"] - T0_S) // HOUR_S: row["n"]
            for row in self.warehouse.tables["rollups"].values()
            if (row["pane_s"], row["field"], row["slice"]) == (HOUR_S, "x", "all")
        }


def test_an_hour_is_summed_and_merged_from_panes_that_are_not_held() -> None:
    desk = Tight(0, rows_at_once=1)
    desk.fill(2)
    assert desk.series.panes == {}, "all are written"
    desk.reads.loaded.clear()
    desk.seal(2)
    assert desk.of_hours() == {0: PER_HOUR, 1: PER_HOUR}
    assert desk.verdicts("1h") == {1: PER_HOUR, 2: PER_HOUR}
    assert desk.verdicts("2h") == {1: PER_HOUR, 2: 2 * PER_HOUR}
    assert desk.verdicts("20m")[2] == 2
    assert {len(starts) for starts in desk.reads.loaded} == {1}, "one after the other"
    assert desk.series.panes == {}


def test_small_panes_are_read_together() -> None:
    desk = Tight(0, rows_at_once=1_000_000)
    desk.fill(1)
    # The next hour's first pane: the last of this hour are sealed by it alone.
    desk.seal(1)
    desk.reads.loaded.clear()
    assert int(desk.series.hour_counts(T0_S)[0, 0]) == PER_HOUR
    assert [len(starts) for starts in desk.reads.loaded] == [PER_HOUR]


def test_reading_leaves_the_sums_of_hours() -> None:
    desk = Tight(0, rows_at_once=1)
    desk.fill(1)
    desk.seal(1)
    hour = desk.series.hours[T0_S]
    assert int(hour[0, 0]) == PER_HOUR
    desk.seal(2)
    assert desk.series.hours[T0_S] is hour


def test_a_late_event_changes_a_pane_that_was_set_down() -> None:
    desk = Tight(0, rows_at_once=1)
    desk.fill(2)
    desk.seal(2)
    desk.flush(T0_S + 11, T0_S + 12, caught_up_s=T0_S + 2 * HOUR_S)
    assert desk.of_hours() == {0: PER_HOUR + 2, 1: PER_HOUR}
    assert desk.verdicts("1h") == {1: PER_HOUR + 2, 2: PER_HOUR}
    assert desk.verdicts("2h") == {1: PER_HOUR + 2, 2: 2 * PER_HOUR + 2}
    assert desk.series.panes == {}


def test_what_is_loaded_keeps_to_the_budget_and_the_nearest_panes_stay() -> None:
    desk = Tight(1 << 30, rows_at_once=1)
    desk.fill(2)
    size = max(pane.n_bytes for pane in desk.series.panes.values())
    every = set(desk.series.panes)
    desk.budget_bytes = 3 * size
    desk.restart()
    desk.seal(2)
    # Sealed by this flush: those before it are of no use but to windows, those after it may change.
    sealed_s = desk.state._models["m"].sealed_until_s
    assert sealed_s == T0_S + 2 * HOUR_S
    held = set(desk.series.panes)
    assert 3 <= len(held) < PER_HOUR
    assert min(held) > max(every - held)
    assert desk.of_hours() == {0: PER_HOUR, 1: PER_HOUR}


def test_panes_far_ahead_are_set_down_before_those_that_are_next() -> None:
    desk = Tight(1 << 30, rows_at_once=1)
    ahead = [T0_S + i * HOUR_S + 7 for i in range(9)]
    # The other partition was not read yet, so nothing is sealed.
    desk.flush(*ahead, partitions=2)
    assert len(desk.series.panes) == len(ahead)
    desk.budget_bytes = 3 * max(pane.n_bytes for pane in desk.series.panes.values())
    desk.restart()
    desk.flush(partitions=2)
    held = sorted(desk.series.panes)
    assert 3 <= len(held) < len(ahead)
    assert held == [at // MINUTES_10 * MINUTES_10 for at in ahead[: len(held)]]
    for partition in (0, 1):
        desk.flush(partition=partition, partitions=2, caught_up_s=T0_S + 10 * HOUR_S)
    assert desk.of_hours() == dict.fromkeys(range(9), 1)
