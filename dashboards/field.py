"""The page Field: how did this field move, and is the cause the world, the data source or the mix of slices?"""

from __future__ import annotations

from functools import partial

from barograph_server.dashboards.layout import PlacedPanel, Row
from barograph_server.dashboards.links import TO_FIELD_OF_SLICE
from barograph_server.dashboards.panels import (
    FIELD_NOTE,
    AnyPanel,
    PanelInfo,
    bar_chart,
    heatmap_panel,
    stat_panel,
    table_panel,
    text_panel,
    time_series,
)
from barograph_server.dashboards.style import LEAST_PSI, STYLE
from barograph_server.warehouse.panels import distribution, drift, rates

UNITS = STYLE.units
_info = partial(PanelInfo, "field")


def _level() -> AnyPanel:
    info = _info(
        "level",
        "Latest verdict",
        "The level of the last window in the range. Insufficient means that there is not enough data for a verdict; "
        "the table of verdicts says why.",
    )
    return stat_panel(info, drift.FIELD_LEVEL, level=True)


def _psi_now() -> AnyPanel:
    info = _info("psi_now", "PSI with interval", "PSI of the last window, with the ends of its 95 % interval.")
    return stat_panel(info, drift.FIELD_PSI_NOW, decimals=3)


def _nulls_now() -> AnyPanel:
    info = _info("nulls_now", "Nulls", "Share of nulls in the last window and in the baseline.", UNITS.share)
    return stat_panel(info, rates.NULLS_NOW)


def _unseen_now() -> AnyPanel:
    info = _info(
        "unseen_now",
        "Unseen",
        "Share of values in the last window that the training data does not contain, and the expected share.",
        UNITS.share,
    )
    return stat_panel(info, rates.UNSEEN_NOW)


def _range_now() -> AnyPanel:
    info = _info(
        "range_now",
        "Out of range",
        "The largest of three shares in the last window: values below range, above range, or invalid; and the same "
        "share in the baseline.",
        UNITS.share,
    )
    return stat_panel(info, rates.RANGE_NOW)


def _psi() -> AnyPanel:
    info = _info(
        "psi",
        "PSI",
        "PSI of each window with its 95 % interval as a band, and the thresholds in force at the time. A wide band "
        "means little data. PSI contains sampling noise, so with little data it can lie above the band. The axis is "
        "logarithmic.",
    )
    return time_series(info, drift.FIELD_PSI, at_least=LEAST_PSI, logarithmic=True)


def _now_against_baseline() -> AnyPanel:
    info = _info(
        "distribution",
        "Last window and baseline",
        "Share of each cell in the last judged window and in its baseline: the training data, or the period that was "
        "accepted later. A slice is compared with its own rows of the baseline. PSI is computed over these cells.",
        UNITS.share,
    )
    return bar_chart(info, distribution.DISTRIBUTION)


def _quantiles() -> AnyPanel:
    info = _info(
        "quantiles",
        "Quantiles",
        "5, 25, 50, 75 and 95 % quantiles and the mean of each window, over all events. Numeric fields only.",
    )
    return time_series(info, distribution.QUANTILES)


def _cells_over_time() -> AnyPanel:
    info = _info(
        "heatmap",
        "Cells over time",
        "Share of each cell per hour, on the bins of the last baseline in the range. A band that fades is a value "
        "that no longer occurs.",
        UNITS.share,
    )
    return heatmap_panel(info, distribution.HEATMAP)


def _nulls() -> AnyPanel:
    info = _info(
        "nulls",
        "Nulls",
        "Share of nulls, the share in the baseline, and the thresholds for minor and major.",
        UNITS.share,
    )
    return time_series(info, rates.NULLS, at_least=0)


def _outside() -> AnyPanel:
    info = _info(
        "range",
        "Unseen, out of range, invalid: change",
        "Change against the baseline in the share of values that the training data does not contain (categories), that "
        "are below or above the range (numbers), or of the wrong type: 5 % means five percentage points more. "
        "The thresholds are those in force when each verdict was given.",
        UNITS.share,
    )
    return time_series(info, rates.OUTSIDE, rates.OUTSIDE_THRESHOLDS)


def _categories() -> AnyPanel:
    info = _info(
        "categories",
        "Values not in the training data",
        "By name, over all versions: first occurrence and count.",
    )
    return table_panel(info, rates.CATEGORIES, units={"at least": UNITS.count, "at most": UNITS.count})


def _slices() -> AnyPanel:
    info = _info(
        "slices",
        "Slices, worst first",
        "The latest verdict on this field in every slice with enough events. Click to show the slice on this page.",
    )
    return table_panel(info, drift.FIELD_SLICES, link=TO_FIELD_OF_SLICE, units={"events": UNITS.count})


def _verdicts() -> AnyPanel:
    info = _info(
        "verdicts",
        "Verdicts, newest first",
        "PSI of each window with its interval and thresholds, the cell that moved most, and the smallest shift of the "
        "mean that the window can detect, in standard deviations. `reason` says why a level is insufficient.",
    )
    units = {
        "baseline share": UNITS.share,
        "window share": UNITS.share,
        "completeness": UNITS.share,
        "events": UNITS.count,
    }
    return table_panel(info, drift.FIELD_VERDICTS, units=units)


def _distances() -> AnyPanel:
    info = _info(
        "distances",
        "Other distances",
        "Kolmogorov–Smirnov with its threshold, Wasserstein in interquartile ranges, shift of the mean in standard "
        "deviations, ratio of standard deviations. They do not set the level. Numeric fields only, over all events.",
    )
    return time_series(info, distribution.DISTANCES)


def _note() -> AnyPanel:
    return text_panel(_info("note", "How to read this", "What to check first."), FIELD_NOTE)


def rows() -> list[Row]:
    """The rows of the page, from top to bottom."""
    return [
        Row(
            "Now, at the end of the range",
            (
                PlacedPanel(_level(), 4, 4),
                PlacedPanel(_psi_now(), 5, 4),
                PlacedPanel(_nulls_now(), 5, 4),
                PlacedPanel(_unseen_now(), 5, 4),
                PlacedPanel(_range_now(), 5, 4),
            ),
        ),
        Row(
            "Distribution",
            (
                PlacedPanel(_psi(), 24, 8),
                PlacedPanel(_now_against_baseline(), 12, 9),
                PlacedPanel(_cells_over_time(), 12, 9),
            ),
        ),
        Row("Values", (PlacedPanel(_nulls(), 12, 8), PlacedPanel(_outside(), 12, 8))),
        Row("Slices", (PlacedPanel(_slices(), 24, 8),), folded=True),
        Row(
            "Numeric fields: quantiles and distances",
            (PlacedPanel(_quantiles(), 12, 8), PlacedPanel(_distances(), 12, 8)),
            folded=True,
        ),
        Row("Categorical fields: unseen values by name", (PlacedPanel(_categories(), 24, 8),), folded=True),
        Row("Verdicts", (PlacedPanel(_verdicts(), 24, 9), PlacedPanel(_note(), 24, 4)), folded=True),
    ]
