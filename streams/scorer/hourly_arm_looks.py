"""Looks at the arms of a prompt after every hour, and the proposals that follow from them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from barograph.contract import Arms, Contract, Rollback

from barograph_server.sketches.baseline.levels import Level
from barograph_server.streams.scorer.arm_comparison import compare_hours, rollback_proposals
from barograph_server.streams.scorer.freeze import Pass
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.rollouts.arm_comparisons import (
    COLUMNS,
    HARM,
    ArmComparison,
    newest_looks,
    own_margins,
    write_comparisons,
)
from barograph_server.warehouse.rollouts.arm_hours import arm_hours, newest_end
from barograph_server.warehouse.rollouts.arm_ratios import last_check
from barograph_server.warehouse.rollouts.rollback_proposals import read_proposals, write_proposals
from barograph_server.warehouse.scoring.rules import Rules


@dataclass
class HourlyArmLooks:
    """One model's looks between passes. A look is computed once, from what had been counted then."""

    sections: tuple[Arms | None, Rollback | None] = (None, None)
    """The sections of the contract at the last pass."""

    def run(
        self, client: Client, rules: Rules, this: Pass, check_stop: Callable[[], None], *, has_changed: bool
    ) -> None:
        """Compute the looks that are new, and write them.

        Proposals are written first: after a pass that broke off, the next one computes the same looks and finds them.

        Args:
            check_stop: called between arms; it raises to break off.
            has_changed: whether the pass counted arms.
        """
        contract = this.contract
        sections = contract.arms, contract.rollback
        if rules.arms is None or contract.arms is None or contract.rollback is None:
            self.sections = sections
            return
        if not has_changed and sections == self.sections:
            return
        names = own_margins(contract.rollback)
        if not names:
            self.sections = sections
            return
        newest = newest_looks(client, contract.model)
        control, *others = contract.arms.names
        looks: list[ArmComparison] = []
        for arm in others:
            check_stop()
            last = {name: newest.get((control, arm, name), 0) for name in names}
            if min(last.values()) >= newest_end(client, contract.model, rules.arms, control, arm, rules.basis):
                continue
            hours = arm_hours(client, contract.model, rules.arms, control, arm, rules.basis, COLUMNS)
            if hours is not None:
                looks += compare_hours(contract.model, contract.arms, contract.rollback, arm, hours, last)
        self._propose(client, contract, looks, this.now_ms)
        write_comparisons(client, looks, this.now_ms)
        self.sections = sections

    def _propose(self, client: Client, contract: Contract, looks: Sequence[ArmComparison], now_ms: int) -> None:
        """Propose rollbacks, unless the arms have other shares of units than planned: then chance does not assign."""
        harmful = [each for each in looks if each.outcome == HARM]
        if not harmful:
            return
        log = structlog.get_logger().bind(model=contract.model)
        ratio = last_check(client, contract)
        if ratio is not None and ratio.level in (Level.minor, Level.major):
            log.warning("no rollback proposed, since the ratio of the arms differs from the plan", p=ratio.p_value)
            return
        known = {each.key for each in read_proposals(client, model=contract.model)}
        proposals = rollback_proposals(contract, harmful, datetime.fromtimestamp(now_ms / 1000, UTC))
        new = [each for each in proposals if each.key not in known]
        write_proposals(client, new)
        for proposal in new:
            log.warning("rollback proposed", reason=proposal.reason)
