"""Signals from the scorer: performance at mature labels, what scores lead one to expect, and labels that stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from warehouse.signals.literals import literal, literals
from warehouse.signals.signal import EMPTY, SURE, UNSURE, Facts, Known, Signal, Span

Direction = Literal["least", "most", "size"]
"""What a promise says of a metric: the least value, the largest, or the largest without its sign."""

DAY_S = 86_400
USUAL_S = 15 * DAY_S
LABELS_REACH_S = 31 * DAY_S


def performance(
    model: str, metric: str, window: str, window_s: int, horizon_s: int, line: float, of: Direction
) -> Signal:
    """A metric in the newest window whose labels are mature, of the version that keeps its promise least.

    It breaks the promise only where all of its interval does.
    """
    value = "abs(value)" if of == "size" else "value"
    nearest = {"least": "high", "most": "low", "size": "greatest(low, -high, 0)"}[of]
    broken = f"{nearest} {'<' if of == 'least' else '>'} {float(line)!r}"
    bounds = "if(low <= 0 AND high >= 0, 0, least(abs(low), abs(high))), greatest(abs(low), abs(high))"

    def select(span: Span, known: Known) -> str:
        state = f"multiIf(n = 0 OR isNaN(value), {EMPTY}, level != 'insufficient' AND {broken}, {SURE}, {UNSURE})"
        # Where history was replayed labels came long after; they count from the age at which they are mature.
        matured = (
            "SELECT if(count() > 0 AND isFinite(argMax(mature_age_s, learned_at)), "
            f"least(argMax(mature_age_s, learned_at), {horizon_s}), {horizon_s}) FROM maturity "
            f"WHERE model = {literal(model)}"
        )
        return (
            "SELECT '' AS key, version, toUnixTimestamp(window_end) AS until, "
            f"toUInt32(until + ({matured})) AS ended_at, "
            f"{_seconds('revised_at')} AS judged_at, tuple(until, revision) AS rank, "
            f"tuple(toUInt8({state}), {value}, {bounds if of == 'size' else 'low, high'}, 0.) AS verdict "
            f"FROM performance WHERE {_where(model, [metric], window, span)} AND mature AND predictions > 0"
        )

    stale_s = horizon_s + 2 * window_s + 7 * DAY_S
    return Signal("", ("",), line, Facts(select, stale_s, window), below=of == "least")


def expected_drop(model: str, metrics: Sequence[str], window: str, window_s: int, line: float) -> Signal:
    """By how much the performance that scores lead one to expect is under that of the reference, in points.

    Of the version whose estimate fell most, and only where the interval of the estimate lies under the reference.
    """

    def select(span: Span, known: Known) -> str:
        state = f"multiIf(isNaN(cbpe) OR isNaN(reference), {EMPTY}, cbpe_high < reference, {SURE}, {UNSURE})"
        return (
            "SELECT metric AS key, version, toUnixTimestamp(window_end) AS until, until AS ended_at, "
            f"{_seconds('revised_at')} AS judged_at, tuple(until, revision) AS rank, "
            f"tuple(toUInt8({state}), reference - cbpe, reference - cbpe_high, reference - cbpe_low, 0.) AS verdict "
            f"FROM performance WHERE {_where(model, metrics, window, span)} AND predictions > 0"
        )

    return Signal("metric", tuple(metrics), line, Facts(select, 3 * window_s + DAY_S, window))


def label_age(model: str, at_least_s: int, line: float = 1.0) -> Signal:
    """How long no label has come, as a multiple of what is usual, by whole hours.

    Usual is what `silence` calls so. A model that never got a label has none to miss. Of history that was replayed a
    label came when the truth became known, not when Kafka took it.
    """

    def select(span: Span, known: Known) -> str:
        came = "at" if known == "ended" else "received_at"
        hours = (
            f"SELECT toInt64(toUnixTimestamp(toStartOfHour({came}))) + 3600 AS end FROM labels "
            f"WHERE model = {literal(model)} "
            f"AND {came} > toDateTime64({span.start}, 3) AND {came} <= toDateTime64({span.end}, 3) GROUP BY end"
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

    return Signal("", ("",), line, Facts(select, LABELS_REACH_S), has_versions=False)


def _where(model: str, metrics: Sequence[str], window: str, span: Span) -> str:
    return (
        f"model = {literal(model)} AND slice = 'all' AND class = '' AND metric IN {literals(metrics)} "
        f"AND window = {literal(window)} AND window_end > toDateTime({span.start}) "
        f"AND window_end <= toDateTime({span.end})"
    )


def _seconds(column: str) -> str:
    return f"toUInt32(ceil(toUnixTimestamp64Milli({column}) / 1000))"
