"""Panes → hourly and daily roll-ups and the names of new categories.

An hour or day is written when all of its panes are sealed, and again whenever a late event touches it. Hours are merged
from panes; days from hours, those of the present commit and those that stand in the warehouse.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np
from barograph.contract import SECONDS_PER_HOUR

from streams.monitor.rows.pane_rows import category_columns, pane_pages
from streams.monitor.state.merging import Merging, merged
from streams.monitor.state.model import ModelState, SeriesKey
from streams.monitor.state.restore import restore_panes
from streams.monitor.state.series import Pane, Series
from streams.monitor.state.store import Columns, Store, Writes
from streams.monitor.windows import SECONDS_PER_DAY, has_days, hour_s, starts_between

Hours = dict[SeriesKey, dict[int, Pane]]
"""Per series its hours by start."""


def mark_sealed(state: ModelState, before_s: int, until_s: int) -> None:
    """Note that the panes of [before, until) were sealed: what they complete is to be written."""
    contract = state.contract
    for series in state.series.values():
        series.dirty_hours.update(starts_between(hour_s(contract), before_s, until_s))
    if has_days(contract):
        for day_s in starts_between(SECONDS_PER_DAY, before_s, until_s):
            state.dirty_days.setdefault(day_s, None)


def touch(state: ModelState, series: Series, pane_start_s: int, offset: int, *, ended: bool) -> None:
    """Note that a late record changed a pane: its hour is to be written again, and its day if that was written."""
    contract = state.contract
    series.dirty_hours.add(_start(pane_start_s, hour_s(contract)))
    day_s = _start(pane_start_s, SECONDS_PER_DAY)
    # A day that is not over is written when it is; holding back acknowledgements until then would help nobody.
    if has_days(contract) and is_closed(state, day_s + SECONDS_PER_DAY, ended=ended):
        first = state.dirty_days.get(day_s)
        state.dirty_days[day_s] = offset if first is None else first


def is_closed(state: ModelState, end_s: int, *, ended: bool) -> bool:
    """Whether every pane up to a moment is sealed; when history has ended all are."""
    return ended or end_s <= (state.sealed_until_s or 0)


class Rollups:
    """Writes the roll-ups of one partition of `partials`.

    Args:
        partition: of `partials`.
        store: where hours of earlier commits are.
        series_of: finds the series of a model by version and baseline; None where the baseline is not known.
        have: has the panes of a model within reach that start in [start, end).
        revise_s: late events have one day written again no more often than this.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        partition: int,
        store: Store,
        series_of: Callable[[ModelState, str, str], Series | None],
        have: Callable[[ModelState, int, int], None],
        revise_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._partition, self._store, self._series_of, self._have = partition, store, series_of, have
        self._revise_s, self._clock = revise_s, clock

    def collect_open(self, state: ModelState, series: Series, dirty: list[Pane], writes: Writes) -> None:
        """Name the new categories of hours that are not over yet, by what has come so far."""
        length_s = hour_s(state.contract)
        named = []
        for start_s in sorted({_start(pane.start_s, length_s) for pane in dirty}):
            at = range(start_s, start_s + length_s, state.contract.pane_s)
            if is_closed(state, start_s + length_s, ended=False) or not state.set_down.isdisjoint(at):
                continue
            named += series.unseen(start_s, [series.panes[each] for each in at if each in series.panes])
        _append(writes.new_categories, category_columns(series, named, length_s))

    def collect(self, state: ModelState, writes: Writes, *, ended: bool) -> None:
        """Write the hours that are over, their new categories, and the days that are over."""
        length_s = hour_s(state.contract)
        over = {
            key: {at for at in series.dirty_hours if is_closed(state, at + length_s, ended=ended)}
            for key, series in state.series.items()
        }
        due = self._due_days(state, ended=ended)
        for day_s in sorted(due.union(*({_start(at, SECONDS_PER_DAY) for at in each} for each in over.values()))):
            of_day = {
                key: sorted(at for at in each if _start(at, SECONDS_PER_DAY) == day_s) for key, each in over.items()
            }
            for start_s in sorted({at for each in of_day.values() for at in each}):
                self._have(state, start_s, start_s + length_s)
            hours = {key: self._hours(state, state.series[key], each, writes) for key, each in of_day.items()}
            if day_s in due:
                self._day(state, day_s, hours, writes)
        for key, each in over.items():
            state.series[key].dirty_hours.difference_update(each)

    def _hours(self, state: ModelState, series: Series, starts_s: list[int], writes: Writes) -> dict[int, Pane]:
        """Write hours whose panes are within reach; return those in which anything came."""
        length_s = hour_s(state.contract)
        found = {at: merged(series, at, series.every(at, at + length_s)) for at in starts_s}
        rolled = {at: pane for at, pane in found.items() if pane is not None}
        if state.contract.pane_s < length_s:
            for pane in rolled.values():
                series.summaries.offer(series, length_s, pane)
            self._write(series, list(rolled.values()), length_s, writes)
        named = [each for at, pane in rolled.items() for each in series.unseen(at, [pane])]
        _append(writes.new_categories, category_columns(series, named, length_s))
        return rolled

    def _day(self, state: ModelState, day_s: int, hours: Hours, writes: Writes) -> None:
        """Write a day of every series."""
        if state.contract.pane_s < SECONDS_PER_HOUR:
            days = self._of_hours(state, day_s, hours)
        else:
            end_s = day_s + SECONDS_PER_DAY
            self._have(state, day_s, end_s)
            days = {key: merged(series, day_s, series.every(day_s, end_s)) for key, series in state.series.items()}
        for key, series in sorted(state.series.items()):
            day = days.get(key)
            self._write(series, [] if day is None else [day], SECONDS_PER_DAY, writes)

    def _of_hours(self, state: ModelState, day_s: int, hours: Hours) -> dict[SeriesKey, Pane | None]:
        """Merge the hours of a day, those of this commit with the others in the warehouse, some at a time."""
        merging: dict[SeriesKey, Merging] = {}
        for begin, end in self._store.ranges("rollups", state.contract.model, day_s, day_s + SECONDS_PER_DAY):
            stored = self._stored_hours(state, begin, end)
            for key in hours.keys() | stored.keys():
                series, both = state.series[key], (hours.get(key, {}), stored.get(key, {}))
                for start_s in sorted(at for at in both[0].keys() | both[1].keys() if begin <= at < end):
                    if key not in merging:
                        merging[key] = Merging(series, day_s)
                    # Another process may have written a later state of an hour than this one has come to.
                    merging[key].add(reduce(series.newest, (each[start_s] for each in both if start_s in each)))
        return {key: each.done() for key, each in merging.items()}

    def _stored_hours(self, state: ModelState, start_s: int, end_s: int) -> Hours:
        """The hours of [start, end) in the warehouse."""
        found: Hours = {}
        for loaded in self._store.load_hours(state.contract.model, start_s, end_s):
            series = self._series_of(state, loaded.version, loaded.baseline_id)
            if series is not None:
                panes = found[loaded.version, loaded.baseline_id] = restore_panes(series, loaded.table)
                for pane in panes.values():
                    pane.compact()
        return found

    def _due_days(self, state: ModelState, *, ended: bool) -> set[int]:
        """Take out the days that are to be written now."""
        now = self._clock()
        due = {
            day_s
            for day_s, late_from in state.dirty_days.items()
            if is_closed(state, day_s + SECONDS_PER_DAY, ended=ended)
            and (late_from is None or now - state.revised_days_s.get(day_s, -np.inf) >= self._revise_s)
        }
        for day_s in due:
            if state.dirty_days.pop(day_s) is not None:
                state.revised_days_s[day_s] = now
        if len(state.revised_days_s) > 1_000:
            state.revised_days_s = {d: at for d, at in state.revised_days_s.items() if now - at < self._revise_s}
        return due

    def _write(self, series: Series, panes: list[Pane], pane_s: int, writes: Writes) -> None:
        writes.rollups += pane_pages(series, panes, self._partition, pane_s, np.ones(len(panes), dtype=bool))


def _start(at_s: int, length_s: int) -> int:
    return at_s // length_s * length_s


def _append(into: list[Columns], columns: Columns | None) -> None:
    if columns is not None:
        into.append(columns)
