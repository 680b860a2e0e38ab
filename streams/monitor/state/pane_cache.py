"""Cache of panes, hourly sums and merged ranges.

Panes load on demand and are evicted if they exceed the budget. Reads of evicted panes stream from ClickHouse one after
another and are not cached; only panes that are about to change are loaded back.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from barograph.contract import SECONDS_PER_HOUR, Contract, Window

from barograph_server.streams.monitor.state.merged_ranges import MergedRange, MergedRanges, enforce_budget
from barograph_server.streams.monitor.state.model import ModelState, SeriesKey
from barograph_server.streams.monitor.state.pane import Pane
from barograph_server.streams.monitor.state.restore import restore_panes, restore_volume
from barograph_server.streams.monitor.state.series import CompiledBaseline, Series
from barograph_server.streams.monitor.state.store import Store
from barograph_server.streams.monitor.windows import merged_range_s, reach_s, step_s, uses_hours
from barograph_server.streams.records import Partial
from barograph_server.streams.registry.registry import Registry

PANE_BUDGET_BYTES = 192 << 20
"""Memory that the written panes of one partition of `partials` may take."""
RANGE_BUDGET_DIVISOR = 4
"""Merged ranges may take this fraction of the pane budget, in addition to it: one over this number."""
NEVER_S = 1 << 32


class _ReadAhead(NamedTuple):
    """Evicted panes of one model that were read together and are not cached."""

    state: ModelState
    starts_s: frozenset[int]
    panes: dict[SeriesKey, dict[int, Pane]]


class PaneCache:
    """The panes, hourly sums and merged ranges of one partition of `partials`.

    Args:
        budget_bytes: memory that written panes may take.
    """

    def __init__(self, store: Store, registry: Callable[[], Registry], budget_bytes: int) -> None:
        self._store, self._registry, self._budget_bytes = store, registry, budget_bytes
        self._compiled: dict[str, CompiledBaseline] = {}
        self._states: list[ModelState] = []
        self._ranges: dict[tuple[str, str, str], MergedRanges] = {}
        """Merged ranges by model, version and baseline id."""
        self._read_ahead: _ReadAhead | None = None

    def get_series(self, state: ModelState, version: str, baseline_id: str) -> Series | None:
        """Return the series of a version and baseline, created if it is new; None if the baseline is unknown."""
        key = (version, baseline_id)
        series = state.series.get(key)
        if series is None:
            layout = self._registry().layouts.get(baseline_id)
            if layout is None:
                return None
            compiled = self._compiled.get(baseline_id)
            if compiled is None:
                compiled = self._compiled[baseline_id] = CompiledBaseline.of(layout)
            series = state.series[key] = Series(version, baseline_id, compiled, state.contract)
            series.read_evicted = partial(self._read_evicted, state, key)
            self._ranges[state.contract.model, version, baseline_id] = MergedRanges(series)
        return series

    def update_contract(self, state: ModelState, contract: Contract) -> None:
        """Put a changed contract in force for a model."""
        state.contract = contract
        for series in state.series.values():
            if contract.fields != series.contract.fields:
                # Sketches of another type do not merge with those of the stored ranges.
                self._ranges_of(series).clear()
            series.contract = contract

    def merge(self, state: ModelState, series: Series, partial: Partial, record_seq: int, *, late: bool) -> bool:
        """Merge a partial into its pane, which is loaded or created; return whether any row changed.

        Raises:
            RecordError: the partial does not fit, or a sketch in it is damaged; nothing was merged.
        """
        series.fit(partial)
        pane = self._get_pane(state, series, partial.pane_start_s)
        changed = series.merge(pane, partial, record_seq, late=late)
        if changed:
            self._ranges_of(series).invalidate(pane.start_s)
            state.last_s = max(pane.start_s, pane.start_s if state.last_s is None else state.last_s)
        return changed

    def _get_pane(self, state: ModelState, series: Series, start_s: int) -> Pane:
        pane = series.panes.get(start_s)
        if pane is None and (start_s < state.loaded_from_s or start_s in state.evicted):
            self._restore(state, start_s, start_s + 1, for_update=True)
            pane = series.panes.get(start_s)
        if pane is None:
            pane = series.panes[start_s] = series.empty_pane(start_s)
            pane.narrow_counts()
        return pane

    def _ranges_of(self, series: Series) -> MergedRanges:
        return self._ranges[series.contract.model, series.version, series.baseline_id]

    # ------------------------------------------------------------------------------------------ loading

    def load(self, state: ModelState) -> None:
        """Load the panes of a new model that windows ahead reach into."""
        self._states.append(state)
        contract = state.contract
        state.sealed_until_s = self._store.sealed_until_s(contract.model)
        if state.sealed_until_s is None:
            state.loaded_from_s = 0
        else:
            first_s = state.sealed_until_s - reach_s(contract, hours=False)
            state.loaded_from_s = max(0, first_s // SECONDS_PER_HOUR * SECONDS_PER_HOUR)
        for (version, baseline_id), first_pane_s in self._store.first_panes_s(contract.model).items():
            series = self.get_series(state, version, baseline_id)
            if series is not None:
                series.first_s = first_pane_s
        state.last_s = self._store.last_pane_s(contract.model)
        self._restore(state, state.loaded_from_s, NEVER_S)

    def ensure_loaded(self, state: ModelState, start_s: int, end_s: int) -> None:
        """Make the panes of [start, end) readable: in memory, or evicted."""
        if start_s < state.loaded_from_s:
            self._restore(state, start_s, min(end_s, state.loaded_from_s))

    def ensure_windows_loaded(self, state: ModelState, window: Window, ends_s: list[int]) -> None:
        """Make the panes or hours readable that windows of one length are summed from; their ends ascend."""
        start_s = ends_s[0] - window.length_s
        if step_s(state.contract, window) > state.contract.pane_s:
            self._ensure_hours_loaded(state, start_s, ends_s[-1])
        elif start_s < state.loaded_from_s:
            # A late event revises a window that starts before the loaded panes: extend them back to its start.
            self._restore(state, max(0, start_s), state.loaded_from_s)
            state.loaded_from_s = max(0, start_s)

    def load_for_update(self, state: ModelState, start_s: int, end_s: int) -> None:
        """Load the evicted panes of [start, end) back into memory, because they are about to change."""
        evicted = [at_s for at_s in state.evicted if start_s <= at_s < end_s]
        if evicted:
            self._restore(state, min(evicted), max(evicted) + 1, for_update=True)

    def merge_range(self, state: ModelState, series: Series, window: Window, start_s: int, end_s: int) -> MergedRange:
        """Merge the numbers of a window of a series, from the ranges in memory and from panes."""
        ensure_loaded = partial(self._ensure_range_loaded, state)
        length_s = state.contract.pane_s if window.last else merged_range_s(window)
        return self._ranges_of(series).merge(start_s, end_s, length_s, ensure_loaded)

    def store_rollup(self, series: Series, length_s: int, rollup: Pane) -> None:
        """Take over the merge of a rollup as a merged range, if windows are merged from ranges of its length."""
        self._ranges_of(series).store_rollup(length_s, rollup)

    def sum_closed_hours(self, state: ModelState, before_s: int, until_s: int) -> None:
        """Sum the hours that end once the panes of [before, until) are sealed."""
        if not uses_hours(state.contract):
            return
        first_s = before_s // SECONDS_PER_HOUR * SECONDS_PER_HOUR
        last_s = until_s // SECONDS_PER_HOUR * SECONDS_PER_HOUR
        for start_s in range(first_s, last_s, SECONDS_PER_HOUR):
            for series in state.series.values():
                series.hours[start_s] = series.sum_hour(start_s)

    def _ensure_hours_loaded(self, state: ModelState, start_s: int, end_s: int) -> None:
        """Make the sums of all hours of [start, end) available, from panes in memory or in the warehouse."""
        for hour_s in range(start_s // SECONDS_PER_HOUR * SECONDS_PER_HOUR, end_s, SECONDS_PER_HOUR):
            if all(hour_s in series.hours for series in state.series.values()):
                continue
            self.ensure_loaded(state, hour_s, hour_s + SECONDS_PER_HOUR)
            _sum_missing_hour(state, hour_s)

    def _ensure_range_loaded(self, state: ModelState, start_s: int, end_s: int) -> None:
        """Make the panes of [start, end) readable, and sum the hours whose sums the loading dropped."""
        self.ensure_loaded(state, start_s, end_s)
        if uses_hours(state.contract):
            first_s = -(-start_s // SECONDS_PER_HOUR) * SECONDS_PER_HOUR
            for hour_s in range(first_s, end_s - SECONDS_PER_HOUR + 1, SECONDS_PER_HOUR):
                _sum_missing_hour(state, hour_s)

    def _restore(self, state: ModelState, start_s: int, end_s: int, *, for_update: bool = False) -> None:
        """Load the panes of [start, end) that are not in memory, in several queries because wide models are large.

        Panes beyond the budget are evicted after each query, unless they are about to change.
        """
        self._read_ahead = None
        state.evicted = {at_s for at_s in state.evicted if not start_s <= at_s < end_s}
        for begin_s, until_s in self._store.load_ranges("panes", state.contract.model, start_s, end_s):
            for series, panes in self._load_panes(state, begin_s, until_s, partial(self.get_series, state)):
                series.panes.update(panes)
                for at_s in panes:
                    # Another process may have written the pane after its hour was summed here.
                    series.hours.pop(at_s // SECONDS_PER_HOUR * SECONDS_PER_HOUR, None)
                    self._ranges_of(series).invalidate(at_s)
            if not for_update:
                self.evict()

    def _read_evicted(self, state: ModelState, key: SeriesKey, start_s: int) -> Pane | None:
        """Read an evicted pane without caching it; None if it was not evicted.

        If panes are small, the panes after it are read in the same query, because sums read panes in order.
        """
        if start_s not in state.evicted:
            return None
        ahead = self._read_ahead
        if ahead is None or ahead.state is not state or start_s not in ahead.starts_s:
            next_in_memory_s = min(
                (at_s for series in state.series.values() for at_s in series.panes if at_s > start_s), default=NEVER_S
            )
            rows = sum(series.layout.n_slices * series.layout.n_fields for series in state.series.values())
            n_panes = max(1, self._store.rows_per_load // rows)
            starts_s = sorted(at_s for at_s in state.evicted if start_s <= at_s < next_in_memory_s)[:n_panes]
            panes: dict[SeriesKey, dict[int, Pane]] = {}
            # Creates no series: the caller may be iterating over them.
            for series, loaded in self._load_panes(
                state, start_s, starts_s[-1] + 1, lambda *key: state.series.get(key)
            ):
                panes[series.version, series.baseline_id] = loaded
            ahead = self._read_ahead = _ReadAhead(state, frozenset(starts_s), panes)
        return ahead.panes.get(key, {}).get(start_s)

    def _load_panes(
        self, state: ModelState, start_s: int, end_s: int, series_of: Callable[[str, str], Series | None]
    ) -> Iterator[tuple[Series, dict[int, Pane]]]:
        """Load the panes of [start, end) that are in the warehouse and not in memory, per series."""
        model, volume = state.contract.model, None
        for loaded in self._store.load_panes(model, start_s, end_s):
            series = series_of(loaded.version, loaded.baseline_id)
            if series is None:
                continue
            panes = restore_panes(series, loaded.table, series.panes)
            if volume is None:
                volume = self._store.load_volume(model, start_s, end_s)
            restore_volume(series, volume, panes)
            for pane in panes.values():
                pane.narrow_counts()
            yield series, panes

    # ------------------------------------------------------------------------------------------ dropping

    def forget(self, state: ModelState) -> None:
        """Drop everything of a model."""
        self._states = [each for each in self._states if each is not state]
        self._read_ahead = None
        for version, baseline_id in state.series:
            del self._ranges[state.contract.model, version, baseline_id]
            self._compiled.pop(baseline_id, None)

    def drop_expired(self, state: ModelState) -> None:
        """Drop the written panes, hours and ranges that no window ahead needs."""
        if state.sealed_until_s is None:
            return
        contract = state.contract
        first_pane_s = state.sealed_until_s - reach_s(contract, hours=False)
        first_pane_s = first_pane_s // SECONDS_PER_HOUR * SECONDS_PER_HOUR
        first_hour_s = state.sealed_until_s - reach_s(contract, hours=True)
        for series in state.series.values():
            for at_s in [at_s for at_s, pane in series.panes.items() if at_s < first_pane_s and not pane.dirty]:
                del series.panes[at_s]
            for at_s in [at_s for at_s in series.hours if at_s < first_hour_s and at_s not in series.dirty_hours]:
                del series.hours[at_s]
            self._ranges_of(series).drop_expired(state.sealed_until_s)
        state.evicted = {at_s for at_s in state.evicted if at_s >= first_pane_s}
        state.loaded_from_s = max(state.loaded_from_s, first_pane_s)

    def evict(self) -> None:
        """Evict written panes beyond the budget, those furthest from the sealed time first: they change last."""
        self._read_ahead = None
        written = [
            (abs(start_s - (state.sealed_until_s or 0)), start_s, state, series)
            for state in self._states
            for series in state.series.values()
            for start_s, pane in series.panes.items()
            if not pane.dirty
        ]
        total = sum(series.panes[start_s].n_bytes for _, start_s, _, series in written)
        written.sort(key=lambda entry: entry[:2])
        while written and total > self._budget_bytes:
            _, start_s, state, series = written.pop()
            total -= series.panes.pop(start_s).n_bytes
            state.evicted.add(start_s)
        enforce_budget(list(self._ranges.values()), self._budget_bytes // RANGE_BUDGET_DIVISOR)


def _sum_missing_hour(state: ModelState, start_s: int) -> None:
    """Sum an hour whose panes are readable, for the series that lack its sum."""
    for series in state.series.values():
        if start_s not in series.hours:
            series.hours[start_s] = series.sum_hour(start_s)
