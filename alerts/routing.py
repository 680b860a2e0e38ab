"""The policy tree: which contact point is told of which alerts, how often, and when not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from alerts.rule import Rule
from alerts.settings import AlertSettings

SOURCE = "barograph"
BROKEN = ("DatasourceError", "DatasourceNoData")
"""What Grafana calls alerts about a rule that could not be evaluated."""
GROUP_WAIT_S = 30
GROUP_INTERVAL_S = 300
PAGE_AGAIN_S = 4 * 3600
TICKET_AGAIN_S = 24 * 3600

Matcher = tuple[str, str, str]
"""Label, `=`, `!=`, `=~` or `!~`, value."""


@dataclass(frozen=True, slots=True)
class Policy:
    """One node of the tree; what it leaves out its parent says."""

    matchers: tuple[Matcher, ...]
    point: str
    group_by: tuple[str, ...] = ()
    group_wait_s: int | None = None
    group_interval_s: int | None = None
    repeat_s: int | None = None
    mute: tuple[str, ...] = ()
    routes: tuple[Policy, ...] = ()


def branch(rules: Iterable[Rule], settings: AlertSettings) -> Policy:
    """Make our branch of the tree: everything that carries the label `source=barograph`.

    Alerts on rules that could not be evaluated go to the platform; the others by route, severity and mute timing, each
    group being one model.
    """
    rules = list(rules)
    broken = Policy(
        (("alertname", "=~", "|".join(BROKEN)),),
        settings.platform,
        group_by=("alertname",),
        repeat_s=PAGE_AGAIN_S,
    )
    routes = sorted({(rule.labels.get("route", ""), rule.severity) for rule in rules})
    children = [_route(route, severity, rules, settings) for route, severity in routes]
    return Policy(
        (("source", "=", SOURCE),),
        settings.default,
        group_by=("model",),
        group_wait_s=GROUP_WAIT_S,
        group_interval_s=GROUP_INTERVAL_S,
        repeat_s=PAGE_AGAIN_S,
        routes=(broken, *children),
    )


def _route(route: str, severity: str, rules: Sequence[Rule], settings: AlertSettings) -> Policy:
    here = [rule for rule in rules if rule.labels.get("route", "") == route and rule.severity == severity]
    # Only names that the installation has can be kept: without a section of settings there are none.
    muted = sorted({(rule.labels["mute"], rule.mute) for rule in here if "mute" in rule.labels})
    return Policy(
        (("route", "=", route), ("severity", "=", severity)),
        settings.route(route).point(severity),
        repeat_s=PAGE_AGAIN_S if severity == "page" else TICKET_AGAIN_S,
        routes=tuple(
            Policy((("mute", "=", label),), settings.route(route).point(severity), mute=known)
            for label, names in muted
            if (known := tuple(name for name in names if name in settings.mute_timings))
        ),
    )
