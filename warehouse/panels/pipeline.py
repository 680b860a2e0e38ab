"""The pipeline: whether every event is read, counted and written, and how long that takes.

Reports of processors use wall-clock time, not event time.
"""

from __future__ import annotations

from barograph_server.warehouse.drill_models import NO_DRILLS
from barograph_server.warehouse.operations.metrics import metrics_of_panel
from barograph_server.warehouse.operations.processor_reports import BUCKET_S
from barograph_server.warehouse.panels.fragments import finite, is_selected_or_all
from barograph_server.warehouse.panels.query import HOUR_S, MINUTE_S, PanelQuery, hourly, series, table

REPORTS_S = 10
"""Interval of processor reports, in seconds."""
GONE_S = 30
"""Age of the latest report, in seconds, at which a processor counts as gone; the same as in the view `pipeline`."""

_REPORTS = "$__timeFilter(report.at)"
_PROCESSOR = "concat(kind, ' ', instance)"
_MODEL = f"{is_selected_or_all('model')} AND {NO_DRILLS}"
# The end of the range, but not in the future.
_END = "least($__toTime, now('UTC'))"

# Times are selected first: a month has a report every ten seconds, and only one per processor is read.
_LAST = f"""
    SELECT kind, instance, at, lag, rate, retries, dead_letters, started_at, last_commit_at, host, events
    FROM processors AS report
    WHERE {_REPORTS} AND (kind, instance, at) IN
    (
        SELECT kind, instance, max(report.at)
        FROM processors AS report
        WHERE {_REPORTS}
        GROUP BY kind, instance
    )
    LIMIT 1 BY kind, instance
"""

LAG_NOW = table(
    "pipeline.lag_now",
    f"SELECT sumIf(last.lag, last.lag >= 0) AS lag FROM ({_LAST}) AS last HAVING count() > 0",
    "lag",
    grain_s=REPORTS_S,
)

SILENT = table(
    "pipeline.silent",
    f"""
    SELECT countIf(dateDiff('second', last.at, {_END}) > {GONE_S}) AS silent
    FROM ({_LAST}) AS last
    HAVING count() > 0
    """,
    "silent",
    grain_s=REPORTS_S,
)

PROCESSORS = table(
    "pipeline.processors",
    f"""
    SELECT
        {_PROCESSOR} AS processor,
        if("last report" > {GONE_S}, 'silent', 'reports') AS state,
        dateDiff('second', last.at, {_END}) AS "last report",
        if(last.lag < 0, NULL, last.lag) AS lag,
        last.rate AS rate,
        last.events AS events,
        last.retries AS retries,
        last.dead_letters AS "dead letters",
        if(last.lag = 0 OR toUnixTimestamp64Milli(last.last_commit_at) = 0, NULL,
            dateDiff('second', last.last_commit_at, {_END})) AS "last commit",
        last.started_at AS "started at",
        last.host AS host
    FROM ({_LAST}) AS last
    ORDER BY "last report" DESC, processor
    LIMIT 100
    """,
    "processor:text | state:text | last report | lag | rate | events | retries | dead letters | last commit | "
    "started at:time | host:text",
    grain_s=REPORTS_S,
)


def _over_time(name: str, number: str, column: str, and_where: str = "1 = 1") -> PanelQuery:
    return series(
        f"pipeline.{name}",
        f"""
        SELECT $__timeInterval(report.at) AS time, {_PROCESSOR} AS processor, {number} AS {column}
        FROM processors AS report
        WHERE {_REPORTS} AND {and_where}
        GROUP BY time, processor
        ORDER BY time, processor
        """,
        f"processor:text | {column}",
        grain_s=REPORTS_S,
        period_s=MINUTE_S,
    )


def _none(name: str, steps: str, total: str, *, grain_s: int, period_s: int) -> PanelQuery:
    """Return the query for a line at 0 that shows that nothing was counted; no row if something was.

    Args:
        steps: what follows `SELECT time`: the steps at which somebody counted. Not observed is not zero.
        total: SELECT statement of the number of things that were counted in the range.
        grain_s: time resolution of the source in seconds.
        period_s: longest time between two steps, in seconds.
    """
    return series(
        f"pipeline.{name}",
        f"SELECT {steps} AND ifNull(({total}), 0) = 0 GROUP BY time ORDER BY time",
        "none",
        grain_s=grain_s,
        period_s=period_s,
    )


