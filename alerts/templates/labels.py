"""Rules on labels: performance, with them and without, and their absence."""

from __future__ import annotations

from collections.abc import Iterator

from barograph.contract import format_duration
from barograph.contract.check import METRICS, label_kind

from alerts.rule import Rule
from alerts.templates.common import DAY_S, INTERVAL, Common
from alerts.text import Label, Number, duration
from dashboards.uids import panel_link
from warehouse.signals.labels import Direction, expected_drop, label_age, performance

LABELS_EVERY_S = 600
"""How often rules on labels are evaluated at most: what they read changes by the hour."""
CBPE_METRICS = ("accuracy", "precision", "recall", "f1", "auc")
"""What scores alone lead one to expect, of models with two classes."""


def label_rules(common: Common) -> Iterator[Rule]:
    """Performance at mature labels, what is expected of it without, and labels that stop."""
    label = common.contract.label
    if label is None:
        return
    # Loads numerical libraries, which commands that only read settings do without.
    from streams.scorer.measure import ERRORS, SIGNED

    window = common.measured_s("performance")
    for metric, promise in common.contract.slo.performance.items():
        of: Direction = "size" if metric in SIGNED else "most" if metric in ERRORS else "least"
        signal = performance(
            common.contract.model, metric, format_duration(window), window, label.horizon_s, promise, of
        )
        yield from common.rule(
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
    yield from _expected(common, label_kind(label))
    at_least_s = common.said("label-stop").at_least_s or DAY_S
    yield from common.rule(
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
        signal=label_age(common.contract.model, at_least_s),
        about="performance",
        form="number",
        has_bounds=True,
        clear=1.0,
        every_s=LABELS_EVERY_S,
        panel=panel_link("model", "label_coverage"),
    )


def _expected(common: Common, kind: str) -> Iterator[Rule]:
    promised = [metric for metric in common.contract.slo.performance if metric in CBPE_METRICS]
    if kind != "binary":
        return
    line, clear = common.line("cbpe-drop", common.contract.rate_thresholds.major)
    metrics = promised or [metric for metric in ("accuracy", "auc") if metric in METRICS[kind]]
    window = common.measured_s("cbpe-drop")
    yield from common.rule(
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
        signal=expected_drop(common.contract.model, metrics, format_duration(window), window, line),
        about="performance",
        form="number",
        has_bounds=True,
        clear=clear,
        every_s=LABELS_EVERY_S,
        panel=panel_link("model", "cbpe"),
    )
