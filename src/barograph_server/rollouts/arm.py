"""The evaluation of an arm of an A/B test against its control."""

from __future__ import annotations

from dataclasses import dataclass

from barograph.contract import Arms

from barograph_server.contracts import read_contract
from barograph_server.errors import CommandError
from barograph_server.rollouts.arm_decision import ArmDecision, decide_about_arm
from barograph_server.streams.registry.registry import build_registry
from barograph_server.streams.scorer.rules import make_rules, uncountable_reason
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.rollouts.arm_days import ArmDays, arm_days
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
