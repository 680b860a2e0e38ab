"""Comparison of arms by the hour: the criteria of a contract's section `rollback`, and the table `arm_comparisons`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import numpy as np
from barograph.contract import Arms, Rollback
from numpy.typing import NDArray

from barograph_server.sketches.rollout.arm_looks import arm_looks
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.queries import rows_of
from barograph_server.warehouse.rollouts.arm_hours import ArmHours
from barograph_server.warehouse.tables import SCHEMAS, insert_rows

FloatArray = NDArray[np.float64]

ALPHA = 0.05
"""Probability of a false proposal over a whole test, all arms and criteria together."""
HARM, NO_HARM, UNDECIDED, INSUFFICIENT = "harm", "no-harm", "undecided", "insufficient"
"""Outcomes of a look."""


class CriterionColumns(NamedTuple):
    """Where a criterion is in `arm_counts`."""

    events: str
    """Predictions with the number."""
    total: str
    squares: str
    """Sum of squares; of shares, the total."""
    scale: Literal["share", "log", "mean"]
    factor: float = 1.0
    """Of the stored number to the one that is shown."""


CRITERIA = {
    "errors": CriterionColumns("predictions", "failed", "failed", "share"),
    "refusals": CriterionColumns("with_status", "refused", "refused", "share"),
    "ttft": CriterionColumns("with_ttft", "log_ttft", "log_ttft_squares", "log"),
    "time_per_token": CriterionColumns("with_token_time", "log_token_time", "log_token_time_squares", "log"),
    "latency": CriterionColumns("timed", "log_latency", "log_latency_squares", "log"),
    "input_tokens": CriterionColumns("with_input_tokens", "input_tokens", "input_token_squares", "mean"),
    "output_tokens": CriterionColumns("with_output_tokens", "output_tokens", "output_token_squares", "mean"),
    "cost": CriterionColumns("with_cost", "micro_cost", "micro_cost_squares", "mean", 1e-6),
    "faulty": CriterionColumns("evaluated", "faulty", "faulty", "share"),
}
"""By criterion of the contract. More is worse."""
COLUMNS = tuple(sorted({name for each in CRITERIA.values() for name in (each.events, each.total, each.squares)}))
"""The columns of `arm_counts` that comparisons read."""


@dataclass(frozen=True, slots=True)
class ArmComparison:
    """One look at one criterion; a row of `arm_comparisons` without the time at which it was computed."""

    model: str
    control: str
    arm: str
    criterion: str
    at: datetime
    value: float
    low: float
    high: float
    margin: float
    unit: str
    control_value: float
    control_events: int
    arm_events: int
    control_units: int
    arm_units: int
    outcome: str

    @property
    def text(self) -> str:
        """The evidence, such as `errors +2.10 points (+0.90 to +3.30; margin 0.50; 1,204 and 1,180 predictions)`."""
        form = f"{{:+.2f}}{' points' if self.unit == 'share' else ' %'}"
        return (
            f"{self.criterion} {form.format(100 * self.value)} ({100 * self.low:+.2f} to {100 * self.high:+.2f}; "
            f"margin {100 * self.margin:.2f}; {self.control_events:,} and {self.arm_events:,} predictions)"
        )


def own_margins(rollback: Rollback) -> dict[str, float]:
    """Return the margins whose criteria are counted from predictions of the model itself, not of its evaluators."""
    return {name: margin for name, margin in rollback.margins.items() if name in CRITERIA}


def compare_hours(
    model: str, arms: Arms, rollback: Rollback, arm: str, hours: ArmHours, after: Mapping[str, int]
) -> list[ArmComparison]:
    """Compare an arm with the control at the ends of hours, by every criterion with a margin.

    Args:
        model: the model.
        arms: the arms of the contract.
        rollback: the margins.
        arm: the arm to judge.
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


def newest_looks(client: Client, model: str) -> Mapping[tuple[str, str, str], int]:
    """Return the time (Unix seconds) of the newest stored look by control, arm and criterion."""
    rows = client.rows(
        "SELECT control, arm, criterion, toUnixTimestamp(max(at)) FROM arm_comparisons WHERE model = {model:String} "
        "GROUP BY control, arm, criterion",
        {"model": model},
    )
    return {(control, arm, criterion): int(at) for control, arm, criterion, at in rows}


def last_comparisons(client: Client, model: str) -> list[ArmComparison]:
    """Read the newest look by arm and criterion, the newest arms first."""
    comparisons = rows_of(
        client,
        ArmComparison,
        "FROM arm_comparisons FINAL WHERE model = {model:String} ORDER BY at DESC LIMIT 1 BY control, arm, criterion",
        {"model": model},
    )
    return sorted(comparisons, key=lambda each: (-each.at.timestamp(), each.arm, list(CRITERIA).index(each.criterion)))


def write_comparisons(client: Client, rows: Sequence[ArmComparison], now_ms: int) -> None:
    """Store looks; a look that is written again replaces itself.

    Raises:
        WarehouseBusy: ClickHouse is temporarily unavailable: write the same rows again.
    """
    names = [each for each in SCHEMAS["arm_comparisons"].names if each != "compared_at"]
    insert_rows(
        client,
        "arm_comparisons",
        [{name: getattr(row, name) for name in names} | {"compared_at": now_ms} for row in rows],
    )
