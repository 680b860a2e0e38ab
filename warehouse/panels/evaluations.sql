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

{% call table("evaluations.agreement",
    "evaluator:text | version:text | faulty, flagged | faulty, missed | sound, accepted | sound, flagged | sensitivity, %:text | specificity, %:text") %}
SELECT
    evaluator,
    evaluator_version AS version,
    sumIf(n, label = 'faulty' AND class = 'faulty') AS "faulty, flagged",
    sumIf(n, label = 'faulty' AND class = 'sound') AS "faulty, missed",
    sumIf(n, label = 'sound' AND class = 'sound') AS "sound, accepted",
    sumIf(n, label = 'sound' AND class = 'faulty') AS "sound, flagged",
    {{ share_interval('"faulty, flagged"', '"faulty, missed"') }} AS "sensitivity, %",
    {{ share_interval('"sound, accepted"', '"sound, flagged"') }} AS "specificity, %"
FROM {{ _COUNTS }} AND label != '' AND class != ''
GROUP BY evaluator, evaluator_version
ORDER BY evaluator, max(hour) DESC, evaluator_version
LIMIT 100
{% endcall %}

{# The columns `n_sound` and `n_faulty` are of one score, `sound` and `faulty` of one version of an evaluator. #}

{% set _BY_SCORE %}PARTITION BY evaluator, evaluator_version ORDER BY value{% endset %}
{% set _BY_VERSION %}PARTITION BY evaluator, evaluator_version{% endset %}

{% call table("evaluations.trust",
    "evaluator:text | version:text | measured by:text | faulty | sound | AUROC | interval:text | not trusted:text") %}
SELECT
    evaluator,
    evaluator_version AS version,
    if(by_score, 'score', 'verdict') AS "measured by",
    faulty,
    sound,
    {{ finite("auroc") }} AS AUROC,
    if(isNaN(auroc), '', {{ interval("low", "high") }}) AS interval,
    multiIf(rows < {{ LEAST_LABELS }}, '{{ FEW_LABELS }}', low <= {{ CHANCE }} AND high >= {{ CHANCE }}, '{{ NO_BETTER }}',
        high < {{ CHANCE }}, '{{ WORSE }}', '') AS "not trusted"
FROM
(
    SELECT
        evaluator, evaluator_version, any(has_scores) AS by_score, max(newest) AS newest_of_all,
        any(all_faulty) AS faulty, any(all_sound) AS sound, least(faulty, sound) AS rows,
        if(rows = 0, nan, any(mean)) AS auroc,
        sum(n_sound * pow(faulty_below - mean, 2)) / greatest(sound - 1, 1) / sound
            + sum(n_faulty * pow(sound_below - (1 - mean), 2)) / greatest(faulty - 1, 1) / faulty AS variance,
        {{ auroc_end("-") }} AS low,
        {{ auroc_end("+") }} AS high
    FROM
    (
        SELECT
            evaluator, evaluator_version, has_scores, newest, n_sound, n_faulty, all_sound, all_faulty,
            sound_below, faulty_below,
            sum(n_sound * faulty_below) OVER ({{ _BY_VERSION }}) / all_sound AS mean
        FROM
        (
            SELECT
                evaluator, evaluator_version, has_scores, newest, n_sound, n_faulty,
                sum(n_sound) OVER ({{ _BY_VERSION }}) AS all_sound,
                sum(n_faulty) OVER ({{ _BY_VERSION }}) AS all_faulty,
                (sum(n_sound) OVER ({{ _BY_SCORE }}) - n_sound / 2) / all_sound AS sound_below,
                (sum(n_faulty) OVER ({{ _BY_SCORE }}) - n_faulty / 2) / all_faulty AS faulty_below
            FROM
            (
                SELECT
                    evaluator, evaluator_version, has_scores, if(has_scores, score, class = 'sound') AS value,
                    max(hour) AS newest,
                    sumIf(n, label = 'sound' AND NOT isNaN(value)) AS n_sound,
                    sumIf(n, label = 'faulty' AND NOT isNaN(value)) AS n_faulty
                FROM
                (
                    SELECT
                        evaluator, evaluator_version, hour, class, score, label, n,
                        max(NOT isNaN(score)) OVER ({{ _BY_VERSION }}) AS has_scores
                    FROM {{ _COUNTS }} AND class != ''
                )
                GROUP BY evaluator, evaluator_version, has_scores, value
            )
        )
    )
    GROUP BY evaluator, evaluator_version
)
ORDER BY evaluator, newest_of_all DESC, version
LIMIT 100
{% endcall %}

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
{{ _hourly("without_result", "concat(evaluator, ': ', error)", "sum(n)", "error != ''") }}
{{ _hourly("cost", _VERSION, "sum(cost_usd)", "kind = 'judge'") }}

{% call hourly("evaluations.latency", "of_evaluator:text | latency") %}
SELECT
    $__timeInterval(hour) AS time, {{ _VERSION }} AS of_evaluator, quantileExactWeighted(0.95)(ms, answers) AS latency
FROM (SELECT hour, evaluator, evaluator_version, latencies FROM {{ _COUNTS }} AND kind = 'judge')
ARRAY JOIN mapKeys(latencies) AS ms, mapValues(latencies) AS answers
GROUP BY time, of_evaluator
ORDER BY time, of_evaluator
{% endcall %}

{% call hourly("evaluations.citation_faults", "fault:text | total") %}
SELECT
    $__timeInterval(hour) AS time,
    concat(evaluator, ': ', replaceAll(status, '_', ' ')) AS fault,
    sum(claimed) AS total
FROM (SELECT hour, evaluator, claims FROM {{ _COUNTS }})
ARRAY JOIN mapKeys(claims) AS status, mapValues(claims) AS claimed
WHERE status != 'supported'
GROUP BY time, fault
ORDER BY time, fault
{% endcall %}

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

{% call table("reviews.agreement",
    "evaluator:text | people | answers | gold | not sure | labelled twice | agree | newest:time") %}
SELECT
    substring(evaluator_model, length({{ _MODEL }}) + 2) AS evaluator,
    uniqExactArray(review.people) AS people,
    sum(review.answers) AS answers,
    sum(review.gold) AS gold,
    sum(unsure) AS "not sure",
    sum(labelled_twice) AS "labelled twice",
    {{ finite("sum(agreed) / sum(labelled_twice)") }} AS agree,
    max(hour) AS newest
FROM review_counts AS review
WHERE startsWith(evaluator_model, concat({{ _MODEL }}, '.'))
    AND position(substring(evaluator_model, length({{ _MODEL }}) + 2), '.') = 0
    AND $__timeFilter(hour)
GROUP BY evaluator_model
ORDER BY evaluator
LIMIT 100
{% endcall %}
