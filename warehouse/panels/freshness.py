"""How old the newest verdicts of a model are and how complete: whether what a page shows can be relied on."""

from __future__ import annotations

from warehouse.panels.fragments import MODEL, SLICE, VERSION, WINDOW, known
from warehouse.panels.query import table

# Up to the end of the range, so that a page of last week says how it was at its end, not how old last week is now.
SEALED_AGE = table(
    "freshness.sealed_age",
    f"""
    SELECT greatest(0, dateDiff('second', max(pane_start + pane_s), least($__toTime, now('UTC')))) AS age
    FROM volume
    WHERE {MODEL} AND slice = 'all' AND sealed AND $__timeFilter(pane_start)
    HAVING count() > 0
    """,
    "age",
)

COMPLETENESS = table(
    "freshness.completeness",
    f"""
    SELECT {known("min(last)")} AS completeness
    FROM
    (
        SELECT argMax(completeness, (window_end, record_seq)) AS last
        FROM rates
        WHERE {MODEL} AND {VERSION} AND {SLICE} AND {WINDOW} AND kind = 'error' AND $__timeFilter(window_end)
        GROUP BY baseline_id
    )
    """,
    "completeness",
)
