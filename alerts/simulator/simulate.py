"""Replays all rules of an installation over a time range and simulates the notifications."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from alerts.routing import branch
from alerts.rule import Rule
from alerts.settings import AlertSettings
from alerts.simulator.history import Replay, read_changes, replay
from alerts.simulator.notify import Alert, Notification, dispatch
from warehouse.client import Client
from warehouse.signals import FactTime

WEEK_S = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Simulation:
    """Replays and notifications."""

    since: int
    until: int
    replays: tuple[Replay, ...]
    notifications: tuple[Notification, ...]

    def messages_per_week(self, severity: str | None = None) -> float:
        """Number of new notifications per week, without repeats and resolutions."""
        new = [
            each
            for each in self.notifications
            if each.firing
            and not each.is_repeat
            and (severity is None or each.firing[0].label_map.get("severity") == severity)
        ]
        return len(new) * WEEK_S / max(1, self.until - self.since)


def simulate(
    client: Client, rules: Sequence[Rule], settings: AlertSettings, since: int, until: int, known: FactTime
) -> Simulation:
    """Replay rules over [since, until], Unix seconds.

    Raises:
        WarehouseBusy: ClickHouse is busy or unavailable.
        WarehouseError: ClickHouse rejects a query.
    """
    replays = tuple(replay(rule, read_changes(client, rule, since, until, known), since, until) for rule in rules)
    alerts = [
        alert_of(episode.rule, episode.key, episode.start, episode.end) for each in replays for episode in each.episodes
    ]
    return Simulation(since, until, replays, tuple(dispatch(alerts, branch(rules, settings), settings, until)))


def alert_of(rule: Rule, key: str, start: int, end: int | None) -> Alert:
    """Build the alert of an instance, with the labels that Grafana adds."""
    labels = rule.labels | {"alertname": rule.title} | ({rule.signal.label: key} if rule.signal.label else {})
    return Alert(tuple(sorted(labels.items())), start, end)
