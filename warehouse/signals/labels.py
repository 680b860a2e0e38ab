"""Signals from the scorer: performance at mature labels, label-free estimates, and missing labels."""

from collections.abc import Sequence
from typing import Literal

from barograph.contract import format_duration

from barograph_server.warehouse.signals.literals import literal, literals
from barograph_server.warehouse.signals.signal import (
    AMPLE,
    EMPTY,
    SURE,
    UNSURE,
    EventTimeRange,
    Facts,
    FactTime,
    Signal,
    since,
)

Direction = Literal["least", "most", "size"]
"""Meaning of an objective: the minimum of the metric, its maximum, or the maximum of its absolute value."""

MAIN_METRICS: dict[str, tuple[str, ...]] = {
    "binary": ("auc", "accuracy"),
    "classes": ("auc_macro", "accuracy"),
    "number": ("mae",),
}
"""Metrics that describe the task of a model best, by kind of model. A large drop of one pages; a dashboard shows the
first that the model has."""
DAYS_IN_ROW = 3
"""Consecutive days beyond a margin that decide without a week. Accuracy often falls by a tenth for a day or two."""

DAY_S = 86_400
USUAL_S = 15 * DAY_S
LABELS_REACH_S = 31 * DAY_S


def performance(
    model: str, metric: str, window: str, window_s: int, horizon_s: int, threshold: float, direction: Direction
) -> Signal:
    """Return the signal of a metric in the newest mature window, of the version furthest from its objective.

    It breaches the objective only if its whole interval does.
    """
    value = "abs(value)" if direction == "size" else "value"
    nearest_bound = {"least": "high", "most": "low", "size": "greatest(low, -high, 0)"}[direction]
    is_breached = f"{nearest_bound} {'<' if direction == 'least' else '>'} {float(threshold)!r}"
    bounds = "low, high"
    if direction == "size":
        bounds = "if(low <= 0 AND high >= 0, 0, least(abs(low), abs(high))), greatest(abs(low), abs(high))"

    def select(period: EventTimeRange, fact_time: FactTime) -> str:
        state = f"multiIf(n = 0 OR isNaN(value), {EMPTY}, level != 'insufficient' AND {is_breached}, {SURE}, {UNSURE})"
        return (
            "SELECT '' AS key, version, toUnixTimestamp(window_end) AS until, "
            f"{_matured_at(model, horizon_s)} AS ended_at, "
            f"{_seconds('revised_at')} AS judged_at, tuple(until, revision) AS rank, "
            f"tuple(toUInt8({state}), {value}, {bounds}, 0., reason) AS verdict "
            f"FROM performance WHERE {_where(model, [metric], window, period)} AND mature AND predictions > 0"
        )

    facts = Facts(select, _stale_s(window_s, horizon_s), window, has_reason=True)
    is_below = direction == "least"
    return Signal("", ("",), threshold, facts, below=is_below, changes=since(facts, threshold, is_below))


def measured_drop(
    model: str,
    metrics: Sequence[str],
    window: str,
    window_s: int,
    horizon_s: int,
    threshold: float,
    *,
    relative: bool,
    day_s: int = 0,
) -> Signal:
    """Return the signal of how much worse metrics are than in the reference, in the newest mature window.

    It counts only if the whole interval of the difference is beyond the threshold, and the metric misses its target if
    it has one. Of several versions the worst counts.

    Args:
        metrics: metrics for which larger is better, or with `relative` errors.
        horizon_s: age up to which labels are expected.
        threshold: the margin: in points, or with `relative` as a share of the reference.
        relative: whether the metrics are errors, compared relative to the reference.
        day_s: length of shorter windows, of which `DAYS_IN_ROW` beyond the threshold suffice alone; 0: none.
    """
    worse, least, most = ("difference", "difference_low", "difference_high")
    if relative:
        worse, least, most = (f"{name} / abs(reference)" for name in (worse, least, most))
    else:
        worse, least, most = f"-{worse}", f"-{most}", f"-{least}"
    misses = "low > promise" if relative else "high < promise"
    is_sure = f"sufficient AND {least} > {float(threshold)!r} AND (isNaN(promise) OR {misses})"

    def facts(name: str, length_s: int, rows_in_row: int) -> Facts:
        def select(period: EventTimeRange, fact_time: FactTime) -> str:
            where = f"{_where(model, metrics, name, period)} AND mature AND predictions > 0"
            state = f"{is_sure}, {SURE}"
            if rows_in_row > 1:
                later = [length_s * i for i in range(1, rows_in_row)]
                follows = (
                    "(metric, version, until) IN (SELECT metric, version, toUnixTimestamp(window_end) + later "
                    f"FROM latest_performance ARRAY JOIN {later} AS later WHERE {where} AND {is_sure} "
                    f"GROUP BY 1, 2, 3 HAVING count() = {len(later)})"
                )
                state = f"{is_sure} AND {follows}, {AMPLE}"
            return (
                "SELECT metric AS key, version, toUnixTimestamp(window_end) AS until, "
                f"{_matured_at(model, horizon_s)} AS ended_at, "
                f"{_seconds('revised_at')} AS judged_at, tuple(until, revision) AS rank, "
                f"tuple(toUInt8(multiIf(NOT isFinite({worse}), {EMPTY}, {state}, {UNSURE})), "
                f"{worse}, {least}, {most}, 0., reason) AS verdict FROM performance WHERE {where}"
            )

        return Facts(select, _stale_s(length_s, horizon_s), name, has_reason=True)

    whole = facts(window, window_s, 1)
    changes = since(whole, threshold)
    if not day_s:
        return Signal("metric", tuple(metrics), threshold, whole, changes=changes)
    days = facts(format_duration(day_s), day_s, DAYS_IN_ROW)
    return Signal("metric", tuple(metrics), threshold, days, whole, fast_threshold=threshold, changes=changes)


