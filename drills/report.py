"""Compares what happened in a drill with what must happen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from barograph.contract import Contract
from barograph.contract.alerts import FIELD_RULES
from barograph.guard.health import HealthState, ModelHealth

from barograph_server.alerts.rule import Rule, Severity
from barograph_server.alerts.settings import AlertSettings
from barograph_server.alerts.simulator import Episode, Simulation
from barograph_server.drills.faults import ExpectedRule, Injection
from barograph_server.drills.webhook import DeliveredAlert, Deliveries

HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class DrillCheck:
    """One expectation and what happened instead."""

    expected: str
    observed: str
    is_met: bool
    after_s: int | None = None
    """Event time from the start of the fault to the observation, in seconds."""


@dataclass(frozen=True, slots=True)
class GuardObservation:
    """A state that a client `Guard` reported."""

    at_s: int
    """Event time of the record, Unix seconds."""
    state: str
    answered_by: str
    """`primary` or `fallback`: which one answered the calls through `Guard.use`."""
    reaction_s: float | None = 0.0
    """Seconds from the record in Kafka to the first answer by it; None in a live drill, which does not measure it."""


@dataclass(frozen=True, slots=True)
class DrillObservations:
    """What happened in a drill, and in its control: the same events without the fault."""

    simulation: Simulation
    control: Simulation
    deliveries: Deliveries
    guard: Sequence[GuardObservation]
    """States that the client reported, in order."""
    control_guard: Sequence[ModelHealth]
    """States of the control."""


@dataclass(frozen=True, slots=True)
class DrillReport:
    checks: tuple[DrillCheck, ...]
    notes: tuple[str, ...] = ()
    page_after_s: int | None = None
    """Event time from the start of the fault to the first expected notification, in seconds."""
    degraded_after_s: int | None = None
    recovered_after_s: int | None = None
    """Event time from the end of the fault to the guard's recovery, in seconds."""
    observed: tuple[str, ...] = ()
    """Alerts that the fault caused."""

    @property
    def passed(self) -> bool:
        return all(check.is_met for check in self.checks)


def failed_report(expected: str, observed: str) -> DrillReport:
    """Return the report of a drill that could not run."""
    return DrillReport((DrillCheck(expected, observed, False),))


def report(
    injection: Injection, contract: Contract, expectation: DrillExpectation, observations: DrillObservations
) -> DrillReport:
    start_s = injection.period.start_ms // 1000
    control = _episodes(observations.control)
    caused = [each for each in _episodes(observations.simulation) if _is_caused(each, control, start_s)]
    checks: list[DrillCheck] = []
    first: list[int] = []
    for alert in expectation.alerts:
        check = _check_alert(alert, caused, observations, start_s)
        checks.append(check)
        if check.is_met and check.after_s is not None:
            first.append(check.after_s)
    others = sorted(
        {
            _name(each)
            for each in caused
            if each.rule.severity == "page" and not expectation.permits(each.rule.name, each.key)
        }
    )
    checks.append(DrillCheck("no other page", ", ".join(others) or "none", not others))
    checks += [DrillCheck("every notification is delivered", each, False) for each in observations.deliveries.problems]
    guard_checks, notes, degraded_s, recovered_s = _check_guard(injection, contract, expectation, observations)
    return DrillReport(
        (*checks, *guard_checks),
        tuple(notes),
        min(first, default=None),
        degraded_s,
        recovered_s,
        tuple(dict.fromkeys(_name(each) for each in caused)),
    )


