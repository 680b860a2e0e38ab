"""How the units of an A/B test fall to its arms, counted exactly from raw predictions, against the promised shares.

A unit (a user, a session) counts once in its arm, however many requests it made: those of one user are not assigned
independently. A unit that was seen in two arms is in neither's count; it is reported as crossed.

Counting starts when the contract first promised the present shares. Where a share of raw predictions is kept, it is
chosen by hash of the prediction's id, which knows nothing of arms: a unit with r requests is seen with probability
1 − (1 − share)^r in either arm, so as long as units make as many requests in one arm as in another the ratio of those
seen is that of those assigned. An arm that brings its users back more often shows more of them: with `raw` under 1 such
a difference looks like a mismatch.

Raw predictions are kept for 90 days from receipt. Of a longer test the last 90 days are counted; what was found before
stays found, as p is the least of all looks.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from barograph.contract.file import ContractError, parse_contract

from sketches.baseline.levels import Level
from sketches.comparison.sample_ratio import sample_ratio as judge_ratio
from warehouse.tables import insert_rows

if TYPE_CHECKING:
    from barograph.contract import Contract

    from warehouse.client import Client

PREDICTION = "prediction"
"""What stands for the unit where each prediction is assigned by itself."""
CONTEXT = "context."


@dataclass(frozen=True, slots=True)
class ArmUnits:
    """What was seen of one arm."""

    arm: str
    expected_share: float
    units: int
    """Distinct units of this arm alone."""
    crossovers: int
    """Distinct units of this arm and another."""
    without_unit: int
    """Distinct predictions that do not name their unit; they are not counted."""


@dataclass(frozen=True, slots=True)
class ArmRatio:
    """One look at the ratio of a model's arms."""

    model: str
    unit: str
    """`context.NAME`, or `prediction`."""
    since: datetime
    """Received time from which on units are counted; identifies the test."""
    at: datetime
    arms: tuple[ArmUnits, ...]
    """In the contract's order, the control first."""
    p_value: float
    """The least over all looks."""
    level: Level

    @property
    def units(self) -> int:
        """Units of all arms."""
        return sum(arm.units for arm in self.arms)


def sample_ratio(client: Client, contract: Contract, at_ms: int | None = None) -> ArmRatio | None:
    """Look at the ratio of a contract's arms; `write_ratio` stores what was found, which the next look builds on.

    Args:
        client: where raw predictions are.
        contract: the model's contract in force.
        at_ms: Unix milliseconds of the look; now by default.

    Returns:
        The look; None where the contract names no arms. Where no raw predictions are kept nothing is known: no units,
        p as it was before, `insufficient` at p = 1.

    Raises:
        WarehouseBusy: ClickHouse cannot answer now.
        WarehouseError: it refuses the queries.
    """
    if contract.arms is None or len(contract.arms.shares) < 2:
        return None
    shares = contract.arms.shares
    unit = contract.arms.unit or PREDICTION
    since_ms = _since_ms(client, contract)
    seen = _units(client, contract, since_ms) if contract.raw_share > 0.0 else {}
    before = client.rows(
        "SELECT min(p_value), count() FROM arm_ratios FINAL WHERE model = {model:String} AND unit = {unit:String} "
        "AND since = fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')",
        {"model": contract.model, "unit": unit, "since_ms": since_ms},
    )
    least, looks = before[0]
    arms = tuple(ArmUnits(arm, share, *seen.get(arm, (0, 0, 0))) for arm, share in shares.items())
    found = judge_ratio([arm.units for arm in arms], list(shares.values()), float(least) if looks else 1.0)
    return ArmRatio(
        model=contract.model,
        unit=unit,
        since=_moment(since_ms),
        at=_moment(time.time_ns() // 1_000_000 if at_ms is None else at_ms),
        arms=arms,
        p_value=found.p_value,
        level=found.level,
    )


def write_ratio(client: Client, ratio: ArmRatio) -> None:
    """Store a look in the table `arm_ratios`, a row per arm; storing it again changes nothing.

    Raises:
        WarehouseBusy: ClickHouse cannot take it now: write the same again.
        WarehouseError: it does not fit the table.
    """
    whole = ratio.units
    rows = [
        {
            "model": ratio.model,
            "unit": ratio.unit,
            "since": ratio.since,
            "at": ratio.at,
            "arm": arm.arm,
            "expected_share": arm.expected_share,
            "units": arm.units,
            "share": arm.units / whole if whole else float("nan"),
            "crossovers": arm.crossovers,
            "without_unit": arm.without_unit,
            "p_value": ratio.p_value,
            "level": ratio.level.name,
        }
        for arm in ratio.arms
    ]
    insert_rows(client, "arm_ratios", rows)


def _since_ms(client: Client, contract: Contract) -> int:
    """When the present shares came into force; 0 where this contract was never applied."""
    since_ms = 0
    for text, applied_ms in client.rows(
        "SELECT yaml, toUnixTimestamp64Milli(applied_at) FROM contracts FINAL WHERE model = {model:String} "
        "ORDER BY applied_at DESC",
        {"model": contract.model},
    ):
        try:
            applied = parse_contract(text, f"contract of {contract.model}")
        except ContractError:
            break
        if applied.arms != contract.arms:
            break
        since_ms = int(applied_ms)
    return since_ms


def _units(client: Client, contract: Contract, since_ms: int) -> dict[str, tuple[int, int, int]]:
    """Units, crossed units and predictions without a unit, by arm.

    Repeats of a row change no count of distinct ones, so nothing is read FINAL.
    """
    assert contract.arms is not None
    name = contract.arms.unit.removeprefix(CONTEXT)
    unit = "context[{name:String}]" if name else "id"
    parameters = {
        "model": contract.model,
        "since_ms": since_ms,
        "arms": list(contract.arms.shares),
        "name": name,
    }
    rows = (
        "FROM predictions WHERE model = {model:String} AND arm IN {arms:Array(String)} "
        "AND received_at >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')"
    )
    counted = client.rows(
        "SELECT arm, countIf(length(seen) = 1), countIf(length(seen) > 1) FROM "  # noqa: S608 - names of this file
        f"(SELECT {unit} AS unit, groupUniqArray(arm) AS seen {rows} AND unit != '' GROUP BY unit) "
        "ARRAY JOIN seen AS arm GROUP BY arm SETTINGS max_bytes_before_external_group_by = 1000000000",
        parameters,
    )
    without_unit = client.rows(
        f"SELECT arm, uniqExact(id) {rows} AND {unit} = '' GROUP BY arm",
        parameters,
    )
    without = {str(arm): int(n) for arm, n in without_unit}
    found = {str(arm): (int(units), int(crossed), without.get(str(arm), 0)) for arm, units, crossed in counted}
    return {**{arm: (0, 0, n) for arm, n in without.items()}, **found}


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms // 1000, UTC).replace(microsecond=ms % 1000 * 1000)
