"""Our branch of the policy tree as an Alertmanager configuration, so that `amtool` can check the routing."""

from collections.abc import Iterable
from typing import Any

from barograph_server.alerts.routing import Policy, branch
from barograph_server.alerts.rule import Rule
from barograph_server.alerts.settings import AlertSettings

OTHERS = "empty"
"""Receiver of alerts that are not ours."""
_HOOK = "http://127.0.0.1:9/"
"""Placeholder for contact point addresses, which are secrets and do not affect routing."""


def to_alertmanager(rules: Iterable[Rule], settings: AlertSettings) -> dict[str, Any]:
    """Convert contact points, policies and mute timings to an Alertmanager configuration, to be written as YAML."""
    return {
        "route": {
            "receiver": OTHERS,
            "group_by": ["grafana_folder", "alertname"],
            "routes": [_route(branch(rules, settings))],
        },
        "receivers": [
            {"name": OTHERS},
            *({"name": name, "webhook_configs": [{"url": _HOOK}]} for name in settings.contact_points),
        ],
        "time_intervals": [
            {"name": name, "time_intervals": [timing.interval]} for name, timing in settings.mute_timings.items()
        ],
    }


def _route(policy: Policy) -> dict[str, Any]:
    route: dict[str, Any] = {
        "receiver": policy.point,
        "matchers": [f"{label}{how}{_quoted(value)}" for label, how, value in policy.matchers],
    }
    if policy.group_by:
        route["group_by"] = list(policy.group_by)
    for key, seconds in (
        ("group_wait", policy.group_wait_s),
        ("group_interval", policy.group_interval_s),
        ("repeat_interval", policy.repeat_s),
    ):
        if seconds is not None:
            route[key] = f"{seconds}s"
    if policy.mute:
        route["mute_time_intervals"] = list(policy.mute)
    if policy.routes:
        route["routes"] = [_route(child) for child in policy.routes]
    return route


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
