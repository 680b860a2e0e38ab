"""What labels show of a model, what its scores lead one to expect before labels come, and how labels come."""

from __future__ import annotations

from warehouse.panels.fragments import MODEL, SLICE, VERSION, known, window_seconds
from warehouse.panels.query import HOUR_S, series, table

_RANGE = "$__timeFilter(window_end)"
_VERSION = f"{MODEL} AND {VERSION} AND {SLICE} AND {_RANGE}"

# Performance has windows that do not overlap, of lengths of its own: the day where there is one, else the shortest.
_WINDOW = f"""window = (
        SELECT argMin(window, (window != '1d', {window_seconds()}))
        FROM performance WHERE {_VERSION}
    )"""

PERFORMANCE = series(
    "performance.measured",
    f"""
    SELECT
        $__timeInterval(window_end) AS time, metric AS measured,
        min(if(isFinite(given.value) AND given.level != 'insufficient', given.value, NULL)) AS value
    FROM latest_performance AS given
    WHERE {_VERSION} AND class = '' AND {_WINDOW}
    GROUP BY time, measured
    ORDER BY time, measured
    """,
    "measured:text",
    "value",
)

PROMISES = series(
    "performance.promises",
    f"""
    SELECT $__timeInterval(window_end) AS time, concat(metric, ' promised') AS measured, max(given.promise) AS promise
    FROM latest_performance AS given
    WHERE {_VERSION} AND class = '' AND {_WINDOW} AND isFinite(given.promise)
    GROUP BY time, measured
    ORDER BY time, measured
    """,
    "measured:text",
    "promise",
)

METRICS = table(
    "performance.metrics",
    f"""
    SELECT
        if(class = '', metric, concat(metric, ' of ', class)) AS measured, level, {known("value")} AS value,
        {known("low")} AS "at least", {known("high")} AS "at most", {known("promise")} AS promise,
        {known("reference")} AS "at first", {known("difference")} AS difference, n AS labelled,
        {known("coverage")} AS coverage, {known("maturity")} AS maturity,
        if(mature, 'mature', 'labels still come') AS labels,
        if(selective, 'labels come for some scores only', '') AS warning, window_end AS "window end"
    FROM latest_performance
    WHERE {_VERSION} AND {_WINDOW}
    ORDER BY window_end DESC, class, metric
    LIMIT 100
    """,
    "measured:text",
    "level:text",
    "value",
    "at least",
    "at most",
    "promise",
    "at first",
    "difference",
    "labelled",
    "coverage",
    "maturity",
    "labels:text",
    "warning:text",
    "window end:time",
)

CBPE = series(
    "performance.cbpe",
    f"""
    SELECT
        $__timeInterval(window_end) AS time, metric AS measured,
        max({known("given.cbpe")}) AS expected,
        max(if(given.mature AND given.level != 'insufficient', {known("given.value")}, NULL)) AS shown
    FROM latest_performance AS given
    WHERE {_VERSION} AND class = '' AND {_WINDOW} AND isFinite(given.cbpe)
    GROUP BY time, measured
    ORDER BY time, measured
    """,
    "measured:text",
    "expected",
    "shown",
)

CALIBRATION = table(
    "performance.calibration",
    f"""
    SELECT
        concat(leftPad(toString(tenth * 10), 2, '0'), '–', toString(tenth * 10 + 10), ' %') AS scores,
        {known("sum(every.score_sum) / sum(every.n)")} AS "mean score",
        {known("sum(every.positives) / sum(every.n)")} AS "share that came true"
    FROM calibration_curve AS every
    WHERE {MODEL} AND {VERSION} AND {SLICE} AND $__timeFilter(window_start)
    GROUP BY least(9, toInt32(floor(every.score * 10))) AS tenth
    ORDER BY tenth
    LIMIT 10
    """,
    "scores:text",
    "mean score",
    "share that came true",
    grain_s=HOUR_S,
)

_COUNTS = f"FROM label_counts AS counted WHERE {MODEL} AND {VERSION} AND $__timeFilter(hour)"

LABEL_COVERAGE = series(
    "performance.label_coverage",
    f"""
    SELECT
        $__timeInterval(hour) AS time,
        {known("sumIf(counted.n, kind = 'labelled') / sumIf(counted.n, kind = 'predictions')")} AS labelled
    {_COUNTS}
    GROUP BY time
    ORDER BY time
    """,
    "labelled",
    grain_s=HOUR_S,
)

LABEL_COUNTS = table(
    "performance.label_counts",
    f"""
    SELECT kind, sum(counted.n) AS n
    {_COUNTS} AND kind NOT IN ('predictions', 'labelled')
    GROUP BY kind
    HAVING n > 0
    ORDER BY n DESC, kind
    LIMIT 20
    """,
    "kind:text",
    "n",
    grain_s=HOUR_S,
)

# A curve over ages, not over time: learned once a day, whatever the range.
LABEL_MATURITY = table(
    "performance.label_maturity",
    f"""
    SELECT
        multiIf(age_s < 3600, concat(toString(toUInt32(round(age_s / 60))), ' min'),
            age_s < 172800, concat(toString(toUInt32(round(age_s / 3600))), ' h'),
            concat(toString(toUInt32(round(age_s / 86400))), ' d')) AS age,
        max(share) AS "share of labels"
    FROM label_maturity
    WHERE {MODEL} AND learned_at <= $__toTime_ms
    GROUP BY age
    ORDER BY min(age_s)
    LIMIT 60
    """,
    "age:text",
    "share of labels",
    grain_s=HOUR_S,
)
