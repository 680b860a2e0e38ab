{# The state of a model for serving, as the guard published it. #}

{% set SILENT_AFTER_S = 180 %} {# Time after the last record from which there is none, in seconds: three times its period. #}

{# A step shows the worst state in it. Without a record for three minutes, `no record` follows the last one. #}

{% call series("health.states", "state", grain_s=MINUTE_S) %}
SELECT $__timeInterval(moment) AS time, max(number) AS state
FROM
(
    SELECT
        at, transform(state, {{ STATE_NUMBERS | list }}, {{ STATE_NUMBERS.values() | list }}, 0) AS own,
        leadInFrame(at, 1, least($__toTime, now64(3, 'UTC'))) OVER
        (
            ORDER BY at ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
        ) AS following,
        if(dateDiff('second', at, following) > {{ SILENT_AFTER_S }},
            [(at, own), (at + INTERVAL {{ SILENT_AFTER_S }} SECOND, {{ STATE_NUMBERS["no record"] }})],
            [(at, own)]) AS states
    FROM model_health
    WHERE {{ MODEL }} AND $__timeFilter(at)
)
ARRAY JOIN states.1 AS moment, states.2 AS number
GROUP BY time
ORDER BY time
{% endcall %}

{% call table("health.reasons", "rule:text | field:text | state:text | first record:time | last record:time | text:text") %}
SELECT
    reason.1 AS rule, reason.2 AS field, argMax(state, at) AS state, min(at) AS "first record",
    max(at) AS "last record", argMax(reason.3, at) AS text
FROM model_health
ARRAY JOIN arrayZip(rules, fields, texts) AS reason
WHERE {{ MODEL }} AND $__timeFilter(at)
GROUP BY rule, field
ORDER BY "last record" DESC, rule, field
LIMIT 200
{% endcall %}

{# The age is relative to the end of the range, so that a page of last week shows its state at that time. #}

{% call table("freshness.sealed_age", "age") %}
SELECT greatest(0, dateDiff('second', max(pane_start + pane_s), least($__toTime, now('UTC')))) AS age
FROM volume
WHERE {{ MODEL }} AND slice = 'all' AND sealed AND pane_start <= $__toTime
HAVING count() > 0
{% endcall %}

{% call table("freshness.completeness", "completeness") %}
SELECT {{ finite("min(last)") }} AS completeness
FROM
(
    SELECT argMax(completeness, (window_end, record_seq)) AS last
    FROM rates
    WHERE {{ MODEL }} AND {{ VERSION }} AND {{ SLICE }} AND {{ WINDOW }} AND kind = 'error' AND $__timeFilter(window_end)
    GROUP BY baseline_id
)
HAVING count() > 0
{% endcall %}
