"""Counts the arms of an A/B test in the score windows that changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from barograph_server.streams.scorer.freeze import Pass
from barograph_server.streams.scorer.rules import baseline_changes, dimensions_at
from barograph_server.streams.scorer.statement_chunks import statement_chunks
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.scoring import arms, state
from barograph_server.warehouse.scoring.rules import ArmTest, Rules


@dataclass
class ArmCounting:
    """What was counted last, of one model. It can be rebuilt from stored rows at any time."""

    test: ArmTest | None = None
    open_windows: set[int] = field(default_factory=set)
    """Score windows that changed and have not ended."""

    def run(self, client: Client, rules: Rules, this: Pass, check_stop: Callable[[], None]) -> bool:
        """Count the arms in the windows that changed, and return whether there were any.

        Args:
            rules: the model's scoring rules.
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
