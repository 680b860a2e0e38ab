"""What a field held: the last judged window against training, its cells over time, quantiles and other distances."""

from __future__ import annotations

from warehouse.panels.cells import cells_of
from warehouse.panels.fragments import FIELD, MODEL, SLICE, VERSION, WINDOW, known
from warehouse.panels.query import HOUR_S, series, table

_RANGE = "$__timeFilter(window_end)"
_FIELD = f"{MODEL} AND {VERSION} AND {SLICE} AND {FIELD}"
_VERDICTS = f"FROM drift WHERE {_FIELD} AND {WINDOW} AND {_RANGE}"
_CHOSEN_FIELD = "decodeURLComponent('${field:percentencode}')"
_CHOSEN_SLICE = "decodeURLComponent('${slice:percentencode}')"
_CELLS = cells_of(_CHOSEN_FIELD, _CHOSEN_SLICE)

SHOWN_CELLS = 60
"""Bars that can be told apart; numbers have at most some twenty."""

DISTRIBUTION = table(
    "distribution.now",
    f"""
    WITH (SELECT argMax((baseline_id, window_start, window_end), (window_end, record_seq)) {_VERDICTS}) AS last
    SELECT name AS cell, sum(share) AS training, {known("sum(n) / any(whole)")} AS now
    FROM
    (
        SELECT known.names AS names, known.expected AS expected, held.counts AS counts, arraySum(counts) AS whole
        FROM
        (
            SELECT baseline_id, sumForEach(pane.counts) AS counts
            FROM all_panes AS pane
            WHERE {_FIELD} AND baseline_id = last.1 AND pane_start >= last.2 AND pane_start < last.3
            GROUP BY baseline_id
        ) AS held
        INNER JOIN ({_CELLS}) AS known ON held.baseline_id = known.baseline_id
    )
    ARRAY JOIN names AS name, expected AS share, counts AS n, arrayEnumerate(counts) AS place
    GROUP BY name
    ORDER BY min(place)
    LIMIT {SHOWN_CELLS}
    """,
    "cell:text",
    "training",
    "now",
)

HEATMAP = series(
    "distribution.heatmap",
    f"""
    SELECT
        time, concat(leftPad(toString(place), 3, '0'), ' ', name) AS cell,
        {known("n / sum(n) OVER (PARTITION BY time)")} AS share
    FROM
    (
        SELECT $__timeInterval(pane_start) AS time, indexOf(names, name) AS place, name, sum(count) AS n
        FROM hours AS hour
        INNER JOIN ({_CELLS}) AS known ON hour.baseline_id = known.baseline_id
        ARRAY JOIN names AS name, counts AS count
        WHERE {_FIELD} AND $__timeFilter(pane_start) AND length(names) = length(counts)
            AND hour.baseline_id = (SELECT argMax(baseline_id, (window_end, record_seq)) {_VERDICTS})
        GROUP BY time, place, name
    )
    ORDER BY time, place
    """,
    "cell:text",
    "share",
    grain_s=HOUR_S,
)

_DISTANCES = f"""
    FROM latest_distances AS given
    WHERE {MODEL} AND {VERSION} AND slice = 'all' AND {FIELD} AND {WINDOW} AND {_RANGE}
    GROUP BY time
    ORDER BY time
"""

QUANTILES = series(
    "distribution.quantiles",
    f"""
    SELECT
        $__timeInterval(window_end) AS time,
        max({known("given.p05")}) AS p05, max({known("given.p25")}) AS p25, max({known("given.p50")}) AS p50,
        max({known("given.p75")}) AS p75, max({known("given.p95")}) AS p95, max({known("given.mean")}) AS mean
    {_DISTANCES}
    """,
    "p05",
    "p25",
    "p50",
    "p75",
    "p95",
    "mean",
)

DISTANCES = series(
    "distribution.distances",
    f"""
    SELECT
        $__timeInterval(window_end) AS time,
        max({known("given.ks")}) AS ks, max({known("given.ks_threshold")}) AS "ks threshold",
        max({known("given.w1")}) AS w1, max({known("given.mean_shift")}) AS "mean shift",
        max({known("given.std_ratio")}) AS "std ratio"
    {_DISTANCES}
    """,
    "ks",
    "ks threshold",
    "w1",
    "mean shift",
    "std ratio",
)

CLASS_SHARES = series(
    "distribution.class_shares",
    f"""
    SELECT time, name AS class, {known("n / sum(n) OVER (PARTITION BY time)")} AS share
    FROM
    (
        SELECT $__timeInterval(pane_start) AS time, name, sum(count) AS n
        FROM hours AS hour
        INNER JOIN ({cells_of("'class'", _CHOSEN_SLICE)}) AS known ON hour.baseline_id = known.baseline_id
        ARRAY JOIN names AS name, counts AS count
        WHERE {MODEL} AND {VERSION} AND {SLICE} AND field = 'class' AND $__timeFilter(pane_start)
            AND length(names) = length(counts)
        GROUP BY time, name
    )
    ORDER BY time, class
    """,
    "class:text",
    "share",
    grain_s=HOUR_S,
)
