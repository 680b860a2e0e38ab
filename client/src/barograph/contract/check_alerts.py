"""Checks of the section `alerts` of a contract."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from barograph.contract import CONFIDENCE, NUMERIC_TYPES, SECONDS_PER_DAY, SECONDS_PER_HOUR, format_duration
from barograph.contract.alerts import (
    AGE_RULES,
    BELOW_RULES,
    FAST_RULES,
    FIELD_RULES,
    RULES,
    SHADOW_RULES,
    THRESHOLD_RULES,
    WINDOW_RULES,
    AlertRule,
    Alerts,
)
from barograph.contract.kinds import Path
from barograph.contract.problems import quoted
from barograph.events import SCORES

if TYPE_CHECKING:
    from barograph.contract import Contract, Field

DROP_RULE = "performance-drop"
"""The rule that pages above its `fast_threshold` whatever `critical` says."""
MEASURED_RULES = ("performance", DROP_RULE, "cbpe-drop")
"""Rules on windows of labels, which are at least an hour long."""
MEASURED_S = (SECONDS_PER_DAY, 7 * SECONDS_PER_DAY)
"""Lengths in seconds of the windows of labels that every model has."""


def alert_check_failures(contract: Contract) -> Iterator[tuple[Path, str, tuple[Path, ...]]]:
    """List the failed checks of the section: the path, the message, and the other values that the check depends on."""
    alerts = contract.alerts
    yield from _window_failures(contract, alerts, ("alerts", "windows"))
    if alerts.every_s is not None and alerts.every_s % 10:
        yield ("alerts", "every"), "is not a multiple of ten seconds, which Grafana requires; write 1m", ()
    for name, rule in alerts.rules.items():
        path: Path = ("alerts", "rules", name)
        if name not in RULES:
            yield path, f"{quoted(name)} is not a rule; write one of {', '.join(RULES)}", ()
            continue
        yield from _window_failures(contract, rule, (*path, "windows"))
        yield from _field_failures(contract, name, rule, (*path, "fields"))
        yield from _threshold_failures(contract, name, rule, path)
        for key, value, rules in (
            ("fields", rule.fields, FIELD_RULES),
            ("threshold", rule.threshold, THRESHOLD_RULES),
            ("clear", rule.clear, THRESHOLD_RULES - BELOW_RULES),
            ("fast_threshold", rule.fast_threshold, FAST_RULES | {DROP_RULE}),
            ("windows", rule.long_s or rule.short_s, WINDOW_RULES),
            ("at_least", rule.at_least_s, AGE_RULES),
        ):
            if value is not None and name not in rules:
                yield (*path, key), f"the rule {name} has no {key}; remove it", ()
        yield from _missing_thresholds(contract, name, rule, path)
        if name in MEASURED_RULES and rule.short_s is not None:
            yield from _measured_failures(contract, rule, rule.short_s, (*path, "windows"))


def _measured_failures(contract: Contract, rule: AlertRule, short_s: int, path: Path) -> Iterator[Any]:
    hour_s = max(SECONDS_PER_HOUR, contract.pane_s)
    spans_s = {window.length_s for window in contract.windows if window.last} - set(MEASURED_S)
    if short_s % hour_s or rule.long_s:
        message = f"performance needs one window, a multiple of {format_duration(hour_s)}; write only short"
        yield path, message, (("pane",),)
    elif short_s in spans_s:
        message = "performance is not measured over the last events; write the length of a window without last"
        yield (*path, "short"), message, (("windows",),)


def _window_failures(contract: Contract, section: Alerts | AlertRule, path: Path) -> Iterator[Any]:
    names = {window.length_s: format_duration(window.length_s) for window in contract.windows if window.length_s > 0}
    for key, length_s in (("long", section.long_s), ("short", section.short_s)):
        if length_s is not None and length_s not in names:
            message = f"no window of this contract has this length; write one of {', '.join(names.values())}"
            yield (*path, key), message, (("windows",),)
    if section.long_s is not None and section.short_s is not None and section.short_s > section.long_s:
        yield (*path, "short"), "is longer than the long window; write the shorter one", ((*path, "long"),)


def _field_failures(contract: Contract, name: str, rule: AlertRule, path: Path) -> Iterator[Any]:
    known = {field.name: field for field in contract.fields}
    for position, field_name in enumerate(rule.fields or ()):
        field = known.get(field_name)
        field_path, needs = (*path, position), (("fields",),)
        if field is None:
            yield field_path, f"{quoted(field_name)} is not a field of this contract; write the name of one", needs
        elif name in FIELD_RULES and not applies_to(name, field):
            yield field_path, f"the rule {name} does not apply to the field {quoted(field_name)}; remove it", needs


def _threshold_failures(contract: Contract, name: str, rule: AlertRule, path: Path) -> Iterator[Any]:
    if rule.threshold is not None and rule.clear is not None and rule.clear > rule.threshold:
        message = (
            f"{rule.clear:g} is above the threshold ({rule.threshold:g}), so it would clear as it fires; write less"
        )
        yield (*path, "clear"), message, ((*path, "threshold"),)
    default = contract.rate_thresholds.major if name == DROP_RULE else contract.thresholds.major
    threshold = default if rule.threshold is None else rule.threshold
    if name in {*FAST_RULES, DROP_RULE} and rule.fast_threshold is not None and rule.fast_threshold < threshold:
        message = f"{rule.fast_threshold:g} is below the threshold ({threshold:g}); write a larger number"
        yield (*path, "fast_threshold"), message, ((*path, "threshold"), ("thresholds",))


def _missing_thresholds(contract: Contract, name: str, rule: AlertRule, path: Path) -> Iterator[Any]:
    if rule.severity == "none":
        return
    slo = contract.slo
    missing = {
        "performance": not slo.performance and "slo.performance",
        "latency": (slo.latency_ms is None or (slo.latency_share is None and rule.threshold is None))
        and "slo.latency_ms and slo.latency_share",
        "field-slo": not slo.in_range and "slo.in_range",
        "performance-drop": contract.label is None and "label",
        "cbpe-drop": contract.label is None and "label",
        "label-stop": contract.label is None and "label",
        "rate-above-promise": all(each.promise is None for each in contract.evaluators.values())
        and "promise of an evaluator",
        **dict.fromkeys(("gold-labels", "reviewer-agreement"), not contract.evaluators and "evaluators"),
        "cost-budget": contract.budget.day is None and contract.budget.month is None and "budget",
        "judge-drift": not any(each.anchors for each in contract.evaluators.values()) and "anchors of a judge",
        "undeclared-reader": not contract.consumers and "consumers",
        **dict.fromkeys(SHADOW_RULES, contract.shadow is None and "shadow"),
    }.get(name)
    if missing:
        yield (
            path,
            f"the rule has no threshold; write {missing}, or remove the rule",
            (("slo",), ("label",), ("shadow",), ("budget",), ("evaluators",)),
        )


def is_output(field: Field) -> bool:
    """Whether a field is an output of the model: its score, class, a class probability or the confidence."""
    return field.source in ("score", "class", CONFIDENCE) or field.source.startswith(f"{SCORES}.")


def applies_to(name: str, field: Field) -> bool:
    """Whether a rule with an instance per field applies to this field.

    Latency has a rule of its own. A field that its `pii` drops is null in every event.
    """
    if field.pii == "drop" or field.source == "latency_ms":
        return False
    return {
        "all": True,
        "inputs": not is_output(field),
        "outputs": is_output(field),
        "categories": field.type == "category",
        "numbers": field.type in NUMERIC_TYPES,
    }[FIELD_RULES[name]]
