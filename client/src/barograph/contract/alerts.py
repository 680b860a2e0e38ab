"""The alert settings of a contract: windows, waiting times and the settings of single rules.

Thresholds are in the contract's sections `thresholds` and `slo`, and a field's `critical` decides between a page and a
ticket, so most contracts need none of these settings.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

from barograph.contract.kinds import Key, ListKind, NameKind, RecordKind
from barograph.contract.sections import At, Duration, DurationOrZero, Group, Positive, SectionKind

Severity = Literal["page", "ticket", "none"]

RULES: dict[str, str] = {
    "psi-major": "PSI of a feature exceeds `thresholds.psi.major`.",
    "psi-minor": "PSI of a critical feature exceeds `thresholds.psi.minor`.",
    "mean-shift": "The values of a field are higher or lower than in windows of training, where PSI cannot decide.",
    "null-rate": "More nulls than in training, significantly by more than `thresholds.rates.major`.",
    "invalid-rate": "More invalid values than in training, as for `null-rate`.",
    "unseen-rate": "More values of unseen categories than expected, as for `null-rate`.",
    "range-rate": "More values below or above the range than in training, as for `null-rate`.",
    "output-shift": "PSI of an output (score, class, probability or confidence) exceeds `thresholds.psi.major`.",
    "performance": "A metric of `slo.performance` misses its target in the newest window with mature labels.",
    "performance-drop": "Measured performance is below the reference, significantly by more than a margin. A large "
    "drop of a main metric pages.",
    "cbpe-drop": "Performance estimated without labels is worse than the reference.",
    "latency": "The share of predictions slower than `slo.latency_ms` is larger than `slo.latency_share` allows.",
    "field-slo": "More values of a field are out of its range than `slo.in_range` allows.",
    "errors": "The share of failed predictions exceeds `slo.error_rate`, or `thresholds.rates.major` without it.",
    "silence": "No predictions for longer than usual.",
    "completeness": "Events were lost before they were counted.",
    "label-stop": "No labels for longer than usual.",
    "pipeline-lag": "The newest verdict is older than expected.",
    "drills-overdue": "The model's drills have not passed for 30 days. Only contracts with this key have the rule.",
    "shadow-lag": "No event of the candidate is paired while the primary has traffic.",
    "shadow-missing": "More requests have no pair than the margin of `missing` in `shadow`, or 5 %, significantly.",
    "shadow-harm": "Evidence that the candidate, or after a promotion the new primary, is worse in some slice.",
    "shadow-decided": "The decision is promote or hold, or after a promotion keep or roll back.",
    "prompt-harm": "A version of a prompt is worse than the control by more than a margin of `rollback`.",
    "rate-above-promise": "More answers are faulty than the `promise` of an evaluator, with the whole interval.",
    "gold-labels": "An evaluator has too few labels of people for a rate, for a day. Evaluators with a `promise` have "
    "the rule; all have it if the contract has this key.",
    "reviewer-agreement": "Labels of reviewers agree less than an alpha of 0.667, with the whole interval.",
    "unevaluated-version": "A version of a prompt or model has more than 100 answers in a day, and no run of a suite. "
    "Contracts with `text`, `prices` or this key have the rule.",
    "suite-regression": "A version that answers is worse in a suite than the accepted run, with the whole interval. "
    "Contracts with `text`, `prices` or this key have the rule.",
    "judge-drift": "A judge has become worse on its anchors since its release, or its bank is used up.",
    "undeclared-reader": "A reader of topics or tables, or a caller, is in `consumers` of no contract. Contracts with "
    "critical fields and `consumers` have the rule.",
    "cost-budget": "The cost of the day or month, spent or forecast, exceeds `budget`.",
    "cache-hit-fall": "The share of input tokens from a cache falls, significantly by more than 10 points in a week. "
    "Contracts with `prices` or this key have the rule.",
    "token-coverage": "The share of calls with observed tokens falls, significantly by more than 5 points in a week. "
    "Contracts with `prices` or this key have the rule.",
}
"""Every alert rule with the condition that fires it."""

FIELD_RULES: dict[str, Literal["all", "inputs", "outputs", "categories", "numbers"]] = {
    "psi-major": "inputs",
    "psi-minor": "inputs",
    "mean-shift": "all",
    "null-rate": "all",
    "invalid-rate": "all",
    "unseen-rate": "categories",
    "range-rate": "numbers",
    "output-shift": "outputs",
}
"""Rules with an instance per field, and the fields that have one."""
THRESHOLD_RULES = (
    FIELD_RULES.keys()
    | {"performance-drop", "cbpe-drop", "latency", "errors", "completeness", "shadow-missing", "shadow-harm"}
    | {"cost-budget", "cache-hit-fall", "token-coverage", "reviewer-agreement", "unevaluated-version"}
)
"""Rules with a threshold that a contract may override."""
BELOW_RULES = frozenset({"reviewer-agreement"})
"""Of these, the rules that fire below it and clear above it."""
FAST_RULES = frozenset({"psi-major", "output-shift"})
"""Rules that one window shorter than the long one can fire alone, above a higher threshold."""
FAST_RATIO = 2.5
"""Default of this threshold over that of the rule. docs/alerts.md has the false alarm rate."""
LARGE_DROP_RATIO = 2.0
"""Default of `fast_threshold` of performance-drop, above which it pages, over its threshold."""
SHADOW_RULES = tuple(name for name in RULES if name.startswith("shadow-"))
"""Rules on the candidate of the section `shadow`."""
COST_RULES = ("cost-budget", "cache-hit-fall", "token-coverage")
"""Rules on the cost of a language model."""
QUALITY_RULES = ("rate-above-promise", "gold-labels", "reviewer-agreement", "unevaluated-version", "suite-regression")
"""Rules on the quality of a language model's answers."""
WINDOW_RULES = (THRESHOLD_RULES - {"shadow-missing", "shadow-harm", *COST_RULES, *QUALITY_RULES}) | {
    "performance",
    "field-slo",
}
"""Rules that evaluate windows of the contract."""
AGE_RULES = frozenset({"silence", "label-stop", "pipeline-lag", "shadow-lag", "drills-overdue"})
"""Rules on the time since data last arrived, or since drills last passed."""


