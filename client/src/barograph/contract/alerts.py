"""What a contract says of its alerts: windows, waiting times, and what differs from the defaults of single rules.

Lines stand in `thresholds` and `slo` of the contract; whether a field pages or makes a ticket is its `critical`. So
most contracts need nothing of this.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Severity = Literal["page", "ticket", "none"]

RULES: dict[str, str] = {
    "psi-major": "A feature's distribution moved by more than `thresholds.psi.major`.",
    "psi-minor": "A critical feature's distribution moved by more than `thresholds.psi.minor`.",
    "null-rate": "More nulls than in training, surely by more than `thresholds.rates.major`.",
    "invalid-rate": "More values of a wrong type than in training.",
    "unseen-rate": "More categories that training did not hold than it leads one to expect.",
    "range-rate": "More values under or over the range than in training.",
    "output-shift": "The distribution of scores or classes moved by more than `thresholds.psi.major`.",
    "performance": "A metric of `slo.performance` breaks its promise in a window whose labels are mature.",
    "cbpe-drop": "The performance that scores lead one to expect, without labels, fell.",
    "latency": "More predictions are slower than `slo.latency_ms` than `slo.latency_share` allows.",
    "errors": "More predictions fail than `slo.error_rate` allows, or without it `thresholds.rates.major`.",
    "silence": "No predictions for longer than is usual.",
    "completeness": "Events were lost before they were counted.",
    "label-stop": "No labels for longer than is usual.",
    "pipeline-lag": "Verdicts are older than they should be.",
}
"""Every rule that a contract may name, with what it fires at."""

FIELD_RULES = frozenset(
    {"psi-major", "psi-minor", "null-rate", "invalid-rate", "unseen-rate", "range-rate", "output-shift"}
)
"""Rules with an instance per field."""
THRESHOLD_RULES = FIELD_RULES | {"cbpe-drop", "latency", "errors", "completeness"}
"""Rules that may be given a line of their own."""
WINDOW_RULES = THRESHOLD_RULES | {"performance"}
"""Rules that look at windows of the contract."""
AGE_RULES = frozenset({"silence", "label-stop", "pipeline-lag"})
"""Rules about how long ago something came."""


class AlertRule(msgspec.Struct, frozen=True, kw_only=True):
    """What differs from the defaults of one rule; None keeps the default."""

    severity: Severity | None = None
    fields: tuple[str, ...] | None = None
    threshold: float | None = None
    clear: float | None = None
    long_s: int | None = None
    short_s: int | None = None
    for_s: int | None = None
    keep_firing_for_s: int | None = None
    at_least_s: int | None = None
    route: str | None = None

    def __post_init__(self) -> None:
        for name in ("threshold", "clear"):
            value = getattr(self, name)
            if value is not None:
                # Whole numbers and floats that are equal give one id.
                msgspec.structs.force_setattr(self, name, value + 0.0)


class Alerts(msgspec.Struct, frozen=True, kw_only=True):
    """How a model's alerts differ from the defaults; None keeps the default."""

    long_s: int | None = None
    """Length of the window that decides; by default the contract's longest."""
    short_s: int | None = None
    """Length of the window that must agree; by default the contract's second longest."""
    every_s: int | None = None
    """How often rules are evaluated; by default each hop of the shortest window, from one to ten minutes."""
    for_s: int | None = None
    keep_firing_for_s: int | None = None
    mute: tuple[str, ...] = ()
    """Mute timings of the installation, for alerts on drift and performance."""
    rules: dict[str, AlertRule] = msgspec.field(default_factory=dict)

    def rule(self, name: str) -> AlertRule:
        """What is said of one rule."""
        return self.rules.get(name) or AlertRule()
