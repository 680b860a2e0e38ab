"""Fields and slices that nobody reads."""

from __future__ import annotations

from collections.abc import Iterator

from barograph.contract import Contract

from barograph_server.governance.debt.finding import Outcome
from barograph_server.governance.debt.name_reads import sql_texts
from barograph_server.governance.debt.scope import DebtScope

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
