"""Changes of the selected model, and the changes before its verdicts that became major."""

from __future__ import annotations

from barograph_server.warehouse.panels.fragments import MODEL
from barograph_server.warehouse.panels.query import table

_CHANGE = "trimBoth(concat(subject, ' ', before, if(before = '' OR after = '', '', ' → '), after))"

CAUSES = table(
    "changes.causes",
    f"""
    SELECT
        window_end AS time,
        field,
        concat(signal, ' ', window) AS verdict,
        if(toUnixTimestamp(onset) = 0, 'not in the window', concat(
            formatDateTime(onset_low, '%m-%d %H:%i'), ' to ', formatDateTime(onset_high, '%m-%d %H:%i')
        )) AS "moved (UTC, 95 %)",
        if(kind = '', 'no change recorded', concat(kind, ' ', {_CHANGE})) AS change,
        if(kind = '', '', formatDateTime(changed_at, '%m-%d %H:%i')) AS "changed (UTC)",
        likelihood,
        if(kind = '', '', concat(relation, ', ', timing)) AS evidence,
        owner
    FROM likely_causes
    WHERE {MODEL} AND rank <= 3 AND $__timeFilter(window_end)
    ORDER BY time DESC, field, verdict, rank
    LIMIT 300
    """,
    "time:time | field:text | verdict:text | moved (UTC, 95 %):text | change:text | changed (UTC):text | "
    "likelihood:text | evidence:text | owner:text",
)

CHANGES = table(
    "changes.all",
    f"""
    SELECT
        changed_at AS time,
        if(model = '', 'any', model) AS model,
        kind,
        {_CHANGE} AS change,
        source,
        if(owner = '', changed_by, owner) AS owner,
        reason
    FROM
    (
        SELECT changed_at, model, kind, subject, before, after, source, owner, changed_by, reason
        FROM all_changes
        WHERE ({MODEL} OR model = '') AND $__timeFilter(changed_at)
    )
    ORDER BY time DESC
    LIMIT 300
    """,
    "time:time | model:text | kind:text | change:text | source:text | owner:text | reason:text",
)
