{# Verdicts on distributions: PSI over time with its thresholds, levels over time, and the latest window.

The variable `version` separates versions that ran side by side. A verdict is drawn at the end of its window; a step of
a panel shows its worst verdict. #}

{% set _RANGE %}$__timeFilter(window_end){% endset %}
{% set _ALL_WINDOWS %}{{ MODEL }} AND {{ VERSION }} AND {{ SLICE }} AND {{ _RANGE }}{% endset %}
{% set _MODEL %}{{ MODEL }} AND {{ VERSION }} AND {{ SLICE }} AND {{ WINDOW }} AND {{ _RANGE }}{% endset %}
{% set _FIELD %}{{ MODEL }} AND {{ VERSION }} AND {{ SLICE }} AND {{ FIELD }} AND {{ WINDOW }} AND {{ _RANGE }}{% endset %}
{% set SHOWN_FIELDS = 20 %} {# Maximum number of fields in a panel with a row per field. Tables show all fields. #}
{% set SHOWN_LINES = 8 %} {# Maximum number of fields in a panel with a line per field, so that colours stay distinguishable. #}

{# Select the fields with the worst level in the range, and of one level those with the largest PSI first. #}
{% macro _worst(fields) -%}
{%- set judged %}ranked.level != 'insufficient'{% endset %}
SELECT field FROM latest_drift AS ranked WHERE {{ _MODEL }} GROUP BY field
ORDER BY maxIf({{ level_number(drift_level("ranked")) }} AS number, number != {{ LEVEL_NUMBERS["insufficient"] }}) DESC,
    maxIf(ifNotFinite(ranked.psi, -1), {{ judged }}) DESC,
    min(ifNotFinite(ranked.mean_p, 1)), field
LIMIT {{ fields }}
{%- endmacro %}

{% macro _psi_of(name, fields) %}
{% call series(name, "field:text | psi") %}
SELECT $__timeInterval(window_end) AS time, field,
    max(if(verdict.level = 'insufficient', NULL, verdict.psi)) AS psi
FROM latest_drift AS verdict
WHERE {{ _MODEL }} AND field IN ({{ fields }})
GROUP BY time, field
ORDER BY time, field
{% endcall %}
{% endmacro %}

{{ _psi_of("drift.psi", _worst(SHOWN_LINES)) }}
{{ _psi_of("drift.outputs_psi", "'score', 'class'") }}

{# Return the query for the lowest thresholds in force at each step, among the windows that meet a condition. #}
{% macro psi_thresholds(name, condition) %}
{% call series(name, "minor threshold | major threshold") %}
SELECT $__timeInterval(window_end) AS time, min(threshold_minor) AS "minor threshold",
    min(threshold_major) AS "major threshold"
FROM drift
WHERE {{ condition }}
GROUP BY time
ORDER BY time
{% endcall %}
{% endmacro %}

{{ psi_thresholds("drift.psi_thresholds", _MODEL) }}

{# Levels of drift, and of rates that are beyond a threshold, in all windows: one with too little data hides no other. #}

{% set _LEVELS -%}
SELECT window_end, field, {{ level_number(drift_level("verdict")) }} AS number,
    if(verdict.level = 'insufficient', -1, ifNotFinite(verdict.psi, -1)) AS size
FROM latest_drift AS verdict
WHERE {{ _ALL_WINDOWS }}
UNION ALL
SELECT window_end, field, {{ level_number("verdict.level") }} AS number, -1 AS size
FROM latest_rates AS verdict
WHERE {{ _ALL_WINDOWS }} AND kind != 'error' AND verdict.level IN ('minor', 'major')
{%- endset %}
{% set _LEVEL %}if(max(number) > {{ LEVEL_NUMBERS["insufficient"] }}, max(number), min(number)){% endset %}

{# The plugin orders series by their labels, so the rank comes first, also in the alphabet. #}

{% call series("drift.levels", "drift_rank:text | field:text | level") %}
WITH (SELECT groupArray(field) FROM (
    SELECT field FROM ({{ _LEVELS }}) GROUP BY field
    ORDER BY maxIf(number, number != {{ LEVEL_NUMBERS["insufficient"] }}) DESC, max(size) DESC, field LIMIT {{ SHOWN_FIELDS }}
)) AS worst
SELECT
    $__timeInterval(window_end) AS time, leftPad(toString(indexOf(worst, field)), 2, '0') AS drift_rank, field,
    {{ _LEVEL }} AS level
FROM ({{ _LEVELS }})
WHERE has(worst, field)
GROUP BY time, field
ORDER BY time, drift_rank
{% endcall %}

{# The latest verdict of each field in the range, in one pass over the table; record_seq selects the revision. #}

{% set LAST_VERDICTS -%}
SELECT field, argMax((window_end, {{ drift_level("drift") }}, psi, psi_low, psi_high, q_value, n, top_bin, expected_share,
    actual_share, completeness, {{ drift_reason("drift") }}, mean_p, level), (window_end, record_seq, n)) AS last
FROM drift
WHERE {{ _MODEL }}
GROUP BY field
{%- endset %}

{# With little data a PSI is large by chance. #}

{% set _CLEAREST %}ORDER BY last.14 = 'insufficient', isNaN(last.3), last.3 DESC, field{% endset %}

{% set COMPARED_FIELDS = 3 %} {# Number of fields whose last window is shown beside the baseline. #}

{# The values of a variable that a panel is repeated by. #}

{% call table("drift.worst_fields", "field:text") %}
SELECT field FROM ({{ LAST_VERDICTS }}) {{ _CLEAREST }} LIMIT {{ COMPARED_FIELDS }}
{% endcall %}

{% call table("drift.fields",
    "field:text | level:text | reason:text | PSI | 95 % CI:text | top cell:text | baseline share | current share | q value | events | completeness | window end:time") %}
SELECT
    field,
    last.2 AS level,
    last.12 AS reason,
    {{ finite("last.3") }} AS "PSI",
    {{ interval("last.4", "last.5") }} AS "95 % CI",
    last.8 AS "top cell",
    {{ finite("last.9") }} AS "baseline share",
    {{ finite("last.10") }} AS "current share",
    {{ finite("last.6") }} AS "q value",
    last.7 AS events,
    {{ finite("last.11") }} AS completeness,
    last.1 AS "window end"
FROM ({{ LAST_VERDICTS }})
ORDER BY {{ level_number("last.2") }} DESC, if(last.14 = 'insufficient', ifNotFinite(last.13, 1), 0), last.3 DESC, field
LIMIT 500
{% endcall %}

{% call table("drift.slices",
    "slice:text | level:text | major fields | minor fields | insufficient fields | worst field:text | PSI") %}
SELECT
    slice,
    {{ level_name("max(number)") }} AS level,
    countIf(number = {{ LEVEL_NUMBERS["major"] }}) AS "major fields",
    countIf(number = {{ LEVEL_NUMBERS["minor"] }}) AS "minor fields",
    countIf(last.3 = 'insufficient') AS "insufficient fields",
    argMax(field, (number, if(isNaN(psi), -1, psi))) AS "worst field",
    {{ finite("argMax(psi, (number, if(isNaN(psi), -1, psi)))") }} AS "PSI"
FROM
(
    SELECT slice, field, argMax(({{ level_number(drift_level("drift")) }}, drift.psi, level), (window_end, record_seq, n)) AS last,
        last.1 AS number, last.2 AS psi
    FROM drift
    WHERE {{ MODEL }} AND {{ VERSION }} AND {{ WINDOW }} AND {{ _RANGE }}
    GROUP BY slice, field
)
GROUP BY slice
ORDER BY max(number) DESC, "major fields" DESC, "minor fields" DESC, slice
LIMIT 200
{% endcall %}

{% call table("drift.field_level", "level") %}
SELECT argMax({{ level_number(drift_level()) }}, (window_end, record_seq, n)) AS level FROM drift WHERE {{ _FIELD }} HAVING count() > 0
{% endcall %}

{% call series("drift.field_psi", "psi | at least | at most | minor threshold | major threshold") %}
SELECT
    $__timeInterval(window_end) AS time,
    max({{ finite("verdict.psi") }}) AS psi,
    max({{ finite("verdict.psi_low") }}) AS "at least",
    max({{ finite("verdict.psi_high") }}) AS "at most",
    min(verdict.threshold_minor) AS "minor threshold",
    min(verdict.threshold_major) AS "major threshold"
FROM latest_drift AS verdict
WHERE {{ _FIELD }}
GROUP BY time
ORDER BY time
{% endcall %}

{% call table("drift.field_psi_now", "psi | at least | at most") %}
SELECT {{ finite("last.1") }} AS psi, {{ finite("last.2") }} AS "at least", {{ finite("last.3") }} AS "at most"
FROM
(
    SELECT argMax((psi, psi_low, psi_high), (window_end, record_seq, n)) AS last FROM drift WHERE {{ _FIELD }}
    HAVING count() > 0
)
{% endcall %}

{% call table("drift.field_verdicts",
    "window end:time | level:text | reason:text | PSI | 95 % CI:text | minor threshold | major threshold | top cell:text | baseline share | window share | detectable shift | events | completeness | reference:text | revisions") %}
SELECT
    window_end AS "window end",
    {{ drift_level("verdict") }} AS level,
    {{ drift_reason("verdict") }} AS reason,
    {{ finite("psi") }} AS "PSI",
    {{ interval("psi_low", "psi_high") }} AS "95 % CI",
    threshold_minor AS "minor threshold",
    threshold_major AS "major threshold",
    top_bin AS "top cell",
    {{ finite("expected_share") }} AS "baseline share",
    {{ finite("actual_share") }} AS "window share",
    {{ finite("visible_shift") }} AS "detectable shift",
    n AS events,
    {{ finite("completeness") }} AS completeness,
    if(season = 'none', 'all training data', 'same hours of the week') AS reference,
    revisions
FROM latest_drift AS verdict
WHERE {{ _FIELD }}
ORDER BY window_end DESC
LIMIT 100
{% endcall %}

{% call table("drift.field_slices", "slice:text | level:text | PSI | 95 % CI:text | top cell:text | events | window end:time") %}
SELECT
    slice,
    {{ level_name("last.1") }} AS level,
    {{ finite("last.2") }} AS "PSI",
    {{ interval("last.3", "last.4") }} AS "95 % CI",
    last.5 AS "top cell",
    last.6 AS events,
    last.7 AS "window end"
FROM
(
    SELECT
        slice,
        argMax(({{ level_number(drift_level()) }}, psi, psi_low, psi_high, top_bin, n, window_end), (window_end, record_seq, n)) AS last
    FROM drift
    WHERE {{ MODEL }} AND {{ VERSION }} AND {{ FIELD }} AND {{ WINDOW }} AND {{ _RANGE }}
    GROUP BY slice
)
ORDER BY last.1 DESC, last.2 DESC, slice
LIMIT 200
{% endcall %}
