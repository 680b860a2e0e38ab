"""One model's pass: find the hours that changed, recount them, and judge the windows that contain them.

Everything that a pass writes may be written again: counts are computed from raw rows, verdicts are written only if they
differ from the last. So a pass that breaks off anywhere is repeated from the checkpoint and ends in the same rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from barograph.contract import Contract, format_duration

from barograph_server.streams.scorer.checkpoint import ReadRange
from barograph_server.streams.scorer.freeze import Freezer, Pass
from barograph_server.streams.scorer.hourly_arm_looks import HourlyArmLooks
from barograph_server.streams.scorer.label_delay import LEARNED_DAYS, LabelDelayCurve, learn_label_delay, maturity_row
from barograph_server.streams.scorer.reference import References
from barograph_server.streams.scorer.rules import baseline_changes, dimensions_at
from barograph_server.streams.scorer.shadow_looks import ShadowLooks
from barograph_server.streams.scorer.statement_chunks import batched, split_by_rows, statement_chunks
from barograph_server.streams.scorer.verdicts import PerformanceJudge
from barograph_server.streams.scorer.windows import DAY_S, EventClock, window_lengths, window_start, window_starts
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.scoring import arms, new_rows, pairs, results, state
from barograph_server.warehouse.scoring.new_rows import HourRows
from barograph_server.warehouse.scoring.rules import ArmTest, Rules


@dataclass
class Pairing:
    """The state of one model's pairing between passes. It can be rebuilt from stored rows at any time."""

    paired: tuple[Any, ...] = ()
    """The versions and settings that were paired last."""
    first_windows: dict[str, int] = field(default_factory=dict)
    """Candidate → its first window (start, Unix seconds); earlier ones are not paired. Without an event it has none."""
    hours: dict[int, HourRows] = field(default_factory=dict)
    """The model's shadows after the checkpoint, by hour."""
    next_hours: dict[int, HourRows] = field(default_factory=dict)
    """Those after the next checkpoint."""
    open_windows: set[int] = field(default_factory=set)
    """Score windows that changed and have not ended."""

    def advance(self) -> None:
        """Follow an advance of the checkpoint: the rows after the next one are now those after the current one."""
        self.hours, self.next_hours = self.next_hours, {}

    def run(
        self, client: Client, rules: Rules, this: Pass, read_range: ReadRange | None, check_stop: Callable[[], None]
    ) -> int:
        """Count the pairs of the windows that changed, and return the number of new shadows.

        Args:
            this: the pass; its changed windows are those with new predictions or labels, and those still open.
            read_range: the rows to read; None if the model has no rows after the checkpoint.
            check_stop: called between statements; it raises to break off.
        """
        shadows, changed = 0, set(this.changed)
        if read_range is not None:
            start, next_start = read_range.start["shadow_predictions"], read_range.next_start["shadow_predictions"]
            new = new_rows.read_new_predictions(client, rules, start, next_start, "shadow_predictions")
            shadows = new.more_than(self.hours)
            changed |= {hour for hour, rows in new.by_hour.items() if self.hours.get(hour) != rows}
            self.hours, self.next_hours = new.by_hour, new.by_hour_after_next
        if rules.shadow is None:
            return shadows
        changed |= self._past_hours(client, rules)
        # A row within an hour of a window decides whether another one has a pair.
        near = {each + step for each in changed for step in (-pairs.NEAR_S, 0, max(pairs.NEAR_S, rules.window_s))}
        ended, self.open_windows = this.clock.split(rules.windows_of(near) | self.open_windows, rules.window_s)
        changes = baseline_changes(this.registry, rules.model)
        for windows in statement_chunks(client, rules, ended, changes, pairs.rows_by_hour):
            check_stop()
            dimensions = dimensions_at(this.contract, this.registry, windows[0])
            has_repeats = state.has_repeated_ids(client, rules, windows)
            for each in rules.of_shadows:
                own = [window for window in windows if window >= self._first_window(each)]
                if own:
                    pairs.pair_windows(client, each, dimensions, own, this.now_ms, has_repeats=has_repeats)
        return shadows

    def _first_window(self, rules: Rules) -> float:
        return math.inf if rules.shadow is None else self.first_windows.get(rules.shadow.candidate, math.inf)

    def _past_hours(self, client: Client, rules: Rules) -> set[int]:
        """Return the hours to pair because the contract changed, or an earlier event of a candidate arrived."""
        current = (rules.shadow, rules.pair_settings)
        earliest = min(self.hours, default=math.inf)
        if current == self.paired and all(earliest >= self._first_window(each) for each in rules.of_shadows):
            return set()
        firsts = {
            each.shadow.candidate: first
            for each in rules.of_shadows
            if each.shadow is not None and (first := pairs.first_window(client, each)) is not None
        }
        if (current, firsts) == (self.paired, self.first_windows):
            return set()
        self.paired, self.first_windows = current, firsts
        return set().union(
            *(pairs.uncounted_hours(client, each, self._first_window(each)) for each in rules.of_shadows)
        )


