"""The instances of rules that make a model degraded."""

from collections.abc import Iterable, Mapping

from barograph.contract import Contract
from barograph.guard.health import HealthReason, RuleProgress

from barograph_server.alerts.guard.model_guard import ActiveInstance
from barograph_server.alerts.rule import Rule
from barograph_server.alerts.wall_clock import LiveInstance


def degrading_instances(contract: Contract, instances: Iterable[LiveInstance]) -> list[ActiveInstance]:
    """Select the instances of the rules in `fallback.rules`; of rules with an instance per field, critical fields."""
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


COUNTING = ("sketcher", "monitor")
"""Processors whose absence makes all numbers old."""
LAG_RULE = "pipeline-lag"
"""The rule whose alerts say that the verdicts of a model are old."""
PIPELINE_RULES = (LAG_RULE, "processor-gone")
"""The rules that tell whether numbers are old."""
SCORING = "scorer"
LABELLED_RULES = frozenset({"performance", "performance-drop"})
"""Rules whose numbers come from the scorer."""


def blind_reason(rules: Iterable[Rule], errors: Mapping[str, str], pipeline: Iterable[LiveInstance]) -> str:
    """Return why the rules of a model say nothing about it now; empty if they do.

    Args:
        rules: the rules that make the model degraded.
        errors: why rules cannot be evaluated, by UID.
        pipeline: the firing instances of the rules `processor-gone` and, of this model, `pipeline-lag`.
    """
    needed = {*COUNTING}
    for rule in rules:
        if rule.uid in errors:
            return f"Rule {rule.title!r} cannot be evaluated: {errors[rule.uid]}"
        if rule.name in LABELLED_RULES:
            needed.add(SCORING)
    for instance in pipeline:
        if instance.state == "Pending":
            continue
        if instance.rule.name == LAG_RULE or instance.key in needed:
            return instance.summary
    return ""
