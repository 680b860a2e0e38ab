"""The list of checks, their run over all models, and an estimate of the rows and bytes that a finding takes."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from barograph.contract import Contract, Field

from barograph_server.governance.debt.jungles import declared_sources, differing_producers, duplicate_features
from barograph_server.governance.debt.name_reads import read_names
from barograph_server.governance.debt.scope import DebtFinding, DebtReport, DebtScope, Outcome, declared_names
from barograph_server.governance.debt.unused import (
    READER_DAYS,
    dead_arms,
    decided_arms,
    silent_slices,
    silent_versions,
    unlabelled_arms,
    unread_names,
)
from barograph_server.settings import Settings
from barograph_server.terminal import listed
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.errors import WarehouseError
from barograph_server.warehouse.governance.debt import bytes_per_row, count_rows
from barograph_server.warehouse.tables import SCHEMAS

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


RATE_DAYS = 7
"""Days before the clock whose rows are counted for the rows per day."""
TIME_COLUMNS = ("pane_start", "window_end", "window_start", "at", "day_end")
"""Columns of event time: of each table the first that it has."""


def with_stored_rows(client: Client, finding: DebtFinding, row_bytes: Mapping[str, float], at: datetime) -> DebtFinding:
    """Add the size of the rows that have the subject, by the mean size of a row of their table."""
    if not finding.column or not row_bytes:
        return finding
    size, recent = 0.0, 0
    for table in row_bytes.keys() & SCHEMAS.keys():
        columns = SCHEMAS[table].names
        time = next((name for name in TIME_COLUMNS if name in columns), None)
        if time is not None and {"model", finding.column} <= set(columns):
            rows, of_week = count_rows(
                *(client, table, time, finding.model, finding.column, finding.values),
                *(at - timedelta(days=RATE_DAYS), at),
            )
            size, recent = size + rows * row_bytes[table], recent + of_week
    return replace(finding, stored_bytes=round(size), rows_per_day=recent / RATE_DAYS)


CHECKS: tuple[Callable[[DebtScope], Iterator[Outcome]], ...] = (
    *(silent_versions, dead_arms, unlabelled_arms, decided_arms, silent_slices),
    *(constant_fields, unread_names, declared_sources),
)
RAW_CHECKS: tuple[Callable[[DebtScope], Iterator[Outcome]], ...] = (differing_producers, duplicate_features)
"""Checks that sample raw events."""


def run_checks(
    settings: Settings,
    client: Client,
    contracts: Sequence[Contract],
    at: datetime,
    *,
    days: int | None = None,
    margin: float | None = None,
    samples_raw: bool = False,
) -> DebtReport:
    """Run all checks on the models of contracts; `samples_raw` adds `RAW_CHECKS`, `DebtScope` explains the others."""
    reads = read_names(settings, client, contracts, at - timedelta(days=days or READER_DAYS), at)
    outcomes: list[Outcome] = []
    for contract in contracts:
        scope = DebtScope(client, contract, at, days, margin, reads, declared_names(client, contract))
        for check in (*CHECKS, *(RAW_CHECKS if samples_raw else ())):
            outcomes += check(scope)
    notes = [*reads.notes, *(each for each in outcomes if isinstance(each, str))]
    row_bytes: Mapping[str, float] = {}
    try:
        row_bytes = bytes_per_row(client)
    except WarehouseError as error:
        notes.append(f"Storage: {error}")
    findings = [with_stored_rows(client, each, row_bytes, at) for each in outcomes if isinstance(each, DebtFinding)]
    evaluated = sum(not isinstance(each, str) for each in outcomes)
    return DebtReport(at, tuple(findings), evaluated, tuple(notes))
