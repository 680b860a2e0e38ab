"""Verdicts on rates: nulls, invalid, out-of-range and unseen values, compared with the baseline."""

from __future__ import annotations

from barograph_server.sketches.drift.rates import RATE_KIND_NAMES
from barograph_server.warehouse.panels.drift import SHOWN_LINES
from barograph_server.warehouse.panels.fragments import FIELD, MODEL, SLICE, VERSION, WINDOW, finite
from barograph_server.warehouse.panels.query import PanelQuery, series, table
from barograph_server.warehouse.signals.literals import literals

_RANGE = "$__timeFilter(window_end)"
_MODEL = f"{MODEL} AND {VERSION} AND {SLICE} AND {WINDOW} AND {_RANGE}"
_FIELD = f"{_MODEL} AND {FIELD}"

RATES = series(
    "rates.rates",
    f"""
    SELECT $__timeInterval(window_end) AS time, concat(field, ': ', kind) AS rate,
        max({finite("verdict.delta")}) AS delta
    FROM latest_rates AS verdict
    WHERE {_MODEL} AND field != '' AND (field, kind) IN (
        SELECT field, kind FROM rates WHERE {_MODEL} AND field != '' GROUP BY field, kind
        ORDER BY max(abs(if(isNaN(rates.delta), 0, rates.delta))) DESC, field, kind LIMIT {SHOWN_LINES}
    )
    GROUP BY time, rate
    ORDER BY time, rate
    """,
    "rate:text | delta",
)


def _thresholds(name: str, condition: str) -> PanelQuery:
    return series(
        f"rates.{name}",
        f"""
        SELECT $__timeInterval(window_end) AS time, min(threshold_minor) AS "minor threshold",
            min(threshold_major) AS "major threshold"
        FROM rates
        WHERE {condition}
        GROUP BY time
        ORDER BY time
        """,
        "minor threshold | major threshold",
    )


RATE_THRESHOLDS = _thresholds("thresholds", _MODEL)

VIOLATIONS = table(
    "rates.violations",
    f"""
    SELECT
        field, kind, sum(violation.n) AS values, sum(violation.n) / sum(violation.total) AS "share in affected panes",
        max(pane_end) AS "last seen", argMax(violation.policy, pane_end) AS policy
    FROM all_violations AS violation
    WHERE {MODEL} AND {VERSION} AND $__timeFilter(pane_start)
    GROUP BY field, kind
    ORDER BY values DESC, field, kind
    LIMIT 200
    """,
    "field:text | kind:text | values | share in affected panes | last seen:time | policy:text",
)


NULLS = series(
    "rates.nulls",
    f"""
    SELECT
        $__timeInterval(window_end) AS time,
        max({finite("verdict.rate")}) AS rate,
        max({finite("verdict.baseline_rate")}) AS baseline,
        max({finite("verdict.baseline_rate + verdict.threshold_minor")}) AS "minor threshold",
        max({finite("verdict.baseline_rate + verdict.threshold_major")}) AS "major threshold"
    FROM latest_rates AS verdict
    WHERE {_FIELD} AND kind = 'null'
    GROUP BY time
    ORDER BY time
    """,
    "rate | baseline | minor threshold | major threshold",
)

# Which of these a field can have depends on its type: unseen values are of categories, the range is of numbers. Each
# has a rate of its own in the baseline, so that one threshold holds only for the changes.
_OUTSIDE = f"{_FIELD} AND kind IN {literals(kind for kind in RATE_KIND_NAMES if kind != 'null')}"

OUTSIDE = series(
    "rates.outside",
    f"""
    SELECT $__timeInterval(window_end) AS time, kind, max({finite("verdict.delta")}) AS delta
    FROM latest_rates AS verdict
    WHERE {_OUTSIDE}
    GROUP BY time, kind
    ORDER BY time, kind
    """,
    "kind:text | delta",
)
OUTSIDE_THRESHOLDS = _thresholds("outside_thresholds", _OUTSIDE)


def _now(name: str, kinds: tuple[str, ...]) -> PanelQuery:
    return table(
        f"rates.{name}_now",
        f"""
        SELECT {finite("max(last.1)")} AS rate, {finite("argMax(last.2, last.1)")} AS baseline
        FROM
        (
            SELECT kind, argMax((rate, baseline_rate), (window_end, record_seq)) AS last
            FROM rates WHERE {_FIELD} AND kind IN {literals(kinds)} GROUP BY kind
        )
        HAVING count() > 0
        """,
        "rate | baseline",
    )


NULLS_NOW = _now("nulls", ("null",))
UNSEEN_NOW = _now("unseen", ("unseen",))
RANGE_NOW = _now("range", tuple(kind for kind in RATE_KIND_NAMES if kind not in ("null", "unseen")))

CATEGORIES = table(
    "rates.categories",
    f"""
    SELECT
        category, max(value.first_seen) AS "first seen", max(value.last_seen) AS "last seen",
        sum(value.n) AS "at least", sum(value.n_high) AS "at most"
    FROM unseen_categories AS value
    WHERE {MODEL} AND {FIELD} AND first_seen <= $__toTime AND last_seen >= $__fromTime
    GROUP BY category
    ORDER BY "at least" DESC, category
    LIMIT 100
    """,
    "category:text | first seen:time | last seen:time | at least | at most",
    grain_s=3600,
)
