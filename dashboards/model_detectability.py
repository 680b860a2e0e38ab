"""The row Detectability of the page Model: the smallest changes that are detected."""

from __future__ import annotations

from functools import partial

from barograph_server.dashboards.layout import PlacedPanel, Row
from barograph_server.dashboards.links import TO_FIELD
from barograph_server.dashboards.panels import AnyPanel, PanelInfo, table_panel
from barograph_server.dashboards.style import STYLE
from barograph_server.warehouse.panels import detectability

UNITS = STYLE.units
_info = partial(PanelInfo, "model")


def _blind_spots() -> AnyPanel:
    info = _info(
        "blind_spots",
        "Smallest change that fires a rule, blind spots first",
        "The smallest lasting change of a field that fires the rule within the time, with a probability of 80 %, at "
        "the traffic and the overdispersion φ of the last week. sd: standard deviations of training; points: "
        "percentage points; `–`: no change is detected in the time. The guard computes it once a day, "
        "whatever the range of the page. Click to open the field.",
    )
    return table_panel(info, detectability.BLIND_SPOTS, link=TO_FIELD)


def _windows() -> AnyPanel:
    info = _info(
        "detectable",
        "Smallest change that makes a window major, by slice",
        "As above, for the level of each window and slice; rules read the slice `all` only. Many events do not help "
        "if φ is large: they count as events / φ independent ones.",
    )
    return table_panel(info, detectability.WINDOWS, units={"events": UNITS.count})


def row() -> Row:
    """The row, folded."""
    return Row("Detectability", (PlacedPanel(_blind_spots(), 24, 9), PlacedPanel(_windows(), 24, 9)), folded=True)
