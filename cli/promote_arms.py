"""The decision about an arm of an A/B test: what it rests on, and its output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from barograph.contract import Arms

from barograph_server.cli.promote_text import criteria_table, evidence_json, forecast_text, print_harmed_slices
from barograph_server.contracts import read_contract
from barograph_server.errors import CommandError
from barograph_server.sketches.rollout.decision import Outcome
from barograph_server.streams.registry.registry import build_registry
from barograph_server.streams.scorer.rules import make_rules, uncountable_reason
from barograph_server.terminal import Terminal
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.rollouts.arm_days import ArmDays, arm_days
from barograph_server.warehouse.rollouts.arm_decision import ArmDecision, decide_about_arm
from barograph_server.warehouse.rollouts.arm_ratios import ArmRatio, last_check


@dataclass(frozen=True, slots=True)
class ArmEvaluation:
    """The decision about an arm, and what it rests on."""

    model: str
    arms: Arms
    arm: str
    whole: ArmDays
    """The daily sums of the slice `all`."""
    ratio: ArmRatio | None
    """The last check of the sample ratio."""
    decision: ArmDecision


def evaluate_arm(client: Client, model: str, arm: str) -> ArmEvaluation:
    """Decide about an arm from all days so far.

    Raises:
        CommandError: the model has no contract, its contract has no such arm or no margins, or nothing was counted.
        ContractError: the contract cannot be read.
    """
    contract = read_contract(client, model)
    arms = contract.arms
    if arms is None or not arms.margins:
        raise CommandError(
            f"The contract of {model} does not say how its arms are judged: add `arms` with `shares` and `margins`, "
            "and run `barograph apply`."
        )
    control, *others = arms.names
    if arm not in others:
        raise CommandError(f"{arm} is not an arm that is compared with {control}: choose one of {', '.join(others)}.")
    reason = uncountable_reason(contract)
    if reason:
        raise CommandError(reason)
    rules = make_rules(contract, build_registry([(contract, 1)], []))
    assert rules.arms is not None
    slices = arm_days(client, model, rules.arms, control, arm, rules.basis, contract.timezone)
    if not slices:
        raise CommandError(
            f"No prediction of the arms {control} and {arm} of {model} has been counted: the scorer counts them once "
            "an hour of events has ended. See `barograph status`."
        )
    ratio = last_check(client, contract)
    return ArmEvaluation(model, arms, arm, slices[0], ratio, decide_about_arm(arms, slices, arm, ratio))


def arm_decision_json(evaluation: ArmEvaluation) -> dict[str, Any]:
    """Convert a decision about an arm to JSON values; numbers that are not finite become null."""
    control, whole, ratio = evaluation.arms.names[0], evaluation.whole, evaluation.ratio
    predictions = whole.sums["predictions"].sum(axis=(0, 2))
    return {
        "model": evaluation.model,
        "arm": evaluation.arm,
        "control": control,
        "outcome": evaluation.decision.outcome.value,
        "obstacles": list(evaluation.decision.obstacles),
        "first_day": whole.days[0],
        "last_day": whole.days[-1],
        "predictions": {control: int(predictions[0]), evaluation.arm: int(predictions[1])},
        "versions": {control: list(whole.versions[0]), evaluation.arm: list(whole.versions[1])},
        "sample_ratio": None
        if ratio is None
        else {
            "p_value": ratio.p_value,
            "level": ratio.level.name,
            "units": {each.arm: each.units for each in ratio.arms},
        },
        **evidence_json(evaluation.decision.comparison),
    }


def print_arm_decision(terminal: Terminal, evaluation: ArmEvaluation) -> None:
    """Print the decision about an arm, its criteria, and the obstacles to a decision."""
    control, arms, comparison = evaluation.arms.names[0], evaluation.arms, evaluation.decision.comparison
    terminal.line(f"{evaluation.model}: arm {evaluation.arm} compared with arm {control}", "bold")
    predictions = evaluation.whole.sums["predictions"].sum(axis=(0, 2))
    ratio = evaluation.ratio
    units = {} if ratio is None else {each.arm: each.units for each in ratio.arms}
    for side, arm in enumerate((control, evaluation.arm)):
        of_units = f" of {units[arm]:,} units" if arms.unit and arm in units else ""
        versions = ", ".join(evaluation.whole.versions[side]) or "none"
        terminal.line(f"  {arm}: {int(predictions[side]):,} predictions{of_units}, versions {versions}")
    if ratio is not None:
        terminal.line(f"ratio of the arms: {ratio.level.name} (p = {ratio.p_value:.2g})")
    terminal.table(criteria_table(comparison))
    terminal.line(
        f"Differences are the quality of arm {evaluation.arm} minus that of arm {control}: above 0 is better."
    )
    if arms.unit:
        terminal.line(
            f"Intervals include that {arms.unit} stays in its arm. Slices are not judged for the same reason."
        )
    print_harmed_slices(terminal, comparison)
    for obstacle in evaluation.decision.obstacles:
        terminal.line(f"not decided: {obstacle}", "yellow")
    outcome = evaluation.decision.outcome
    is_open = outcome is Outcome.insufficient and not evaluation.decision.obstacles
    terminal.line(f"decision: {outcome.value}{forecast_text(comparison) if is_open else ''}", "bold")
