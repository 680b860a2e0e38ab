"""State of one partition of `partials`: merges, seals and judges, and returns rows to write and offsets to acknowledge.

It does not use Kafka: records come in with their offsets, and rows go out. All decisions follow from the records and
the rows in the warehouse, so a crash at any point leads to the same rows.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import structlog
from barograph.contract import Window
from numpy.typing import NDArray

from barograph_server.streams.monitor.rows.pane_rows import silent_columns
from barograph_server.streams.monitor.rows.rollups import Rollups, mark_late, mark_sealed
from barograph_server.streams.monitor.rows.tally_rows import (
    changed_panes,
    ledger_rows,
    loss_rows,
    progress_rows,
    tally_rows,
)
from barograph_server.streams.monitor.state.commit_rows import CommitRows, VerdictColumns
from barograph_server.streams.monitor.state.model import ModelState, SeriesKey
from barograph_server.streams.monitor.state.offset_ledger import ENDED_MS, make_record_seq, offset_of
from barograph_server.streams.monitor.state.pane_cache import PANE_BUDGET_BYTES, PaneCache
from barograph_server.streams.monitor.state.series import Series
from barograph_server.streams.monitor.state.store import Store
from barograph_server.streams.monitor.verdicts.due_windows import WindowJudge
from barograph_server.streams.monitor.windows import all_ends, ends_covering, last_end_s, split_runs
from barograph_server.streams.records import Partial, Progress, RecordError, Tally
from barograph_server.streams.registry.registry import Registry
from barograph_server.streams.topics import partials_partition

log = structlog.get_logger()

RESKETCHED = "covers offsets that were sketched before: the sketcher's offsets were reset"
PIECE_CELLS = 2_000_000
"""Counts of windows that are judged for one model before its results are written and other models have their turn: some
seconds of work for a model of thousands of fields, days of history for others."""
MAX_PENDING_VERDICTS = 25_000
"""Rows of `drift` and `rates`, some 200 bytes each, that wait in memory for the rest of their commit."""


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """A record that goes to the dead-letter topic, and why."""

    offset: int
    reason: str
    code: str
    """The reason as a label of metrics."""


@dataclass(frozen=True)
class Pace:
    """When a partition's panes are written and its windows judged."""

    live: bool
    """Whether an idle source partition counts as read to the wall clock."""
    write_s: float = 10.0
    """Time between two writes of unsealed panes."""
    revise_s: float = 60.0
    """Shortest time between two revisions of one window."""
    budget_bytes: int = PANE_BUDGET_BYTES
    """Memory for panes that are written."""
    max_pending_verdicts: int = MAX_PENDING_VERDICTS
    """From so many verdicts on, they are written early."""
    piece_cells: int = PIECE_CELLS
    """Counts of windows that are judged for one model before other models have their turn."""


