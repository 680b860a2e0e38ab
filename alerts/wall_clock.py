"""Evaluates rules on the wall clock, as Grafana would, without Grafana."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from barograph.guard.health import FiringState

from barograph_server.alerts.incidents import FiringChange, Incident, IncidentLog
from barograph_server.alerts.routing import INCIDENT_GROUP_BY, branch
from barograph_server.alerts.rule import Rule
from barograph_server.alerts.settings import AlertSettings
from barograph_server.alerts.simulator import Alert, Instance, Notification, State, Transition, Zone, zone_of
from barograph_server.alerts.simulator.notify import Dispatcher
from barograph_server.alerts.simulator.simulate import alert_of
from barograph_server.alerts.text import Text, words
from barograph_server.alerts.webhooks import AlertMessage
from barograph_server.dashboards.macros import TimeRange, expand_backend
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.errors import WarehouseBusy, WarehouseError
from barograph_server.warehouse.signals import DETAILS

RANGE_S = 600
BROKEN = "DatasourceError"
"""Name of the alert on a rule that cannot be evaluated."""


@dataclass(slots=True)
class RuleState:
    rule: Rule
    instances: dict[str, Instance] = field(default_factory=dict)
    numbers: dict[str, dict[str, float]] = field(default_factory=dict)
    details: dict[str, dict[str, str]] = field(default_factory=dict)
    """The labels of the observed values."""
    broken: Alert | None = None
    """The alert that the rule cannot be evaluated."""
    error: str = ""


@dataclass(frozen=True, slots=True)
class LiveInstance:
    """An instance of a rule that is not quiet."""

    rule: Rule
    key: str
    state: FiringState
    since: int
    """When it became Pending or Recovering, Unix seconds."""
    numbers: Mapping[str, float]
    summary: str


@dataclass(slots=True)
class LiveAlerts:
    """Evaluates rules when they are due and returns the notifications, one group per incident.

    An instance stays in the notifications of its incident until that closes. An instance that fires again meanwhile
    is therefore not sent again; one that joins is.
    """

    rules: Sequence[Rule]
    settings: AlertSettings
    report: Callable[[str], None]
    """Receives a sentence for each change of state."""
    on_transition: Callable[[Rule, Transition], object] = lambda rule, change: None
    """Receives each change of state."""
    _rule_states: list[RuleState] = field(init=False)
    _dispatcher: Dispatcher = field(init=False)
    _last: int | None = None
    """Time of the last step."""
    _changes: list[FiringChange] = field(default_factory=list)
    """Changes of the current step."""
    _incidents: IncidentLog = field(default_factory=IncidentLog)
    _sent: list[tuple[Incident, dict[tuple[str, str], Alert]]] = field(default_factory=list)
    """Open incidents, with the alerts of their instances."""

    def __post_init__(self) -> None:
        self._rule_states = [RuleState(rule) for rule in self.rules]
        self._dispatcher = Dispatcher(branch(self.rules, self.settings, INCIDENT_GROUP_BY), self.settings)

    def step(self, client: Client, now: int) -> list[tuple[Notification, list[AlertMessage]]]:
        """Evaluate every rule that became due since the last step, and return the notifications.

        A rule is evaluated once, at the latest multiple of its interval, however long ago the last step was.
        """
        unavailable: WarehouseBusy | None = None
        for rule_state in self._rule_states:
            due = now // rule_state.rule.every_s * rule_state.rule.every_s
            # A clock that stepped back must not suspend the rules until it has caught up.
            if self._last is None or due > self._last or now < self._last:
                unavailable = self._evaluate(client, rule_state, due, unavailable)
        self._last = now
        self._update_incidents(now)
        return [
            (each, [self._message(alert, alert in each.firing) for alert in (*each.firing, *each.resolved)])
            for each in self._dispatcher.due_notifications(now)
        ]

    def instances(self) -> Iterator[LiveInstance]:
        """Yield the instances that are pending, firing or recovering."""
        for rule_state in self._rule_states:
            for key, instance in rule_state.instances.items():
                if instance.state in ("Pending", "Alerting", "Recovering"):
                    numbers, summary = rule_state.numbers.get(key, {}), self._summary(rule_state, key)
                    yield LiveInstance(rule_state.rule, key, instance.state, instance.since, numbers, summary)

    def errors(self) -> dict[str, str]:
        """Return why rules cannot be evaluated, by the rules' UIDs."""
        return {each.rule.uid: each.error for each in self._rule_states if each.error}

    def restore(self, uid: str, key: str, state: State, since: int, now: int) -> None:
        """Continue with the state of an instance since a time, Unix seconds; unknown rules are ignored."""
        for rule_state in self._rule_states:
            if rule_state.rule.uid == uid:
                rule_state.instances[key] = Instance(rule_state.rule, key, state, since=since, last_evaluation=now)
                if state != "Pending":
                    self._changes.append(FiringChange(since, rule_state.rule, key, True))

    def _evaluate(
        self, client: Client, rule_state: RuleState, at: int, unavailable: WarehouseBusy | None
    ) -> WarehouseBusy | None:
        """Evaluate one rule.

        Args:
            unavailable: the error of an earlier query of this step: while ClickHouse does not answer, one query waits
                for its time limit, not each.

        Returns:
            The error if ClickHouse does not answer.
        """
        rule = rule_state.rule
        try:
            if unavailable is not None:
                raise unavailable
            results = _query(client, rule, at)
        except (WarehouseBusy, WarehouseError) as error:
            if isinstance(error, WarehouseBusy):
                unavailable = error
            self._break(rule_state, at, str(error))
            results, default_zone = {}, Zone.ERROR
        else:
            rule_state.error = ""
            if rule_state.broken is not None:
                self._dispatcher.add(Alert(rule_state.broken.labels, rule_state.broken.start, at))
                rule_state.broken = None
            default_zone = Zone.MISSING if results else Zone.NO_DATA
        values = {key: numbers["A"] for key, (numbers, _) in results.items()}
        for key in values.keys() | rule_state.instances.keys() | set(rule.signal.keys):
            instance = rule_state.instances.setdefault(key, Instance(rule, key))
            if key in values:
                rule_state.numbers[key], rule_state.details[key] = results[key]
            zone = zone_of(rule, values[key]) if key in values else default_zone
            for change in instance.advance(at, at, zone):
                self._note(rule_state, change)
        return unavailable

    def _note(self, rule_state: RuleState, change: Transition) -> None:
        rule, key = rule_state.rule, change.key
        self.on_transition(rule, change)
        if change.after in ("Alerting", "Normal"):
            self._changes.append(FiringChange(change.at, rule, key, change.after == "Alerting"))
        why = f" ({change.reason})" if change.reason else ""
        what = self._summary(rule_state, key) if change.after in ("Pending", "Alerting") else ""
        self.report(f"{change.after}{why}: {rule.title}{f' {key}' if key else ''}{f': {what}' if what else ''}")

    def _update_incidents(self, now: int) -> None:
        for incident in self._incidents.advance(self._changes):
            alerts = next((alerts for known, alerts in self._sent if known is incident), None)
            if alerts is None:
                alerts = {}
                self._sent.append((incident, alerts))
            joined = [(key, member) for key, member in incident.members.items() if key not in alerts]
            for key, member in joined:
                alerts[key] = alert_of(member.rule, member.key, member.since, None, incident.name)
                self._dispatcher.add(alerts[key])
            if joined:
                self.report(f"Incident ({incident.severity}): {incident.model or 'pipeline'}: {incident.title}")
        self._changes.clear()
        for incident, alerts in [each for each in self._sent if not each[0].is_open(now)]:
            for alert in alerts.values():
                self._dispatcher.add(Alert(alert.labels, alert.start, now))
            self.report(f"Incident closed: {incident.model or 'pipeline'}: {incident.title}")
        self._sent = [each for each in self._sent if each[0].is_open(now)]

    def _break(self, rule_state: RuleState, at: int, problem: str) -> None:
        if rule_state.error != problem:
            self.report(f"{rule_state.rule.title}: cannot be evaluated: {problem}")
        rule_state.error = problem
        if rule_state.broken is None and rule_state.rule.exec_err == "Error":
            labels = rule_state.rule.labels | {"alertname": BROKEN, "rulename": rule_state.rule.title}
            rule_state.broken = Alert(tuple(sorted(labels.items())), at, None)
            self._dispatcher.add(rule_state.broken)

    def _message(self, alert: Alert, is_active: bool) -> AlertMessage:
        labels = alert.label_map
        name = labels.get("rulename", labels.get("alertname", ""))
        rule_state = next(each for each in self._rule_states if each.rule.title == name)
        rule = rule_state.rule
        key = labels.get(rule.signal.label, "") if rule.signal.label else ""
        if labels.get("alertname") == BROKEN:
            error = rule_state.error
            summary = f"{rule.title} " + (f"cannot be evaluated: {error}" if error else "can be evaluated again")
        else:
            summary = self._words(rule_state, key, rule.message)
            if is_active and self._incidents.incident_of(rule, key) is None:
                summary += " It no longer fires; its incident is still open."
        return AlertMessage(
            alert,
            rule.title,
            summary,
            rule.advice,
            rule.description,
            self.settings.grafana_url + self._words(rule_state, key, rule.page_path),
            (self.settings.grafana_url if self.settings.runbooks.startswith("/") else "")
            + self.settings.runbook(rule.runbook),
            rule_state.numbers.get(key, {}),
        )

    def _summary(self, rule_state: RuleState, key: str) -> str:
        return self._words(rule_state, key, rule_state.rule.summary)

    def _words(self, rule_state: RuleState, key: str, text: Text) -> str:
        label = rule_state.rule.signal.label
        labels = rule_state.details.get(key, {}) | ({label: key} if label else {})
        return words(text, labels, rule_state.numbers.get(key, {}))


def _query(client: Client, rule: Rule, at: int) -> dict[str, tuple[dict[str, float], dict[str, str]]]:
    """Query the numbers of each instance, and the labels of its observed number."""
    refs: tuple[str, ...] = tuple(rule.columns)
    results = {}
    for row in client.rows(expand_backend(rule.query, TimeRange((at - RANGE_S) * 1000, at * 1000))):
        labels, numbers = list(map(str, row[: -len(refs)])), map(float, row[-len(refs) :])
        key = labels.pop(0) if rule.signal.label else ""
        results[key] = dict(zip(refs, numbers, strict=True)), dict(zip(DETAILS, labels, strict=False))
    return results