_REPORTED = f"$__timeInterval(report.at) AS time, 0 AS none FROM processors AS report WHERE {_REPORTS}"

LAG = _over_time("lag", "max(report.lag)", "messages", "report.lag >= 0")
RATE = _over_time("rate", "avg(report.rate)", "events")

# Counters restart with the processor.
RETRIES = series(
    "pipeline.retries",
    f"""
    SELECT time, processor, sum(attempts) AS retries
    FROM
    (
        SELECT $__timeInterval(report.at) AS time, {_PROCESSOR} AS processor,
            max(report.retries) - min(report.retries) AS attempts
        FROM processors AS report
        WHERE {_REPORTS}
        GROUP BY time, processor, started_at
    )
    GROUP BY time, processor
    ORDER BY time, processor
    """,
    "processor:text | retries",
    grain_s=REPORTS_S,
    period_s=MINUTE_S,
)

# ------------------------------------------------------------------------------------------------ metrics

# committed_age_seconds partials → committed age partials
_NAME = "replaceAll(replaceRegexpOne(step, '_(seconds|bytes|total)', ''), '_', ' ')"


# The keys of details are those of `warehouse.operations.metrics`; an older processor may lack a metric.
def _details(panel: str) -> str:
    """Select the metrics of a panel, one row per report, or per five minutes if the steps are that long.

    Metrics with their own column are not included.
    """

    def is_selected(key: str) -> str:
        conditions = " OR ".join(
            f"startsWith({key}, '{metric.short} ')" if metric.reported_labels else f"{key} = '{metric.short}'"
            for metric in metrics_of_panel(panel)
        )
        return f"({conditions})"

    return f"""
        SELECT report.at AS at, kind, instance, started_at, detail.1 AS step, detail.2 AS minimum, detail.2 AS maximum
        FROM processors AS report
        ARRAY JOIN mapFilter((key, value) -> {is_selected("key")}, details) AS detail
        WHERE $__interval_s < {BUCKET_S} AND {_REPORTS}
        UNION ALL
        SELECT
            toDateTime64(bucket.bucket_start, 3, 'UTC') AS at, kind, instance, started_at, metric AS step,
            min(bucket.minimum) AS minimum, max(bucket.maximum) AS maximum
        FROM processor_metrics AS bucket
        WHERE $__interval_s >= {BUCKET_S} AND $__timeFilter(bucket.bucket_start) AND {is_selected("metric")}
        GROUP BY at, kind, instance, started_at, step
    """


def _gauges(panel: str, column: str, number: str = "max(sample.maximum)") -> PanelQuery:
    """Return the query for the gauges of a panel, by processor and metric."""
    return series(
        f"pipeline.{panel}",
        f"""
        SELECT $__timeInterval(at) AS time, concat({_PROCESSOR}, ': ', {_NAME}) AS metric_name, {number} AS {column}
        FROM ({_details(panel)}) AS sample
        GROUP BY time, metric_name
        ORDER BY time, metric_name
        """,
        f"metric_name:text | {column}",
        grain_s=REPORTS_S,
        period_s=MINUTE_S,
    )


def _growths(panel: str) -> str:
    """Select the growth of a panel's counters since the previous report; they restart with the processor."""
    growth = "sample.maximum - lagInFrame(sample.maximum, 1, sample.minimum) OVER before"
    return f"""
        SELECT at, concat({_PROCESSOR}, ': ', {_NAME}) AS metric_name, greatest(0, {growth}) AS growth
        FROM ({_details(panel)}) AS sample
        WINDOW before AS
        (
            PARTITION BY kind, instance, started_at, step ORDER BY at
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        )
    """


def _counters(panel: str, column: str, per: str = "") -> PanelQuery:
    """Return the query for the growth of a panel's counters."""
    return series(
        f"pipeline.{panel}",
        f"""
        SELECT $__timeInterval(at) AS time, metric_name, sum(growth){per} AS {column}
        FROM ({_growths(panel)})
        GROUP BY time, metric_name
        ORDER BY time, metric_name
        """,
        f"metric_name:text | {column}",
        grain_s=REPORTS_S,
        period_s=MINUTE_S,
    )


