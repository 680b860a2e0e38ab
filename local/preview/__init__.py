"""The preview page: renders the generated dashboards in a browser on one machine, without Grafana.

It reads the dashboard JSON, expands macros as Grafana's data source does, queries ClickHouse and draws the panels with
plotly. It is read-only and listens on loopback. In production, Grafana shows the dashboards.
"""

from barograph_server.local.preview.server import PreviewServer

__all__ = ["PreviewServer"]
