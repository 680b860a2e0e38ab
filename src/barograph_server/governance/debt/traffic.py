"""Versions that make no predictions, and slices without events."""

from __future__ import annotations

from collections.abc import Iterator

from barograph_server.governance.debt.finding import Outcome
from barograph_server.governance.debt.scope import DebtScope
from barograph_server.sketches.baseline.baseline import ALL, OTHER
from barograph_server.streams.evaluator.active import NO_VERSION

TRAFFIC_DAYS = 30
"""Days without an event after which a version or slice is reported."""


def silent_versions(scope: DebtScope) -> Iterator[Outcome]:
    """Examine each version that has a baseline, or that the contract names."""
    contract, shadow = scope.contract, scope.contract.shadow
    named = {contract.serving, *contract.deployments}
    named |= {shadow.candidate, shadow.of, shadow.copy} if shadow is not None else set()
    rows = scope.rows(
        "SELECT version, max(last), max(is_registered) FROM (SELECT version, min(accepted_at) AS last, "
        "1 AS is_registered FROM baselines WHERE model = {model:String} GROUP BY version "
        "UNION ALL SELECT version, max(pane_start + pane_s), 0 FROM volume "
        "WHERE model = {model:String} AND slice = 'all' AND n > 0 AND pane_start < {at:DateTime} GROUP BY version "
        "UNION ALL SELECT version, max(at), 0 FROM shadow_predictions "
        "WHERE model = {model:String} AND at < {at:DateTime} GROUP BY version) GROUP BY version ORDER BY version"
    )
    for version, since, is_registered in rows:
        # `apply` derives the baseline of an evaluator, whose version is not known yet.
        if version in named or (is_registered and version != NO_VERSION):
            promises = ["named in the contract"] * (version in named) + ["monitored by its baseline"] * is_registered
            reason = f"no prediction since {since:%Y-%m-%d}; {' and '.join(promises)}"
            finding = scope.finding("version without traffic", version, since, reason, "version")
            yield finding if since <= scope.start(TRAFFIC_DAYS) else None
    for version in sorted(named - {"", *(row[0] for row in rows)}):
        yield f"Version {version} of {contract.model} is named in the contract, and has no baseline and no prediction."


def silent_slices(scope: DebtScope) -> Iterator[Outcome]:
    """Examine each slice that the contract or the newest baseline has, while the model has traffic.

    The slice of other values and the slices of arms are left out.
    """
    contract, start = scope.contract, scope.start(TRAFFIC_DAYS)
    prefixes = tuple(f"{each.name}=" for each in contract.slices if each.source != "arm")
    last = dict(
        scope.rows(
            "SELECT slice, max(pane_start + pane_s) FROM volume WHERE model = {model:String} AND n > 0 "
            "AND pane_start < {at:DateTime} GROUP BY slice"
        )
    )
    if prefixes and (ALL not in last or last[ALL] <= start):
        yield f"Slices of {contract.model} without events: the model itself has no traffic."
        return
    known = dict(
        scope.rows(
            "SELECT arrayJoin(JSONExtractKeys(argMax(body, accepted_at), 'baseline', 'slice_rows')), max(accepted_at) "
            "FROM baselines WHERE model = {model:String}"
        )
    )
    known |= {name: at for name, at in scope.declared.items() if not name.endswith("=")}
    known |= {name: last_at for name, last_at in last.items() if name in known}
    for name, last_at in sorted(known.items()):
        if name.startswith(prefixes) and not name.endswith(f"={OTHER}"):
            since = max(last_at, scope.declared.get(name, last_at))
            reason = f"no event since {since:%Y-%m-%d}, while the model has traffic"
            finding = scope.finding("slice without events", name, since, reason, "slice")
            yield finding if since <= start else None
