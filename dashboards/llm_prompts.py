"""The row Prompts side by side of the page LLM: versions of a prompt that serve at the same time, and their changes."""

from __future__ import annotations

from functools import partial

from barograph_server.dashboards.layout import PlacedPanel, Row
from barograph_server.dashboards.panels import AnyPanel, PanelInfo, level_timeline, table_panel, time_series
from barograph_server.dashboards.style import STYLE
from barograph_server.warehouse.panels import arm_comparisons

UNITS = STYLE.units
_info = partial(PanelInfo, "llm")


def _comparisons() -> AnyPanel:
    info = _info(
        "prompt_comparisons",
        "Versions compared with the control",
        "The last look of the range at each arm and criterion. The difference is how much more the arm has than the "
        "control: more is worse. Shares differ in points, other numbers in percent of the control. The interval holds "
        "at every look. Harm: the whole interval is beyond the margin. No harm: none of it is.",
    )
    units = {"predictions": UNITS.count, "units": UNITS.count}
    return table_panel(info, arm_comparisons.COMPARISONS, units=units)


def _intervals() -> AnyPanel:
    info = _info(
        "prompt_intervals",
        "The comparison nearest to harm",
        "The difference with its interval after every hour, and the margin, of the arm and criterion whose interval "
        "came nearest to harm in the range. Harm: the band is above the margin.",
        UNITS.share,
    )
    return time_series(info, arm_comparisons.INTERVALS)


def _outcomes() -> AnyPanel:
    info = _info(
        "prompt_outcomes",
        "Outcome at each look",
        "Red (major): worse by more than the margin. Green (stable): not worse by more than the margin. Grey "
        "(insufficient): undecided, or not enough predictions or units.",
    )
    return level_timeline(info, arm_comparisons.OUTCOMES)


def _changes() -> AnyPanel:
    info = _info(
        "prompt_changes",
        "Changes of prompts",
        f"The last {arm_comparisons.SHOWN_CHANGES} registered versions and changes of labels in the range, of all "
        "prompts. `guard` is a rollback of a contract with `mode: act`.",
    )
    return table_panel(info, arm_comparisons.CHANGES)


def row() -> Row:
    return Row(
        "Prompts side by side",
        (
            PlacedPanel(_comparisons(), 24, 9),
            PlacedPanel(_intervals(), 12, 8),
            PlacedPanel(_outcomes(), 12, 8),
            PlacedPanel(_changes(), 24, 8),
        ),
    )
