"""An alert rule, before it is written in anybody's spelling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from alerts.text import Form, Text, digest, shortened
from dashboards.uids import PanelLink
from warehouse.signals import Signal

Severity = Literal["page", "ticket"]
GoldenSignal = Literal["volume", "inputs", "outputs", "performance", "pipeline"]
NoData = Literal["OK", "KeepLast", "Alerting", "NoData"]
ExecErr = Literal["OK", "KeepLast", "Alerting", "Error"]

TITLE_CHARS = 190
"""The longest title of a rule or group that Grafana takes."""
MUTED: tuple[GoldenSignal, ...] = ("inputs", "outputs", "performance")
"""What mute timings of a contract are for: while a model is trained anew its data move, but it should answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule: a signal, a line with hysteresis, how long, and who is told."""

    name: str
    """Its template: one of `barograph.contract.alerts.RULES`, or `processor-gone`."""
    part: str = ""
    """Tells rules of one template and severity apart: the metric of a promise."""
    model: str
    """Empty where it is about no model."""
    severity: Severity
    team: str
    route: str
    headline: str
    """What it says in a few words, without the model's name."""
    summary: Text
    description: str
    signal: Signal
    about: GoldenSignal
    form: Form
    """How its number is written."""
    has_bounds: bool
    """Whether the signal's `low` and `high` are asked too."""
    clear: float
    for_s: int
    keep_firing_for_s: int
    every_s: int
    no_data: NoData = "KeepLast"
    exec_err: ExecErr = "Error"
    panel: PanelLink
    mute: tuple[str, ...] = ()
    page_path: Text = ()
    """Where the page with more is, below Grafana's address."""

    @property
    def threshold(self) -> float:
        """The line: it fires above it, or below it where less is worse."""
        return self.signal.line

    @property
    def below(self) -> bool:
        """Whether it fires below its line."""
        return self.signal.below

    @property
    def title(self) -> str:
        """What people call it; no two are the same."""
        if not self.model:
            return self.headline
        return f"{shortened(self.model, TITLE_CHARS - len(self.headline) - 2)}: {self.headline}"

    @property
    def uid(self) -> str:
        """Its identity, which stays while it is changed: at most 40 characters."""
        return f"{self.name}-{digest(self.model, self.name, self.severity, self.part)}"

    @property
    def group(self) -> str:
        """The group in which it is evaluated: that of its model and interval."""
        who = shortened(self.model, TITLE_CHARS - 20) if self.model else "Pipeline"
        return f"{who} (every {self.every_s // 60}m)" if self.every_s % 60 == 0 else f"{who} (every {self.every_s}s)"

    @property
    def missing_evaluations(self) -> int:
        """After how many evaluations without its row an instance is resolved: half an hour, and two at least.

        A data source that fails takes all rows away: what fires must not clear by that.
        """
        return max(2, -(-1800 // self.every_s))

    @property
    def runbook(self) -> str:
        """The name of its runbook's file."""
        return f"{self.name}.md"

    @property
    def labels(self) -> dict[str, str]:
        """The labels that it is routed by, and that stay: values of an instance are in annotations."""
        labels = {
            "source": "barograph",
            "rule": self.name,
            "model": self.model,
            "severity": self.severity,
            "team": self.team,
            "route": self.route,
            "signal": self.about,
        }
        if self.mute and self.about in MUTED:
            labels["mute"] = ", ".join(self.mute)
        return {name: value for name, value in labels.items() if value}
