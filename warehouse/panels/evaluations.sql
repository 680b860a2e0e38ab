{# Evaluations of the selected model's answers: rates of faults with labels of people, and answers without a result. #}

{% set _MODEL = selected("model") %}
{% set _RANGE %}$__timeFilter(at){% endset %}

{# Names of evaluator models begin with the model's name, so that the primary key finds them. #}

{% set _OWN %}startsWith(evaluator_model, concat({{ _MODEL }}, '.')) AND model = {{ _MODEL }}{% endset %}
{% set _COUNTS %}evaluation_counts WHERE {{ _OWN }} AND $__timeFilter(hour){% endset %}

{% call table("evaluations.rates",
    "evaluator:text | version:text | prompt:text | evaluated | no result | flagged | labels | agree | faulty | interval:text | insufficient:text") %}
SELECT
    evaluator,
    evaluator_version AS version,
    prompt,
    judged AS evaluated,
    without_result AS "no result",
    {{ finite("q") }} AS flagged,
    labels,
    {{ finite("(flagged_faulty + unflagged_gold - unflagged_faulty) / labels") }} AS agree,
    {{ finite("rate") }} AS faulty,
    if(isNaN(rate), '', {{ interval("(" ~ rate_end("-") ~ ") * 100", "(" ~ rate_end("+") ~ ") * 100") }}) AS interval,
    multiIf(judged = 0, 'no result', labels = 0, 'no labels', isNaN(rate), 'no labels of one verdict',
        labels < 50, 'few labels', shares > 1, 'not weighted', '') AS insufficient
FROM
(
    SELECT
        evaluator, evaluator_version, prompt, max(hour) AS newest,
        uniqExact(share) AS shares,
        sumIf(n, class != '') AS judged,
        sumIf(n, class = '') AS without_result,
        sumIf(n, class = 'faulty' AND label != '') AS flagged_gold,
        sumIf(n, class = 'faulty' AND label = 'faulty') AS flagged_faulty,
        sumIf(n, class = 'sound' AND label != '') AS unflagged_gold,
        sumIf(n, class = 'sound' AND label = 'faulty') AS unflagged_faulty,
        flagged_gold + unflagged_gold AS labels,
        sumIf(n, class = 'faulty') / judged AS q,
        if(flagged_gold = 0, if(q = 0, 0, nan), flagged_faulty / flagged_gold) AS p1,
        if(unflagged_gold = 0, if(q = 1, 0, nan), unflagged_faulty / unflagged_gold) AS p0,
        q * p1 + (1 - q) * p0 AS rate
    FROM {{ _COUNTS }}
    GROUP BY evaluator, evaluator_version, prompt
)
ORDER BY evaluator, newest DESC, version, prompt
LIMIT 100
{% endcall %}

{# The columns `n_sound` and `n_faulty` are of one score, `sound` and `faulty` of one version of an evaluator. #}

{% set _BY_SCORE %}PARTITION BY evaluator, evaluator_version ORDER BY value{% endset %}
{% set _BY_VERSION %}PARTITION BY evaluator, evaluator_version{% endset %}

{% macro _hourly(name, key, value, condition="1") %}
{% call hourly("evaluations." ~ name, "of_evaluator:text | " ~ name) %}
SELECT $__timeInterval(hour) AS time, {{ key }} AS of_evaluator, {{ value }} AS {{ name }}
FROM {{ _COUNTS }} AND {{ condition }}
GROUP BY time, of_evaluator
ORDER BY time, of_evaluator
{% endcall %}
{% endmacro %}

{% set _VERSION %}concat(evaluator, ' ', left(evaluator_version, 6)){% endset %}

{{ _hourly("flagged", _VERSION, "sumIf(n, class = 'faulty') / sum(n)", "class != ''") }}

{% call hourly("evaluations.stored_rates", "of_rate:text | faulty") %}
SELECT
    $__timeInterval(at) AS time,
    concat(evaluator, ' ', left(evaluator_version, 6), ', ', end.1) AS of_rate,
    {{ finite("argMax(end.2, at)") }} AS faulty
FROM evaluation_rates FINAL
ARRAY JOIN [('at least', low), ('rate', rate), ('at most', high)] AS end
WHERE {{ is_selected("model") }} AND prompt = '*' AND {{ _RANGE }}
GROUP BY time, evaluator, evaluator_version, of_rate
ORDER BY time, of_rate
{% endcall %}

{% call table("suites.runs",
    "suite:text | prompt:text | version:text | started:time | items | score | interval:text | accepted:text") %}
SELECT
    suite,
    run.prompt AS prompt,
    run.version AS version,
    toDateTime(run.started_at) AS started,
    run.items AS items,
    run.mean AS score,
    {{ interval("run.low * 100", "run.high * 100") }} AS interval,
    if(run.run_id IN (SELECT run_id FROM eval_acceptances WHERE {{ MODEL }}), 'accepted', '') AS accepted
FROM eval_runs AS run FINAL
WHERE {{ MODEL }} AND $__timeFilter(run.started_at)
ORDER BY suite, started DESC, run.run_id
LIMIT 100
{% endcall %}

