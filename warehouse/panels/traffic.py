"""Traffic, errors and latency of a model."""

from __future__ import annotations

from warehouse.panels.fragments import MODEL, PER_MINUTE, SLICE, VERSION, WINDOW, finite, window_seconds
from warehouse.panels.query import DISTANCES_S, HOUR_S, series, table

_RANGE = "$__timeFilter(pane_start)"
_MODEL = f"{MODEL} AND {SLICE} AND {_RANGE}"
_VERSION = f"{MODEL} AND {VERSION} AND {SLICE} AND {_RANGE}"

# An objective of the current contract under `slo`; NULL if there is none.
_CONTRACT = f"(SELECT argMax(yaml, applied_at) FROM contracts WHERE {MODEL})"


def _promise(key: str) -> str:
    text = rf"extract({_CONTRACT}, '\\b{key}:\\s*([0-9.eE+-]+)')"
    return f"toFloat64OrNull({text})"


REQUESTS = series(
    "traffic.requests",
    f"""
    SELECT $__timeInterval(pane_start) AS time, version, {PER_MINUTE} AS requests
    FROM all_volume AS pane
    WHERE {_MODEL}
    GROUP BY time, version
    ORDER BY time, version
    """,
    "version:text",
    "requests",
    period_s=HOUR_S,
)

REQUESTS_NOW = table(
    "traffic.requests_now",
    f"SELECT sum(pane.n) AS requests FROM all_volume AS pane WHERE {_VERSION}",
    "requests",
)

ERRORS = series(
    "traffic.errors",
    f"""
    SELECT
        $__timeInterval(pane_start) AS time, {finite("sum(pane.errors) / sum(pane.n)")} AS errors,
        {_promise("error_rate")} AS promise
    FROM all_volume AS pane
    WHERE {_VERSION}
    GROUP BY time
    ORDER BY time
    """,
    "errors",
    "promise",
    period_s=HOUR_S,
)

ERRORS_NOW = table(
    "traffic.errors_now",
    f"SELECT {finite('sum(pane.errors) / sum(pane.n)')} AS errors FROM all_volume AS pane WHERE {_VERSION}",
    "errors",
)

ERROR_KINDS = series(
    "traffic.error_kinds",
    f"""
    SELECT $__timeInterval(pane_start) AS time, kind, sum(errors_of_kind.n) AS errors
    FROM errors_by_kind AS errors_of_kind
    WHERE {_VERSION}
    GROUP BY time, kind
    ORDER BY time, kind
    """,
    "kind:text",
    "errors",
    period_s=HOUR_S,
)

SLOW = series(
    "traffic.slow",
    f"""
    SELECT
        $__timeInterval(pane_start) AS time, {finite("sum(pane.slow) / sum(pane.timed)")} AS slow,
        1 - {_promise("latency_share")} AS promise
    FROM all_volume AS pane
    WHERE {_VERSION}
    GROUP BY time
    ORDER BY time
    """,
    "slow",
    "promise",
    period_s=HOUR_S,
)

_LAST_LATENCY = "field = 'latency_ms'"

LATENCY = series(
    "traffic.latency",
    f"""
    SELECT
        $__timeInterval(window_end) AS time,
        max({finite("stats.p50")}) AS p50, max({finite("stats.p95")}) AS p95, max({finite("stats.p99")}) AS p99,
        {_promise("latency_ms")} AS promise
    FROM latest_distances AS stats
    WHERE {MODEL} AND {VERSION} AND slice = 'all' AND {_LAST_LATENCY} AND $__timeFilter(window_end)
        AND window = (
            SELECT argMin(window, {window_seconds()}) FROM distances
            WHERE {MODEL} AND {VERSION} AND {_LAST_LATENCY} AND $__timeFilter(window_end)
        )
    GROUP BY time
    ORDER BY time
    """,
    "p50",
    "p95",
    "p99",
    "promise",
    period_s=DISTANCES_S,
)

SCORE = series(
    "traffic.score",
    f"""
    SELECT
        $__timeInterval(window_end) AS time,
        max({finite("stats.p05")}) AS p05, max({finite("stats.p25")}) AS p25, max({finite("stats.p50")}) AS p50,
        max({finite("stats.p75")}) AS p75, max({finite("stats.p95")}) AS p95
    FROM latest_distances AS stats
    WHERE {MODEL} AND {VERSION} AND slice = 'all' AND field = 'score' AND {WINDOW} AND $__timeFilter(window_end)
    GROUP BY time
    ORDER BY time
    """,
    "p05",
    "p25",
    "p50",
    "p75",
    "p95",
    period_s=DISTANCES_S,
)