def _check_alert(
    expected: ExpectedAlert, caused: Iterable[Episode], observations: DrillObservations, start_s: int
) -> DrillCheck:
    text = str(expected)
    if expected.severity is None:
        covered = f" for {expected.key}" if expected.key else ""
        why = f"the contract has no rule {expected.rule}{covered}; see alerts.rules.{expected.rule} in it"
        return DrillCheck(text, why, False)
    matching = [each for each in caused if each.rule.name == expected.rule and expected.key in (None, each.key)]
    if not matching:
        always = [
            each
            for each in _episodes(observations.simulation)
            if each.rule.name == expected.rule
            and expected.key in (None, each.key)
            and (each.end is None or each.end >= start_s)
        ]
        why = "it fires without the fault too; choose another field or range" if always else "it did not fire"
        return DrillCheck(text, why, False)
    delivered = [
        each
        for each in observations.deliveries.alerts
        if each.since_s >= start_s and expected.matches(dict(each.labels), _key(each, matching))
    ]
    if not delivered:
        fired = matching[0].start - start_s
        return DrillCheck(text, "it fired, and no notification arrived", False, fired)
    arrival = min(delivered, key=lambda each: each.at_s)
    if arrival.point != expected.point:
        return DrillCheck(text, f"the notification arrived at {arrival.point}", False, arrival.at_s - start_s)
    key = _key(arrival, matching)
    observed = f"{arrival.labels['severity']} {arrival.labels['rule']}{f' {key}' if key else ''} at {arrival.point}"
    return DrillCheck(text, observed, True, arrival.at_s - start_s)


def _key(delivered: DeliveredAlert, matching: Sequence[Episode]) -> str:
    label = matching[0].rule.signal.label
    return delivered.labels.get(label, "") if label else ""


def _episodes(simulation: Simulation) -> list[Episode]:
    return sorted(
        (episode for replay in simulation.replays for episode in replay.episodes), key=lambda each: each.start
    )


def _is_caused(episode: Episode, control: Sequence[Episode], start_s: int) -> bool:
    """Whether the fault caused an episode: it began after the fault, and the control has none at that time.

    The control may fire a little earlier or later, because a fault moves windows across a threshold, so an episode of
    the control counts if it begins within the rule's long window.
    """
    if episode.start < start_s:
        return False
    reach_s = max(episode.rule.long_s, HOUR_S)
    return not any(
        (each.rule.name, each.rule.part, each.key) == (episode.rule.name, episode.rule.part, episode.key)
        and each.start <= episode.start + reach_s
        and (each.end is None or each.end >= episode.start - reach_s)
        for each in control
    )


def _name(episode: Episode) -> str:
    return f"{episode.rule.severity} {episode.rule.name}{f' {episode.key}' if episode.key else ''}"


