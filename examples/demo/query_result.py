"""Queries whose SQL the demo prints beside their results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from barograph_server.examples.demo.flights import MODEL
from barograph_server.warehouse.client import Client

OF_MODEL = f"model = '{MODEL}'"
# The demo's SQL contains no user input: names and times come from its own tables.


@dataclass(frozen=True, slots=True)
class DemoQuery:
    """A query and its rows."""

    sql: str
    """SQL text without characters that a shell expands in double quotes."""
    rows: tuple[tuple[Any, ...], ...]

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


def query_rows(client: Client, *lines: str) -> DemoQuery:
    """Run a query given as lines.

    Raises:
        WarehouseBusy: ClickHouse is busy or unavailable.
        WarehouseError: ClickHouse rejects the query.
    """
    sql = "\n".join(lines)
    return DemoQuery(sql, tuple(client.rows(sql)))


def sql_time(at: datetime) -> str:
    """Format a time as a SQL literal."""
    return f"'{at:%Y-%m-%d %H:%M:%S}'"
