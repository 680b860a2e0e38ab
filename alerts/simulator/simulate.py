"""Replays all rules of an installation over a time range and simulates the notifications."""

from collections.abc import Sequence
from dataclasses import dataclass

from barograph_server.alerts.incidents import Incident, firing_changes, fold
from barograph_server.alerts.routing import branch
from barograph_server.alerts.rule import Rule, Severity
from barograph_server.alerts.settings import AlertSettings
from barograph_server.alerts.simulator.history import Replay, read_changes, replay
from barograph_server.alerts.simulator.notify import Alert, Notification, dispatch
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.signals import FactTime

WEEK_S = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Simulation:
    since: int
    until: int
    replays: tuple[Replay, ...]
    notifications: tuple[Notification, ...]
    """As Grafana sends them."""
    incidents: tuple[Incident, ...]
    """In the order in which they opened."""

    def incidents_of(self, severity: Severity) -> list[Incident]:
        return [incident for incident in self.incidents if incident.severity == severity]

    def incidents_per_week(self, severity: Severity) -> float:
        return len(self.incidents_of(severity)) * WEEK_S / max(1, self.until - self.since)


def simulate(
    client: Client, rules: Sequence[Rule], settings: AlertSettings, since: int, until: int, known: FactTime
) -> Simulation:
    """Replay rules over [since, until], Unix seconds."""
    replays = tuple(replay(rule, read_changes(client, rule, since, until, known), since, until) for rule in rules)
    episodes = [episode for each in replays for episode in each.episodes]
    alerts = [alert_of(each.rule, each.key, each.start, each.end) for each in episodes]
    return Simulation(
        since,
        until,
        replays,
        tuple(dispatch(alerts, branch(rules, settings), settings, until)),
        tuple(
            fold(change for each in episodes for change in firing_changes(each.rule, each.key, each.start, each.end))
        ),
    )


def alert_of(rule: Rule, key: str, start: int, end: int | None, incident: str = "") -> Alert:
    """Build the alert of an instance, with the labels that Grafana adds, and the name of its incident if known."""
    labels = rule.labels | {"alertname": rule.title} | ({rule.signal.label: key} if rule.signal.label else {})
    if incident:
        labels["incident"] = incident
    return Alert(tuple(sorted(labels.items())), start, end)
