"""Panel layout: rows from top to bottom, each filled from left to right."""

from collections.abc import Sequence

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models.dashboard import GridPos

from barograph_server.dashboards.page_files import RowEntry
from barograph_server.dashboards.panels import AnyPanel, make_panel

WIDTH = 24
"""Number of columns in Grafana's grid."""

_FIRST_ROW_ID = 1001


def add_rows(page: build.Dashboard, rows: Sequence[RowEntry]) -> None:
    """Add rows to a page, from top to bottom."""
    top = 0
    for number, row in enumerate(rows):
        header = (
            build.Row(row.title)
            .id(_FIRST_ROW_ID + number)
            .collapsed(row.folded)
            .grid_pos(GridPos(h=1, w=WIDTH, x=0, y=top))
        )
        top += 1
        x, y, height = 0, top, 0
        panels: list[AnyPanel] = []
        for entry in row.panels:
            width, panel_height = entry.size
            if x + width > WIDTH:
                x, y, height = 0, y + height, 0
            panel = make_panel(entry).grid_pos(GridPos(h=panel_height, w=width, x=x, y=y))
            x, height = x + width, max(height, panel_height)
            panels.append(panel)
            if row.folded:
                header.with_panel(panel)
        page.with_row(header)
        if not row.folded:
            # A folded row occupies one grid line. Grafana moves the rows below when it is opened.
            top = y + height
            for panel in panels:
                page.with_panel(panel)
