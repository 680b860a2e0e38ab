"""Verdicts on rates: nulls, invalid, outlying and unseen values, each held against training."""

from __future__ import annotations

from warehouse.panels.drift import SHOWN_FIELDS
from warehouse.panels.fragments import FIELD, MODEL, SLICE, VERSION, WINDOW, known
from warehouse.panels.query import PanelQuery, series, table

_RANGE = "$__timeFilter(window_end)"
_MODEL = f"{MODEL} AND {VERSION} AND {SLICE} AND {WINDOW} AND {_RANGE}"
_FIELD = f"{_MODEL} AND {FIELD}"

RATES = series(
    "rates.rates",
    f"""
    SELECT $__timeInterval(window_end) AS time, concat(field, ': ', kind) AS rate, max({known("given.delta")}) AS delta
    FROM latest_rates AS given
    WHERE {_MODEL} AND field != '' AND (field, kind) IN (
        SELECT field, kind FROM rates WHERE {_MODEL} AND field != '' GROUP BY field, kind
        ORDER BY max(abs(if(isNaN(rates.delta), 0, rates.delta))) DESC, field, kind LIMIT {SHOWN_FIELDS}
    )
    GROUP BY time, rate
    ORDER BY time, rate
    """,
    "rate:text",
    "delta",
)

RATE_LINES = series(
    "rates.lines",
    f"""
    SELECT $__timeInterval(window_end) AS time, min(threshold_minor) AS "minor line", min(threshold_major) AS "major line"
    FROM rates
    WHERE {_MODEL}
    GROUP BY time
    ORDER BY time
    """,
    "minor line",
    "major line",
)

VIOLATIONS = table(
    "rates.violations",
    f"""
    SELECT
        field, kind, sum(given.n) AS values, sum(given.n) / sum(given.total) AS "share where it came",
        max(pane_end) AS "last seen", argMax(given.policy, pane_end) AS policy
    FROM all_violations AS given
    WHERE {MODEL} AND {VERSION} AND $__timeFilter(pane_start)
    GROUP BY field, kind
    ORDER BY values DESC, field, kind
    LIMIT 200
    """,
    "field:text",
    "kind:text",
    "values",
    "share where it came",
    "last seen:time",
    "policy:text",
)


def _over_time(name: str, kinds: tuple[str, ...]) -> PanelQuery:
    listed = "('" + "', '".join(kinds) + "')"
    split = len(kinds) > 1
    # Of a rate that training had, and from where on more of it is minor and major.
    return series(
        f"rates.{name}",
        f"""
        SELECT
            $__timeInterval(window_end) AS time,{"kind," if split else ""}
            max({known("given.rate")}) AS rate,
            max({known("given.baseline_rate")}) AS training,
            max({known("given.baseline_rate + given.threshold_minor")}) AS "minor line",
            max({known("given.baseline_rate + given.threshold_major")}) AS "major line"
        FROM latest_rates AS given
        WHERE {_FIELD} AND kind IN {listed}
        GROUP BY time{", kind" if split else ""}
        ORDER BY time{", kind" if split else ""}
        """,
        *(("kind:text",) if split else ()),
        "rate",
        "training",
        "minor line",
        "major line",
    )


def _now(name: str, kinds: tuple[str, ...]) -> PanelQuery:
    listed = "('" + "', '".join(kinds) + "')"
    return table(
        f"rates.{name}_now",
        f"""
        SELECT {known("max(last.1)")} AS rate, {known("argMax(last.2, last.1)")} AS training
        FROM
        (
            SELECT kind, argMax((rate, baseline_rate), (window_end, record_seq)) AS last
            FROM rates WHERE {_FIELD} AND kind IN {listed} GROUP BY kind
        )
        HAVING count() > 0
        """,
        "rate",
        "training",
    )


NULLS, NULLS_NOW = _over_time("nulls", ("null",)), _now("nulls", ("null",))
UNSEEN, UNSEEN_NOW = _over_time("unseen", ("unseen",)), _now("unseen", ("unseen",))
RANGE, RANGE_NOW = _over_time("range", ("below", "above", "invalid")), _now("range", ("below", "above", "invalid"))

CATEGORIES = table(
    "rates.categories",
    f"""
    SELECT
        category, max(came.first_seen) AS "first seen", max(came.last_seen) AS "last seen",
        sum(came.n) AS "at least", sum(came.n_high) AS "at most"
    FROM unseen_categories AS came
    WHERE {MODEL} AND {FIELD} AND first_seen <= $__toTime AND last_seen >= $__fromTime
    GROUP BY category
    ORDER BY "at least" DESC, category
    LIMIT 100
    """,
    "category:text",
    "first seen:time",
    "last seen:time",
    "at least",
    "at most",
    grain_s=3600,
)
