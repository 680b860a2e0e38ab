"""Signals: the SQL that alert rules, panels, the simulator and the backtest share.

`signal` defines signals and builds their SQL for one time and over a history; `verdicts`, `volume`, `labels`,
`pipeline` and `shadow` have the signals.
"""

from barograph_server.warehouse.signals.literals import literal, literals
from barograph_server.warehouse.signals.signal import (
    DETAILS,
    EventTimeRange,
    FactTime,
    Signal,
    panel_sql,
    point_sql,
    series_sql,
)

__all__ = [
    "DETAILS",
    "EventTimeRange",
    "FactTime",
    "Signal",
    "literal",
    "literals",
    "panel_sql",
    "point_sql",
    "series_sql",
]
