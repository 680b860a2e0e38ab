"""Comparison of arms by the hour, by the criteria of a contract's section `rollback`, and proposals to roll back."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
from barograph.contract import Arms, Contract, Rollback
from barograph.prompts.prompt import parse_prompt_id
from numpy.typing import NDArray

from barograph_server.sketches.rollout.arm_looks import arm_looks
from barograph_server.warehouse.rollouts.arm_comparisons import (
    CRITERIA,
    HARM,
    INSUFFICIENT,
    NO_HARM,
    UNDECIDED,
    ArmComparison,
    CriterionColumns,
    own_margins,
)
from barograph_server.warehouse.rollouts.arm_hours import ArmHours
from barograph_server.warehouse.rollouts.rollback_proposals import RollbackProposal

FloatArray = NDArray[np.float64]

ALPHA = 0.05
"""Probability of a false proposal over a whole test, all arms and criteria together."""


def compare_hours(
    model: str, arms: Arms, rollback: Rollback, arm: str, hours: ArmHours, after: Mapping[str, int]
) -> list[ArmComparison]:
    """Compare an arm with the control at the ends of hours, by every criterion with a margin.

    Args:
        hours: its sums and those of the control.
        after: time (Unix seconds) by criterion: only later ends are returned; without one, all.
    """
    control, others = arms.names[0], arms.names[1:]
    alpha = ALPHA / ((rollback.criteria or len(rollback.margins)) * len(others))
    has_units = np.ones(len(hours.ends), np.bool_)
    if arms.unit:
        has_units = hours.units.min(axis=-1) >= rollback.units
    rows = []
    for name, margin in own_margins(rollback).items():
        is_new = hours.ends > after.get(name, 0)
        if not is_new.any():
            continue
        columns = CRITERIA[name]
        looks = arm_looks(
            hours.sums[columns.events],
            hours.sums[columns.total],
            hours.sums[columns.squares].sum(axis=-1),
            by_unit=bool(arms.unit),
            is_ratio=columns.scale == "mean",
            alpha=alpha,
            least_events=rollback.events,
        )
        enough = looks.enough & has_units
        low, high = np.where(enough, looks.low, -np.inf), np.where(enough, looks.high, np.inf)
        value, low, high = (
            _in_margin_unit(each, columns, looks.control_mean) for each in (looks.difference, low, high)
        )
        enough &= np.isfinite(value)
        outcomes = np.select([~enough, low > margin, high <= margin], [INSUFFICIENT, HARM, NO_HARM], UNDECIDED)
        means = np.exp(looks.control_mean) if columns.scale == "log" else looks.control_mean * columns.factor
        rows += [
            ArmComparison(
                model=model,
                control=control,
                arm=arm,
                criterion=name,
                at=datetime.fromtimestamp(int(hours.ends[i]), UTC),
                value=float(value[i]),
                low=float(low[i]) if enough[i] else -math.inf,
                high=float(high[i]) if enough[i] else math.inf,
                margin=margin,
                unit="share" if columns.scale == "share" else "ratio",
                control_value=float(means[i]),
                control_events=int(looks.events[i, 0]),
                arm_events=int(looks.events[i, 1]),
                control_units=int(hours.units[i, 0]),
                arm_units=int(hours.units[i, 1]),
                outcome=str(outcomes[i]),
            )
            for i in np.flatnonzero(is_new)
        ]
    return rows


def _in_margin_unit(values: FloatArray, columns: CriterionColumns, control_mean: FloatArray) -> FloatArray:
    """Convert differences to the unit of the margin: a share, or a relative difference."""
    if columns.scale == "share":
        return values
    if columns.scale == "log":
        # An unknown end is -inf or inf, and -1 or inf as a ratio; the caller restores it.
        return np.asarray(np.expm1(np.minimum(values, 700.0)), np.float64)
    return np.asarray(values / np.where(control_mean > 0.0, control_mean, np.nan), np.float64)


def rollback_proposals(contract: Contract, looks: Sequence[ArmComparison], now: datetime) -> list[RollbackProposal]:
    """Return a proposal for each arm with a look, from its newest looks.

    Args:
        looks: looks at its arms whose outcome is harm.
    """
    rollback = contract.rollback
    assert rollback is not None
    proposals = []
    for arm in sorted({row.arm for row in looks}):
        _, version = parse_prompt_id(arm)
        assert version is not None
        at = max(row.at for row in looks if row.arm == arm)
        newest = [row for row in looks if row.arm == arm and row.at == at]
        proposals.append(
            RollbackProposal(
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
        )
    return proposals
