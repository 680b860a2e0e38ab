"""One model's pass: find the hours that changed, count them anew, say what they show.

Everything that is written may be written again: state by the raw rows that it is made from, verdicts where they say
something new. So a pass that is broken off anywhere is repeated from the marks, and ends in the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from barograph.contract import Contract, format_duration

from streams.registry.registry import Registry
from streams.scorer import label_delay as label_ages
from streams.scorer.freeze import Freezer
from streams.scorer.label_delay import LEARNED_DAYS, LabelDelayCurve
from streams.scorer.reference import References
from streams.scorer.rules import breaks_of, dimensions_at
from streams.scorer.statement_chunks import chunks, cut, slices
from streams.scorer.verdicts import Judge
from streams.scorer.windows import DAY_S, Now, lengths, start_of, starts_between
from warehouse.client import Client
from warehouse.scoring import arrivals, results, state
from warehouse.scoring.arrivals import Marks, Seen
from warehouse.scoring.rules import Rules

WINDOWS_AT_ONCE = 200
"""So many windows are judged at once, …"""
SAME_SHARE = 1e-3
"""A curve of maturity that differs by no more from the last one is not written."""
STATE_S = 7 * DAY_S
"""… of no more than so much time together, unless one is longer: what bounds the state that is read."""


@dataclass(frozen=True, slots=True)
class Looked:
    """Up to where the topics have been looked at, and will have been."""

    predictions: Marks
    predictions_later: Marks
    labels: Marks
    labels_later: Marks


@dataclass(frozen=True, slots=True)
class Done:
    """What a pass did for a model."""

    arrived: int
    """Rows beyond the marks."""
    scored: int
    """Score windows counted anew."""
    revised: int
    """Rows of `performance` written."""


@dataclass
class ModelScorer:
    """What is kept of one model between passes; it can be made anew at any time."""

    rules: Rules
    seen: dict[int, Seen] = field(default_factory=dict)
    """Predictions beyond the marks, by hour,"""
    seen_labels: dict[int, Seen] = field(default_factory=dict)
    """… and labels, by the hour of their prediction."""
    later: tuple[dict[int, Seen], dict[int, Seen]] = field(default_factory=lambda: ({}, {}))
    """Both beyond the marks to come."""
    open: set[int] = field(default_factory=set)
    """Score windows that changed and have not ended."""
    unjudged: dict[int, set[int]] = field(default_factory=dict)
    """Windows, by length, that changed and have not ended."""
    immature: dict[int, set[int]] = field(default_factory=dict)
    """Windows, by length, whose labels were not mature when they were judged."""
    references: References | None = None
    ages: LabelDelayCurve | None = None
    """As they were learned last."""
    newest_ms: int = 0
    judge_since_s: int | None = None
    """Windows from then on are judged anew, since a reference was frozen that they were not held against."""
    check: Callable[[], None] = lambda: None
    """Called between statements: raises to break the pass off."""

    def __post_init__(self) -> None:
        """Make what freezes references; it keeps which weeks are none."""
        self.freezer = Freezer(self.rules)

    @classmethod
    def start(
        cls, client: Client, contract: Contract, rules: Rules, row: results.ModelRow | None, now: Now
    ) -> ModelScorer:
        """Take up a model where the last process left it.

        What ended since then, or had not ended, is looked at whether or not something came.
        """
        made = cls(rules)
        if row is None or row.basis != rules.basis:
            return made
        made.newest_ms = round(row.newest_at.timestamp() * 1000)
        until_s = row.scored_until.timestamp()
        made.open = set(
            state.windows_in(client, rules, start_of(int(until_s), rules.window_s), int(now.second) + rules.window_s)
        )
        known = results.immature(client, contract.model)
        for length_s in lengths(contract, rules.window_s):
            made.unjudged[length_s] = set(starts_between(until_s, now.second, length_s))
            made.immature[length_s] = known.get(format_duration(length_s), set())
        if results.frozen_since(client, rules, row.updated_at):
            made.judge_since_s = min(state.first_windows(client, rules).values(), default=None)
        return made

    def move_marks(self) -> None:
        """The marks moved on: what lay beyond the ones to come lies beyond the present ones."""
        self.seen, self.seen_labels = self.later
        self.later = ({}, {})

    def run(
        self, client: Client, contract: Contract, registry: Registry, looked: Looked | None, now: Now, now_ms: int
    ) -> Done:
        """Do the pass.

        Args:
            client: the warehouse.
            contract: of the model.
            registry: with its baselines.
            looked: the marks, beyond which rows of the model lie; None where there are none.
            now: in event time.
            now_ms: by the clock of the scorer.
        """
        changed, arrived = (set[int](), 0) if looked is None else self._arrive(client, looked, now_ms)
        touched = self.rules.windows_of(changed) | self.open
        ended, still_open = now.split(touched, self.rules.window_s)
        for windows in chunks(client, self.rules, ended, breaks_of(registry, contract.model)):
            self.check()
            dimensions = dimensions_at(contract, registry, windows[0])
            state.score_windows(client, self.rules, dimensions, windows, now_ms)
        revised = self._judge(client, contract, registry, ended, still_open, now, now_ms)
        self.open = still_open
        return Done(arrived, len(ended), revised)

    # ------------------------------------------------------------------------------------------ what came

    def _arrive(self, client: Client, looked: Looked, now_ms: int) -> tuple[set[int], int]:
        """Place what came; return the hours that it changes and how many rows it is."""
        rules = self.rules
        came = arrivals.look_at_predictions(client, rules, looked.predictions, looked.predictions_later)
        changed = {hour for hour, seen in came.seen.items() if self.seen.get(hour) != seen}
        for hours in cut(changed, {hour: seen.rows for hour, seen in came.seen.items()}, arrivals.LABELS_AT_ONCE):
            self.check()
            arrivals.note_hours(client, rules, looked.predictions, hours)
        repeats = set()
        for hours in cut(changed, {hour: seen.rows for hour, seen in came.seen.items()}, arrivals.LABELS_AT_ONCE):
            self.check()
            repeats |= arrivals.spread_labels(
                client, rules, looked.predictions, hours, detected_on=now_ms // (DAY_S * 1000)
            )
        labels = arrivals.place_labels(client, rules, looked.labels, looked.labels_later, self.seen_labels)
        changed |= repeats
        changed |= {hour for hour, seen in labels.seen.items() if hour and self.seen_labels.get(hour) != seen}
        self.seen, self.seen_labels = came.seen, labels.seen
        self.later = (came.later, labels.later)
        return changed, came.rows + labels.rows

    # ------------------------------------------------------------------------------------------ what it shows

    def _judge(
        self,
        client: Client,
        contract: Contract,
        registry: Registry,
        scored: set[int],
        still_open: set[int],
        now: Now,
        now_ms: int,
    ) -> int:
        due: dict[int, set[int]] = {}
        if scored or self.ages is None:
            self.ages = self._learn(client, contract, now, now_ms, write=bool(scored))
        for length_s in lengths(contract, self.rules.window_s):
            touched = {start_of(window, length_s) for window in scored | still_open}
            ended, self.unjudged[length_s] = now.split(touched | self.unjudged.get(length_s, set()), length_s)
            waiting = self.immature.get(length_s, set())
            due[length_s] = ended | self._mature(waiting, length_s, now)
            self.immature[length_s] = waiting | ended
        if not any(due.values()) and self.judge_since_s is None:
            return 0
        self._freeze(client, contract, registry, now, now_ms)
        assert self.references is not None
        if self.judge_since_s is not None:
            for length_s, windows in due.items():
                windows |= now.split(starts_between(self.judge_since_s, now.second, length_s), length_s)[0]
        judge = Judge(contract, self.rules, self.ages, self.references, now)
        revised = 0
        for length_s, windows in due.items():
            for starts in slices(sorted(windows), max(1, min(WINDOWS_AT_ONCE, STATE_S // length_s))):
                self.check()
                found = state.merged(client, self.rules, length_s, starts)
                columns = judge.rows(length_s, found, now_ms)
                revised += results.revise(client, contract.model, format_duration(length_s), columns)
            self.immature[length_s] -= self._mature(self.immature[length_s], length_s, now)
        self.judge_since_s = None
        return revised

    def _freeze(self, client: Client, contract: Contract, registry: Registry, now: Now, now_ms: int) -> None:
        """Freeze what can be; then everything since is judged anew, so that it does not matter when that was."""
        if self.references is None:
            self.references = References(self.rules, results.references(client, self.rules))
        self.freezer.check = self.check
        since_s = self.freezer.freeze(client, contract, registry, self.references.versions, now, now_ms)
        if since_s is not None:
            self.references = References(self.rules, results.references(client, self.rules))
            self.judge_since_s = min(each for each in (since_s, self.judge_since_s) if each is not None)

    def _mature(self, windows: set[int], length_s: int, now: Now) -> set[int]:
        """Those of some windows (starts) whose labels are mature."""
        assert self.ages is not None
        starts = np.array(sorted(windows), dtype=np.float64)
        age_s = np.maximum(0.0, now.second - starts - length_s)
        return {int(start) for start in starts[self.ages.is_mature(age_s)]}

    def _learn(self, client: Client, contract: Contract, now: Now, now_ms: int, *, write: bool) -> LabelDelayCurve:
        first_s = now.second - self.rules.horizon_ms / 1000 - LEARNED_DAYS * DAY_S
        came = state.label_ages(client, self.rules, int(first_s))
        ages = label_ages.learn(contract, self.rules, came, now)
        row = label_ages.row_of(self.rules, ages, came, now_ms) if write else None
        if row is not None and _differ(row["shares"], results.last_maturity(client, self.rules)):
            results.write_maturity(client, row)
        return ages


def _differ(shares: Sequence[float], before: Sequence[float]) -> bool:
    return len(shares) != len(before) or not np.allclose(shares, before, atol=SAME_SHARE, equal_nan=True)
