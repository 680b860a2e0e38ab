"""The dashboards of the local stack in the browser, with the open incidents."""

import math
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from barograph_server.alerts.settings import AlertSettings
from barograph_server.alerts.simulator import Changes, Replay, Simulation
from barograph_server.alerts.simulator.open_incidents import replay_until
from barograph_server.alerts.text import words
from barograph_server.contracts import contracts_in_force
from barograph_server.dashboards.uids import DASHBOARDS
from barograph_server.errors import CommandError
from barograph_server.local.child_process import choose_port
from barograph_server.local.preview import PreviewServer
from barograph_server.settings import Settings
from barograph_server.warehouse.client import Address, connect

DAY_S = 86_400
PAGE_PORT = 3111
"""Differs from Grafana's 3000, so that both can run side by side."""
SEVERITIES = ("page", "ticket", "pending")


def open_page(settings: Settings, reader: Address, port: int | None) -> PreviewServer:
    """Make the server of the dashboards, a context manager that serves them.

    Args:
        reader: ClickHouse with the user who may only read; panels use it.
        port: the port; None for `PAGE_PORT`, or a free port if that one is taken.
    """
    # The builders of dashboards take a second to load.
    from barograph_server.dashboards.pages import dashboards

    def incidents(from_ms: int, to_ms: int, model: str) -> list[dict[str, Any]]:
        return open_incidents(settings, from_ms, to_ms, model)

    pages = [*dashboards().values()]
    return PreviewServer(pages, reader, port=port or choose_port(PAGE_PORT), incidents=incidents)


def page_address(root: str, end: datetime, days: int = 150) -> str:
    """Make the address of the first page, showing the days before `end`."""
    end_ms = round(end.timestamp() * 1000)
    parameters = {"from": end_ms - days * 86_400_000, "to": end_ms, "var-window": "7d"}
    return f"{root}d/{DASHBOARDS['fleet']}?{urlencode(parameters)}"


def open_incidents(settings: Settings, from_ms: int, to_ms: int, model: str = "") -> list[dict[str, Any]]:
    """Replay the rules, and list the incidents at the end of a range, pages first, and alerts that are pending.

    Args:
        model: only its incidents; empty: those of all models and of the pipeline.

    Returns:
        Each has `severity` (`page`, `ticket` or `pending`), `title`, `since` (milliseconds since 1970), `before`
        (whether it is older), `runbook`, and `alerts`: the `state` and `summary` of each, and as `href` the page with
        the panel of its number.
    """
    with connect(settings.warehouse) as client:
        try:
            contracts = contracts_in_force(client, model or None)
        except CommandError:
            return []
        simulations = list(replay_until(client, contracts, settings.alerts, to_ms // 1000, model))
    return sorted(
        (entry for simulation in simulations for entry in _open_at_end(simulation, settings.alerts, from_ms, to_ms)),
        key=lambda each: (SEVERITIES.index(each["severity"]), each["since"], each["title"]),
    )


def _open_at_end(simulation: Simulation, settings: AlertSettings, from_ms: int, to_ms: int) -> list[dict[str, Any]]:
    until = simulation.until
    incidents = {
        member: incident
        for incident in simulation.incidents
        for member in incident.members
        if incident.members[member].end is None
    }
    listed: dict[str, dict[str, Any]] = {}
    for replay in simulation.replays:
        rule = replay.rule
        for key in replay.changes:
            if (state := replay.state(key, until)) == "Normal":
                continue
            incident = incidents.get((rule.uid, key))
            since = incident.opened_at if incident else until
            title = f"{rule.model or 'Pipeline'}: {incident.title if incident else 'not firing yet'}"
            entry = listed.setdefault(
                title,
                {
                    "severity": incident.severity if incident else "pending",
                    "title": title,
                    "since": since * 1000,
                    "before": since < simulation.since + DAY_S,
                    "runbook": settings.runbook((incident.rule if incident else rule).runbook),
                    "alerts": [],
                },
            )
            summary, path = _summary(replay, key, until), _panel_path(replay, key, from_ms, to_ms)
            entry["alerts"].append({"state": state, "summary": summary, "href": path})
    return list(listed.values())


def _summary(replay: Replay, key: str, at: int) -> str:
    rule, changes = replay.rule, replay.changes[key]
    if rule.has_bounds:
        at = _last_known(changes, at)
    labels = ({rule.signal.label: key} if rule.signal.label else {}) | changes.details(at)
    return f"{rule.title} {key}".strip() + ": " + words(rule.summary, labels, changes.numbers(at))


def _last_known(changes: Changes, at: int) -> int:
    """Return the time itself, or the last one before it whose numbers are known: an alert outlasts its data."""
    times = [at, *(int(each) for each in reversed(changes.at.tolist()) if each <= at)]
    return next((each for each in times if all(map(math.isfinite, changes.numbers(each).values()))), at)


def _panel_path(replay: Replay, key: str, from_ms: int, to_ms: int) -> str:
    rule = replay.rule
    parameters = {"from": from_ms, "to": to_ms, "var-model": rule.model}
    if rule.signal.label == "field":
        window = replay.changes[key].details(replay.until).get("window", "")
        parameters |= {"var-field": key} | ({"var-window": window} if window else {})
    return f"/d/{rule.panel.dashboard_uid}?{urlencode(parameters)}"
