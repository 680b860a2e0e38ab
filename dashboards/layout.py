"""Panel layout: rows from top to bottom, each filled from left to right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models.dashboard import GridPos

from barograph_server.dashboards.panels import AnyPanel

WIDTH = 24
"""Number of columns in Grafana's grid."""

_FIRST_ROW_ID = 1001


@dataclass(frozen=True, slots=True)
class PlacedPanel:
    """A panel and its size on the grid."""

    panel: AnyPanel
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Row:
    """A titled row. Details go into folded rows; Grafana runs their queries when the row is opened."""

    title: str
    panels: tuple[PlacedPanel, ...]
    folded: bool = False


def add_rows(page: build.Dashboard, rows: Sequence[Row]) -> None:
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
        for placed in row.panels:
            if x + placed.width > WIDTH:
                x, y, height = 0, y + height, 0
            placed.panel.grid_pos(GridPos(h=placed.height, w=placed.width, x=x, y=y))
            x, height = x + placed.width, max(height, placed.height)
            if row.folded:
                header.with_panel(placed.panel)
        page.with_row(header)
        if not row.folded:
            # A folded row occupies one grid line. Grafana moves the rows below when it is opened.
            top = y + height
            for placed in row.panels:
                page.with_panel(placed.panel)
