"""An estimate of what a finding takes: bytes on disk and rows per day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from barograph_server.governance.debt.finding import DebtFinding
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.tables import SCHEMAS

RATE_DAYS = 7
"""Days before the clock whose rows are counted for the rows per day."""
TIME_COLUMNS = ("pane_start", "window_end", "window_start", "at", "day_end")
"""Columns of event time: of each table the first that it has."""


def bytes_per_row(client: Client) -> dict[str, float]:
    """Return the mean size of a row on disk by table; tables without rows are left out.

    Raises:
        WarehouseError: the user may not read `system.parts`.
    """
    sql = (
        "SELECT table, sum(bytes_on_disk) / sum(rows) FROM system.parts "
        "WHERE database = currentDatabase() AND active GROUP BY table HAVING sum(rows) > 0"
    )
    return {str(table): float(size) for table, size in client.rows(sql)}


def with_stored_rows(client: Client, finding: DebtFinding, row_bytes: Mapping[str, float], at: datetime) -> DebtFinding:
    """Add the size of the rows that have the subject, by the mean size of a row of their table."""
    if not finding.column or not row_bytes:
        return finding
    size, recent = 0.0, 0
    for table in row_bytes.keys() & SCHEMAS.keys():
        columns = SCHEMAS[table].names
        time = next((name for name in TIME_COLUMNS if name in columns), None)
        if time is not None and {"model", finding.column} <= set(columns):
            [(rows, of_week)] = client.rows(
                f"SELECT count(), countIf({time} >= {{start:DateTime}} AND {time} < {{at:DateTime}}) FROM {table} "  # noqa: S608
                f"WHERE model = {{model:String}} AND {finding.column} IN {{values:Array(String)}}",
                {"model": finding.model, "values": finding.values, "start": at - timedelta(days=RATE_DAYS), "at": at},
            )
            size, recent = size + rows * row_bytes[table], recent + of_week
    return replace(finding, stored_bytes=round(size), rows_per_day=recent / RATE_DAYS)
