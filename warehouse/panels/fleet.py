"""All models at a glance. What is judged is the slice `all`, over every version that has verdicts.

What holds at the end of the range is read from its last day: a verdict that is older says nothing of now.
"""

from __future__ import annotations

from warehouse.panels.fragments import PER_MINUTE, known, level_number, level_word, window_seconds
from warehouse.panels.query import PanelQuery, series, table

_LAST_DAY = "window_end > $__toTime - INTERVAL 1 DAY AND window_end <= $__toTime"
_TRAFFIC = "slice = 'all' AND $__timeFilter(pane_start)"

# When the last window of each length ended, read from the one rate that every window has once.
_ENDS = f"""
    SELECT model, version, window, max(window_end) AS last_end
    FROM rates
    WHERE slice = 'all' AND field = 'events' AND kind = 'error' AND {_LAST_DAY}
    GROUP BY model, version, window
"""
# Of a day of verdicts on all fields of all models one hour's is wanted; the first condition is the quick one.
_LAST_WINDOWS = f"""{_LAST_DAY} AND window_end IN (SELECT last_end FROM ({_ENDS}))
    AND (model, version, window, window_end) IN ({_ENDS})"""


def _by_model(psi: str = "nan") -> str:
    """Select per model `number`, that of its worst level, and `worst`: the field that has it, and its PSI.

    A field's level is that of its last verdict in the longest window, which holds until a shorter one disagrees. PSI is
    read only where it is wanted, because the table has a row per field and hour of all models; else it is -1.
    """
    return f"""
    SELECT model, max(last.1) AS number, argMax((field, last.2), last) AS worst
    FROM
    (
        SELECT model, version, field, argMax(held, {window_seconds()}) AS last
        FROM
        (
            SELECT
                model, version, field, window,
                argMax(({level_number()}, ifNotFinite({psi}, -1)), record_seq) AS held
            FROM drift
            WHERE slice = 'all' AND {_LAST_WINDOWS}
            GROUP BY model, version, field, window
        )
        GROUP BY model, version, field
    )
    GROUP BY model
    """


_KNOWN_MODELS = "SELECT DISTINCT model FROM contracts UNION DISTINCT SELECT DISTINCT model FROM progress"

# Silent is a model that is not asked for an hour, and for longer than it was within the range.
_TRAFFIC_OF = f"""
    SELECT
        model, sum(pane.n) AS asked, sum(pane.errors) AS failed, sum(pane.timed) AS timed, sum(pane.slow) AS slow,
        arraySort(groupUniqArrayIf(toInt64(toUnixTimestamp(pane_start)), pane.n > 0)) AS busy,
        if(length(busy) > 1, arrayMax(arrayPopFront(arrayDifference(busy))), 0) AS usual_gap_s,
        toInt64(toUnixTimestamp(least($__toTime, now('UTC')))) - busy[-1] - any(pane.pane_s) AS silent_s,
        if(empty(busy) OR silent_s > greatest(usual_gap_s, 3600), 'silent', 'active') AS state
    FROM all_volume AS pane
    WHERE {_TRAFFIC}
    GROUP BY model
"""


def _count_of(name: str, number: int) -> str:
    return f"SELECT countIf(number = {number}) AS {name} FROM ({_by_model()})"


MODELS = table(
    "fleet.models",
    f"SELECT count() AS models FROM ({_KNOWN_MODELS}) /* no range: a model is known from its contract on */",
    "models",
)
IN_BREACH = table("fleet.in_breach", _count_of("breach", 4), "breach")
INSUFFICIENT = table("fleet.insufficient", _count_of("insufficient", 2), "insufficient")

SILENT = table(
    "fleet.silent",
    f"""
    SELECT countIf(traffic.state != 'active') AS silent
    FROM ({_KNOWN_MODELS}) AS known
    LEFT JOIN ({_TRAFFIC_OF}) AS traffic ON known.model = traffic.model
    """,
    "silent",
)

WORST_PSI = table(
    "fleet.worst_psi",
    f"""
    SELECT nullIf(worst.2, -1) AS psi, concat(model, ': ', worst.1) AS what
    FROM ({_by_model("drift.psi")})
    ORDER BY worst.2 DESC, model
    LIMIT 1
    """,
    "psi",
    "what:text",
)

