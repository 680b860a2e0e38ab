"""Verdicts on distributions: PSI over time with its lines, levels over time, and what the last window showed.

Versions that ran side by side are told apart by the variable `version`. A verdict stands at the end of its window; of
several in one step of a panel the worst is shown.
"""

from __future__ import annotations

from warehouse.panels.fragments import FIELD, MODEL, SLICE, VERSION, WINDOW, known, level_number, level_word
from warehouse.panels.query import PanelQuery, series, table

_RANGE = "$__timeFilter(window_end)"
_MODEL = f"{MODEL} AND {VERSION} AND {SLICE} AND {WINDOW} AND {_RANGE}"
_FIELD = f"{MODEL} AND {VERSION} AND {SLICE} AND {FIELD} AND {WINDOW} AND {_RANGE}"

SHOWN_FIELDS = 20
"""Lines and rows that a panel shows of a model's fields: more cannot be told apart. Tables hold all of them."""

# Those that moved most in the range.
_WORST = f"""
        SELECT field FROM latest_drift AS ranked WHERE {_MODEL} GROUP BY field
        ORDER BY max(if(ranked.level = 'insufficient', -1, ranked.psi)) DESC, field LIMIT {SHOWN_FIELDS}
    """


def _psi_of(name: str, fields: str) -> PanelQuery:
    return series(
        name,
        f"""
        SELECT $__timeInterval(window_end) AS time, field, max(if(given.level = 'insufficient', NULL, given.psi)) AS psi
        FROM latest_drift AS given
        WHERE {_MODEL} AND field IN ({fields})
        GROUP BY time, field
        ORDER BY time, field
        """,
        "field:text",
        "psi",
    )


PSI = _psi_of("drift.psi", _WORST)
OUTPUTS_PSI = _psi_of("drift.outputs_psi", "'score', 'class'")

PSI_LINES = series(
    "drift.psi_lines",
    f"""
    SELECT $__timeInterval(window_end) AS time, min(threshold_minor) AS "minor line", min(threshold_major) AS "major line"
    FROM drift
    WHERE {_MODEL}
    GROUP BY time
    ORDER BY time
    """,
    "minor line",
    "major line",
)

LEVELS = series(
    "drift.levels",
    f"""
    SELECT $__timeInterval(window_end) AS time, field, max({level_number("given.level")}) AS level
    FROM latest_drift AS given
    WHERE {_MODEL} AND field IN ({_WORST})
    GROUP BY time, field
    ORDER BY time, field
    """,
    "field:text",
    "level",
)

# The last verdict of each field in the range: one pass over the table, revisions settled by record_seq.
_LAST = f"""
    SELECT field, argMax((window_end, level, psi, psi_low, psi_high, q_value, n, top_bin, expected_share, actual_share,
        completeness), (window_end, record_seq)) AS last
    FROM drift
    WHERE {_MODEL}
    GROUP BY field
"""

WORST_LEVEL = table(
    "drift.worst_level",
    f"SELECT max({level_number('last.2')}) AS level FROM ({_LAST})",
    "level",
)

# Of little data a PSI is large by chance.
_CLEAREST = "ORDER BY last.2 = 'insufficient', isNaN(last.3), last.3 DESC, field"

WORST_PSI = table(
    "drift.worst_psi",
    f"SELECT {known('last.3')} AS psi, field FROM ({_LAST}) {_CLEAREST} LIMIT 1",
    "psi",
    "field:text",
)

FIELDS = table(
    "drift.fields",
    f"""
    SELECT
        field,
        last.2 AS level,
        {known("last.3")} AS psi,
        {known("last.4")} AS "psi, at least",
        {known("last.5")} AS "psi, at most",
        last.8 AS "what moved most",
        {known("last.9")} AS "its share in training",
        {known("last.10")} AS "its share now",
        {known("last.6")} AS "false alarms among such",
        last.7 AS events,
        {known("last.11")} AS completeness,
        last.1 AS "window end"
    FROM ({_LAST})
    ORDER BY {level_number("last.2")} DESC, last.3 DESC, field
    LIMIT 500
    """,
    "field:text",
    "level:text",
    "psi",
    "psi, at least",
    "psi, at most",
    "what moved most:text",
    "its share in training",
    "its share now",
    "false alarms among such",
    "events",
    "completeness",
    "window end:time",
)

