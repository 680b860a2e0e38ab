"""Rules on labels: measured performance, estimated performance, and missing labels."""

from collections.abc import Iterator

from barograph.contract import format_duration
from barograph.contract.alerts import LARGE_DROP_RATIO
from barograph.contract.check import label_kind

from barograph_server.alerts.rule import Rule
from barograph_server.alerts.templates.factory import DAY_S, IN_WINDOW_OF_VERSION, REASON, RuleFactory
from barograph_server.alerts.text import Form, LabelRef, NumberRef, duration
from barograph_server.dashboards.uids import panel_link
from barograph_server.warehouse.signals.labels import (
    DAYS_IN_ROW,
    MAIN_METRICS,
    Direction,
    expected_drop,
    label_age,
    measured_drop,
    performance,
)

LABELS_EVERY_S = 600
"""Shortest evaluation interval of rules on labels: their data change by the hour."""
ESTIMATED_METRICS: dict[str, tuple[str, ...]] = {
    "binary": ("accuracy", "precision", "recall", "f1", "auc"),
    "classes": ("accuracy", "precision_macro", "recall_macro", "f1_macro", "auc_macro"),
    "number": ("mae", "rmse"),
}
"""Metrics that are estimated without labels, by kind of model."""
WEEK_S = 7 * DAY_S
"""Length of the windows that are compared with the reference, a week as well: single days differ from each other."""
DROPS_IN_POINTS: dict[str, tuple[str, ...]] = {
    "binary": ("accuracy", "auc"),
    "classes": ("accuracy", "f1_macro"),
    "number": (),
}
"""Metrics between 0 and 1 that every model is compared on with its reference, by kind of model."""
RELATIVE_DROPS: dict[str, tuple[str, ...]] = {"binary": ("log_loss",), "classes": ("log_loss",), "number": ("mae",)}
"""Errors that every model is compared on, relative to the reference."""
RELATIVE_MARGIN = 4.0
"""Margin of relative changes over that of points: five points of an accuracy of 75 % are 20 % of its errors."""


def label_rules(factory: RuleFactory) -> Iterator[Rule]:
    """Rules on performance with mature labels, on estimated performance, and on labels that stop."""
    label = factory.contract.label
    if label is None:
        return
    # Imported here because it loads numerical libraries, which commands that only read settings do not need.
    from barograph_server.streams.scorer.measure import ERRORS, SIGNED

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
                *(f"{metric} with mature labels is ", NumberRef("E", "number")),
                *IN_WINDOW_OF_VERSION,
                *(f"; the SLO is {'at least' if of == 'least' else 'at most'} {promise:g}.", REASON),
            ),
            description=(
                f"In the newest {format_duration(window)} with mature labels, the whole 95 % interval of {metric} "
                "violates slo.performance. Clears when the metric meets the SLO."
            ),
            signal=signal,
            about="performance",
            form="number",
            clear=promise,
            window_s=window,
            every_s=LABELS_EVERY_S,
            panel=panel_link("model", "performance" if of == "least" else "metrics"),
            **factory.per_version(window),
        )
    yield from _drops(factory, label_kind(label), label.horizon_s)
    yield from _expected(factory, label_kind(label))
    at_least_s = factory.override("label-stop").at_least_s or DAY_S
    yield from factory.rule(
        "label-stop",
        "ticket",
        headline="labels have stopped",
        summary=(
            *("No label for ", NumberRef("A", "number")),
            *(" times the usual maximum (", NumberRef("C", "duration"), ")."),
        ),
        description=(
            f"No label has arrived for longer than the second longest gap of the last 15 days, and for more than "
            f"{duration(at_least_s)}. Performance is unknown until labels resume."
        ),
        signal=label_age(factory.contract.model, at_least_s),
        about="performance",
        form="number",
        clear=1.0,
        every_s=LABELS_EVERY_S,
        panel=panel_link("model", "label_coverage"),
    )


