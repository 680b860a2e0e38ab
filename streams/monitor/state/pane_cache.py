"""Which panes and hours of models are in memory: loaded when they are needed, set down when they are too many.

What is only read of panes that were set down (sums, merges) is read from the warehouse one after the other and let go;
into memory comes again what is to change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from barograph.contract import SECONDS_PER_HOUR, Window

from streams.monitor.state.merged_ranges import over_budget
from streams.monitor.state.model import ModelState, SeriesKey
from streams.monitor.state.restore import restore_panes, restore_volume
from streams.monitor.state.series import Compiled, Pane, Series
from streams.monitor.state.store import Store
from streams.monitor.windows import reach_s, step_s, uses_hours
from streams.registry.registry import Registry

PANE_BUDGET_BYTES = 192 << 20
"""How much the panes of one partition of `partials` may take in memory once they are written."""
NEVER_S = 1 << 32
SUMMARIES_OF_BUDGET = 4
"""Which part of the panes' budget merged sketches may take beside them: one in so many."""


class _Passing(NamedTuple):
    """Panes of a model that were read to be let go, until others are."""

    state: ModelState
    starts_s: frozenset[int]
    panes: dict[SeriesKey, dict[int, Pane]]


class PaneCache:
    """The panes and hours of one partition of `partials`.

    Args:
        store: where panes that are not in memory are.
        registry: the baselines in force.
        budget_bytes: how much written panes may take.
    """

    def __init__(self, store: Store, registry: Callable[[], Registry], budget_bytes: int) -> None:
        self._store, self._registry, self._budget_bytes = store, registry, budget_bytes
        self._compiled: dict[str, Compiled] = {}
        self._states: list[ModelState] = []
        self._passing: _Passing | None = None

    def series(self, state: ModelState, version: str, baseline_id: str) -> Series | None:
        """The series of a version and baseline, made where it is new; None where the baseline is not known."""
        key = (version, baseline_id)
        series = state.series.get(key)
        if series is None:
            layout = self._registry().layouts.get(baseline_id)
            if layout is None:
                return None
            compiled = self._compiled.get(baseline_id)
            if compiled is None:
                compiled = self._compiled[baseline_id] = Compiled.of(layout)
            series = state.series[key] = Series(version, baseline_id, compiled, state.contract)
            series.away = partial(self._read, state, key)
        return series

    def pane(self, state: ModelState, series: Series, start_s: int) -> Pane:
        """The pane of a series at a moment, loaded or made."""
        pane = series.panes.get(start_s)
        if pane is None and (start_s < state.loaded_from_s or start_s in state.set_down):
            self._restore(state, start_s, start_s + 1, to_change=True)
            pane = series.panes.get(start_s)
        if pane is None:
            pane = series.panes[start_s] = series.empty_pane(start_s)
            pane.compact()
        return pane

    # ------------------------------------------------------------------------------------------ loading

    def load(self, state: ModelState) -> None:
        """Load what windows ahead reach into of a model that was not held."""
        self._states.append(state)
        contract = state.contract
        state.sealed_until_s = self._store.sealed_until_s(contract.model)
        if state.sealed_until_s is None:
            state.loaded_from_s = 0
        else:
            reach = reach_s(contract, hours=False)
            first = (state.sealed_until_s - reach) // SECONDS_PER_HOUR * SECONDS_PER_HOUR
            state.loaded_from_s = max(0, first)
        for (version, baseline_id), first_s in self._store.first_panes_s(contract.model).items():
            series = self.series(state, version, baseline_id)
            if series is not None:
                series.first_s = first_s
        self._restore(state, state.loaded_from_s, NEVER_S)

    def have(self, state: ModelState, start_s: int, end_s: int) -> None:
        """Have all panes of [start, end) within reach: in memory, or set down."""
        if start_s < state.loaded_from_s:
            self._restore(state, start_s, min(end_s, state.loaded_from_s))

    def have_windows(self, state: ModelState, window: Window, ends_s: list[int]) -> None:
        """Have within reach what windows of one length are summed from; their ends ascend."""
        start_s = ends_s[0] - window.length_s
        if step_s(state.contract, window) > state.contract.pane_s:
            self._have_hours(state, start_s, ends_s[-1])
        elif start_s < state.loaded_from_s:
            # A late event revises a window that begins before what is loaded: from now on all since then is.
            self._restore(state, max(0, start_s), state.loaded_from_s)
            state.loaded_from_s = max(0, start_s)

    def have_described(self, state: ModelState, start_s: int, end_s: int) -> None:
        """Have all panes of [start, end) within reach, and the sums of the hours that loading them dropped."""
        self.have(state, start_s, end_s)
        if uses_hours(state.contract):
            first = -(-start_s // SECONDS_PER_HOUR) * SECONDS_PER_HOUR
            for start in range(first, end_s - SECONDS_PER_HOUR + 1, SECONDS_PER_HOUR):
                _sum_hour(state, start)

    def pick_up(self, state: ModelState, start_s: int, end_s: int) -> None:
        """Have in memory again what was set down of [start, end), to change it."""
        some = [at for at in state.set_down if start_s <= at < end_s]
        if some:
            self._restore(state, min(some), max(some) + 1, to_change=True)

    def close_hours(self, state: ModelState, before_s: int, until_s: int) -> None:
        """Sum the hours that are over when panes of [before, until) are sealed."""
        if not uses_hours(state.contract):
            return
        first = before_s // SECONDS_PER_HOUR * SECONDS_PER_HOUR
        last = until_s // SECONDS_PER_HOUR * SECONDS_PER_HOUR
        for start in range(first, last, SECONDS_PER_HOUR):
            for series in state.series.values():
                series.hours[start] = series.hour_counts(start)

    def _have_hours(self, state: ModelState, start_s: int, end_s: int) -> None:
        """Have the sums of all hours of [start, end), from panes within reach or in the warehouse."""
        for start in range(start_s // SECONDS_PER_HOUR * SECONDS_PER_HOUR, end_s, SECONDS_PER_HOUR):
            if all(start in series.hours for series in state.series.values()):
                continue
            self.have(state, start, start + SECONDS_PER_HOUR)
            _sum_hour(state, start)

    def _restore(self, state: ModelState, start_s: int, end_s: int, *, to_change: bool = False) -> None:
        """Load panes that start in [start, end) and are not held, some at a time: those of a wide model are large.

        What exceeds the budget meanwhile is set down at once, unless it is to change.
        """
        self._passing = None
        state.set_down = {at for at in state.set_down if not start_s <= at < end_s}
        for begin, end in self._store.ranges("panes", state.contract.model, start_s, end_s):
            for series, new in self._loaded(state, begin, end, partial(self.series, state)):
                series.panes.update(new)
                for at in new:
                    # What is loaded may hold more than the sum did: another process may have written it meanwhile.
                    series.hours.pop(at // SECONDS_PER_HOUR * SECONDS_PER_HOUR, None)
                    series.summaries.touch(at)
            if not to_change:
                self.set_down()

    def _read(self, state: ModelState, key: SeriesKey, start_s: int) -> Pane | None:
        """A pane that was set down, to be let go; None where none was.

        Those after it are read with it where they are small, since what is summed is summed in order.
        """
        if start_s not in state.set_down:
            return None
        passing = self._passing
        if passing is None or passing.state is not state or start_s not in passing.starts_s:
            held = min((at for series in state.series.values() for at in series.panes if at > start_s), default=NEVER_S)
            rows = sum(series.layout.n_slices * series.layout.n_fields for series in state.series.values())
            at_once = max(1, self._store.rows_at_once // rows)
            starts = sorted(at for at in state.set_down if start_s <= at < held)[:at_once]
            panes: dict[SeriesKey, dict[int, Pane]] = {}
            # None is made meanwhile: somebody goes through them.
            for series, found in self._loaded(state, start_s, starts[-1] + 1, lambda *key: state.series.get(key)):
                panes[series.version, series.baseline_id] = found
            passing = self._passing = _Passing(state, frozenset(starts), panes)
        return passing.panes.get(key, {}).get(start_s)

    def _loaded(
        self, state: ModelState, start_s: int, end_s: int, series_of: Callable[[str, str], Series | None]
    ) -> Iterator[tuple[Series, dict[int, Pane]]]:
        """The panes of [start, end) in the warehouse that are not held, per series."""
        model, volume = state.contract.model, None
        for found in self._store.load_panes(model, start_s, end_s):
            series = series_of(found.version, found.baseline_id)
            if series is None:
                continue
            new = restore_panes(series, found.table, series.panes)
            if volume is None:
                volume = self._store.load_volume(model, start_s, end_s)
            restore_volume(series, volume, new)
            for pane in new.values():
                pane.compact()
            yield series, new

    # ------------------------------------------------------------------------------------------ letting go

    def forget(self, state: ModelState) -> None:
        """Drop written panes and hours that no window ahead needs."""
        if state.sealed_until_s is None:
            return
        contract = state.contract
        keep = (state.sealed_until_s - reach_s(contract, hours=False)) // SECONDS_PER_HOUR * SECONDS_PER_HOUR
        keep_hours = state.sealed_until_s - reach_s(contract, hours=True)
        for series in state.series.values():
            for start in [at for at, pane in series.panes.items() if at < keep and not pane.dirty]:
                del series.panes[start]
            for start in [at for at in series.hours if at < keep_hours and at not in series.dirty_hours]:
                del series.hours[start]
            series.summaries.forget(series, state.sealed_until_s)
        state.set_down = {at for at in state.set_down if at >= keep}
        state.loaded_from_s = max(state.loaded_from_s, keep)

    def set_down(self) -> None:
        """Drop written panes beyond the budget, those furthest from the sealed moment first: they change last."""
        self._passing = None
        held = [
            (abs(start - (state.sealed_until_s or 0)), start, state, series)
            for state in self._states
            for series in state.series.values()
            for start, pane in series.panes.items()
            if not pane.dirty
        ]
        total = sum(series.panes[start].n_bytes for _, start, _, series in held)
        held.sort(key=lambda entry: entry[:2])
        while held and total > self._budget_bytes:
            _, start, state, series = held.pop()
            total -= series.panes.pop(start).n_bytes
            state.set_down.add(start)
        every = [series.summaries for state in self._states for series in state.series.values()]
        over_budget(every, self._budget_bytes // SUMMARIES_OF_BUDGET)


def _sum_hour(state: ModelState, start_s: int) -> None:
    """Hold the sums of an hour whose panes are within reach, where they are not held."""
    for series in state.series.values():
        if start_s not in series.hours:
            series.hours[start_s] = series.hour_counts(start_s)
