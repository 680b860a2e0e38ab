"""What the checks of one model read: its contract, the warehouse, the clock and the options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from barograph.contract import Contract
from barograph.contract.file import ContractError, parse_contract

from barograph_server.finding import FindingLevel
from barograph_server.governance.debt.finding import ACTIONS, DebtFinding
from barograph_server.governance.debt.name_reads import NameReads
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.governance.debt import DebtRows
from barograph_server.warehouse.queries import contract_history


@dataclass(frozen=True, slots=True)
class DebtScope:
    """The input of a check."""

    client: Client
    contract: Contract
    """The contract in force."""
    at: datetime
    """The clock: later events, labels and queries do not count."""
    days: int | None
    """Replaces the days of every rule; None: each rule has its own."""
    margin: float | None
    """Replaces the margins of the contract."""
    reads: NameReads
    declared: Mapping[str, datetime]
    """See `declared_names`."""

    def start(self, days: int) -> datetime:
        """Return the time before the clock at which the days of a rule begin, from its default."""
        return self.at - timedelta(days=days if self.days is None else self.days)

    @property
    def rows(self) -> DebtRows:
        """The rows of the model before the clock."""
        return DebtRows(self.client, self.contract.model, self.at)

    def finding(
        self, kind: str, subject: str, since: datetime | None, reason: str, column: str = "", *values: str
    ) -> DebtFinding:
        """Make a finding of the model, whose owners (else its team) are those of the finding."""
        return DebtFinding(
            subject,
            FindingLevel.WARNING,
            reason,
            ACTIONS[kind],
            kind=kind,
            model=self.contract.model,
            since=since,
            owner=", ".join(self.contract.owners) or self.contract.team,
            column=column,
            values=(values or (subject,)) if column else (),
        )


def declared_names(client: Client, contract: Contract) -> dict[str, datetime]:
    """Return since when the contract has its fields (`x`) and slices (`region=`, `region=north`).

    A name that was removed and added again counts from its return. Contracts that cannot be read are skipped.
    """
    declared: dict[str, datetime] = {}
    for row in contract_history(client, contract.model):
        try:
            applied = parse_contract(row.yaml, f"contract of {contract.model}")
        except ContractError:
            continue
        names = [field.name for field in applied.fields]
        names += [f"{dimension.name}={value}" for dimension in applied.slices for value in ("", *dimension.values)]
        declared = {name: declared.get(name, row.applied_at) for name in names}
    return declared
