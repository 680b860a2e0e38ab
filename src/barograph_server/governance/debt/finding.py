"""What a check finds in the contract and the stored results of one model."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from barograph_server.finding import Finding

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
    """The outcomes of all checks."""

    at: datetime
    """The clock of the rules."""
    findings: tuple[DebtFinding, ...]
    evaluated: int
    """How many things were evaluated, those of the findings included."""
    notes: tuple[str, ...]
    """What could not be evaluated, and why."""
