"""The list of checks, their run over all models, and an estimate of the rows and bytes that a finding takes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from barograph.contract import Contract

from barograph_server.governance.debt.arms import dead_arms, decided_arms, unlabelled_arms
from barograph_server.governance.debt.constant import constant_fields
from barograph_server.governance.debt.jungles import declared_sources, differing_producers, duplicate_features
from barograph_server.governance.debt.name_reads import read_names
from barograph_server.governance.debt.scope import DebtFinding, DebtReport, DebtScope, Outcome, declared_names
from barograph_server.governance.debt.unused import READER_DAYS, silent_slices, silent_versions, unread_names
from barograph_server.settings import Settings
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.errors import WarehouseError
from barograph_server.warehouse.governance.debt import bytes_per_row, count_rows
from barograph_server.warehouse.tables import SCHEMAS

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
