"""Facts about the server: version, clock, disks, replicas, databases and tables, and what this user may do."""

from dataclasses import dataclass

from barograph_server.warehouse.client import Client, identifier
from barograph_server.warehouse.errors import WarehouseError
from barograph_server.warehouse.queries import rows_of
from barograph_server.warehouse.tables import SCHEMAS

_UNKNOWN_TABLE = 60


@dataclass(frozen=True, slots=True)
class ServerDisk:
    """The space of a disk in bytes."""

    name: str
    free_space: int
    total_space: int


def server_version(client: Client) -> str:
    """Return the version of ClickHouse."""
    [(version,)] = client.rows("SELECT version()")
    return str(version)


def server_clock_ms(client: Client) -> int:
    """Return the server's time in Unix milliseconds."""
    [(now_ms,)] = client.rows("SELECT toUnixTimestamp64Milli(now64(3))")
    return int(now_ms)


def server_disks(client: Client) -> list[ServerDisk]:
    """Read the disks that have a size."""
    return rows_of(client, ServerDisk, "FROM system.disks WHERE total_space > 0")


def readonly_replicas(client: Client) -> list[tuple[str, str]]:
    """Return the database and table of at most five replicas that accept no writes."""
    rows = client.rows("SELECT database, table FROM system.replicas WHERE is_readonly ORDER BY ALL LIMIT 5")
    return [(str(database), str(table)) for database, table in rows]


def databases(client: Client, prefix: str) -> list[str]:
    """Return the databases whose name has a prefix, in order."""
    rows = client.rows(
        "SELECT name FROM system.databases WHERE startsWith(name, {prefix:String}) ORDER BY name", {"prefix": prefix}
    )
    return [str(name) for (name,) in rows]


def drop_database(client: Client, database: str) -> None:
    client.command(f"DROP DATABASE IF EXISTS {identifier(database)} SYNC")


def tables(client: Client, database: str = "", *, stored: bool = False) -> list[str]:
    """Return the tables that this user may use, in order.

    Args:
        database: their database; empty for that of the connection.
        stored: whether only tables that store rows are returned, and no views.
    """
    rows = client.rows(
        "SELECT name FROM system.tables WHERE database = {database:String} "
        "AND ({stored:Bool} = false OR endsWith(engine, 'MergeTree')) ORDER BY name",
        {"database": database or client.database, "stored": stored},
    )
    return [str(name) for (name,) in rows]


def probe_read(client: Client, table: str) -> bool:
    """Read no rows of a table; return False if it does not exist."""
    return _probe(client, f"SELECT 1 FROM {identifier(table)} LIMIT 0")


def probe_write(client: Client, table: str) -> bool:
    """Write no rows to a table of `SCHEMAS`; return False if it does not exist.

    The statement reads no table, because most processors may not read the tables that they write.
    """
    return _probe(client, f"INSERT INTO {identifier(table)} ({SCHEMAS[table].names[0]}) SELECT NULL LIMIT 0")


def _probe(client: Client, sql: str) -> bool:
    try:
        client.command(sql)
    except WarehouseError as cause:
        if cause.code == _UNKNOWN_TABLE:
            return False
        raise
    return True
