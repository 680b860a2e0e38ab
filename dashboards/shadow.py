"""The page Shadow: may the candidate replace the primary, and if not, why and when?"""

from __future__ import annotations

from functools import partial

from barograph_server.dashboards.layout import PlacedPanel, Row
from barograph_server.dashboards.links import TO_SLICE_OF_MODEL
from barograph_server.dashboards.panels import (
    SHADOW_NOTE,
    AnyPanel,
    PanelInfo,
    outcome_timeline,
    stat_panel,
    table_panel,
    text_panel,
    time_series,
)
from barograph_server.dashboards.style import STYLE
from barograph_server.sketches.rollout.decision import HARM_E_VALUE
from barograph_server.warehouse.panels import shadow

UNITS = STYLE.units
_info = partial(PanelInfo, "shadow")


def _decision() -> AnyPanel:
    info = _info(
        "decision",
        "Decision",
        "The decision at the end of the last day of the range, as `barograph promote` gives it, with "
        "up to three of the criteria or slices that decide. Insufficient: some criterion is not met yet, and none is "
        "worse. After a promotion the decision is about the new primary, compared with the version that it replaced: "
        "keep or roll back.",
    )
    return stat_panel(info, shadow.DECISION, outcome=True)


def _days_left() -> AnyPanel:
    info = _info(
        "days_left",
        "Days left",
        "Forecast of the days until every criterion is met, if the differences stay as they are. No forecast: the "
        "candidate is worse, a difference is beyond its margin, or no interval can be computed.",
    )
    return stat_panel(info, shadow.DAYS_LEFT)


def _days() -> AnyPanel:
    info = _info(
        "days",
        "Days",
        "Days with pairs, and the days that the smallest margin needs before it can be shown.",
    )
    return stat_panel(info, shadow.DAYS)


def _criteria_met() -> AnyPanel:
    info = _info("criteria_met", "Criteria met", "Criteria that are met, of all. A promotion needs all of them.")
    return stat_panel(info, shadow.CRITERIA_MET)


def _paired() -> AnyPanel:
    info = _info(
        "paired",
        "Paired requests",
        "Share of the requests in the range that both versions answered. The table below says why others have no pair.",
        UNITS.share,
    )
    return stat_panel(info, shadow.PAIRED_SHARE)


def _slice_evidence() -> AnyPanel:
    info = _info(
        "slice_evidence",
        "Harm in slices",
        f"Mean e-value of all slices that the candidate is worse. From {HARM_E_VALUE:g} on some slice is harmed, even "
        "if the evidence names none.",
        UNITS.count,
    )
    return stat_panel(info, shadow.SLICE_EVIDENCE, bad_from=HARM_E_VALUE, decimals=1)


def _criteria() -> AnyPanel:
    info = _info(
        "criteria",
        "Criteria at the last look",
        "Differences are the candidate's quality minus that of the primary: above 0 is better. A criterion is met when "
        "the whole interval is above `at least`, the negative margin, after the days it needs. Differences of latency "
        "are logarithms of ratios: -0.05 is about 5 % slower. After a promotion it is the quality of the new primary "
        "minus that of the version that it replaced.",
    )
    return table_panel(info, shadow.CRITERIA)


def _intervals() -> AnyPanel:
    info = _info(
        "intervals",
        "$criterion",
        "Mean difference per pair with its 95 % confidence sequence, which holds at every day, and the negative "
        "margin. Met: the band is above the margin. Worse: the band is below 0. There is no band before day 28.",
    )
    return time_series(info, shadow.INTERVALS, repeat="criterion")


def _outcomes() -> AnyPanel:
    info = _info(
        "outcomes",
        "Decision and criteria at each look",
        "Green: promote or keep, or the criterion is met. Grey: not yet known. Red: hold or roll back, or the judged "
        "version is worse.",
    )
    return outcome_timeline(info, shadow.OUTCOMES_OVER_TIME)


def _slices() -> AnyPanel:
    info = _info(
        "slices",
        "Slices by harm",
        f"The {shadow.SHOWN_SLICES} slices with the most evidence that the candidate is worse. `worse` slices are "
        "named with a false discovery rate of 10 % (e-BH); the interval is that of the slice alone. Insufficient: less "
        "than 28 days, or less than 50 pairs a day. After a promotion the new primary is judged. Click to "
        "open the slice of the primary.",
    )
    return table_panel(info, shadow.SLICES, link=TO_SLICE_OF_MODEL)


