"""Builds the rules of one contract: shared windows, thresholds, durations and routes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from barograph.contract import Contract, Field, Window, format_duration
from barograph.contract.alerts import FAST_RATIO, FAST_RULES, AlertRule
from barograph.contract.check_alerts import applies_to

from barograph_server.alerts.rule import SHOWN_LENGTHS, Rule, Severity, texts
from barograph_server.alerts.settings import AlertSettings
from barograph_server.alerts.text import LabelRef, Text, in_url
from barograph_server.warehouse.signals.verdicts import HoppingWindow, PaneTiming

DAY_S = 86_400
IN_WINDOW: Text = (" in the ", LabelRef("window", is_detail=True), " window until ", LabelRef("until", is_detail=True))
"""The window that decides, in summaries."""
IN_WINDOW_OF_VERSION: Text = (*IN_WINDOW, ", version ", LabelRef("version", is_detail=True))
"""The window and the version that decide."""
REASON = LabelRef("reason", is_detail=True)
"""A sentence with the reason if data are insufficient, with a space before it."""
CAUSE = LabelRef("cause", is_detail=True)
"""Sentences on a change, with a space before: since when, which other fields, the most likely cause; or empty."""


def last_part(window: Window) -> str:
    """Return the name of a window after "in the": `last 1d`, or `last 500 predictions`."""
    return f"{window.name} predictions" if window.last else f"last {window.name}"


def _in_query(details: Mapping[str, str]) -> Iterator[str | LabelRef]:
    """Yield the part of a URL that sets parameters to details of the observed value."""
    for parameter, name in details.items():
        yield f"&{parameter}="
        yield LabelRef(name, in_url=True, is_detail=True)


@dataclass(frozen=True, slots=True)
class RuleFactory:
    """Builds rules with the attributes that all rules of one contract share."""

    contract: Contract
    settings: AlertSettings

    @property
    def pane(self) -> PaneTiming:
        return PaneTiming(self.contract.pane_s, self.contract.lateness_s, self.contract.out_of_order_s)

    @property
    def every_s(self) -> int:
        every_s = self.contract.alerts.every_s
        return every_s or min(max(min(window.hop_s for window in self.contract.windows), 60), 600)

    @property
    def clear_share(self) -> float:
        """Ratio of clear threshold to threshold, taken from PSI."""
        return self.contract.thresholds.clear / self.contract.thresholds.major

    def override(self, name: str) -> AlertRule:
        """The contract's overrides for one rule."""
        return self.contract.alerts.rule(name)

    def windows(self, name: str) -> tuple[Window, Window]:
        by_length = {window.length_s: window for window in self.contract.windows}
        lengths = sorted(by_length, reverse=True)
        override, alerts = self.override(name), self.contract.alerts
        long_s = override.long_s or alerts.long_s or lengths[0]
        shorter = [length for length in lengths if length < long_s]
        short_s = override.short_s or alerts.short_s or (shorter[0] if shorter else long_s)
        return by_length[long_s], by_length[min(short_s, long_s)]

    def fast(self, name: str, threshold: float) -> tuple[list[Window], float | None]:
        """The windows that can fire a rule alone, shortest first, and their threshold.

        They are all windows shorter than the long one; none if the rule needs two windows, or has only one.
        """
        long, short = self.windows(name)
        if name not in FAST_RULES or long == short:
            return [], None
        override = self.override(name).fast_threshold
        windows = sorted(window for window in self.contract.windows if window.length_s < long.length_s)
        return windows, round(threshold * FAST_RATIO, 12) if override is None else override

    def threshold(self, name: str, default: float) -> tuple[float, float]:
        """The threshold of a rule that fires above it, and its clear threshold."""
        override = self.override(name)
        threshold = default if override.threshold is None else override.threshold
        return threshold, round(threshold * self.clear_share, 12) if override.clear is None else override.clear

    def rule(self, name: str, severity: Severity, **arguments: Any) -> Iterator[Rule]:
        """Yield the rule with the shared attributes, and a summary that says what its signal knows of the change.

        Yields nothing if the contract disables the rule. `window_s` is the length of the only window that it reads.
        """
        override, alerts = self.override(name), self.contract.alerts
        if override.severity == "none":
            return
        if "window_s" in arguments:
            arguments["long_s"] = arguments["short_s"] = arguments.pop("window_s")
        every_s = max(self.every_s, arguments.pop("every_s", 0))
        for_s = alerts.for_s if override.for_s is None else override.for_s
        keep_s = alerts.keep_firing_for_s if override.keep_firing_for_s is None else override.keep_firing_for_s
        shared: dict[str, Any] = {
            "name": name,
            "model": self.contract.model,
            "severity": override.severity or severity,
            "team": self.contract.team or self.settings.platform_team,
            "route": override.route or self.contract.route,
            "every_s": every_s,
            "for_s": max(every_s, 300) if for_s is None else for_s,
            "keep_firing_for_s": max(3 * every_s, 900) if keep_s is None else keep_s,
            "mute": alerts.mute,
            "description": texts(name)[-1],
            "page_query": self._query(arguments),
        }
        if arguments["signal"].changes:
            arguments["summary"] = (*arguments["summary"], CAUSE)
        yield Rule(**shared | arguments)

    def by_field(self, name: str, critical: Sequence[bool] = (True, False)) -> Iterator[tuple[Severity, list[str]]]:
        override = self.override(name)
        groups: dict[Severity, list[str]] = {}
        for field in self.contract.fields:
            chosen = field.critical in critical if override.fields is None else field.name in override.fields
            if chosen and applies_to(name, field):
                groups.setdefault(self.severity(name, field), []).append(field.name)
        yield from groups.items()

    def severity(self, name: str, field: Field) -> Severity:
        override = self.override(name).severity
        if override in ("page", "ticket"):
            return override
        return "page" if field.critical and name not in ("psi-minor", "mean-shift") else "ticket"

    def per_field(self) -> dict[str, Any]:
        """Attributes of rules with one instance per field: the link selects what the message describes."""
        details = {"from": "from", "to": "to", "var-window": "window", "var-version": "version"}
        return {"page_query": (f"{self._of_model}&var-field=", LabelRef("field", in_url=True), *_in_query(details))}

    def per_version(self, length_s: int) -> dict[str, Any]:
        """Attributes of rules on performance: the link sets the version, and the window if the contract has it.

        Windows of performance can have other lengths, for which charts of drift would be empty.
        """
        name = format_duration(length_s)
        is_known = any(window.name == name for window in self.contract.windows)
        details = {"from": "from", "to": "to"} | ({"var-window": "window"} if is_known else {})
        return {"page_query": (self._of_model, *_in_query(details | {"var-version": "version"}))}

    @property
    def _of_model(self) -> str:
        return f"&var-model={in_url(self.contract.model)}"

    def _query(self, arguments: Mapping[str, Any]) -> Text:
        """What a link selects: the model, the window that the rule reads, and the time that it describes.

        The range of a rule without an interval, or without a window, ends when the page is opened.
        """
        path = self._of_model
        long_s = arguments.get("long_s", 0)
        names = [window.name for window in self.contract.windows if window.length_s == arguments.get("short_s")]
        path += "".join(f"&var-window={in_url(name)}" for name in names[:1])
        if arguments.get("has_bounds", True) and long_s:
            return (path, *_in_query({"from": "from", "to": "to"}))
        return (f"{path}&from=now-{SHOWN_LENGTHS * (long_s or DAY_S)}s&to=now",)

    def measured_s(self, name: str, default_s: int = DAY_S) -> int:
        """Length of the performance windows: the rule's short window, by default a day."""
        return self.override(name).short_s or max(default_s, self.contract.pane_s)

    @property
    def model_severity(self) -> Severity:
        """The severity of rules on the whole model: `page` if any of its fields is critical."""
        return "page" if any(field.critical for field in self.contract.fields) else "ticket"

    @staticmethod
    def of(window: Window) -> HoppingWindow:
        return HoppingWindow(window.name, window.hop_s)
