"""A candidate beside the primary: the decision, its criteria over time, slices, missing pairs, disagreements."""

from __future__ import annotations

from barograph_server.warehouse.panels.fragments import MODEL, finite, interval, is_selected
from barograph_server.warehouse.panels.query import DAY_S, HOUR_S, PanelQuery, hourly, series, table

OUTCOMES = ("promote", "insufficient", "hold", "keep", "roll back")
"""Decisions about a candidate, from best to worst, then those about a new primary."""
OUTCOME_NUMBERS = {outcome: number for number, outcome in enumerate(OUTCOMES, 1)}
"""The number of each decision in panels."""
SHOWN_SLICES = 50
"""Most rows of the table of slices."""
SHOWN_REASONS = 3
"""Most criteria or slices that the decision names."""
SHOWN_HOURS = 20
"""Most rows of the table of disagreements."""

_CANDIDATE = f"{MODEL} AND {is_selected('candidate')}"
_LATEST_OF = f"of = (SELECT argMax(of, judged_at) FROM shadow_verdicts WHERE {_CANDIDATE})"
_IN_RANGE = "day_end > $__fromTime AND day_end <= $__toTime"
_LOOKS = f"{_CANDIDATE} AND {_LATEST_OF} AND {_IN_RANGE}"
_LAST_LOOK = f"{_LOOKS} AND day = (SELECT max(day) FROM shadow_verdicts FINAL WHERE {_LOOKS})"
_DECISION = f"FROM shadow_verdicts FINAL WHERE {_LAST_LOOK} AND criterion = 'decision'"
_CRITERIA = "slice = 'all' AND criterion != 'decision'"

_LATEST_BASIS = f"(of, basis) = (SELECT argMax((of, basis), counted_at) FROM shadow_pairs WHERE {_CANDIDATE})"
_PAIRS = f"{_CANDIDATE} AND {_LATEST_BASIS} AND $__timeFilter(window_start)"
_FROM_PAIRS = f"FROM shadow_pairs AS pair FINAL WHERE {_PAIRS} AND slice = 'all'"

CANDIDATES = table(
    "variables.candidates",
    f"""
    SELECT candidate
    FROM shadow_pairs
    WHERE {MODEL}
    GROUP BY candidate
    ORDER BY max(counted_at) DESC, candidate DESC
    LIMIT 100
    /* no range: a candidate stays known after its last pair */
    """,
    "candidate:text",
)

CRITERION_NAMES = table(
    "variables.criteria",
    f"""
    SELECT criterion
    FROM shadow_verdicts FINAL
    WHERE {_LAST_LOOK} AND {_CRITERIA}
    ORDER BY criterion
    LIMIT 20
    """,
    "criterion:text",
    grain_s=DAY_S,
)


def _of_decision(name: str, selected: str, columns: str) -> PanelQuery:
    return table(f"shadow.{name}", f"SELECT {selected} {_DECISION} LIMIT 1", columns, grain_s=DAY_S)


# The rows that decide, in words: those that are worse, else those that are not met.
DECISION = table(
    "shadow.decision",
    f"""
    SELECT
        transform(decided, {list(OUTCOMES)}, {list(OUTCOME_NUMBERS.values())}, 0) AS decision,
        multiIf(decided IN ('promote', 'keep'), 'all criteria are met',
            decided IN ('hold', 'roll back'),
            concat('worse: ', arrayStringConcat(arraySlice(worse, 1, {SHOWN_REASONS}), ', ')),
            concat('not met: ', arrayStringConcat(arraySlice(not_met, 1, {SHOWN_REASONS}), ', '))) AS why
    FROM
    (
        SELECT
            any(verdict.outcome) AS decided,
            arraySort(groupArrayIf(if(slice = 'all', criterion, slice), state = 'worse')) AS worse,
            arraySort(groupArrayIf(criterion, slice = 'all' AND state != 'met')) AS not_met
        FROM shadow_verdicts AS verdict FINAL
        WHERE {_LAST_LOOK} AND criterion != 'decision'
    )
    WHERE decided != ''
    LIMIT 1
    """,
    "decision | why:text",
    grain_s=DAY_S,
)
DAYS_LEFT = _of_decision(
    "days_left", f"if(outcome IN ('hold', 'roll back'), NULL, {finite('ceil(days_left)')}) AS days_left", "days_left"
)
DAYS = _of_decision("days", 'days AS "days so far", least_days AS needed', "days so far | needed")
SLICE_EVIDENCE = _of_decision("slice_evidence", f"{finite('exp(least(evidence, 700))')} AS e_value", "e_value")

CRITERIA_MET = table(
    "shadow.criteria_met",
    f"""
    SELECT countIf(state = 'met') AS met, count() AS criteria
    FROM shadow_verdicts FINAL
    WHERE {_LAST_LOOK} AND {_CRITERIA}
    HAVING criteria > 0
    """,
    "met | criteria",
    grain_s=DAY_S,
)

