"""A version against the one before it, and the arms of a test against the control."""

from __future__ import annotations

from warehouse.panels.fragments import MODEL, VERSION, WINDOW, known
from warehouse.panels.query import PanelQuery, table

_RANGE = "$__timeFilter(window_end)"
_WINDOW = f"{MODEL} AND {WINDOW} AND {_RANGE}"


def _last(name: str, view: str, left: str, right: str, and_where: str) -> PanelQuery:
    """The last comparison of each measure; those that differ most come first."""
    return table(
        f"comparisons.{name}",
        f"""
        SELECT
            {left}, {right}, field, if(category = '', measure, concat(measure, ' of ', category)) AS measured,
            {known(f"{left}_value")} AS "{left} value", {known(f"{right}_value")} AS "{right} value",
            {known("difference")} AS difference,
            {known("difference_low")} AS "at least", {known("difference_high")} AS "at most",
            if(level = '', 'no line', level) AS level, window_end AS "window end"
        FROM {view}
        WHERE {_WINDOW} AND {and_where}
            AND window_end = (SELECT max(window_end) FROM {view} WHERE {_WINDOW} AND {and_where})
        ORDER BY indexOf(['major', 'minor', 'insufficient', 'stable'], level) = 0,
            indexOf(['major', 'minor', 'insufficient', 'stable'], level), {right}, field, measured
        LIMIT 200
        """,
        f"{left}:text",
        f"{right}:text",
        "field:text",
        "measured:text",
        f"{left} value",
        f"{right} value",
        "difference",
        "at least",
        "at most",
        "level:text",
        "window end:time",
    )


VERSIONS = _last("versions", "version_comparison", "previous", "version", VERSION)
ARMS = _last("arms", "arm_comparison", "control", "arm", "1 = 1")

ARM_RATIO = table(
    "comparisons.arm_ratio",
    f"""
    SELECT
        arm, expected_share AS promised, {known("share")} AS seen, units, crossovers, without_unit, p_value AS "p", level,
        since, at
    FROM latest_arm_ratios
    WHERE {MODEL} AND at >= $__fromTime - INTERVAL 1 DAY
    ORDER BY arm
    LIMIT 50
    """,
    "arm:text",
    "promised",
    "seen",
    "units",
    "crossovers",
    "without_unit",
    "p",
    "level:text",
    "since:time",
    "at:time",
)

ARM_PERFORMANCE = table(
    "comparisons.arm_performance",
    f"""
    SELECT
        arm, other_arm AS "other arm", if(class = '', metric, concat(metric, ' of ', class)) AS metric,
        {known("value")} AS value, {known("other_value")} AS "other value", {known("difference")} AS difference,
        {known("difference_low")} AS "at least", {known("difference_high")} AS "at most",
        multiIf(NOT sufficient, 'insufficient', mature, 'mature', 'labels still come') AS labels,
        window, window_end AS "window end"
    FROM arm_performance AS measured
    WHERE {MODEL} AND {VERSION} AND $__timeFilter(measured.window_end)
    ORDER BY window_end DESC, metric, arm, other_arm
    LIMIT 100
    """,
    "arm:text",
    "other arm:text",
    "metric:text",
    "value",
    "other value",
    "difference",
    "at least",
    "at most",
    "labels:text",
    "window:text",
    "window end:time",
)
