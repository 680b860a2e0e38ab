"""The dashboards of the local stack in the browser, with the states that the alert rules were in."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from dashboards.uids import DASHBOARDS

if TYPE_CHECKING:
    from cli.settings import Settings
    from local.preview import PreviewServer
    from warehouse.signals import Known

PAGE_PORT = 3111
"""Not Grafana's 3000, so that both can be looked at side by side."""
LOOK_BACK_S = 14 * 86_400
"""Rules are replayed from so long before the end of the range that is shown: longer than any keeps firing."""


def open_page(settings: Settings, port: int | None) -> PreviewServer:
    """Describe the page of the dashboards; as a context manager it is served.

    Args:
        settings: where ClickHouse is, and where alerts go.
        port: where to listen; None is `PAGE_PORT`, or a free port where that is taken.
    """
    from dashboards.pages import dashboards
    from local.child_process import choose_port
    from local.preview import PreviewServer

    def alerts(from_ms: int, to_ms: int) -> list[dict[str, Any]]:
        return alert_states(settings, from_ms, to_ms)

    pages = [*dashboards().values()]
    return PreviewServer(pages, settings.warehouse, port=port or choose_port(PAGE_PORT), alerts=alerts)


def page_address(root: str, end: datetime, days: int = 150) -> str:
    """The address of the first page, over so many days up to an end."""
    end_ms = round(end.timestamp() * 1000)
    chosen = {"from": end_ms - days * 86_400_000, "to": end_ms, "var-window": "7d"}
    return f"{root}d/{DASHBOARDS['fleet']}?{urlencode(chosen)}"


def alert_states(settings: Settings, from_ms: int, to_ms: int) -> list[dict[str, Any]]:
    """Say which alerts were pending or firing at the end of a range, as the rules would have had it.

    Returns:
        Of each its `state`, `severity`, `summary`, and `href`: the page with the panel that shows its number.

    Raises:
        WarehouseBusy: ClickHouse cannot answer now.
        WarehouseError: it refuses.
    """
    from alerts import rules_for
    from alerts.simulator import simulate
    from alerts.text import words
    from cli.errors import CommandError
    from cli.simulate.read import contracts_in_force
    from warehouse.client import connect
    from warehouse.signals.recorded_history import recorded

    with connect(settings.warehouse) as client:
        try:
            contracts = contracts_in_force(client, None)
        except CommandError:
            return []
        found = recorded(client, [contract.model for contract in contracts])
        if found is None:
            return []
        rules = rules_for(contracts, settings.alerts)
        # What was replayed ends with its last window: what never came after it is not silence.
        until = min(to_ms // 1000, int(found.last.timestamp())) if found.was_replayed else to_ms // 1000
        known: Known = "ended" if found.was_replayed else "judged"
        done = simulate(client, rules, settings.alerts, until - LOOK_BACK_S, until, known)
    shown = []
    for each in done.replays:
        rule = each.rule
        for key in each.changes:
            state = each.state(key, until)
            if state == "Normal":
                continue
            labels = {rule.signal.label: key} if rule.signal.label else {}
            chosen = {"from": from_ms, "to": to_ms, "var-model": rule.model}
            if rule.signal.label == "field":
                chosen["var-field"] = key
            numbers = each.changes[key].numbers(until)
            name = f"{rule.title} {key}".strip()
            shown.append(
                {
                    "state": state,
                    "severity": rule.severity,
                    "summary": f"{name}: {words(rule.summary, labels, numbers)}",
                    "href": f"/d/{rule.panel.dashboard_uid}?{urlencode(chosen)}",
                }
            )
    return sorted(shown, key=lambda alert: (alert["state"] != "Alerting", alert["severity"], alert["summary"]))
