"""Rules on labels: measured performance, estimated performance, and missing labels."""

from __future__ import annotations

from collections.abc import Iterator

from barograph.contract import format_duration
from barograph.contract.check import PERFORMANCE_METRICS, label_kind

from alerts.rule import Rule
from alerts.templates.factory import DAY_S, INTERVAL, RuleFactory
from alerts.text import LabelRef, NumberRef, duration
from dashboards.uids import panel_link
from warehouse.signals.labels import Direction, expected_drop, label_age, performance

LABELS_EVERY_S = 600
"""Shortest evaluation interval of rules on labels: their data change by the hour."""
CBPE_METRICS = ("accuracy", "precision", "recall", "f1", "auc")
"""Metrics that CBPE estimates from scores alone, for binary classifiers."""


def label_rules(factory: RuleFactory) -> Iterator[Rule]:
    """Rules on performance with mature labels, on estimated performance, and on labels that stop."""
    label = factory.contract.label
    if label is None:
        return
    # Imported here because it loads numerical libraries, which commands that only read settings do not need.
    from streams.scorer.measure import ERRORS, SIGNED

    window = factory.measured_s("performance")
    for metric, promise in factory.contract.slo.performance.items():
        of: Direction = "size" if metric in SIGNED else "most" if metric in ERRORS else "least"
        signal = performance(
            factory.contract.model, metric, format_duration(window), window, label.horizon_s, promise, of
        )
        yield from factory.rule(
            "performance",
            "ticket",
            part=metric,
            headline=f"{metric} violates its SLO",
            summary=(
                *(f"{metric} is ", NumberRef("A", "number"), *INTERVAL["number"]),
                f" with mature labels; the SLO is {'at least' if of == 'least' else 'at most'} {promise:g}.",
            ),
            description=(
                f"In the newest {format_duration(window)} with mature labels, the whole 95 % interval of {metric} "
                "violates slo.performance. Clears when the metric meets the SLO."
            ),
            signal=signal,
            about="performance",
            form="number",
            has_bounds=True,
            clear=promise,
            every_s=LABELS_EVERY_S,
            panel=panel_link("model", "performance"),
        )
    yield from _expected(factory, label_kind(label))
    at_least_s = factory.override("label-stop").at_least_s or DAY_S
    yield from factory.rule(
        "label-stop",
        "ticket",
        headline="labels have stopped",
        summary=(
            "No label for ",
            NumberRef("A", "number"),
            " times the usual maximum (",
            NumberRef("C", "duration"),
            ").",
        ),
        description=(
            f"No label has arrived for longer than the second longest gap of the last 15 days, and for more than "
            f"{duration(at_least_s)}. Performance is unknown until labels resume."
        ),
        signal=label_age(factory.contract.model, at_least_s),
        about="performance",
        form="number",
        has_bounds=True,
        clear=1.0,
        every_s=LABELS_EVERY_S,
        panel=panel_link("model", "label_coverage"),
    )


def _expected(factory: RuleFactory, kind: str) -> Iterator[Rule]:
    promised = [metric for metric in factory.contract.slo.performance if metric in CBPE_METRICS]
    if kind != "binary":
        return
    threshold, clear = factory.threshold("cbpe-drop", factory.contract.rate_thresholds.major)
    metrics = promised or [metric for metric in ("accuracy", "auc") if metric in PERFORMANCE_METRICS[kind]]
    window = factory.measured_s("cbpe-drop")
    yield from factory.rule(
        "cbpe-drop",
        "ticket",
        headline="estimated performance falls",
        summary=(
            *("Estimated from scores, ", LabelRef("metric"), " is ", NumberRef("A", "number"), *INTERVAL["number"]),
            f" below the reference; the threshold is {threshold:g}.",
        ),
        description=(
            f"Performance estimated from the scores of the last {format_duration(window)}, without labels, is below "
            f"the reference by more than {threshold:g}, with its whole interval below the reference. The estimate "
            "cannot detect a change in what scores mean (concept drift)."
        ),
        signal=expected_drop(factory.contract.model, metrics, format_duration(window), window, threshold),
        about="performance",
        form="number",
        has_bounds=True,
        clear=clear,
        every_s=LABELS_EVERY_S,
        panel=panel_link("model", "cbpe"),
    )