def _drops(factory: RuleFactory, kind: str, horizon_s: int) -> Iterator[Rule]:
    """Compare metrics with the reference: those without a target, and main ones, whose large drops page."""
    name, promises = "performance-drop", factory.contract.slo.performance
    points, clear_points = factory.threshold(name, factory.contract.rate_thresholds.major)
    large = factory.override(name).fast_threshold or LARGE_DROP_RATIO * points
    window, day_s = factory.measured_s(name, WEEK_S), max(DAY_S, factory.contract.pane_s)
    length = format_duration(window)
    rules: tuple[tuple[str, tuple[str, ...], Form, float], ...] = (
        ("", DROPS_IN_POINTS[kind], "number", points),
        ("relative", RELATIVE_DROPS[kind], "percent", RELATIVE_MARGIN * points),
        ("large", MAIN_METRICS[kind], "percent", RELATIVE_MARGIN * large)
        if kind == "number"
        else ("large", MAIN_METRICS[kind], "number", large),
    )
    for part, metrics, form, margin in rules:
        is_large = part == "large"
        compared = [metric for metric in metrics if is_large or metric not in promises]
        if not compared:
            continue
        shown = f"{margin:.3g}" if form == "number" else f"{100 * margin:.3g} %"
        period = f"the newest {length}" + (f", or each of {DAYS_IN_ROW} days in a row," if is_large else "")
        target = "a main metric that misses its target or has none" if is_large else "a metric without a target"
        yield from factory.rule(
            name,
            "page" if is_large else factory.model_severity,
            part=part,
            headline="performance collapses"
            if is_large
            else "performance falls"
            if form == "number"
            else "errors grow",
            summary=(
                *(LabelRef("metric"), " with mature labels is ", NumberRef("E", form)),
                *(" worse than in the reference", *IN_WINDOW_OF_VERSION, f"; the margin is {shown}.", REASON),
            ),
            description=(
                f"In {period} with mature labels, {target} in slo.performance is worse "
                f"than in the reference at equal label age, with its whole interval beyond the margin of {shown}."
            ),
            signal=measured_drop(
                factory.contract.model,
                compared,
                length,
                window,
                horizon_s,
                margin,
                relative=form == "percent",
                day_s=day_s if is_large else 0,
            ),
            about="performance",
            form=form,
            clear=round(margin * clear_points / points, 12),
            window_s=window,
            every_s=LABELS_EVERY_S,
            panel=panel_link("model", "metrics" if form == "percent" else "performance"),
            **factory.per_version(window),
        )


def _expected(factory: RuleFactory, kind: str) -> Iterator[Rule]:
    """Compare estimates without labels with the reference: errors of numbers relative to it."""
    is_number = kind == "number"
    promised = [metric for metric in factory.contract.slo.performance if metric in ESTIMATED_METRICS[kind]]
    metrics = promised or (RELATIVE_DROPS if is_number else DROPS_IN_POINTS)[kind]
    points, clear_points = factory.threshold("cbpe-drop", factory.contract.rate_thresholds.major)
    factor = RELATIVE_MARGIN if is_number else 1.0
    threshold = factor * points
    form: Form = "percent" if is_number else "number"
    shown = f"{100 * threshold:.3g} %" if is_number else f"{threshold:g}"
    source, side = ("features and predictions", "above") if is_number else ("scores", "below")
    meaning = "how large errors are for the same features" if is_number else "what scores mean"
    surely = "" if is_number else f", with its whole interval {side} the reference"
    window = factory.measured_s("cbpe-drop")
    yield from factory.rule(
        "cbpe-drop",
        "ticket",
        headline="estimated errors grow" if is_number else "estimated performance falls",
        summary=(
            *(f"Estimated from {source}, ", LabelRef("metric"), " is ", NumberRef("E", form)),
            *(f" {side} the reference", *IN_WINDOW_OF_VERSION, f"; the threshold is {shown}."),
        ),
        description=(
            f"Performance estimated from the {source} of the last {format_duration(window)}, without labels, is {side} "
            f"the reference by more than {shown}{surely}. The estimate "
            f"cannot detect a change in {meaning} (concept drift)."
        ),
        signal=expected_drop(
            factory.contract.model, metrics, format_duration(window), window, threshold, relative=is_number
        ),
        about="performance",
        form=form,
        clear=factor * clear_points,
        window_s=window,
        every_s=LABELS_EVERY_S,
        panel=panel_link("model", "cbpe"),
        **factory.per_version(window),
    )
