"""Faults of times: clocks, time zones, and features that are hours old."""

import numpy as np
import pyarrow as pa

from barograph_server.drills.faults.expected import drift, field_rates, nothing
from barograph_server.drills.faults.fault import (
    ANY_TYPE,
    EventTables,
    ExpectedRule,
    Fault,
    FaultParameter,
    Injection,
    changed_values,
    epoch_ms,
    moved_times,
    replace_column,
)
from barograph_server.drills.faults.numbers import changed_numbers

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
DAY_UNITS = {"hour of the day": 24, "minute of the day": 1_440, "second of the day": 86_400}
"""The unit in a contract of a number that is a time of day → how many of them a day has."""


def slip_time_zone(events: EventTables, injection: Injection) -> EventTables:
    """A source writes local time as UTC: a timestamp, or a time of day, is hours off."""
    if injection.field.type == "timestamp":
        return _moved(events, injection, round(injection.magnitude * HOUR_MS))
    day = DAY_UNITS[injection.field.unit]
    return changed_numbers(events, injection, lambda values: (values + injection.magnitude * day / 24) % day)


def delay_upstream(events: EventTables, injection: Injection) -> EventTables:
    """A feature job stops, and serving reads values that are hours old.

    A timestamp becomes older. Any other value is that of the prediction so many hours before: its distribution stays,
    and only `barograph skew` sees the difference.
    """
    delay_ms = round(injection.magnitude * HOUR_MS)
    if injection.field.type == "timestamp":
        return _moved(events, injection, -delay_ms)
    at = np.maximum.accumulate(epoch_ms(events.predictions))
    earlier = np.maximum(np.searchsorted(at, at - delay_ms, "right") - 1, 0)
    return changed_values(events, injection, lambda column: column.take(pa.array(earlier)))


def speed_clock(events: EventTables, injection: Injection) -> EventTables:
    """The clock of one producer is fast: the times of its events are ahead."""
    table, rows = events.predictions, injection.rows(events.predictions)
    at = epoch_ms(table) + np.where(rows, round(injection.magnitude * MINUTE_MS), 0)
    return EventTables(replace_column(table, "at", pa.array(at).cast(pa.timestamp("ms", "UTC"))), events.labels)


def _moved(events: EventTables, injection: Injection, delta_ms: int) -> EventTables:
    """Move the affected timestamps."""
    return changed_values(events, injection, lambda column: moved_times(column, delta_ms))


def _slip_problem(injection: Injection) -> str:
    field = injection.field
    if field.type == "timestamp":
        return ""
    if field.unit in DAY_UNITS:
        return "" if injection.magnitude % 24 else "A slip by a whole day does not change a time of day."
    return (
        f"The fault timezone-slip affects times, and {field.name} is a number; if it is a time of day, set its unit in "
        f"the contract: {', '.join(DAY_UNITS)}."
    )


def _older(injection: Injection) -> tuple[ExpectedRule, ...]:
    return drift(injection) if injection.field.type == "timestamp" else ()


FAULTS = (
    Fault(
        "timezone-slip",
        slip_time_zone,
        drift,
        field_rates,
        frozenset(("timestamp", "float", "int")),
        FaultParameter(-5.0, "hours", -24.0, 24.0),
        problem=_slip_problem,
    ),
    Fault("stale-upstream", delay_upstream, _older, field_rates, ANY_TYPE, FaultParameter(6.0, "hours", 0.0, 720.0)),
    Fault(
        "clock-fast",
        speed_clock,
        nothing,
        magnitude=FaultParameter(60.0, "minutes", 0.0, 1440.0),
        rate=FaultParameter(0.1, "of the events", 0.0, 1.0),
    ),
)
