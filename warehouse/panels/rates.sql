{# Verdicts on rates: nulls, invalid, out-of-range and unseen values, compared with the baseline. #}

{% from "drift.sql" import SHOWN_LINES %}

{% set _RANGE %}$__timeFilter(window_end){% endset %}
{% set _MODEL %}{{ MODEL }} AND {{ VERSION }} AND {{ SLICE }} AND {{ WINDOW }} AND {{ _RANGE }}{% endset %}
{% set _FIELD %}{{ _MODEL }} AND {{ FIELD }}{% endset %}

{% call series("rates.rates", "rate:text | delta") %}
SELECT $__timeInterval(window_end) AS time, concat(field, ': ', kind) AS rate,
    max({{ finite("verdict.delta") }}) AS delta
FROM latest_rates AS verdict
WHERE {{ _MODEL }} AND field != '' AND (field, kind) IN (
    SELECT field, kind FROM rates WHERE {{ _MODEL }} AND field != '' GROUP BY field, kind
    ORDER BY max(abs(if(isNaN(rates.delta), 0, rates.delta))) DESC, field, kind LIMIT {{ SHOWN_LINES }}
)
GROUP BY time, rate
ORDER BY time, rate
{% endcall %}

{% macro _thresholds(name, condition) %}
{% call series("rates." ~ name, "minor threshold | major threshold") %}
SELECT $__timeInterval(window_end) AS time, min(threshold_minor) AS "minor threshold",
    min(threshold_major) AS "major threshold"
FROM rates
WHERE {{ condition }}
GROUP BY time
ORDER BY time
{% endcall %}
{% endmacro %}

{{ _thresholds("thresholds", _MODEL) }}

{% call series("rates.nulls", "rate | baseline | minor threshold | major threshold") %}
SELECT
    $__timeInterval(window_end) AS time,
    max({{ finite("verdict.rate") }}) AS rate,
    max({{ finite("verdict.baseline_rate") }}) AS baseline,
    max({{ finite("verdict.baseline_rate + verdict.threshold_minor") }}) AS "minor threshold",
    max({{ finite("verdict.baseline_rate + verdict.threshold_major") }}) AS "major threshold"
FROM latest_rates AS verdict
WHERE {{ _FIELD }} AND kind = 'null'
GROUP BY time
ORDER BY time
{% endcall %}

{# Which of these a field can have depends on its type: unseen values are of categories, the range is of numbers. Each
   has a rate of its own in the baseline, so that one threshold holds only for the changes. #}

{% set _OUTSIDE %}{{ _FIELD }} AND kind IN {{ literals(RATE_KIND_NAMES | reject("equalto", "null")) }}{% endset %}

{% call series("rates.outside", "kind:text | delta") %}
SELECT $__timeInterval(window_end) AS time, kind, max({{ finite("verdict.delta") }}) AS delta
FROM latest_rates AS verdict
WHERE {{ _OUTSIDE }}
GROUP BY time, kind
ORDER BY time, kind
{% endcall %}

{{ _thresholds("outside_thresholds", _OUTSIDE) }}

{% macro _now(name, kinds) %}
{% call table("rates." ~ name ~ "_now", "rate | baseline") %}
SELECT {{ finite("max(last.1)") }} AS rate, {{ finite("argMax(last.2, last.1)") }} AS baseline
FROM
(
    SELECT kind, argMax((rate, baseline_rate), (window_end, record_seq, n)) AS last
    FROM rates WHERE {{ _FIELD }} AND kind IN {{ literals(kinds) }} GROUP BY kind
)
HAVING count() > 0
{% endcall %}
{% endmacro %}

{{ _now("nulls", ("null",)) }}
{{ _now("unseen", ("unseen",)) }}
{{ _now("range", RATE_KIND_NAMES | reject("in", ("null", "unseen")) | list) }}

{% call table("rates.categories", "category:text | first seen:time | last seen:time | at least | at most", grain_s=3600) %}
SELECT
    category, max(value.first_seen) AS "first seen", max(value.last_seen) AS "last seen",
    sum(value.n) AS "at least", sum(value.n_high) AS "at most"
FROM unseen_categories AS value
WHERE {{ MODEL }} AND {{ FIELD }} AND first_seen <= $__toTime AND last_seen >= $__fromTime
GROUP BY category
ORDER BY "at least" DESC, category
LIMIT 100
{% endcall %}
