{# Latency, tokens and coverage of the generations of a language model.

They read the fields of the contract that have the name of their metric, such as `ttft_ms`. #}

{# Field → its name on the page. #}
{% set TOKENS = {"input_tokens": "input", "cached_input_tokens": "cached", "output_tokens": "output"} %}
{% set COVERED = {"input_tokens": "input tokens", "output_tokens": "output tokens", "cached_input_tokens": "cached tokens", "ttft_ms": "first token", "cost_usd": "cost"} %}

{% macro _names(fields) -%}
{% for field in fields %}'{{ field }}'{{ ", " if not loop.last }}{% endfor %}
{%- endmacro %}

{# Return the expression for the name of a field on the page. #}
{% macro _named(fields) -%}
transform(field, [{{ _names(fields) }}], [{{ _names(fields.values()) }}], field)
{%- endmacro %}

{% macro _last(name, field, expression) %}
{% call table("generations." ~ name, name) %}
SELECT argMax({{ finite(expression) }}, window_end) AS {{ name }}
FROM latest_distances AS stats
WHERE {{ ALL_EVENTS }} AND field = '{{ field }}'
{% endcall %}
{% endmacro %}

{% macro _tokens(column, expression) %}
{% call series("generations.tokens_" ~ column, "tokens:text | " ~ column, period_s=DISTANCES_S) %}
SELECT $__timeInterval(window_end) AS time, {{ _named(TOKENS) }} AS tokens, max({{ finite(expression) }}) AS {{ column }}
FROM latest_distances AS stats
WHERE {{ ALL_EVENTS }} AND field IN ({{ _names(TOKENS) }})
GROUP BY time, tokens
ORDER BY time, tokens
{% endcall %}
{% endmacro %}

{# Of all models: a span that is not understood has none. #}

{% call table("generations.uncounted", "why:text | spans | last:time", grain_s=BUCKET_S) %}
SELECT why, spans.n AS spans, spans.last_at AS last
FROM ({{ uncounted_spans_sql("$__fromTime", "$__toTime") }}) AS spans
ORDER BY spans DESC, why
LIMIT 100
{% endcall %}

{% macro _coverage(fields) -%}
{{ MODEL }} AND {{ VERSION }} AND {{ SLICE }} AND field IN ({{ _names(fields) }}) AND $__timeFilter(pane_start)
{%- endmacro %}

{% set _QUANTILES = ("p50", "p95", "p99") %}

{{ window_statistics("generations.first_token", "ttft_ms", *_QUANTILES) }}
{{ window_statistics("generations.per_token", "time_per_output_token_ms", *_QUANTILES) }}
{{ _last("first_token_now", "ttft_ms", "stats.p95") }}
{{ _last("per_token_now", "time_per_output_token_ms", "stats.p95") }}
{{ _tokens("per_generation", "stats.mean") }}

{% call series("generations.coverage", "value:text | observed", period_s=HOUR_S) %}
SELECT
    $__timeInterval(pane_start) AS time,
    {{ _named(COVERED) }} AS value,
    {{ finite("1 - sum(pane.nulls) / sum(pane.n)") }} AS observed
FROM all_panes AS pane
WHERE {{ _coverage(COVERED) }}
GROUP BY time, value
ORDER BY time, value
{% endcall %}

