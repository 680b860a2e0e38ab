"""An estimate of what a finding takes: bytes on disk and rows per day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from barograph_server.governance.debt.finding import DebtFinding
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.governance.debt import count_rows
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
