"""Summarises the events of a flush by model, version, baseline and pane."""

from collections.abc import Iterator, Sequence

import numpy as np
from barograph.contract import Contract
from barograph.events import PublisherHeartbeat
from numpy.typing import NDArray

from barograph_server.sketches.baseline.baseline import OTHER
from barograph_server.sketches.baseline.layout import IntArray
from barograph_server.streams.events.columns import EventColumns, ProducerArrivals, encode_versions
from barograph_server.streams.registry.registry import Registry
from barograph_server.streams.sketcher.count_panes import SeriesCoder, summarise_panes
from barograph_server.streams.sketcher.pane_summary import PaneKey, PaneSummary
from barograph_server.streams.tallies import ErrorSlices, FlushTallies

ARM = "arm"
"""Source of the slice dimension by which errors are counted by kind."""
MAX_PANES_AT_ONCE = 512
"""Panes counted in one array, which bounds the memory of a replay."""

MAX_VERSIONS = 50
"""Unregistered versions that one flush counts separately for each model; all others are counted as `other`."""
MAX_VERSION_CHARS = 200
"""Longest name of an unregistered version that is counted separately: every row of its panes stores the name."""


class FlushSummaries:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._series: dict[str, SeriesCoder] = {}
        self.panes: dict[PaneKey, PaneSummary] = {}
        self.tallies = FlushTallies()
        self.unwatched = 0
        """Events of models with a contract and no baseline: recorded raw, not summarised."""
        self.n_bytes = 0
        """Approximate size of the panes in memory."""
        self._unregistered: dict[str, set[str]] = {}
        """Model → its unregistered versions that are counted separately."""

    def add(self, events: EventColumns) -> None:
        self._limit_versions(events)
        contract = self._registry.contracts[events.model]
        pane_ms = contract.pane_s * 1000
        pane = events.at_ms // pane_ms
        for code, version in enumerate(events.versions):
            of_version = events.version_code == code if len(events.versions) > 1 else None
            for series, mask in self._by_baseline(events.model, version, pane, contract.pane_s, of_version):
                if series is None:
                    self.unwatched += len(events) if mask is None else int(mask.sum())
                    continue
                rows = events if mask is None else events.take(mask)
                self._add_series(rows, contract, version, *series)

    def _limit_versions(self, events: EventColumns) -> None:
        """Count versions beyond the limits as `other`: each version has panes in every stage."""
        registered = self._registry.baselines.get(events.model, {})
        unregistered = self._unregistered.setdefault(events.model, set())
        names = []
        for version in events.versions:
            if version not in registered and version not in unregistered:
                if len(version) > MAX_VERSION_CHARS or len(unregistered) >= MAX_VERSIONS:
                    version = OTHER
                else:
                    unregistered.add(version)
            names.append(version)
        if len(set(names)) < len(names) or OTHER in names:
            events.versions, code = encode_versions(names)
            events.version_code = code[events.version_code]

    def add_arrivals(self, arrivals: ProducerArrivals) -> None:
        """Add producer numbers, whether or not their events are summarised."""
        self.tallies.add_arrivals(arrivals, self._registry.contracts[arrivals.model].pane_s)

    def add_heartbeats(self, heartbeats: Sequence[tuple[PublisherHeartbeat, int]]) -> None:
        """Add the heartbeats of models with a contract, each with the time at which Kafka received it, in ms."""
        for heartbeat, received_ms in heartbeats:
            if heartbeat.model in self._registry.contracts:
                self.tallies.add_heartbeat(heartbeat, received_ms)

    def _by_baseline(
        self, model: str, version: str, pane: IntArray, pane_s: int, of_version: NDArray[np.bool_] | None
    ) -> Iterator[tuple[tuple[str, bool] | None, NDArray[np.bool_] | None]]:
        """Yield the baseline in force for a version's panes, each with a mask of its events, or None for all events."""
        history, unregistered = self._registry.effective(model, version)
        if not history:
            yield None, of_version
            return
        if len(history) == 1:
            yield (history[0].baseline_id, unregistered), of_version
            return
        starts = np.array([entry.effective_from_s for entry in history[1:]])
        index = np.searchsorted(starts, pane * pane_s, side="right")
        for i, entry in enumerate(history):
            mask = index == i if of_version is None else (index == i) & of_version
            if mask.any():
                yield (entry.baseline_id, unregistered), mask

    def _add_series(
        self, events: EventColumns, contract: Contract, version: str, baseline_id: str, unregistered: bool
    ) -> None:
        if not len(events):
            return
        series = self._series.get(baseline_id)
        if series is None:
            series = self._series[baseline_id] = SeriesCoder(self._registry.layouts[baseline_id], contract)
        self._add_errors(events, contract, version, baseline_id, series)
        pane = events.at_ms // (contract.pane_s * 1000)
        distinct, group = _number_panes(pane)
        if (group[1:] < group[:-1]).any():
            order = np.argsort(group, kind="stable")
            events, group = events.take(order), group[order]
        for first in range(0, len(distinct), MAX_PANES_AT_ONCE):
            last = min(first + MAX_PANES_AT_ONCE, len(distinct))
            lo, hi = np.searchsorted(group, [first, last])
            rows = events if hi - lo == len(events) else events.take(np.arange(lo, hi))
            summaries = summarise_panes(
                rows, series, group[lo:hi] - first, last - first, pane_s=contract.pane_s, unregistered=unregistered
            )
            for pane_number, summary in zip(distinct[first:last].tolist(), summaries, strict=True):
                self._merge(PaneKey(events.model, version, baseline_id, pane_number * contract.pane_s), summary)

    def _add_errors(
        self, events: EventColumns, contract: Contract, version: str, baseline_id: str, series: SeriesCoder
    ) -> None:
        if events.error_kinds is None or not events.errors.any():
            return
        failed = events.take(events.errors)
        arms = [
            ErrorSlices(series.layout.slices[start : start + coder.n_values + 1], coder.codes(failed))
            for dimension, (coder, start) in zip(series.layout.baseline.dimensions, series.dimensions, strict=True)
            if dimension.source == ARM
        ]
        key = (events.model, version, baseline_id)
        assert failed.error_kinds is not None
        self.tallies.add_errors(key, contract.pane_s, failed.at_ms, failed.error_kinds, arms)

    def _merge(self, key: PaneKey, summary: PaneSummary) -> None:
        pane = self.panes.get(key)
        if pane is None:
            self.panes[key] = summary
            self.n_bytes += summary.n_bytes
        else:
            pane.merge(summary)


def _number_panes(pane: IntArray) -> tuple[IntArray, IntArray]:
    """Return the distinct panes of n events, ascending, and the index of each event's pane among them, shape (n,)."""
    first, last = int(pane.min()), int(pane.max())
    if last - first >= max(len(pane), MAX_PANES_AT_ONCE):
        return np.unique(pane, return_inverse=True)
    present = np.bincount(pane - first) > 0
    return np.flatnonzero(present) + first, (np.cumsum(present) - 1)[pane - first]
