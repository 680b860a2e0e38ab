{# Values of the dashboard variables. The first row is the default. #}

{% call table("variables.models", "model:text") %}
SELECT DISTINCT model FROM (SELECT model FROM contracts UNION ALL SELECT model FROM progress)
WHERE {{ NO_DRILLS }}
ORDER BY model
LIMIT 1000
/* no range: a model is known as soon as it has a contract */
{% endcall %}

{% set _WITH_TRAFFIC %}{{ MODEL }} AND slice = 'all' AND n > 0{% endset %}

{# The newest version comes first. #}

{% call table("variables.versions", "version:text") %}
SELECT version
FROM volume
WHERE {{ _WITH_TRAFFIC }} AND {{ in_range_or_last("volume", "pane_start", _WITH_TRAFFIC) }}
GROUP BY version
ORDER BY max(pane_start) DESC, min(pane_start) DESC, version DESC
LIMIT 100
{% endcall %}

{% call table("variables.slices", "slice:text") %}
SELECT DISTINCT slice
FROM volume
WHERE {{ MODEL }} AND {{ VERSION }} AND {{ in_range_or_last("volume", "pane_start", MODEL ~ " AND " ~ VERSION) }}
ORDER BY slice != 'all', slice
LIMIT 1000
{% endcall %}

{# The worst field of the range comes first. #}

{% call table("variables.fields", "field:text") %}
SELECT field
FROM latest_drift AS verdict
WHERE {{ MODEL }} AND {{ VERSION }} AND {{ SLICE }}
    AND {{ in_range_or_last("drift", "window_end", MODEL ~ " AND " ~ VERSION ~ " AND " ~ SLICE) }}
GROUP BY field
ORDER BY max({{ level_number(drift_level("verdict")) }}) DESC, max(if(isNaN(verdict.psi), -1, verdict.psi)) DESC, field
LIMIT 1000
{% endcall %}

{# The longest window comes first, because it decides when two windows must agree. #}

{% call table("variables.windows", "window:text") %}
SELECT window
FROM drift
WHERE {{ MODEL }} AND {{ in_range_or_last("drift", "window_end", MODEL) }}
GROUP BY window
ORDER BY {{ window_seconds() }} DESC
LIMIT 20
{% endcall %}
