"""The smallest changes that are detected, of the last computation of the selected model and version.

Computations are on the wall clock, about once a day: the range of the page does not apply.
"""

from __future__ import annotations

from barograph_server.warehouse.panels.fragments import MODEL, VERSION
from barograph_server.warehouse.panels.query import table

_SELECTED = f"{MODEL} AND {VERSION}"
# Rows of one computation have the same time.
_LAST = (
    f"{_SELECTED} AND at = (SELECT max(at) FROM detectability WHERE {_SELECTED}) /* no range: the last one counts */"
)

_CHANGE = (
    "transform(change, ['shift', 'moved', 'nulls'], ['shift of the mean', 'move between categories', 'more nulls'])"
)


def _size(size: str) -> str:
    """Format a size in the unit of its field, or in points; empty if no size is detected."""
    shift = f"printf('%.3g (%.2g sd)', {size} * std, {size})"
    return f"multiIf(isInfinite({size}), '', change = 'shift', {shift}, printf('%.2g points', 100 * {size}))"


BLIND_SPOTS = table(
    "detectability.blind_spots",
    f"""
    SELECT
        field,
        text AS "invisible in a day",
        rule,
        {_size("in_hour")} AS "in 1 hour",
        {_size("in_day")} AS "in 1 day",
        {_size("in_week")} AS "in 7 days",
        at AS computed
    FROM detectability
    WHERE {_LAST} AND rule != ''
    ORDER BY rank
    LIMIT 500
    """,
    "field:text | invisible in a day:text | rule:text | in 1 hour:text | in 1 day:text | in 7 days:text | "
    "computed:time",
)

WINDOWS = table(
    "detectability.windows",
    f"""
    SELECT
        field,
        slice,
        {_CHANGE} AS kind,
        window,
        events,
        phi AS "φ",
        {_size("in_hour")} AS "in 1 hour",
        {_size("in_day")} AS "in 1 day",
        {_size("in_week")} AS "in 7 days"
    FROM detectability
    WHERE {_LAST} AND rule = ''
    ORDER BY rank
    LIMIT 500
    """,
    "field:text | slice:text | kind:text | window:text | events | φ | in 1 hour:text | in 1 day:text | in 7 days:text",
)
