{# Costs of the selected model: against its budget, and by version, prompt and user. #}

{% set _RANGE %}$__timeFilter(call.hour){% endset %}
{% set _END %}toUnixTimestamp($__toTime){% endset %}
{% set _HOUR_END %}(intDiv({{ _END }} - 1, 3600) * 3600 + 3600){% endset %}
{% set _TOTAL %}spent + newest.one.3{% endset %}
{% set _BUDGET_COLUMNS -%}
newest.one.2 AS spent, if(isNaN({{ _TOTAL }}), NULL, {{ _TOTAL }}) AS forecast, if(isNaN({{ _TOTAL }}), NULL, greatest(spent, {{ _TOTAL }} - newest.one.4)) AS "at least", if(isNaN({{ _TOTAL }}), NULL, {{ _TOTAL }} + newest.one.4) AS "at most", if(isNaN(setting.budget), NULL, setting.budget) AS budget, newest.one.6 / nullIf(newest.one.5, 0) AS "calls with cost"
{%- endset %} {# Columns of a row of `budget_numbers_sql`, for people; NULL for what is not known. #}

{# The last hour of the range, the current one included: spent, forecast and budget of its day and month. #}

{% call table("costs.budget", "period:text | spent | forecast | at least | at most | budget | calls with cost", grain_s=HOUR_S) %}
SELECT if(newest.one.1 = 'day', 'today', 'this month') AS period, {{ _BUDGET_COLUMNS }}
FROM ({{ budget_numbers_sql(MODEL, "(" ~ _END ~ " - 86400)", _HOUR_END, _END) }}) AS newest
INNER JOIN
(
    SELECT arrayJoin(['day', 'month']) AS key, argMax(if(key = 'day', budget_day, budget_month), applied_at) AS budget
    FROM cost_settings WHERE {{ MODEL }} GROUP BY key
) AS setting ON setting.key = newest.one.1
ORDER BY newest.until DESC, period DESC
LIMIT 2
{% endcall %}

{% macro _over_time(name, key) %}
{% call hourly("costs." ~ name, name ~ ":text | cost") %}
SELECT $__timeInterval(call.hour) AS time, {{ key }} AS {{ name }}, sum(call.cost) AS cost
FROM model_costs AS call
WHERE {{ MODEL }} AND {{ _RANGE }}
GROUP BY time, {{ name }}
ORDER BY time, {{ name }}
{% endcall %}
{% endmacro %}

{{ _over_time("version", "call.version") }}

{% call hourly("costs.coverage", "with cost | with tokens") %}
SELECT $__timeInterval(call.hour) AS time,
    sum(call.with_cost) / nullIf(sum(call.answered), 0) AS "with cost",
    sum(call.with_tokens) / nullIf(sum(call.answered), 0) AS "with tokens"
FROM model_costs AS call
WHERE {{ MODEL }} AND {{ _RANGE }}
GROUP BY time
ORDER BY time
{% endcall %}

{% call hourly("costs.cached", "calls") %}
SELECT $__timeInterval(call.hour) AS time, sum(call.cached_input_tokens) / nullIf(sum(call.cacheable_tokens), 0) AS calls
FROM model_costs AS call
WHERE {{ MODEL }} AND {{ _RANGE }}
GROUP BY time
ORDER BY time
{% endcall %}

{% call table("costs.users", "user:text | cost | calls | calls with cost", grain_s=HOUR_S) %}
SELECT call.user AS user, sum(call.cost) AS cost, sum(call.calls) AS calls,
    sum(call.with_cost) / nullIf(sum(call.answered), 0) AS "calls with cost"
FROM user_costs AS call
WHERE {{ MODEL }} AND {{ _RANGE }}
GROUP BY user
ORDER BY cost DESC, user
LIMIT 50
{% endcall %}
