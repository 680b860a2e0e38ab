"""Values of the dashboard variables. The first row is the default."""

from __future__ import annotations

from warehouse.panels.fragments import MODEL, SLICE, VERSION, level_number, window_seconds
from warehouse.panels.query import table

MODELS = table(
    "variables.models",
    """
    SELECT DISTINCT model FROM (SELECT model FROM contracts UNION ALL SELECT model FROM progress)
    ORDER BY model
    LIMIT 1000
    /* no range: a model is known as soon as it has a contract */
    """,
    "model:text",
)

# The newest version comes first.
VERSIONS = table(
    "variables.versions",
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
    "variables.slices",
    f"""
    SELECT DISTINCT slice
    FROM volume
    WHERE {MODEL} AND {VERSION} AND $__timeFilter(pane_start)
    ORDER BY slice != 'all', slice
    LIMIT 1000
    """,
    "slice:text",
)

# The worst field of the range comes first.
FIELDS = table(
    "variables.fields",
    f"""
    SELECT field
    FROM latest_drift AS verdict
    WHERE {MODEL} AND {VERSION} AND {SLICE} AND $__timeFilter(window_end)
    GROUP BY field
    ORDER BY max({level_number("verdict.level")}) DESC, max(if(isNaN(verdict.psi), -1, verdict.psi)) DESC, field
    LIMIT 1000
    """,
    "field:text",
)

# The longest window comes first, because it decides when two windows must agree.
WINDOWS = table(
    "variables.windows",
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
