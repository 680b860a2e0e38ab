"""The dashboards of the local stack in the browser, with the states of the alert rules."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from dashboards.uids import DASHBOARDS

if TYPE_CHECKING:
    from cli.settings import Settings
    from local.preview import PreviewServer
    from warehouse.client import Address
    from warehouse.signals import FactTime

PAGE_PORT = 3111
"""Differs from Grafana's 3000, so that both can run side by side."""
REPLAY_S = 14 * 86_400
"""Time before the end of the displayed range from which rules are replayed, in seconds. No rule fires longer."""


def open_page(settings: Settings, reader: Address, port: int | None) -> PreviewServer:
    """Make the server of the dashboards, a context manager that serves them.

    Args:
        settings: ClickHouse and the contact points.
        reader: ClickHouse with the user who may only read; panels use it.
        port: the port; None for `PAGE_PORT`, or a free port if that one is taken.
    """
    from dashboards.pages import dashboards
    from local.child_process import choose_port
    from local.preview import PreviewServer

    def alerts(from_ms: int, to_ms: int) -> list[dict[str, Any]]:
        return alert_states(settings, from_ms, to_ms)

    pages = [*dashboards().values()]
    return PreviewServer(pages, reader, port=port or choose_port(PAGE_PORT), alerts=alerts)


def page_address(root: str, end: datetime, days: int = 150) -> str:
    """Make the address of the first page, showing the days before `end`."""
    end_ms = round(end.timestamp() * 1000)
    parameters = {"from": end_ms - days * 86_400_000, "to": end_ms, "var-window": "7d"}
    return f"{root}d/{DASHBOARDS['fleet']}?{urlencode(parameters)}"


def alert_states(settings: Settings, from_ms: int, to_ms: int) -> list[dict[str, Any]]:
    """Replay the rules, and list the alerts that are pending or firing at the end of a range.

    Returns:
        The `state`, `severity` and `summary` of each, and as `href` the page with the panel of its number.

    Raises:
        WarehouseBusy: ClickHouse cannot answer now.
        WarehouseError: ClickHouse rejects a query.
    """
    from alerts import rules_for
    from alerts.simulator import simulate
    from alerts.text import words
    from cli.contracts import contracts_in_force
    from cli.errors import CommandError
    from warehouse.client import connect
    from warehouse.signals.recorded_history import read_recorded_history

    with connect(settings.warehouse) as client:
        try:
            contracts = contracts_in_force(client, None)
        except CommandError:
            return []
        history = read_recorded_history(client, [contract.model for contract in contracts])
        if history is None:
            return []
        rules = rules_for(contracts, settings.alerts)
        # Replayed history ends with its last window: missing events after it are not silence.
        until = min(to_ms // 1000, int(history.last.timestamp())) if history.was_replayed else to_ms // 1000
        known: FactTime = "ended" if history.was_replayed else "judged"
        simulation = simulate(client, rules, settings.alerts, until - REPLAY_S, until, known)
    states: list[dict[str, Any]] = []
    for replay in simulation.replays:
        rule = replay.rule
        for key in replay.changes:
            state = replay.state(key, until)
            if state == "Normal":
                continue
            labels = {rule.signal.label: key} if rule.signal.label else {}
            parameters = {"from": from_ms, "to": to_ms, "var-model": rule.model}
            if rule.signal.label == "field":
                parameters["var-field"] = key
            numbers = replay.changes[key].numbers(until)
            name = f"{rule.title} {key}".strip()
            states.append(
                {
                    "state": state,
                    "severity": rule.severity,
                    "summary": f"{name}: {words(rule.summary, labels, numbers)}",
                    "href": f"/d/{rule.panel.dashboard_uid}?{urlencode(parameters)}",
                }
            )
    return sorted(states, key=lambda alert: (alert["state"] != "Alerting", alert["severity"], alert["summary"]))
