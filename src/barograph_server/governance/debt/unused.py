"""Versions that make no predictions, slices without events, and fields and slices that nobody reads."""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta

from barograph.contract import Contract

from barograph_server.governance.debt.name_reads import sql_texts
from barograph_server.governance.debt.scope import DebtScope, Outcome
from barograph_server.sketches.baseline.baseline import ALL, OTHER
from barograph_server.streams.evaluator.active import NO_VERSION
from barograph_server.terminal import percentage
from barograph_server.warehouse.rollouts.arm_ratios import CONTEXT, assignment_since_ms

TRAFFIC_DAYS = 30
"""Days without an event after which a version or slice is reported."""


def silent_versions(scope: DebtScope) -> Iterator[Outcome]:
    """Examine each version that has a baseline, or that the contract names."""
    contract, shadow = scope.contract, scope.contract.shadow
    named = {contract.serving, *contract.deployments}
    named |= {shadow.candidate, shadow.of, shadow.copy} if shadow is not None else set()
    rows = scope.rows.versions()
    for version, since, is_registered in rows:
        # `apply` derives the baseline of an evaluator, whose version is not known yet.
        if version in named or (is_registered and version != NO_VERSION):
            promises = ["named in the contract"] * (version in named) + ["monitored by its baseline"] * is_registered
            reason = f"no prediction since {since:%Y-%m-%d}; {' and '.join(promises)}"
            finding = scope.finding("version without traffic", version, since, reason, "version")
            yield finding if since <= scope.start(TRAFFIC_DAYS) else None
    for version in sorted(named - {"", *(row.version for row in rows)}):
        yield f"Version {version} of {contract.model} is named in the contract, and has no baseline and no prediction."


def silent_slices(scope: DebtScope) -> Iterator[Outcome]:
    """Examine each slice that the contract or the newest baseline has, while the model has traffic.

    The slice of other values and the slices of arms are left out.
    """
    contract, start = scope.contract, scope.start(TRAFFIC_DAYS)
    prefixes = tuple(f"{each.name}=" for each in contract.slices if each.source != "arm")
    last = scope.rows.last_events()
    if prefixes and (ALL not in last or last[ALL] <= start):
        yield f"Slices of {contract.model} without events: the model itself has no traffic."
        return
    known = scope.rows.baseline_slices()
    known |= {name: at for name, at in scope.declared.items() if not name.endswith("=")}
    known |= {name: last_at for name, last_at in last.items() if name in known}
    for name, last_at in sorted(known.items()):
        if name.startswith(prefixes) and not name.endswith(f"={OTHER}"):
            since = max(last_at, scope.declared.get(name, last_at))
            reason = f"no event since {since:%Y-%m-%d}, while the model has traffic"
            finding = scope.finding("slice without events", name, since, reason, "slice")
            yield finding if since <= start else None


READER_DAYS = 90
"""Days without a reader after which a field or slice is reported."""


def unread_names(scope: DebtScope) -> Iterator[Outcome]:
    """Examine each feature and slice that nothing in the contract needs: whether a query or dashboard names it."""
    contract, begins, start = scope.contract, scope.reads.begins, scope.start(READER_DAYS)
    needed = _needed(contract)
    texts = {name: text for name, text in sql_texts(contract).items() if name not in needed}
    if texts and (begins is None or begins > start):
        reason = f"the query log begins only at {begins:%Y-%m-%d}" if begins else "there is no query log"
        yield f"Readers of the fields and slices of {contract.model}: {reason}."
        return
    slices = scope.rows.slices()
    for name, text in texts.items():
        assert begins is not None
        since = max(scope.reads.last.get(text, begins), scope.declared.get(name, begins))
        kind, column = ("slice without readers", "slice") if name.endswith("=") else ("field without readers", "field")
        values = [each for each in slices if each.startswith(name)] if column == "slice" else [name]
        reason = f"no consumer, rule, query or dashboard names it since {since:%Y-%m-%d}"
        subject = name.removesuffix("=")
        yield scope.finding(kind, subject, since, reason, column, *values) if since <= start else None


def _needed(contract: Contract) -> set[str]:
    """Return the fields and slices that something in the contract reads; outputs of the model are among them."""
    sliced = {source for dimension in contract.slices for source in dimension.sources}
    has_decisions = contract.shadow is not None or contract.arms is not None
    return {
        *(f"{dimension.name}=" for dimension in contract.slices if has_decisions),
        *contract.slo.in_range,
        *(name for rule in contract.alerts.rules.values() for name in rule.fields or ()),
        *(name for consumer in contract.consumers.values() for name in consumer.fields),
        *(
            field.name
            for field in contract.fields
            if field.critical or field.source in sliced or not field.source.startswith(("features.", "context."))
        ),
    }


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
