"""Age and completeness of a model's newest verdicts: whether a page's content is reliable."""

from __future__ import annotations

from barograph_server.warehouse.panels.fragments import MODEL, SLICE, VERSION, WINDOW, finite
from barograph_server.warehouse.panels.query import table

# The age is relative to the end of the range, so that a page of last week shows its state at that time.
SEALED_AGE = table(
    "freshness.sealed_age",
    f"""
    SELECT greatest(0, dateDiff('second', max(pane_start + pane_s), least($__toTime, now('UTC')))) AS age
    FROM volume
    WHERE {MODEL} AND slice = 'all' AND sealed AND pane_start <= $__toTime
    HAVING count() > 0
    """,
    "age",
)

COMPLETENESS = table(
    "freshness.completeness",
    f"""
    SELECT {finite("min(last)")} AS completeness
    FROM
    (
        SELECT argMax(completeness, (window_end, record_seq)) AS last
        FROM rates
        WHERE {MODEL} AND {VERSION} AND {SLICE} AND {WINDOW} AND kind = 'error' AND $__timeFilter(window_end)
        GROUP BY baseline_id
    )
    HAVING count() > 0
    """,
    "completeness",
)
