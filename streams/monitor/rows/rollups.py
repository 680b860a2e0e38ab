"""Hourly and daily rollups of panes, and the names of new categories.

A rollup is written when all of its panes are sealed, and again when a late event changes it. Hours are merged from
panes; days from hours, those of the current commit and those in the warehouse.
"""

from collections.abc import Callable, Iterator
from functools import partial, reduce

import numpy as np
from barograph.contract import SECONDS_PER_HOUR

from barograph_server.streams.monitor.rows.pane_rows import category_columns, pane_pages
from barograph_server.streams.monitor.state.commit_rows import TableColumns
from barograph_server.streams.monitor.state.merging import (
    PaneMerger,
    UnseenSketch,
    merge_panes,
    merge_unseen,
    newer_rows,
)
from barograph_server.streams.monitor.state.model import ModelState, SeriesKey
from barograph_server.streams.monitor.state.pane import Pane
from barograph_server.streams.monitor.state.pane_cache import PaneCache
from barograph_server.streams.monitor.state.restore import restore_panes
from barograph_server.streams.monitor.state.series import Series
from barograph_server.streams.monitor.state.store import Store
from barograph_server.streams.monitor.windows import SECONDS_PER_DAY, has_days, hour_s, starts_between

Hours = dict[SeriesKey, dict[int, Pane]]
MAX_REWRITE_TIMES = 1_000
"""So many times of rewritten days are remembered before outdated ones are dropped."""


def mark_sealed(state: ModelState, before_s: int, until_s: int) -> None:
    """Queue the rollups that sealing the panes of [before, until) may complete."""
    contract = state.contract
    for series in state.series.values():
        series.dirty_hours.update(starts_between(hour_s(contract), before_s, until_s))
    if has_days(contract):
        for day_s in starts_between(SECONDS_PER_DAY, before_s, until_s):
            state.dirty_days.setdefault(day_s, None)


def mark_late(state: ModelState, series: Series, pane_start_s: int, offset: int, *, ended: bool) -> None:
    """Queue the rollups that contain a pane which the late record at `offset` changed."""
    contract = state.contract
    series.dirty_hours.add(_floor(pane_start_s, hour_s(contract)))
    day_s = _floor(pane_start_s, SECONDS_PER_DAY)
    # An unfinished day is written once it is over. Withholding the acknowledgement until then would protect nothing.
    if has_days(contract) and is_closed(state, day_s + SECONDS_PER_DAY, ended=ended):
        first = state.dirty_days.get(day_s)
        state.dirty_days[day_s] = offset if first is None else first


def is_closed(state: ModelState, end_s: int, *, ended: bool) -> bool:
    """Whether every pane before `end_s` is sealed; all are if the history has ended."""
    return ended or end_s <= (state.sealed_until_s or 0)


