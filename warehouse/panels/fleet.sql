{# Overview of all models but those of drills: the slice `all`, over every version that has verdicts.

The state at the end of the range comes from its last day; older verdicts are outdated. #}

{% from "drift.sql" import psi_thresholds %}

{% set _LAST_DAY %}{{ NO_DRILLS }} AND window_end > $__toTime - INTERVAL 1 DAY AND window_end <= $__toTime{% endset %}
{% set _TRAFFIC %}{{ NO_DRILLS }} AND slice = 'all' AND $__timeFilter(pane_start){% endset %}

{# The last window end of each length, from the one rate that every window has exactly once. #}

{% set _ENDS -%}
SELECT model, version, window, max(window_end) AS last_end
FROM rates
WHERE slice = 'all' AND field = 'events' AND kind = 'error' AND {{ _LAST_DAY }}
GROUP BY model, version, window
{%- endset %}

{# Only one hour of a day's verdicts on all fields of all models is needed; the first condition is the fast one. #}

{% set _LAST_WINDOWS -%}
{{ _LAST_DAY }} AND window_end IN (SELECT last_end FROM ({{ _ENDS }}))
    AND (model, version, window, window_end) IN ({{ _ENDS }})
{%- endset %}

{# Select per model `number`, the number of its worst level, and `worst`, the field with that level and its PSI. #}
{% macro _by_model(psi="nan") -%}
SELECT model, max(last.1) AS number, argMax((field, last.2), last) AS worst
FROM
(
    SELECT model, version, field, argMax(verdict, {{ window_seconds() }}) AS last
    FROM
    (
        SELECT
            model, version, field, window,
            argMax(({{ level_number(drift_level("drift")) }}, ifNotFinite({{ psi }}, -1)), record_seq) AS verdict
        FROM drift
        WHERE slice = 'all' AND {{ _LAST_WINDOWS }}
        GROUP BY model, version, field, window
    )
    GROUP BY model, version, field
)
GROUP BY model
{%- endmacro %}

{% set KNOWN_MODELS -%}
SELECT DISTINCT model FROM contracts WHERE {{ NO_DRILLS }} UNION DISTINCT SELECT DISTINCT model FROM progress WHERE {{ NO_DRILLS }}
{%- endset %}

{# A model is silent without requests for an hour, and for longer than its longest gap in the range. #}

{% set _TRAFFIC_OF -%}
SELECT
    model, sum(pane.n) AS requests, sum(pane.errors) AS errors, sum(pane.timed) AS timed, sum(pane.slow) AS slow,
    arraySort(groupUniqArrayIf(toInt64(toUnixTimestamp(pane_start)), pane.n > 0)) AS busy,
    if(length(busy) > 1, arrayMax(arrayPopFront(arrayDifference(busy))), 0) AS usual_gap_s,
    toInt64(toUnixTimestamp(least($__toTime, now('UTC')))) - busy[-1] - any(pane.pane_s) AS silent_s,
    if(empty(busy) OR silent_s > greatest(usual_gap_s, 3600), 'silent', 'active') AS state
FROM all_volume AS pane
WHERE {{ _TRAFFIC }}
GROUP BY model
{%- endset %}

{% macro _count_of(name, number) -%}
SELECT countIf(number = {{ number }}) AS {{ name }} FROM ({{ _by_model() }})
{%- endmacro %}

{% call table("fleet.models", "models") %}
SELECT count() AS models FROM ({{ KNOWN_MODELS }}) /* no range: a model is known as soon as it has a contract */
{% endcall %}

{% call table("fleet.in_breach", "breach") %}
{{ _count_of("breach", LEVEL_NUMBERS["major"]) }}
{% endcall %}

{% call table("fleet.insufficient", "insufficient") %}
SELECT countIf(drift.number IN (0, {{ LEVEL_NUMBERS["insufficient"] }})) AS insufficient
FROM ({{ KNOWN_MODELS }}) AS known
LEFT JOIN ({{ _by_model() }}) AS drift ON known.model = drift.model
{% endcall %}

{% call table("fleet.silent", "silent") %}
SELECT countIf(traffic.state != 'active') AS silent
FROM ({{ KNOWN_MODELS }}) AS known
LEFT JOIN ({{ _TRAFFIC_OF }}) AS traffic ON known.model = traffic.model
{% endcall %}

{% call table("fleet.worst_psi", "psi | field:text") %}
SELECT nullIf(worst.2, -1) AS psi, concat(model, ': ', worst.1) AS field
FROM ({{ _by_model("drift.psi") }})
ORDER BY worst.2 DESC, model
LIMIT 1
{% endcall %}

{# Only the longest window: mixing windows would make levels jump between steps. #}

{% set _OF_LONGEST -%}
{{ NO_DRILLS }} AND slice = 'all' AND $__timeFilter(window_end) AND (model, window) IN
    (
        SELECT model, argMax(window, {{ window_seconds() }})
        FROM drift_levels
        WHERE slice = 'all' AND $__timeFilter(window_end)
        GROUP BY model
    )
{%- endset %}

{# The end of the first window since which a model drifts: after its last stable one. A window is stable if all fields
   with enough data are; one without such a field ends no drift. `since` is 1970 if no window of the range drifts, and
   `last_stable` if none is stable: a model that drifts within a day of the start may have drifted before. #}

{% set _ONSET -%}
SELECT
    model, arraySort(groupArray((window_end, number))) AS levels,
    arrayLast(each -> each.2 = {{ LEVEL_NUMBERS["stable"] }}, levels).1 AS last_stable,
    arrayFirst(each -> each.1 > last_stable AND each.2 > {{ LEVEL_NUMBERS["insufficient"] }}, levels).1 AS since
FROM
(
    SELECT model, window_end, maxIf({{ level_number("verdict.level") }}, verdict.level != 'insufficient') AS number
    FROM drift_levels AS verdict
    WHERE {{ _OF_LONGEST }}
    GROUP BY model, window_end
)
GROUP BY model
{%- endset %}

{% call table("fleet.levels_now",
    "model:text | drift:text | since:text | rates:text | performance:text | traffic:text | worst field:text | PSI | requests | errors | slow | completeness | last request") %}
SELECT
    known.model AS model,
    {{ level_name("drift.number") }} AS drift,
    if(onset.since > onset.last_stable AND drift.number >= {{ LEVEL_NUMBERS["minor"] }},
        concat(
            if(toUnixTimestamp(onset.last_stable) = 0 AND onset.since < $__fromTime + INTERVAL 1 DAY,
                'before ', ''),
            formatDateTime(onset.since, '%F %R')
        ), '') AS since,
    {{ level_name("rates.number") }} AS rates,
    {{ level_name("performance.number") }} AS performance,
    if(traffic.state = '', 'silent', traffic.state) AS traffic,
    drift.worst.1 AS "worst field",
    if(drift.number = 0, NULL, nullIf(drift.worst.2, -1)) AS "PSI",
    traffic.requests AS requests,
    {{ finite("traffic.errors / traffic.requests") }} AS errors,
    {{ finite("traffic.slow / traffic.timed") }} AS slow,
    if(completeness.model = '', NULL, completeness.completeness) AS completeness,
    if(empty(traffic.busy), NULL, greatest(0, traffic.silent_s)) AS "last request"
FROM ({{ KNOWN_MODELS }}) AS known
LEFT JOIN ({{ _by_model("drift.psi") }}) AS drift ON known.model = drift.model
LEFT JOIN ({{ _ONSET }}) AS onset ON known.model = onset.model
LEFT JOIN
(
    SELECT model, min(last) AS completeness
    FROM
    (
        SELECT model, version, window, argMax(completeness, (window_end, record_seq)) AS last
        FROM rates
        WHERE slice = 'all' AND field = 'events' AND kind = 'error' AND {{ _LAST_DAY }}
        GROUP BY model, version, window
    )
    GROUP BY model
) AS completeness ON known.model = completeness.model
LEFT JOIN
(
    SELECT model, max(number) AS number
    FROM
    (
        SELECT model, version, field, kind, window, argMax({{ level_number() }}, record_seq) AS number
        FROM rates
        WHERE slice = 'all' AND {{ _LAST_WINDOWS }}
        GROUP BY model, version, field, kind, window
    )
    GROUP BY model
) AS rates ON known.model = rates.model
LEFT JOIN
(
    SELECT model, max(number) AS number
    FROM
    (
        SELECT model, version, metric, argMax({{ level_number() }}, (window_end, revision)) AS number
        FROM performance
        WHERE {{ NO_DRILLS }} AND slice = 'all' AND class = '' AND window = '1d' AND $__timeFilter(window_end)
        GROUP BY model, version, metric
    )
    GROUP BY model
) AS performance ON known.model = performance.model
LEFT JOIN ({{ _TRAFFIC_OF }}) AS traffic ON known.model = traffic.model
ORDER BY greatest(drift.number, rates.number, performance.number) DESC, "PSI" DESC, model
LIMIT 500
{% endcall %}

{% call series("fleet.levels", "model:text | level") %}
SELECT $__timeInterval(window_end) AS time, model, max({{ level_number("verdict.level") }}) AS level
FROM drift_levels AS verdict
WHERE {{ _OF_LONGEST }}
GROUP BY time, model
ORDER BY time, model
{% endcall %}

{% call series("fleet.worst_psi_over_time", "model:text | psi") %}
SELECT
    $__timeInterval(window_end) AS time, model,
    if(max({{ level_number("verdict.level") }}) = {{ LEVEL_NUMBERS["insufficient"] }}, NULL,
        maxIf({{ finite("verdict.worst_psi") }}, verdict.level != 'insufficient')) AS psi
FROM drift_levels AS verdict
WHERE {{ _OF_LONGEST }}
GROUP BY time, model
ORDER BY time, model
{% endcall %}

{{ psi_thresholds("fleet.psi_thresholds", _OF_LONGEST) }}

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
