{# The pipeline: whether every event is read, counted and written, and how long that takes.

Reports of processors use wall-clock time, not event time. #}

{% set REPORTS_S = 10 %} {# Interval of processor reports, in seconds. #}
{# Age of the latest report, in seconds, at which a processor counts as gone; the same as in the view `pipeline`. #}
{% set GONE_S = 30 %}
{% set _REPORTS %}$__timeFilter(report.at){% endset %}
{% set _PROCESSOR %}concat(kind, ' ', instance){% endset %}
{% set _MODEL %}{{ is_selected_or_all("model") }} AND {{ NO_DRILLS }}{% endset %}

{# The end of the range, but not in the future. #}

{% set _END %}least($__toTime, now('UTC')){% endset %}

{# Times are selected first: a month has a report every ten seconds, and only one per processor is read. #}

{% set _LAST -%}
SELECT kind, instance, at, lag, rate, retries, dead_letters, started_at, last_commit_at, host, events
FROM processors AS report
WHERE {{ _REPORTS }} AND (kind, instance, at) IN
(
    SELECT kind, instance, max(report.at)
    FROM processors AS report
    WHERE {{ _REPORTS }}
    GROUP BY kind, instance
)
LIMIT 1 BY kind, instance
{%- endset %}

{% call table("pipeline.lag_now", "lag", grain_s=REPORTS_S) %}
SELECT sumIf(last.lag, last.lag >= 0) AS lag FROM ({{ _LAST }}) AS last HAVING count() > 0
{% endcall %}

{% call table("pipeline.silent", "silent", grain_s=REPORTS_S) %}
SELECT countIf(dateDiff('second', last.at, {{ _END }}) > {{ GONE_S }}) AS silent
FROM ({{ _LAST }}) AS last
HAVING count() > 0
{% endcall %}

{% call table("pipeline.processors",
    "processor:text | state:text | last report | lag | rate | events | retries | dead letters | last commit | started at:time | host:text", grain_s=REPORTS_S) %}
SELECT
    {{ _PROCESSOR }} AS processor,
    if("last report" > {{ GONE_S }}, 'silent', 'reports') AS state,
    dateDiff('second', last.at, {{ _END }}) AS "last report",
    if(last.lag < 0, NULL, last.lag) AS lag,
    last.rate AS rate,
    last.events AS events,
    last.retries AS retries,
    last.dead_letters AS "dead letters",
    if(last.lag = 0 OR toUnixTimestamp64Milli(last.last_commit_at) = 0, NULL,
        dateDiff('second', last.last_commit_at, {{ _END }})) AS "last commit",
    last.started_at AS "started at",
    last.host AS host
FROM ({{ _LAST }}) AS last
ORDER BY "last report" DESC, processor
LIMIT 100
{% endcall %}

{% macro _over_time(name, number, column, and_where="1 = 1") %}
{% call series("pipeline." ~ name, "processor:text | " ~ column, grain_s=REPORTS_S, period_s=MINUTE_S) %}
SELECT $__timeInterval(report.at) AS time, {{ _PROCESSOR }} AS processor, {{ number }} AS {{ column }}
FROM processors AS report
WHERE {{ _REPORTS }} AND {{ and_where }}
GROUP BY time, processor
ORDER BY time, processor
{% endcall %}
{% endmacro %}

{# Return the query for a line at 0 that shows that nothing was counted; no row if something was. #}
{% macro _none(name, steps, total, grain_s, period_s) %}
{% call series("pipeline." ~ name, "none", grain_s=grain_s, period_s=period_s) %}
SELECT {{ steps }} AND ifNull(({{ total }}), 0) = 0 GROUP BY time ORDER BY time
{% endcall %}
{% endmacro %}

{% set _REPORTED %}$__timeInterval(report.at) AS time, 0 AS none FROM processors AS report WHERE {{ _REPORTS }}{% endset %}

{{ _over_time("lag", "max(report.lag)", "messages", "report.lag >= 0") }}
{{ _over_time("rate", "avg(report.rate)", "events") }}

{# Counters restart with the processor. #}

{% call series("pipeline.retries", "processor:text | retries", grain_s=REPORTS_S, period_s=MINUTE_S) %}
SELECT time, processor, sum(attempts) AS retries
FROM
(
    SELECT $__timeInterval(report.at) AS time, {{ _PROCESSOR }} AS processor,
        max(report.retries) - min(report.retries) AS attempts
    FROM processors AS report
    WHERE {{ _REPORTS }}
    GROUP BY time, processor, started_at
)
GROUP BY time, processor
ORDER BY time, processor
{% endcall %}

{# committed_age_seconds partials → committed age partials #}

{% set _NAME %}replaceAll(replaceRegexpOne(step, '_(seconds|bytes|total)', ''), '_', ' '){% endset %}

{# The keys of details are those of `warehouse.operations.metrics`; an older processor may lack a metric. #}

{% macro _reported(panel, key) -%}
{%- set conditions -%}
{% for metric in metrics_of_panel(panel) %}{{ ("startsWith(" ~ key ~ ", '" ~ metric.short ~ " ')") if metric.reported_labels else (key ~ " = '" ~ metric.short ~ "'") }}{{ " OR " if not loop.last }}{% endfor %}
{%- endset %}
({{ conditions }})
{%- endmacro %}

{# Select the metrics of a panel, one row per report, or per five minutes if the steps are that long. #}
{% macro _details(panel) -%}
SELECT report.at AS at, kind, instance, started_at, detail.1 AS step, detail.2 AS minimum, detail.2 AS maximum
FROM processors AS report
ARRAY JOIN mapFilter((key, value) -> {{ _reported(panel, "key") }}, details) AS detail
WHERE $__interval_s < {{ BUCKET_S }} AND {{ _REPORTS }}
UNION ALL
SELECT
    toDateTime64(bucket.bucket_start, 3, 'UTC') AS at, kind, instance, started_at, metric AS step,
    min(bucket.minimum) AS minimum, max(bucket.maximum) AS maximum
FROM processor_metrics AS bucket
WHERE $__interval_s >= {{ BUCKET_S }} AND $__timeFilter(bucket.bucket_start) AND {{ _reported(panel, "metric") }}
GROUP BY at, kind, instance, started_at, step
{%- endmacro %}

{# Return the query for the gauges of a panel, by processor and metric. #}
{% macro _gauges(panel, column) %}
{% call series("pipeline." ~ panel, "metric_name:text | " ~ column, grain_s=REPORTS_S, period_s=MINUTE_S) %}
SELECT $__timeInterval(at) AS time, concat({{ _PROCESSOR }}, ': ', {{ _NAME }}) AS metric_name, max(sample.maximum) AS {{ column }}
FROM ({{ _details(panel) }}) AS sample
GROUP BY time, metric_name
ORDER BY time, metric_name
{% endcall %}
{% endmacro %}

{# Select the growth of a panel's counters since the previous report; they restart with the processor. #}
{% macro _growths(panel) -%}
{%- set growth %}sample.maximum - lagInFrame(sample.maximum, 1, sample.minimum) OVER before{% endset %}
SELECT at, concat({{ _PROCESSOR }}, ': ', {{ _NAME }}) AS metric_name, greatest(0, {{ growth }}) AS growth
FROM ({{ _details(panel) }}) AS sample
WINDOW before AS
(
    PARTITION BY kind, instance, started_at, step ORDER BY at
    ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
)
{%- endmacro %}

{# Return the query for the growth of a panel's counters. #}
{% macro _counters(panel, column, per="") %}
{% call series("pipeline." ~ panel, "metric_name:text | " ~ column, grain_s=REPORTS_S, period_s=MINUTE_S) %}
SELECT $__timeInterval(at) AS time, metric_name, sum(growth){{ per }} AS {{ column }}
FROM ({{ _growths(panel) }})
GROUP BY time, metric_name
ORDER BY time, metric_name
{% endcall %}
{% endmacro %}

{{ _gauges("insert_times", "seconds") }}
{{ _gauges("committed_age", "seconds") }}
{{ _gauges("waiting", "seconds") }}
{{ _gauges("memory", "bytes") }}
{{ _counters("rejected", "events") }}
{{ _none("none_rejected", _REPORTED, "SELECT sum(growth) FROM (" ~ _growths("rejected") ~ ")", grain_s=REPORTS_S, period_s=MINUTE_S) }}
{{ _counters("scored", "windows") }}
{{ _counters("cpu", "share", " / $__interval_s") }}

{# The age that the watchdog checks: it ends a processor without progress for 300 s. #}

{% call series("pipeline.watchdog", "processor:text | seconds", grain_s=REPORTS_S, period_s=MINUTE_S) %}
SELECT $__timeInterval(report.at) AS time, {{ _PROCESSOR }} AS processor,
    max(dateDiff('second', greatest(report.last_commit_at, report.started_at), report.at)) AS seconds
FROM processors AS report
WHERE {{ _REPORTS }}
GROUP BY time, processor
ORDER BY time, processor
{% endcall %}

{# Return the seconds from a time to the end of the range: 0 if it is after the end, NULL if it is unset. #}
{% macro _before_end(time) -%}
if(toUnixTimestamp64Milli({{ time }}) = 0, NULL, greatest(0, dateDiff('second', {{ time }}, {{ _END }})))
{%- endmacro %}

{% call table("pipeline.sealed_age", "model:text | last pane sealed | newest verdict | events read up to | last progress") %}
SELECT
    model,
    {{ _before_end("position.2") }} AS "last pane sealed",
    {{ _before_end("judged_until") }} AS "newest verdict",
    {{ _before_end("position.1") }} AS "events read up to",
    dateDiff('second', position.3, now('UTC')) AS "last progress"
FROM
(
    SELECT model, argMax((state.watermark, state.sealed_until, state.updated_at), state.record_seq) AS position
    FROM progress AS state
    WHERE {{ _MODEL }}
    GROUP BY model
) AS read
LEFT JOIN
(
    SELECT model, toDateTime64(max(window_end), 3, 'UTC') AS judged_until
    FROM rates AS verdict
    WHERE {{ _MODEL }} AND slice = 'all' AND kind = 'error'
    GROUP BY model
) AS judged USING (model)
ORDER BY 2 DESC, model
LIMIT 200
/* no range: each model has one row, its latest */
{% endcall %}

{% set _VERDICTS %}FROM rates WHERE {{ _MODEL }} AND slice = 'all' AND kind = 'error' AND $__timeFilter(window_end){% endset %}

{% call table("pipeline.completeness", "completeness") %}
SELECT {{ finite("min(completeness)") }} AS completeness {{ _VERDICTS }} HAVING count() > 0
{% endcall %}

{% call series("pipeline.completeness_over_time", "model:text | completeness") %}
SELECT $__timeInterval(window_end) AS time, model, min(verdict.completeness) AS completeness
FROM rates AS verdict
WHERE {{ _MODEL }} AND slice = 'all' AND kind = 'error' AND $__timeFilter(window_end)
GROUP BY time, model
ORDER BY time, model
{% endcall %}

{% set _PANES %}FROM all_volume AS pane WHERE {{ _MODEL }} AND slice = 'all' AND $__timeFilter(pane_start){% endset %}

{% call table("pipeline.late", "late") %}
SELECT {{ finite("sum(pane.late) / sum(pane.n)") }} AS late {{ _PANES }}
{% endcall %}

{% call series("pipeline.late_over_time", "model:text | late", period_s=HOUR_S) %}
SELECT $__timeInterval(pane_start) AS time, model, sum(pane.late) AS late
{{ _PANES }}
GROUP BY time, model
ORDER BY time, model
{% endcall %}

{{ _none("none_late", "$__timeInterval(pane_start) AS time, 0 AS none " ~ _PANES, "SELECT sum(pane.late) " ~ _PANES, grain_s=MINUTE_S, period_s=HOUR_S) }}

{# Dead letters without a known model are shown for every selected model. #}

{% set _DEAD %}FROM dead_letters AS dead WHERE (model = '' OR {{ _MODEL }}) AND $__timeFilter(hour){% endset %}

{% call table("pipeline.dead_letters", "dead_letters", grain_s=HOUR_S) %}
SELECT sum(dead.n) AS dead_letters {{ _DEAD }}
{% endcall %}

{% call hourly("pipeline.dead_reasons", "reason_of_topic:text | dead_letters") %}
SELECT $__timeInterval(hour) AS time, concat(topic, ': ', reason) AS reason_of_topic, sum(dead.n) AS dead_letters
{{ _DEAD }}
GROUP BY time, reason_of_topic
ORDER BY time, reason_of_topic
{% endcall %}

{{ _none("none_dead", _REPORTED, "SELECT sum(dead.n) " ~ _DEAD, grain_s=HOUR_S, period_s=HOUR_S) }}

{# It reads raw events, so it covers one hour: the last whole hour of the range. #}

{% call table("pipeline.duplicates", "duplicates", grain_s=HOUR_S) %}
SELECT {{ finite("sum(hourly.repeats) / sum(hourly.recorded)") }} AS duplicates
FROM duplicates AS hourly
WHERE {{ _MODEL }} AND hour = toStartOfHour({{ _END }}) - INTERVAL 1 HOUR
{% endcall %}

{% call hourly("pipeline.duplicates_over_time", "model:text | duplicates") %}
SELECT $__timeInterval(hour) AS time, model, sum(counted.n) AS duplicates
FROM label_counts AS counted
WHERE {{ _MODEL }} AND kind = 'duplicates' AND $__timeFilter(hour)
GROUP BY time, model
ORDER BY time, model
{% endcall %}

{# The scorer looks for both, in every hour with predictions of a model with labels. #}

{% set _COUNTED %}FROM label_counts AS counted WHERE {{ _MODEL }} AND $__timeFilter(hour){% endset %}
{% set _SCORED %}$__timeInterval(hour) AS time, 0 AS none {{ _COUNTED }} AND kind = 'predictions'{% endset %}

{{ _none("none_duplicate", _SCORED, "SELECT sum(counted.n) " ~ _COUNTED ~ " AND kind = 'duplicates'", grain_s=HOUR_S, period_s=HOUR_S) }}

{% call hourly("pipeline.unmatched_labels", "model:text | labels") %}
SELECT $__timeInterval(hour) AS time, model, sum(hourly.labels) AS labels
FROM unmatched_labels AS hourly
WHERE {{ _MODEL }} AND $__timeFilter(hour)
GROUP BY time, model
ORDER BY time, model
{% endcall %}

{{ _none("none_unmatched", _SCORED, "SELECT sum(hourly.labels) FROM unmatched_labels AS hourly WHERE " ~ _MODEL ~ " AND $__timeFilter(hour)", grain_s=HOUR_S, period_s=HOUR_S) }}

{% call table("pipeline.losses", "partition | first offset | offsets | reason:text | from:time | to:time | recorded at:time") %}
SELECT
    source_partition AS partition, start_offset AS "first offset", offsets, reason,
    from_time AS "from", to_time AS "to", recorded_at AS "recorded at"
FROM lost_ranges
WHERE to_time >= $__fromTime AND from_time <= $__toTime OR $__timeFilter(recorded_at)
ORDER BY recorded_at DESC
LIMIT 100
{% endcall %}

{% call table("pipeline.producer_gaps",
    "model:text | producer:text | lost | share | received | state:text | queued | first event:time | last event:time") %}
SELECT
    model, producer, lost, {{ finite("lost_share") }} AS share, received, state, queued,
    first_at AS "first event", last_at AS "last event"
FROM producer_totals
WHERE {{ _MODEL }} AND last_at >= $__fromTime AND first_at <= $__toTime
ORDER BY lost DESC, model, producer
LIMIT 100
{% endcall %}
