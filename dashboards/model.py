"""The page Model: what is wrong with this model, since when, and where?"""

from __future__ import annotations

from functools import partial

from barograph_server.dashboards import model_changes, model_detectability, model_outputs
from barograph_server.dashboards.layout import PlacedPanel, Row
from barograph_server.dashboards.links import TO_FIELD, TO_FIELD_OF_LABEL, TO_PIPELINE, TO_SLICE, TO_WORST_FIELD
from barograph_server.dashboards.panels import (
    AnyPanel,
    PanelInfo,
    bar_chart,
    level_timeline,
    stat_panel,
    state_timeline,
    table_panel,
    time_series,
)
from barograph_server.dashboards.style import LEAST_PSI, STYLE
from barograph_server.warehouse.panels import distribution, drift, freshness, health, rates, traffic

UNITS = STYLE.units
_info = partial(PanelInfo, "model")


def _level() -> AnyPanel:
    info = _info(
        "level",
        "Drift",
        "The worst of the fields' latest verdicts for the selected window and slice. Insufficient means that there is "
        "not enough data for a verdict; it does not mean healthy. The column `reason` of the table says why.",
    )
    return stat_panel(info, drift.WORST_LEVEL, level=True)


def _worst_field() -> AnyPanel:
    info = _info(
        "worst_field",
        "Worst PSI",
        "The largest PSI among the fields' latest verdicts; verdicts with enough data come first. Click to open the "
        "field.",
    )
    return stat_panel(info, drift.WORST_PSI, decimals=2, link=TO_FIELD)


def _requests_now() -> AnyPanel:
    info = _info("requests_now", "Requests", "Predictions of this version and slice in the range.", UNITS.count)
    return stat_panel(info, traffic.REQUESTS_NOW)


def _errors_now() -> AnyPanel:
    info = _info("errors_now", "Failed", "Share of predictions in the range that failed.", UNITS.share)
    return stat_panel(info, traffic.ERRORS_NOW)


def _sealed_age() -> AnyPanel:
    info = _info(
        "freshness",
        "Age of newest sealed data",
        "Time from the end of the newest sealed pane to the end of the range. If this grows, the page shows old data: "
        "see Pipeline.",
        UNITS.seconds,
    )
    return stat_panel(info, freshness.SEALED_AGE, link=TO_PIPELINE)


def _completeness() -> AnyPanel:
    info = _info(
        "completeness",
        "Completeness",
        "Share of the last window's events that were counted. Below 100 %, offsets were lost: see Pipeline, Losses.",
        UNITS.share,
    )
    return stat_panel(info, freshness.COMPLETENESS, bad_under=1.0, link=TO_PIPELINE)


def _psi() -> AnyPanel:
    info = _info(
        "psi",
        "PSI of the fields that moved most",
        f"Population stability index of up to {drift.SHOWN_LINES} fields against the baseline, at the end of each "
        "window. Windows with insufficient data are omitted: see the levels. The thresholds are those in force when "
        "each verdict was given. Click a series to open the field.",
    )
    return time_series(
        info, drift.PSI, drift.PSI_THRESHOLDS, at_least=LEAST_PSI, logarithmic=True, link=TO_FIELD_OF_LABEL
    )


def _field_levels() -> AnyPanel:
    info = _info(
        "levels",
        "Levels of the fields, worst first",
        f"The level of the PSI of up to {drift.SHOWN_FIELDS} fields: the worst level in the range first, and of one "
        "level the largest PSI first. A step that holds several windows shows the worst of them. A gap means no "
        "verdict. Click a row to open the field.",
    )
    return level_timeline(info, drift.LEVELS, link=TO_FIELD_OF_LABEL)


def _distributions() -> AnyPanel:
    info = _info(
        "distributions",
        "Last window and baseline: $worst_field",
        f"The {drift.COMPARED_FIELDS} fields with the largest PSI at the end of the range: the share of each cell in "
        "the last judged window and in its baseline, as on the page Field. Click the title to open the field.",
        UNITS.share,
    )
    return bar_chart(info, distribution.WORST_DISTRIBUTIONS, repeat="worst_field", link=TO_WORST_FIELD)


def _fields() -> AnyPanel:
    info = _info(
        "fields",
        "Fields, worst first",
        "The latest verdict of every field in the range, with the interval of its PSI and the cell that moved most. "
        "`reason` says why a level is insufficient. `q value` is the expected share of false alarms among fields with "
        "this or a clearer verdict (false discovery rate).",
    )
    units = {
        "baseline share": UNITS.share,
        "current share": UNITS.share,
        "q value": UNITS.share,
        "completeness": UNITS.share,
        "events": UNITS.count,
    }
    return table_panel(info, drift.FIELDS, link=TO_FIELD, units=units)


def _changed_rates() -> AnyPanel:
    info = _info(
        "rates",
        "Rates that changed most",
        "Change in the rate of null, invalid, out-of-range and unseen values against the baseline: 5 % means five "
        "percentage points more than there. The thresholds are those in force when each verdict was given.",
        UNITS.share,
    )
    return time_series(info, rates.RATES, rates.RATE_THRESHOLDS)


