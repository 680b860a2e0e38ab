"""Faults of missing values."""

import pyarrow as pa
import pyarrow.compute as pc

from barograph_server.drills.faults.expected import drift_of, field_rates, of_field
from barograph_server.drills.faults.fault import (
    ANY_TYPE,
    EventTables,
    ExpectedRule,
    Fault,
    FaultParameter,
    Injection,
    changed_values,
    replace_column,
)

SENTINEL = -999.0
"""The number that stands for a missing value; categories get the text of it."""
RENAMED = "_v2"
"""Ending of the member that a changed schema writes instead."""


def raise_nulls(events: EventTables, injection: Injection) -> EventTables:
    """A join upstream loses its keys, or a provider fails: more values of the field are null."""
    return changed_values(events, injection, lambda column: pa.scalar(None, column.type))


def write_sentinels(events: EventTables, injection: Injection) -> EventTables:
    """A source starts to write −999 for a missing value instead of null."""
    value = pa.scalar(f"{SENTINEL:g}") if injection.field.type == "category" else pa.scalar(SENTINEL)
    return changed_values(events, injection, lambda column: value.cast(column.type))


def change_schema(events: EventTables, injection: Injection) -> EventTables:
    """A deployment renames a member of events without a new version: the field is missing, and a new one appears."""
    table, rows = events.predictions, pa.array(injection.rows(events.predictions))
    column = table[injection.column]
    missing = pa.scalar(None, column.type)
    renamed = replace_column(table, injection.column, pc.if_else(rows, missing, column))
    return EventTables(
        renamed.append_column(injection.column + RENAMED, pc.if_else(rows, column, missing)), events.labels
    )


def _sentinels(injection: Injection) -> tuple[ExpectedRule, ...]:
    field = injection.field
    if field.type == "category":
        return (ExpectedRule("unseen-rate", field.name),)
    low = injection.baseline.low
    if low is not None and low > SENTINEL:
        return (ExpectedRule("range-rate", field.name),)
    return (drift_of(field),)


def _member_problem(injection: Injection) -> str:
    if "." in injection.column:
        return ""
    return f"{injection.field.name} is a fixed member of events, which a change of schema cannot rename."


_nulls = of_field("null-rate")
_RATE = FaultParameter(0.3, "of the values", 0.0, 1.0)

FAULTS = (
    Fault("null-rise", raise_nulls, _nulls, field_rates, ANY_TYPE, rate=_RATE),
    Fault(
        "null-sentinel", write_sentinels, _sentinels, field_rates, frozenset(("float", "int", "category")), rate=_RATE
    ),
    Fault("schema-change", change_schema, _nulls, field_rates, ANY_TYPE, problem=_member_problem),
)
