{# The state of models: what of all their signals and windows is beyond its own threshold or SLO, since when, and why.

Each macro selects models by a condition on `model`. Verdicts count with their tables' levels, traffic with the SLO of
the contract and Wilson's interval, silence and labels with the usual gap, as the alert rules do (`warehouse/signals`).
The state at the end of the range comes from its last day; older verdicts are outdated. #}

{% set _BEYOND = LEVEL_NUMBERS["insufficient"] %} {# A greater number is a problem. #}
{% set _HISTORY %}INTERVAL 180 DAY{% endset %}
{% set TRAFFIC_DAYS = 16 %} {# Usual gaps are those of the fifteen days before the last one. #}
{% set LAST_DAY %}window_end > $__toTime - INTERVAL 1 DAY AND window_end <= $__toTime{% endset %}
{% set RANGE_END %}toInt64(toUnixTimestamp(least($__toTime, now('UTC')))){% endset %}

{% macro percent(share) -%}
concat(toString(if(abs({{ share }}) >= 0.01, round(100 * {{ share }}, 1), toFloat64(printf('%.2g', 100 * {{ share }})))), ' %')
{%- endmacro %}

{% macro _interval(form, low, high) -%}
if(isFinite({{ low }}) AND isFinite({{ high }}), printf(' ({{ form }}–{{ form }})', {{ low }}, {{ high }}), '')
{%- endmacro %}

{% macro duration(seconds, whole="round") -%}
multiIf({{ seconds }} < 5400, concat(toString({{ whole }}(({{ seconds }}) / 60)), ' min'),
    {{ seconds }} < 172800, concat(toString({{ whole }}(({{ seconds }}) / 3600)), ' h'),
    concat(toString({{ whole }}(({{ seconds }}) / 86400)), ' days'))
{%- endmacro %}

{# The last window end of each length, from the one rate that every window has exactly once, of the versions that have
   it; with the highest SLO of errors without one in the contract, and the share of events that are lost. #}

{% macro _ends(models) -%}
SELECT model, version, window, last_end FROM
(
    SELECT model, version, window, max(window_end) AS last_end, max(last_end) OVER (PARTITION BY model, window) AS newest
    FROM rates
    WHERE {{ models }} AND slice = 'all' AND field = 'events' AND kind = 'error' AND {{ LAST_DAY }}
    GROUP BY model, version, window
)
WHERE last_end = newest
{%- endmacro %}

{# Only one hour of a day's verdicts on all fields of all models is needed; the first condition is the fast one. #}

{% macro last_windows(models) -%}
{{ models }} AND {{ LAST_DAY }} AND window_end IN (SELECT last_end FROM ({{ _ends(models) }}))
    AND (model, version, window, window_end) IN ({{ _ends(models) }})
{%- endmacro %}

{# Every verdict that meets a condition: what it is about, and its level as a number, how far it is beyond its
   threshold, and the sentence. Errors are judged as by the rule `errors`; their row tells what was lost. #}
{% macro _verdicts(drift, rates, performance) -%}
SELECT
    model, 'drift' AS signal, version, field AS name, window, window_end AS ended,
    argMax((
        {{ level_number(drift_level("verdict")) }}, ifNotFinite(verdict.psi / verdict.threshold_major, 0),
        multiIf(
            {{ drift_level("verdict") }} = '{{ UNLIKE }}',
                concat(field, ' unlike training, ', window, ': mean rank ', printf('%.2f', mean_rank)),
            level = 'insufficient', concat('too little data: ', field, ', ', window, ': ', reason),
            concat('drift of ', field, ', ', window, ': PSI ', printf('%.2f', verdict.psi),
                {{ _interval("%.2f", "verdict.psi_low", "verdict.psi_high") }})
        )
    ), (record_seq, n)) AS judged
FROM drift AS verdict
WHERE slice = 'all' AND {{ drift }}
GROUP BY model, version, name, window, ended
UNION ALL
SELECT
    model, kind AS signal, version, field AS name, window, window_end AS ended,
    argMax(if(
        kind = 'error',
        (if(completeness < 0.99, {{ LEVEL_NUMBERS["minor"] }}, {{ LEVEL_NUMBERS["insufficient"] }}), 1 - completeness,
            concat('events lost, ', window, ': ', {{ percent("(1 - completeness)") }})),
        ({{ level_number("level") }}, ifNotFinite(delta / threshold_major, 0),
            concat(
                {{ rate_measure() }}, ', ', window, ': ', {{ percent("rate") }}, ', training ',
                {{ percent("baseline_rate") }}
            ))
    ), (record_seq, n)) AS judged
FROM rates
WHERE slice = 'all' AND {{ rates }}
GROUP BY model, version, name, signal, window, ended
UNION ALL
SELECT
    model, 'performance' AS signal, version, metric AS name, concat(window, if(mature, '', ', maturing')) AS window,
    window_end AS ended,
    (
        {{ level_number("level") }}, 1.0,
        concat(metric, ', ', window, ': ', printf('%.3g', value), {{ _interval("%.3g", "low", "high") }},
            if(isFinite(promise), concat(', SLO ', printf('%.3g', promise)), concat(', reference ', printf('%.3g', reference))))
    ) AS judged
FROM latest_performance
WHERE slice = 'all' AND class = '' AND level != 'insufficient' AND {{ performance }}
{%- endmacro %}

{# The last verdict on each field, kind of rate and metric, from the worst of its versions and windows; if none is
   beyond a threshold, from the window that tells most. #}
{% macro _last_verdicts(models) -%}
SELECT
    model, signal, name,
    if(max(last.1) > {{ _BEYOND }}, max((last, window, each.version)), min((last, window, each.version))) AS of,
    of.3 AS version, of.1.1 AS number, of.1.2 AS excess, of.1.3 AS why
FROM
(
    SELECT model, signal, version AS version, name, window, argMax(judged, ended) AS last
    FROM ({{ _verdicts(
        last_windows(models), last_windows(models),
        models ~ " AND window_end > $__toTime - INTERVAL 14 DAY AND window_end <= $__toTime") }})
    GROUP BY model, signal, version, name, window
) AS each
GROUP BY model, signal, name
HAVING signal = 'drift' OR number > {{ _BEYOND }}
{%- endmacro %}

{# The end of the first window since which each field, rate and metric is beyond its threshold: after its last stable one.
   A window with too little data ends nothing; one like training ends only what is unlike it. `last_stable` is 1970 if
   none is known. #}
{% macro _onsets(models) -%}
{% set history %}{{ models }} AND window_end > $__toTime - {{ _HISTORY }} AND window_end <= $__toTime{% endset %}
{% set beyond %}slice = 'all' AND level != 'stable' AND {{ last_windows(models) }}{% endset %}
SELECT model, signal, version, name, min(onset) AS first, first.1 AS since, first.2 AS last_stable
FROM
(
    SELECT
        model, signal, version, name, window, arraySort(groupArray((ended, judged.1))) AS levels,
        arrayLast(each -> each.2 = {{ LEVEL_NUMBERS["stable"] }}
            OR each.2 = {{ LEVEL_NUMBERS[LIKE] }} AND levels[-1].2 = {{ LEVEL_NUMBERS[UNLIKE] }}, levels).1 AS stable,
        (arrayFirst(each -> each.1 > stable AND each.2 > {{ _BEYOND }}, levels).1, stable) AS onset
    FROM ({{ _verdicts(
        history ~ " AND (model, version, field) IN (SELECT model, version, field FROM drift WHERE " ~ beyond ~ " AND (level != 'insufficient' OR " ~ is_unlike() ~ "))",
        history ~ " AND (model, version, field, kind) IN (SELECT model, version, field, kind FROM rates WHERE " ~ beyond ~ " AND level != 'insufficient')",
        history) }})
    GROUP BY model, signal, version, name, window
    HAVING toUnixTimestamp(onset.1) > 0
)
GROUP BY model, signal, version, name
{%- endmacro %}

{# The traffic of each model: sums of the range, and of the last short window those of the SLOs, with the contract's
   shares; an hour before the last one that met an SLO; the last request ever and the usual gap. #}
{% macro traffic(models) -%}
SELECT
    known.model AS model, panes.hours AS hours, panes.busy AS busy, panes.counted AS counted, panes.pane_s AS pane_s,
    ever.last_busy AS last_busy, ever.last_start AS last_start, panes.requests AS requests, panes.errors AS errors,
    panes.slow AS slow, panes.timed AS timed,
    least(if(empty(lengths.lengths), 86400, lengths.lengths[least(2, length(lengths.lengths))]), 604800) AS short_s,
    toFloat64OrZero(extract(known.yaml, '\\berror_rate:\\s*([0-9.eE+-]+)')) AS promised,
    if(promised > 0, promised, lengths.errors_threshold) AS allowed_errors,
    ifNull(1 - toFloat64OrNull(extract(known.yaml, '\\blatency_share:\\s*([0-9.eE+-]+)')), 0) AS allowed_slow,
    toInt64(greatest(600, 2 * pane_s)) AS at_least_s,
    arrayReverseSort(arrayMap(gap -> gap - pane_s, arrayPopFront(arrayDifference(busy))))[2] AS second_gap_s,
    pane_s + greatest(at_least_s, second_gap_s, if(busy[1] > last_busy - 259200, 43200, 0)) AS usual_s,
    {{ RANGE_END }} - counted > 3600 + 3 * pane_s AS is_late,
    if(last_busy = 0, 0, if(is_late, {{ RANGE_END }}, counted) - last_busy) AS silent_s
FROM
(
    SELECT model, argMax(yaml, applied_at) AS yaml
    FROM (SELECT model, yaml, applied_at FROM contracts UNION ALL SELECT DISTINCT model, '', toDateTime64(0, 3, 'UTC') FROM progress)
    WHERE {{ models }}
    GROUP BY model
) AS known
LEFT JOIN
(
    SELECT
        model, any(pane_s) AS pane_s, max(hour_counted) AS counted,
        arraySort(arrayFlatten(groupArrayIf(hour_busy, is_recent))) AS busy,
        arraySort(groupArrayIf((hour, n, hour_errors, hour_timed, hour_slow), is_recent)) AS hours,
        sumIf(n, hour >= toUnixTimestamp($__fromTime)) AS requests,
        sumIf(hour_errors, hour >= toUnixTimestamp($__fromTime)) AS errors,
        sumIf(hour_timed, hour >= toUnixTimestamp($__fromTime)) AS timed,
        sumIf(hour_slow, hour >= toUnixTimestamp($__fromTime)) AS slow
    FROM
    (
        SELECT
            model, intDiv(toUnixTimestamp(pane_start), 3600) * 3600 AS hour, any(pane.pane_s) AS pane_s, sum(pane.n) AS n,
            hour > toUnixTimestamp($__toTime) - {{ TRAFFIC_DAYS }} * 86400 AS is_recent,
            sum(pane.errors) AS hour_errors, sum(pane.timed) AS hour_timed, sum(pane.slow) AS hour_slow,
            maxIf(toInt64(toUnixTimestamp(pane_start)) + pane.pane_s, pane.sealed) AS hour_counted,
            groupUniqArrayIf(toInt64(toUnixTimestamp(pane_start)) + pane.pane_s, pane.n > 0) AS hour_busy
        FROM all_volume AS pane
        WHERE {{ models }} AND slice = 'all'
            AND pane_start > least($__toTime - INTERVAL {{ TRAFFIC_DAYS }} DAY, $__fromTime - INTERVAL 1 HOUR)
            AND pane_start < $__toTime
        GROUP BY model, hour
    )
    GROUP BY model
) AS panes ON known.model = panes.model
LEFT JOIN
(
    SELECT
        model, toInt64(toUnixTimestamp(max(pane_start + pane_s))) AS last_busy,
        toInt64(toUnixTimestamp(max(pane_start))) AS last_start
    FROM volume
    WHERE {{ models }} AND slice = 'all' AND n > 0 AND pane_start < $__toTime
    GROUP BY model
) AS ever ON known.model = ever.model
LEFT JOIN
(
    SELECT
        model, arrayReverseSort(groupUniqArray(toInt64({{ window_seconds() }}))) AS lengths,
        max(threshold_major) AS errors_threshold
    FROM rates
    WHERE {{ models }} AND slice = 'all' AND field = 'events' AND kind = 'error' AND {{ LAST_DAY }}
    GROUP BY model
) AS lengths ON known.model = lengths.model
{%- endmacro %}

{# The failed or slow predictions, and all, of the short window that ends with each hour. #}
{% macro _windows(part, whole) -%}
arrayMap(end -> (end + 3600,
    arraySum(each -> if(each.1 > end - short_s AND each.1 <= end, each.{{ part }}, 0), hours),
    arraySum(each -> if(each.1 > end - short_s AND each.1 <= end, each.{{ whole }}, 0), hours)), hours.1)
{%- endmacro %}

{# A problem if the share of the last window is surely above what the SLO allows. It began with the last hour that met
   the SLO before the end of the first window that did not. #}
{% macro _broken(name, part, whole, allowed, what, target) -%}
{% set windows, first, stable = name ~ "_windows", name ~ "_first", name ~ "_stable" %}
{% set k, n, share = windows ~ "[-1].2", windows ~ "[-1].3", "(" ~ windows ~ "[-1].2 / " ~ windows ~ "[-1].3)" %}
{% set met %}arrayLast(each -> each.1 + 3600 < {{ first }} AND each.{{ whole }} > 0 AND each.{{ part }} <= each.{{ whole }} * {{ allowed }}, hours).1{% endset %}
(
        toUInt8(if({{ allowed }} > 0 AND NOT is_late AND ({{ share }} + 1.92 / {{ n }} - 1.96 * sqrt(({{ share }} * (1 - {{ share }}) + 0.96 / {{ n }}) / {{ n }})) / (1 + 3.84 / {{ n }}) > {{ allowed }},
            {{ LEVEL_NUMBERS["major"] }}, 0)),
        {{ share }} / {{ allowed }}, concat({{ percent(share) }}, ' {{ what }}, ', {{ target }}, ' ', {{ percent(allowed) }}),
        toUInt32(if({{ met }} > 0, {{ met }} + 3600, {{ first }})), toUInt32({{ stable }})
    )
{%- endmacro %}

{# A problem: its level as a number, how far it is beyond its threshold, why, and its onset and the last time before it
   without it in Unix seconds. These are the problems of the traffic of each model, and its sums. #}
{% set _TRAFFIC = "model, requests, errors, timed, slow, last_busy, last_start, silent_s, usual_s, is_late, hours, promised, allowed_errors, allowed_slow" %}
{% macro _traffic_problems(models) -%}
SELECT
    model, requests, errors, timed, slow, last_busy, last_start, silent_s,
    arrayFilter(each -> each.1 > 0, [
        {{ _broken("failed", 3, 2, "allowed_errors", "of predictions failed", "if(promised > 0, 'SLO', 'threshold')") }},
        {{ _broken("slow", 5, 4, "allowed_slow", "of predictions slow", "'SLO'") }},
        (
            toUInt8(if(last_busy > 0 AND silent_s > usual_s, {{ LEVEL_NUMBERS["major"] }}, 0)), silent_s / usual_s,
            concat('silent for ', {{ duration("silent_s") }}, if(is_late, ', nothing was counted: see Pipeline',
                concat(', usual gap ', {{ duration("usual_s") }}))),
            toUInt32(last_busy), toUInt32(last_busy)
        )
    ]) AS problems
FROM
(
    SELECT {{ _TRAFFIC }}, failed_windows, slow_windows, failed_stable, slow_stable,
        arrayFirst(each -> each.1 > failed_stable, failed_windows).1 AS failed_first,
        arrayFirst(each -> each.1 > slow_stable, slow_windows).1 AS slow_first
    FROM
    (
        SELECT {{ _TRAFFIC }},
            {{ _windows(3, 2) }} AS failed_windows, {{ _windows(5, 4) }} AS slow_windows,
            arrayLast(each -> each.2 <= each.3 * allowed_errors, failed_windows).1 AS failed_stable,
            arrayLast(each -> each.2 <= each.3 * allowed_slow, slow_windows).1 AS slow_stable
        FROM ({{ traffic(models) }})
    )
)
{%- endmacro %}

{# The problems of verdicts, labels, prompts and costs; for fields also levels that are none. #}
{% macro _problems(models, onsets) -%}
SELECT
    verdicts.model AS model, toUInt8(verdicts.number) AS number, verdicts.excess AS excess, verdicts.why AS why,
    {% if onsets %}toUnixTimestamp(onset.since) AS since, toUnixTimestamp(onset.last_stable) AS last_stable
FROM ({{ _last_verdicts(models) }}) AS verdicts
LEFT JOIN ({{ _onsets(models) }}) AS onset USING (model, signal, version, name)
    {% else %}toUInt32(0) AS since, toUInt32(0) AS last_stable
FROM ({{ _last_verdicts(models) }}) AS verdicts
    {% endif %}
UNION ALL
SELECT
    model, {{ LEVEL_NUMBERS["minor"] }}, age_s / usual_s,
    concat('no label for ', {{ duration("age_s") }}, ', usual gap ', {{ duration("usual_s - 3600") }}), toUInt32(hours[-1]),
    toUInt32(hours[-1])
FROM
(
    SELECT
        model, arraySort(groupUniqArray(toInt64(toUnixTimestamp(toStartOfHour(received_at))) + 3600)) AS hours,
        3600 + greatest(86400, arrayReverseSort(arrayMap(gap -> gap - 3600, arrayPopFront(arrayDifference(hours))))[2])
            AS usual_s, {{ RANGE_END }} - hours[-1] AS age_s
    FROM label_times
    WHERE {{ models }} AND received_at > $__toTime - INTERVAL {{ 2 * TRAFFIC_DAYS }} DAY AND received_at <= $__toTime
    GROUP BY model
)
WHERE age_s > usual_s
UNION ALL
SELECT
    model, {{ LEVEL_NUMBERS["major"] }}, 1,
    concat('prompt ', comparison, ' worse by ', {{ percent("looks[-1].3") }}, ', margin ', {{ percent("looks[-1].4") }}),
    arrayFirst(each -> each.1 > last_stable, looks).1, arrayLast(each -> NOT each.2, looks).1 AS last_stable
FROM
(
    SELECT model, concat(arm, ': ', criterion) AS comparison,
        arraySort(groupArray((toUnixTimestamp(look.at), look.low > margin, look.value, margin))) AS looks
    FROM arm_comparisons AS look FINAL
    WHERE {{ models }} AND look.at > $__toTime - {{ _HISTORY }} AND look.at <= $__toTime
    GROUP BY model, comparison
)
WHERE looks[-1].2 AND looks[-1].1 > toUnixTimestamp($__toTime) - 21600
UNION ALL
SELECT
    model, {{ LEVEL_NUMBERS["minor"] }}, spent / budget,
    concat(printf('%.2f', spent), ' $ spent ', period.1, ', budget ', toString(budget), ' $'),
    toUInt32(arrayFirst((end, until) -> until > budget, ends, arrayCumSum(costs))), 1
FROM
(
    SELECT model, period, if(period.1 = 'today', budget_day, budget_month) AS budget,
        arraySort(groupArrayIf((toUnixTimestamp(hour), hour_cost), hour >= period.2)) AS hourly,
        hourly.1 AS ends, hourly.2 AS costs, arraySum(costs) AS spent
    FROM
    (
        SELECT model, hour, sum(cost) AS hour_cost
        FROM model_costs
        WHERE {{ models }} AND model IN (SELECT model FROM cost_settings WHERE budget_day > 0 OR budget_month > 0)
            AND hour >= toStartOfMonth($__toTime) AND hour < $__toTime
        GROUP BY model, hour
    ) AS hours
    INNER JOIN
    (
        SELECT model, argMax(settings.budget_day, applied_at) AS budget_day,
            argMax(settings.budget_month, applied_at) AS budget_month
        FROM cost_settings AS settings
        GROUP BY model
    ) AS budgets USING (model)
    ARRAY JOIN [('today', toStartOfDay($__toTime)), ('this month', toDateTime(toStartOfMonth($__toTime), 'UTC'))] AS period
    GROUP BY model, period, budget
)
WHERE spent > budget
{%- endmacro %}

{# One row for each model, with all its problems, worst first; without one, with its worst level. #}
{% macro models_now(models, onsets=True) -%}
SELECT
    traffic.model AS model, requests, errors, timed, slow, last_busy, last_start, silent_s,
    arrayReverseSort(arrayConcat(traffic.problems, other.problems)) AS sorted,
    arrayFilter((each, i) -> i = 1 OR each.1 > {{ LEVEL_NUMBERS["insufficient"] }}, sorted, arrayEnumerate(sorted)) AS problems
FROM ({{ _traffic_problems(models) }}) AS traffic
LEFT JOIN
(
    SELECT model, groupArray((number, excess, why, since, last_stable)) AS problems
    FROM ({{ _problems(models, onsets) }})
    GROUP BY model
) AS other ON traffic.model = other.model
{%- endmacro %}

{# When a problem began. #}
{% macro since_of(problem) -%}
if({{ problem }}.1 <= {{ LEVEL_NUMBERS["insufficient"] }} OR {{ problem }}.4 = 0, '',
        concat(if({{ problem }}.5 = 0, 'before ', ''), formatDateTime(toDateTime({{ problem }}.4, 'UTC'), '%F %R')))
{%- endmacro %}

{% macro why_of(problem) -%}
multiIf({{ problem }}.1 = {{ LEVEL_NUMBERS["stable"] }}, '', last_busy = 0, 'no prediction has been counted yet',
        {{ problem }}.1 = 0, 'no window was judged in the last day', {{ problem }}.3)
{%- endmacro %}

{% call table("states.model", "state:text | since:text | why:text") %}
SELECT {{ level_name("problem.1") }} AS state, {{ since_of("problem") }} AS since, {{ why_of("problem") }} AS why
FROM ({{ models_now(MODEL) }})
LEFT ARRAY JOIN problems AS problem
ORDER BY problem.1 DESC, problem.2 DESC, why
LIMIT 50
{% endcall %}

{# The models by state, worst first, that meet a condition. #}
{% macro by_state(condition="1") -%}
SELECT model
FROM ({{ models_now(NO_DRILLS, False) }})
WHERE {{ condition }}
ORDER BY problems[1] DESC, model
LIMIT 1000
/* no range: a model is known as soon as it has a contract */
{%- endmacro %}