PAIRED_SHARE = table(
    "shadow.paired_share",
    f"SELECT {finite('sum(pair.pairs) / sum(pair.requests)')} AS paired {_FROM_PAIRS}",
    "paired",
    grain_s=HOUR_S,
)

_WHY = """multiIf(
            state = 'met', '',
            state = 'worse', if(is_canary, 'worse than the version that it replaced', 'worse than the primary'),
            days < least_days, concat('too few days: ', toString(days), ' of ', toString(least_days)),
            isInfinite(low) AND isFinite(value) AND isFinite(days_left),
            concat('days too alike: about ', toString(toUInt32(ceil(days_left))), ' more'),
            isInfinite(low), 'too few pairs, or no differences to measure',
            low > -margin AND least_low <= -margin, 'met, unless missing answers were wrong',
            value <= -margin, 'the difference is beyond the margin',
            'the interval reaches beyond the margin')"""

CRITERIA = table(
    "shadow.criteria",
    f"""
    SELECT
        criterion, state, {finite("value")} AS difference, {interval("low", "high")} AS "95 % CI",
        {finite("-margin")} AS "at least", days, least_days AS needs, {finite("ceil(days_left)")} AS "days left",
        {_WHY} AS why
    FROM shadow_verdicts FINAL
    WHERE {_LAST_LOOK} AND {_CRITERIA}
    ORDER BY indexOf(['worse', 'insufficient', 'open', 'met'], state), criterion
    LIMIT 50
    """,
    "criterion:text | state:text | difference | 95 % CI:text | at least | days | needs | days left | why:text",
    grain_s=DAY_S,
)

INTERVALS = series(
    "shadow.intervals",
    f"""
    SELECT
        $__timeInterval(day_end) AS time, argMax({finite("verdict.low")}, day) AS "at least",
        argMax({finite("verdict.high")}, day) AS "at most", argMax({finite("verdict.value")}, day) AS difference,
        argMax({finite("-verdict.margin")}, day) AS margin, 0 AS "no difference"
    FROM shadow_verdicts AS verdict FINAL
    WHERE {_LOOKS} AND slice = 'all' AND {is_selected("criterion")}
    GROUP BY time
    ORDER BY time
    """,
    "at least | at most | difference | margin | no difference",
    grain_s=DAY_S,
)

OUTCOMES_OVER_TIME = series(
    "shadow.outcomes",
    f"""
    SELECT
        $__timeInterval(day_end) AS time,
        if(criterion = 'decision', ' decision', criterion) AS judged,
        argMax(if(criterion = 'decision',
            transform(verdict.outcome, {list(OUTCOMES)}, {list(OUTCOME_NUMBERS.values())}, 0),
            transform(verdict.state, ['met', 'open', 'insufficient', 'worse'], [1, 2, 2, 3], 0)), day) AS state
    FROM shadow_verdicts AS verdict FINAL
    WHERE {_LOOKS} AND slice = 'all'
    GROUP BY time, judged
    ORDER BY time, judged
    """,
    "judged:text | state",
    grain_s=DAY_S,
)

SLICES = table(
    "shadow.slices",
    f"""
    SELECT
        slice, criterion, state, {finite("exp(least(evidence, 700))")} AS "e-value", {finite("value")} AS difference,
        {interval("low", "high")} AS "95 % CI", days
    FROM shadow_verdicts FINAL
    WHERE {_LAST_LOOK} AND slice != 'all'
    ORDER BY state != 'worse', isNaN(evidence), evidence DESC, slice, criterion
    LIMIT {SHOWN_SLICES}
    """,
    "slice:text | criterion:text | state:text | e-value | difference | 95 % CI:text | days",
    grain_s=DAY_S,
)

REQUESTS = table(
    "shadow.requests",
    f"""
    SELECT part.1 AS "end of the request", part.2 AS requests, {finite("part.2 / total")} AS share
    FROM
    (
        SELECT
            sum(pair.requests) AS total, sumMap(pair.missing) AS reasons,
            arrayMap((reason, n) -> (concat('missing: ', reason), n, 2),
                mapKeys(reasons), mapValues(reasons)) AS losses,
            arrayJoin(arrayConcat([('all', total, 0), ('pair', sum(pair.pairs), 1)], losses)) AS part
        {_FROM_PAIRS}
    )
    WHERE total > 0
    ORDER BY part.3, part.2 DESC, part.1
    LIMIT 30
    """,
    "end of the request:text | requests | share",
    grain_s=HOUR_S,
)

