"""An alert rule, independent of any output format."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import yaml

from barograph_server.alerts.text import Form, LabelRef, NumberRef, Ref, Text, digest, shortened
from barograph_server.dashboards.uids import PanelLink
from barograph_server.warehouse.signals import Signal, point_sql
from barograph_server.warehouse.signals.pipeline import hidden_in_outage

Severity = Literal["page", "ticket"]
GoldenSignal = Literal["volume", "inputs", "outputs", "performance", "pipeline"]
NoData = Literal["OK", "KeepLast", "Alerting", "NoData"]
ExecErr = Literal["OK", "KeepLast", "Alerting", "Error"]

TITLE_CHARS = 190
"""Maximum length of the title of a rule or group in Grafana."""
MUTED: tuple[GoldenSignal, ...] = ("inputs", "outputs", "performance")
"""Signals that mute timings of a contract silence: during retraining data move, but the model should still answer."""

_COLUMNS: dict[Ref, str] = {"A": "value", "B": "low", "C": "high", "E": "observed"}
_BOUND_DIGITS: dict[Form, int] = {"number": 3, "count": 0, "percent": 8, "duration": 8}
"""Digits of the ends of an interval in labels: as in messages, or enough for Grafana to format shares and seconds."""
_COUNTING = ("sketcher", "monitor")
HIDDEN = {"guard-silent": _COUNTING, "silence": _COUNTING, "pipeline-lag": _COUNTING, "label-stop": ("recorder",)}
"""Rules that an outage of these processors would fire for each model. Grafana has no inhibition in files: their queries
do not exceed the threshold while `processor-gone` explains it, whose message says so."""
SHOWN_LENGTHS = 3
"""Range of the page that a message links to, in lengths of the rule's longest window."""

