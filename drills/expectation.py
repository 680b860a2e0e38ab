"""What must happen in a drill, stated before it runs, and what must not."""

from collections.abc import Sequence
from dataclasses import dataclass

from barograph.contract import Contract
from barograph.contract.alerts import FIELD_RULES
from barograph.guard.health import HealthState

from barograph_server.alerts.rule import Rule, Severity
from barograph_server.alerts.settings import AlertSettings
from barograph_server.drills.faults import ExpectedRule, Injection


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
    """State what must happen.

    Args:
        contract: the contract of the drill's model.
        settings: routes and contact points of the installation.
    """
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
    rule = _rule_of(expected, rules)
    if rule is None:
        return ExpectedAlert(expected.rule, expected.key, None, "", "")
    point = settings.route(rule.route).point(rule.severity)
    return ExpectedAlert(expected.rule, expected.key, rule.severity, rule.route, point)


def _rule_of(expected: ExpectedRule, rules: Sequence[Rule]) -> Rule | None:
    for rule in rules:
        if rule.name == expected.rule and (expected.key is None or expected.key in rule.signal.keys):
            return rule
    return None