INSERT_TIMES = _gauges("insert_times", "seconds")
COMMITTED_AGE = _gauges("committed_age", "seconds")
WAITING = _gauges("waiting", "seconds")
HEALTHY = _gauges("healthy", "healthy", "min(sample.minimum)")
MEMORY = _gauges("memory", "bytes")
EVENTS = _counters("events", "events")
REJECTED = _counters("rejected", "events")
NONE_REJECTED = _none(
    "none_rejected",
    _REPORTED,
    f"SELECT sum(growth) FROM ({_growths('rejected')})",
    grain_s=REPORTS_S,
    period_s=MINUTE_S,
)
INSERTED = _counters("inserted", "rows")
SCORED = _counters("scored", "windows")
CPU = _counters("cpu", "share", " / $__interval_s")

# The age that the watchdog checks: it ends a processor without progress for 300 s.
WATCHDOG = series(
    "pipeline.watchdog",
    f"""
    SELECT $__timeInterval(report.at) AS time, {_PROCESSOR} AS processor,
        max(dateDiff('second', greatest(report.last_commit_at, report.started_at), report.at)) AS seconds
    FROM processors AS report
    WHERE {_REPORTS}
    GROUP BY time, processor
    ORDER BY time, processor
    """,
    "processor:text | seconds",
    grain_s=REPORTS_S,
    period_s=MINUTE_S,
)


def _before_end(time: str) -> str:
    """Return the seconds from a time to the end of the range: 0 if it is after the end, NULL if it is unset."""
    return f"if(toUnixTimestamp64Milli({time}) = 0, NULL, greatest(0, dateDiff('second', {time}, {_END})))"


SEALED_AGE = table(
    "pipeline.sealed_age",
    f"""
    SELECT
        model,
        {_before_end("position.2")} AS "last pane sealed",
        {_before_end("position.1")} AS "events read up to",
        dateDiff('second', position.3, now('UTC')) AS "last progress"
    FROM
    (
        SELECT model, argMax((state.watermark, state.sealed_until, state.updated_at), state.record_seq) AS position
        FROM progress AS state
        WHERE {_MODEL}
        GROUP BY model
    )
    ORDER BY 2 DESC, model
    LIMIT 200
    /* no range: each model has one row, its latest */
    """,
    "model:text | last pane sealed | events read up to | last progress",
)

_VERDICTS = f"FROM rates WHERE {_MODEL} AND slice = 'all' AND kind = 'error' AND $__timeFilter(window_end)"

COMPLETENESS = table(
    "pipeline.completeness",
    f"SELECT {finite('min(completeness)')} AS completeness {_VERDICTS} HAVING count() > 0",
    "completeness",
)

COMPLETENESS_OVER_TIME = series(
    "pipeline.completeness_over_time",
    f"""
    SELECT $__timeInterval(window_end) AS time, model, min(verdict.completeness) AS completeness
    FROM rates AS verdict
    WHERE {_MODEL} AND slice = 'all' AND kind = 'error' AND $__timeFilter(window_end)
    GROUP BY time, model
    ORDER BY time, model
    """,
    "model:text | completeness",
)

_PANES = f"FROM all_volume AS pane WHERE {_MODEL} AND slice = 'all' AND $__timeFilter(pane_start)"

LATE = table("pipeline.late", f"SELECT {finite('sum(pane.late) / sum(pane.n)')} AS late {_PANES}", "late")

LATE_OVER_TIME = series(
    "pipeline.late_over_time",
    f"""
    SELECT $__timeInterval(pane_start) AS time, model, sum(pane.late) AS late
    {_PANES}
    GROUP BY time, model
    ORDER BY time, model
    """,
    "model:text | late",
    period_s=HOUR_S,
)
NONE_LATE = _none(
    "none_late",
    f"$__timeInterval(pane_start) AS time, 0 AS none {_PANES}",
    f"SELECT sum(pane.late) {_PANES}",
    grain_s=MINUTE_S,
    period_s=HOUR_S,
)

