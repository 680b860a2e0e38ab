"""Values of the dashboard variables. The first row is the default."""

from __future__ import annotations

from barograph_server.warehouse.drill_models import NO_DRILLS
from barograph_server.warehouse.panels.fragments import (
    MODEL,
    SLICE,
    VERSION,
    in_range_or_last,
    level_number,
    window_seconds,
)
from barograph_server.warehouse.panels.query import table

MODELS = table(
    "variables.models",
    f"""
    SELECT DISTINCT model FROM (SELECT model FROM contracts UNION ALL SELECT model FROM progress)
    WHERE {NO_DRILLS}
    ORDER BY model
    LIMIT 1000
    /* no range: a model is known as soon as it has a contract */
    """,
    "model:text",
)

_WITH_TRAFFIC = f"{MODEL} AND slice = 'all' AND n > 0"

# The newest version comes first.
VERSIONS = table(
    "variables.versions",
    f"""
    SELECT version
    FROM volume
    WHERE {_WITH_TRAFFIC} AND {in_range_or_last("volume", "pane_start", _WITH_TRAFFIC)}
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
    WHERE {MODEL} AND {VERSION} AND {in_range_or_last("volume", "pane_start", f"{MODEL} AND {VERSION}")}
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
    WHERE {MODEL} AND {VERSION} AND {SLICE}
        AND {in_range_or_last("drift", "window_end", f"{MODEL} AND {VERSION} AND {SLICE}")}
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
    WHERE {MODEL} AND {in_range_or_last("drift", "window_end", MODEL)}
    GROUP BY window
    ORDER BY {window_seconds()} DESC
    LIMIT 20
    """,
    "window:text",
)
