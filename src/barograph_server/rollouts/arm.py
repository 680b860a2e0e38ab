"""The evaluation of an arm of an A/B test against its control, and the decision about it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from barograph.contract import Arms

from barograph_server.contracts import read_contract
from barograph_server.errors import CommandError
from barograph_server.sketches.baseline.baseline import ALL
from barograph_server.sketches.baseline.levels import Level
from barograph_server.sketches.rollout.criteria import typical_error
from barograph_server.sketches.rollout.decision import (
    Criterion,
    CriterionDays,
    Outcome,
    ShadowDecision,
    SliceDays,
    decide,
)
from barograph_server.sketches.rollout.split_traffic import arm_differences, unit_variances
from barograph_server.streams.registry.registry import build_registry
from barograph_server.streams.scorer.rules import make_rules, uncountable_reason
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.rollouts.arm_days import ArmDays, FloatArray, arm_days
from barograph_server.warehouse.rollouts.arm_ratios import ArmRatio, last_check

LEAST_UNITS = 100
"""Least units of each arm. The variance by their assignment is estimated from buckets of units."""
_COLUMNS = {
    "accuracy": ("right", "labelled", 1.0),
    "brier": ("brier", "scored", -1.0),
    "log_loss": ("loss", "scored", -1.0),
    "mae": ("error", "scored", -1.0),
    "latency": ("log_latency", "timed", -1.0),
    "errors": ("failed", "predictions", -1.0),
}
"""Of each criterion the columns of its sum and its count, and the sign that makes more the better."""
_LABELLED = frozenset({"accuracy", "brier", "log_loss", "mae"})
"""Criteria that use only days with mature labels."""


@dataclass(frozen=True, slots=True)
class ArmDecision:
    """The decision about an arm, and the obstacles to it."""

    comparison: ShadowDecision
    """What the days show."""
    obstacles: tuple[str, ...]
    """Why nothing can be concluded from them; empty if it can."""

    @property
    def outcome(self) -> Outcome:
        """The decision: `insufficient` if there is an obstacle."""
        return Outcome.insufficient if self.obstacles else self.comparison.outcome


def decide_about_arm(arms: Arms, slices: Sequence[ArmDays], arm: str, ratio: ArmRatio | None) -> ArmDecision:
    """Decide about an arm.

    Slices are judged if each prediction is assigned by itself. With another unit, the chance assignment of units would
    look like a difference in some of them.

    Args:
        arms: the contract's section; it has margins.
        slices: the daily sums of control and arm by slice, `all` among them.
        ratio: the last check of the sample ratio; None if there is none yet.
    """
    (whole,) = (each for each in slices if each.slice == ALL)
    criteria = [_criterion_days(name, margin, arms, whole) for name, margin in arms.margins.items()]
    parts = []
    for each in slices:
        for name in arms.margins if not arms.unit else ():
            if each.slice != ALL:
                sums, counts = _totals(name, each)
                differences, weights = arm_differences(sums.sum(axis=-1), counts.sum(axis=-1))
                parts.append(SliceDays(each.slice, name, differences, weights, _unit(name, each)))
    comparison = decide(criteria, parts)
    days = min(verdict.days for verdict in comparison.criteria)
    return ArmDecision(comparison, tuple(_obstacles(arms, arm, days, ratio)))


def _criterion_days(name: str, margin: float, arms: Arms, whole: ArmDays) -> CriterionDays:
    sums, counts = _totals(name, whole)
    differences, weights = arm_differences(sums.sum(axis=-1), counts.sum(axis=-1))
    known = unit_variances(sums, counts) if arms.unit and len(sums) else ([0.0], [math.inf])
    variance, freedom = (float(each[-1]) for each in known)
    limit = math.log1p(margin) if name == "latency" else margin
    return CriterionDays(
        Criterion(name, limit, arms.worst_day),
        differences,
        weights,
        unit_variance=variance,
        unit_freedom=freedom,
        unit=_unit(name, whole),
    )


def _unit(name: str, days: ArmDays) -> float:
    """Return the size of one typical event: of absolute errors, which can have any unit, the control's mean error."""
    if name != "mae":
        return 1.0
    sums, counts = (each[:, 0].sum(axis=-1) for each in _totals(name, days))
    return typical_error(-sums, counts)


def _totals(name: str, days: ArmDays) -> tuple[FloatArray, FloatArray]:
    """Return the sums and counts of a criterion on the days that it uses, each (days, 2, buckets)."""
    total, count, sign = _COLUMNS[name]
    used = days.ended & days.mature if name in _LABELLED else days.ended
    return np.asarray(sign * days.sums[total][used], np.float64), days.sums[count][used]


def _obstacles(arms: Arms, arm: str, days: int, ratio: ArmRatio | None) -> list[str]:
    obstacles = []
    if days < arms.days:
        obstacles.append(f"{days} of the {arms.days} days that the contract asks for have both arms")
    if ratio is None:
        return [*obstacles, "the ratio of the arms has not been checked yet: the scorer checks it every ten minutes"]
    if ratio.level in (Level.minor, Level.major):
        obstacles.append(
            f"the arms have other shares of units than the contract states (p = {ratio.p_value:.2g}): the units of the "
            "arms may differ, so find out why before you compare them"
        )
    control = arms.names[0]
    obstacles += [
        f"arm {each.arm} has {each.units} units, fewer than {LEAST_UNITS}"
        for each in ratio.arms
        if arms.unit and each.arm in (control, arm) and each.units < LEAST_UNITS
    ]
    return obstacles


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
