"""Judges, describes and compares the windows of a model that are due."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
from barograph.contract import Window
from numpy.typing import NDArray

from barograph_server.sketches.baseline.layout import EVENTS, IntArray
from barograph_server.sketches.baseline.levels import InsufficientReason
from barograph_server.streams.monitor.state.commit_rows import VerdictColumns
from barograph_server.streams.monitor.state.merged_ranges import MergedRange
from barograph_server.streams.monitor.state.model import ModelState
from barograph_server.streams.monitor.state.offset_ledger import OffsetLedger
from barograph_server.streams.monitor.state.pane_cache import PaneCache
from barograph_server.streams.monitor.state.series import Series
from barograph_server.streams.monitor.verdicts.compare import compare
from barograph_server.streams.monitor.verdicts.describe import describe
from barograph_server.streams.monitor.verdicts.judge import judge
from barograph_server.streams.monitor.verdicts.side_counts import number_reader
from barograph_server.streams.monitor.verdicts.sides import arm_sides, compared_ends, sort_series, version_sides
from barograph_server.streams.monitor.verdicts.window_counts import WindowSet
from barograph_server.streams.monitor.windows import TAIL, fixed_starts, judged_until_s, starts_of_last
from barograph_server.streams.registry.registry import Registry

COMPARED_TOGETHER = 16
"""Windows that are compared together: their merged sketches take about a megabyte each for 200 fields."""
SPLIT_S = 3600
"""How long after the start of its history other events of a version may be counted on the baseline that it replaced."""


class WindowJudge:
    """Judges the windows of one partition of `partials`."""

    def __init__(
        self, ledger: OffsetLedger, cache: PaneCache, registry: Callable[[], Registry], clock: Callable[[], float]
    ) -> None:
        self._ledger, self._cache, self._registry, self._clock = ledger, cache, registry, clock

    def judge(
        self,
        state: ModelState,
        series: Series,
        window: Window,
        ends_s: list[int],
        record_seq: int,
        *,
        always: NDArray[np.bool_] | None = None,
    ) -> Iterator[VerdictColumns]:
        """Judge and describe windows of one series and length, and yield verdicts as they are made.

        Args:
            ends_s: ends of the windows, ascending.
            record_seq: of the progress record that triggers the verdicts.
            always: which windows get verdicts even without events, shape (len(ends_s),); none by default.
        """
        windows = self._windows(state, window, ends_s, record_seq, partial(self._gaps, state, series))
        for drift, rates in judge(series, windows, always=always):
            yield VerdictColumns(drift=drift, rates=rates)
        shown = windows.select(np.isin(ends_s, compared_ends(window, ends_s)))
        distances = describe(series, shown, partial(self._merge_window, state, windows, series))
        yield VerdictColumns(distances=distances)

    def compare(
        self, state: ModelState, window: Window, ends_s: list[int], record_seq: int
    ) -> Iterator[VerdictColumns]:
        """Compare versions and arms of a model, in those windows of one length in which outputs are compared.

        Args:
            ends_s: ends of the windows, ascending.
            record_seq: of the progress record that triggers the comparison.
        """
        ends_s = compared_ends(window, ends_s)
        contract = state.contract
        all_series = sort_series(self._registry(), contract.model, state.series.values())
        versions, arms = version_sides(all_series), arm_sides(contract, all_series)
        if len(versions) < 2 and len(arms) < 2:
            return
        first_s = min((series.first_s for series in all_series if series.first_s is not None), default=None)
        for i in range(0, len(ends_s), COMPARED_TOGETHER):
            batch = ends_s[i : i + COMPARED_TOGETHER]
            windows = self._windows(state, window, batch, record_seq, partial(self._history_gaps, state, first_s))
            # A new reader for each batch, so that the merged windows of the batch before are freed.
            read_numbers = number_reader(partial(self._merge_window, state, windows))
            yield VerdictColumns(comparisons=compare(windows, versions, arms, read_numbers))

    def judged_ends(self, state: ModelState, window: Window, ends_s: Iterable[int]) -> list[int]:
        """Return those ends of windows that are judged: on an ended history up to the model's own last event."""
        end_s = self._history_end_s(state)
        if end_s is None:
            return list(ends_s)
        first_s = min((series.first_s for series in state.series.values() if series.first_s is not None), default=end_s)
        until_s = judged_until_s(window, first_s, end_s)
        return [each for each in ends_s if each <= until_s]

    def _history_end_s(self, state: ModelState) -> int | None:
        """Return the end of the last pane of a model whose replay has ended; None if it goes on."""
        if not self._ledger.has_ended(state.contract.model):
            return None
        return None if state.last_s is None else state.last_s + state.contract.pane_s

    def _windows(
        self,
        state: ModelState,
        window: Window,
        ends_s: list[int],
        record_seq: int,
        find_gaps: Callable[[Window, IntArray, IntArray], NDArray[np.int8]],
    ) -> WindowSet:
        """Load what windows of one length are judged by.

        Args:
            find_gaps: returns why windows are not whole by their starts and ends, as numbers of `InsufficientReason`;
                0 for whole ones.
        """
        self._cache.ensure_windows_loaded(state, window, ends_s)
        starts_s, enough = self._find_starts(state, window, ends_s)
        lost, ends = self._lost_offsets(state, starts_s, ends_s), np.array(ends_s)
        gaps = find_gaps(window, starts_s, ends)
        gaps[~enough] = InsufficientReason.too_few_events
        return WindowSet(state.contract, window, starts_s, ends, lost, gaps, record_seq, int(self._clock() * 1000))

    def _merge_window(self, state: ModelState, windows: WindowSet, series: Series, end_s: int) -> MergedRange:
        start_s = int(windows.starts_s[windows.ends_s.searchsorted(end_s)])
        return self._cache.merge_range(state, series, windows.window, start_s, end_s)

    def _find_starts(self, state: ModelState, window: Window, ends_s: list[int]) -> tuple[IntArray, NDArray[np.bool_]]:
        """Return the starts of windows, and which of them have the events that the contract requests.

        The events of all versions and baselines of the model count, so that all of them have the same windows. Late
        events do not: they would move the start of a window that was judged.
        """
        starts_s = fixed_starts(window, ends_s)
        if not window.last:
            return starts_s, np.ones(len(ends_s), dtype=bool)
        pane_s, first_s = state.contract.pane_s, int(starts_s[0])
        events = np.zeros((ends_s[-1] - first_s) // pane_s, dtype=np.int64)
        for series in state.series.values():
            for pane in series.iter_panes(first_s, ends_s[-1]):
                events[(pane.start_s - first_s) // pane_s] += int(pane.counts[0, EVENTS]) - int(pane.late[0])
        return starts_of_last(window, ends_s, pane_s, events)

    def _lost_offsets(self, state: ModelState, starts_s: IntArray, ends_s: list[int]) -> NDArray[np.float64]:
        out_of_order_ms = state.contract.out_of_order_s * 1000
        return np.array(
            [
                self._ledger.lost_offsets(start * 1000, end * 1000, out_of_order_ms)
                for start, end in zip(starts_s.tolist(), ends_s, strict=True)
            ],
            dtype=np.float64,
        )

    def _gaps(
        self, state: ModelState, series: Series, window: Window, starts_s: IntArray, ends_s: IntArray
    ) -> NDArray[np.int8]:
        """Return why windows are not whole, as numbers of `InsufficientReason`; 0 for whole ones."""
        contract, first_s, spans_of = state.contract, series.first_s, self._registry().spans
        spans = spans_of(contract.model, series.version, series.baseline_id)
        if spans and first_s is not None and starts_s[0] < first_s + SPLIT_S:
            # Sketchers learn of a first baseline within a pane, whose earlier events are on the one that it replaced.
            others = (each for each in state.series.values() if each.version == series.version)
            replaced = [each for each in others if not spans_of(contract.model, each.version, each.baseline_id)]
            panes = [pane for each in replaced for pane in each.iter_panes(first_s, first_s + SPLIT_S)]
            split_s = (pane.start_s for pane in panes if pane.counts[0, EVENTS] > pane.late[0])
            first_s = max((start_s + contract.pane_s for start_s in split_s), default=first_s)
        gaps = self._history_gaps(state, first_s, window, starts_s, ends_s)
        if spans:
            one_baseline = np.logical_or.reduce([(starts_s >= begin) & (ends_s <= end) for begin, end in spans])
            gaps[~one_baseline] = InsufficientReason.baseline_change
        return gaps

    def _history_gaps(
        self, state: ModelState, first_s: int | None, window: Window, starts_s: IntArray, ends_s: IntArray
    ) -> NDArray[np.int8]:
        """Return which windows are `partly_recorded`: they begin before a history, or end after that of a replay.

        A replay ends for each model with its own last event. A window of the last events may end after it.
        """
        if first_s is None:
            return np.full(len(ends_s), InsufficientReason.partly_recorded, dtype=np.int8)
        within: NDArray[np.bool_] = starts_s >= first_s
        end_s = self._history_end_s(state)
        if end_s is not None and not window.last:
            within &= ends_s <= end_s + window.length_s // TAIL
        return np.where(within, InsufficientReason.none, InsufficientReason.partly_recorded).astype(np.int8)
