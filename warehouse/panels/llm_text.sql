{# Text of language models: shares of topics and languages, distances. Never text or ids.

Panels read the fields that a contract calls `topic`, `language`, `code_share` and `topic_distance`. #}

{% set SHOWN_VALUES = 12 %} {# Topics and languages with an area of their own: the most frequent in the range. #}

{# Return the query for the hourly shares of a category field's cells; rare ones are one series. #}
{% macro _shares(name, field) %}
{% set counts -%}
SELECT $__timeInterval(pane_start) AS time, name, sum(count) AS n
FROM hours AS hour
INNER JOIN ({{ cells_of("'" ~ field ~ "'", selected("slice")) }}) AS cells ON hour.baseline_id = cells.baseline_id
ARRAY JOIN names AS name, counts AS count
WHERE {{ MODEL }} AND {{ VERSION }} AND {{ SLICE }} AND field = '{{ field }}' AND $__timeFilter(pane_start)
    AND length(names) = length(counts) AND count > 0
GROUP BY time, name
{%- endset %}
{% call hourly("llm_text." ~ name, field ~ ":text | share") %}
WITH (SELECT groupArray(name) FROM (
    SELECT name FROM ({{ counts }}) GROUP BY name ORDER BY sum(n) DESC, name LIMIT {{ SHOWN_VALUES }}
)) AS frequent
SELECT time, {{ field }}, {{ finite("n / sum(n) OVER (PARTITION BY time)") }} AS share
FROM
(
    SELECT time, if(has(frequent, name), name, 'further') AS {{ field }}, sum(n) AS n
    FROM ({{ counts }}) GROUP BY time, {{ field }}
)
ORDER BY time, {{ field }}
{% endcall %}
{% endmacro %}

{{ _shares("topics", "topic") }}

{% call hourly("llm_text.new", "new") %}
SELECT $__timeInterval(hour) AS time, sumIf(n, topic = 'new') / sum(n) AS "new"
FROM topic_counts WHERE {{ MODEL }} AND {{ VERSION }} AND $__timeFilter(hour)
GROUP BY time
ORDER BY time
{% endcall %}

{% call series("llm_text.new_thresholds", "unseen | minor threshold | major threshold") %}
SELECT
    $__timeInterval(window_end) AS time,
    max({{ finite("verdict.rate") }}) AS unseen,
    max({{ finite("verdict.baseline_rate + verdict.threshold_minor") }}) AS "minor threshold",
    max({{ finite("verdict.baseline_rate + verdict.threshold_major") }}) AS "major threshold"
FROM latest_rates AS verdict
WHERE {{ MODEL }} AND {{ VERSION }} AND {{ SLICE }} AND field = 'topic' AND {{ WINDOW }} AND kind = 'unseen'
    AND $__timeFilter(window_end)
GROUP BY time
ORDER BY time
{% endcall %}

{# The shares of languages and the means of numbers in the first and in the last day of the range. #}

{% set _IS_LAST %}window_end > $__toTime - INTERVAL 1 DAY{% endset %}
{% set _IS_FIRST %}window_end <= $__fromTime + INTERVAL 1 DAY{% endset %}

{% call table("llm_text.text", "text:text | first day | last day", grain_s=HOUR_S) %}
SELECT text, {{ finite("before") }} AS "first day", {{ finite("now") }} AS "last day"
FROM
(
    SELECT concat('language: ', name) AS text, sumIf(count, {{ _IS_FIRST }}) AS first, sumIf(count, {{ _IS_LAST }}) AS last,
        first / sum(first) OVER () AS before, last / sum(last) OVER () AS now
    FROM
    (
        SELECT pane_start AS window_end, name, count
        FROM hours AS hour
        INNER JOIN ({{ cells_of("'language'", selected("slice")) }}) AS cells ON hour.baseline_id = cells.baseline_id
        ARRAY JOIN names AS name, counts AS count
        WHERE {{ MODEL }} AND {{ VERSION }} AND {{ SLICE }} AND field = 'language' AND $__timeFilter(pane_start)
            AND length(names) = length(counts) AND count > 0
    )
    GROUP BY name
    UNION ALL
    SELECT if(field = 'code_share', 'share of code', 'distance to topic') AS text, 0 AS first, 0 AS last,
        avgIf(stats.mean, {{ _IS_FIRST }}) AS before, avgIf(stats.mean, {{ _IS_LAST }}) AS now
    FROM latest_distances AS stats
    WHERE {{ ALL_EVENTS }} AND field IN ('code_share', 'topic_distance')
    GROUP BY field
)
ORDER BY now DESC, text
LIMIT 30
{% endcall %}
