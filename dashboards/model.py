"""The page Model: what is wrong with this model, since when, and where?"""

from __future__ import annotations

from dashboards import model_outputs
from dashboards.layout import PlacedPanel, Row
from dashboards.links import TO_FIELD, TO_FIELD_OF_LABEL, TO_PIPELINE, TO_SLICE
from dashboards.panels import AnyPanel, PanelInfo, level_timeline, stat_panel, table_panel, time_series
from dashboards.style import STYLE
from warehouse.panels import drift, freshness, rates, traffic

UNITS = STYLE.units


def _info(key: str, title: str, description: str, unit: str = UNITS.plain) -> PanelInfo:
    return PanelInfo("model", key, title, description, unit)


def level() -> AnyPanel:
    """The worst level of all fields."""
    info = _info(
        "level",
        "Drift",
        "The worst of the fields' latest verdicts for the selected window and slice. Insufficient means that there is "
        "not enough data for a verdict; it does not mean healthy.",
    )
    return stat_panel(info, drift.WORST_LEVEL, level=True)


def worst_field() -> AnyPanel:
    """The field that moved most."""
    info = _info(
        "worst_field",
        "Worst PSI",
        "The largest PSI among the fields' latest verdicts; verdicts with enough data come first. Click to open the "
        "field.",
    )
    return stat_panel(info, drift.WORST_PSI, decimals=2, link=TO_FIELD)


def requests_now() -> AnyPanel:
    """Requests in the range."""
    info = _info("requests_now", "Requests", "Predictions of this version and slice in the range.", UNITS.count)
    return stat_panel(info, traffic.REQUESTS_NOW)


def errors_now() -> AnyPanel:
    """Share of failed predictions in the range."""
    info = _info("errors_now", "Failed", "Share of predictions in the range that failed.", UNITS.share)
    return stat_panel(info, traffic.ERRORS_NOW)


def sealed_age() -> AnyPanel:
    """Age of the newest sealed pane."""
    info = _info(
        "freshness",
        "Age of newest sealed data",
        "Time from the end of the newest sealed pane to the end of the range. If this grows, the page shows old data: "
        "see Pipeline.",
        UNITS.seconds,
    )
    return stat_panel(info, freshness.SEALED_AGE, link=TO_PIPELINE)


def completeness() -> AnyPanel:
    """Whether events were lost."""
    info = _info(
        "completeness",
        "Completeness",
        "Share of the last window's events that were counted. Below 100 %, offsets were lost: see Pipeline, Losses.",
        UNITS.share,
    )
    return stat_panel(info, freshness.COMPLETENESS, bad_under=1.0, link=TO_PIPELINE)


def psi() -> AnyPanel:
    """PSI of the fields, with the contract's thresholds."""
    info = _info(
        "psi",
        "PSI of the fields that moved most",
        f"Population stability index of up to {drift.SHOWN_FIELDS} fields against training, at the end of each "
        "window. Windows with insufficient data are omitted: see the levels. The thresholds are those in force when "
        "each verdict was given. Click a series to open the field.",
    )
    return time_series(info, drift.PSI, drift.PSI_THRESHOLDS, at_least=0, link=TO_FIELD_OF_LABEL)


def field_levels() -> AnyPanel:
    """When each field left the level stable."""
    info = _info(
        "levels",
        "Levels of the fields that moved most",
        "The level of each field. A step that holds several windows shows the worst of them.",
    )
    return level_timeline(info, drift.LEVELS, link=TO_FIELD_OF_LABEL)


def fields() -> AnyPanel:
    """Every field with its latest verdict."""
    info = _info(
        "fields",
        "Fields, worst first",
        "The latest verdict of every field in the range, with the interval of its PSI and the cell that moved most. "
        "`q value` is the expected share of false alarms among fields with this or a clearer verdict "
        "(false discovery rate).",
    )
    units = {
        "training share": UNITS.share,
        "current share": UNITS.share,
        "q value": UNITS.share,
        "completeness": UNITS.share,
        "events": UNITS.count,
    }
    return table_panel(info, drift.FIELDS, link=TO_FIELD, units=units)


