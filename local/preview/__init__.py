"""The preview page: the generated dashboards drawn in a browser, on one machine, without Grafana.

It reads the same JSON that Grafana is given, expands the macros as Grafana's data source does, asks ClickHouse and
draws the panels with plotly. Read-only and on loopback; in production it is Grafana that shows the dashboards.
"""

from local.preview.server import PreviewServer

__all__ = ["PreviewServer"]