CAUSES = {
    "psi-major": "drift",
    "psi-minor": "drift",
    "mean-shift": "drift",
    "output-shift": "drift",
    "range-rate": "drift",
    "unseen-rate": "drift",
    "null-rate": "data-quality",
    "invalid-rate": "data-quality",
    "performance": "performance",
    "performance-drop": "performance",
    "cbpe-drop": "performance",
}
"""The cause that a rule indicates; a rule that is not listed is its own cause.

Values out of range and unseen categories are part of a changed distribution. Nulls and invalid values come from a
broken source, which can fail long after a field started to drift."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule: a signal, a threshold with hysteresis, durations, and routing."""

    name: str
    """Name of the template: one of `barograph.contract.alerts.RULES`, `processor-gone` or `guard-silent`."""
    part: str = ""
    """Distinguishes rules of one template and severity: the metric of an SLO."""
    model: str
    """Name of the model; empty for rules about the pipeline."""
    severity: Severity
    team: str
    route: str
    headline: str
    """Short title without the model name."""
    summary: Text
    signal: Signal
    about: GoldenSignal
    form: Form
    """Format of the number."""
    has_bounds: bool = True
    """Whether the rule also queries the observed number with its interval, the signal's `low` and `high`."""
    clear: float
    for_s: int
    keep_firing_for_s: int
    every_s: int
    no_data: NoData = "KeepLast"
    exec_err: ExecErr = "Error"
    panel: PanelLink
    mute: tuple[str, ...] = ()
    description: str
    page_query: Text
    """What the link to the panel selects besides: variables and the range, each as `&name=value`."""
    long_s: int = 0
    """Length of the longest window that the rule reads, in seconds; 0 for rules without windows."""
    short_s: int = 0
    """Length of its short window, in seconds; windows that page alone for a large shift may be shorter."""

    @property
    def page_path(self) -> Text:
        """Path of the panel that shows the number, relative to Grafana's address."""
        return (f"/d/{self.panel.dashboard_uid}?viewPanel={self.panel.panel_id}", *self.page_query)

    @property
    def message(self) -> Text:
        """The summary with the name of the model, which is the headline of a message."""
        return (f"{self.model}: ", *self.summary) if self.model else self.summary

    @property
    def advice(self) -> str:
        """What the alert means for users, and the first step."""
        return " ".join(texts(self.name)[:2])

    @property
    def threshold(self) -> float:
        """The threshold. The rule fires above it, or below it if `below` is set."""
        return self.signal.threshold

    @property
    def below(self) -> bool:
        return self.signal.below

    @property
    def title(self) -> str:
        if not self.model:
            return self.headline
        return f"{shortened(self.model, TITLE_CHARS - len(self.headline) - 2)}: {self.headline}"

    @property
    def cause(self) -> str:
        """The cause that the rule indicates; alerts of one model and cause form an incident (`alerts.incidents`)."""
        return CAUSES.get(self.name, self.name)

    @property
    def onset_s(self) -> int:
        """How far apart two instances of the rule may start to fire after the same change, in seconds."""
        return max(self.long_s, self.for_s + self.every_s)

    @property
    def quiet_s(self) -> int:
        """How long an incident stays open after the last instance of the rule stopped firing, in seconds."""
        return self.short_s

    @property
    def uid(self) -> str:
        """Stable identifier of at most 40 characters; it does not change when the rule is edited."""
        return f"{self.name}-{digest(self.model, self.name, self.severity, self.part)}"

    @property
    def group(self) -> str:
        """Evaluation group: one per model and interval."""
        who = shortened(self.model, TITLE_CHARS - 20) if self.model else "Pipeline"
        return f"{who} (every {self.every_s // 60}m)" if self.every_s % 60 == 0 else f"{who} (every {self.every_s}s)"

    @property
    def missing_evaluations(self) -> int:
        """Number of evaluations without a row after which an instance resolves: half an hour, at least two.

        A failing data source returns no rows; a firing instance must not resolve because of that.
        """
        return max(2, -(-1800 // self.every_s))

    @property
    def columns(self) -> dict[Ref, str]:
        """The columns of the signal that the rule reads, by the names by which its texts refer to them."""
        return _COLUMNS if self.has_bounds else {"A": _COLUMNS["A"]}

    @property
    def queries(self) -> dict[Ref, str]:
        """The queries of Grafana's rule, which reads one number from each; labels of E are details for its message.

        A and E share most of their SQL: labels of A are the identity of an alert, and of Grafana's expressions only
        those in SQL drop labels, which Grafana 13.0 does not enable by default.
        """
        column = hidden_in_outage(HIDDEN[self.name], self.threshold) if self.name in HIDDEN else "value"
        queries: dict[Ref, str] = {"A": point_sql(self.signal, column)}
        refs = {part.ref for part in self.summary if isinstance(part, NumberRef)} - {"A"}
        if self.has_bounds and (refs or self._details_s is not None):
            digits = _BOUND_DIGITS[self.form] if refs & {"B", "C"} else None
            queries["E"] = point_sql(self.signal, _COLUMNS["E"], shown_s=self._details_s, bound_digits=digits)
        return queries

    @property
    def query(self) -> str:
        """One query for all numbers, in the order of `columns`, after the labels of the observed number."""
        return point_sql(self.signal, ", ".join(self.columns.values()), shown_s=self._details_s)

    @property
    def _details_s(self) -> int | None:
        """Length of the range of event time that the linked page shows, in seconds; None without details."""
        texts = (*self.summary, *self.page_path)
        has_details = any(isinstance(part, LabelRef) and part.is_detail for part in texts)
        return SHOWN_LENGTHS * self.long_s if self.has_bounds and has_details else None

    @property
    def runbook(self) -> str:
        return f"{self.name}.md"

    @property
    def labels(self) -> dict[str, str]:
        """Labels for routing. They are stable: values of an instance go into annotations."""
        labels = {
            "source": "barograph",
            "rule": self.name,
            "model": self.model,
            "severity": self.severity,
            "team": self.team,
            "route": self.route,
            "signal": self.about,
            "cause": self.cause,
        }
        if self.mute and self.about in MUTED:
            labels["mute"] = ", ".join(self.mute)
        return {name: value for name, value in labels.items() if value}


@cache
def _advice() -> dict[str, list[str]]:
    read: dict[str, list[str]] = yaml.safe_load(Path(__file__).with_name("advice.yaml").read_text("utf-8"))
    return read


def texts(name: str) -> list[str]:
    """Consequence and first step of a rule and, if it is the same for all contracts, its description."""
    return _advice()[name]


def definitions(rules: Iterable[Rule]) -> list[tuple[object, ...]]:
    """Return what decides the states of rules: if it changes, states start over, as in Grafana."""
    return [
        (
            *(rule.uid, point_sql(rule.signal), rule.threshold, rule.clear),
            *(rule.for_s, rule.keep_firing_for_s, rule.every_s),
            sorted(rule.labels.items()),
        )
        for rule in rules
    ]
