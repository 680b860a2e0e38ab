"""Sample ratio checks: units per arm of an A/B test, counted exactly from raw predictions, against the expected shares.

A unit (a user, a session) counts once in its arm, however many requests it makes, because requests of one user are not
assigned independently. A unit that appears in two arms counts in neither; it is reported as a crossover.

Counting starts at the time at which the contract first specified the current shares. If a share of raw predictions is
recorded, it is selected by a hash of the prediction's id, independently of the arm: a unit with r requests is observed
with probability 1 − (1 − share)^r in every arm. So if units make equally many requests in all arms, the ratio of
observed units equals that of assigned units. An arm whose users return more often has more observed units: with `raw`
below 1, such a difference looks like a mismatch.

Raw predictions are kept for 90 days from receipt, so only the last 90 days of a longer test are counted. Earlier
evidence is retained, because p is the minimum over all checks.
"""

import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from barograph.contract import Arms, Contract
from barograph.contract.file import ContractError, parse_contract

from barograph_server.sketches.baseline.levels import REASON_NAMES, InsufficientReason, Level
from barograph_server.sketches.comparison.sample_ratio import sample_ratio as judge_ratio
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.tables import insert_rows

PREDICTION = "prediction"
"""The unit if each prediction is assigned independently."""
CONTEXT = "context."
"""Prefix of a unit that is a context field."""


@dataclass(frozen=True, slots=True)
class ArmUnits:
    arm: str
    expected_share: float
    units: int
    """Distinct units of this arm only."""
    crossovers: int
    """Distinct units of this arm that also appear in another."""
    without_unit: int
    """Distinct predictions without a unit; they are not counted."""


@dataclass(frozen=True, slots=True)
class ArmRatio:
    """One check of the sample ratio of a model's arms."""

    model: str
    unit: str
    """`context.NAME`, or `prediction`."""
    since: datetime
    """Received time from which units are counted; identifies the test."""
    at: datetime
    arms: tuple[ArmUnits, ...]
    """In the contract's order."""
    p_value: float
    """The minimum over all checks."""
    level: Level
    reason: InsufficientReason

    @property
    def units(self) -> int:
        return sum(arm.units for arm in self.arms)


def sample_ratio(client: Client, contract: Contract, at_ms: int | None = None) -> ArmRatio | None:
    """Check the sample ratio of a contract's arms; `write_ratio` stores the result, which the next check builds on.

    Args:
        at_ms: the time of the check in Unix milliseconds; now by default.

    Returns:
        The check; None if the contract defines no arms. If no raw predictions are recorded, the check has no units,
        the previous p, and the level `insufficient` if p is 1.
    """
    if contract.arms is None or len(contract.arms.shares) < 2:
        return None
    shares = contract.arms.shares
    unit = contract.arms.unit or PREDICTION
    since_ms = assignment_since_ms(client, contract)
    units_by_arm = _units(client, contract, since_ms) if contract.raw_share > 0.0 else {}
    [(previous_p, checks)] = client.rows(
        "SELECT min(p_value), count() FROM arm_ratios FINAL WHERE model = {model:String} AND unit = {unit:String} "
        "AND since = fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')",
        {"model": contract.model, "unit": unit, "since_ms": since_ms},
    )
    arms = tuple(ArmUnits(arm, share, *units_by_arm.get(arm, (0, 0, 0))) for arm, share in shares.items())
    verdict = judge_ratio([arm.units for arm in arms], list(shares.values()), float(previous_p) if checks else 1.0)
    return ArmRatio(
        model=contract.model,
        unit=unit,
        since=_datetime(since_ms),
        at=_datetime(time.time_ns() // 1_000_000 if at_ms is None else at_ms),
        arms=arms,
        p_value=verdict.p_value,
        level=verdict.level,
        reason=verdict.reason,
    )


def write_ratio(client: Client, ratio: ArmRatio) -> None:
    """Store a check in the table `arm_ratios`, one row per arm; idempotent."""
    total = ratio.units
    rows = [
        {
            "model": ratio.model,
            "unit": ratio.unit,
            "since": ratio.since,
            "at": ratio.at,
            **asdict(arm),
            "share": arm.units / total if total else float("nan"),
            "p_value": ratio.p_value,
            "level": ratio.level.name,
            "reason": REASON_NAMES[ratio.reason],
        }
        for arm in ratio.arms
    ]
    insert_rows(client, "arm_ratios", rows)


def last_check(client: Client, contract: Contract) -> ArmRatio | None:
    """Read the last stored check of a contract's test of arms; None if there is none."""
    assert contract.arms is not None
    unit, since_ms = contract.arms.unit or PREDICTION, assignment_since_ms(client, contract)
    rows = client.rows(
        "SELECT arm, expected_share, units, crossovers, without_unit, p_value, level, reason, at "
        "FROM latest_arm_ratios WHERE model = {model:String} AND unit = {unit:String} "
        "AND since = fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')",
        {"model": contract.model, "unit": unit, "since_ms": since_ms},
    )
    if not rows:
        return None
    *_, p_value, level, reason, at = rows[0]
    by_arm = {row[0]: ArmUnits(*row[:5]) for row in rows}
    return ArmRatio(
        model=contract.model,
        unit=unit,
        since=_datetime(since_ms),
        at=at,
        arms=tuple(by_arm[arm] for arm in contract.arms.shares if arm in by_arm),
        p_value=float(p_value),
        level=Level[level],
        reason=InsufficientReason(REASON_NAMES.index(reason)),
    )


def assignment_since_ms(client: Client, contract: Contract) -> int:
    """Return when the current shares took effect (Unix milliseconds); 0 if this contract was never applied."""
    assert contract.arms is not None
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
        if applied.arms is None or _assignment(applied.arms) != _assignment(contract.arms):
            break
        since_ms = int(applied_ms)
    return since_ms


def _assignment(arms: Arms) -> tuple[dict[str, float], str]:
    """Return what a change of starts another test; margins and control do not."""
    return arms.shares, arms.unit


def _units(client: Client, contract: Contract, since_ms: int) -> dict[str, tuple[int, int, int]]:
    """Count units, crossovers and predictions without a unit, by arm.

    Duplicate rows do not change distinct counts, so nothing is read FINAL.
    """
    assert contract.arms is not None
    name = contract.arms.unit.removeprefix(CONTEXT)
    unit = "context[{name:String}]" if name else "id"
    parameters = {"model": contract.model, "since_ms": since_ms, "arms": list(contract.arms.shares), "name": name}
    source = (
        "FROM predictions WHERE model = {model:String} AND arm IN {arms:Array(String)} "
        "AND received_at >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')"
    )
    counts = client.rows(
        "SELECT arm, countIf(length(arms) = 1), countIf(length(arms) > 1) FROM "
        f"(SELECT {unit} AS unit, groupUniqArray(arm) AS arms {source} AND unit != '' GROUP BY unit) "
        "ARRAY JOIN arms AS arm GROUP BY arm SETTINGS max_bytes_before_external_group_by = 1000000000",
        parameters,
    )
    unit_missing = client.rows(f"SELECT arm, uniqExact(id) {source} AND {unit} = '' GROUP BY arm", parameters)
    without_unit = {str(arm): int(n) for arm, n in unit_missing}
    units = {str(arm): (int(n), int(crossovers), without_unit.get(str(arm), 0)) for arm, n, crossovers in counts}
    return {**{arm: (0, 0, n) for arm, n in without_unit.items()}, **units}


def _datetime(ms: int) -> datetime:
    return datetime.fromtimestamp(ms // 1000, UTC).replace(microsecond=ms % 1000 * 1000)
