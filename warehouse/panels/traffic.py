"""Traffic, errors and latency of a model."""

from __future__ import annotations

from barograph_server.warehouse.panels.fragments import MODEL, PER_MINUTE, SLICE, VERSION, finite, window_seconds
from barograph_server.warehouse.panels.query import DISTANCES_S, HOUR_S, PanelQuery, series, table, window_statistics

_RANGE = "$__timeFilter(pane_start)"
_MODEL = f"{MODEL} AND {SLICE} AND {_RANGE}"
_VERSION = f"{MODEL} AND {VERSION} AND {SLICE} AND {_RANGE}"

# The current contract, with its objectives under `slo`.
_CONTRACT = f"(SELECT argMax(yaml, applied_at) FROM contracts WHERE {MODEL})"


def _objective(name: str, key: str, minus: str = "") -> PanelQuery:
    """Return the query for an objective at every step of the range; no row if the contract has none."""
    text = rf"extract({_CONTRACT}, '\\b{key}:\\s*([0-9.eE+-]+)')"
    return series(
        f"traffic.{name}",
        f"""
        SELECT $__timeInterval($__fromTime + INTERVAL number * $__interval_s SECOND) AS time, objective AS "SLO"
        FROM numbers(1 + intDiv(dateDiff('second', $__fromTime, $__toTime), $__interval_s)) AS steps
        CROSS JOIN (SELECT {minus}toFloat64OrNull({text}) AS objective) AS contract
        WHERE objective IS NOT NULL
        ORDER BY time
        """,
        "SLO",
        period_s=HOUR_S,
    )


REQUESTS = series(
    "traffic.requests",
    f"""
    SELECT $__timeInterval(pane_start) AS time, version, {PER_MINUTE} AS requests
    FROM all_volume AS pane
    WHERE {_MODEL}
    GROUP BY time, version
    ORDER BY time, version
    """,
    "version:text | requests",
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
        $__timeInterval(pane_start) AS time, version, {finite("sum(pane.errors) / sum(pane.n)")} AS errors
    FROM all_volume AS pane
    WHERE {_MODEL}
    GROUP BY time, version
    ORDER BY time, version
    """,
    "version:text | errors",
    period_s=HOUR_S,
)
ERRORS_SLO = _objective("errors_slo", "error_rate")

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
    "kind:text | errors",
    period_s=HOUR_S,
)

SLOW = series(
    "traffic.slow",
    f"""
    SELECT
        $__timeInterval(pane_start) AS time, version, {finite("sum(pane.slow) / sum(pane.timed)")} AS slow
    FROM all_volume AS pane
    WHERE {_MODEL}
    GROUP BY time, version
    ORDER BY time, version
    """,
    "version:text | slow",
    period_s=HOUR_S,
)
SLOW_SLO = _objective("slow_slo", "latency_share", "1 - ")

_LAST_LATENCY = "field = 'latency_ms'"

LATENCY = series(
    "traffic.latency",
    f"""
    SELECT
        $__timeInterval(window_end) AS time,
        max({finite("stats.p50")}) AS p50, max({finite("stats.p95")}) AS p95, max({finite("stats.p99")}) AS p99
    FROM latest_distances AS stats
    WHERE {MODEL} AND {VERSION} AND slice = 'all' AND {_LAST_LATENCY} AND $__timeFilter(window_end)
        AND window = (
            SELECT argMin(window, {window_seconds()}) FROM distances
            WHERE {MODEL} AND {VERSION} AND {_LAST_LATENCY} AND $__timeFilter(window_end)
        )
    GROUP BY time
    ORDER BY time
    """,
    "p50 | p95 | p99",
    period_s=DISTANCES_S,
)
LATENCY_SLO = _objective("latency_slo", "latency_ms")

SCORE = window_statistics("traffic.score", "score", "p05", "p25", "p50", "p75", "p95")
