"""The rules on the clock of the wall: what Grafana would do, without Grafana."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from alerts.routing import branch
from alerts.rule import Rule
from alerts.settings import AlertSettings
from alerts.simulator import Alert, Instance, Notification, Transition, Zone, zone_of
from alerts.simulator.notify import Dispatcher
from alerts.simulator.simulate import alert_of
from alerts.text import words
from alerts.webhooks import Told
from dashboards.macros import TimeRange, expand_backend
from warehouse.client import Client
from warehouse.errors import WarehouseBusy, WarehouseError
from warehouse.signals import point_sql

RANGE_S = 600
BROKEN = "DatasourceError"
"""What an alert on a rule that cannot be evaluated is called."""


@dataclass(slots=True)
class Watched:
    """One rule while it is watched."""

    rule: Rule
    instances: dict[str, Instance] = field(default_factory=dict)
    firing: dict[str, Alert] = field(default_factory=dict)
    numbers: dict[str, dict[str, float]] = field(default_factory=dict)
    broken: Alert | None = None
    """The alert that it cannot be evaluated."""
    error: str = ""


@dataclass(slots=True)
class LiveAlerts:
    """Evaluates rules when they are due, and says what is to be told."""

    rules: Sequence[Rule]
    settings: AlertSettings
    say: Callable[[str], None]
    """Is given a sentence for each change of state."""
    _watched: list[Watched] = field(init=False)
    _dispatcher: Dispatcher = field(init=False)
    _last: int | None = None
    """The moment of the last step."""

    def __post_init__(self) -> None:
        self._watched = [Watched(rule) for rule in self.rules]
        self._dispatcher = Dispatcher(branch(self.rules, self.settings), self.settings)

    def step(self, client: Client, now: int) -> list[tuple[Notification, list[Told]]]:
        """Evaluate every rule whose time has come since the last step, and return what is to be told.

        A rule is evaluated once, at the newest multiple of its interval, however long the last step is ago.
        """
        for watched in self._watched:
            due = now // watched.rule.every_s * watched.rule.every_s
            if self._last is None or due > self._last:
                self._evaluate(client, watched, due)
        self._last = now
        return [
            (told, [self._told(alert) for alert in (*told.firing, *told.resolved)])
            for told in self._dispatcher.tell(now)
        ]

    def _evaluate(self, client: Client, watched: Watched, at: int) -> None:
        rule = watched.rule
        try:
            numbers = {"A": _ask(client, rule, "value", at)}
            if rule.has_bounds:
                numbers |= {"B": _ask(client, rule, "low", at), "C": _ask(client, rule, "high", at)}
        except (WarehouseBusy, WarehouseError) as error:
            self._break(watched, at, str(error))
            numbers, every = {}, Zone.ERROR
        else:
            self._mend(watched, at)
            every = Zone.MISSING if numbers["A"] else Zone.NO_DATA
        found = numbers.get("A", {})
        for key in found.keys() | watched.instances.keys() | set(rule.signal.keys):
            instance = watched.instances.setdefault(key, Instance(rule, key))
            if key in found:
                watched.numbers[key] = {ref: values[key] for ref, values in numbers.items() if key in values}
            zone = zone_of(rule, found[key]) if key in found else every
            for change in instance.advance(at, at, zone):
                self._note(watched, change)

    def _note(self, watched: Watched, change: Transition) -> None:
        rule, key = watched.rule, change.key
        if change.after == "Alerting" and key not in watched.firing:
            watched.firing[key] = alert_of(rule, key, change.at, None)
            self._dispatcher.take(watched.firing[key])
        elif change.after == "Normal" and key in watched.firing:
            begun = watched.firing.pop(key)
            self._dispatcher.take(Alert(begun.labels, begun.start, change.at))
        why = f" ({change.reason})" if change.reason else ""
        what = self._summary(watched, key) if change.after in ("Pending", "Alerting") else ""
        self.say(f"{change.after}{why}: {rule.title}{f' {key}' if key else ''}{f': {what}' if what else ''}")

    def _break(self, watched: Watched, at: int, problem: str) -> None:
        if watched.error != problem:
            self.say(f"{watched.rule.title}: cannot be evaluated: {problem}")
        watched.error = problem
        if watched.broken is None and watched.rule.exec_err == "Error":
            labels = watched.rule.labels | {"alertname": BROKEN, "rulename": watched.rule.title}
            watched.broken = Alert(tuple(sorted(labels.items())), at, None)
            self._dispatcher.take(watched.broken)

    def _mend(self, watched: Watched, at: int) -> None:
        watched.error = ""
        if watched.broken is not None:
            self._dispatcher.take(Alert(watched.broken.labels, watched.broken.start, at))
            watched.broken = None

    def _told(self, alert: Alert) -> Told:
        labels = alert.label_map
        name = labels.get("rulename", labels.get("alertname", ""))
        watched = next(each for each in self._watched if each.rule.title == name)
        rule = watched.rule
        key = labels.get(rule.signal.label, "") if rule.signal.label else ""
        broken = labels.get("alertname") == BROKEN
        return Told(
            alert,
            rule.title,
            f"cannot be evaluated: {watched.error or 'it can be again'}" if broken else self._summary(watched, key),
            rule.description,
            f"{self.settings.runbooks.rstrip('/')}/{rule.runbook}",
            watched.numbers.get(key, {}),
        )

    def _summary(self, watched: Watched, key: str) -> str:
        label = watched.rule.signal.label
        return words(watched.rule.summary, {label: key} if label else {}, watched.numbers.get(key, {}))


def _ask(client: Client, rule: Rule, column: str, at: int) -> dict[str, float]:
    """Ask for one number of each instance as the data source's plugin would."""
    sql = expand_backend(point_sql(rule.signal, column), TimeRange((at - RANGE_S) * 1000, at * 1000))
    return {str(label[0]) if label else "": float(number) for *label, number in client.rows(sql)}