def _requests() -> AnyPanel:
    info = _info(
        "requests",
        "Requests and their pairs",
        "Every request of the primary in the range is a pair, or missing for one reason.",
    )
    return table_panel(info, shadow.REQUESTS, units={"requests": UNITS.count, "share": UNITS.share})


def _missing() -> AnyPanel:
    info = _info("missing", "Missing pairs by reason", "Requests without a pair.", UNITS.count)
    return time_series(info, shadow.MISSING, shadow.NONE_MISSING, counted=True, at_least=0)


def _traffic() -> AnyPanel:
    info = _info(
        "traffic",
        "Requests and pairs",
        "Requests of the primary and pairs. If pairs end before requests, the shadow or its pairing has stopped.",
        UNITS.count,
    )
    return time_series(info, shadow.TRAFFIC, at_least=0)


def _latency() -> AnyPanel:
    info = _info(
        "latency",
        "Ratio of latencies",
        "Ratio of the typical (geometric mean) latencies over pairs with both. Above 1 the candidate is slower.",
    )
    return time_series(info, shadow.LATENCY)


def _latencies() -> AnyPanel:
    info = _info(
        "latencies",
        "Latency side by side",
        "Median and 99th percentile of both versions over pairs with both latencies, from counts in buckets of 9 %.",
        UNITS.milliseconds,
    )
    return time_series(info, shadow.LATENCIES, at_least=0)


def _agreement() -> AnyPanel:
    info = _info(
        "agreement", "Agreement", "Share of pairs in which both versions decide for the same class.", UNITS.share
    )
    return time_series(info, shadow.AGREEMENT)


def _scores() -> AnyPanel:
    info = _info("scores", "Difference of scores", "Mean of the candidate's score minus that of the primary.")
    return time_series(info, shadow.SCORES)


def _right() -> AnyPanel:
    info = _info(
        "right",
        "Who was right",
        "Labelled pairs in the range by slice, the largest loss first. These counts have no interval: slices are "
        "judged beside.",
    )
    names = ("labelled", "both right", "only candidate right", "only primary right", "both wrong")
    units = {**dict.fromkeys(names, UNITS.count), "difference": UNITS.share}
    return table_panel(info, shadow.RIGHT, units=units)


def _class_pairs() -> AnyPanel:
    info = _info(
        "class_pairs",
        "Classes of both versions",
        "Pairs in the range by the class of the primary and that of the candidate, the most frequent first.",
    )
    return table_panel(info, shadow.CLASS_PAIRS, units={"pairs": UNITS.count, "share": UNITS.share})


def _note() -> AnyPanel:
    return text_panel(_info("note", "How to read them", "How to read single pairs."), SHADOW_NOTE)


def _disagreements() -> AnyPanel:
    info = _info(
        "disagreements",
        "Disagreements most worth reading",
        f"The {shadow.SHOWN_HOURS} hours and slices in which the primary was right most often where the candidate was "
        "wrong. The note says how to read the single pairs.",
    )
    return table_panel(info, shadow.DISAGREEMENTS, units={"share": UNITS.share})


def rows() -> list[Row]:
    """The rows of the page, from top to bottom."""
    return [
        Row(
            "May the candidate replace the primary?",
            (
                PlacedPanel(_decision(), 6, 4),
                PlacedPanel(_days_left(), 3, 4),
                PlacedPanel(_days(), 5, 4),
                PlacedPanel(_criteria_met(), 4, 4),
                PlacedPanel(_paired(), 3, 4),
                PlacedPanel(_slice_evidence(), 3, 4),
                PlacedPanel(_criteria(), 24, 7),
            ),
        ),
        Row("Criteria over time", (PlacedPanel(_intervals(), 24, 8), PlacedPanel(_outcomes(), 24, 7))),
        Row("Slices", (PlacedPanel(_slices(), 12, 10), PlacedPanel(_right(), 12, 10))),
        Row(
            "Requests and missing pairs",
            (PlacedPanel(_requests(), 8, 9), PlacedPanel(_missing(), 8, 9), PlacedPanel(_traffic(), 8, 9)),
        ),
        Row(
            "Latency, agreement, scores",
            (
                PlacedPanel(_latencies(), 6, 8),
                PlacedPanel(_latency(), 6, 8),
                PlacedPanel(_agreement(), 6, 8),
                PlacedPanel(_scores(), 6, 8),
            ),
        ),
        Row(
            "Disagreements",
            (
                PlacedPanel(_disagreements(), 14, 10),
                PlacedPanel(_class_pairs(), 5, 10),
                PlacedPanel(_note(), 5, 10),
            ),
        ),
    ]
