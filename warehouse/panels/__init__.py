"""The queries of dashboards: named, one module per signal, written in Grafana's variables and macros.

Each is a `PanelQuery`. What is chosen on a page reaches SQL through `chosen` alone.
"""

from warehouse.panels.query import TABLE, TIME_SERIES, Column, Format, Kind, PanelQuery

__all__ = ["TABLE", "TIME_SERIES", "Column", "Format", "Kind", "PanelQuery"]
