"""Named queries of the dashboards, one file of SQL per signal, with Grafana's variables and macros.

Each is a `PanelQuery`. Selected values reach SQL only through `is_selected`.
"""

from barograph_server.warehouse.panels.query import TABLE, TIME_SERIES, Column, Format, Kind, PanelQuery

__all__ = ["TABLE", "TIME_SERIES", "Column", "Format", "Kind", "PanelQuery"]
