"""Signals from counted predictions: breaches of the latency and error objectives, and silence."""

from dataclasses import replace
from functools import partial
from typing import Literal

from barograph.contract import format_duration

from barograph_server.warehouse.queries import END_OF_TIME_S
from barograph_server.warehouse.signals.literals import literal
from barograph_server.warehouse.signals.signal import (
    EMPTY,
    ONSET_REACH,
    SURE,
    UNSURE,
    EventTimeRange,
    Facts,
    FactTime,
    Signal,
    since,
)
from barograph_server.warehouse.signals.verdicts import PaneTiming

DAY_S = 86_400
USUAL_S = 15 * DAY_S
"""Range before a gap in which usual gaps are read: two weekends and a day."""
NEW_S, NEW_USUAL_S = 3 * DAY_S, DAY_S // 2
"""For three days after its first traffic a model may be silent for half a day, because its nights are unknown."""
RECENT_S = 2 * DAY_S
"""Age from which a message finds the start of a breach by hours instead of panes: a month has 50,000 of a minute."""
Z = 1.959963984540054
"""The 97.5 % point of the normal distribution."""

_PANE_END = "toUnixTimestamp(pane_start) + pane_s"
_COUNTS = {"errors": ("errors", "n"), "latency": ("slow", "timed")}


def broken_share(
    model: str, kind: Literal["errors", "latency"], window_s: int, pane: PaneTiming, threshold: float
) -> Signal:
    """Return the signal of the share of failed or slow predictions in a window, over all versions.

    It exceeds the threshold only if the lower end of Wilson's 95 % interval does.
    """
    k, n = _COUNTS[kind]

    return _share(f"sum({k}) AS pane_k, sum({n}) AS pane_n FROM volume FINAL", "", model, window_s, pane, threshold)


def out_of_range(model: str, field: str, window_s: int, pane: PaneTiming, threshold: float) -> Signal:
    """Return the signal of the share of a field's numbers that are out of its range, over all versions.

    It exceeds the threshold only if the lower end of Wilson's 95 % interval does.
    """
    counts = "sum(below + above) AS pane_k, sum(n - nulls) AS pane_n FROM all_panes"
    return _share(counts, field, model, window_s, pane, threshold)


def _share(counts: str, field: str, model: str, window_s: int, pane: PaneTiming, threshold: float) -> Signal:
    """Return the signal of a share of sums over panes.

    Args:
        counts: `pane_k` and `pane_n` as aggregates, with their table.
        field: the field whose panes count; empty for a table without fields.
    """
    of_field = f" AND field = {literal(field)}" if field else ""

    def panes(period: EventTimeRange, group: str = _PANE_END) -> str:
        return f"SELECT max({_PANE_END}) AS end, {counts} WHERE {_where(model, period)}{of_field} GROUP BY {group}"

    def select(period: EventTimeRange, fact_time: FactTime, group: str = _PANE_END) -> str:
        wide = EventTimeRange(f"({period.start} - {window_s})", period.end)
        # Panes that end in (end − window, end].
        frame = f"(ORDER BY end ASC RANGE BETWEEN {window_s - 1} PRECEDING AND CURRENT ROW)"
        sums = (
            f"SELECT toUInt32(panes.end) AS end, sum(pane_k) OVER {frame} AS k, sum(pane_n) OVER {frame} AS n, "
            f"k / n AS share, {Z * Z} / n AS z2n, "
            f"(share + z2n / 2 - sqrt(z2n * (share * (1 - share) + z2n / 4))) / (1 + z2n) AS low, "
            f"(share + z2n / 2 + sqrt(z2n * (share * (1 - share) + z2n / 4))) / (1 + z2n) AS high "
            f"FROM ({panes(wide, group)}) AS panes"
        )
        state = f"multiIf(n = 0, {EMPTY}, low > {float(threshold)!r}, {SURE}, {UNSURE})"
        return (
            f"SELECT {literal(field)} AS key, '' AS version, end AS until, end AS ended_at, "
            f"until + {pane.sealed_after_s} AS judged_at, "
            f"tuple(until) AS rank, tuple(toUInt8({state}), share, low, high, 0.) AS verdict "
            f"FROM ({sums}) WHERE end > {period.start}"
        )

    facts = Facts(select, pane.stale_s(pane.pane_s), format_duration(window_s))
    group = f"intDiv({_PANE_END} - 1, if({_PANE_END} > toUnixTimestamp(now()) - {RECENT_S}, 1, 3600))"
    met = f"SELECT end FROM ({panes(ONSET_REACH, group)}) WHERE pane_n > 0 AND pane_k <= {float(threshold)!r} * pane_n"
    grouped = replace(facts, select=partial(select, group=group))
    changes = since(grouped, threshold, met=met)
    return Signal("field" if field else "", (field,), threshold, facts, has_versions=False, changes=changes)


