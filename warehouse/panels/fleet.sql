{# Overview of all models but those of drills: the slice `all`, over every version that has verdicts. #}

{% from "states.sql" import RANGE_END, duration, models_now, since_of, why_of %}

{% set _TRAFFIC %}{{ NO_DRILLS }} AND slice = 'all' AND $__timeFilter(pane_start){% endset %}

{% call table("fleet.models_now",
    "model:text | state:text | since:text | why:text | requests | errors | slow | last request:text | others:text") %}
SELECT
    model, {{ level_name("problems[1].1") }} AS state, {{ since_of("problems[1]") }} AS since,
    {{ why_of("problems[1]") }} AS why,
    requests, {{ finite("errors / requests") }} AS errors, {{ finite("slow / timed") }} AS slow,
    if(last_busy = 0, '', concat('< ', {{ duration(RANGE_END ~ " - last_start", "ceil") }}, ' ago')) AS "last request",
    arrayStringConcat(arrayPopFront(problems.3), '; ') AS others
FROM ({{ models_now(NO_DRILLS) }})
ORDER BY problems[1] DESC, model
LIMIT 500
{% endcall %}

{# The worst level that is known in each step, of drift and rates in all windows; the rule `errors` judges errors. #}

{% call series("fleet.levels", "model:text | level") %}
SELECT
    $__timeInterval(window_end) AS time, model,
    if(max(number) > {{ LEVEL_NUMBERS["insufficient"] }}, max(number), min(number)) AS level
FROM
(
    SELECT model, window_end, {{ level_number("verdict.level") }} AS number
    FROM drift_levels AS verdict
    WHERE {{ NO_DRILLS }} AND slice = 'all' AND $__timeFilter(window_end)
    UNION ALL
    SELECT model, window_end, {{ level_number("verdict.level") }} AS number
    FROM rate_levels AS verdict
    WHERE {{ NO_DRILLS }} AND slice = 'all' AND kind != 'error' AND verdict.level IN ('minor', 'major') AND $__timeFilter(window_end)
)
GROUP BY time, model
ORDER BY time, model
{% endcall %}

{% macro _traffic(name, number, column) %}
{% call series("fleet." ~ name, "model:text | " ~ column, period_s=HOUR_S) %}
SELECT $__timeInterval(pane_start) AS time, model, {{ number }} AS {{ column }}
FROM all_volume AS pane
WHERE {{ _TRAFFIC }}
GROUP BY time, model
ORDER BY time, model
{% endcall %}
{% endmacro %}

{{ _traffic("requests", PER_MINUTE, "requests") }}
{{ _traffic("errors", finite("sum(pane.errors) / sum(pane.n)"), "errors") }}
{{ _traffic("slow", finite("sum(pane.slow) / sum(pane.timed)"), "slow") }}

{% call table("fleet.performance",
    "model:text | version:text | metric:text | level:text | reason:text | value | 95 % CI:text | SLO | labelled | labels:text | day's end:time") %}
SELECT
    model, version, metric, level, reason, {{ finite("value") }} AS value,
    {{ interval("low", "high") }} AS "95 % CI",
    {{ finite("promise") }} AS "SLO", n AS labelled, if(mature, 'mature', 'maturing') AS labels,
    window_end AS "day's end"
FROM
(
    SELECT model, version, metric, level, reason, value, low, high, promise, n, mature, window_end
    FROM latest_performance
    WHERE {{ NO_DRILLS }} AND slice = 'all' AND class = '' AND window = '1d' AND $__timeFilter(window_end)
    ORDER BY window_end DESC
    LIMIT 1 BY model, version, metric
)
ORDER BY {{ level_number() }} DESC, model, version, metric
LIMIT 200
{% endcall %}
