"""Arms that receive no units or no labels, and arms whose difference is known to be small."""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta

from barograph_server.governance.debt.scope import DebtScope, Outcome
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
    oldest = scope.at - timedelta(days=RAW_DAYS)
    units = scope.rows.arm_units(list(arms.shares), arms.unit.removeprefix(CONTEXT), oldest)
    used, start = last_used(units, arms.shares), scope.start(ARM_DAYS)
    begins = datetime.fromtimestamp(assignment_since_ms(scope.client, contract) / 1000, UTC)
    recent = [by_arm for day, by_arm in units.items() if end_of(day) > start]
    total = sum(sum(by_arm.values()) for by_arm in recent)
    for arm, share in arms.shares.items():
        since = max(begins, used.get(arm, oldest))
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
    counts = scope.rows.arm_labels(list(arms.shares), start, scope.at - horizon, LABEL_SAMPLE)
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
    differences = scope.rows.arm_differences(arms.names[0], list(rollback.margins), scope.margin or 0.0)
    for arm in arms.names[1:]:
        each = differences.get(arm)
        if each is None or not set(rollback.margins) <= set(each.criteria):
            yield f"Difference of arm {arm} of {contract.model}: not all criteria of rollback have been compared."
            continue
        reason = f"its difference from {arms.names[0]} is within the margins: {each.shown}"
        yield scope.finding("decided arm", arm, each.since, reason, "arm") if each.is_within else None
