{# What inference servers report about themselves, and how versions are served, for the selected model. #}

{% set SCRAPE_S = 15 %} {# Default seconds between two scrapes. #}
{% set _RANGE %}$__timeFilter(fact.at){% endset %}

{# Return the query for the largest value of a gauge in each step, by instance. #}
{% macro _gauges(name, fact, column) %}
{% call series("serving." ~ name, "instance:text | " ~ column, grain_s=SCRAPE_S, period_s=MINUTE_S) %}
SELECT $__timeInterval(fact.at) AS time, fact.instance AS instance, max(fact.value) AS {{ column }}
FROM serving_facts AS fact FINAL
WHERE {{ MODEL }} AND fact.name = '{{ fact }}' AND {{ _RANGE }}
GROUP BY time, instance
ORDER BY time, instance
{% endcall %}
{% endmacro %}

{# Return the query for a share in each step, by instance: of sums where the server counts, else the mean. #}
{% macro _shares(name, fact) %}
{% call series("serving." ~ name, "instance:text | share", grain_s=SCRAPE_S, period_s=MINUTE_S) %}
SELECT $__timeInterval(fact.at) AS time, fact.instance AS instance,
    if(sum(fact.n) > 0, sum(fact.total) / sum(fact.n), avg(fact.value)) AS share
FROM serving_facts AS fact FINAL
WHERE {{ MODEL }} AND fact.name = '{{ fact }}' AND {{ _RANGE }}
GROUP BY time, instance
ORDER BY time, instance
{% endcall %}
{% endmacro %}

{% call series("serving.requests", "state:text | requests", grain_s=SCRAPE_S, period_s=MINUTE_S) %}
SELECT time, replaceOne(name, '_requests', '') AS state, sum(requests) AS requests
FROM
(
    SELECT $__timeInterval(fact.at) AS time, fact.name AS name, fact.instance AS instance,
        max(fact.value) AS requests
    FROM serving_facts AS fact FINAL
    WHERE {{ MODEL }} AND fact.name IN ('running_requests', 'waiting_requests') AND {{ _RANGE }}
    GROUP BY time, name, instance
)
GROUP BY time, state
ORDER BY time, state
{% endcall %}

{{ _gauges("kv_cache", "kv_cache_use", "share") }}
{{ _shares("cache_hits", "prefix_cache_hits") }}

{% set _PARTS = ("queue_ms", "prefill_ms", "decode_ms") %}

{% call table("serving.instances",
    "instance:text | server:text | state:text | scrapes read | restarts | finished | last scrape:time") %}
SELECT
    fact.instance AS instance,
    argMax(fact.server, (fact.server != '', fact.at)) AS server,
    if(argMaxIf(fact.value, fact.at, fact.name = 'up') = 1, 'reports', 'silent') AS state,
    avgIf(fact.value, fact.name = 'up') AS "scrapes read",
    sumIf(fact.value, fact.name = 'restarts') AS restarts,
    sumIf(fact.value, fact.name = 'finished_requests') AS finished,
    max(fact.at) AS "last scrape"
FROM serving_facts AS fact FINAL
WHERE {{ MODEL }} AND fact.name IN ('up', 'restarts', 'finished_requests') AND {{ _RANGE }}
GROUP BY instance
ORDER BY instance
LIMIT 100
{% endcall %}

