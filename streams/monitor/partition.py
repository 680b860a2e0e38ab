"""The monitor's work on one partition of `partials`: merge, seal, judge, and say what to write and how far to acknowledge.

No Kafka and no Faust here: records come in with their offsets, rows go out. Everything that is decided follows from the
records and the rows, so that a crash anywhere leads to the same rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import structlog
from barograph.contract import Window
from numpy.typing import NDArray

from streams.monitor.rows.pane_rows import (
    MAX_MS,
    PANES_PER_INSERT,
    ledger_rows,
    loss_rows,
    pane_pages,
    silent_columns,
    volume_columns,
)
from streams.monitor.rows.rollups import Rollups, mark_sealed, touch
from streams.monitor.rows.tally_rows import add_tallies
from streams.monitor.rows.violation_rows import violation_columns
from streams.monitor.state.model import ModelState, SeriesKey
from streams.monitor.state.offset_ledger import ENDED_MS, SEQ_EPOCH_BITS, make_record_seq
from streams.monitor.state.pane_cache import PANE_BUDGET_BYTES, PaneCache
from streams.monitor.state.series import Series
from streams.monitor.state.store import Store, Writes
from streams.monitor.verdicts.due_windows import Verdicts
from streams.monitor.windows import all_ends, ends_covering, last_end_s
from streams.records import Partial, Progress, RecordError, Tally
from streams.registry.registry import Registry
from streams.topics import partials_partition

log = structlog.get_logger()

RESKETCHED = "covers offsets that were sketched before: offsets of the sketcher were reset"


@dataclass(frozen=True, slots=True)
class Dead:
    """A record that is put aside, and why."""

    offset: int
    reason: str
    code: str
    """The reason as metrics tell it."""


class PartitionState:
    """The state of one partition of `partials`; made when it is assigned, thrown away when it is revoked."""

    def __init__(
        self,
        partition: int,
        n_partitions: int,
        partials_topic_id: str,
        store: Store,
        registry: Callable[[], Registry],
        *,
        live: bool,
        write_s: float = 10.0,
        revise_s: float = 60.0,
        budget_bytes: int = PANE_BUDGET_BYTES,
        write_ahead: Callable[[Writes], None] | None = None,
        clock: Callable[[], float] = time.time,
        pace: Callable[[], float] | None = None,
    ) -> None:
        """Load the state of a partition.

        Args:
            partition: of `partials`.
            n_partitions: how many `partials` has.
            partials_topic_id: Kafka's id of it.
            store: where the state is.
            registry: contracts and baselines in force.
            live: whether idle partitions count as read.
            write_s: how often unsealed panes are written.
            revise_s: how often a window is revised at most.
            budget_bytes: of panes in memory.
            write_ahead: as `Verdicts` takes it.
            clock: Unix seconds, for what is said of rows.
            pace: seconds that never go back, for what is done every so often; the clock where it is not given.
        """
        self._partition, self._n_partitions = partition, n_partitions
        self._partials_topic_id = partials_topic_id
        self._registry = registry
        self._live, self._write_s, self._revise_s = live, write_s, revise_s
        self._clock, self._pace = clock, pace or clock
        self._models: dict[str, ModelState] = {}
        # The offset ledger first, then panes: the other way round a stale process's watermarks would meet incomplete panes.
        self._ledger, self._epoch = store.load_ledger(partition, partials_topic_id)
        self._done = self._ledger.newest_record_seq()
        """What was done with records up to here is in the panes that are loaded: merged, or put aside."""
        self._written_s = self._pace()
        self._tallied: list[tuple[Tally, int]] = []
        """What is not written yet, each with its `record_seq`."""
        self._memory = PaneCache(store, registry, budget_bytes)
        self._verdicts = Verdicts(self._ledger, self._memory, registry, clock, write_ahead)
        self._rollups = Rollups(partition, store, self._memory.series, self._memory.have, revise_s, self._pace)
        self.late_events = 0
        """Since whoever reports them took them."""

    # ---------------------------------------------------------------------------------------------- records

    def partial(self, partial: Partial, offset: int) -> Dead | None:
        """Merge a part; return it as dead where it cannot be."""
        record_seq = make_record_seq(self._epoch, offset)
        if self._resketched(partial, record_seq):
            return Dead(offset, RESKETCHED, "re-sketch")
        state = self._model(partial.model)
        if state is None:
            return Dead(offset, f"no contract of model {partial.model} is applied", "unregistered")
        series = self._memory.series(state, partial.version, partial.baseline_id)
        if series is None:
            return Dead(offset, f"no baseline {partial.baseline_id} is applied", "unregistered")
        end_s = partial.pane_start_s + partial.pane_s
        late = state.sealed_until_s is not None and end_s <= state.sealed_until_s
        changed = False
        if record_seq > self._done:
            try:
                series.fit(partial)
                pane = self._memory.pane(state, series, partial.pane_start_s)
                changed = series.merge(pane, partial, record_seq, late=late)
            except RecordError as error:
                return Dead(offset, str(error), "misfit")
        if late:
            if changed and partial.slice_from == 0 and partial.field_from == 0:
                self.late_events += int(partial.counts[0, 0])
            # Also what was merged before marks its windows: the verdicts may not have been written then.
            self._touch(state, series, partial.pane_start_s, offset)
        return None

    def tally(self, tally: Tally, offset: int) -> Dead | None:
        """Take in what was counted beside the panes; return it as dead where it was counted before.

        Nothing is added up here: its rows carry their `record_seq` in the key, so that a record which comes again replaces
        its own rows.
        """
        record_seq = make_record_seq(self._epoch, offset)
        if self._resketched(tally, record_seq):
            return Dead(offset, RESKETCHED, "re-sketch")
        self._tallied.append((tally, record_seq))
        return None

    def _resketched(self, record: Partial | Tally, record_seq: int) -> bool:
        return any(
            self._ledger.resketched(r.partition, r.start, record.source_topic_id, record_seq) for r in record.ranges
        )

    def progress(self, progress: Progress, offset: int, received_ms: int | None = None) -> tuple[Writes | None, int]:
        """Follow a progress record: seal, judge, revise.

        Args:
            progress: the record.
            offset: of it.
            received_ms: when Kafka took it (Unix ms); None where that is not known.

        Returns:
            What to write (None: nothing yet), and the offset up to which (exclusive) records may be acknowledged
            once that is written; without anything to write nothing may be.
        """
        record_seq = make_record_seq(self._epoch, offset)
        if any(
            self._ledger.resketched(r.partition, r.start, progress.source_topic_id, record_seq) for r in progress.ranges
        ):
            self._ledger.lose_from_resketch(progress, record_seq)
            log.error("re-sketch", partition=self._partition, offset=offset, instance=progress.instance)
        else:
            self._ledger.follow(progress, record_seq, live=self._live, received_ms=received_ms)
        writes = Writes()
        judged = False
        for model in self._known_models():
            state = self._model(model)
            if state is not None:
                judged |= self._seal(state, record_seq, writes)
                judged |= self._revise(state, record_seq, writes)
        now = self._pace()
        if not judged and now - self._written_s < self._write_s:
            return None, 0
        self._written_s = now
        self._collect(writes, record_seq)
        return writes, self._acknowledged(offset)

    def _acknowledged(self, offset: int) -> int:
        awaiting = [first for state in self._models.values() for first in state.awaiting.values()]
        days = [first for state in self._models.values() for first in state.dirty_days.values() if first is not None]
        return min([offset + 1, *awaiting, *days])

    # ---------------------------------------------------------------------------------------------- models

    def _known_models(self) -> list[str]:
        registered = [
            model
            for model in self._registry().contracts
            if partials_partition(model, self._n_partitions) == self._partition
        ]
        return sorted({*registered, *self._models})

    def _model(self, model: str) -> ModelState | None:
        contract = self._registry().contracts.get(model)
        state = self._models.get(model)
        if state is not None:
            if contract is not None and contract is not state.contract and contract.pane_s == state.contract.pane_s:
                state.contract = contract
                for series in state.series.values():
                    series.follow(contract)
            return state
        if contract is None:
            return None
        state = self._models[model] = ModelState(contract)
        self._memory.load(state)
        return state

    # ---------------------------------------------------------------------------------------------- sealing

    def _seal(self, state: ModelState, record_seq: int, writes: Writes) -> bool:
        contract = state.contract
        before = state.sealed_until_s
        until = self._sealable_s(state)
        if before is None and until is not None:
            before = self._begin(state, until, record_seq)
        if until is None or before is None or until <= before:
            return False
        state.sealed_until_s = until
        self._memory.pick_up(state, before, until)
        silent = range(before, until, contract.pane_s)
        for key, series in self._judged_series(state):
            for start_s in silent:
                pane = series.panes.get(start_s)
                if pane is not None:
                    pane.seal(record_seq)
            holds = self._holds(contract.model, key, np.array(silent))
            empty = [at for at, held in zip(silent, holds.tolist(), strict=True) if held and at not in series.panes]
            if empty:
                writes.volume.append(silent_columns(series, empty, self._partition, record_seq))
        mark_sealed(state, before, until)
        self._memory.close_hours(state, before, until)
        for window, ends in all_ends(contract, before, until):
            for key, series in self._judged_series(state):
                always = self._holds(contract.model, key, np.array(ends) - contract.pane_s)
                self._verdicts.judge(state, series, window, list(ends), record_seq, writes, always=always)
            self._verdicts.compare(state, window, list(ends), record_seq, writes)
        return True

    def _sealable_s(self, state: ModelState) -> int | None:
        contract = state.contract
        mark = self._ledger.watermark_ms(contract.model, contract.out_of_order_s * 1000)
        if mark is None:
            return None
        if mark >= ENDED_MS:
            # History has ended: all that came is judged, up to the next end of every length of window.
            starts = state.pane_starts()
            if not starts:
                return state.sealed_until_s
            last = max(starts) + contract.pane_s
            return max(last_end_s(contract, last), state.sealed_until_s or 0)
        return int((mark / 1000 - contract.lateness_s) // contract.pane_s) * contract.pane_s

    def _begin(self, state: ModelState, until_s: int, record_seq: int) -> int | None:
        """Where a model's record begins; what is older than any window of now counts as late.

        One stray event from last year must not have every minute since then judged.
        """
        first = self._first_s(state)
        if first is None or not self._live or until_s <= first:
            return first
        reach = max((window.length_s for window in state.contract.windows), default=state.contract.pane_s)
        before = max(first, until_s - reach)
        state.sealed_until_s = until_s
        self._memory.pick_up(state, first, before)
        for series in state.series.values():
            for start_s, pane in series.panes.items():
                if start_s < before:
                    pane.seal(record_seq)
                    self._touch(state, series, start_s, record_seq & ((1 << SEQ_EPOCH_BITS) - 1))
        return before

    def _first_s(self, state: ModelState) -> int | None:
        """The first event, or on the live clock when the model was applied, if earlier."""
        pane_s = state.contract.pane_s
        starts = state.pane_starts()
        if self._live:
            applied_ms = self._registry().applied_at_ms.get(state.contract.model)
            if applied_ms is not None:
                starts.add(applied_ms // 1000 // pane_s * pane_s)
        return min(starts) if starts else None

    def _judged_series(self, state: ModelState) -> list[tuple[SeriesKey, Series]]:
        """Every series with panes, and the registered versions' present ones, seen or not."""
        registry = self._registry()
        for version in registry.baselines.get(state.contract.model, {}):
            history, _ = registry.effective(state.contract.model, version)
            for entry in history:
                self._memory.series(state, version, entry.baseline_id)
        return sorted(state.series.items())

    def _holds(self, model: str, key: SeriesKey, starts_s: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Of which panes' silence a series has to tell: the version is registered, and its baseline then is this."""
        version, baseline_id = key
        held = np.zeros(len(starts_s), dtype=bool)
        registry = self._registry()
        if not registry.effective(model, version)[1]:
            for begin, end in registry.spans(model, version, baseline_id):
                held |= (starts_s >= begin) & (starts_s < end)
        return held

    def _touch(self, state: ModelState, series: Series, pane_start_s: int, offset: int) -> None:
        contract = state.contract
        until = state.sealed_until_s or 0
        for window in contract.windows:
            for end in ends_covering(window, pane_start_s, contract.pane_s, until):
                state.awaiting.setdefault(((series.version, series.baseline_id), window, end), offset)
        # Whether or not the hour's sum is held, and also when the part itself was merged before a crash.
        touch(state, series, pane_start_s, offset, ended=self._ledger.has_ended(state.contract.model))

    def _revise(self, state: ModelState, record_seq: int, writes: Writes) -> bool:
        now = self._pace()
        due: dict[tuple[SeriesKey, Window], list[int]] = {}
        for key in sorted(state.awaiting, key=lambda k: (k[0], k[1], k[2])):
            series_key, window, end = key
            if now - state.revised_s.get(key, -np.inf) >= self._revise_s:
                due.setdefault((series_key, window), []).append(end)
                state.revised_s[key] = now
                del state.awaiting[key]
        by_window: dict[Window, set[int]] = {}
        for (series_key, window), ends in due.items():
            by_window.setdefault(window, set()).update(ends)
            for run in _runs(ends, window):
                self._verdicts.judge(state, state.series[series_key], window, run, record_seq, writes)
        for window, touched in by_window.items():
            for run in _runs(sorted(touched), window):
                self._verdicts.compare(state, window, run, record_seq, writes)
        if len(state.revised_s) > 10_000:
            state.revised_s = {k: at for k, at in state.revised_s.items() if now - at < self._revise_s}
        return bool(due)

    # ---------------------------------------------------------------------------------------------- writing

    def _collect(self, writes: Writes, record_seq: int) -> None:
        now_ms = int(self._clock() * 1000)
        for state in self._models.values():
            for series in state.series.values():
                self._collect_series(state, series, writes)
            self._rollups.collect(state, writes, ended=self._ledger.has_ended(state.contract.model))
            # Not before: what is not in the warehouse yet could not be read there, were it set down meanwhile.
            for series in state.series.values():
                series.written()
            self._memory.forget(state)
            self._collect_progress(state, writes, record_seq, now_ms)
        self._memory.set_down()
        add_tallies(writes, self._tallied, self._partition)
        self._tallied = []
        writes.losses = loss_rows(self._ledger.new_losses, self._partition, now_ms)
        writes.offset_ledger = ledger_rows(self._ledger, self._partition, self._partials_topic_id, self._epoch)
        self._ledger.new_losses = []
        for row in self._ledger.rows.values():
            row.dirty = False

    def _collect_series(self, state: ModelState, series: Series, writes: Writes) -> None:
        dirty = [pane for _, pane in sorted(series.panes.items()) if pane.dirty]
        until = state.sealed_until_s or 0
        pane_s = state.contract.pane_s
        sealed = np.array([pane.sealed or pane.start_s + pane_s <= until for pane in dirty], dtype=bool)
        writes.panes += pane_pages(series, dirty, self._partition, pane_s, sealed)
        for first in range(0, len(dirty), PANES_PER_INSERT):
            some = slice(first, first + PANES_PER_INSERT)
            writes.volume.append(volume_columns(series, dirty[some], self._partition, sealed[some]))
            broken = violation_columns(series, dirty[some], self._partition)
            if broken is not None:
                writes.violations.append(broken)
        if self._live:
            self._rollups.collect_open(state, series, dirty, writes)

    def _collect_progress(self, state: ModelState, writes: Writes, record_seq: int, now_ms: int) -> None:
        contract = state.contract
        mark = self._ledger.watermark_ms(contract.model, contract.out_of_order_s * 1000)
        if mark is None or state.sealed_until_s is None:
            return
        writes.progress.append(
            {
                "partials_partition": self._partition,
                "model": contract.model,
                "watermark": max(0, min(mark, MAX_MS)),
                "sealed_until": state.sealed_until_s * 1000,
                "updated_at": now_ms,
                "record_seq": record_seq,
            }
        )


def _runs(ends_s: list[int], window: Window) -> list[list[int]]:
    """Cut ascending ends where a gap would make summing them together wasteful."""
    runs: list[list[int]] = []
    for end in ends_s:
        if runs and end - runs[-1][-1] <= max(window.length_s, window.hop_s):
            runs[-1].append(end)
        else:
            runs.append([end])
    return runs