def _check_guard(
    injection: Injection, contract: Contract, expectation: DrillExpectation, observations: DrillObservations
) -> tuple[list[DrillCheck], list[str], int | None, int | None]:
    """Check the states of the guard: degraded by the fault and healthy again, or unchanged."""
    start_s, end_s = injection.period.start_ms // 1000, injection.period.end_ms // 1000
    by_fault = [each for each in observations.guard if each.at_s >= start_s]
    degraded = next((each for each in by_fault if each.state == "degraded"), None)
    control = [each for each in observations.control_guard if each.state == "degraded"]
    before = [each.state for each in observations.control_guard if each.at_ms // 1000 <= start_s]
    if any(each.since_ms // 1000 >= start_s for each in control) or before[-1:] == ["degraded"]:
        note = "The guard is not checked: without the fault the model is degraded in this range as well."
        return [], [note], None, None
    if expectation.guard is None:
        return [], [], None if degraded is None else degraded.at_s - start_s, None
    if expectation.guard == "healthy":
        observed = "degraded" if degraded else "healthy"
        after_s = degraded.at_s - start_s if degraded else None
        return [DrillCheck("the guard stays healthy", observed, degraded is None, after_s)], [], after_s, None
    expected = "the guard degrades and serving uses the fallback"
    if degraded is None:
        return [DrillCheck(expected, "it stayed healthy", False)], [], None, None
    degraded_s = degraded.at_s - start_s
    answered = f"degraded, {_answer(degraded)}"
    checks = [DrillCheck(expected, answered, degraded.answered_by == "fallback", degraded_s)]
    recovered = next((each for each in by_fault if each.at_s > degraded.at_s and each.state == "healthy"), None)
    expected = "the guard recovers and serving uses the primary"
    if recovered is not None:
        observed, recovered_s = f"healthy, {_answer(recovered)}", recovered.at_s - end_s
        checks.append(DrillCheck(expected, observed, recovered.answered_by == "primary", recovered.at_s - start_s))
        return checks, [], degraded_s, recovered_s
    rules = [replay.rule for replay in observations.simulation.replays]
    if observations.simulation.until - end_s >= recovery_s(contract, rules):
        return [*checks, DrillCheck(expected, "it stayed degraded", False)], [], degraded_s, None
    note = "The events end before the guard can recover; use a shorter --duration or a longer --history."
    return checks, [note], degraded_s, None


def _answer(observation: GuardObservation) -> str:
    text = f"the {observation.answered_by} answered"
    if observation.reaction_s is None:
        return text
    return f"{text} {1000 * observation.reaction_s:,.0f} ms after the record"


def recovery_s(contract: Contract, rules: Iterable[Rule]) -> int:
    """Return the longest time from the end of a fault to the guard's recovery: every window is free of the fault."""
    hops = [window.hop_s for window in contract.windows]
    waits = [
        rule.long_s + rule.keep_firing_for_s + 2 * rule.every_s
        for rule in rules
        if rule.name in contract.fallback.rules
    ]
    return max(waits, default=0) + max(hops, default=0) + contract.fallback.recover_s + 2 * contract.pane_s


@dataclass(frozen=True, slots=True)
class ExpectedAlert:
    """A rule that must fire."""

    rule: str
    key: str | None
    """The field or other instance; None: any."""
    severity: Severity | None
    """None: the contract has no such rule, so the drill fails."""
    route: str
    point: str
    """The contact point that must get the notification."""

    def __str__(self) -> str:
        key = f" {self.key}" if self.key else ""
        if self.severity is None:
            return f"{self.rule}{key}, which the contract disables"
        return f"{self.severity} {self.rule}{key} to {self.point}"

    def matches(self, labels: dict[str, str], key: str) -> bool:
        """Whether an alert is the expected one, by its labels and the key of its instance."""
        same = labels.get("rule") == self.rule and self.key in (None, key)
        return same and labels.get("severity") == self.severity and labels.get("route", "") == self.route


@dataclass(frozen=True, slots=True)
class DrillExpectation:
    """What must happen, and what may happen beside it."""

    alerts: tuple[ExpectedAlert, ...]
    may_fire: tuple[ExpectedRule, ...]
    guard: HealthState | None
    """The state that the guard must reach: `degraded`, or `healthy` if the fault must not change it. None: it depends
    on the rules that may fire."""

    def permits(self, rule: str, key: str) -> bool:
        """Whether an alert may fire: it is expected, or may fire beside what is expected."""
        permitted = {(each.rule, each.key) for each in self.alerts} | {(each.rule, each.key) for each in self.may_fire}
        return (rule, key) in permitted or (rule, None) in permitted


def expect(
    injection: Injection, contract: Contract, rules: Sequence[Rule], settings: AlertSettings
) -> DrillExpectation:
    alerts = tuple(_alert(each, rules, settings) for each in injection.fires)

    def degrades(expected: ExpectedRule) -> bool:
        # Of rules with an instance per field, critical fields count.
        is_critical = expected.rule not in FIELD_RULES or expected.key in (None, *critical)
        return expected.rule in contract.fallback.rules and is_critical

    critical = {field.name for field in contract.fields if field.critical}
    if any(map(degrades, injection.fires)):
        return DrillExpectation(alerts, injection.may_fire, "degraded")
    return DrillExpectation(alerts, injection.may_fire, None if any(map(degrades, injection.may_fire)) else "healthy")


def _alert(expected: ExpectedRule, rules: Sequence[Rule], settings: AlertSettings) -> ExpectedAlert:
    rule = next(
        (each for each in rules if each.name == expected.rule and expected.key in (None, *each.signal.keys)), None
    )
    if rule is None:
        return ExpectedAlert(expected.rule, expected.key, None, "", "")
    point = settings.route(rule.route).point(rule.severity)
    return ExpectedAlert(expected.rule, expected.key, rule.severity, rule.route, point)
