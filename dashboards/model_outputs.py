"""The lower rows of the page Model: outputs, performance from labels, and A/B arms."""

from __future__ import annotations

from functools import partial

from barograph_server.dashboards.layout import PlacedPanel, Row
from barograph_server.dashboards.links import TO_FIELD_OF_LABEL
from barograph_server.dashboards.panels import AnyPanel, PanelInfo, bar_chart, table_panel, time_series
from barograph_server.dashboards.style import LEAST_PSI, STYLE
from barograph_server.warehouse.panels import comparisons, distribution, drift, performance, traffic

UNITS = STYLE.units
_info = partial(PanelInfo, "model")


def score() -> AnyPanel:
    """PSI of score and class."""
    info = _info(
        "score",
        "PSI of the outputs",
        "Population stability index of score and class against the baseline, with the thresholds in force at the time. "
        "Windows with insufficient data are omitted. Click a series to open the field.",
    )
    return time_series(
        info, drift.OUTPUTS_PSI, drift.PSI_THRESHOLDS, at_least=LEAST_PSI, logarithmic=True, link=TO_FIELD_OF_LABEL
    )


def _score_quantiles() -> AnyPanel:
    info = _info(
        "score_quantiles",
        "Score",
        "Quantiles of the score in the selected window, over all events. Empty for a model without scores.",
    )
    return time_series(info, traffic.SCORE)


def _class_shares() -> AnyPanel:
    info = _info(
        "class_shares",
        "Classes",
        "Share of each predicted class per hour. Classes that are rare in the baseline are `other`.",
        UNITS.share,
    )
    return time_series(info, distribution.CLASS_SHARES, stacked=True, at_least=0)


def _versions() -> AnyPanel:
    info = _info(
        "versions",
        "Compared with the previous version",
        "The last of the selected windows in which both versions had traffic. The level shows how much they differ, "
        "not which is better. The interval belongs to the difference.",
    )
    return table_panel(info, comparisons.VERSIONS)


def _measured() -> AnyPanel:
    info = _info(
        "performance",
        "Performance from labels: larger is better",
        "Accuracy, precision, recall, F1 and AUC per day, from the labels received so far, and the SLO. Days with too "
        "few labels are omitted; recent days change while labels arrive.",
    )
    return time_series(info, performance.PERFORMANCE, performance.PROMISES)


def _measured_errors() -> AnyPanel:
    info = _info(
        "performance_errors",
        "Errors from labels: smaller is better",
        "Log loss, Brier score and calibration error, for numbers MAE, RMSE, bias (nearer to 0 is better) and "
        "quantiles of the error, per day, from the labels received so far, and the SLO.",
    )
    return time_series(info, performance.ERRORS, performance.ERROR_PROMISES)


def main_metric() -> AnyPanel:
    """The metric that describes the model's task best, alone on its axis."""
    info = _info(
        "main_metric",
        "Main metric and its reference",
        "AUC, accuracy, RMSE or MAE, the first that the model has, per day; its value in the reference at the same age "
        "of labels; the SLO. Dashed: the estimate without labels, from the last measured day on. It cannot "
        "detect a change in what an output means (concept drift).",
    )
    return time_series(info, performance.MAIN_METRIC, performance.MAIN_PROMISE)


def _metrics() -> AnyPanel:
    info = _info(
        "metrics",
        "Metrics with their intervals",
        "Newest first. Mature metrics are compared with the SLO, others with the reference at the same age of labels "
        "(`at first`).",
    )
    units = {"coverage": UNITS.share, "maturity": UNITS.share, "labelled": UNITS.count}
    return table_panel(info, performance.METRICS, units=units)


def _cbpe() -> AnyPanel:
    info = _info(
        "cbpe",
        "Performance before labels",
        "Dashed: performance estimated without labels (CBPE, for numbers DLE). Solid: measured once labels "
        "were mature. The estimate cannot detect a change in what outputs and features mean (concept drift).",
    )
    return time_series(info, performance.CBPE)


def _calibration() -> AnyPanel:
    info = _info(
        "calibration",
        "Calibration",
        "Labelled predictions by tenths of the score: the mean score and the share of positive labels. Equal bars "
        "mean a calibrated model.",
        UNITS.share,
    )
    return bar_chart(info, performance.CALIBRATION)


def _label_coverage() -> AnyPanel:
    info = _info(
        "label_coverage",
        "Labelled predictions",
        "Share of each hour's predictions that have a label now. It falls towards the right because labels are "
        "delayed: compare it with the label delay curve.",
        UNITS.share,
    )
    return time_series(info, performance.LABEL_COVERAGE, at_least=0)


def _label_maturity() -> AnyPanel:
    info = _info(
        "label_maturity",
        "Label delay",
        "Share of all expected labels that have arrived, by age of the prediction; latest estimate.",
        UNITS.share,
    )
    return bar_chart(info, performance.LABEL_MATURITY)


def _label_counts() -> AnyPanel:
    info = _info(
        "label_counts",
        "Predictions and labels excluded from metrics",
        "Records excluded from the metrics in the range, by reason; see the view label_counts.",
    )
    return table_panel(info, performance.LABEL_COUNTS, units={"n": UNITS.count})


def _arms() -> AnyPanel:
    info = _info(
        "arms",
        "Arms compared with the control",
        "The last of the selected windows, clearest difference first. The level shows how much two arms differ, not "
        "which is better.",
    )
    return table_panel(info, comparisons.ARMS)


def _arm_ratio() -> AnyPanel:
    info = _info(
        "arm_ratio",
        "Shares of the arms",
        "Whether units are assigned to arms in the configured shares, counted from the start of the test and not per "
        "window. If not (sample ratio mismatch), do not trust the comparison.",
    )
    return table_panel(info, comparisons.ARM_RATIO, units={"expected": UNITS.share, "observed": UNITS.share})


def _arm_performance() -> AnyPanel:
    info = _info(
        "arm_performance",
        "Performance of the arms",
        "Each pair of arms, from labels, with the interval of the difference. If the selected window is not measured, "
        "the longest that is.",
    )
    return table_panel(info, comparisons.ARM_PERFORMANCE)


def rows() -> list[Row]:
    """The lower rows of the page, folded."""
    return [
        Row(
            "Output values, previous version",
            (PlacedPanel(_score_quantiles(), 24, 8), PlacedPanel(_versions(), 24, 9)),
            folded=True,
        ),
        Row(
            "Performance and labels",
            (
                PlacedPanel(_measured_errors(), 12, 8),
                PlacedPanel(_cbpe(), 12, 8),
                PlacedPanel(_metrics(), 24, 8),
                PlacedPanel(_label_coverage(), 8, 8),
                PlacedPanel(_label_maturity(), 8, 8),
                PlacedPanel(_label_counts(), 8, 8),
            ),
            folded=True,
        ),
        Row(
            "Classification",
            (PlacedPanel(_measured(), 12, 8), PlacedPanel(_class_shares(), 12, 8), PlacedPanel(_calibration(), 24, 8)),
            folded=True,
        ),
        Row(
            "Arms",
            (PlacedPanel(_arms(), 24, 9), PlacedPanel(_arm_ratio(), 12, 7), PlacedPanel(_arm_performance(), 12, 7)),
            folded=True,
        ),
    ]
