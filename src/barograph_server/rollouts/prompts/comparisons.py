"""The comparison of arms that serve versions of a prompt: its output."""

import math
from dataclasses import dataclass, replace

from barograph.contract import PREVIOUS, Rollback
from barograph.contract.evaluator_contracts import evaluator_model

from barograph_server.contracts import read_contract
from barograph_server.errors import CommandError
from barograph_server.terminal import AlignedTable, Terminal, utc_minute
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.rollouts.arm_comparisons import ArmComparison, last_comparisons
from barograph_server.warehouse.rollouts.rollback_proposals import RollbackProposal, read_proposals

STYLES = {"harm": "red", "no-harm": "green"}
OUTCOMES = {"no-harm": "no harm"}
"""Outcomes whose words differ from those of the table."""


@dataclass(frozen=True, slots=True)
class PromptComparisons:
    """What is known about the arms of a model."""

    model: str
    rollback: Rollback
    looks: tuple[ArmComparison, ...]
    """The last look at each arm and criterion of the contract."""
    proposals: tuple[RollbackProposal, ...]


def read_comparisons(client: Client, model: str) -> PromptComparisons:
    """Read the last looks at the arms of a model.

    Raises:
        ContractError: the contract cannot be read.
    """
    contract = read_contract(client, model)
    if contract.rollback is None or contract.arms is None:
        raise CommandError(
            f"The contract of {model} does not compare prompts: add `rollback` and `arms`, and run `barograph apply`."
        )
    control, *others = contract.arms.names
    rows = last_comparisons(client, model)
    proposals = read_proposals(client, model=model)
    for name in contract.evaluators:
        if name in contract.rollback.margins:
            own = evaluator_model(model, name)
            rows += [replace(row, criterion=name) for row in last_comparisons(client, own)]
            proposals += read_proposals(client, model=own)
    looks = tuple(
        row
        for row in rows
        if row.control == control and row.arm in others and row.criterion in contract.rollback.margins
    )
    if not looks:
        raise CommandError(
            f"No hour of {model} has predictions of {control} and another arm yet: the scorer compares them once an "
            "hour of events has ended. See `barograph status`."
        )
    of_arms = tuple(each for each in proposals if each.arm in others)
    return PromptComparisons(model, contract.rollback, looks, of_arms)


def print_comparisons(terminal: Terminal, comparisons: PromptComparisons) -> None:
    """Print a line for each arm and criterion, and the proposals to roll back."""
    control = comparisons.looks[0].control
    terminal.line(f"{comparisons.model}: prompt {comparisons.rollback.prompt}, compared with {control}", "bold")
    table = AlignedTable(
        *("arm", "criterion", "difference", "interval", "margin", "predictions", "units", "last look", "outcome"),
        numbers=("difference", "margin", "predictions", "units"),
    )
    for row in comparisons.looks:
        unit = " points" if row.unit == "share" else " %"
        interval = f"{_number(row.low)} to {_number(row.high)}" if math.isfinite(row.low) else "–"
        table.row(
            row.arm,
            row.criterion,
            f"{_number(row.value)}{unit}" if math.isfinite(row.value) else "–",
            interval,
            f"{100 * row.margin:.4g}",
            f"{row.control_events:,} and {row.arm_events:,}",
            f"{row.control_units:,} and {row.arm_units:,}",
            utc_minute(row.at),
            OUTCOMES.get(row.outcome, row.outcome),
            style=STYLES.get(row.outcome, ""),
        )
    terminal.table(table)
    terminal.line(
        f"Differences are arm minus {control}: above 0 is worse. Predictions and units: of {control} and of the arm."
    )
    for each in comparisons.proposals:
        target = "the version before" if each.target == PREVIOUS else each.target
        terminal.line(
            f"proposed at {utc_minute(each.proposed_at)}: roll {each.prompt}:{each.label} back from {each.version} to "
            f"{target} ({each.mode}): {each.reason}",
            "yellow",
        )


def _number(value: float) -> str:
    return f"{100 * value:+.2f}"
