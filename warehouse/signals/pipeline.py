"""Signals from the reports of processors, and from the records of the guard."""

from collections.abc import Sequence

from barograph_server.warehouse.operations.metrics import ALL, SPAN_OUTCOME
from barograph_server.warehouse.queries import NO_DRILLS
from barograph_server.warehouse.signals.literals import literals
from barograph_server.warehouse.signals.signal import SURE, EventTimeRange, Facts, FactTime, Signal

REACH_S = 86_400
"""Age of the latest report or record, in seconds, after which a processor kind, or the guard, counts as removed."""
DEFERRABLE = ("scrape", "evaluator")
URGENT = tuple(kind for kind in ALL if kind not in (*DEFERRABLE, "guard"))
"""Processors whose absence stops verdicts or loses events. That of the others can wait; the guard has `record_age`."""
GONE_S = 120.0
"""A processor reports every ten seconds; after two minutes its supervisor has not restarted it."""
AFTER_S = 3600
"""How long after an outage the pipeline may take to catch up, in seconds."""


def hidden_in_outage(kinds: Sequence[str], threshold: float) -> str:
    """Return the expression for a value that does not exceed its threshold in an outage of some kind of processor.

    An outage is a gap of `GONE_S` in its reports now, or one of twice that length, which `processor-gone` has paged
    about, that ended in the last `AFTER_S`. A kind without reports in a day does not count.
    """
    now = "toUnixTimestamp($__toTime)"
    reports = (
        f"SELECT kind, toUInt32(toUnixTimestamp(toDateTime(at))) AS at FROM processors WHERE kind IN "
        f"{literals(kinds)} AND at > toDateTime64({now} - {REACH_S}, 3) AND at <= toDateTime64({now}, 3)"
    )
    gaps = (
        f"SELECT arraySort(arrayPushBack(groupUniqArray(at), toUInt32({now}))) AS times, "
        f"arrayExists((gap, end) -> gap > {GONE_S} * if(end = {now}, 1, 2) AND end > {now} - {AFTER_S}, "
        "arrayDifference(times), times) AS gone "
        f"FROM ({reports}) GROUP BY kind"
    )
    return f"if((SELECT max(gone) FROM ({gaps})) > 0, least(value, {float(threshold)!r}), value) AS number"


UNCOUNTED = tuple(
    each for each in SPAN_OUTCOME.values if each not in ("counted", "duplicate", "unknown-operation", "step", "no-call")
)
"""Outcomes of spans of model calls that became no prediction; those of an unknown operation have its name."""


def uncounted_spans_sql(start: str, end: str) -> str:
    """Return the query for the spans of model calls in a range that became no prediction.

    Args:
        start: the expression for the start of the range, in wall-clock time; five minutes count as a whole.

    Returns:
        The query of `why`, `n`, `first_at` and `last_at`.
    """
    why = "replaceOne(replaceOne(metric, 'unknown_operations_total', 'unknown operation'), 'spans_total ', '')"
    return (
        f"SELECT {why} AS why, sum(counted) AS n, min(since) AS first_at, max(until) AS last_at FROM (SELECT metric, "
        f"max(report.maximum) - if(started_at < {start}, min(report.minimum), 0) AS counted, "
        "min(bucket_start) AS since, max(bucket_start) AS until FROM processor_metrics AS report "
        f"WHERE (metric IN {literals([f'spans_total {each}' for each in UNCOUNTED])} "
        f"OR startsWith(metric, 'unknown_operations_total ')) AND bucket_start >= {start} AND bucket_start <= {end} "
        "GROUP BY metric, instance, started_at) GROUP BY why HAVING n > 0"
    )


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
