"""The list of checks, and their run over all models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from barograph.contract import Contract

from barograph_server.governance.debt.arms import dead_arms, decided_arms, unlabelled_arms
from barograph_server.governance.debt.constant import constant_fields
from barograph_server.governance.debt.finding import DebtFinding, DebtReport, Outcome
from barograph_server.governance.debt.jungles import declared_sources, differing_producers, duplicate_features
from barograph_server.governance.debt.name_reads import read_names
from barograph_server.governance.debt.scope import DebtScope, declared_names
from barograph_server.governance.debt.stored_rows import with_stored_rows
from barograph_server.governance.debt.traffic import silent_slices, silent_versions
from barograph_server.governance.debt.unread import READER_DAYS, unread_names
from barograph_server.settings import Settings
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.errors import WarehouseError
from barograph_server.warehouse.governance.debt import bytes_per_row

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