class PartitionState:
    """The state of one partition of `partials`, from its assignment to its revocation."""

    def __init__(
        self,
        partition: int,
        partials_topic: tuple[str, int],
        store: Store,
        registry: Callable[[], Registry],
        pace: Pace,
        *,
        write_early: Callable[[CommitRows], None] | None = None,
        on_work: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
        monotonic_clock: Callable[[], float] | None = None,
    ) -> None:
        """Load the state of a partition.

        Args:
            partials_topic: Kafka's id of the topic, and its number of partitions.
            write_early: writes rows ahead of the rest of their commit; None: never.
            on_work: called after each unit of work.
            clock: Unix seconds, for the times in rows.
            monotonic_clock: seconds that never go back, for intervals; `clock` by default.
        """
        self._partition = partition
        self._partials_topic_id, self._n_partitions = partials_topic
        self._registry, self._pace = registry, pace
        self._write_early, self._on_work = write_early, on_work
        self._clock, self._monotonic_clock = clock, monotonic_clock or clock
        self.models: dict[str, ModelState] = {}
        """The models with a partial or a contract so far."""
        # The offset ledger precedes panes: otherwise the watermarks of a stale process would meet incomplete panes.
        self._ledger, self._epoch = store.load_ledger(partition, self._partials_topic_id)
        self._processed_seq = self._ledger.newest_record_seq()
        """The loaded panes reflect all records up to this one, merged or rejected."""
        self._written_s = self._monotonic_clock()
        self._tallies: list[tuple[Tally, int]] = []
        """Tallies that are not written yet, each with its `record_seq`."""
        self._cache = PaneCache(store, registry, pace.budget_bytes)
        self._window_judge = WindowJudge(self._ledger, self._cache, registry, clock)
        self._rollups = Rollups(partition, store, self._cache, pace.revise_s, self._monotonic_clock)
        self.late_events = 0
        """Late events merged since the counter was last reset; the worker reports and resets it."""

    # ---------------------------------------------------------------------------------------------- records

    def merge_partial(self, partial: Partial, offset: int) -> RejectedRecord | None:
        """Merge a partial; return it as rejected if that is impossible."""
        record_seq = make_record_seq(self._epoch, offset)
        if self._is_resketched(partial, record_seq):
            return RejectedRecord(offset, RESKETCHED, "re-sketch")
        state = self._get_model(partial.model)
        if state is None:
            return self._reject_unknown(partial, offset, f"no contract of model {partial.model}")
        series = self._cache.get_series(state, partial.version, partial.baseline_id)
        if series is None:
            return self._reject_unknown(partial, offset, f"no baseline {partial.baseline_id}")
        end_s = partial.pane_start_s + partial.pane_s
        late = state.sealed_until_s is not None and end_s <= state.sealed_until_s
        changed = False
        if record_seq > self._processed_seq:
            try:
                changed = self._cache.merge(state, series, partial, record_seq, late=late)
            except RecordError as error:
                return RejectedRecord(offset, str(error), "misfit")
        if late:
            if changed and partial.slice_from == 0 and partial.field_from == 0:
                self.late_events += int(partial.counts[0, 0])
            # Even if an earlier process merged the partial: its verdicts may not have been written.
            self._mark_for_revision(state, series, partial.pane_start_s, offset)
        return None

    def _reject_unknown(self, partial: Partial, offset: int, missing: str) -> RejectedRecord:
        """Reject a partial without a contract or baseline: it was not applied, or this version cannot read it."""
        cause = self._registry().unreadable.get(partial.model)
        reason = f"{missing} is applied" if cause is None else f"{missing} can be read: {cause}"
        return RejectedRecord(offset, reason, "unregistered")

    def add_tally(self, tally: Tally, offset: int) -> RejectedRecord | None:
        """Queue a tally for the next commit; return it as rejected if its offsets were counted before.

        Tallies are not summed: their rows have the `record_seq` in the key, so a redelivered record replaces its own
        rows.
        """
        record_seq = make_record_seq(self._epoch, offset)
        if self._is_resketched(tally, record_seq):
            return RejectedRecord(offset, RESKETCHED, "re-sketch")
        self._tallies.append((tally, record_seq))
        return None

    def _is_resketched(self, record: Partial | Tally | Progress, record_seq: int) -> bool:
        topic_id = record.source_topic_id
        return any(self._ledger.is_resketched(r.partition, r.start, topic_id, record_seq) for r in record.ranges)

    def apply_progress(
        self, progress: Progress, offset: int, received_ms: int | None = None
    ) -> tuple[CommitRows | None, int]:
        """Apply a progress record: seal, judge, rejudge.

        Args:
            received_ms: when Kafka received it (Unix ms); None if unknown.

        Returns:
            The rows to write, or None if nothing is due; and the offset up to which (exclusive) records may be
            acknowledged once the rows are written. Without rows, nothing may be acknowledged.
        """
        record_seq = make_record_seq(self._epoch, offset)
        if self._is_resketched(progress, record_seq):
            self._ledger.record_resketch(progress, record_seq)
            log.error("re-sketch", partition=self._partition, offset=offset, instance=progress.instance)
        else:
            self._ledger.advance(progress, record_seq, live=self._pace.live, received_ms=received_ms)
        commit = CommitRows()
        self._forget_withdrawn()
        states = [state for model in self._assigned_models() if (state := self._get_model(model)) is not None]
        judged = self._judge_piece(states, record_seq, commit)
        # On the live clock the next progress record continues; on the replay clock this one may be the last.
        while not self._pace.live and any(self._is_behind(state) for state in states):
            if self._write_early is not None:
                self._collect_rows(commit, record_seq)
                self._write_early(commit)
                commit = CommitRows()
            self._judge_piece(states, record_seq, commit)
        now_s = self._monotonic_clock()
        if not judged and now_s - self._written_s < self._pace.write_s:
            return None, 0
        self._written_s = now_s
        self._collect_rows(commit, record_seq)
        return commit, self._acknowledged_until(offset)

    def _judge_piece(self, states: list[ModelState], record_seq: int, commit: CommitRows) -> bool:
        """Seal and judge a piece of every model, so that none waits for another; return whether there was any."""
        judged = False
        for state in states:
            judged |= self._seal(state, record_seq, commit)
            judged |= self._rejudge_due(state, record_seq, commit)
            self._on_work()
        return judged

    def _is_behind(self, state: ModelState) -> bool:
        """Whether more panes of a model can be sealed."""
        until_s = self._sealable_until_s(state)
        return until_s is not None and state.sealed_until_s is not None and state.sealed_until_s < until_s

    def _acknowledged_until(self, offset: int) -> int:
        revisions = [state.revisions.first_offset() for state in self.models.values()]
        days = [first for state in self.models.values() for first in state.dirty_days.values()]
        return min([offset + 1, *(first for first in (*revisions, *days) if first is not None)])

    # ---------------------------------------------------------------------------------------------- models

    def _assigned_models(self) -> list[str]:
        registered = [
            model
            for model in self._registry().contracts
            if partials_partition(model, self._n_partitions) == self._partition
        ]
        return sorted({*registered, *self.models})

    def _forget_withdrawn(self) -> None:
        """Forget the models whose contract was withdrawn, as those of drills are: nothing more is written of them."""
        registry = self._registry()
        for model in self.models.keys() - registry.contracts.keys() - registry.unreadable.keys():
            self._cache.forget(self.models.pop(model))
            self._ledger.forget(model)

    def _get_model(self, model: str) -> ModelState | None:
        """Return the state of a model under its newest contract, loaded if it is new; None without a contract."""
        contract = self._registry().contracts.get(model)
        state = self.models.get(model)
        if state is not None:
            if contract is not None and contract is not state.contract and contract.pane_s == state.contract.pane_s:
                self._cache.update_contract(state, contract)
            return state
        if contract is None:
            return None
        state = self.models[model] = ModelState(contract)
        self._cache.load(state)
        return state

    def _judged_series(self, state: ModelState) -> list[tuple[SeriesKey, Series]]:
        """Return every series with panes, and those of the registered baselines, which may be silent."""
        registry = self._registry()
        for version in registry.baselines.get(state.contract.model, {}):
            history, _ = registry.effective(state.contract.model, version)
            for entry in history:
                self._cache.get_series(state, version, entry.baseline_id)
        return sorted(state.series.items())

    def _baseline_active(self, model: str, key: SeriesKey, starts_s: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether, at each pane, the version is registered and judged by this baseline: its silence is then reported.

        Args:
            key: version and baseline id.
            starts_s: starts of panes, shape (n,).
        """
        version, baseline_id = key
        active = np.zeros(len(starts_s), dtype=bool)
        registry = self._registry()
        if not registry.effective(model, version)[1]:
            for begin, end in registry.spans(model, version, baseline_id):
                active |= (starts_s >= begin) & (starts_s < end)
        return active

    # ---------------------------------------------------------------------------------------------- sealing

    def _seal(self, state: ModelState, record_seq: int, commit: CommitRows) -> bool:
        """Seal a piece of the panes that are complete, and judge the windows that end in it; return whether any."""
        contract = state.contract
        before_s = state.sealed_until_s
        until_s = self._sealable_until_s(state)
        if before_s is None and until_s is not None:
            before_s = self._begin_history(state, until_s, record_seq)
        if until_s is None or before_s is None or until_s <= before_s:
            return False
        until_s = min(until_s, before_s + self._panes_per_piece(state) * contract.pane_s)
        state.sealed_until_s = until_s
        self._cache.load_for_update(state, before_s, until_s)
        starts_s = range(before_s, until_s, contract.pane_s)
        for key, series in self._judged_series(state):
            for start_s in starts_s:
                pane = series.panes.get(start_s)
                if pane is not None:
                    pane.seal(record_seq)
            active = self._baseline_active(contract.model, key, np.array(starts_s)).tolist()
            silent = [at_s for at_s, on in zip(starts_s, active, strict=True) if on and at_s not in series.panes]
            if silent:
                columns = silent_columns(series, silent, self._partition, record_seq)
                commit.add_columns([("volume", columns)])
        mark_sealed(state, before_s, until_s)
        self._cache.sum_closed_hours(state, before_s, until_s)
        for window, all_of_length in all_ends(contract, before_s, until_s):
            ends = self._window_judge.judged_ends(state, window, all_of_length)
            if not ends:
                continue
            for key, series in self._judged_series(state):
                always = self._baseline_active(contract.model, key, np.array(ends) - contract.pane_s)
                verdicts = self._window_judge.judge(state, series, window, ends, record_seq, always=always)
                self._add_verdicts(commit, verdicts)
            self._add_verdicts(commit, self._window_judge.compare(state, window, ends, record_seq))
        return True

    def _panes_per_piece(self, state: ModelState) -> int:
        """Return the number of panes, at least one, that are sealed and whose windows are judged in one piece."""
        layouts = [series.layout for _, series in self._judged_series(state)]
        cells = sum(layout.n_slices * layout.width for layout in layouts)
        per_pane = cells * sum(state.contract.pane_s / window.hop_s for window in state.contract.windows)
        return max(1, int(self._pace.piece_cells / max(per_pane, 1.0)))

    def _sealable_until_s(self, state: ModelState) -> int | None:
        contract = state.contract
        watermark_ms = self._ledger.watermark_ms(contract.model, contract.out_of_order_s * 1000)
        if watermark_ms is None:
            return None
        if watermark_ms >= ENDED_MS:
            # The history has ended: all its events are judged, up to the next end of every window length.
            if state.last_s is None:
                return state.sealed_until_s
            last = state.last_s + contract.pane_s
            return max(last_end_s(contract, last), state.sealed_until_s or 0)
        return int((watermark_ms / 1000 - contract.lateness_s) // contract.pane_s) * contract.pane_s

    def _begin_history(self, state: ModelState, until_s: int, record_seq: int) -> int | None:
        """Return the start of a model's history; None if it has no event yet.

        In live mode it is at most one longest window before the first seal, and older events count as late; otherwise
        one stray event from last year would trigger a verdict for every minute since.
        """
        first_s = self._first_start_s(state)
        if first_s is None or not self._pace.live or until_s <= first_s:
            return first_s
        longest_s = max((window.length_s for window in state.contract.windows), default=state.contract.pane_s)
        before_s = state.sealed_until_s = max(first_s, until_s - longest_s)
        self._cache.load_for_update(state, first_s, before_s)
        for series in state.series.values():
            for start_s, pane in series.panes.items():
                if start_s < before_s:
                    pane.seal(record_seq)
                    self._mark_for_revision(state, series, start_s, offset_of(record_seq))
        return before_s

    def _first_start_s(self, state: ModelState) -> int | None:
        """Return the start of the first pane; in live mode that of the pane in which the model was applied, if earlier.

        None if there is neither.
        """
        pane_s = state.contract.pane_s
        starts = state.pane_starts()
        if self._pace.live:
            applied_ms = self._registry().applied_at_ms.get(state.contract.model)
            if applied_ms is not None:
                starts.add(applied_ms // 1000 // pane_s * pane_s)
        return min(starts, default=None)

    # ---------------------------------------------------------------------------------------------- revising

    def _mark_for_revision(self, state: ModelState, series: Series, pane_start_s: int, offset: int) -> None:
        """Queue the sealed windows and the rollups that contain a pane which the late record at `offset` changed."""
        contract = state.contract
        key = series.version, series.baseline_id
        for window in contract.windows:
            for end_s in ends_covering(window, pane_start_s, contract.pane_s, state.sealed_until_s or 0):
                state.revisions.mark((key, window, end_s), offset)
        # Even if the sum of the hour is not in memory, or the partial itself was merged before a crash.
        mark_late(state, series, pane_start_s, offset, ended=self._ledger.has_ended(contract.model))

    def _rejudge_due(self, state: ModelState, record_seq: int, commit: CommitRows) -> bool:
        """Judge again the windows whose revision is due; return whether any was."""
        # A superseded process may have sealed ahead of this ledger, which does not know yet of the history's end.
        until_s, sealed_until_s = self._sealable_until_s(state), state.sealed_until_s
        if until_s is None or sealed_until_s is None:
            return False
        due = state.revisions.pop_due(self._monotonic_clock(), self._pace.revise_s, min(until_s, sealed_until_s))
        ends_by_window: dict[Window, set[int]] = {}
        for (series_key, window), all_of_length in due.items():
            ends_s = self._window_judge.judged_ends(state, window, all_of_length)
            ends_by_window.setdefault(window, set()).update(ends_s)
            for run in split_runs(ends_s, window):
                verdicts = self._window_judge.judge(state, state.series[series_key], window, run, record_seq)
                self._add_verdicts(commit, verdicts)
        for window, revised in ends_by_window.items():
            for run in split_runs(sorted(revised), window):
                self._add_verdicts(commit, self._window_judge.compare(state, window, run, record_seq))
        return bool(due)

    # ---------------------------------------------------------------------------------------------- writing

    def _add_verdicts(self, commit: CommitRows, verdicts: Iterable[VerdictColumns]) -> None:
        for columns in verdicts:
            commit.add_verdicts(columns)
            if self._write_early is not None and commit.n_verdicts >= self._pace.max_pending_verdicts:
                # A commit writes them first anyway, and after a crash the same verdicts are made again.
                self._write_early(commit.drain_verdicts())
            self._on_work()

    def _collect_rows(self, commit: CommitRows, record_seq: int) -> None:
        """Add everything that changed since the last commit, apart from verdicts."""
        now_ms = int(self._clock() * 1000)
        for state in self.models.values():
            for series in state.series.values():
                dirty = [pane for _, pane in sorted(series.panes.items()) if pane.dirty]
                commit.add_columns(changed_panes(series, dirty, state.sealed_until_s or 0, self._partition))
                if self._pace.live:
                    commit.add_columns(self._rollups.open_hour_rows(state, series, dirty))
            # Between two pieces of a history that has ended, its later hours and days are still open.
            ended = self._ledger.has_ended(state.contract.model) and not self._is_behind(state)
            commit.add_columns(self._rollups.closed_rows(state, ended=ended))
            # After the rollups: a pane that is not in the warehouse yet could not be read there if it were evicted.
            for series in state.series.values():
                series.mark_written()
            self._cache.drop_expired(state)
            commit.add_rows("progress", progress_rows(state, self._ledger, self._partition, record_seq, now_ms))
        self._cache.evict()
        commit.add_columns(tally_rows(self._tallies, self._partition))
        self._tallies = []
        commit.add_rows("losses", loss_rows(self._ledger.new_losses, self._partition, now_ms))
        ledger = ledger_rows(self._ledger, self._partition, self._partials_topic_id, self._epoch)
        commit.add_rows("offset_ledger", ledger)
        self._ledger.mark_written()
