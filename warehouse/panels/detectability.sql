{# The smallest changes that are detected, of the last computation of the selected model and version.

Computations are on the wall clock, about once a day: the range of the page does not apply. #}

{% set _SELECTED %}{{ MODEL }} AND {{ VERSION }}{% endset %}

{# Rows of one computation have the same time. #}

{% set _LAST -%}
{{ _SELECTED }} AND at = (SELECT max(at) FROM detectability WHERE {{ _SELECTED }}) /* no range: the last one counts */
{%- endset %}

{% set _CHANGE -%}
transform(change, ['shift', 'moved', 'nulls'], ['shift of the mean', 'move between categories', 'more nulls'])
{%- endset %}

{# Format a size in the unit of its field, or in points; empty if no size is detected. #}
{% macro _size(size) -%}
{%- set shift %}printf('%.3g (%.2g sd)', {{ size }} * std, {{ size }}){% endset %}
multiIf(isInfinite({{ size }}), '', change = 'shift', {{ shift }}, printf('%.2g points', 100 * {{ size }}))
{%- endmacro %}

{% call table("detectability.blind_spots",
    "field:text | invisible in a day:text | rule:text | in 1 hour:text | in 1 day:text | in 7 days:text | computed:time") %}
SELECT
    field,
    text AS "invisible in a day",
    rule,
    {{ _size("in_hour") }} AS "in 1 hour",
    {{ _size("in_day") }} AS "in 1 day",
    {{ _size("in_week") }} AS "in 7 days",
    at AS computed
FROM detectability
WHERE {{ _LAST }} AND rule != ''
ORDER BY rank
LIMIT 500
{% endcall %}

{% call table("detectability.windows",
    "field:text | slice:text | kind:text | window:text | events | φ | in 1 hour:text | in 1 day:text | in 7 days:text") %}
SELECT
    field,
    slice,
    {{ _CHANGE }} AS kind,
    window,
    events,
    phi AS "φ",
    {{ _size("in_hour") }} AS "in 1 hour",
    {{ _size("in_day") }} AS "in 1 day",
    {{ _size("in_week") }} AS "in 7 days"
FROM detectability
WHERE {{ _LAST }} AND rule = ''
ORDER BY rank
LIMIT 500
{% endcall %}