def expected_drop(
    model: str, metrics: Sequence[str], window: str, window_s: int, threshold: float, *, relative: bool = False
) -> Signal:
    """Return the signal of how much worse the label-free estimate is than the reference, of the worst version.

    It counts only if the whole interval of the estimate is worse than the reference. With `relative` the metrics are
    errors, whose estimates have no interval, and the signal is their growth as a share of the reference.
    """
    worse, least, most = "reference - cbpe", "reference - cbpe_high", "reference - cbpe_low"
    is_empty, is_sure = "isNaN(cbpe) OR isNaN(reference)", "cbpe_high < reference"
    if relative:
        worse = least = most = "cbpe / reference - 1"
        is_empty, is_sure = f"NOT isFinite({worse})", "1"

    def select(period: EventTimeRange, fact_time: FactTime) -> str:
        state = f"multiIf({is_empty}, {EMPTY}, {is_sure}, {SURE}, {UNSURE})"
        return (
            "SELECT metric AS key, version, toUnixTimestamp(window_end) AS until, until AS ended_at, "
            f"{_seconds('revised_at')} AS judged_at, tuple(until, revision) AS rank, "
            f"tuple(toUInt8({state}), {worse}, {least}, {most}, 0.) AS verdict "
            f"FROM performance WHERE {_where(model, metrics, window, period)} AND predictions > 0"
        )

    return Signal("metric", tuple(metrics), threshold, Facts(select, 3 * window_s + DAY_S, window))


def label_age(model: str, at_least_s: int, threshold: float = 1.0) -> Signal:
    """Return the signal of the time without labels, as a multiple of the usual gap, in whole hours.

    The usual gap is defined as in `silence`. A model that never received a label has no gap. In replayed history a
    label counts at its event time, not at its received time.
    """

    def select(period: EventTimeRange, fact_time: FactTime) -> str:
        time_column = "at" if fact_time == "ended" else "received_at"
        hours = (
            f"SELECT toInt64(toUnixTimestamp(toStartOfHour({time_column}))) + 3600 AS end FROM label_times "
            f"WHERE model = {literal(model)} "
            f"AND {time_column} > toDateTime64({period.start}, 3) AND {time_column} <= toDateTime64({period.end}, 3) "
            "GROUP BY end"
        )
        gaps = (
            "SELECT end, end - 3600 - lagInFrame(end, 1, end - 3600) OVER "
            f"(ORDER BY end ASC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS gap FROM ({hours})"
        )
        usual = (
            f"SELECT end, arrayReverseSort(groupArray(if(gap >= {at_least_s}, gap, 0)) OVER "
            f"(ORDER BY end ASC RANGE BETWEEN {USUAL_S} PRECEDING AND CURRENT ROW)) AS longest, "
            f"greatest({at_least_s}, longest[2]) + 3600 AS usual_s FROM ({gaps})"
        )
        return (
            "SELECT '' AS key, '' AS version, toUInt32(end) AS until, until AS ended_at, until AS judged_at, "
            f"tuple(until) AS rank, tuple(toUInt8({SURE}), 0., nan, toFloat64(usual_s), 1 / usual_s) AS verdict "
            f"FROM ({usual})"
        )

    return Signal("", ("",), threshold, Facts(select, LABELS_REACH_S), has_versions=False)


def _where(model: str, metrics: Sequence[str], window: str, period: EventTimeRange) -> str:
    return (
        f"model = {literal(model)} AND slice = 'all' AND class = '' AND metric IN {literals(metrics)} "
        f"AND window = {literal(window)} AND window_end > toDateTime({period.start}) "
        f"AND window_end <= toDateTime({period.end})"
    )


def _matured_at(model: str, horizon_s: int) -> str:
    """Return the time at which a window's labels are mature: in replayed history they arrive much later."""
    age_s = (
        "SELECT if(count() > 0 AND isFinite(argMax(mature_age_s, learned_at)), "
        f"least(argMax(mature_age_s, learned_at), {horizon_s}), {horizon_s}) FROM maturity "
        f"WHERE model = {literal(model)}"
    )
    return f"toUInt32(until + ({age_s}))"


def _stale_s(window_s: int, horizon_s: int) -> int:
    return horizon_s + 2 * window_s + 7 * DAY_S


def _seconds(column: str) -> str:
    return f"toUInt32(ceil(toUnixTimestamp64Milli({column}) / 1000))"
