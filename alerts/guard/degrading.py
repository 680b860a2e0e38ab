"""The instances of rules that make a model degraded."""

from __future__ import annotations

from collections.abc import Iterable

from barograph.contract import Contract
from barograph.guard.health import HealthReason, RuleProgress

from barograph_server.alerts.guard.model_guard import ActiveInstance
from barograph_server.alerts.wall_clock import LiveInstance


def degrading_instances(contract: Contract, instances: Iterable[LiveInstance]) -> list[ActiveInstance]:
    """Select the instances of the rules in `fallback.rules`; of rules with an instance per field, critical fields.

    Args:
        instances: its instances that are pending, firing or recovering.
    """
    critical = {field.name for field in contract.fields if field.critical}
    return [
        _active(each)
        for each in instances
        if each.rule.name in contract.fallback.rules and (each.rule.signal.label != "field" or each.key in critical)
    ]


def _active(instance: LiveInstance) -> ActiveInstance:
    numbers = instance.numbers
    return ActiveInstance(
        RuleProgress(uid=instance.rule.uid, key=instance.key, state=instance.state, since_s=instance.since),
        HealthReason(
            rule=instance.rule.name,
            field=instance.key,
            value=numbers.get("E", numbers.get("A")),
            low=numbers.get("B"),
            high=numbers.get("C"),
            text=instance.summary,
        ),
    )
