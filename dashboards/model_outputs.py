"""The lower rows of the page Model: what the model answers, what labels show of it, and how arms compare."""

from __future__ import annotations

from dashboards.layout import Placed, Row
from dashboards.links import TO_FIELD_OF_LABEL
from dashboards.panels import About, AnyPanel, bars, graph, listing
from dashboards.style import STYLE
from warehouse.panels import comparisons, distribution, drift, performance, traffic

UNITS = STYLE.units


def _about(key: str, title: str, description: str, unit: str = UNITS.plain) -> About:
    return About("model", key, title, description, unit)


def score() -> AnyPanel:
    """How far the answers moved."""
    about = _about(
        "score",
        "PSI of the answers",
        "Population stability index of score and class against training, with the lines that verdicts were given by. "
        "Windows with too little data are left out. A click on a line opens the field.",
    )
    return graph(about, drift.OUTPUTS_PSI, drift.PSI_LINES, at_least=0, link=TO_FIELD_OF_LABEL)


def score_quantiles() -> AnyPanel:
    """How scores are spread."""
    about = _about(
        "score_quantiles",
        "Score",
        "Quantiles of the score over the chosen window, over all events. Empty for a model without scores.",
    )
    return graph(about, traffic.SCORE)


def class_shares() -> AnyPanel:
    """What is answered."""
    about = _about(
        "class_shares",
        "Classes",
        "Share of each predicted class per hour; classes that training hardly held are `other`.",
        UNITS.share,
    )
    return graph(about, distribution.CLASS_SHARES, stacked=True, at_least=0)


def versions() -> AnyPanel:
    """This version against the one before."""
    about = _about(
        "versions",
        "Against the version before",
        "The last window in which both had traffic. A level says how much the two differ, not which is better; the "
        "interval is that of the difference.",
    )
    return listing(about, comparisons.VERSIONS)


def measured() -> AnyPanel:
    """Performance with labels."""
    about = _about(
        "performance",
        "Performance by labels",
        "Metrics per day on the labels that have come, and what the contract promises. A day with too few labels is "
        "left out; young days move while labels come.",
    )
    return graph(about, performance.PERFORMANCE, performance.PROMISES)


def metrics() -> AnyPanel:
    """The last figures with intervals."""
    about = _about(
        "metrics",
        "Metrics with their intervals",
        "Newest first. Mature figures are held against the promise, others against the reference at the same age of "
        "labels (`at first`).",
    )
    units = {"coverage": UNITS.share, "maturity": UNITS.share, "labelled": UNITS.count}
    return listing(about, performance.METRICS, units=units)


def cbpe() -> AnyPanel:
    """Performance before labels."""
    about = _about(
        "cbpe",
        "Performance before labels",
        "What the scores alone lead one to expect, and what labels showed once they were mature. It is blind where a "
        "score means something else than it did.",
    )
    return graph(about, performance.CBPE)


def calibration() -> AnyPanel:
    """Scores against what came."""
    about = _about(
        "calibration",
        "Calibration",
        "Of labelled predictions by tenths of the score: the mean score and the share that came true. Equal bars are a "
        "calibrated model.",
        UNITS.share,
    )
    return bars(about, performance.CALIBRATION)


def label_coverage() -> AnyPanel:
    """Whether labels come."""
    about = _about(
        "label_coverage",
        "Labelled predictions",
        "Share of the predictions of each hour that has a label by now. It falls towards the right because labels come "
        "late: compare it with the curve beside it.",
        UNITS.share,
    )
    return graph(about, performance.LABEL_COVERAGE, at_least=0)


def label_maturity() -> AnyPanel:
    """How labels come."""
    about = _about(
        "label_maturity",
        "How labels come",
        "Share of the labels that ever come, by the age of the prediction, as it was last learned.",
        UNITS.share,
    )
    return bars(about, performance.LABEL_MATURITY)


def label_counts() -> AnyPanel:
    """What is wrong with labels."""
    about = _about(
        "label_counts",
        "Predictions and labels that do not count",
        "What was left out of the metrics within the range, and why: the words are those of the view label_counts.",
    )
    return listing(about, performance.LABEL_COUNTS, units={"n": UNITS.count})


def arms() -> AnyPanel:
    """Arms against the control."""
    about = _about(
        "arms",
        "Arms against the control",
        "The last window, the clearest difference first. A level says how much two arms differ, not which is better.",
    )
    return listing(about, comparisons.ARMS)


def arm_ratio() -> AnyPanel:
    """Whether the test is sound."""
    about = _about(
        "arm_ratio",
        "Shares of the arms",
        "Whether units fall to the arms in the promised shares. Where they do not, the comparison means little.",
    )
    return listing(about, comparisons.ARM_RATIO, units={"promised": UNITS.share, "seen": UNITS.share})


def arm_performance() -> AnyPanel:
    """Performance of the arms."""
    about = _about(
        "arm_performance",
        "Performance of the arms",
        "Each pair of arms by labels, with the interval of the difference.",
    )
    return listing(about, comparisons.ARM_PERFORMANCE)


def rows() -> list[Row]:
    """The lower rows of the page, folded."""
    return [
        Row(
            "Answers",
            (
                Placed(score(), 24, 8),
                Placed(score_quantiles(), 12, 8),
                Placed(class_shares(), 12, 8),
                Placed(versions(), 24, 9),
            ),
            folded=True,
        ),
        Row(
            "Performance and labels",
            (
                Placed(measured(), 12, 8),
                Placed(cbpe(), 12, 8),
                Placed(metrics(), 24, 8),
                Placed(calibration(), 8, 8),
                Placed(label_coverage(), 8, 8),
                Placed(label_maturity(), 8, 8),
                Placed(label_counts(), 8, 6),
            ),
            folded=True,
        ),
        Row("Arms", (Placed(arms(), 24, 9), Placed(arm_ratio(), 12, 7), Placed(arm_performance(), 12, 7)), folded=True),
    ]
