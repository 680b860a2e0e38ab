{# A candidate beside the primary: the decision, its criteria over time, slices, missing pairs, disagreements. #}

{% set SHOWN_SLICES = 50 %} {# Most rows of the table of slices. #}
{% set SHOWN_REASONS = 3 %} {# Most criteria or slices that the decision names. #}
{% set SHOWN_HOURS = 20 %} {# Most rows of the table of disagreements. #}
{% set _CANDIDATE %}{{ MODEL }} AND {{ is_selected("candidate") }}{% endset %}
{% set _LATEST_OF %}of = (SELECT argMax(of, judged_at) FROM shadow_verdicts WHERE {{ _CANDIDATE }}){% endset %}
{% set _IN_RANGE %}day_end > $__fromTime AND day_end <= $__toTime{% endset %}
{% set _LOOKS %}{{ _CANDIDATE }} AND {{ _LATEST_OF }} AND {{ _IN_RANGE }}{% endset %}
{% set _LAST_LOOK %}{{ _LOOKS }} AND day = (SELECT max(day) FROM shadow_verdicts FINAL WHERE {{ _LOOKS }}){% endset %}
{% set _DECISION %}FROM shadow_verdicts FINAL WHERE {{ _LAST_LOOK }} AND criterion = 'decision'{% endset %}
{% set _CRITERIA %}slice = 'all' AND criterion != 'decision'{% endset %}
{% set _LATEST_BASIS %}(of, basis) = (SELECT argMax((of, basis), counted_at) FROM shadow_pairs WHERE {{ _CANDIDATE }}){% endset %}
{% set _PAIRS %}{{ _CANDIDATE }} AND {{ _LATEST_BASIS }} AND $__timeFilter(window_start){% endset %}
{% set _FROM_PAIRS %}FROM shadow_pairs AS pair FINAL WHERE {{ _PAIRS }} AND slice = 'all'{% endset %}

{% call table("variables.candidates", "candidate:text") %}
SELECT candidate
FROM shadow_pairs
WHERE {{ MODEL }}
GROUP BY candidate
ORDER BY max(counted_at) DESC, candidate DESC
LIMIT 100
/* no range: a candidate stays known after its last pair */
{% endcall %}

{% call table("variables.criteria", "criterion:text", grain_s=DAY_S) %}
SELECT criterion
FROM shadow_verdicts FINAL
WHERE {{ _LAST_LOOK }} AND {{ _CRITERIA }}
ORDER BY criterion
LIMIT 20
{% endcall %}

{% macro _of_decision(name, selected, columns) %}
{% call table("shadow." ~ name, columns, grain_s=DAY_S) %}
SELECT {{ selected }} {{ _DECISION }} LIMIT 1
{% endcall %}
{% endmacro %}

{# The rows that decide, in words: those that are worse, else those that are not met. #}

{% call table("shadow.decision", "decision | why:text", grain_s=DAY_S) %}
SELECT
    transform(decided, {{ OUTCOMES | list }}, {{ OUTCOME_NUMBERS.values() | list }}, 0) AS decision,
    multiIf(decided IN ('promote', 'keep'), 'all criteria are met',
        decided IN ('hold', 'roll back'),
        concat('worse: ', arrayStringConcat(arraySlice(worse, 1, {{ SHOWN_REASONS }}), ', ')),
        concat('not met: ', arrayStringConcat(arraySlice(not_met, 1, {{ SHOWN_REASONS }}), ', '))) AS why
FROM
(
    SELECT
        any(verdict.outcome) AS decided,
        arraySort(groupArrayIf(if(slice = 'all', criterion, slice), state = 'worse')) AS worse,
        arraySort(groupArrayIf(criterion, slice = 'all' AND state != 'met')) AS not_met
    FROM shadow_verdicts AS verdict FINAL
    WHERE {{ _LAST_LOOK }} AND criterion != 'decision'
)
WHERE decided != ''
LIMIT 1
{% endcall %}

{{ _of_decision("days_left", "if(outcome IN ('hold', 'roll back'), NULL, " ~ finite("ceil(days_left)") ~ ") AS days_left", "days_left") }}
{{ _of_decision("days", 'days AS "days so far", least_days AS needed', "days so far | needed") }}
{{ _of_decision("slice_evidence", finite("exp(least(evidence, 700))") ~ " AS e_value", "e_value") }}

{% call table("shadow.criteria_met", "met | criteria", grain_s=DAY_S) %}
SELECT countIf(state = 'met') AS met, count() AS criteria
FROM shadow_verdicts FINAL
WHERE {{ _LAST_LOOK }} AND {{ _CRITERIA }}
HAVING criteria > 0
{% endcall %}

{% call table("shadow.paired_share", "paired", grain_s=HOUR_S) %}
SELECT {{ finite("sum(pair.pairs) / sum(pair.requests)") }} AS paired {{ _FROM_PAIRS }}
{% endcall %}

{% set _WHY -%}
multiIf(
            state = 'met', '',
            state = 'worse', if(after_promotion, 'worse than the version that it replaced', 'worse than the primary'),
            days < least_days, concat('too few days: ', toString(days), ' of ', toString(least_days)),
            isInfinite(low) AND isFinite(value) AND isFinite(days_left),
            concat('days too alike: about ', toString(toUInt32(ceil(days_left))), ' more'),
            isInfinite(low), 'too few pairs, or no differences to measure',
            low > -margin AND least_low <= -margin, 'met, unless missing answers were wrong',
            value <= -margin, 'the difference is beyond the margin',
            'the interval reaches beyond the margin')
{%- endset %}

{% call table("shadow.criteria",
    "criterion:text | state:text | difference | 95 % CI:text | at least | days | needs | days left | why:text", grain_s=DAY_S) %}
SELECT
    criterion, state, {{ finite("value") }} AS difference, {{ interval("low", "high") }} AS "95 % CI",
    {{ finite("-margin") }} AS "at least", days, least_days AS needs, {{ finite("ceil(days_left)") }} AS "days left",
    {{ _WHY }} AS why
FROM shadow_verdicts FINAL
WHERE {{ _LAST_LOOK }} AND {{ _CRITERIA }}
ORDER BY indexOf(['worse', 'insufficient', 'open', 'met'], state), criterion
LIMIT 50
{% endcall %}

{% call series("shadow.intervals", "at least | at most | difference | margin | no difference", grain_s=DAY_S) %}
SELECT
    $__timeInterval(day_end) AS time, argMax({{ finite("verdict.low") }}, day) AS "at least",
    argMax({{ finite("verdict.high") }}, day) AS "at most", argMax({{ finite("verdict.value") }}, day) AS difference,
    argMax({{ finite("-verdict.margin") }}, day) AS margin, 0 AS "no difference"
FROM shadow_verdicts AS verdict FINAL
WHERE {{ _LOOKS }} AND slice = 'all' AND {{ is_selected("criterion") }}
GROUP BY time
ORDER BY time
{% endcall %}

{% call series("shadow.outcomes", "judged:text | state", grain_s=DAY_S) %}
SELECT
    $__timeInterval(day_end) AS time,
    if(criterion = 'decision', ' decision', criterion) AS judged,
    argMax(if(criterion = 'decision',
        transform(verdict.outcome, {{ OUTCOMES | list }}, {{ OUTCOME_NUMBERS.values() | list }}, 0),
        transform(verdict.state, ['met', 'open', 'insufficient', 'worse'], [1, 2, 2, 3], 0)), day) AS state
FROM shadow_verdicts AS verdict FINAL
WHERE {{ _LOOKS }} AND slice = 'all'
GROUP BY time, judged
ORDER BY time, judged
{% endcall %}

{% call table("shadow.slices",
    "slice:text | criterion:text | state:text | e-value | difference | 95 % CI:text | days", grain_s=DAY_S) %}
SELECT
    slice, criterion, state, {{ finite("exp(least(evidence, 700))") }} AS "e-value", {{ finite("value") }} AS difference,
    {{ interval("low", "high") }} AS "95 % CI", days
FROM shadow_verdicts FINAL
WHERE {{ _LAST_LOOK }} AND slice != 'all'
ORDER BY state != 'worse', isNaN(evidence), evidence DESC, slice, criterion
LIMIT {{ SHOWN_SLICES }}
{% endcall %}

{% call table("shadow.requests", "end of the request:text | requests | share", grain_s=HOUR_S) %}
SELECT part.1 AS "end of the request", part.2 AS requests, {{ finite("part.2 / total") }} AS share
FROM
(
    SELECT
        sum(pair.requests) AS total, sumMap(pair.missing) AS reasons,
        arrayMap((reason, n) -> (concat('missing: ', reason), n, 2),
            mapKeys(reasons), mapValues(reasons)) AS losses,
        arrayJoin(arrayConcat([('all', total, 0), ('pair', sum(pair.pairs), 1)], losses)) AS part
    {{ _FROM_PAIRS }}
)
WHERE total > 0
ORDER BY part.3, part.2 DESC, part.1
LIMIT 30
{% endcall %}

{% call hourly("shadow.missing", "reason:text | missing") %}
SELECT $__timeInterval(window_start) AS time, toString(reason) AS reason, sum(n) AS missing
FROM shadow_pairs AS pair FINAL
ARRAY JOIN mapKeys(pair.missing) AS reason, mapValues(pair.missing) AS n
WHERE {{ _PAIRS }} AND slice = 'all'
GROUP BY time, reason
ORDER BY time, reason
{% endcall %}

{% macro _over_time(name, columns) %}
{% set selected -%}
{% for column, expression in columns.items() %}{{ finite(expression) }} AS "{{ column }}"{{ ", " if not loop.last }}{% endfor %}
{%- endset %}
{% call hourly("shadow." ~ name, columns | join(" | ")) %}
SELECT $__timeInterval(window_start) AS time, {{ selected }} {{ _FROM_PAIRS }} GROUP BY time ORDER BY time
{% endcall %}
{% endmacro %}

{% call hourly("shadow.none_missing", "none") %}
SELECT $__timeInterval(window_start) AS time, 0 AS none {{ _FROM_PAIRS }} GROUP BY time ORDER BY time
{% endcall %}

{{ _over_time("traffic", {"requests": "sum(pair.requests)", "pairs": "sum(pair.pairs)"}) }}
{{ _over_time("latency", {"candidate / primary": "exp(sum(pair.log_latency) / sum(pair.timed))"}) }}

{# Return the expression for a quantile in milliseconds: the geometric middle of its bucket of latencies. #}
{% macro _quantile(side, percent) -%}
{%- set buckets %}sumMap(pair.latencies_{{ side }}){% endset %}
{%- set n %}arraySum(mapValues({{ buckets }})){% endset %}
{%- set at %}arrayFirstIndex(n -> n >= {{ percent / 100 }} * {{ n }}, arrayCumSum(mapValues({{ buckets }}))){% endset %}
if({{ n }} = 0, NULL, exp2((mapKeys({{ buckets }})[{{ at }}] + 0.5) / 8))
{%- endmacro %}

{% call hourly("shadow.latencies", "primary p50 | candidate p50 | primary p99 | candidate p99") %}
SELECT
    $__timeInterval(window_start) AS time,
    {{ _quantile("primary", 50) }} AS "primary p50", {{ _quantile("candidate", 50) }} AS "candidate p50",
    {{ _quantile("primary", 99) }} AS "primary p99", {{ _quantile("candidate", 99) }} AS "candidate p99"
{{ _FROM_PAIRS }}
GROUP BY time
ORDER BY time
{% endcall %}

{{ _over_time("agreement", {"same class": "sum(pair.agreed) / sum(pair.compared)"}) }}
{{ _over_time("scores", {"mean difference": "sum(pair.score_difference) / sum(pair.score_pairs)"}) }}

{% call table("shadow.right",
    "slice:text | labelled | both right | only candidate right | only primary right | both wrong | difference", grain_s=HOUR_S) %}
SELECT
    slice, sum(pair.labelled) AS labelled, sum(pair.both_right) AS "both right",
    sum(pair.candidate_right) AS "only candidate right", sum(pair.primary_right) AS "only primary right",
    labelled - "both right" - "only candidate right" - "only primary right" AS "both wrong",
    {{ finite('("only candidate right" - "only primary right") / labelled') }} AS difference
FROM shadow_pairs AS pair FINAL
WHERE {{ _PAIRS }}
GROUP BY slice
HAVING labelled > 0
ORDER BY slice != 'all', difference, slice
LIMIT {{ SHOWN_SLICES }}
{% endcall %}

{% call table("shadow.class_pairs", "primary → candidate:text | pairs | share", grain_s=HOUR_S) %}
SELECT decided.1 AS "primary → candidate", decided.2 AS pairs, {{ finite("decided.2 / total") }} AS share
FROM
(
    SELECT
        sum(pair.compared) AS total, sumMap(pair.class_pairs) AS counts,
        arrayJoin(arrayZip(mapKeys(counts), mapValues(counts))) AS decided
    {{ _FROM_PAIRS }}
)
ORDER BY pairs DESC, decided.1
LIMIT 40
{% endcall %}

{# Where people should read pairs: dashboards never show single predictions. #}

{% call table("shadow.disagreements",
    "hour:time | slice:text | disagreements | share | only candidate right | only primary right", grain_s=HOUR_S) %}
SELECT
    window_start AS hour, slice, pair.compared - pair.agreed AS disagreements,
    (pair.compared - pair.agreed) / pair.compared AS share, pair.candidate_right AS "only candidate right",
    pair.primary_right AS "only primary right"
FROM shadow_pairs AS pair FINAL
WHERE {{ _PAIRS }} AND slice != 'all' AND pair.compared > pair.agreed
ORDER BY pair.primary_right - pair.candidate_right DESC, disagreements DESC, hour DESC, slice
LIMIT {{ SHOWN_HOURS }}
{% endcall %}
