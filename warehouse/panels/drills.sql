{# The last drill of each model, fault and field, on the wall clock: the range of the page does not apply. #}

{% set KNOWN_MODELS -%}
SELECT DISTINCT model FROM contracts WHERE {{ NO_DRILLS }} UNION DISTINCT SELECT DISTINCT model FROM progress WHERE {{ NO_DRILLS }}
{%- endset %}

{% set _LAST -%}
SELECT
    model, fault, field,
    argMax(
        (at, passed, mode, page_after_s, predicted_low_s, predicted_high_s, degraded_after_s,
         arrayFirst((text, is_met) -> NOT is_met, arrayMap((wanted, seen) -> concat(wanted, ': ', seen),
             expected, observed), met)),
        (at, drill_id)
    ) AS last
FROM drills
GROUP BY model, fault, field
{%- endset %}

{% macro _known(seconds) -%}
if(drill.fault = '' OR NOT isFinite({{ seconds }}), NULL, {{ seconds }})
{%- endmacro %}

{% call table("drills.last",
    "model:text | fault:text | field:text | result:text | run:text | page after | predicted from | predicted to | degraded after | mode:text | expected and observed:text") %}
SELECT
    known.model AS model,
    drill.fault AS fault,
    drill.field AS field,
    multiIf(drill.fault = '', 'never run', drill.last.2, 'passed', 'failed') AS result,
    if(drill.fault = '', '', formatDateTime(drill.last.1, '%F %R')) AS run,
    {{ _known("drill.last.4") }} AS "page after",
    {{ _known("drill.last.5") }} AS "predicted from",
    {{ _known("drill.last.6") }} AS "predicted to",
    {{ _known("drill.last.7") }} AS "degraded after",
    drill.last.3 AS mode,
    drill.last.8 AS "expected and observed"
FROM
(
    SELECT model FROM ({{ KNOWN_MODELS }})
    WHERE (SELECT count() FROM drills) > 0 /* no range: the last drill counts, however old it is */
    UNION DISTINCT SELECT model FROM drills
) AS known
LEFT JOIN ({{ _LAST }}) AS drill ON known.model = drill.model
ORDER BY indexOf(['failed', 'never run', 'passed'], result), model, fault, field
LIMIT 500
{% endcall %}
