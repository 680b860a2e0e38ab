"""Versions that make no predictions, slices without events, and fields and slices that nobody reads."""

from collections.abc import Iterator

from barograph.contract import Contract

from barograph_server.governance.debt.name_reads import sql_texts
from barograph_server.governance.debt.scope import DebtScope, Outcome
from barograph_server.sketches.baseline.baseline import ALL, OTHER
from barograph_server.streams.evaluator.active import NO_VERSION

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
