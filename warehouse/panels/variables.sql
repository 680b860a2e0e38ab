{# Values of the dashboard variables. The first row is the default. #}

{# The worst model comes first. #}

{% from "states.sql" import by_state %}

{% call table("variables.models", "model:text") %}
{{ by_state() }}
{% endcall %}

{% call table("variables.models_with_candidate", "model:text") %}
{{ by_state("model IN (SELECT model FROM shadow_pairs)") }}
{% endcall %}

{# What is scraped, compares prompts, or names metrics, evaluators or a budget in its contract. #}

{% set _IS_LANGUAGE_MODEL -%}
model IN (
    SELECT model FROM serving_facts UNION DISTINCT SELECT model FROM arm_comparisons UNION DISTINCT
    SELECT model FROM contracts GROUP BY model
    HAVING match(argMax(yaml, applied_at), '\\b(input_tokens|output_tokens|ttft_ms|cost_usd|topic|evaluators|prices|budget)\\b')
)
{%- endset %}

{% call table("variables.language_models", "model:text") %}
{{ by_state(_IS_LANGUAGE_MODEL) }}
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

{# The longest window comes first, because it decides when two windows must agree. Those that have ended for more than
   their length come last: the contract no longer has them. Without a baseline only failures have verdicts. #}

{% call table("variables.windows", "window:text") %}
SELECT window
FROM rates
WHERE {{ MODEL }} AND kind = 'error' AND {{ in_range_or_last("rates", "window_end", MODEL ~ " AND kind = 'error'") }}
GROUP BY window
ORDER BY dateDiff('second', max(window_end), max(max(window_end)) OVER ()) > {{ window_seconds() }}, {{ window_seconds() }} DESC
LIMIT 20
{% endcall %}
