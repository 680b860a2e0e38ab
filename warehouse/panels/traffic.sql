{# Traffic, errors and latency of a model. #}

{% set _RANGE %}$__timeFilter(pane_start){% endset %}
{% set _MODEL %}{{ MODEL }} AND {{ SLICE }} AND {{ _RANGE }}{% endset %}
{% set _VERSION %}{{ MODEL }} AND {{ VERSION }} AND {{ SLICE }} AND {{ _RANGE }}{% endset %}

{# The current contract, with its objectives under `slo`. #}

{% set _CONTRACT %}(SELECT argMax(yaml, applied_at) FROM contracts WHERE {{ MODEL }}){% endset %}

{# Return the query for an objective at every step of the range; no row if the contract has none. #}
{% macro _objective(name, key, minus="") %}
{% set text %}extract({{ _CONTRACT }}, '\\b{{ key }}:\\s*([0-9.eE+-]+)'){% endset %}
{% call series("traffic." ~ name, "SLO", period_s=HOUR_S) %}
SELECT $__timeInterval($__fromTime + INTERVAL number * $__interval_s SECOND) AS time, objective AS "SLO"
FROM numbers(1 + intDiv(dateDiff('second', $__fromTime, $__toTime), $__interval_s)) AS steps
CROSS JOIN (SELECT {{ minus }}toFloat64OrNull({{ text }}) AS objective) AS contract
WHERE objective IS NOT NULL
ORDER BY time
{% endcall %}
{% endmacro %}

{% call series("traffic.requests", "version:text | requests", period_s=HOUR_S) %}
SELECT $__timeInterval(pane_start) AS time, version, {{ PER_MINUTE }} AS requests
FROM all_volume AS pane
WHERE {{ _MODEL }}
GROUP BY time, version
ORDER BY time, version
{% endcall %}

{% call series("traffic.errors", "version:text | errors", period_s=HOUR_S) %}
SELECT
    $__timeInterval(pane_start) AS time, version, {{ finite("sum(pane.errors) / sum(pane.n)") }} AS errors
FROM all_volume AS pane
WHERE {{ _MODEL }}
GROUP BY time, version
ORDER BY time, version
{% endcall %}

{{ _objective("errors_slo", "error_rate") }}

{% call table("traffic.errors_now", "errors | SLO") %}
SELECT {{ finite("sum(pane.errors) / sum(pane.n)") }} AS errors,
    toFloat64OrNull(extract({{ _CONTRACT }}, '\\berror_rate:\\s*([0-9.eE+-]+)')) AS "SLO"
FROM all_volume AS pane
WHERE {{ _VERSION }} AND pane_start >= $__toTime - INTERVAL 1 DAY
{% endcall %}

{% call series("traffic.error_kinds", "kind:text | errors", period_s=HOUR_S) %}
SELECT $__timeInterval(pane_start) AS time, kind, sum(errors_of_kind.n) AS errors
FROM errors_by_kind AS errors_of_kind
WHERE {{ _VERSION }}
GROUP BY time, kind
ORDER BY time, kind
{% endcall %}

{% call series("traffic.slow", "version:text | slow", period_s=HOUR_S) %}
SELECT
    $__timeInterval(pane_start) AS time, version, {{ finite("sum(pane.slow) / sum(pane.timed)") }} AS slow
FROM all_volume AS pane
WHERE {{ _MODEL }}
GROUP BY time, version
ORDER BY time, version
{% endcall %}

{{ _objective("slow_slo", "latency_share", "1 - ") }}

{% set _LAST_LATENCY %}field = 'latency_ms'{% endset %}

{% call series("traffic.latency", "p50 | p95 | p99", period_s=DISTANCES_S) %}
SELECT
    $__timeInterval(window_end) AS time,
    max({{ finite("stats.p50") }}) AS p50, max({{ finite("stats.p95") }}) AS p95, max({{ finite("stats.p99") }}) AS p99
FROM latest_distances AS stats
WHERE {{ MODEL }} AND {{ VERSION }} AND slice = 'all' AND {{ _LAST_LATENCY }} AND $__timeFilter(window_end)
    AND window = (
        SELECT argMin(window, {{ window_seconds() }}) FROM distances
        WHERE {{ MODEL }} AND {{ VERSION }} AND {{ _LAST_LATENCY }} AND $__timeFilter(window_end)
    )
GROUP BY time
ORDER BY time
{% endcall %}

{{ _objective("latency_slo", "latency_ms") }}