def _violations() -> AnyPanel:
    info = _info(
        "violations",
        "Contract violations",
        "Values that the contract rejects, over all slices: forbidden nulls, values out of range, unknown classes. "
        "Click to open the field.",
    )
    return table_panel(info, rates.VIOLATIONS, link=TO_FIELD, units={"share in affected panes": UNITS.share})


def _slices() -> AnyPanel:
    info = _info(
        "slices",
        "Slices, worst first",
        "The latest verdicts of all slices with enough events for a verdict. Click to show the slice on this page.",
    )
    return table_panel(info, drift.SLICES, link=TO_SLICE)


def _requests() -> AnyPanel:
    info = _info("requests", "Requests by version", "Predictions per minute, including failed ones.", UNITS.per_minute)
    return time_series(info, traffic.REQUESTS, stacked=True, at_least=0)


def _errors() -> AnyPanel:
    info = _info(
        "errors",
        "Failed predictions by version",
        "Share of predictions of each version that failed, and the SLO of the contract in force. The alert reads all "
        "versions together.",
        UNITS.share,
    )
    return time_series(info, traffic.ERRORS, traffic.ERRORS_SLO, at_least=0)


def _error_kinds() -> AnyPanel:
    info = _info("error_kinds", "Errors by kind", "Failed predictions by the error kind in the event.", UNITS.count)
    return time_series(info, traffic.ERROR_KINDS, counted=True, at_least=0)


def _slow() -> AnyPanel:
    info = _info(
        "latency",
        "Slow predictions by version",
        "Share of predictions of each version slower than the latency SLO, from exact counts, and the share that the "
        "SLO allows. The alert reads all versions together. Empty if the contract has no latency SLO.",
        UNITS.share,
    )
    return time_series(info, traffic.SLOW, traffic.SLOW_SLO, at_least=0)


def _latency() -> AnyPanel:
    info = _info(
        "latency_quantiles",
        "Latency",
        "Quantiles of the field latency_ms in its shortest window, from sketches, and the SLO. Empty if the contract "
        "does not include latency_ms.",
        UNITS.milliseconds,
    )
    return time_series(info, traffic.LATENCY, traffic.LATENCY_SLO, at_least=0)


def _health() -> AnyPanel:
    info = _info(
        "health",
        "State for serving",
        "The state that the guard published: degraded while a rule of the contract's `fallback` fires and until all "
        "have been quiet, unknown while monitoring is blind. `no record`: the guard wrote nothing for three minutes. "
        "Wall-clock time. A step shows its worst state.",
    )
    return state_timeline(info, health.STATES_OVER_TIME)


def _health_reasons() -> AnyPanel:
    info = _info(
        "health_reasons",
        "Reasons of the states",
        "The rules that fired in this range, the last one first, with the last state and sentence that the guard "
        "published. `blind` says why monitoring was blind.",
    )
    return table_panel(info, health.REASONS)


def rows() -> list[Row]:
    """The rows of the page, from top to bottom."""
    return [
        Row(
            "Now, at the end of the range",
            (
                PlacedPanel(_level(), 4, 4),
                PlacedPanel(_worst_field(), 4, 4),
                PlacedPanel(_requests_now(), 4, 4),
                PlacedPanel(_errors_now(), 4, 4),
                PlacedPanel(_sealed_age(), 4, 4),
                PlacedPanel(_completeness(), 4, 4),
            ),
        ),
        Row(
            "Drift",
            (
                PlacedPanel(_field_levels(), 24, 12),
                PlacedPanel(_distributions(), 24, 8),
                PlacedPanel(_psi(), 12, 10),
                PlacedPanel(_fields(), 12, 10),
            ),
        ),
        Row(
            "Outputs and performance",
            (PlacedPanel(model_outputs.score(), 12, 8), PlacedPanel(model_outputs.main_metric(), 12, 8)),
        ),
        Row(
            "Traffic, errors, latency",
            (PlacedPanel(_requests(), 8, 8), PlacedPanel(_errors(), 8, 8), PlacedPanel(_slow(), 8, 8)),
        ),
        Row(
            "Values and slices",
            (PlacedPanel(_changed_rates(), 24, 8), PlacedPanel(_violations(), 12, 8), PlacedPanel(_slices(), 12, 8)),
            folded=True,
        ),
        Row(
            "Errors by kind, quantiles of the latency",
            (PlacedPanel(_error_kinds(), 12, 8), PlacedPanel(_latency(), 12, 8)),
            folded=True,
        ),
        Row(
            "State for serving, from the guard",
            (PlacedPanel(_health(), 12, 8), PlacedPanel(_health_reasons(), 12, 8)),
            folded=True,
        ),
        model_changes.row(),
        model_detectability.row(),
        *model_outputs.rows(),
    ]
