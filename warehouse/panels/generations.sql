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

{% macro _tokens(column, expression) %}
{% call series("generations.tokens_" ~ column, "tokens:text | " ~ column, period_s=DISTANCES_S) %}
SELECT $__timeInterval(window_end) AS time, {{ _named(TOKENS) }} AS tokens, max({{ finite(expression) }}) AS {{ column }}
FROM {{ statistics_of(_names(TOKENS)) }} AS stats
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
{% call table("generations.latency_now", "first token | per output token") %}
SELECT
    argMaxIf({{ finite("stats.p95") }}, (window_end, n), field = 'ttft_ms') AS "first token",
    argMaxIf({{ finite("stats.p95") }}, (window_end, n), field = 'time_per_output_token_ms') AS "per output token"
FROM latest_distances AS stats
WHERE {{ ALL_EVENTS }} AND field IN ('ttft_ms', 'time_per_output_token_ms')
{% endcall %}
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

{# Of each hour one call of a kind; the worst of them, and the last that failed. #}

{% set SHOWN_CALLS = 10 %}
{% call table("generations.traces", "time:time | why:text | version:text | error:text | latency | cost | trace:text", grain_s=HOUR_S) %}
SELECT call.at AS time, call.kind AS why, call.version AS version, call.error AS error, call.latency_ms AS latency, call.cost AS cost,
    replaceOne(
        (SELECT extract(argMax(yaml, applied_at), '(?m)^trace_url:\\s*["'']?(https?://[^\\s"'']+)') FROM contracts WHERE {{ MODEL }}),
        '{trace_id}', call.trace_id
    ) AS trace
FROM traced_calls AS call
WHERE {{ MODEL }} AND $__timeFilter(call.hour)
ORDER BY why, multiIf(why = 'slow', latency, why = 'costly', cost, toFloat64(toUnixTimestamp64Milli(call.at))) DESC
LIMIT {{ SHOWN_CALLS }} BY why
LIMIT {{ 3 * SHOWN_CALLS }}
{% endcall %}
