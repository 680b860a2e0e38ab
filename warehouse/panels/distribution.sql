{# The distribution of a field: the latest window and the baseline, cells over time, quantiles and distances. #}

{% set _RANGE %}$__timeFilter(window_end){% endset %}
{% set _FIELD %}{{ MODEL }} AND {{ VERSION }} AND {{ SLICE }} AND {{ FIELD }}{% endset %}
{% set _VERDICTS %}FROM drift WHERE {{ _FIELD }} AND {{ WINDOW }} AND {{ _RANGE }}{% endset %}
{% set _CELLS = cells_of(selected("field"), selected("slice")) %}
{% set SHOWN_CELLS = 60 %} {# Maximum number of bars; numeric fields have about twenty. #}

{# Return the query for the cells of the last window and of its baseline, for the field that a variable selects. #}
{% macro _last_window(name, variable) %}
{% set one %}{{ MODEL }} AND {{ VERSION }} AND {{ SLICE }} AND {{ is_selected(variable, "field") }}{% endset %}
{% call table("distribution." ~ name, "cell:text | baseline | now") %}
WITH
(
    SELECT argMax((baseline_id, window_start, window_end), (window_end, record_seq, n))
    FROM drift WHERE {{ one }} AND {{ WINDOW }} AND {{ _RANGE }}
) AS last
SELECT name AS cell, sum(share) AS baseline, {{ finite("sum(n) / any(whole)") }} AS now
FROM
(
    SELECT
        cells.names AS names, cells.expected AS expected,
        pane_counts.counts AS counts, arraySum(counts) AS whole
    FROM
    (
        SELECT baseline_id, sumForEach(pane.counts) AS counts
        FROM all_panes AS pane
        WHERE {{ one }} AND baseline_id = last.1 AND pane_start >= last.2 AND pane_start < last.3
        GROUP BY baseline_id
    ) AS pane_counts
    INNER JOIN ({{ cells_of(selected(variable), selected("slice")) }}) AS cells
        ON pane_counts.baseline_id = cells.baseline_id
)
ARRAY JOIN names AS name, expected AS share, counts AS n, arrayEnumerate(counts) AS cell_index
GROUP BY name
ORDER BY min(cell_index)
LIMIT {{ SHOWN_CELLS }}
{% endcall %}
{% endmacro %}

{{ _last_window("now", "field") }}
{{ _last_window("now_of_worst", "worst_field") }}

{# The plugin orders series by their labels, so the position comes first, also in the alphabet. #}

{% call hourly("distribution.heatmap", "bin_position:text | cell:text | difference") %}
SELECT
    time, leftPad(toString(cell_index), 3, '0') AS bin_position, name AS cell,
    {{ finite("n / sum(n) OVER (PARTITION BY time) - baseline") }} AS difference
FROM
(
    SELECT $__timeInterval(pane_start) AS time, indexOf(names, name) AS cell_index, name, sum(count) AS n,
        any(expected[indexOf(names, name)]) AS baseline
    FROM hours AS hour
    INNER JOIN ({{ _CELLS }}) AS cells ON hour.baseline_id = cells.baseline_id
    ARRAY JOIN names AS name, counts AS count
    WHERE {{ _FIELD }} AND $__timeFilter(pane_start) AND length(names) = length(counts)
        AND hour.baseline_id = (SELECT argMax(baseline_id, (window_end, record_seq, n)) {{ _VERDICTS }})
    GROUP BY time, cell_index, name
)
ORDER BY time, cell_index
{% endcall %}

{% set _DISTANCES -%}
FROM latest_distances AS stats
WHERE {{ MODEL }} AND {{ VERSION }} AND slice = 'all' AND {{ FIELD }} AND {{ WINDOW }} AND {{ _RANGE }}
GROUP BY time
ORDER BY time
{%- endset %}

{% call series("distribution.quantiles", "p05 | p25 | p50 | p75 | p95 | mean", period_s=DISTANCES_S) %}
SELECT
    $__timeInterval(window_end) AS time,
    max({{ finite("stats.p05") }}) AS p05, max({{ finite("stats.p25") }}) AS p25, max({{ finite("stats.p50") }}) AS p50,
    max({{ finite("stats.p75") }}) AS p75, max({{ finite("stats.p95") }}) AS p95, max({{ finite("stats.mean") }}) AS mean
{{ _DISTANCES }}
{% endcall %}

{% call series("distribution.distances", "ks | ks threshold | w1 | mean shift | std ratio", period_s=DISTANCES_S) %}
SELECT
    $__timeInterval(window_end) AS time,
    max({{ finite("stats.ks") }}) AS ks, max({{ finite("stats.ks_threshold") }}) AS "ks threshold",
    max({{ finite("stats.w1") }}) AS w1, max({{ finite("stats.mean_shift") }}) AS "mean shift",
    max({{ finite("stats.std_ratio") }}) AS "std ratio"
{{ _DISTANCES }}
{% endcall %}