LongWindow = Annotated[
    Duration | None, At("long", "windows"), "The long window. Only rules on PSI read it.", "the longest of `windows`"
]
ShortWindow = Annotated[
    Duration | None,
    At("short", "windows"),
    "The short window. Other rules on windows read only this one.",
    "the second longest of `windows`",
]


class AlertRule(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one rule; None means the default."""

    GROUPS: ClassVar = {"windows": Group("The rule's windows.", "those of all rules")}

    severity: Annotated[
        Severity | None,
        "`page` or `ticket`; `none` disables the rule.",
        "that of the rule; for rules on fields `page` if the field is critical, else `ticket`",
    ] = None
    fields: Annotated[
        tuple[str, ...] | None,
        ListKind(NameKind("the name of a field"), 1, is_distinct=True),
        "The fields that the rule covers.",
        "all fields that the rule applies to",
    ] = None
    threshold: Annotated[
        Positive | None,
        "The value above which the rule fires; below which, for reviewer-agreement.",
        "from `thresholds` or `slo`",
    ] = None
    clear: Annotated[
        Positive | None,
        "The value below which the rule clears.",
        "the same fraction of the threshold as `clear` is of `major` in `thresholds.psi`",
    ] = None
    fast_threshold: Annotated[
        Positive | None,
        "For psi-major and output-shift: a window shorter than the long one, with at least 500 events, fires the "
        "rule alone if its whole interval of PSI is above this. PSI is always below 20, so 20 turns this off. For "
        "performance-drop: the drop of a main metric above which the rule pages.",
        "2.5 times the threshold; 2 times for performance-drop",
    ] = None
    long_s: LongWindow = None
    short_s: ShortWindow = None
    for_s: Annotated[
        DurationOrZero | None,
        "How long the condition must hold before the rule fires.",
        "that of all rules; 1d for gold-labels",
    ] = None
    keep_firing_for_s: Annotated[
        DurationOrZero | None, "How long the rule keeps firing after the condition last held.", "that of all rules"
    ] = None
    at_least_s: Annotated[
        Duration | None,
        "For silence, label-stop, pipeline-lag and shadow-lag: how long data must be missing before the rule can "
        "fire. For drills-overdue: the time since drills last passed.",
        "that of the rule",
    ] = None
    route: Annotated[str | None, NameKind("a route"), "The route of the rule's alerts.", "`route` of the contract"] = (
        None
    )


RULE_SETTINGS = RecordKind(
    tuple(Key(name, SectionKind(AlertRule), meaning, "its defaults") for name, meaning in RULES.items())
)


class Alerts(msgspec.Struct, frozen=True, kw_only=True):
    """The alert settings of a model; None means the default."""

    GROUPS: ClassVar = {"windows": Group("The windows that rules evaluate.", "the two longest of `windows`")}

    long_s: LongWindow = None
    short_s: ShortWindow = None
    every_s: Annotated[
        Duration | None, "How often rules are evaluated.", "the shortest hop of `windows`, from 1m to 10m"
    ] = None
    for_s: Annotated[
        DurationOrZero | None,
        "How long the condition of a rule must hold before the rule fires.",
        "the time between two evaluations (`every`), at least 5m",
    ] = None
    keep_firing_for_s: Annotated[
        DurationOrZero | None,
        "How long a rule keeps firing after its condition last held.",
        "three times `every`, at least 15m",
    ] = None
    mute: Annotated[
        tuple[Annotated[str, NameKind("a mute timing")], ...],
        "Mute timings, defined in the settings, that silence alerts on inputs, outputs and performance.",
    ] = ()
    rules: Annotated[dict[str, AlertRule], RULE_SETTINGS, "Settings of individual rules."] = {}

    def rule(self, name: str) -> AlertRule:
        """Return the settings of one rule."""
        return self.rules.get(name) or AlertRule()
