{# Performance measured with labels, label-free estimates from scores, and the delay of labels. #}

{% set _RANGE %}$__timeFilter(window_end){% endset %}
{% set _VERSION %}{{ MODEL }} AND {{ VERSION }} AND {{ SLICE }} AND {{ _RANGE }}{% endset %}

{# Performance has its own, non-overlapping windows: a day if there is one, else the shortest. #}

{% set _WINDOW -%}
window = (
        SELECT argMin(window, (window != '1d', {{ window_seconds() }}))
        FROM performance WHERE {{ _VERSION }}
    )
{%- endset %}

{# Metrics for which larger is better: shares. For all others smaller is better, for a bias nearer to 0. #}

{% set _IS_SHARE %}match(metric, '^(accuracy|precision|recall|f1|auc)'){% endset %}
{% set _MEASURED %}if(isFinite(verdict.value) AND verdict.level != 'insufficient', verdict.value, NULL){% endset %}

{% macro _measured(name, condition) %}
{% call series("performance." ~ name, "measured:text | value") %}
SELECT $__timeInterval(window_end) AS time, metric AS measured, min({{ _MEASURED }}) AS value
FROM latest_performance AS verdict
WHERE {{ _VERSION }} AND class = '' AND {{ _WINDOW }} AND {{ condition }}
GROUP BY time, measured
ORDER BY time, measured
{% endcall %}
{% endmacro %}

{% macro _promises(name, condition) %}
{% call series("performance." ~ name, "measured:text | SLO") %}
SELECT $__timeInterval(window_end) AS time, concat(metric, ' SLO') AS measured, max(verdict.promise) AS "SLO"
FROM latest_performance AS verdict
WHERE {{ _VERSION }} AND class = '' AND {{ _WINDOW }} AND {{ condition }} AND isFinite(verdict.promise)
GROUP BY time, measured
ORDER BY time, measured
{% endcall %}
{% endmacro %}

{{ _measured("measured", _IS_SHARE) }}
{{ _promises("promises", _IS_SHARE) }}

{# The model has the metrics of one kind, and the panel shows the first of them. #}

{% set _IS_MAIN -%}
{{ _VERSION }} AND class = '' AND {{ _WINDOW }} AND metric =
        (
            SELECT argMin(metric, indexOf({{ MAIN_METRICS | list }}, metric))
            FROM latest_performance
            WHERE {{ _VERSION }} AND class = '' AND {{ _WINDOW }} AND metric IN {{ MAIN_METRICS }}
        )
{%- endset %}

{# The estimate continues the measured line from its last value on, if there are later windows. #}

{% call series("performance.main_metric", "metric:text | measured | estimated | reference") %}
WITH
    maxIf(time, measured IS NOT NULL) OVER () AS last_measured,
    maxIf(time, expected IS NOT NULL) OVER () AS last_expected
SELECT
    time, metric, measured,
    if(time >= last_measured AND last_expected > last_measured, expected, NULL) AS estimated, reference
FROM
(
    SELECT
        $__timeInterval(window_end) AS time, metric, min({{ _MEASURED }}) AS measured,
        max({{ finite("verdict.cbpe") }}) AS expected, min({{ finite("verdict.reference") }}) AS reference
    FROM latest_performance AS verdict
    WHERE {{ _IS_MAIN }}
    GROUP BY time, metric
)
ORDER BY time, metric
{% endcall %}

{% call series("performance.main_promise", "SLO") %}
SELECT $__timeInterval(window_end) AS time, max(verdict.promise) AS "SLO"
FROM latest_performance AS verdict
WHERE {{ _IS_MAIN }} AND isFinite(verdict.promise)
GROUP BY time
ORDER BY time
{% endcall %}

{% call table("performance.metrics",
    "measured:text | level:text | reason:text | value | 95 % CI:text | SLO | reference | difference | labelled | coverage | maturity | labels:text | warning:text | window end:time") %}
SELECT
    if(class = '', metric, concat(metric, ' of ', class)) AS measured, level, reason,
    {{ finite("value") }} AS value,
    {{ interval("low", "high") }} AS "95 % CI", {{ finite("promise") }} AS "SLO",
    {{ finite("reference") }} AS "reference", {{ finite("difference") }} AS difference, n AS labelled,
    {{ finite("coverage") }} AS coverage, {{ finite("maturity") }} AS maturity,
    if(mature, 'mature', 'maturing') AS labels,
    if(selective, 'selective labels', '') AS warning, window_end AS "window end"
FROM latest_performance
WHERE {{ _VERSION }} AND {{ _WINDOW }}
ORDER BY window_end DESC, class, metric
LIMIT 100
{% endcall %}

{% call series("performance.cbpe", "measured:text | expected | measured with labels") %}
SELECT
    $__timeInterval(window_end) AS time, metric AS measured,
    max({{ finite("verdict.cbpe") }}) AS expected,
    max(if(verdict.mature AND verdict.level != 'insufficient', {{ finite("verdict.value") }}, NULL))
        AS "measured with labels"
FROM latest_performance AS verdict
WHERE {{ _VERSION }} AND class = '' AND {{ _WINDOW }} AND isFinite(verdict.cbpe)
GROUP BY time, measured
ORDER BY time, measured
{% endcall %}

{% set _COUNTS %}FROM label_counts AS counted WHERE {{ MODEL }} AND {{ VERSION }} AND $__timeFilter(hour){% endset %}

{% call hourly("performance.label_coverage", "labelled") %}
SELECT
    $__timeInterval(hour) AS time,
    {{ finite("sumIf(counted.n, kind = 'labelled') / sumIf(counted.n, kind = 'predictions')") }} AS labelled
{{ _COUNTS }}
GROUP BY time
ORDER BY time
{% endcall %}

{# A curve over label ages, not over time. #}

{% call table("performance.label_maturity", "age:text | share of labels", grain_s=HOUR_S) %}
SELECT
    multiIf(age_s < 3600, concat(toString(toUInt32(round(age_s / 60))), ' min'),
        age_s < 172800, concat(toString(toUInt32(round(age_s / 3600))), ' h'),
        concat(toString(toUInt32(round(age_s / 86400))), ' d')) AS age,
    max(share) AS "share of labels"
FROM label_maturity
WHERE {{ MODEL }}
GROUP BY age
ORDER BY min(age_s)
LIMIT 60
/* no range: the view has the latest curve, and it is learned on the wall clock */
{% endcall %}
