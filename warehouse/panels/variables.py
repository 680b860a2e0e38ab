"""What can be chosen on a page. The first row is what is chosen where a link names nothing."""

from __future__ import annotations

from warehouse.panels.fragments import MODEL, SLICE, VERSION, level_number, window_seconds
from warehouse.panels.query import table

MODELS = table(
    "choices.models",
    """
    SELECT DISTINCT model FROM (SELECT model FROM contracts UNION ALL SELECT model FROM progress)
    ORDER BY model
    LIMIT 1000
    /* no range: a model is known from its contract on */
    """,
    "model:text",
)

# The one that began last comes first.
VERSIONS = table(
    "choices.versions",
    f"""
    SELECT version
    FROM volume
    WHERE {MODEL} AND slice = 'all' AND n > 0 AND $__timeFilter(pane_start)
    GROUP BY version
    ORDER BY max(pane_start) DESC, min(pane_start) DESC, version DESC
    LIMIT 100
    """,
    "version:text",
)

SLICES = table(
    "choices.slices",
    f"""
    SELECT DISTINCT slice
    FROM volume
    WHERE {MODEL} AND {VERSION} AND $__timeFilter(pane_start)
    ORDER BY slice != 'all', slice
    LIMIT 1000
    """,
    "slice:text",
)

# The worst of the range comes first.
FIELDS = table(
    "choices.fields",
    f"""
    SELECT field
    FROM latest_drift AS given
    WHERE {MODEL} AND {VERSION} AND {SLICE} AND $__timeFilter(window_end)
    GROUP BY field
    ORDER BY max({level_number("given.level")}) DESC, max(if(isNaN(given.psi), -1, given.psi)) DESC, field
    LIMIT 1000
    """,
    "field:text",
)

# The longest comes first: it is the one that decides where two must agree.
WINDOWS = table(
    "choices.windows",
    f"""
    SELECT window
    FROM drift
    WHERE {MODEL} AND $__timeFilter(window_end)
    GROUP BY window
    ORDER BY {window_seconds()} DESC
    LIMIT 20
    """,
    "window:text",
)
