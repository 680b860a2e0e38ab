"""Arms that receive no units or no labels, and arms whose difference is known to be small."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta

from barograph_server.governance.debt.finding import Outcome
from barograph_server.governance.debt.scope import DebtScope
from barograph_server.terminal import percentage
from barograph_server.warehouse.rollouts.arm_ratios import CONTEXT, assignment_since_ms

ARM_DAYS = 14
"""Days without its share of units, or without a label, after which an arm is reported."""
LEAST_SHARE = 0.1
"""Share of the promised units of a day from which an arm is in use."""
LEAST_UNITS = 50
"""Fewest units that the contract promises an arm in the days of the rule: fewer can be missing by chance."""
LABEL_SAMPLE = 1_000
"""Predictions per arm whose labels are looked up."""
RAW_DAYS = 90
"""Days for which raw predictions are stored."""

UnitsByDay = Mapping[date, Mapping[str, int]]
"""UTC day → arm → distinct units."""


def dead_arms(scope: DebtScope) -> Iterator[Outcome]:
    """Examine each arm of the contract: whether units are assigned to it."""
    contract, arms = scope.contract, scope.contract.arms
    if arms is None:
        return
    units: dict[date, dict[str, int]] = {}
    for day, arm, n in scope.rows(
        "SELECT toDate(at, 'UTC') AS day, arm, uniq(if({unit:String} = '', id, context[{unit:String}]) AS unit) "
        "FROM predictions WHERE model = {model:String} AND arm IN {arms:Array(String)} AND unit != '' "
        "AND at >= {start:DateTime} AND at < {at:DateTime} GROUP BY day, arm",
        scope.at - timedelta(days=RAW_DAYS),
        unit=arms.unit.removeprefix(CONTEXT),
        arms=list(arms.shares),
    ):
        units.setdefault(day, {})[arm] = n
    used, start = last_used(units, arms.shares), scope.start(ARM_DAYS)
    begins = datetime.fromtimestamp(assignment_since_ms(scope.client, contract) / 1000, UTC)
    recent = [by_arm for day, by_arm in units.items() if end_of(day) > start]
    total = sum(sum(by_arm.values()) for by_arm in recent)
    for arm, share in arms.shares.items():
        since = max(begins, used.get(arm, scope.at - timedelta(days=RAW_DAYS)))
        assigned = sum(by_arm.get(arm, 0) for by_arm in recent)
        if since > start:
            yield None
        elif share * total < LEAST_UNITS:
            yield f"Arm {arm} of {contract.model}: {total:,} units of all arms with raw events are too few to tell."
        else:
            sides = {other for by_arm in recent for other in by_arm}
            one_sided = f"; all are in arm {', '.join(sides)}" if len(sides) == 1 else ""
            reason = f"{assigned:,} of {total:,} units, promised {percentage(share)}{one_sided}"
            yield scope.finding("dead arm", arm, since, reason, "arm")


def last_used(units: UnitsByDay, shares: Mapping[str, float]) -> dict[str, datetime]:
    """Return the end of the last day on which each arm had `LEAST_SHARE` of its promised share of units."""
    return {
        arm: end_of(day)
        for day, by_arm in sorted(units.items())
        for arm, share in shares.items()
        if by_arm.get(arm, 0) >= max(LEAST_SHARE * share * sum(by_arm.values()), 1.0)
    }


def end_of(day: date) -> datetime:
    """Return the end of a UTC day."""
    return datetime.combine(day, time(), UTC) + timedelta(days=1)


def unlabelled_arms(scope: DebtScope) -> Iterator[Outcome]:
    """Examine each arm of the contract: whether its predictions receive labels, if those of other arms do."""
    contract, arms = scope.contract, scope.contract.arms
    if arms is None or contract.label is None:
        return
    horizon = timedelta(seconds=contract.label.horizon_s)
    start = scope.start(ARM_DAYS) - horizon
    rows = scope.rows(
        "WITH sample AS (SELECT arm, id FROM predictions WHERE model = {model:String} AND at >= {start:DateTime} "
        "AND at < {until:DateTime} AND arm IN {arms:Array(String)} ORDER BY cityHash64(id) LIMIT {n:UInt32} BY arm) "
        "SELECT arm, count(), countIf(id IN (SELECT id FROM labels WHERE model = {model:String} "
        "AND at < {at:DateTime} AND id IN (SELECT id FROM sample))) FROM sample GROUP BY arm",
        start,
        until=scope.at - horizon,
        arms=list(arms.shares),
        n=LABEL_SAMPLE,
    )
    counts = {arm: (n, labelled) for arm, n, labelled in rows}
    for arm in arms.shares:
        n, labelled = counts.get(arm, (0, 0))
        others = sum(labels for _, labels in counts.values()) - labelled
        if n < LEAST_UNITS:
            yield f"Labels of arm {arm} of {contract.model}: {n} raw predictions past the horizon are too few to tell."
        elif labelled or not others:
            yield None
        else:
            reason = f"none for {n:,} predictions past the horizon; {others:,} in other arms"
            yield scope.finding("arm without labels", arm, None, reason, "arm")


def decided_arms(scope: DebtScope) -> Iterator[Outcome]:
    """Examine each arm that serves a prompt: whether the interval of each difference lies within its margin."""
    contract, arms, rollback = scope.contract, scope.contract.arms, scope.contract.rollback
    if arms is not None and arms.margins:
        yield f"Differences of the arms of {contract.model} by days: see `barograph promote --arm`."
    if arms is None or rollback is None:
        return
    rows = scope.rows(
        "SELECT arm, groupArray(criterion), max(since), min(is_within), arrayStringConcat(groupArray(shown), ', ') "
        "FROM (SELECT arm, criterion, minIf(at, within) AS since, argMax(within, at) AS is_within, argMax(format("
        "'{} {} to {} (±{})', criterion, toString(round(low, 4)), toString(round(high, 4)), toString(allowed)), at) "
        "AS shown FROM (SELECT *, if({margin:Float64} > 0, {margin:Float64}, margin) AS allowed, "
        "low >= -allowed AND high <= allowed AS within FROM arm_comparisons FINAL WHERE model = {model:String} "
        "AND control = {control:String} AND criterion IN {criteria:Array(String)} AND at <= {at:DateTime}) "
        "GROUP BY arm, criterion ORDER BY criterion) "
        "GROUP BY arm",
        margin=scope.margin or 0.0,
        control=arms.names[0],
        criteria=list(rollback.margins),
    )
    by_arm = {arm: comparison for arm, *comparison in rows}
    for arm in arms.names[1:]:
        criteria, since, is_within, shown = by_arm.get(arm, ((), None, False, ""))
        if not set(rollback.margins) <= set(criteria):
            yield f"Difference of arm {arm} of {contract.model}: not all criteria of rollback have been compared."
            continue
        reason = f"its difference from {arms.names[0]} is within the margins: {shown}"
        yield scope.finding("decided arm", arm, since, reason, "arm") if is_within else None
