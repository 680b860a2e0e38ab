"""Statistics of one numeric field in the selected window, over time."""

from __future__ import annotations

from warehouse.panels.fragments import MODEL, VERSION, WINDOW, finite
from warehouse.panels.query import DISTANCES_S, PanelQuery, series


def window_statistics(name: str, field: str, *columns: str) -> PanelQuery:
    """Return the query for columns of `latest_distances`, such as `p50`, of one field and all events.

    Args:
        name: name of the query.
        field: the field.
        columns: columns of the table, each a series.
    """
    numbers = ", ".join(f"max({finite(f'stats.{column}')}) AS {column}" for column in columns)
    return series(
        name,
        f"""
        SELECT $__timeInterval(window_end) AS time, {numbers}
        FROM latest_distances AS stats
        WHERE {MODEL} AND {VERSION} AND slice = 'all' AND field = '{field}' AND {WINDOW} AND $__timeFilter(window_end)
        GROUP BY time
        ORDER BY time
        """,
        *columns,
        period_s=DISTANCES_S,
    )
