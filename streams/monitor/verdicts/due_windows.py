"""Windows of a model that are due → their rows: what their series are judged by, and how far the record reaches."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from barograph.contract import Window
from numpy.typing import NDArray

from streams.monitor.state.model import ModelState
from streams.monitor.state.offset_ledger import OffsetLedger
from streams.monitor.state.pane_cache import PaneCache
from streams.monitor.state.series import Series
from streams.monitor.state.store import Columns, Writes
from streams.monitor.verdicts.compare import Judged, compare
from streams.monitor.verdicts.describe import describe
from streams.monitor.verdicts.judge import judge
from streams.monitor.verdicts.numbers import summary_reader
from streams.monitor.verdicts.sides import arm_sides, compared_ends, in_order, version_sides
from streams.registry.registry import Registry

MOST_ROWS = 25_000
"""Verdicts, some 200 bytes each, that wait for the rest of their commit."""
COMPARED_AT_ONCE = 16
"""Windows whose sketches are in memory together while they are compared: about a megabyte each for 200 fields."""


class Verdicts:
    """Judges the windows of one partition of `partials`.

    Args:
        offset ledger: what was lost, and whether history has ended.
        memory: has panes and hours within reach.
        registry: the contracts and baselines in force.
        clock: the wall clock.
        write_ahead: writes verdicts before the rest of their commit, where they are many; without it they all wait.
    """

    def __init__(
        self,
        ledger: OffsetLedger,
        memory: PaneCache,
        registry: Callable[[], Registry],
        clock: Callable[[], float],
        write_ahead: Callable[[Writes], None] | None = None,
    ) -> None:
        self._ledger, self._memory, self._registry, self._clock = ledger, memory, registry, clock
        self._write_ahead = write_ahead

    def judge(
        self,
        state: ModelState,
        series: Series,
        window: Window,
        ends_s: list[int],
        record_seq: int,
        writes: Writes,
        *,
        always: NDArray[np.bool_] | None = None,
    ) -> None:
        """Judge and describe windows of one series and length.

        Args:
            state: of the model.
            series: one of its series.
            window: length and hop.
            ends_s: ends of the windows, ascending.
            record_seq: of the progress record that gave rise to the verdicts.
            writes: takes the rows.
            always: which windows get verdicts without any event too, shape (len(ends_s),); none by default.
        """
        self._memory.have_windows(state, window, ends_s)
        lost = self._lost(state, window, ends_s)
        whole = self._whole(state, series, window, np.array(ends_s))
        if always is None:
            always = np.zeros(len(ends_s), dtype=bool)
        now_ms = int(self._clock() * 1000)
        for drift, rates in judge(series, window, ends_s, lost, whole, record_seq, now_ms, always=always):
            _keep(writes.drift, drift)
            _keep(writes.rates, rates)
            self._relieve(writes)
        have = partial(self._memory.have_described, state)
        _keep(writes.distances, describe(series, window, ends_s, lost, whole, record_seq, now_ms, have))

    def _relieve(self, writes: Writes) -> None:
        """Write verdicts ahead of the rest of their commit where they are many.

        They come first in a commit anyway, and after a crash the same are made again.
        """
        if (
            self._write_ahead is None
            or sum(len(rows["record_seq"]) for rows in (*writes.drift, *writes.rates)) < MOST_ROWS
        ):
            return
        self._write_ahead(Writes(drift=writes.drift, rates=writes.rates))
        writes.drift, writes.rates = [], []

    def compare(self, state: ModelState, window: Window, ends_s: list[int], record_seq: int, writes: Writes) -> None:
        """Compare versions and arms of a model, in those of the windows in which outputs are compared at all."""
        ends = compared_ends(window, ends_s)
        contract = state.contract
        every = in_order(self._registry(), contract.model, state.series.values())
        versions, arms = version_sides(every), arm_sides(contract, every)
        if len(versions) < 2 and len(arms) < 2:
            return
        first_s = min((series.first_s for series in every if series.first_s is not None), default=None)
        for i in range(0, len(ends), COMPARED_AT_ONCE):
            some = ends[i : i + COMPARED_AT_ONCE]
            self._memory.have_windows(state, window, some)
            judged = Judged(
                contract,
                window,
                np.array(some),
                self._lost(state, window, some),
                self._recorded(state, first_s, window, np.array(some)),
                record_seq,
                int(self._clock() * 1000),
            )
            # What is merged for some windows is let go before the next.
            values = summary_reader(window, partial(self._memory.have_described, state))
            rows = compare(judged, versions, arms, values)
            _keep(writes.comparisons, rows)

    def _lost(self, state: ModelState, window: Window, ends_s: list[int]) -> NDArray[np.float64]:
        out_of_order_ms = state.contract.out_of_order_s * 1000
        return np.array(
            [self._ledger.lost_offsets((end - window.length_s) * 1000, end * 1000, out_of_order_ms) for end in ends_s],
            dtype=np.float64,
        )

    def _whole(self, state: ModelState, series: Series, window: Window, ends_s: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which windows lie within the record of a series, and not over the change to another baseline."""
        whole = self._recorded(state, series.first_s, window, ends_s)
        spans = self._registry().spans(state.contract.model, series.version, series.baseline_id)
        if spans:
            starts_s = ends_s - window.length_s
            whole &= np.logical_or.reduce([(starts_s >= begin) & (ends_s <= end) for begin, end in spans])
        return whole

    def _recorded(
        self, state: ModelState, first_s: int | None, window: Window, ends_s: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Which windows lie within a record: not before its first event, not beyond the end of a replay."""
        if first_s is None:
            return np.zeros(len(ends_s), dtype=bool)
        whole: NDArray[np.bool_] = ends_s - window.length_s >= first_s
        if self._ledger.has_ended(state.contract.model):
            last_s = max(state.pane_starts(), default=None)
            if last_s is not None:
                whole &= ends_s <= last_s + state.contract.pane_s
        return whole


def _keep(into: list[Columns], rows: Columns | None) -> None:
    if rows is not None:
        into.append(rows)
