{# Comparisons of a version with its predecessor, and of the arms of a test with the control. #}

{% set _RANGE %}$__timeFilter(window_end){% endset %}
{% set _WINDOW %}{{ MODEL }} AND {{ WINDOW }} AND {{ _RANGE }}{% endset %}

{# Return the query for the latest comparison of each measure, the largest differences first. #}
{% macro _last(name, view, left, right, and_where) %}
{% call table("comparisons." ~ name,
    left ~ ":text | " ~ right ~ ":text | field:text | measured:text | " ~ left ~ " value | " ~ right ~ " value | difference | 95 % CI:text | level:text | reason:text | window end:time") %}
SELECT
    {{ left }}, {{ right }}, field, if(category = '', measure, concat(measure, ' of ', category)) AS measured,
    {{ finite(left ~ "_value") }} AS "{{ left }} value", {{ finite(right ~ "_value") }} AS "{{ right }} value",
    {{ finite("difference") }} AS difference,
    {{ interval("difference_low", "difference_high") }} AS "95 % CI",
    if(level = '', 'no threshold', level) AS level, reason, window_end AS "window end"
FROM {{ view }}
WHERE {{ _WINDOW }} AND {{ and_where }}
    AND window_end = (SELECT max(window_end) FROM {{ view }} WHERE {{ _WINDOW }} AND {{ and_where }})
ORDER BY indexOf(['major', 'minor', 'insufficient', 'stable'], level) = 0,
    indexOf(['major', 'minor', 'insufficient', 'stable'], level), {{ right }}, field, measured
LIMIT 200
{% endcall %}
{% endmacro %}

{{ _last("arms", "arm_comparison", "control", "arm", "1 = 1") }}

{% call table("comparisons.arm_ratio",
    "arm:text | expected | observed | units | crossovers | without_unit | p | level:text | reason:text | since:time | at:time") %}
SELECT
    arm, expected_share AS expected, {{ finite("share") }} AS observed, units, crossovers, without_unit,
    p_value AS "p", level, reason, since, at
FROM latest_arm_ratios
WHERE {{ MODEL }} AND at >= $__fromTime - INTERVAL 1 DAY
ORDER BY arm
LIMIT 50
{% endcall %}

{% set _MEASURED %}{{ MODEL }} AND {{ VERSION }} AND $__timeFilter(measured.window_end){% endset %}

