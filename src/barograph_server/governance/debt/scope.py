"""What the checks of one model read: its contract, the warehouse, the clock and the options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from barograph.contract import Contract
from barograph.contract.file import ContractError, parse_contract

from barograph_server.finding import Finding, FindingLevel
from barograph_server.governance.debt.name_reads import NameReads
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.governance.debt import DebtRows
from barograph_server.warehouse.queries import contract_history


@dataclass(frozen=True, slots=True)
class DebtScope:
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


ACTIONS = {
    "version without traffic": "remove it from serving, deployments and shadow; a baseline stays (docs/debt.md)",
    "dead arm": "remove it from arms.shares and from the code that assigns arms",
    "arm without labels": "correct the join of its labels, or remove it from arms.shares",
    "decided arm": "end the test: delete this arm or its control",
    "slice without events": "leave the value out of `values`, or accept a baseline with a smaller `top`",
    "slice without readers": "remove it from slices",
    "constant field": "move it from fields to ignored, unless its source is broken",
    "field without values": "correct its source, or move it from fields to ignored",
    "field without readers": "move it from fields to ignored",
    "source without owner": "state its owner in sources",
    "field with several sources": "let one source compute it",
    "producer that differs": "compare its code, libraries and requests with those of the others",
    "feature computed twice": "compute it once: remove one from the model, then from fields",
}
"""Every kind of finding, and what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DebtFinding(Finding):
    """Something that nothing uses, or whose origin is unclear. The subject of two features names both."""

    kind: str
    """A key of `ACTIONS`."""
    model: str
    since: datetime | None
    """Since when the condition of the rule holds, UTC; None if the rule has no time."""
    owner: str
    """Whom to ask; empty if nobody is declared."""
    column: str = ""
    """The column of stored tables that has the subject; empty if no rows are its own."""
    values: tuple[str, ...] = ()
    """The values of that column."""
    stored_bytes: int | None = None
    """Estimated bytes on disk; None if unknown, or if no rows are its own."""
    rows_per_day: float | None = None
    """Rows that were stored per day in the last week."""


Outcome = DebtFinding | str | None
"""Of each thing that a check examines: a finding, why it could not be evaluated, or None."""


@dataclass(frozen=True, slots=True)
class DebtReport:
    at: datetime
    """The clock of the rules."""
    findings: tuple[DebtFinding, ...]
    evaluated: int
    """How many things were evaluated, those of the findings included."""
    notes: tuple[str, ...]
    """What could not be evaluated, and why."""
