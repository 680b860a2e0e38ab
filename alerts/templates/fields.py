"""Rules with an instance per field: drift of inputs and outputs, and rates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from barograph.contract import Window

from alerts.rule import Rule
from alerts.templates.common import DAY_S, INTERVAL, Common
from alerts.text import Label, Number, Text
from dashboards.uids import panel_link
from warehouse.signals.verdicts import psi, rate

WEEK_S = 7 * DAY_S
FIELD: Text = (Label("field"),)
FALSE_SHARE = 3e-4
"""The share of windows of 50 independent events without drift that pass the line: at most 23 of 100,000 were seen, over
2, 5, 10 and 20 equal bins; of 100 events 6, from 200 on none. tests/alerts/test_false_alarms.py holds rules to it."""


def drift_rules(common: Common) -> Iterator[Rule]:
    """Distributions of features that moved."""
    lines = common.contract.thresholds
    panel = {"about": "inputs", "panel": panel_link("model", "psi")}
    yield from _psi(common, "psi-major", lines.major, "inputs drift", (True, False), **panel)
    yield from _psi(common, "psi-minor", lines.minor, "critical inputs begin to drift", (True,), **panel)


def output_rules(common: Common) -> Iterator[Rule]:
    """Distributions of scores and classes that moved."""
    panel = {"about": "outputs", "panel": panel_link("model", "score")}
    yield from _psi(common, "output-shift", common.contract.thresholds.major, "outputs shift", (True, False), **panel)


def rate_rules(common: Common) -> Iterator[Rule]:
    """Nulls, invalid, unseen and outlying values that became more."""
    for name, kinds, what in (
        ("null-rate", ("null",), "nulls"),
        ("invalid-rate", ("invalid",), "invalid values"),
        ("unseen-rate", ("unseen",), "unseen categories"),
        ("range-rate", ("below", "above"), "values out of range"),
    ):
        line, clear = common.line(name, common.contract.rate_thresholds.major)
        _, short = common.windows(name)
        for severity, fields in common.by_field(name):
            yield from common.rule(
                name,
                severity,
                headline=f"more {what} ({severity})",
                summary=(
                    *(f"More {what} in ", *FIELD, " than in training, by ", Number("A", "percent")),
                    *(*INTERVAL["percent"], f" of all values; the line is {line:.3%}."),
                ),
                description=(
                    f"In the last {short.name} the share of {what} is over training's by more than {line:.3%}, with "
                    f"all of its 95 % interval; it clears below {clear:.3%}."
                ),
                signal=rate(common.contract.model, fields, kinds, common.of(short), common.pane, line),
                about="inputs",
                form="percent",
                has_bounds=True,
                clear=clear,
                panel=panel_link("model", "rates"),
                **common.of_field(),
            )


def _psi(
    common: Common, name: str, default: float, what: str, critical: Sequence[bool], **given: Any
) -> Iterator[Rule]:
    line, clear = common.line(name, default)
    long, short = common.windows(name)
    agree = f" and {short.name}" if long != short else ""
    for severity, fields in common.by_field(name, critical):
        signal = psi(common.contract.model, fields, common.of(long), common.of(short), common.pane, line)
        yield from common.rule(
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
            **given | common.of_field(),
        )


def false_alarms(window: Window) -> str:
    """Say how often a rule on PSI fires without drift, per field: windows that overlap fire no oftener."""
    per_week = FALSE_SHARE * WEEK_S / window.hop_s
    return (
        f"Without drift a field fires at most {per_week:.2g} times a week while its windows hold 50 independent "
        "events, and practically never from 200 on."
    )