SLICES = table(
    "drift.slices",
    f"""
    SELECT
        slice,
        {level_word("max(number)")} AS level,
        countIf(number = 4) AS "major fields",
        countIf(number = 3) AS "minor fields",
        countIf(number = 2) AS "insufficient fields",
        argMax(field, (number, if(isNaN(psi), -1, psi))) AS "worst field",
        {known("argMax(psi, (number, if(isNaN(psi), -1, psi)))")} AS "its psi"
    FROM
    (
        SELECT slice, field, argMax(({level_number()}, drift.psi), (window_end, record_seq)) AS last,
            last.1 AS number, last.2 AS psi
        FROM drift
        WHERE {MODEL} AND {VERSION} AND {WINDOW} AND {_RANGE}
        GROUP BY slice, field
    )
    GROUP BY slice
    ORDER BY max(number) DESC, "major fields" DESC, "minor fields" DESC, slice
    LIMIT 200
    """,
    "slice:text",
    "level:text",
    "major fields",
    "minor fields",
    "insufficient fields",
    "worst field:text",
    "its psi",
)

FIELD_LEVEL = table(
    "drift.field_level",
    f"SELECT argMax({level_number()}, (window_end, record_seq)) AS level FROM drift WHERE {_FIELD} HAVING count() > 0",
    "level",
)

FIELD_PSI = series(
    "drift.field_psi",
    f"""
    SELECT
        $__timeInterval(window_end) AS time,
        max({known("given.psi")}) AS psi,
        max({known("given.psi_low")}) AS "at least",
        max({known("given.psi_high")}) AS "at most",
        min(given.threshold_minor) AS "minor line",
        min(given.threshold_major) AS "major line"
    FROM latest_drift AS given
    WHERE {_FIELD}
    GROUP BY time
    ORDER BY time
    """,
    "psi",
    "at least",
    "at most",
    "minor line",
    "major line",
)

FIELD_PSI_NOW = table(
    "drift.field_psi_now",
    f"""
    SELECT {known("last.1")} AS psi, {known("last.2")} AS "at least", {known("last.3")} AS "at most"
    FROM
    (
        SELECT argMax((psi, psi_low, psi_high), (window_end, record_seq)) AS last FROM drift WHERE {_FIELD} HAVING count() > 0
    )
    """,
    "psi",
    "at least",
    "at most",
)

FIELD_VERDICTS = table(
    "drift.field_verdicts",
    f"""
    SELECT
        window_end AS "window end",
        level,
        {known("psi")} AS psi,
        {known("psi_low")} AS "psi, at least",
        {known("psi_high")} AS "psi, at most",
        threshold_minor AS "minor line",
        threshold_major AS "major line",
        top_bin AS "what moved most",
        {known("expected_share")} AS "its share in training",
        {known("actual_share")} AS "its share then",
        {known("visible_shift")} AS "smallest visible shift",
        n AS events,
        {known("completeness")} AS completeness,
        if(season = 'none', 'all of training', 'its hours of the week') AS "held against",
        revisions
    FROM latest_drift
    WHERE {_FIELD}
    ORDER BY window_end DESC
    LIMIT 100
    """,
    "window end:time",
    "level:text",
    "psi",
    "psi, at least",
    "psi, at most",
    "minor line",
    "major line",
    "what moved most:text",
    "its share in training",
    "its share then",
    "smallest visible shift",
    "events",
    "completeness",
    "held against:text",
    "revisions",
)

FIELD_SLICES = table(
    "drift.field_slices",
    f"""
    SELECT
        slice,
        {level_word("last.1")} AS level,
        {known("last.2")} AS psi,
        {known("last.3")} AS "psi, at least",
        {known("last.4")} AS "psi, at most",
        last.5 AS "what moved most",
        last.6 AS events,
        last.7 AS "window end"
    FROM
    (
        SELECT
            slice, argMax(({level_number()}, psi, psi_low, psi_high, top_bin, n, window_end), (window_end, record_seq)) AS last
        FROM drift
        WHERE {MODEL} AND {VERSION} AND {FIELD} AND {WINDOW} AND {_RANGE}
        GROUP BY slice
    )
    ORDER BY last.1 DESC, last.2 DESC, slice
    LIMIT 200
    """,
    "slice:text",
    "level:text",
    "psi",
    "psi, at least",
    "psi, at most",
    "what moved most:text",
    "events",
    "window end:time",
)