class Rollups:
    """Makes the rollups of one partition of `partials`.

    Args:
        revise_s: shortest time between two writes of one day because of late events.
        clock: seconds that never go back.
    """

    def __init__(
        self, partition: int, store: Store, cache: PaneCache, revise_s: float, clock: Callable[[], float]
    ) -> None:
        self._partition, self._store, self._cache = partition, store, cache
        self._revise_s, self._clock = revise_s, clock

    def open_hour_rows(self, state: ModelState, series: Series, dirty: list[Pane]) -> Iterator[TableColumns]:
        """Yield the new categories of the open hours that contain changed panes."""
        length_s = hour_s(state.contract)
        sketches: list[UnseenSketch] = []
        for start_s in sorted({_floor(pane.start_s, length_s) for pane in dirty}):
            starts_s = range(start_s, start_s + length_s, state.contract.pane_s)
            if is_closed(state, start_s + length_s, ended=False) or not state.evicted.isdisjoint(starts_s):
                continue
            sketches += merge_unseen(series, start_s, [series.panes[at] for at in starts_s if at in series.panes])
        yield from _new_categories(series, sketches, length_s)

    def closed_rows(self, state: ModelState, *, ended: bool) -> Iterator[TableColumns]:
        """Yield the due rollups of hours and days that are over, and the new categories of these hours."""
        length_s = hour_s(state.contract)
        closed = {
            key: {at_s for at_s in series.dirty_hours if is_closed(state, at_s + length_s, ended=ended)}
            for key, series in state.series.items()
        }
        due_days = self._pop_due_days(state, ended=ended)
        days = due_days.union(*({_floor(at_s, SECONDS_PER_DAY) for at_s in hours} for hours in closed.values()))
        for day_s in sorted(days):
            of_day = {
                key: sorted(at_s for at_s in hours if _floor(at_s, SECONDS_PER_DAY) == day_s)
                for key, hours in closed.items()
            }
            for start_s in sorted({at_s for hours in of_day.values() for at_s in hours}):
                self._cache.ensure_loaded(state, start_s, start_s + length_s)
            rollups: Hours = {}
            for key, starts_s in of_day.items():
                series = state.series[key]
                rollups[key] = self._merge_hours(state, series, starts_s)
                yield from self._hour_rows(state, series, rollups[key])
            if day_s in due_days:
                yield from self._day_rows(state, day_s, rollups)
        for key, hours in closed.items():
            state.series[key].dirty_hours.difference_update(hours)

    def _merge_hours(self, state: ModelState, series: Series, starts_s: list[int]) -> dict[int, Pane]:
        """Merge hours whose panes are readable; those without events are left out."""
        length_s = hour_s(state.contract)
        merged = {at_s: merge_panes(series, at_s, series.iter_panes(at_s, at_s + length_s)) for at_s in starts_s}
        return {at_s: pane for at_s, pane in merged.items() if pane is not None}

    def _hour_rows(self, state: ModelState, series: Series, hours: dict[int, Pane]) -> Iterator[TableColumns]:
        length_s = hour_s(state.contract)
        if state.contract.pane_s < length_s:
            for hour in hours.values():
                self._cache.store_rollup(series, length_s, hour)
            yield from self._rollup_rows(series, list(hours.values()), length_s)
        sketches = [sketch for at_s, hour in hours.items() for sketch in merge_unseen(series, at_s, [hour])]
        yield from _new_categories(series, sketches, length_s)

    def _day_rows(self, state: ModelState, day_s: int, hours: Hours) -> Iterator[TableColumns]:
        end_s = day_s + SECONDS_PER_DAY
        if state.contract.pane_s < SECONDS_PER_HOUR:
            days = self._merge_hours_of_day(state, day_s, hours)
        else:
            self._cache.ensure_loaded(state, day_s, end_s)
            days = {
                key: merge_panes(series, day_s, series.iter_panes(day_s, end_s)) for key, series in state.series.items()
            }
        for key, series in sorted(state.series.items()):
            day = days.get(key)
            yield from self._rollup_rows(series, [] if day is None else [day], SECONDS_PER_DAY)

    def _merge_hours_of_day(self, state: ModelState, day_s: int, hours: Hours) -> dict[SeriesKey, Pane | None]:
        """Merge the hours of a day: those of this commit, and the others from the warehouse in several queries."""
        mergers: dict[SeriesKey, PaneMerger] = {}
        for begin_s, end_s in self._store.load_ranges("rollups", state.contract.model, day_s, day_s + SECONDS_PER_DAY):
            stored = self._load_hours(state, begin_s, end_s)
            for key in hours.keys() | stored.keys():
                series, sources = state.series[key], (hours.get(key, {}), stored.get(key, {}))
                for start_s in sorted(
                    at_s for at_s in sources[0].keys() | sources[1].keys() if begin_s <= at_s < end_s
                ):
                    if key not in mergers:
                        mergers[key] = PaneMerger(series, day_s)
                    # Another process may have written a later state of the hour than this one has.
                    states = [source[start_s] for source in sources if start_s in source]
                    mergers[key].add(reduce(partial(newer_rows, series), states))
        return {key: merger.finish() for key, merger in mergers.items()}

    def _load_hours(self, state: ModelState, start_s: int, end_s: int) -> Hours:
        hours: Hours = {}
        for loaded in self._store.load_hours(state.contract.model, start_s, end_s):
            series = self._cache.get_series(state, loaded.version, loaded.baseline_id)
            if series is not None:
                panes = hours[loaded.version, loaded.baseline_id] = restore_panes(series, loaded.table)
                for pane in panes.values():
                    pane.narrow_counts()
        return hours

    def _pop_due_days(self, state: ModelState, *, ended: bool) -> set[int]:
        """Remove the days that are due from the queue, and return them."""
        now_s = self._clock()
        due = {
            day_s
            for day_s, late_offset in state.dirty_days.items()
            if is_closed(state, day_s + SECONDS_PER_DAY, ended=ended)
            and (late_offset is None or now_s - state.rewritten_days_s.get(day_s, -np.inf) >= self._revise_s)
        }
        for day_s in due:
            if state.dirty_days.pop(day_s) is not None:
                state.rewritten_days_s[day_s] = now_s
        if len(state.rewritten_days_s) > MAX_REWRITE_TIMES:
            state.rewritten_days_s = {
                day_s: at_s for day_s, at_s in state.rewritten_days_s.items() if now_s - at_s < self._revise_s
            }
        return due

    def _rollup_rows(self, series: Series, rollups: list[Pane], pane_s: int) -> Iterator[TableColumns]:
        sealed = np.ones(len(rollups), dtype=bool)
        for page in pane_pages(series, rollups, self._partition, pane_s, sealed):
            yield "rollups", page


def _new_categories(series: Series, sketches: list[UnseenSketch], length_s: int) -> Iterator[TableColumns]:
    columns = category_columns(series, sketches, length_s)
    if columns is not None:
        yield "new_categories", columns


def _floor(at_s: int, length_s: int) -> int:
    return at_s // length_s * length_s