MISSING = hourly(
    "shadow.missing",
    f"""
    SELECT $__timeInterval(window_start) AS time, toString(reason) AS reason, sum(n) AS missing
    FROM shadow_pairs AS pair FINAL
    ARRAY JOIN mapKeys(pair.missing) AS reason, mapValues(pair.missing) AS n
    WHERE {_PAIRS} AND slice = 'all'
    GROUP BY time, reason
    ORDER BY time, reason
    """,
    "reason:text | missing",
)


def _over_time(name: str, *columns: tuple[str, str]) -> PanelQuery:
    selected = ", ".join(f'{finite(expression)} AS "{column}"' for column, expression in columns)
    return hourly(
        f"shadow.{name}",
        f"SELECT $__timeInterval(window_start) AS time, {selected} {_FROM_PAIRS} GROUP BY time ORDER BY time",
        " | ".join(column for column, _ in columns),
    )


NONE_MISSING = hourly(
    "shadow.none_missing",
    f"SELECT $__timeInterval(window_start) AS time, 0 AS none {_FROM_PAIRS} GROUP BY time ORDER BY time",
    "none",
)
TRAFFIC = _over_time("traffic", ("requests", "sum(pair.requests)"), ("pairs", "sum(pair.pairs)"))
LATENCY = _over_time("latency", ("candidate / primary", "exp(sum(pair.log_latency) / sum(pair.timed))"))


def _quantile(side: str, percent: int) -> str:
    """Return the expression for a quantile in milliseconds: the geometric middle of its bucket of latencies."""
    buckets = f"sumMap(pair.latencies_{side})"
    n = f"arraySum(mapValues({buckets}))"
    at = f"arrayFirstIndex(n -> n >= {percent / 100} * {n}, arrayCumSum(mapValues({buckets})))"
    return f"if({n} = 0, NULL, exp2((mapKeys({buckets})[{at}] + 0.5) / 8))"


LATENCIES = hourly(
    "shadow.latencies",
    f"""
    SELECT
        $__timeInterval(window_start) AS time,
        {_quantile("primary", 50)} AS "primary p50", {_quantile("candidate", 50)} AS "candidate p50",
        {_quantile("primary", 99)} AS "primary p99", {_quantile("candidate", 99)} AS "candidate p99"
    {_FROM_PAIRS}
    GROUP BY time
    ORDER BY time
    """,
    "primary p50 | candidate p50 | primary p99 | candidate p99",
)
AGREEMENT = _over_time("agreement", ("same class", "sum(pair.agreed) / sum(pair.compared)"))
SCORES = _over_time("scores", ("mean difference", "sum(pair.score_difference) / sum(pair.score_pairs)"))

RIGHT = table(
    "shadow.right",
    f"""
    SELECT
        slice, sum(pair.labelled) AS labelled, sum(pair.both_right) AS "both right",
        sum(pair.candidate_right) AS "only candidate right", sum(pair.primary_right) AS "only primary right",
        labelled - "both right" - "only candidate right" - "only primary right" AS "both wrong",
        {finite('("only candidate right" - "only primary right") / labelled')} AS difference
    FROM shadow_pairs AS pair FINAL
    WHERE {_PAIRS}
    GROUP BY slice
    HAVING labelled > 0
    ORDER BY slice != 'all', difference, slice
    LIMIT {SHOWN_SLICES}
    """,
    "slice:text | labelled | both right | only candidate right | only primary right | both wrong | difference",
    grain_s=HOUR_S,
)

CLASS_PAIRS = table(
    "shadow.class_pairs",
    f"""
    SELECT decided.1 AS "primary → candidate", decided.2 AS pairs, {finite("decided.2 / total")} AS share
    FROM
    (
        SELECT
            sum(pair.compared) AS total, sumMap(pair.class_pairs) AS counts,
            arrayJoin(arrayZip(mapKeys(counts), mapValues(counts))) AS decided
        {_FROM_PAIRS}
    )
    ORDER BY pairs DESC, decided.1
    LIMIT 40
    """,
    "primary → candidate:text | pairs | share",
    grain_s=HOUR_S,
)

# Where people should read pairs: dashboards never show single predictions.
DISAGREEMENTS = table(
    "shadow.disagreements",
    f"""
    SELECT
        window_start AS hour, slice, pair.compared - pair.agreed AS disagreements,
        (pair.compared - pair.agreed) / pair.compared AS share, pair.candidate_right AS "only candidate right",
        pair.primary_right AS "only primary right"
    FROM shadow_pairs AS pair FINAL
    WHERE {_PAIRS} AND slice != 'all' AND pair.compared > pair.agreed
    ORDER BY pair.primary_right - pair.candidate_right DESC, disagreements DESC, hour DESC, slice
    LIMIT {SHOWN_HOURS}
    """,
    "hour:time | slice:text | disagreements | share | only candidate right | only primary right",
    grain_s=HOUR_S,
)
