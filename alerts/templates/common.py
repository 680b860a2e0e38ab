"""What all rules of one contract share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from barograph.contract import Contract, Field, Window
from barograph.contract.alerts import AlertRule
from barograph.contract.alerts_section import applies_to

from alerts.rule import Rule, Severity
from alerts.settings import AlertSettings
from alerts.text import Label, Number, in_url
from dashboards.uids import DASHBOARDS
from warehouse.signals.verdicts import Pane, WindowOf

DAY_S = 86_400
INTERVAL = {
    "number": (" [", Number("B", "number"), ", ", Number("C", "number"), "]"),
    "percent": (" [", Number("B", "percent"), ", ", Number("C", "percent"), "]"),
}
"""The interval of a number, as summaries have it."""


@dataclass(frozen=True, slots=True)
class Common:
    """What all rules of one contract share: windows, lines, waiting times, routes."""

    contract: Contract
    settings: AlertSettings

    @property
    def pane(self) -> Pane:
        """How panes come to be sealed."""
        return Pane(self.contract.pane_s, self.contract.lateness_s, self.contract.out_of_order_s)

    @property
    def every_s(self) -> int:
        """How often rules are evaluated."""
        every_s = self.contract.alerts.every_s
        return every_s or min(max(min(window.hop_s for window in self.contract.windows), 60), 600)

    @property
    def clear_share(self) -> float:
        """The share of its line under which a rule clears: that of PSI."""
        return self.contract.thresholds.clear / self.contract.thresholds.major

    def said(self, name: str) -> AlertRule:
        """What the contract says of one rule."""
        return self.contract.alerts.rule(name)

    def windows(self, name: str) -> tuple[Window, Window]:
        """The long and the short window of a rule."""
        by_length = {window.length_s: window for window in self.contract.windows}
        lengths = sorted(by_length, reverse=True)
        said, alerts = self.said(name), self.contract.alerts
        long_s = said.long_s or alerts.long_s or lengths[0]
        shorter = [length for length in lengths if length < long_s]
        short_s = said.short_s or alerts.short_s or (shorter[0] if shorter else long_s)
        return by_length[long_s], by_length[min(short_s, long_s)]

    def line(self, name: str, default: float) -> tuple[float, float]:
        """The line of a rule that fires above it, and where it clears."""
        said = self.said(name)
        line = default if said.threshold is None else said.threshold
        return line, round(line * self.clear_share, 12) if said.clear is None else said.clear

    def rule(self, name: str, severity: Severity, **given: Any) -> Iterator[Rule]:
        """The rule with what all of the contract share; nothing where it is switched off."""
        said, alerts = self.said(name), self.contract.alerts
        if said.severity == "none":
            return
        every_s = max(self.every_s, given.pop("every_s", 0))
        for_s = alerts.for_s if said.for_s is None else said.for_s
        keep_s = alerts.keep_firing_for_s if said.keep_firing_for_s is None else said.keep_firing_for_s
        common: dict[str, Any] = {
            "name": name,
            "model": self.contract.model,
            "severity": said.severity or severity,
            "team": self.contract.team or self.settings.platform_team,
            "route": said.route or self.contract.route,
            "every_s": every_s,
            "for_s": max(every_s, 300) if for_s is None else for_s,
            "keep_firing_for_s": max(3 * every_s, 900) if keep_s is None else keep_s,
            "mute": alerts.mute,
            "page_path": (f"/d/{DASHBOARDS['model']}?var-model={in_url(self.contract.model)}",),
        }
        yield Rule(**common | given)

    def by_field(self, name: str, critical: Sequence[bool] = (True, False)) -> Iterator[tuple[Severity, list[str]]]:
        """The fields that a rule watches, by who is told of them."""
        said = self.said(name)
        groups: dict[Severity, list[str]] = {}
        for field in self.contract.fields:
            chosen = field.critical in critical if said.fields is None else field.name in said.fields
            if chosen and applies_to(name, field):
                groups.setdefault(self.severity(name, field), []).append(field.name)
        yield from groups.items()

    def severity(self, name: str, field: Field) -> Severity:
        """Who is told of a field."""
        said = self.said(name).severity
        if said in ("page", "ticket"):
            return said
        return "page" if field.critical and name != "psi-minor" else "ticket"

    def of_field(self) -> dict[str, Any]:
        """What rules with an instance per field have beside: the link to the field's own page."""
        path = f"/d/{DASHBOARDS['field']}?var-model={in_url(self.contract.model)}&var-field="
        return {"page_path": (path, Label("field", in_url=True))}

    def measured_s(self, name: str) -> int:
        """The length of the windows whose performance is looked at: the rule's short one, else a day."""
        return self.said(name).short_s or max(DAY_S, self.contract.pane_s)

    @staticmethod
    def of(window: Window) -> WindowOf:
        """A window as signals name it."""
        return WindowOf(window.name, window.hop_s)
