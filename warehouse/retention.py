"""Retention by event time: the TTL of the tables whose rows are kept by the time of their events.

The migrations declare the TTL for the default of the setting `retention_days`. Events are accepted up to that age, so
for a larger value `apply` extends each TTL by the same number of days.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from barograph_server.warehouse import migrate
from barograph_server.warehouse.client import Client, identifier

DEFAULT_RETENTION_DAYS = 400
MAX_RETENTION_DAYS = 10_000
"""About 27 years. ClickHouse's times end in 2106."""
_DECLARED = re.compile(
    r"CREATE TABLE IF NOT EXISTS (\w+)\n.*?^TTL (pane_start|window_start|window_end) \+ INTERVAL (\d+) DAY$",
    re.DOTALL | re.MULTILINE,
)
_CURRENT = re.compile(r" TTL (\w+) \+ toIntervalDay\((\d+)\)")


@dataclass(frozen=True, slots=True)
class TtlChange:
    """A table whose TTL is shorter than the settings require."""

    table: str
    column: str
    current_days: int
    days: int


def declared_ttls() -> Iterator[tuple[str, str, int]]:
    """Yield the name, column and days of each table kept by event time for longer than events may be old.

    Arrivals by producer, which are kept for a month, are not among them.
    """
    for migration in migrate.load():
        for statement in migration.statements:
            if (match := _DECLARED.match(statement)) and int(match[3]) > DEFAULT_RETENTION_DAYS:
                yield match[1], match[2], int(match[3])


def ttl_changes(client: Client, retention_days: int) -> list[TtlChange]:
    """Find the existing tables whose TTL is too short for a retention.

    A longer TTL is not shortened: one command with other settings than the rest would delete history.
    """
    current = _current_days(client)
    return [
        TtlChange(table, column, current[table], days + retention_days - DEFAULT_RETENTION_DAYS)
        for table, column, days in declared_ttls()
        if table in current and current[table] < days + retention_days - DEFAULT_RETENTION_DAYS
    ]


def apply_ttls(client: Client, retention_days: int) -> None:
    """Change the TTL of the tables that `ttl_changes` names."""
    for change in ttl_changes(client, retention_days):
        client.command(
            f"ALTER TABLE {identifier(change.table)} MODIFY TTL {identifier(change.column)} "
            f"+ toIntervalDay({change.days})"
        )


def stored_retention_days(client: Client) -> int:
    """Return the retention that the tables are set to, the smallest of all; the default before the first apply."""
    current = _current_days(client)
    return min(
        (current[table] - days + DEFAULT_RETENTION_DAYS for table, _, days in declared_ttls() if table in current),
        default=DEFAULT_RETENTION_DAYS,
    )


def _current_days(client: Client) -> dict[str, int]:
    rows = client.rows(
        "SELECT name, create_table_query FROM system.tables WHERE database = {database:String} AND engine LIKE "
        "'%MergeTree'",
        {"database": client.database},
    )
    return {str(name): int(match[2]) for name, statement in rows if (match := _CURRENT.search(statement))}
