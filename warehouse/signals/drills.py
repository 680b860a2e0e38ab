"""Signal: how long the drills of a model have not all passed."""

from barograph_server.warehouse.signals.literals import literal
from barograph_server.warehouse.signals.signal import SURE, EventTimeRange, Facts, FactTime, Signal

DAY_S = 86_400


def drills_overdue(model: str, rule: str, threshold_s: float) -> Signal:
    """Return the signal of the seconds since the drills of a model last passed.

    It is the age of the last drill that passed or, if it is older, that of the last passed drill of a fault and field
    whose last drill failed. Without any drill that passed, time counts from the first application of a contract that
    sets the rule. Drills that ended more than three thresholds before the newest one do not count.

    Args:
        rule: the rule's name, which the text of the contract contains.
    """
    counted_s = round(3 * threshold_s)

    def select(period: EventTimeRange, fact_time: FactTime) -> str:
        # Drills run on the wall clock, so they do not apply to replayed history.
        of_model = f"model = {literal(model)} AND {'0' if fact_time == 'ended' else '1'}"
        started = (
            "SELECT toUInt32(toUnixTimestamp(toDateTime(min(applied_at)))) AS at FROM contracts "
            f"WHERE {of_model} AND position(yaml, {literal(rule)}) > 0 HAVING count() > 0"
        )
        drills = (
            "SELECT toUInt32(toUnixTimestamp(toDateTime(at))) AS ended, fault, field, passed FROM drills FINAL "
            f"WHERE {of_model} AND at > toDateTime64({period.start} - {counted_s}, 3) "
            f"AND at <= toDateTime64({period.end}, 3)"
        )
        # One fact for each day with drills: the state after its last drill.
        days = f"SELECT max(ended) AS day FROM ({drills}) GROUP BY intDiv(ended, {DAY_S})"
        faults = (
            f"SELECT day, argMax(passed, ended) AS last, max(if(passed, ended, 0)) AS good, min(ended) AS first "
            f"FROM ({days}) AS days CROSS JOIN ({drills}) AS drill "
            f"WHERE ended <= day AND ended > toInt64(day) - {counted_s} GROUP BY day, fault, field"
        )
        since = (
            "SELECT day, max(good) AS newest, minIf(if(good = 0, first, good), NOT last) AS failing, "
            "countIf(NOT last) AS failures "
            f"FROM ({faults}) GROUP BY day"
        )
        passed = (
            f"if(newest = 0, greatest(ifNull((SELECT at FROM ({started})), 0), toInt64(day) - {counted_s}), newest)"
        )
        oldest = f"if(failures = 0, {passed}, least({passed}, failing))"
        rows = (
            f"SELECT day AS until, toFloat64(toInt64(day) - {oldest}) AS age "
            f"FROM ({since}) WHERE day > {period.start} "
            f"UNION ALL SELECT toUInt32(greatest(at, {period.start} + 1)) AS until, "
            f"toFloat64(until - at) AS age FROM ({started}) WHERE at <= {period.end}"
        )
        return (
            "SELECT '' AS key, '' AS version, until, until AS ended_at, until AS judged_at, tuple(until) AS rank, "
            f"tuple(toUInt8({SURE}), age, nan, nan, 1.) AS verdict FROM ({rows})"
        )

    return Signal("", ("",), threshold_s, Facts(select, 2 * counted_s), has_versions=False)
