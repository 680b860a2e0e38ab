"""Comparison of arms by the hour: the criteria of a contract's section `rollback`, and the table `arm_comparisons`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from barograph.contract import Rollback

from barograph_server.warehouse.client import Client
from barograph_server.warehouse.queries import rows_of
from barograph_server.warehouse.tables import SCHEMAS, insert_rows

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
    """Store looks; a look that is written again replaces itself."""
    names = [each for each in SCHEMAS["arm_comparisons"].names if each != "compared_at"]
    insert_rows(
        client,
        "arm_comparisons",
        [{name: getattr(row, name) for name in names} | {"compared_at": now_ms} for row in rows],
    )
