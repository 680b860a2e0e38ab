"""The page Fleet: which model needs attention now?"""

from __future__ import annotations

from functools import partial

from barograph_server.dashboards.layout import PlacedPanel, Row
from barograph_server.dashboards.links import TO_MODEL, TO_MODEL_OF_LABEL, TO_VERSION
from barograph_server.dashboards.panels import (
    LEVELS_NOTE,
    AnyPanel,
    PanelInfo,
    level_timeline,
    stat_panel,
    table_panel,
    text_panel,
    time_series,
)
from barograph_server.dashboards.style import LEAST_PSI, STYLE
from barograph_server.warehouse.panels import drills, fleet

UNITS = STYLE.units
_info = partial(PanelInfo, "fleet")


def _in_breach() -> AnyPanel:
    info = _info(
        "in_breach",
        "Models with major drift",
        "Models with a field whose latest verdict is major, in their longest window, in the last day of the range.",
    )
    return stat_panel(info, fleet.IN_BREACH, bad_from=1)


def _insufficient() -> AnyPanel:
    info = _info(
        "insufficient",
        "Models not judged",
        "Models without a verdict in the last day of the range, and models whose worst field has insufficient data. "
        "Neither means healthy.",
    )
    return stat_panel(info, fleet.INSUFFICIENT)


def _silent() -> AnyPanel:
    info = _info(
        "silent",
        "Silent models",
        "Models without a prediction for an hour, and for longer than at any other time in the range. Either their "
        "callers are down or their events do not arrive: see Pipeline.",
    )
    return stat_panel(info, fleet.SILENT, bad_from=1)


def _worst_psi() -> AnyPanel:
    info = _info(
        "worst_psi",
        "Worst PSI",
        "The largest population stability index of any field of any model in the last day of the range. Thresholds "
        "depend on the contract: see the level in the table.",
    )
    return stat_panel(info, fleet.WORST_PSI, decimals=2)


def _models() -> AnyPanel:
    info = _info("models", "Models", "Models with a contract or with events.")
    return stat_panel(info, fleet.MODELS)


def _levels_now() -> AnyPanel:
    info = _info(
        "levels",
        "Models, worst first",
        "Drift: the level of the longest window. Since: the end of its first window after the last stable one in the "
        "range, over all revisions; fields with insufficient data do not count, and it is empty if that window is not "
        "in the range. Rates and performance: the worst of the latest verdicts. `no verdict` means that no window was "
        "judged in the last day of the range. Click to open the model.",
    )
    units = {
        "PSI": UNITS.plain,
        "requests": UNITS.count,
        "errors": UNITS.share,
        "slow": UNITS.share,
        "completeness": UNITS.share,
        "last request": UNITS.seconds,
    }
    return table_panel(info, fleet.LEVELS_NOW, link=TO_MODEL, units=units)


def _levels_over_time() -> AnyPanel:
    info = _info(
        "levels_over_time",
        "Levels over time",
        "The worst level of each model's fields in its longest windows, over all revisions. A gap means no verdict.",
    )
    return level_timeline(info, fleet.LEVELS, link=TO_MODEL_OF_LABEL)


def _psi_over_time() -> AnyPanel:
    info = _info(
        "worst_psi_over_time",
        "Worst PSI of each model",
        "The largest PSI of any field of each model in its longest windows, over all revisions. Windows with "
        "insufficient data are omitted: see the levels. A gap means a day or more without a judged window. The "
        "thresholds are the lowest of all models. Logarithmic axis.",
    )
    return time_series(
        info,
        fleet.WORST_PSI_OVER_TIME,
        fleet.PSI_THRESHOLDS,
        at_least=LEAST_PSI,
        logarithmic=True,
        link=TO_MODEL_OF_LABEL,
    )


def _requests() -> AnyPanel:
    info = _info("requests", "Requests by model", "Predictions per minute, including failed ones.", UNITS.per_minute)
    return time_series(info, fleet.REQUESTS, at_least=0, link=TO_MODEL_OF_LABEL)


def _errors() -> AnyPanel:
    info = _info("errors", "Failed predictions by model", "Share of predictions that failed.", UNITS.share)
    return time_series(info, fleet.ERRORS, at_least=0, link=TO_MODEL_OF_LABEL)


def _slow() -> AnyPanel:
    info = _info(
        "latency",
        "Slow predictions by model",
        "Share of predictions slower than the latency SLO of each contract. Models without a latency SLO are omitted.",
        UNITS.share,
    )
    return time_series(info, fleet.SLOW, at_least=0, link=TO_MODEL_OF_LABEL)


def _performance() -> AnyPanel:
    info = _info(
        "performance",
        "Performance by model",
        "The last day of each metric in the range, worst level first. `maturing` means that the figure can "
        "still change; it is then compared with the reference at the same age of labels.",
    )
    return table_panel(info, fleet.PERFORMANCE, link=TO_VERSION)


def _drills() -> AnyPanel:
    info = _info(
        "drills",
        "Last drills",
        "The last drill of each model, fault and field, failed ones first, whatever the range of the page. `page "
        "after` is the time from the start of the fault to the page, beside the predicted 10 and 90 % quantiles. "
        "`expected and observed` is the first expectation that was not met. `never run`: only others have drills.",
    )
    seconds = ("page after", "predicted from", "predicted to", "degraded after")
    return table_panel(info, drills.LAST_DRILLS, link=TO_MODEL, units=dict.fromkeys(seconds, UNITS.seconds))


def _note() -> AnyPanel:
    return text_panel(_info("note", "How to read this", "Meaning of the levels, and where to go next."), LEVELS_NOTE)


def rows() -> list[Row]:
    """The rows of the page, from top to bottom."""
    return [
        Row(
            "Now, at the end of the range",
            (
                PlacedPanel(_in_breach(), 4, 4),
                PlacedPanel(_insufficient(), 4, 4),
                PlacedPanel(_silent(), 4, 4),
                PlacedPanel(_worst_psi(), 4, 4),
                PlacedPanel(_models(), 4, 4),
                PlacedPanel(_note(), 4, 4),
                PlacedPanel(_levels_now(), 24, 8),
            ),
        ),
        Row("History", (PlacedPanel(_levels_over_time(), 24, 8), PlacedPanel(_psi_over_time(), 24, 8))),
        Row("Drills", (PlacedPanel(_drills(), 24, 7),)),
        Row(
            "Traffic, errors, latency",
            (PlacedPanel(_requests(), 8, 8), PlacedPanel(_errors(), 8, 8), PlacedPanel(_slow(), 8, 8)),
            folded=True,
        ),
        Row("Performance", (PlacedPanel(_performance(), 24, 9),), folded=True),
    ]
