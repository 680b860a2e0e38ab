"""The queries of the weekly report. The report prints them with their values, so that anyone can repeat its figures.

Times are half-open: a week holds the panes that start in [start, end), and the windows that end in (start, end].
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from string import Template

from barograph_server.warehouse.panels.fragments import rate_measure
from barograph_server.warehouse.signals.literals import literal, literals

LOOK_BACK_DAYS = 35
"""How long before the end of the week the first major verdict of a field is looked for, in days."""
PRODUCER_DAYS = 30
"""How long the sequence numbers of producers are kept, which reveal losses before Kafka, in days of event time."""

_IN_WEEK = "model = {model:String} AND pane_start >= {start:DateTime('UTC')} AND pane_start < {end:DateTime('UTC')}"
_WINDOWS = "model = {model:String} AND slice = 'all' AND window_end <= {end:DateTime('UTC')}"
_ENDED = f"{_WINDOWS} AND window_end > {{start:DateTime('UTC')}}"
_MAJOR_IN_SLICES = _ENDED.replace("slice = 'all'", "slice != 'all' AND level = 'major'")
_AT = "{start:DateTime('UTC')} AND $at < {end:DateTime('UTC')}"

_VERDICTS = Template(
    """
SELECT
    field, $kind AS what, version, window,
    countIf(window_end > {start:DateTime('UTC')}) AS windows,
    countIf(window_end > {start:DateTime('UTC')} AND level = 'insufficient') AS undecided,
    anyIf(reason, window_end > {start:DateTime('UTC')} AND level = 'insufficient') AS why,
    minIf(completeness, window_end > {start:DateTime('UTC')}) AS complete,
    argMaxIf(
        (level, $value, $low, $high, $share, $expected, window_end),
        (indexOf(['stable', 'minor', 'major'], level), $value),
        window_end > {start:DateTime('UTC')} AND level != 'insufficient'
    ) AS worst,
    countIf(window_end > {start:DateTime('UTC')} AND level = 'major') AS majors,
    maxIf(window_end, level IN ('stable', 'minor')) AS last_below,
    arraySort(arrayFilter(moment -> moment > last_below, groupArrayIf(window_end, level = 'major'))) AS major_since
FROM $view
WHERE $windows AND window_end > {end:DateTime('UTC')} - INTERVAL $days DAY
GROUP BY field, what, version, window
HAVING windows > 0
ORDER BY field, what, version, window
"""
)
_VIEWS = {"windows": _WINDOWS, "days": str(LOOK_BACK_DAYS)}

QUERIES: dict[str, str] = {
    "volume": f"""
SELECT
    toString(toDate(pane_start, {{zone:String}})) AS day, sum(n), sum(errors), sum(timed), sum(slow), sum(late),
    arraySum(pane -> pane.2, groupUniqArray((pane_start, pane_s))) / 3600 AS hours, min(sealed) AS is_sealed
FROM all_volume
WHERE {_IN_WEEK} AND slice = 'all'
GROUP BY day ORDER BY day
""",
    "served": f"""
SELECT version, slice, sum(n) AS predictions, sum(errors) AS failed
FROM all_volume
WHERE {_IN_WEEK} AND (slice = 'all' OR startsWith(slice, 'arm='))
GROUP BY version, slice HAVING predictions > 0 ORDER BY slice, version
""",
    "latency": f"""
SELECT maxIf(p50, isFinite(p50)), maxIf(p95, isFinite(p95)), maxIf(p99, isFinite(p99))
FROM latest_distances
WHERE {_ENDED} AND field = {{latency:String}}
HAVING countIf(isFinite(p50)) > 0
""",
    "drift": _VERDICTS.substitute(
        _VIEWS,
        view="latest_drift",
        kind="'psi'",
        value="psi",
        low="psi_low",
        high="psi_high",
        share="nan",
        expected="nan",
    ),
    "rates": _VERDICTS.substitute(
        _VIEWS,
        view="latest_rates",
        kind="toString(kind)",
        value="delta",
        low="delta_low",
        high="delta_high",
        share="rate",
        expected="baseline_rate",
    ),
    "slices": f"""
SELECT slice, count() AS major_verdicts, arraySort(groupUniqArray(measure)) AS measures
FROM
(
    SELECT slice, window_end, field AS measure FROM latest_drift WHERE {_MAJOR_IN_SLICES}
    UNION ALL
    SELECT slice, window_end, {rate_measure()} FROM latest_rates WHERE {_MAJOR_IN_SLICES}
    UNION ALL
    SELECT slice, window_end, metric FROM latest_performance
    WHERE {_MAJOR_IN_SLICES} AND window IN {{windows:Array(String)}}
)
GROUP BY slice ORDER BY major_verdicts DESC, slice
""",
    "performance": f"""
SELECT
    metric, version, toString(window), window_end, value, low, high, toString(level), toString(reason), n, coverage,
    maturity, mature, promise, reference
FROM latest_performance
WHERE {_ENDED} AND class = '' AND window IN {{windows:Array(String)}}
ORDER BY metric, version, window, window_end
""",
    "labels": f"""
SELECT sumIf(n, kind = 'predictions'), sumIf(n, kind = 'labelled')
FROM label_counts
WHERE model = {{model:String}} AND hour >= {_AT.replace("$at", "hour")}
""",
    "losses": f"""
SELECT
    (SELECT sum(offsets) FROM lost_ranges
     WHERE from_time < {{end:DateTime('UTC')}} AND to_time > {{start:DateTime('UTC')}}) AS lost_in_kafka,
    (SELECT sum(missing) FROM producer_panes WHERE {_IN_WEEK}) AS lost_before_kafka,
    (SELECT sum(n) FROM dead_letters WHERE model IN ({{model:String}}, '') AND hour >= {_AT.replace("$at", "hour")})
        AS dead_lettered
""",
    "drills": f"""
SELECT
    at, toString(fault), toString(field), toString(mode), passed,
    arrayStringConcat(arrayFilter((text, is_met) -> NOT is_met, observed, met), '; ')
FROM drills FINAL
WHERE model = {{model:String}} AND at >= {_AT.replace("$at", "at")}
ORDER BY at, drill_id
""",
    "changes": f"""
SELECT
    changed_at, toString(kind), toString(model), subject, before, after, toString(source), owner, reason, changed_by
FROM all_changes
WHERE model IN ('', {{model:String}}) AND changed_at >= {_AT.replace("$at", "changed_at")}
ORDER BY changed_at, kind, model, subject, after
""",
}
"""Name of a part of the report → its query; parameters: model, start, end, zone, windows (of the contract),
latency (its field)."""

RECORDED = (
    "SELECT count(), min(pane_start), max(pane_start) FROM all_volume WHERE model = {model:String} AND slice = 'all'"
)
"""Counted panes of a model, with the first and the last."""


def printed_query(name: str, values: Mapping[str, str | datetime | list[str]]) -> str:
    """Return a query with its values as literals, on lines of its own, as `barograph query` accepts it."""

    def text(match: re.Match[str]) -> str:
        value = values[match[1]]
        if isinstance(value, datetime):
            return f"toDateTime('{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}', 'UTC')"
        return literal(value) if isinstance(value, str) else literals(value)

    return re.sub(r"\{(\w+):[^{}]+\}", text, QUERIES[name]).strip()
