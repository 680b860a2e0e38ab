"""Pairs a candidate's predictions with those of the primary, in the score windows that changed."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from barograph_server.streams.scorer.checkpoint import ReadRange
from barograph_server.streams.scorer.freeze import Pass
from barograph_server.streams.scorer.rules import baseline_changes, dimensions_at
from barograph_server.streams.scorer.statement_chunks import statement_chunks
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.scoring import new_rows, pairs, state
from barograph_server.warehouse.scoring.new_rows import HourRows
from barograph_server.warehouse.scoring.rules import Rules


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
        self,
        client: Client,
        rules: Rules,
        this: Pass,
        read_range: ReadRange | None,
        check_stop: Callable[[], None],
    ) -> int:
        """Count the pairs of the windows that changed, and return the number of shadows read.

        Args:
            this: the pass; its changed windows are those with new predictions or labels, and those still open.
            read_range: the rows to read; None if the model has no rows after the checkpoint.
            check_stop: called between statements; it raises to break off.
        """
        shadows, changed = 0, set(this.changed)
        if read_range is not None:
            start, next_start = read_range.start["shadow_predictions"], read_range.next_start["shadow_predictions"]
            new = new_rows.read_new_predictions(client, rules, start, next_start, "shadow_predictions")
            shadows = new.rows
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