def changed_rates() -> AnyPanel:
    """Rates of null, invalid, out-of-range and unseen values that changed most."""
    info = _info(
        "rates",
        "Rates that changed most",
        "Change in the rate of null, invalid, out-of-range and unseen values against training: 5 % means five "
        "percentage points more than in training. The thresholds are those in force when each verdict was given.",
        UNITS.share,
    )
    return time_series(info, rates.RATES, rates.RATE_THRESHOLDS)


def violations() -> AnyPanel:
    """Values that violate the contract."""
    info = _info(
        "violations",
        "Contract violations",
        "Values that the contract rejects, over all slices: forbidden nulls, values out of range, unknown classes. "
        "Click to open the field.",
    )
    return table_panel(info, rates.VIOLATIONS, link=TO_FIELD, units={"share in affected panes": UNITS.share})


def slices() -> AnyPanel:
    """Slices that drift."""
    info = _info(
        "slices",
        "Slices, worst first",
        "The latest verdicts of all slices with enough events for a verdict. Click to show the slice on this page.",
    )
    return table_panel(info, drift.SLICES, link=TO_SLICE)


def requests() -> AnyPanel:
    """Traffic by version."""
    info = _info("requests", "Requests by version", "Predictions per minute, including failed ones.", UNITS.per_minute)
    return time_series(info, traffic.REQUESTS, stacked=True, at_least=0)


def errors() -> AnyPanel:
    """Failed predictions compared with the SLO."""
    info = _info(
        "errors",
        "Failed predictions",
        "Share of predictions that failed, and the SLO of the contract in force.",
        UNITS.share,
    )
    return time_series(info, traffic.ERRORS, at_least=0)


def error_kinds() -> AnyPanel:
    """Failed predictions by kind."""
    info = _info("error_kinds", "Errors by kind", "Failed predictions by the error kind in the event.", UNITS.count)
    return time_series(info, traffic.ERROR_KINDS, counted=True, at_least=0)


def slow() -> AnyPanel:
    """Slow predictions compared with the SLO."""
    info = _info(
        "latency",
        "Slow predictions",
        "Share of predictions slower than the latency SLO, from exact counts, and the share that the SLO allows. "
        "Empty if the contract has no latency SLO.",
        UNITS.share,
    )
    return time_series(info, traffic.SLOW, at_least=0)


def latency() -> AnyPanel:
    """Quantiles of latency."""
    info = _info(
        "latency_quantiles",
        "Latency",
        "Quantiles of the field latency_ms in its shortest window, from sketches, and the SLO. Empty if the contract "
        "does not include latency_ms.",
        UNITS.milliseconds,
    )
    return time_series(info, traffic.LATENCY, at_least=0)


def rows() -> list[Row]:
    """The rows of the page, from top to bottom."""
    return [
        Row(
            "Now, at the end of the range",
            (
                PlacedPanel(level(), 4, 4),
                PlacedPanel(worst_field(), 4, 4),
                PlacedPanel(requests_now(), 4, 4),
                PlacedPanel(errors_now(), 4, 4),
                PlacedPanel(sealed_age(), 4, 4),
                PlacedPanel(completeness(), 4, 4),
            ),
        ),
        Row("Drift", (PlacedPanel(psi(), 24, 9), PlacedPanel(field_levels(), 12, 10), PlacedPanel(fields(), 12, 10))),
        Row("Traffic", (PlacedPanel(requests(), 24, 7),)),
        Row("Errors", (PlacedPanel(errors(), 12, 7), PlacedPanel(error_kinds(), 12, 7))),
        Row("Latency", (PlacedPanel(slow(), 12, 7), PlacedPanel(latency(), 12, 7))),
        Row(
            "Values and slices",
            (PlacedPanel(changed_rates(), 24, 8), PlacedPanel(violations(), 12, 8), PlacedPanel(slices(), 12, 8)),
            folded=True,
        ),
        *model_outputs.rows(),
    ]
