"""Signals from the reports of processors, and from the records of the guard."""

from collections.abc import Sequence

from barograph_server.warehouse.queries import NO_DRILLS
from barograph_server.warehouse.signals.literals import literals
from barograph_server.warehouse.signals.signal import SURE, EventTimeRange, Facts, FactTime, Signal

REACH_S = 86_400
"""Age of the latest report or record, in seconds, after which a processor kind, or the guard, counts as removed."""


def processor_age(kinds: Sequence[str], threshold: float) -> Signal:
    """Return the signal of the seconds since the latest report of each processor kind."""

    def select(period: EventTimeRange, fact_time: FactTime) -> str:
        # Reports use wall-clock time, so they do not apply to replayed history.
        condition = "0" if fact_time == "ended" else "1"
        return (
            "SELECT kind AS key, '' AS version, toUInt32(toUnixTimestamp(toDateTime(at))) AS until, until AS ended_at, "
            f"until AS judged_at, tuple(until) AS rank, tuple(toUInt8({SURE}), 0., nan, nan, 1.) AS verdict "
            f"FROM processors WHERE {condition} AND kind IN {literals(kinds)} AND at > toDateTime64({period.start}, 3) "
            f"AND at <= toDateTime64({period.end}, 3)"
        )

    return Signal("kind", tuple(kinds), threshold, Facts(select, REACH_S), has_versions=False)


def record_age(threshold: float) -> Signal:
    """Return the signal of the seconds since the guard wrote the state of any model."""

    def select(period: EventTimeRange, fact_time: FactTime) -> str:
        condition = "0" if fact_time == "ended" else "1"
        return (
            "SELECT '' AS key, '' AS version, toUInt32(toUnixTimestamp(toDateTime(max(at)))) AS until, "
            f"until AS ended_at, until AS judged_at, tuple(until) AS rank, tuple(toUInt8({SURE}), 0., nan, nan, 1.) "
            f"AS verdict FROM model_health WHERE {condition} AND {NO_DRILLS} AND at > toDateTime64({period.start}, 3) "
            f"AND at <= toDateTime64({period.end}, 3) GROUP BY toStartOfMinute(at)"
        )

    return Signal("", ("",), threshold, Facts(select, REACH_S), has_versions=False)
