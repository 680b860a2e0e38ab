"""Signals from counted predictions: broken promises of latency and errors, and silence."""

from __future__ import annotations

from typing import Literal

from warehouse.queries import END_OF_TIME_S
from warehouse.signals.literals import literal
from warehouse.signals.signal import EMPTY, SURE, UNSURE, Facts, Known, Signal, Span
from warehouse.signals.verdicts import Pane

DAY_S = 86_400
USUAL_S = 15 * DAY_S
"""Silences of so long before the last one are looked at: two weekends and a day."""
NEW_S, NEW_USUAL_S = 3 * DAY_S, DAY_S // 2
"""For three days after it was first asked a model may be silent for half a day: its nights are not known yet."""
Z = 1.959963984540054
"""The 97.5 % point of the normal distribution."""

_COUNTS = {"errors": ("errors", "n"), "latency": ("slow", "timed")}


def broken_share(model: str, kind: Literal["errors", "latency"], window_s: int, pane: Pane, line: float) -> Signal:
    """The share of predictions that failed or were slow in a window, all versions together.

    It is over the line only where it surely is: where the lower end of Wilson's 95 % interval is.
    """
    k, n = _COUNTS[kind]

    def select(span: Span, known: Known) -> str:
        panes = (
            f"SELECT toUnixTimestamp(pane_start) + pane_s AS end, sum({k}) AS pane_k, sum({n}) AS pane_n "
            f"FROM volume FINAL WHERE {_where(model, Span(f'({span.start} - {window_s})', span.end))} GROUP BY end"
        )
        # Pane ends in (end − window, end].
        frame = f"(ORDER BY end ASC RANGE BETWEEN {window_s - 1} PRECEDING AND CURRENT ROW)"
        sums = (
            f"SELECT toUInt32(panes.end) AS end, sum(pane_k) OVER {frame} AS k, sum(pane_n) OVER {frame} AS n, "
            f"k / n AS share, {Z * Z} / n AS z2n, "
            f"(share + z2n / 2 - sqrt(z2n * (share * (1 - share) + z2n / 4))) / (1 + z2n) AS low, "
            f"(share + z2n / 2 + sqrt(z2n * (share * (1 - share) + z2n / 4))) / (1 + z2n) AS high "
            f"FROM ({panes}) AS panes"
        )
        state = f"multiIf(n = 0, {EMPTY}, low > {float(line)!r}, {SURE}, {UNSURE})"
        return (
            "SELECT '' AS key, '' AS version, end AS until, end AS ended_at, "
            f"until + {pane.sealed_after_s} AS judged_at, "
            f"tuple(until) AS rank, tuple(toUInt8({state}), share, low, high, 0.) AS verdict "
            f"FROM ({sums}) WHERE end > {span.start}"
        )

    return Signal("", ("",), line, Facts(select, pane.stale_s(pane.pane_s)), has_versions=False)


def silence(model: str, pane: Pane, at_least_s: int, line: float = 1.0) -> Signal:
    """How long nothing has come, as a multiple of what is usual; low and high are both in seconds.

    Usual is the second longest silence of the fifteen days before the last one ended, but no less than `at_least_s`:
    the second, so that one outage does not become usual; fifteen days, so that nights and weekends are. Sealed panes
    alone are counted, so a processor that is behind never looks like silence. A model that has never been asked is not
    silent, and one that is new may be for a night.

    `low` is how long nothing has come, `high` what is usual.
    """

    def select(span: Span, known: Known) -> str:
        wide = Span(f"({span.start} - {2 * USUAL_S})", span.end)
        panes = (
            "SELECT toUInt32(toUnixTimestamp(pane_start) + pane_s) AS end, any(pane_s) AS length, sum(n) AS events "
            f"FROM volume FINAL WHERE {_where(model, wide)} GROUP BY end"
        )
        heard = (
            "SELECT end, length, events, "
            "max(if(events > 0, end, 0)) OVER (ORDER BY end ASC ROWS UNBOUNDED PRECEDING) AS heard, "
            "max(if(events > 0, end, 0)) OVER (ORDER BY end ASC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) "
            "AS heard_before, "
            f"min(if(events > 0, end, {END_OF_TIME_S})) OVER (ORDER BY end ASC ROWS UNBOUNDED PRECEDING) AS heard_first "
            f"FROM ({panes})"
        )
        gaps = (
            "SELECT end AS gap_end, end - length - heard_before AS gap "
            f"FROM ({heard}) WHERE events > 0 AND heard_before > 0 AND gap >= {at_least_s}"
        )
        longest = (
            "SELECT gap_end, arrayReverseSort(groupArray(gap) OVER "
            f"(ORDER BY gap_end ASC RANGE BETWEEN {USUAL_S} PRECEDING AND CURRENT ROW)) AS longest, "
            f"longest[2] AS second FROM ({gaps})"
        )
        return (
            "SELECT '' AS key, '' AS version, counted.end AS until, until AS ended_at, "
            f"until + {pane.sealed_after_s} AS judged_at, tuple(until) AS rank, "
            "if(heard = 0, 0, end - heard) AS silent_s, "
            f"greatest({at_least_s}, if(gap_end + {USUAL_S} >= end, second, 0), "
            f"if(end < heard_first + {NEW_S}, {NEW_USUAL_S}, 0)) + length AS usual_s, "
            f"tuple(toUInt8({SURE}), silent_s / usual_s, toFloat64(silent_s), toFloat64(usual_s), 0.) AS verdict "
            f"FROM (SELECT 1 AS one, * FROM ({heard}) WHERE end > {span.start}) AS counted ASOF LEFT JOIN "
            f"(SELECT 1 AS one, * FROM ({longest})) AS usual ON counted.one = usual.one AND counted.end >= gap_end"
        )

    # A pipeline that stands still has its own alert; what was known of traffic holds until then.
    return Signal("", ("",), line, Facts(select, pane.stale_s(pane.pane_s)), has_versions=False)


def _where(model: str, span: Span) -> str:
    return (
        f"model = {literal(model)} AND slice = 'all' AND sealed "
        f"AND pane_start > toDateTime({span.start}) - pane_s AND pane_start > toDateTime({span.start} - {7 * DAY_S}) "
        f"AND pane_start + pane_s <= toDateTime({span.end})"
    )
