"""Fields whose events all have one value, or none."""

import math
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from barograph.contract import Field

from barograph_server.governance.debt.scope import DebtScope, Outcome
from barograph_server.terminal import listed

FIELD_DAYS = 30
"""Days with one value after which a field is reported."""
LEAST_EVENTS = 100
"""Fewest events that show that a field is constant."""
HISTORY_DAYS = 400
"""Days before the clock in which the start of a condition is searched."""
RECENT_DAYS = 3
"""Largest age of the newest stored day: a day is stored once it is sealed."""
NULL, UNTRACKED = "null", "not tracked"

FieldDay = tuple[datetime, int, frozenset[str]]
"""Start of a UTC day, events, and distinct values as texts: with more than one, any two of them."""


def constant_fields(scope: DebtScope) -> Iterator[Outcome]:
    """Examine each field: whether all events of its last days have one value, or none has one."""
    fields = {field.name: field for field in scope.contract.fields}
    by_field: dict[str, list[FieldDay]] = {name: [] for name in fields}
    for day in scope.rows.field_days(scope.at - timedelta(days=HISTORY_DAYS)):
        if day.field in fields:
            values = {NULL} if day.nulls else set()
            if day.events > day.nulls:
                values |= values_of_day(fields[day.field], day.counts, *day.limits)
            by_field[day.field].append((day.start, day.events, frozenset(values)))
    stale: list[str] = []
    for name, days in by_field.items():
        begin = f"Values of field {name} of {scope.contract.model}"
        if not days or days[-1][0] < scope.at - timedelta(days=RECENT_DAYS + 1):
            stale.append(name)
            continue
        constant = one_value_days(days)
        events = sum(n for _, n, _ in constant)
        if not constant or constant[0][0] > scope.start(FIELD_DAYS):
            yield None
        elif events < LEAST_EVENTS or UNTRACKED in constant[-1][2]:
            yield f"{begin}: {f'{events} events are too few' if events < LEAST_EVENTS else 'it has no moments'}."
        else:
            (value,) = constant[-1][2]
            kind = "field without values" if value == NULL else "constant field"
            yield scope.finding(kind, name, constant[0][0], f"{value} in all {events:,} events", "field")
    if stale:
        model = scope.contract.model
        yield f"Values of {listed(stale)} of {model}: no day of the last {RECENT_DAYS} days is stored."


def one_value_days(days: Sequence[FieldDay]) -> Sequence[FieldDay]:
    """Return the longest range of days up to the last in which all events have one value; days ascend."""
    first = len(days)
    while first > 0 and len(days[first - 1][2]) == 1 and days[first - 1][2] == days[-1][2]:
        first -= 1
    return days[first:]


def values_of_day(
    field: Field, counts: Sequence[tuple[str, Sequence[int]]], minimum: float, maximum: float
) -> set[str]:
    """Return the values of a day that are not null, as texts: any two of them if there are more.

    Args:
        counts: by baseline the events per cell, without that of null.
        minimum: the smallest number, NaN if it is unknown.
    """
    if field.type != "category" and not math.isnan(minimum):
        return {repr(minimum), repr(maximum)}
    if field.type not in ("category", "bool"):
        return {UNTRACKED}
    cells = {(i + 1, len(each), baseline) for baseline, each in counts for i, count in enumerate(each) if count}
    # The last cell of a category has all values that the baseline lacks.
    is_unknown = field.type == "category" and any(cell == size for cell, size, _ in cells)
    texts = {f"cell {cell} of {size} in baseline {baseline[:8]}" for cell, size, baseline in cells}
    return texts | {"others"} if is_unknown else texts
