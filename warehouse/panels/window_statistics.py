"""Statistics of one numeric field in the selected window, over time."""

from __future__ import annotations

from barograph_server.warehouse.panels.fragments import MODEL, VERSION, WINDOW, finite
from barograph_server.warehouse.panels.query import DISTANCES_S, PanelQuery, series

ALL_EVENTS = f"{MODEL} AND {VERSION} AND slice = 'all' AND {WINDOW} AND $__timeFilter(window_end)"
"""The condition for the rows of `latest_distances` of all events, in the selected window and range."""


def window_statistics(name: str, field: str, *columns: str) -> PanelQuery:
    """Return the query for columns of `latest_distances`, such as `p50`, of one field and all events.

    Args:
        columns: columns of the table, each a series.
    """
    numbers = ", ".join(f"max({finite(f'stats.{column}')}) AS {column}" for column in columns)
    return series(
        name,
        f"""
        SELECT $__timeInterval(window_end) AS time, {numbers}
        FROM latest_distances AS stats
        WHERE {ALL_EVENTS} AND field = '{field}'
        GROUP BY time
        ORDER BY time
        """,
        *columns,
        period_s=DISTANCES_S,
    )
