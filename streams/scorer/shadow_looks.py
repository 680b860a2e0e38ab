"""Keeps the looks at a candidate in `shadow_verdicts` equal to what its pairs say."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from barograph.contract import ShadowTest

from barograph_server.sketches.rollout.after_promotion import is_after_promotion
from barograph_server.sketches.rollout.looks import decide_at, look_days
from barograph_server.sketches.rollout.mirror import judged
from barograph_server.streams.scorer.freeze import Pass
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.queries import contract_history
from barograph_server.warehouse.rollouts.days import shadow_days
from barograph_server.warehouse.rollouts.verdicts import look_rows, remove_others, stored_looks, write_looks
from barograph_server.warehouse.scoring.rules import Rules

MAX_TIME_SHARE = 0.02
"""Largest share of the time that the looks of a model take. A check reads the sums of all days, so while labels
arrive in every pass, it is not made in every pass."""
MAX_ROWS = 20_000
"""Rows after which looks are written."""


@dataclass
class ShadowLooks:
    """The state of one model's looks between passes. It can be rebuilt from stored rows at any time."""

    monotonic: Callable[[], float] = time.monotonic
    shadow: ShadowTest | None = None
    """The section of the contract at the last pass."""
    has_changed: bool = field(default=True)
    """Whether pairs, labels or the contract may have changed since the last check."""
    next_s: float = 0.0
    """Time of the next check, by `monotonic`."""

    def run(
        self, client: Client, rules: Rules, this: Pass, check_stop: Callable[[], None], *, has_changed: bool
    ) -> None:
        """Compute the looks whose days changed, if a check is due, and write them.

        Every look is a function of the pairs, and it is stored with a hash of its inputs. So a pass that breaks off is
        continued by the next one, and unchanged looks are not written again.

        Args:
            check_stop: called between looks; it raises to break off.
            has_changed: whether the pass counted pairs or measured windows.
        """
        shadow = this.contract.shadow
        self.has_changed = self.has_changed or has_changed or shadow != self.shadow
        self.shadow = shadow
        start_s = self.monotonic()
        if shadow is None or not self.has_changed or start_s < self.next_s:
            return
        self._write_looks(client, shadow, rules, this, check_stop)
        self.has_changed = False
        end_s = self.monotonic()
        self.next_s = end_s + (end_s - start_s) / MAX_TIME_SHARE

    def _write_looks(
        self, client: Client, shadow: ShadowTest, rules: Rules, this: Pass, check_stop: Callable[[], None]
    ) -> None:
        assert rules.shadow is not None
        settings, timezone = rules.pair_settings.hash, this.contract.timezone
        slices = shadow_days(client, rules.model, shadow.candidate, shadow.of, rules.basis, settings, timezone)
        # After a promotion, the looks are those at the new primary.
        exchanged = is_after_promotion(shadow, (each.yaml for each in contract_history(client, rules.model)))
        shadow, slices = judged(shadow, slices, after_promotion=exchanged)
        looks = look_days(shadow, rules.basis, slices, after_promotion=exchanged) if slices else []
        stored = stored_looks(client, rules.model, rules.shadow)
        # The newer row counts, whatever the clock says.
        judged_ms = max(this.now_ms, stored.newest_ms + 1)
        rows: list[dict[str, Any]] = []
        for due_day in (each for each in looks if each not in stored.looks):
            check_stop()
            decision = decide_at(shadow, slices, due_day.day)
            rows += look_rows(
                *(rules.model, rules.shadow, rules.basis, timezone, due_day, decision, judged_ms),
                after_promotion=exchanged,
            )
            if len(rows) >= MAX_ROWS:
                write_looks(client, rows)
                rows = []
        if rows:
            write_looks(client, rows)
        if stored.has_others or not stored.looks <= set(looks):
            remove_others(client, rules.model, rules.shadow, looks, judged_ms + 1)
