"""Faults of numeric values."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from barograph.contract.model import NUMERIC_TYPES, FieldType
from numpy.typing import NDArray

from barograph_server.drills.faults.expected import RATES, drift, drift_of, field_rates
from barograph_server.drills.faults.fault import (
    EventTables,
    ExpectedRule,
    Fault,
    FaultParameter,
    Injection,
    replace_column,
)

Values = NDArray[np.float64]
NUMBERS: frozenset[FieldType] = frozenset(("float", "int"))
VALUES: frozenset[FieldType] = frozenset((*NUMERIC_TYPES, "category"))


def shift_mean(events: EventTables, injection: Injection) -> EventTables:
    """A sensor is miscalibrated, or an upstream job adds a constant: all values move by the same amount."""
    delta = injection.magnitude * injection.baseline.std
    return changed_numbers(events, injection, lambda values: values + delta)


def scale_values(events: EventTables, injection: Injection) -> EventTables:
    """A source changes its unit without notice: kilograms become pounds, or milliseconds become seconds."""
    return changed_numbers(events, injection, lambda values: values * injection.magnitude)


def clip_range(events: EventTables, injection: Injection) -> EventTables:
    """A sensor saturates, or a column is narrowed to a smaller type: values above a limit become the limit."""
    quantiles = injection.baseline.quantiles
    limit = quantiles[round((1 - injection.magnitude) * (len(quantiles) - 1))]
    return changed_numbers(events, injection, lambda values: np.minimum(values, limit))


def stick_value(events: EventTables, injection: Injection) -> EventTables:
    """A cache or a sensor is stuck: the field has the same value in every event."""
    table, rows = events.predictions, injection.rows(events.predictions)
    column = table[injection.column]
    inside = column.filter(pa.array(rows)).drop_null()
    if not len(inside):
        return events
    values = pc.if_else(pa.array(rows), inside[0], table[injection.column])
    return EventTables(replace_column(table, injection.column, values), events.labels)


def swap_columns(events: EventTables, injection: Injection) -> EventTables:
    """A refactoring changes the order of two columns of the feature vector."""
    assert injection.second is not None
    table, rows = events.predictions, pa.array(injection.rows(events.predictions))
    first, second = table[injection.column], table[injection.second.source]
    swapped = replace_column(table, injection.column, pc.if_else(rows, second.cast(first.type, safe=False), first))
    other = pc.if_else(rows, first.cast(second.type, safe=False), second)
    return EventTables(replace_column(swapped, injection.second.source, other), events.labels)


def changed_numbers(events: EventTables, injection: Injection, change: Callable[[Values], Values]) -> EventTables:
    """Change the affected numbers; nulls stay, and whole numbers stay whole."""
    table, rows = events.predictions, injection.rows(events.predictions)
    column = table[injection.column].combine_chunks()
    valid = np.asarray(column.is_valid()) & rows
    values: Values = column.cast(pa.float64()).fill_null(0.0).to_numpy(zero_copy_only=False)
    changed = np.where(valid, change(values), values)
    if injection.field.type == "int":
        changed = np.where(valid, np.rint(changed), values)
    new = pa.array(changed, mask=~np.asarray(column.is_valid()))
    if injection.field.type == "int":
        new = new.cast(pa.int64())
    return EventTables(replace_column(table, injection.column, new), events.labels)


def _swapped_fires(injection: Injection) -> tuple[ExpectedRule, ...]:
    assert injection.second is not None
    return drift_of(injection.field), drift_of(injection.second)


def _swapped_may_fire(injection: Injection) -> tuple[ExpectedRule, ...]:
    assert injection.second is not None
    return tuple(ExpectedRule(name, field.name) for field in (injection.field, injection.second) for name in RATES)


def _swap_problem(injection: Injection) -> str:
    first, second = injection.field, injection.second
    if second is None:
        return f"{injection.contract.model} has no second field of type {first.type} to swap {first.name} with."
    if second.name == first.name:
        return f"The fault swapped-columns needs two fields, and both are {first.name}."
    if second.type not in NUMBERS:
        return f"The fault swapped-columns affects numbers, and {second.name} is of type {second.type}."
    return ""


def _spread_problem(injection: Injection) -> str:
    if injection.baseline.std > 0:
        return ""
    return f"All training values of {injection.field.name} are equal, so a shift has no size; choose another field."


def _quantile_problem(injection: Injection) -> str:
    return "" if injection.baseline.quantiles else f"The baseline of {injection.field.name} has no quantiles."


FAULTS = (
    Fault(
        "mean-shift",
        shift_mean,
        drift,
        field_rates,
        NUMBERS,
        FaultParameter(2.0, "standard deviations of training", -100.0, 100.0),
        problem=_spread_problem,
    ),
    Fault(
        "scale",
        scale_values,
        drift,
        field_rates,
        NUMBERS,
        FaultParameter(2.2046, "times the value", -1e6, 1e6),
        magnitude_is_identity=1.0,
    ),
    Fault(
        "clipped-range",
        clip_range,
        drift,
        field_rates,
        NUMBERS,
        FaultParameter(0.5, "of the training values, which are above the limit", 0.0, 1.0),
        problem=_quantile_problem,
    ),
    Fault("stuck-value", stick_value, drift, field_rates, VALUES),
    Fault("swapped-columns", swap_columns, _swapped_fires, _swapped_may_fire, NUMBERS, problem=_swap_problem),
)
