{# Annotations: the first traffic of a version, new baselines, drills, and changes of the labels of prompts. #}

{% set _COLUMNS %}time:time | text:text | tags:text{% endset %}

{% macro _deployments(name, model) %}
{% call table("events." ~ name, _COLUMNS) %}
SELECT min(pane_start) AS time, concat(model, ': version ', version) AS text, 'deployment' AS tags
FROM volume
WHERE {{ model }} slice = 'all' AND n > 0
GROUP BY model, version
HAVING $__timeFilter(time)
ORDER BY time
LIMIT 200
{% endcall %}
{% endmacro %}

{% macro _baselines(name, model) %}
{% call table("events." ~ name, _COLUMNS) %}
SELECT
    if(toUnixTimestamp(effective_from) = 0, toDateTime(accepted_at), effective_from) AS time,
    concat(model, ': new baseline of ', version, if(reason = '', '', concat(' – ', reason))) AS text,
    'baseline' AS tags
FROM baselines FINAL
WHERE {{ model }} $__timeFilter(time)
ORDER BY time
LIMIT 200
{% endcall %}
{% endmacro %}

{{ _deployments("deployments", MODEL ~ " AND") }}
{{ _deployments("all_deployments", NO_DRILLS ~ " AND") }}
{{ _baselines("baselines", MODEL ~ " AND") }}
{{ _baselines("all_baselines", NO_DRILLS ~ " AND") }}

{% macro _drills(name, model) %}
{% call table("events." ~ name, "time:time | timeEnd:time | text:text | tags:text") %}
SELECT
    fault_start AS time, fault_end AS "timeEnd",
    concat(
        model, ': drill ', fault, if(field = '', '', concat(' ', field)),
        if(mode = 'live', '', ' on replayed events'), if(passed, ' passed', ' failed')
    ) AS text,
    'drill' AS tags
FROM drills FINAL
WHERE {{ model }} fault_start <= $__toTime AND fault_end >= $__fromTime
ORDER BY time
LIMIT 200
{% endcall %}
{% endmacro %}

{{ _drills("drills", MODEL ~ " AND") }}
{{ _drills("all_drills", "") }}

{% macro _prompts(name, prompts) %}
{% call table("events." ~ name, _COLUMNS) %}
SELECT
    changed_at AS time,
    concat(
        if(kind = 'prompt-rollback', 'prompt rolled back: ', 'prompt: '),
        subject, ' ', if(before = '', '', concat(before, ' → ')), after,
        if(reason = '', '', concat(' – ', reason))
    ) AS text,
    'prompt' AS tags
FROM changes FINAL
WHERE kind IN ('prompt-label', 'prompt-rollback') {{ prompts }} AND $__timeFilter(changed_at)
ORDER BY time
LIMIT 200
{% endcall %}
{% endmacro %}

{# A model has the prompts whose versions were compared as its arms. #}

{{ _prompts("prompts", "AND splitByChar(':', subject)[1] IN (SELECT DISTINCT splitByChar('@', toString(arm))[1] FROM arm_comparisons WHERE " ~ MODEL ~ ")") }}
{{ _prompts("all_prompts", "") }}
