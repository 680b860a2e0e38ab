"""The section `alerts` of the contract file: its keys, and how it is read, checked and written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from barograph.contract import format_duration
from barograph.contract.alerts import AGE_RULES, FIELD_RULES, RULES, THRESHOLD_RULES, WINDOW_RULES, AlertRule, Alerts
from barograph.contract.kinds import ChoiceKind, DurationKind, Key, ListKind, NameKind, NumberKind, Path, RecordKind
from barograph.contract.problems import quoted

if TYPE_CHECKING:
    from barograph.contract import Contract, Field

MEASURED_RULES = ("performance", "cbpe-drop")
"""Rules on windows of labels, which are no shorter than an hour."""
OUTPUT_SOURCES = ("score", "class", "confidence")
_NUMERIC = ("float", "int", "timestamp")

ALERT_WINDOWS = RecordKind(
    (
        Key("long", DurationKind(), "The window that decides.", "the longest of `windows`"),
        Key("short", DurationKind(), "The window that must agree.", "the second longest of `windows`"),
    )
)

ALERT_RULE = RecordKind(
    (
        Key(
            "severity",
            ChoiceKind(("page", "ticket", "none")),
            "Who is told: `page`, `ticket`, or `none` for nobody.",
            "that of the rule; of fields `page` where they are critical, else `ticket`",
        ),
        Key(
            "fields",
            ListKind(NameKind("the name of a field"), at_least=1, distinct=True),
            "The fields that it watches.",
            "all that it is about",
        ),
        Key(
            "threshold", NumberKind(0.0, above=True), "The line above which it fires.", "that of `thresholds` or `slo`"
        ),
        Key(
            "clear",
            NumberKind(0.0, above=True),
            "The line below which it clears.",
            "the same share of the line as `clear` is of `major` in `thresholds.psi`",
        ),
        Key("windows", ALERT_WINDOWS, "Its windows.", "those of all rules"),
        Key("for", DurationKind(zero=True), "How long it must hold before it fires.", "that of all rules"),
        Key(
            "keep_firing_for",
            DurationKind(zero=True),
            "How long it keeps firing after it held last.",
            "that of all rules",
        ),
        Key(
            "at_least",
            DurationKind(),
            "Of silence, label-stop and pipeline-lag: how long something must be missing at least.",
            "that of the rule",
        ),
        Key("route", NameKind("a route"), "Where it goes.", "`route` of the contract"),
    )
)

ALERT_RULES = RecordKind(tuple(Key(name, ALERT_RULE, meaning, "as below") for name, meaning in RULES.items()))

ALERTS = RecordKind(
    (
        Key("windows", ALERT_WINDOWS, "The windows that rules look at.", "the two longest of `windows`"),
        Key(
            "every",
            DurationKind(),
            "How often rules are evaluated.",
            "the shortest hop of `windows`, from 1m to 10m",
        ),
        Key(
            "for", DurationKind(zero=True), "How long a rule must hold before it fires.", "two evaluations, at least 5m"
        ),
        Key(
            "keep_firing_for",
            DurationKind(zero=True),
            "How long a rule keeps firing after it held last.",
            "three evaluations, at least 15m",
        ),
        Key(
            "mute",
            ListKind(NameKind("a mute timing"), distinct=True),
            "Mute timings of the installation (retraining), for alerts on inputs, outputs and performance.",
            "[]",
        ),
        Key("rules", ALERT_RULES, "What differs for single rules.", "{}"),
    )
)

_RULE_DURATIONS = (("for", "for_s"), ("keep_firing_for", "keep_firing_for_s"), ("at_least", "at_least_s"))
_DURATIONS = (("every", "every_s"), *_RULE_DURATIONS[:2])
_PLAIN = ("severity", "fields", "threshold", "clear", "route")


def build_alerts(read: Mapping[str, Any]) -> Alerts:
    """Make the section of what was read; what failed to be read has its default."""
    rules = {
        name: AlertRule(
            **{key: values[key] for key in _PLAIN if key in values},
            **_windows(values),
            **{member: values[key] for key, member in _RULE_DURATIONS if key in values},
        )
        for name, values in read.get("rules", {}).items()
    }
    durations = {member: read[key] for key, member in _DURATIONS if key in read}
    return Alerts(mute=read.get("mute", ()), rules=rules, **_windows(read), **durations)


def _windows(values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{key}_s": length for key, length in values.get("windows", {}).items()}


def alert_settings(alerts: Alerts, text: Callable[[str], str], number: Callable[[float], str]) -> dict[str, Any]:
    """The section as keys and written values, without what is the default; maps are dicts.

    Args:
        alerts: what to write.
        text: writes a text.
        number: writes a number.
    """

    def duration(seconds: int) -> str:
        return format_duration(seconds) if seconds else "0s"

    def common(part: Alerts | AlertRule, durations: tuple[tuple[str, str], ...]) -> dict[str, Any]:
        windows = {"long": part.long_s, "short": part.short_s}
        known = {key: duration(value) for key, value in windows.items() if value is not None}
        given: dict[str, Any] = {"windows": known} if known else {}
        given |= {
            key: duration(getattr(part, member)) for key, member in durations if getattr(part, member) is not None
        }
        return given

    def rule(part: AlertRule) -> dict[str, Any]:
        given: dict[str, Any] = {}
        if part.severity is not None:
            given["severity"] = part.severity
        if part.fields is not None:
            given["fields"] = f"[{', '.join(map(text, part.fields))}]"
        lines = {"threshold": part.threshold, "clear": part.clear}
        given |= {key: number(value) for key, value in lines.items() if value is not None}
        given |= common(part, _RULE_DURATIONS)
        if part.route is not None:
            given["route"] = text(part.route)
        return given

    given = common(alerts, _DURATIONS)
    if alerts.mute:
        given["mute"] = f"[{', '.join(map(text, alerts.mute))}]"
    if alerts.rules:
        given["rules"] = {name: rule(part) for name, part in alerts.rules.items()}
    return given


def alert_check_failures(contract: Contract) -> Iterator[tuple[Path, str, tuple[Path, ...]]]:
    """List what does not hold: where, what is wrong, and the other values that it rests on."""
    alerts = contract.alerts
    yield from _window_findings(contract, alerts, ("alerts", "windows"))
    if alerts.every_s is not None and alerts.every_s % 10:
        yield ("alerts", "every"), "is no multiple of ten seconds, which Grafana asks for; write such as 1m", ()
    for name, rule in alerts.rules.items():
        path: Path = ("alerts", "rules", name)
        if name not in RULES:
            yield path, f"{quoted(name)} is no rule; write one of {', '.join(RULES)}", ()
            continue
        yield from _window_findings(contract, rule, (*path, "windows"))
        yield from _field_findings(contract, name, rule, (*path, "fields"))
        yield from _line_findings(name, rule, path)
        for key, given, rules in (
            ("fields", rule.fields, FIELD_RULES),
            ("threshold", rule.threshold, THRESHOLD_RULES),
            ("clear", rule.clear, THRESHOLD_RULES),
            ("windows", rule.long_s or rule.short_s, WINDOW_RULES),
            ("at_least", rule.at_least_s, AGE_RULES),
        ):
            if given is not None and name not in rules:
                yield (*path, key), f"the rule {name} has no {key}; leave it out", ()
        yield from _needs(contract, name, rule, path)
        hour_s = max(3600, contract.pane_s)
        if name in MEASURED_RULES and rule.short_s is not None and (rule.short_s % hour_s or rule.long_s):
            message = f"performance is measured in one window of whole {format_duration(hour_s)}; write short alone"
            yield (*path, "windows"), message, (("pane",),)


def _window_findings(contract: Contract, part: Alerts | AlertRule, path: Path) -> Iterator[Any]:
    names = {window.length_s: window.name for window in contract.windows if window.length_s > 0}
    for key, length_s in (("long", part.long_s), ("short", part.short_s)):
        if length_s is not None and length_s not in names:
            message = f"no window of this contract is so long; write one of {', '.join(names.values())}"
            yield (*path, key), message, (("windows",),)
    if part.long_s is not None and part.short_s is not None and part.short_s > part.long_s:
        yield (*path, "short"), "is longer than the long window; write the shorter one", ((*path, "long"),)


def _field_findings(contract: Contract, name: str, rule: AlertRule, path: Path) -> Iterator[Any]:
    known = {field.name: field for field in contract.fields}
    for position, field_name in enumerate(rule.fields or ()):
        field = known.get(field_name)
        here, needs = (*path, position), (("fields",),)
        if field is None:
            yield here, f"{quoted(field_name)} is no field of this contract; write the name of one", needs
        elif name in FIELD_RULES and not applies_to(name, field):
            yield here, f"the rule {name} is not about the field {quoted(field_name)}; leave it out", needs


def _line_findings(name: str, rule: AlertRule, path: Path) -> Iterator[Any]:
    if rule.threshold is not None and rule.clear is not None and rule.clear > rule.threshold:
        message = f"{rule.clear:g} is above the threshold ({rule.threshold:g}): it would clear as it fires; write less"
        yield (*path, "clear"), message, ((*path, "threshold"),)


def _needs(contract: Contract, name: str, rule: AlertRule, path: Path) -> Iterator[Any]:
    if rule.severity == "none":
        return
    slo = contract.slo
    lacks = {
        "performance": not slo.performance and "slo.performance",
        "latency": (slo.latency_ms is None or (slo.latency_share is None and rule.threshold is None))
        and "slo.latency_ms and slo.latency_share",
        "cbpe-drop": contract.label is None and "label",
        "label-stop": contract.label is None and "label",
    }.get(name)
    if lacks:
        yield path, f"there is nothing to hold it against; write {lacks}, or leave it out", (("slo",), ("label",))


def is_output(field: Field) -> bool:
    """Whether a field is what the model answers: its score, class, a probability, the confidence."""
    return field.source in OUTPUT_SOURCES or field.source.startswith("scores.")


def applies_to(name: str, field: Field) -> bool:
    """Whether a rule with an instance per field is about this field.

    Latency has its own promise. A field that is dropped by its `pii` is null in every event.
    """
    if field.pii == "drop" or field.source == "latency_ms":
        return False
    if name == "output-shift":
        return is_output(field)
    if name in ("psi-major", "psi-minor"):
        return not is_output(field)
    if name == "unseen-rate":
        return field.type == "category"
    if name == "range-rate":
        return field.type in _NUMERIC
    return True
