"""Panes: counts that widen before they overflow, eviction once written, and loading to be changed."""

from __future__ import annotations

import msgspec
import numpy as np
from barograph.contract import Window

from barograph_server.sketches.baseline.layout import Layout
from barograph_server.streams.monitor.state.compiled_baseline import CompiledBaseline
from barograph_server.streams.monitor.state.model import ModelState
from barograph_server.streams.monitor.state.pane_cache import PaneCache
from barograph_server.streams.monitor.state.series import Series
from barograph_server.streams.monitor.state.store import SeriesPanes, WarehouseStore
from barograph_server.streams.records import OffsetRange
from tests.support.memory_warehouse import MemoryWarehouse
from tests.support.monitor_harness import HOUR_S, MonitorHarness, event, make_partials, make_registry
from tests.support.monitor_schedule import T0_S
from tests.support.pipeline import simple_baseline, simple_contract

MINUTES_10 = 600
PER_HOUR = HOUR_S // MINUTES_10


class RecordingStore(WarehouseStore):
    """A store that records which panes each query loads."""

    def __init__(self, warehouse: MemoryWarehouse, rows_per_load: int) -> None:
        super().__init__(warehouse, rows_per_load)  # type: ignore[arg-type]
        self.loaded: list[list[int]] = []
        """The pane starts of each query."""

    def load_panes(self, model: str, start_s: int, end_s: int) -> list[SeriesPanes]:
        panes = super().load_panes(model, start_s, end_s)
        self.loaded.append(sorted({at for entry in panes for at in entry.table.column("pane_start").to_pylist()}))
        return panes


class EvictingHarness(MonitorHarness):
    """A harness with a small budget, and events ten minutes apart."""

    reads: RecordingStore

    def __init__(self, budget_bytes: int, rows_per_load: int) -> None:
        self.rows_per_load = rows_per_load
        windows = (Window(2 * MINUTES_10, MINUTES_10), Window(HOUR_S, HOUR_S), Window(2 * HOUR_S, HOUR_S))
        registry = make_registry(pane_s=MINUTES_10, windows=windows)
        super().__init__(registry, live=True, budget_bytes=budget_bytes)

    def make_store(self) -> WarehouseStore:
        self.reads = RecordingStore(self.warehouse, self.rows_per_load)
        return self.reads

    @property
    def model(self) -> ModelState:
        return self.state.models["m"]

    @property
    def series(self) -> Series:
        [series] = self.model.series.values()
        return series

    def fill(self, hours: int) -> None:
        """Deliver one event in each pane of some hours, a flush each."""
        for i in range(hours * PER_HOUR):
            at_s = T0_S + i * MINUTES_10 + 7
            self.flush(at_s, caught_up_s=at_s)

    def seal(self, hours: int) -> None:
        self.flush(caught_up_s=T0_S + hours * HOUR_S + 1200)

    def of_hours(self) -> dict[int, int]:
        return self.rollups(HOUR_S, "x")


def test_hour_is_summed_and_merged_from_evicted_panes_that_late_events_change() -> None:
    monitor = EvictingHarness(0, rows_per_load=1)
    monitor.fill(2)
    assert monitor.series.panes == {}, "all are evicted"
    monitor.reads.loaded.clear()
    monitor.seal(2)
    assert monitor.of_hours() == {0: PER_HOUR, 1: PER_HOUR}
    assert monitor.verdicts("1h") == {1: PER_HOUR, 2: PER_HOUR}
    assert monitor.verdicts("2h") == {1: PER_HOUR, 2: 2 * PER_HOUR}
    assert monitor.verdicts("20m")[2] == 2
    assert {len(starts) for starts in monitor.reads.loaded} == {1}, "one pane per query"
    assert monitor.series.panes == {}
    # Late events change an evicted pane.
    monitor.flush(T0_S + 11, T0_S + 12, caught_up_s=T0_S + 2 * HOUR_S)
    assert monitor.of_hours() == {0: PER_HOUR + 2, 1: PER_HOUR}
    assert monitor.verdicts("1h") == {1: PER_HOUR + 2, 2: PER_HOUR}
    assert monitor.verdicts("2h") == {1: PER_HOUR + 2, 2: 2 * PER_HOUR + 2}
    assert monitor.series.panes == {}


def test_loading_stays_within_the_budget_and_keeps_the_nearest_panes() -> None:
    monitor = EvictingHarness(1 << 30, rows_per_load=1)
    monitor.fill(2)
    size = max(pane.n_bytes for pane in monitor.series.panes.values())
    all_starts = set(monitor.series.panes)
    monitor.options["budget_bytes"] = 3 * size
    monitor.restart()
    monitor.seal(2)
    # Panes before the sealed time are only read by windows; those after it may change.
    assert monitor.model.sealed_until_s == T0_S + 2 * HOUR_S
    cached = set(monitor.series.panes)
    assert 3 <= len(cached) < PER_HOUR
    assert min(cached) > max(all_starts - cached)
    assert monitor.of_hours() == {0: PER_HOUR, 1: PER_HOUR}


BASELINE = simple_baseline()


def make_series() -> Series:
    return Series("1", BASELINE.id, CompiledBaseline.of(Layout(BASELINE)), simple_contract())


def test_counts_beyond_32_bits_stay_exact_and_are_narrowed_once_written() -> None:
    series = make_series()
    pane = series.panes[0] = series.empty_pane(0)
    pane.narrow_counts()
    slices, columns = slice(0, series.layout.n_slices), slice(0, series.layout.width)
    added = np.full(pane.counts.shape, 2**30, dtype=np.int64)
    for i in range(1, 5):
        series.add_counts(pane, slices, columns, added)
        assert (pane.counts == i * 2**30).all()
    series.mark_written()
    assert pane.counts.dtype == np.int64, "no narrower type holds 2 to the 32nd"
    assert (pane.counts == 2**32).all()
    # Widened counts are narrowed once written.
    series = make_series()
    pane = series.panes[0] = series.empty_pane(0)
    series.add_counts(pane, slice(0, 1), slice(0, 1), np.array([[300]]))
    assert pane.counts.dtype in (np.int32, np.int64), "it may still change"
    series.mark_written()
    assert not pane.dirty
    assert pane.counts.dtype == np.uint16
    assert pane.n_events == 300


def test_a_changed_type_of_sketches_drops_merged_ranges_and_other_changes_do_not() -> None:
    registry = make_registry(pane_s=MINUTES_10, windows=(Window(HOUR_S, HOUR_S),))
    cache = PaneCache(WarehouseStore(MemoryWarehouse()), lambda: registry, 1 << 30)  # type: ignore[arg-type]
    state = ModelState(registry.contracts["m"])
    cache.load(state)
    [baseline_id] = registry.layouts
    series = cache.get_series(state, "1", baseline_id)
    assert series is not None
    for i, partial in enumerate(make_partials(registry, [event(T0_S)], OffsetRange(0, 0, 1))):
        cache.merge(state, series, partial, i, late=False)
    [window] = state.contract.windows

    def merged_events() -> int:
        return int(cache.merge_range(state, series, window, T0_S, T0_S + HOUR_S).counts[0])

    assert merged_events() == 1
    series.panes.clear()
    cache.update_contract(state, msgspec.structs.replace(state.contract, description="otherwise the same"))
    assert merged_events() == 1, "the stored range is reused"
    fields = tuple(msgspec.structs.replace(field, sketch="req") for field in state.contract.fields)
    cache.update_contract(state, msgspec.structs.replace(state.contract, fields=fields))
    assert merged_events() == 0
    assert series.contract is state.contract
