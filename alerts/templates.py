"""The rules of one contract: every template that applies to it, with its lines, windows, waiting times and routes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from barograph.contract import Contract, Field, Window, format_duration
from barograph.contract_alerts import AlertRule
from barograph.contract_alerts_file import watches
from barograph.contract_check import METRICS, label_kind

from alerts.rule import Rule, Severity
from alerts.settings import AlertSettings
from alerts.text import Label, Number, Text, duration, in_url
from dashboards.identities import DASHBOARDS, panel_link
from warehouse.signals.labels import Direction, expected_drop, label_age, performance
from warehouse.signals.pipeline import processor_age
from warehouse.signals.verdicts import Pane, WindowOf, loss, psi, rate, verdict_age
from warehouse.signals.volume import broken_share, silence

DAY_S = 86_400
WEEK_S = 7 * DAY_S
LABELS_EVERY_S = 600
"""How often rules on labels are evaluated at most: what they read changes by the hour."""
PROCESSORS = ("sketcher", "recorder", "monitor", "scorer")
PROCESSOR_GONE_S = 120.0
"""A processor reports every ten seconds; after two minutes nobody is there who starts it again."""
LOSS_LINE = 0.01
CBPE_METRICS = ("accuracy", "precision", "recall", "f1", "auc")
"""What scores alone lead one to expect, of models with two classes."""

FIELD: Text = (Label("field"),)
INTERVAL = {
    "number": (" [", Number("B", "number"), ", ", Number("C", "number"), "]"),
    "percent": (" [", Number("B", "percent"), ", ", Number("C", "percent"), "]"),
}
FALSE_SHARE = 3e-4
"""The share of windows of 50 independent events without drift that pass the line: at most 23 of 100,000 were seen, over
2, 5, 10 and 20 equal bins; of 100 events 6, from 200 on none. tests/alerts/test_false_alarms.py holds rules to it."""


@dataclass(frozen=True, slots=True)
class RulesOf:
    """Makes the rules of one contract."""

    contract: Contract
    settings: AlertSettings

    def all(self) -> Iterator[Rule]:
        """Every rule that the contract has, in the order of `RULES`."""
        yield from self._drift()
        yield from self._rates()
        yield from self._outputs()
        yield from self._labels()
        yield from self._volume()
        yield from self._pipeline()

    # ---------------------------------------------------------------------------------------- what rules share

    @property
    def _pane(self) -> Pane:
        return Pane(self.contract.pane_s, self.contract.lateness_s, self.contract.out_of_order_s)

    @property
    def _every_s(self) -> int:
        every_s = self.contract.alerts.every_s
        return every_s or min(max(min(window.hop_s for window in self.contract.windows), 60), 600)

    @property
    def clear_share(self) -> float:
        """The share of its line under which a rule clears: that of PSI."""
        return self.contract.lines.clear / self.contract.lines.major

    def _said(self, name: str) -> AlertRule:
        return self.contract.alerts.rule(name)

    def _windows(self, name: str) -> tuple[Window, Window]:
        """The long and the short window of a rule."""
        by_length = {window.length_s: window for window in self.contract.windows}
        lengths = sorted(by_length, reverse=True)
        said, alerts = self._said(name), self.contract.alerts
        long_s = said.long_s or alerts.long_s or lengths[0]
        shorter = [length for length in lengths if length < long_s]
        short_s = said.short_s or alerts.short_s or (shorter[0] if shorter else long_s)
        return by_length[long_s], by_length[min(short_s, long_s)]

    def _line(self, name: str, default: float) -> tuple[float, float]:
        """The line of a rule that fires above it, and where it clears."""
        said = self._said(name)
        line = default if said.threshold is None else said.threshold
        return line, round(line * self.clear_share, 12) if said.clear is None else said.clear

    def _rule(self, name: str, severity: Severity, **given: Any) -> Iterator[Rule]:
        """The rule with what all of the contract share; nothing where it is switched off."""
        said, alerts = self._said(name), self.contract.alerts
        if said.severity == "none":
            return
        every_s = max(self._every_s, given.pop("every_s", 0))
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

    def _by_field(self, name: str, critical: Sequence[bool] = (True, False)) -> Iterator[tuple[Severity, list[str]]]:
        """The fields that a rule watches, by who is told of them."""
        said = self._said(name)
        groups: dict[Severity, list[str]] = {}
        for field in self.contract.fields:
            chosen = field.critical in critical if said.fields is None else field.name in said.fields
            if chosen and watches(name, field):
                groups.setdefault(self._severity(name, field), []).append(field.name)
        yield from groups.items()

    def _severity(self, name: str, field: Field) -> Severity:
        said = self._said(name).severity
        if said in ("page", "ticket"):
            return said
        return "page" if field.critical and name != "psi-minor" else "ticket"

    def _of_field(self) -> dict[str, Any]:
        path = f"/d/{DASHBOARDS['field']}?var-model={in_url(self.contract.model)}&var-field="
        return {"page_path": (path, Label("field", in_url=True))}

    # ---------------------------------------------------------------------------------------- inputs and outputs

    def _psi(self, name: str, default: float, what: str, critical: Sequence[bool], **given: Any) -> Iterator[Rule]:
        line, clear = self._line(name, default)
        long, short = self._windows(name)
        agree = f" and {short.name}" if long != short else ""
        for severity, fields in self._by_field(name, critical):
            signal = psi(self.contract.model, fields, _of(long), _of(short), self._pane, line)
            yield from self._rule(
                name,
                severity,
                headline=f"{what} ({severity})",
                summary=(
                    "PSI of ",
                    *FIELD,
                    " is ",
                    Number("A", "number"),
                    *INTERVAL["number"],
                    f", the line is {line:g}.",
                ),
                description=(
                    f"The distribution of a field differs from training's by a PSI of more than {line:g} in the last "
                    f"{long.name}{agree}; it clears below {clear:g}. Where the short window holds too little to say, "
                    f"the long one decides; what holds too little neither fires nor clears. {false_alarms(long)}"
                ),
                signal=signal,
                form="number",
                has_bounds=True,
                clear=clear,
                **given | self._of_field(),
            )

    def _drift(self) -> Iterator[Rule]:
        lines = self.contract.lines
        panel = {"about": "inputs", "panel": panel_link("model", "psi")}
        yield from self._psi("psi-major", lines.major, "inputs drift", (True, False), **panel)
        yield from self._psi("psi-minor", lines.minor, "critical inputs begin to drift", (True,), **panel)

    def _outputs(self) -> Iterator[Rule]:
        panel = {"about": "outputs", "panel": panel_link("model", "score")}
        yield from self._psi("output-shift", self.contract.lines.major, "outputs shift", (True, False), **panel)

    def _rates(self) -> Iterator[Rule]:
        lines = self.contract.rate_lines
        for name, kinds, what in (
            ("null-rate", ("null",), "nulls"),
            ("invalid-rate", ("invalid",), "invalid values"),
            ("unseen-rate", ("unseen",), "unseen categories"),
            ("range-rate", ("below", "above"), "values out of range"),
        ):
            line, clear = self._line(name, lines.major)
            _, short = self._windows(name)
            certain = min(lines.minor, line)
            for severity, fields in self._by_field(name):
                yield from self._rule(
                    name,
                    severity,
                    headline=f"more {what} ({severity})",
                    summary=(
                        *(f"More {what} in ", *FIELD, " than in training, by ", Number("A", "percent")),
                        *(*INTERVAL["percent"], f" of all values; the line is {line:.3%}."),
                    ),
                    description=(
                        f"In the last {short.name} the share of {what} is over training's by more than {line:.3%}, and "
                        f"surely by more than {certain:.3%}; it clears below {clear:.3%}."
                    ),
                    signal=rate(self.contract.model, fields, kinds, _of(short), self._pane, line, certain=certain),
                    about="inputs",
                    form="percent",
                    has_bounds=True,
                    clear=clear,
                    panel=panel_link("model", "rates"),
                    **self._of_field(),
                )

    # ---------------------------------------------------------------------------------------- labels

    def _labels(self) -> Iterator[Rule]:
        label = self.contract.label
        if label is None:
            return
        # Loads numerical libraries, which commands that only read settings do without.
        from streams.scorer.measure import ERRORS, SIGNED

        window = self._measured("performance")
        for metric, promise in self.contract.slo.performance.items():
            of: Direction = "size" if metric in SIGNED else "most" if metric in ERRORS else "least"
            signal = performance(
                self.contract.model, metric, format_duration(window), window, label.horizon_s, promise, of
            )
            yield from self._rule(
                "performance",
                "ticket",
                part=metric,
                headline=f"{metric} breaks its promise",
                summary=(
                    *(f"{metric} is ", Number("A", "number"), *INTERVAL["number"]),
                    f" at mature labels; {'at least' if of == 'least' else 'at most'} {promise:g} is promised.",
                ),
                description=(
                    f"In the newest {format_duration(window)} whose labels are mature the whole 95 % interval of "
                    f"{metric} lies beyond what slo.performance promises. It clears when the figure keeps the promise."
                ),
                signal=signal,
                about="performance",
                form="number",
                has_bounds=True,
                clear=promise,
                every_s=LABELS_EVERY_S,
                panel=panel_link("model", "performance"),
            )
        yield from self._expected(label_kind(label))
        at_least_s = self._said("label-stop").at_least_s or DAY_S
        yield from self._rule(
            "label-stop",
            "ticket",
            headline="labels have stopped",
            summary=(
                "No label for ",
                Number("A", "number"),
                " times as long as is usual (",
                Number("C", "duration"),
                ").",
            ),
            description=(
                f"No label has come for longer than the second longest pause of fifteen days, and for more than "
                f"{duration(at_least_s)}. Performance is unknown from then on."
            ),
            signal=label_age(self.contract.model, at_least_s),
            about="performance",
            form="number",
            has_bounds=True,
            clear=1.0,
            every_s=LABELS_EVERY_S,
            panel=panel_link("model", "label_coverage"),
        )

    def _expected(self, kind: str) -> Iterator[Rule]:
        promised = [metric for metric in self.contract.slo.performance if metric in CBPE_METRICS]
        if kind != "binary":
            return
        line, clear = self._line("cbpe-drop", self.contract.rate_lines.major)
        metrics = promised or [metric for metric in ("accuracy", "auc") if metric in METRICS[kind]]
        window = self._measured("cbpe-drop")
        yield from self._rule(
            "cbpe-drop",
            "ticket",
            headline="expected performance falls",
            summary=(
                *("By its scores ", Label("metric"), " is ", Number("A", "number"), *INTERVAL["number"]),
                f" under the reference; the line is {line:g}.",
            ),
            description=(
                f"What the scores of the last {format_duration(window)} lead one to expect, without labels, is under "
                f"the reference by more than {line:g}, and surely under it. It is blind to scores that mean something "
                "else than they did."
            ),
            signal=expected_drop(self.contract.model, metrics, format_duration(window), window, line),
            about="performance",
            form="number",
            has_bounds=True,
            clear=clear,
            every_s=LABELS_EVERY_S,
            panel=panel_link("model", "cbpe"),
        )

    def _measured(self, name: str) -> int:
        """The length of the windows whose performance is looked at: the rule's short one, else a day."""
        return self._said(name).short_s or max(DAY_S, self.contract.pane_s)

    # ---------------------------------------------------------------------------------------- volume and pipeline

    def _broken(self, name: Literal["latency", "errors"], default: float, what: str, panel: str) -> Iterator[Rule]:
        line, clear = self._line(name, default)
        _, short = self._windows(name)
        yield from self._rule(
            name,
            "page",
            headline=f"too many predictions {'fail' if name == 'errors' else f'are {what}'}",
            summary=(
                *(Number("A", "percent"), *INTERVAL["percent"], f" of predictions are {what}; "),
                f"{line:.4g} of all may be.",
            ),
            description=(
                f"In the last {short.name} more predictions are {what} than the contract allows ({line:.3%}), beyond "
                f"chance; it clears below {clear:.3%}."
            ),
            signal=broken_share(self.contract.model, name, short.length_s, self._pane, line),
            about="volume",
            form="percent",
            has_bounds=True,
            clear=clear,
            panel=panel_link("model", panel),
        )

    def _volume(self) -> Iterator[Rule]:
        slo = self.contract.slo
        slow = None if slo.latency_share is None else round(1 - slo.latency_share, 12)
        if slo.latency_ms is not None and (slow or self._said("latency").threshold):
            yield from self._broken("latency", slow or 0.0, f"slower than {slo.latency_ms:g} ms", "latency")
        failed = self.contract.rate_lines.major if not slo.error_rate else slo.error_rate
        yield from self._broken("errors", failed, "failed", "errors")
        at_least_s = self._said("silence").at_least_s or max(600, 2 * self.contract.pane_s)
        yield from self._rule(
            "silence",
            "page",
            headline="no predictions",
            summary=(
                "Nothing has come for ",
                Number("B", "duration"),
                "; usual is at most ",
                Number("C", "duration"),
                ".",
            ),
            description=(
                "No prediction has come for longer than the second longest pause of fifteen days, and for more than "
                f"{duration(at_least_s)}. It also fires where nothing can be asked of the model at all."
            ),
            signal=silence(self.contract.model, self._pane, at_least_s),
            about="volume",
            form="number",
            has_bounds=True,
            clear=1.0,
            no_data="Alerting",
            panel=panel_link("model", "requests"),
        )

    def _pipeline(self) -> Iterator[Rule]:
        line, clear = self._line("completeness", LOSS_LINE)
        _, short = self._windows("completeness")
        said = self._said("completeness")
        platform: dict[str, Any] = {"about": "pipeline", "team": self.settings.platform_team}
        yield from self._rule(
            "completeness",
            "ticket",
            headline="events were lost",
            summary=(
                Number("A", "percent"),
                f" of the events of the last {short.name} were lost before they were counted.",
            ),
            description=(
                f"More than {line:.3%} of the source offsets of the last {short.name} are in no pane. Verdicts on "
                "these windows are about what is left."
            ),
            signal=loss(self.contract.model, _of(short), self._pane, line),
            form="percent",
            has_bounds=False,
            clear=clear,
            panel=panel_link("model", "completeness"),
            **platform | {"route": said.route or self.settings.platform},
        )
        hop = min(self.contract.windows, key=lambda window: window.hop_s)
        at_least_s = self._said("pipeline-lag").at_least_s or 900
        due_s = hop.hop_s + self._pane.sealed_after_s + self.contract.pane_s + at_least_s
        yield from self._rule(
            "pipeline-lag",
            "page",
            headline="verdicts are late",
            summary=("The newest verdict is ", Number("A", "duration"), f" old; due is {duration(due_s)} at most."),
            description=(
                f"No window has been judged for {duration(at_least_s)} longer than it takes: what other rules say of "
                "the model is about the past."
            ),
            signal=verdict_age(self.contract.model, _of(hop), float(due_s)),
            form="duration",
            has_bounds=False,
            clear=float(due_s),
            panel=panel_link("pipeline", "sealed_age"),
            **platform | {"route": self._said("pipeline-lag").route or self.settings.platform},
        )


def false_alarms(window: Window) -> str:
    """Say how often a rule on PSI fires without drift, per field: windows that overlap fire no oftener."""
    per_week = FALSE_SHARE * WEEK_S / window.hop_s
    return (
        f"Without drift a field fires at most {per_week:.2g} times a week while its windows hold 50 independent "
        "events, and practically never from 200 on."
    )


def processor_rule(settings: AlertSettings) -> Rule:
    """The rule on processors that are gone, one for the installation."""
    return Rule(
        name="processor-gone",
        model="",
        severity="page",
        team=settings.platform_team,
        route=settings.platform,
        headline="a processor is gone",
        summary=("No ", Label("kind"), " has reported for ", Number("A", "duration"), "."),
        description="Of each kind of processor one at least reports every ten seconds.",
        signal=processor_age(PROCESSORS, PROCESSOR_GONE_S),
        about="pipeline",
        form="duration",
        has_bounds=False,
        clear=PROCESSOR_GONE_S,
        for_s=60,
        keep_firing_for_s=300,
        every_s=60,
        panel=panel_link("pipeline", "silent"),
        page_path=(f"/d/{DASHBOARDS['pipeline']}",),
    )


def _of(window: Window) -> WindowOf:
    return WindowOf(window.name, window.hop_s)