LEVELS_NOW = table(
    "fleet.levels_now",
    f"""
    SELECT
        known.model AS model,
        {level_word("drift.number")} AS drift,
        {level_word("changed.number")} AS rates,
        {level_word("measured.number")} AS performance,
        if(traffic.state = '', 'silent', traffic.state) AS traffic,
        drift.worst.1 AS "worst field",
        if(drift.number = 0, NULL, nullIf(drift.worst.2, -1)) AS "its psi",
        traffic.asked AS requests,
        {known("traffic.failed / traffic.asked")} AS errors,
        {known("traffic.slow / traffic.timed")} AS slow,
        if(read.model = '', NULL, read.completeness) AS completeness,
        if(empty(traffic.busy), NULL, greatest(0, traffic.silent_s)) AS "last request"
    FROM ({_KNOWN_MODELS}) AS known
    LEFT JOIN ({_by_model("drift.psi")}) AS drift ON known.model = drift.model
    LEFT JOIN
    (
        SELECT model, min(last) AS completeness
        FROM
        (
            SELECT model, version, window, argMax(completeness, (window_end, record_seq)) AS last
            FROM rates
            WHERE slice = 'all' AND field = 'events' AND kind = 'error' AND {_LAST_DAY}
            GROUP BY model, version, window
        )
        GROUP BY model
    ) AS read ON known.model = read.model
    LEFT JOIN
    (
        SELECT model, max(number) AS number
        FROM
        (
            SELECT model, version, field, kind, window, argMax({level_number()}, record_seq) AS number
            FROM rates
            WHERE slice = 'all' AND {_LAST_WINDOWS}
            GROUP BY model, version, field, kind, window
        )
        GROUP BY model
    ) AS changed ON known.model = changed.model
    LEFT JOIN
    (
        SELECT model, max(number) AS number
        FROM
        (
            SELECT model, version, metric, argMax({level_number()}, (window_end, revision)) AS number
            FROM performance
            WHERE slice = 'all' AND class = '' AND window = '1d' AND $__timeFilter(window_end)
            GROUP BY model, version, metric
        )
        GROUP BY model
    ) AS measured ON known.model = measured.model
    LEFT JOIN ({_TRAFFIC_OF}) AS traffic ON known.model = traffic.model
    ORDER BY greatest(drift.number, changed.number, measured.number) DESC, "its psi" DESC, model
    LIMIT 500
    """,
    "model:text",
    "drift:text",
    "rates:text",
    "performance:text",
    "traffic:text",
    "worst field:text",
    "its psi",
    "requests",
    "errors",
    "slow",
    "completeness",
    "last request",
)

# Steps in which only shorter windows end would jump between what these and what the longest say.
_OF_LONGEST = f"""slice = 'all' AND $__timeFilter(window_end) AND (model, window) IN
    (
        SELECT model, argMax(window, {window_seconds()})
        FROM drift_levels
        WHERE slice = 'all' AND $__timeFilter(window_end)
        GROUP BY model
    )"""

LEVELS = series(
    "fleet.levels",
    f"""
    SELECT $__timeInterval(window_end) AS time, model, max({level_number("given.level")}) AS level
    FROM drift_levels AS given
    WHERE {_OF_LONGEST}
    GROUP BY time, model
    ORDER BY time, model
    """,
    "model:text",
    "level",
)

WORST_PSI_OVER_TIME = series(
    "fleet.worst_psi_over_time",
    f"""
    SELECT $__timeInterval(window_end) AS time, model, max({known("given.worst_psi")}) AS psi
    FROM drift_levels AS given
    WHERE {_OF_LONGEST} AND level != 'insufficient'
    GROUP BY time, model
    ORDER BY time, model
    """,
    "model:text",
    "psi",
)


def _traffic(name: str, number: str, column: str) -> PanelQuery:
    return series(
        f"fleet.{name}",
        f"""
        SELECT $__timeInterval(pane_start) AS time, model, {number} AS {column}
        FROM all_volume AS pane
        WHERE {_TRAFFIC}
        GROUP BY time, model
        ORDER BY time, model
        """,
        "model:text",
        column,
    )


REQUESTS = _traffic("requests", PER_MINUTE, "requests")
ERRORS = _traffic("errors", known("sum(pane.errors) / sum(pane.n)"), "errors")
SLOW = _traffic("slow", known("sum(pane.slow) / sum(pane.timed)"), "slow")

PERFORMANCE = table(
    "fleet.performance",
    f"""
    SELECT
        model, version, metric, level, {known("value")} AS value,
        {known("low")} AS "at least", {known("high")} AS "at most",
        {known("promise")} AS promise, n AS labelled, if(mature, 'mature', 'labels still come') AS labels,
        window_end AS "day's end"
    FROM
    (
        SELECT model, version, metric, level, value, low, high, promise, n, mature, window_end
        FROM latest_performance
        WHERE slice = 'all' AND class = '' AND window = '1d' AND $__timeFilter(window_end)
        ORDER BY window_end DESC
        LIMIT 1 BY model, version, metric
    )
    ORDER BY {level_number()} DESC, model, version, metric
    LIMIT 200
    """,
    "model:text",
    "version:text",
    "metric:text",
    "level:text",
    "value",
    "at least",
    "at most",
    "promise",
    "labelled",
    "labels:text",
    "day's end:time",
)
