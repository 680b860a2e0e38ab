{# Arms that serve versions of a prompt, compared after every hour, and changes of prompts. #}

{% set SHOWN_CHANGES = 100 %} {# Most rows of the table of changes. #}
{% set _LOOKS %}{{ MODEL }} AND look.at > $__fromTime AND look.at <= $__toTime{% endset %}
{% set _LAST -%}
SELECT arm, control, criterion, outcome, value, low, high, margin, unit, control_value, arm_events, arm_units, at FROM arm_comparisons AS look FINAL WHERE {{ _LOOKS }} ORDER BY look.at DESC LIMIT 1 BY arm, control, criterion
{%- endset %}

{% call table("arm_comparisons.last",
    "arm:text | control:text | criterion:text | outcome:text | difference | interval:text | margin | unit:text | control's value | predictions | units | last look:time", grain_s=HOUR_S) %}
SELECT
    last.arm AS arm,
    last.control AS control,
    last.criterion AS criterion,
    last.outcome AS outcome,
    {{ finite("last.value * 100") }} AS difference,
    {{ interval("last.low * 100", "last.high * 100") }} AS interval,
    last.margin * 100 AS margin,
    if(last.unit = 'share', 'points', '%') AS unit,
    {{ finite("last.control_value") }} AS "control's value",
    last.arm_events AS predictions,
    last.arm_units AS units,
    last.at AS "last look"
FROM ({{ _LAST }}) AS last
ORDER BY outcome != '{{ HARM }}', "last look" DESC, arm, criterion
LIMIT 100
{% endcall %}

{# The comparison whose interval was nearest to harm, or furthest in it, at any look of the range. #}

{% set _WORST -%}
SELECT argMax(tuple(arm, control, criterion), look.low - margin) FROM arm_comparisons AS look FINAL WHERE {{ _LOOKS }} AND isFinite(look.low)
{%- endset %}

{% call series("arm_comparisons.intervals", "judged:text | difference | at least | at most | margin", grain_s=HOUR_S) %}
SELECT
    $__timeInterval(look.at) AS time,
    concat(any(arm), ' and ', any(control), ': ', any(criterion)) AS judged,
    argMax({{ finite("look.value") }}, look.at) AS difference,
    argMax({{ finite("look.low") }}, look.at) AS "at least",
    argMax({{ finite("look.high") }}, look.at) AS "at most",
    argMax(look.margin, look.at) AS margin
FROM arm_comparisons AS look FINAL
WHERE {{ _LOOKS }} AND (arm, control, criterion) = ({{ _WORST }})
GROUP BY time
ORDER BY time
{% endcall %}

{% set _OUTCOMES = {NO_HARM: LEVEL_NUMBERS["stable"], UNDECIDED: LEVEL_NUMBERS["insufficient"], INSUFFICIENT: LEVEL_NUMBERS["insufficient"], HARM: LEVEL_NUMBERS["major"]} %}

{% call table("arm_comparisons.changes",
    "time:time | kind:text | subject:text | before:text | after:text | reason:text | changed by:text") %}
SELECT changed_at AS time, kind, subject, before, after, reason, changed_by AS "changed by"
FROM changes FINAL
WHERE $__timeFilter(changed_at)
ORDER BY time DESC
LIMIT {{ SHOWN_CHANGES }}
{% endcall %}
