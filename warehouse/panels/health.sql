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
