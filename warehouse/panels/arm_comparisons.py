"""Arms that serve versions of a prompt, compared after every hour, and changes of prompts."""

from __future__ import annotations

from warehouse.panels.fragments import LEVEL_NUMBERS, MODEL, finite, interval
from warehouse.panels.query import HOUR_S, series, table

SHOWN_CHANGES = 100
"""Most rows of the table of changes."""

_LOOKS = f"{MODEL} AND look.at > $__fromTime AND look.at <= $__toTime"
_LAST = (
    "SELECT arm, control, criterion, argMax(tuple(value, low, high, margin, unit, control_value, control_events, "
    "arm_events, control_units, arm_units, outcome), look.at) AS last, max(look.at) AS looked_at "
    f"FROM arm_comparisons AS look FINAL WHERE {_LOOKS} GROUP BY arm, control, criterion"
)

COMPARISONS = table(
    "arm_comparisons.last",
    f"""
    SELECT
        arm,
        control,
        criterion,
        last.11 AS outcome,
        {finite("last.1 * 100")} AS difference,
        {interval("last.2 * 100", "last.3 * 100")} AS interval,
        last.4 * 100 AS margin,
        if(last.5 = 'share', 'points', '%') AS unit,
        {finite("last.6")} AS "control's value",
        last.8 AS predictions,
        last.10 AS units,
        looked_at AS "last look"
    FROM ({_LAST})
    ORDER BY outcome != 'harm', looked_at DESC, arm, criterion
    LIMIT 100
    """,
    "arm:text",
    "control:text",
    "criterion:text",
    "outcome:text",
    "difference",
    "interval:text",
    "margin",
    "unit:text",
    "control's value",
    "predictions",
    "units",
    "last look:time",
    grain_s=HOUR_S,
)

# The comparison whose interval was nearest to harm, or furthest in it, at any look of the range.
_WORST = (
    "SELECT argMax(tuple(arm, control, criterion), look.low - margin) FROM arm_comparisons AS look FINAL "
    f"WHERE {_LOOKS} AND isFinite(look.low)"
)
INTERVALS = series(
    "arm_comparisons.intervals",
    f"""
    SELECT
        $__timeInterval(look.at) AS time,
        concat(any(arm), ' and ', any(control), ': ', any(criterion)) AS judged,
        argMax({finite("look.value")}, look.at) AS difference,
        argMax({finite("look.low")}, look.at) AS "at least",
        argMax({finite("look.high")}, look.at) AS "at most",
        argMax(look.margin, look.at) AS margin
    FROM arm_comparisons AS look FINAL
    WHERE {_LOOKS} AND (arm, control, criterion) = ({_WORST})
    GROUP BY time
    ORDER BY time
    """,
    "judged:text",
    "difference",
    "at least",
    "at most",
    "margin",
    grain_s=HOUR_S,
)

_OUTCOMES = {
    "no-harm": LEVEL_NUMBERS["stable"],
    "undecided": LEVEL_NUMBERS["insufficient"],
    "insufficient": LEVEL_NUMBERS["insufficient"],
    "harm": LEVEL_NUMBERS["major"],
}
OUTCOMES = series(
    "arm_comparisons.outcomes",
    f"""
    SELECT
        $__timeInterval(look.at) AS time,
        concat(arm, ': ', criterion) AS judged,
        argMax(transform(look.outcome, {list(_OUTCOMES)}, {list(_OUTCOMES.values())}, 0), look.at) AS state
    FROM arm_comparisons AS look FINAL
    WHERE {_LOOKS}
    GROUP BY time, judged
    ORDER BY time, judged
    """,
    "judged:text",
    "state",
    grain_s=HOUR_S,
)

CHANGES = table(
    "arm_comparisons.changes",
    f"""
    SELECT changed_at AS time, kind, subject, before, after, reason, changed_by AS "changed by"
    FROM changes FINAL
    WHERE $__timeFilter(changed_at)
    ORDER BY time DESC
    LIMIT {SHOWN_CHANGES}
    """,
    "time:time",
    "kind:text",
    "subject:text",
    "before:text",
    "after:text",
    "reason:text",
    "changed by:text",
)
