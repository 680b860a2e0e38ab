"""Signals: the SQL that alert rules, panels, the simulator and the backtest share.

`signal` says what a signal is and makes its SQL for one moment and over a history; `verdicts`, `volume`, `labels` and
`pipeline` hold the signals.
"""

from warehouse.signals.literals import literal, literals
from warehouse.signals.signal import Known, Signal, Span, panel_sql, point_sql, series_sql

__all__ = ["Known", "Signal", "Span", "literal", "literals", "panel_sql", "point_sql", "series_sql"]