def silence(model: str, pane: PaneTiming, at_least_s: int, threshold: float = 1.0) -> Signal:
    """Return the signal of the time without traffic, as a multiple of the usual gap.

    The usual gap is the second longest of the fifteen days before the last gap ended, and at least `at_least_s`: the
    second longest, so that one outage does not become usual; fifteen days, so that nights and weekends do. Only sealed
    panes count, so a lagging processor never looks like silence. A model without any traffic is not silent, and a new
    model may be silent for a night.

    `low` is the time without traffic and `high` the usual gap, both in seconds.
    """

    def select(period: EventTimeRange, fact_time: FactTime) -> str:
        wide = EventTimeRange(f"({period.start} - {2 * USUAL_S})", period.end)
        panes = (
            "SELECT toUInt32(toUnixTimestamp(pane_start) + pane_s) AS end, any(pane_s) AS length, sum(n) AS events "
            f"FROM volume FINAL WHERE {_where(model, wide)} GROUP BY end"
        )
        traffic = (
            "SELECT end, length, events, "
            "max(if(events > 0, end, 0)) OVER (ORDER BY end ASC ROWS UNBOUNDED PRECEDING) AS last_traffic, "
            "max(if(events > 0, end, 0)) OVER (ORDER BY end ASC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) "
            "AS previous_traffic, "
            f"min(if(events > 0, end, {END_OF_TIME_S})) OVER (ORDER BY end ASC ROWS UNBOUNDED PRECEDING) "
            "AS first_traffic "
            f"FROM ({panes})"
        )
        gaps = (
            "SELECT end AS gap_end, end - length - previous_traffic AS gap "
            f"FROM ({traffic}) WHERE events > 0 AND previous_traffic > 0 AND gap >= {at_least_s}"
        )
        longest = (
            "SELECT gap_end, arrayReverseSort(groupArray(gap) OVER "
            f"(ORDER BY gap_end ASC RANGE BETWEEN {USUAL_S} PRECEDING AND CURRENT ROW)) AS longest, "
            f"longest[2] AS second FROM ({gaps})"
        )
        return (
            "SELECT '' AS key, '' AS version, counted.end AS until, until AS ended_at, "
            f"until + {pane.sealed_after_s} AS judged_at, tuple(until) AS rank, "
            "if(last_traffic = 0, 0, end - last_traffic) AS silent_s, "
            f"greatest({at_least_s}, if(gap_end + {USUAL_S} >= end, second, 0), "
            f"if(end < first_traffic + {NEW_S}, {NEW_USUAL_S}, 0)) + length AS usual_s, "
            f"tuple(toUInt8({SURE}), silent_s / usual_s, toFloat64(silent_s), toFloat64(usual_s), 0.) AS verdict "
            f"FROM (SELECT 1 AS one, * FROM ({traffic}) WHERE end > {period.start}) AS counted ASOF LEFT JOIN "
            f"(SELECT 1 AS one, * FROM ({longest})) AS usual ON counted.one = usual.one AND counted.end >= gap_end"
        )

    # A stalled pipeline has its own alert; until then the last known traffic applies.
    return Signal("", ("",), threshold, Facts(select, pane.stale_s(pane.pane_s)), has_versions=False)


def _where(model: str, period: EventTimeRange) -> str:
    return (
        f"model = {literal(model)} AND slice = 'all' AND sealed "
        f"AND pane_start > toDateTime({period.start}) - pane_s "
        f"AND pane_start > toDateTime({period.start} - {7 * DAY_S}) "
        f"AND pane_start + pane_s <= toDateTime({period.end})"
    )
