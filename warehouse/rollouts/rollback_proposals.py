"""Proposals to roll a prompt back: one for each model, label, version and control, at the first harm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from barograph.contract import Contract
from barograph.prompts.prompt import parse_prompt_id

from barograph_server.warehouse.client import Client
from barograph_server.warehouse.queries import rows_of
from barograph_server.warehouse.rollouts.arm_comparisons import ArmComparison
from barograph_server.warehouse.tables import insert_records


@dataclass(frozen=True, slots=True)
class RollbackProposal:
    """A row of `rollback_proposals`."""

    model: str
    prompt: str
    label: str
    version: int
    control: str
    arm: str
    target: str
    mode: str
    at: datetime
    """End of the newest hour of the evidence."""
    reason: str
    proposed_at: datetime

    @property
    def key(self) -> tuple[str, str, str, int, str]:
        """What has one proposal only."""
        return self.model, self.prompt, self.label, self.version, self.control


def read_proposals(client: Client, *, model: str | None = None, mode: str | None = None) -> list[RollbackProposal]:
    """Read proposals in order of their evidence: all, or those of a model, of a mode, or of both."""
    expected = {name: value for name, value in (("model", model), ("mode", mode)) if value is not None}
    where = " AND ".join(["true", *(f"{name} = {{{name}:String}}" for name in expected)])
    sql = f"FROM rollback_proposals FINAL WHERE {where} ORDER BY at, model, prompt, label, version, control"
    return rows_of(client, RollbackProposal, sql, expected)


def propose_rollbacks(
    client: Client, contract: Contract, looks: Sequence[ArmComparison], now: datetime
) -> list[RollbackProposal]:
    """Write a proposal for each arm with a look and none yet; return the new ones.

    Args:
        client: the warehouse.
        contract: the contract, with `rollback`.
        looks: new looks at its arms whose outcome is harm.
        now: the scorer's clock.
    """
    rollback = contract.rollback
    assert rollback is not None
    harmful: dict[str, list[ArmComparison]] = {}
    for row in looks:
        harmful.setdefault(row.arm, []).append(row)
    if not harmful:
        return []
    known = {each.key for each in read_proposals(client, model=contract.model)}
    proposals = []
    for arm, of_arm in sorted(harmful.items()):
        _, version = parse_prompt_id(arm)
        assert version is not None
        at = max(row.at for row in of_arm)
        newest = [row for row in of_arm if row.at == at]
        proposal = RollbackProposal(
            model=contract.model,
            prompt=rollback.prompt,
            label=rollback.label,
            version=version,
            control=newest[0].control,
            arm=arm,
            target=rollback.to,
            mode=rollback.mode,
            at=at,
            reason=f"{arm} is worse than {newest[0].control} in {contract.model}, as of {at:%Y-%m-%d %H:%M} UTC: "
            + "; ".join(row.text for row in newest),
            proposed_at=now,
        )
        if proposal.key not in known:
            proposals.append(proposal)
    insert_records(client, "rollback_proposals", proposals)
    return proposals
