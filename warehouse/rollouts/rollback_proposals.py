"""Proposals to roll a prompt back: one for each model, label, version and control, at the first harm."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from barograph_server.warehouse.client import Client
from barograph_server.warehouse.queries import rows_of
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


def write_proposals(client: Client, proposals: Sequence[RollbackProposal]) -> None:
    """Store proposals. Raises as `insert_records`."""
    insert_records(client, "rollback_proposals", proposals)