# Dead letters without a known model are shown for every selected model.
_DEAD = f"FROM dead_letters AS dead WHERE (model = '' OR {_MODEL}) AND $__timeFilter(hour)"

DEAD_LETTERS = table(
    "pipeline.dead_letters", f"SELECT sum(dead.n) AS dead_letters {_DEAD}", "dead_letters", grain_s=HOUR_S
)

DEAD_REASONS = hourly(
    "pipeline.dead_reasons",
    f"""
    SELECT $__timeInterval(hour) AS time, concat(topic, ': ', reason) AS reason_of_topic, sum(dead.n) AS dead_letters
    {_DEAD}
    GROUP BY time, reason_of_topic
    ORDER BY time, reason_of_topic
    """,
    "reason_of_topic:text | dead_letters",
)
NONE_DEAD = _none("none_dead", _REPORTED, f"SELECT sum(dead.n) {_DEAD}", grain_s=HOUR_S, period_s=HOUR_S)

# It reads raw events, so it covers one hour: the last whole hour of the range.
DUPLICATES = table(
    "pipeline.duplicates",
    f"""
    SELECT {finite("sum(hourly.repeats) / sum(hourly.recorded)")} AS duplicates
    FROM duplicates AS hourly
    WHERE {_MODEL} AND hour = toStartOfHour({_END}) - INTERVAL 1 HOUR
    """,
    "duplicates",
    grain_s=HOUR_S,
)

DUPLICATES_OVER_TIME = hourly(
    "pipeline.duplicates_over_time",
    f"""
    SELECT $__timeInterval(hour) AS time, model, sum(counted.n) AS duplicates
    FROM label_counts AS counted
    WHERE {_MODEL} AND kind = 'duplicates' AND $__timeFilter(hour)
    GROUP BY time, model
    ORDER BY time, model
    """,
    "model:text | duplicates",
)
# The scorer looks for both, in every hour with predictions of a model with labels.
_COUNTED = f"FROM label_counts AS counted WHERE {_MODEL} AND $__timeFilter(hour)"
_SCORED = f"$__timeInterval(hour) AS time, 0 AS none {_COUNTED} AND kind = 'predictions'"
NONE_DUPLICATE = _none(
    "none_duplicate",
    _SCORED,
    f"SELECT sum(counted.n) {_COUNTED} AND kind = 'duplicates'",
    grain_s=HOUR_S,
    period_s=HOUR_S,
)

UNMATCHED_LABELS = hourly(
    "pipeline.unmatched_labels",
    f"""
    SELECT $__timeInterval(hour) AS time, model, sum(hourly.labels) AS labels
    FROM unmatched_labels AS hourly
    WHERE {_MODEL} AND $__timeFilter(hour)
    GROUP BY time, model
    ORDER BY time, model
    """,
    "model:text | labels",
)
NONE_UNMATCHED = _none(
    "none_unmatched",
    _SCORED,
    f"SELECT sum(hourly.labels) FROM unmatched_labels AS hourly WHERE {_MODEL} AND $__timeFilter(hour)",
    grain_s=HOUR_S,
    period_s=HOUR_S,
)

LOSSES = table(
    "pipeline.losses",
    """
    SELECT
        source_partition AS partition, start_offset AS "first offset", offsets, reason,
        from_time AS "from", to_time AS "to", recorded_at AS "recorded at"
    FROM lost_ranges
    WHERE to_time >= $__fromTime AND from_time <= $__toTime OR $__timeFilter(recorded_at)
    ORDER BY recorded_at DESC
    LIMIT 100
    """,
    "partition | first offset | offsets | reason:text | from:time | to:time | recorded at:time",
)

PRODUCER_GAPS = table(
    "pipeline.producer_gaps",
    f"""
    SELECT
        model, producer, lost, {finite("lost_share")} AS share, received, state, queued,
        first_at AS "first event", last_at AS "last event"
    FROM producer_totals
    WHERE {_MODEL} AND last_at >= $__fromTime AND first_at <= $__toTime
    ORDER BY lost DESC, model, producer
    LIMIT 100
    """,
    "model:text | producer:text | lost | share | received | state:text | queued | first event:time | last event:time",
)