@dataclass
class ArmCounting:
    """What was counted last, of one model. It can be rebuilt from stored rows at any time."""

    test: ArmTest | None = None
    open_windows: set[int] = field(default_factory=set)
    """Score windows that changed and have not ended."""

    def run(self, client: Client, rules: Rules, this: Pass, check_stop: Callable[[], None]) -> bool:
        """Count the arms in the windows that changed, and return whether there were any.

        Args:
            this: the pass; its changed windows are those with new predictions or labels, and those still open.
            check_stop: called between statements; it raises to break off.
        """
        changed = set(this.changed)
        if rules.arms != self.test:
            self.test = rules.arms
            changed |= set() if rules.arms is None else rules.windows_of(arms.uncounted_hours(client, rules))
        if rules.arms is None:
            return False
        ended, self.open_windows = this.clock.split(changed | self.open_windows, rules.window_s)
        for windows in statement_chunks(client, rules, ended, baseline_changes(this.registry, rules.model)):
            check_stop()
            dimensions = dimensions_at(this.contract, this.registry, windows[0])
            has_repeats = state.has_repeated_ids(client, rules, windows)
            arms.count_arms(client, rules, dimensions, windows, this.now_ms, has_repeats=has_repeats)
        return bool(ended)


MAX_WINDOWS = 200
"""Most windows that are judged at once."""
MAX_STATE_S = 7 * DAY_S
"""Longest time that windows judged at once cover, unless one window is longer. It bounds the counts that are read."""
SAME_SHARE = 1e-3
"""A maturity curve that differs from the last by no more than this share is not written."""


@dataclass(frozen=True, slots=True)
class PassResult:
    arrived: int = 0
    """New rows."""
    scored: int = 0
    """Score windows counted."""
    revised: int = 0
    """Rows of `performance` written."""

    def __add__(self, other: PassResult) -> PassResult:
        return PassResult(self.arrived + other.arrived, self.scored + other.scored, self.revised + other.revised)


