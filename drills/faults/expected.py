"""The rules that see a fault, by field."""

from collections.abc import Callable

from barograph.contract import Field
from barograph.contract.check_alerts import is_output

from barograph_server.alerts.templates.fields import RATE_RULES
from barograph_server.drills.faults.fault import ExpectedRule, Injection

RATES = tuple(RATE_RULES)
NONE: tuple[ExpectedRule, ...] = ()


def drift_of(field: Field) -> ExpectedRule:
    return ExpectedRule("output-shift" if is_output(field) else "psi-major", field.name)


def drift(injection: Injection) -> tuple[ExpectedRule, ...]:
    """The distribution of the field changes."""
    return (drift_of(injection.field),)


def always(*names: str) -> Callable[[Injection], tuple[ExpectedRule, ...]]:
    """Return a function that names the same rules for each injection."""
    rules = tuple(map(ExpectedRule, names))
    return lambda _: rules


def of_field(name: str) -> Callable[[Injection], tuple[ExpectedRule, ...]]:
    """Return a function that names a rule for the affected field."""
    return lambda injection: (ExpectedRule(name, injection.field.name),)


nothing = always()
"""No rule sees the fault."""
other_performance = always("performance", "performance-drop")
"""Both rules on performance may fire, whichever is expected."""


def field_rates(injection: Injection) -> tuple[ExpectedRule, ...]:
    """Rates of the field may rise beside a change of its distribution."""
    field = injection.field
    return (drift_of(field), *(ExpectedRule(name, field.name) for name in RATES), *estimates(injection))


def estimates(injection: Injection) -> tuple[ExpectedRule, ...]:
    """Rules on performance may fire if the field is an output."""
    if injection.affected is None or not is_output(injection.affected):
        return NONE
    return tuple(ExpectedRule(name) for name in ("cbpe-drop", "performance", "performance-drop"))


def performance(injection: Injection) -> tuple[ExpectedRule, ...]:
    """Performance falls: the targets of the contract decide, else the comparison with the reference."""
    return (ExpectedRule("performance" if injection.contract.slo.performance else "performance-drop"),)
