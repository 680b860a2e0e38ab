"""The notification policy tree: contact points, repeat intervals and mute timings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from barograph_server.alerts.rule import Rule
from barograph_server.alerts.settings import AlertSettings

SOURCE = "barograph"
BROKEN = ("DatasourceError", "DatasourceNoData")
"""Names of Grafana's alerts about rules that could not be evaluated."""
GROUP_BY = ("model", "cause")
"""Labels that alerts of one group share in Grafana. An alert rule cannot know its incident (`alerts.incidents`), but
its cause is fixed: fields that are null at once are one group, and drift that already fires is another."""
INCIDENT_GROUP_BY = ("model", "incident")
"""The same where the sender knows incidents."""
GROUP_WAIT_S = 30
GROUP_INTERVAL_S = 300
PAGE_REPEAT_S = 4 * 3600
TICKET_REPEAT_S = 24 * 3600

Matcher = tuple[str, str, str]
"""Label, `=`, `!=`, `=~` or `!~`, value."""


@dataclass(frozen=True, slots=True)
class Policy:
    """One node of the tree; unset attributes are inherited from its parent."""

    matchers: tuple[Matcher, ...]
    point: str
    group_by: tuple[str, ...] = ()
    group_wait_s: int | None = None
    group_interval_s: int | None = None
    repeat_s: int | None = None
    mute: tuple[str, ...] = ()
    routes: tuple[Policy, ...] = ()


def branch(rules: Iterable[Rule], settings: AlertSettings, group_by: tuple[str, ...] = GROUP_BY) -> Policy:
    """Build our branch of the tree, for all alerts with the label `source=barograph`.

    Alerts on rules that could not be evaluated go to the platform contact point. All others are routed by route,
    severity and mute timing, and grouped by `group_by`.
    """
    rules = list(rules)
    names = ("alertname", "=~", "|".join(BROKEN))
    broken = Policy((names,), settings.platform, group_by=("alertname",), repeat_s=PAGE_REPEAT_S)
    routes = sorted({(rule.labels.get("route", ""), rule.severity) for rule in rules})
    children = [_route(route, severity, rules, settings) for route, severity in routes]
    return Policy(
        (("source", "=", SOURCE),),
        settings.default,
        group_by=group_by,
        group_wait_s=GROUP_WAIT_S,
        group_interval_s=GROUP_INTERVAL_S,
        repeat_s=PAGE_REPEAT_S,
        routes=(broken, *children),
    )


def _route(route: str, severity: str, rules: Sequence[Rule], settings: AlertSettings) -> Policy:
    here = [rule for rule in rules if rule.labels.get("route", "") == route and rule.severity == severity]
    # Only mute timings that the installation defines can be used; without alert settings there are none.
    muted = sorted({(rule.labels["mute"], rule.mute) for rule in here if "mute" in rule.labels})
    point = settings.route(route).point(severity)
    # An outage of Kafka delays the verdicts of every model: one page of the pipeline.
    outage = [Policy((("signal", "=", "pipeline"),), point, group_by=("signal",))] if severity == "page" else []
    return Policy(
        (("route", "=", route), ("severity", "=", severity)),
        point,
        repeat_s=PAGE_REPEAT_S if severity == "page" else TICKET_REPEAT_S,
        routes=(
            *outage,
            *(
                Policy((("mute", "=", label),), point, mute=known)
                for label, names in muted
                if (known := tuple(name for name in names if name in settings.mute_timings))
            ),
        ),
    )