@dataclass
class ModelScorer:
    """A model's state between passes. It can be rebuilt from stored rows at any time."""

    rules: Rules
    prediction_hours: dict[int, HourRows] = field(default_factory=dict)
    """Predictions after the checkpoint, by hour."""
    label_hours: dict[int, HourRows] = field(default_factory=dict)
    """Labels after the checkpoint, by the hour of their prediction."""
    next_hours: tuple[dict[int, HourRows], dict[int, HourRows]] = field(default_factory=lambda: ({}, {}))
    """Predictions and labels after the next checkpoint."""
    pairing: Pairing = field(default_factory=Pairing)
    arm_counting: ArmCounting = field(default_factory=ArmCounting)
    shadow_looks: ShadowLooks = field(default_factory=ShadowLooks)
    hourly_arm_looks: HourlyArmLooks = field(default_factory=HourlyArmLooks)
    open_windows: set[int] = field(default_factory=set)
    """Score windows that changed and have not ended."""
    pending_windows: dict[int, set[int]] = field(default_factory=dict)
    """Windows, by length, that changed and have not ended."""
    immature_windows: dict[int, set[int]] = field(default_factory=dict)
    """Windows, by length, whose labels were not mature when they were last judged."""
    references: References | None = None
    label_delay: LabelDelayCurve | None = None
    """The last learned curve."""
    newest_ms: int = 0
    """Newest event time read."""
    rejudge_from_s: int | None = None
    """Windows from this time on are judged again, since a reference changed that they were compared with."""
    check_stop: Callable[[], None] = lambda: None
    """Called between statements. It raises to break the pass off."""

    def __post_init__(self) -> None:
        """Create the freezer, which remembers how far it has searched for references."""
        self.freezer = Freezer(self.rules)

    @classmethod
    def start(
        cls, client: Client, contract: Contract, rules: Rules, status: results.ScoringStatus | None, clock: EventClock
    ) -> ModelScorer:
        """Resume a model where the last process stopped.

        Windows that have ended since then, or had not ended, are judged even if no row arrived.
        """
        scorer = cls(rules)
        if status is None or status.basis != rules.basis:
            return scorer
        scorer.newest_ms = round(status.newest_at.timestamp() * 1000)
        until_s = status.scored_until.timestamp()
        first_s, end_s = window_start(int(until_s), rules.window_s), int(clock.now_s) + rules.window_s
        scorer.open_windows = set(state.windows_in(client, rules, first_s, end_s))
        immature = results.immature(client, contract.model)
        for length_s in window_lengths(contract, rules.window_s):
            scorer.pending_windows[length_s] = set(window_starts(until_s, clock.now_s, length_s))
            scorer.immature_windows[length_s] = immature.get(format_duration(length_s), set())
        if results.has_reference_since(client, rules, status.updated_at):
            scorer.rejudge_from_s = min(state.first_windows(client, rules).values(), default=None)
        return scorer

    def advance(self) -> None:
        """Follow an advance of the checkpoint: the rows after the next one are now those after the current one."""
        self.prediction_hours, self.label_hours = self.next_hours
        self.next_hours = ({}, {})
        self.pairing.advance()

    def run(self, client: Client, this: Pass, read_range: ReadRange | None) -> PassResult:
        changed, arrived = (set[int](), 0) if read_range is None else self._read_rows(client, read_range, this.now_ms)
        touched = self.rules.windows_of(changed) | self.open_windows
        this = replace(this, changed=touched)
        arrived += self.pairing.run(client, self.rules, this, read_range, self.check_stop)
        ended, still_open = this.clock.split(touched, self.rules.window_s)
        has_counted_arms = self.arm_counting.run(client, self.rules, this, self.check_stop)
        revised = 0
        if self.rules.is_measured:
            changes = baseline_changes(this.registry, self.rules.model)
            for windows in statement_chunks(client, self.rules, ended, changes):
                self.check_stop()
                dimensions = dimensions_at(this.contract, this.registry, windows[0])
                state.score_windows(client, self.rules, dimensions, windows, this.now_ms)
            revised = self._judge(client, replace(this, changed=ended), still_open)
        self.open_windows = still_open
        has_changed = bool(arrived or ended or revised)
        self.shadow_looks.run(client, self.rules, this, self.check_stop, has_changed=has_changed)
        self.hourly_arm_looks.run(client, self.rules, this, self.check_stop, has_changed=has_counted_arms)
        return PassResult(arrived, len(ended), revised)

    # ------------------------------------------------------------------------------------------ new rows

    def _read_rows(self, client: Client, read_range: ReadRange, now_ms: int) -> tuple[set[int], int]:
        """Read the rows and join labels; return the hours that changed, and how many rows are new."""
        rules, start, next_start = self.rules, read_range.start, read_range.next_start
        predictions = new_rows.read_new_predictions(client, rules, start["predictions"], next_start["predictions"])
        rows_by_hour = {hour: content.rows for hour, content in predictions.by_hour.items()}
        changed = {hour for hour, content in predictions.by_hour.items() if self.prediction_hours.get(hour) != content}
        chunks = list(split_by_rows(changed, rows_by_hour, new_rows.LABELS_AT_ONCE))
        for hours in chunks:
            self.check_stop()
            new_rows.index_hours(client, rules, start["predictions"], hours)
        today = now_ms // (DAY_S * 1000)
        for hours in chunks:
            self.check_stop()
            changed |= new_rows.assign_earlier_labels(client, rules, start["predictions"], hours, detected_on=today)
        labels = new_rows.assign_new_labels(client, rules, start["labels"], next_start["labels"], self.label_hours)
        changed |= {hour for hour, content in labels.by_hour.items() if hour and self.label_hours.get(hour) != content}
        arrived = predictions.more_than(self.prediction_hours) + labels.more_than(self.label_hours)
        self.prediction_hours, self.label_hours = predictions.by_hour, labels.by_hour
        self.next_hours = (predictions.by_hour_after_next, labels.by_hour_after_next)
        return changed, arrived

    # ------------------------------------------------------------------------------------------ verdicts

    def _judge(self, client: Client, this: Pass, still_open: set[int]) -> int:
        """Judge the windows that are due; return the number of rows written."""
        contract, clock, scored = this.contract, this.clock, set(this.changed)
        due: dict[int, set[int]] = {}
        if scored or self.label_delay is None:
            self.label_delay = self._learn_label_delay(client, this, write=bool(scored))
        for length_s in window_lengths(contract, self.rules.window_s):
            touched = {window_start(window, length_s) for window in scored | still_open}
            pending = self.pending_windows.get(length_s, set())
            ended, self.pending_windows[length_s] = clock.split(touched | pending, length_s)
            immature = self.immature_windows.get(length_s, set())
            due[length_s] = ended | self._mature(immature, length_s, clock)
            self.immature_windows[length_s] = immature | ended
        if self.references is None:
            self.references = References(self.rules, results.references(client, self.rules))
        has_new_choice = self.freezer.has_new_choice(self.references)
        if not any(due.values()) and self.rejudge_from_s is None and not has_new_choice:
            return 0
        self._freeze(client, self.references, this)
        if self.rejudge_from_s is not None:
            for length_s, windows in due.items():
                windows |= clock.split(window_starts(self.rejudge_from_s, clock.now_s, length_s), length_s)[0]
        judge = PerformanceJudge(contract, self.rules, self.label_delay, self.references, clock)
        revised = 0
        for length_s, windows in due.items():
            for starts in batched(sorted(windows), max(1, min(MAX_WINDOWS, MAX_STATE_S // length_s))):
                self.check_stop()
                counts = state.window_sums(client, self.rules, length_s, starts)
                columns = judge.columns(length_s, counts, this.now_ms)
                revised += results.revise(client, contract.model, format_duration(length_s), columns)
            self.immature_windows[length_s] -= self._mature(self.immature_windows[length_s], length_s, clock)
        self.rejudge_from_s = None
        return revised

    def _freeze(self, client: Client, references: References, this: Pass) -> None:
        """Count the references that are due. All later windows are then judged again, so the time does not matter."""
        self.freezer.check_stop = self.check_stop
        first_s = self.freezer.freeze(client, references, this)
        if first_s is not None:
            self.references = References(self.rules, results.references(client, self.rules))
            self.rejudge_from_s = min(each for each in (first_s, self.rejudge_from_s) if each is not None)

    def _mature(self, windows: set[int], length_s: int, clock: EventClock) -> set[int]:
        """Return the windows (starts) whose labels are mature."""
        assert self.label_delay is not None
        starts = np.array(sorted(windows), dtype=np.float64)
        age_s = np.maximum(0.0, clock.now_s - starts - length_s)
        return {int(start) for start in starts[self.label_delay.is_mature(age_s)]}

    def _learn_label_delay(self, client: Client, this: Pass, *, write: bool) -> LabelDelayCurve:
        first_s = this.clock.now_s - self.rules.horizon_ms / 1000 - LEARNED_DAYS * DAY_S
        label_ages = state.label_ages(client, self.rules, int(first_s))
        label_delay = learn_label_delay(this.contract, self.rules, label_ages, this.clock)
        row = maturity_row(self.rules, label_delay, label_ages, this.now_ms) if write else None
        if row is not None and _differ(row["shares"], results.latest_maturity(client, self.rules)):
            results.write_maturity(client, row)
        return label_delay


def _differ(shares: Sequence[float], before: Sequence[float]) -> bool:
    return len(shares) != len(before) or not np.allclose(shares, before, atol=SAME_SHARE, equal_nan=True)
