"""ClickHouse: whether it is of a version that was tested, has all migrations, and lets this user read and write."""

from __future__ import annotations

from collections.abc import Iterator

from cli.doctor.finding import Finding, look, ok, unknown, wrong
from warehouse import migrate
from warehouse.client import Client
from warehouse.errors import WarehouseError
from warehouse.tables import SCHEMAS

PART = "ClickHouse"
TESTED = (26, 9)
"""What the tests run on, and `docker-compose.yml`."""
LOW_SHARE, LEAST_SHARE = 0.1, 0.02
"""Shares of a disk that are free, below which somebody should know, and below which inserts soon fail."""
DENIED = {164: "it may only read", 497: "the right is missing"}
"""ClickHouse's codes for what a user may not do."""


def check_version(client: Client) -> Iterator[Finding]:
    """Look at the version."""
    version = str(client.rows("SELECT version()")[0][0])
    number = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if number < TESTED:
        yield look(
            PART,
            f"ClickHouse at {client.where} is of version {version}; {'.'.join(map(str, TESTED))} is what is tested.",
            "Upgrade it where something fails that should not.",
        )
    else:
        yield ok(PART, f"ClickHouse {version} at {client.where}, database {client.database}.")


def check_migrations(client: Client) -> Iterator[Finding]:
    """Look whether the schema is this program's."""
    try:
        waiting = migrate.pending(client)
    except WarehouseError as error:
        yield wrong(PART, str(error))
        return
    if waiting:
        named = ", ".join(map(str, waiting[:3])) + (", …" if len(waiting) > 3 else "")
        yield wrong(PART, f"{len(waiting)} migrations have not run ({named}).", "Run `barograph apply`.")
    else:
        yield ok(PART, "All migrations have run.")


def check_rights(client: Client) -> Iterator[Finding]:
    """Read and write nothing in every table, as this user."""
    there = {
        str(name)
        for (name,) in client.rows(
            "SELECT name FROM system.tables WHERE database = {database:String}", {"database": client.database}
        )
    }
    refused: dict[str, list[str]] = {}
    for table in sorted(SCHEMAS.keys() & there):
        for verb, sql in (
            ("read", f"SELECT 1 FROM {table} LIMIT 0"),  # noqa: S608 - names of this program
            ("write", f"INSERT INTO {table} SELECT * FROM {table} LIMIT 0"),  # noqa: S608
        ):
            try:
                client.command(sql)
            except WarehouseError as error:
                if error.code not in DENIED:
                    raise
                refused.setdefault(f"{verb} ({DENIED[error.code]})", []).append(table)
                break
    for what, tables in refused.items():
        named = "any table" if len(tables) == len(SCHEMAS) else ", ".join(tables)
        yield wrong(
            PART,
            f"This user may not {what}: {named}.",
            f"Grant SELECT and INSERT on {client.database}.* to it (docs/security.md), or name another user.",
        )
    if there and not refused:
        yield ok(PART, f"This user may read and write all {len(SCHEMAS.keys() & there)} tables.")


def check_disks(client: Client) -> Iterator[Finding]:
    """Look how full the disks are, and whether replicas take writes."""
    try:
        disks = client.rows("SELECT name, free_space, total_space FROM system.disks WHERE total_space > 0")
        stuck = client.rows("SELECT database, table FROM system.replicas WHERE is_readonly ORDER BY ALL LIMIT 5")
    except WarehouseError as error:
        yield unknown(PART, f"The disks could not be looked at: {error}")
        return
    for name, free, total in disks:
        if free / total >= LOW_SHARE:
            continue
        text = f"The disk {name} of ClickHouse at {client.where} has {free / 2**30:.1f} GiB free, {free / total:.0%}."
        todo = "Add space, or shorten what is kept (TTL of `predictions` and `labels`)."
        yield (wrong if free / total < LEAST_SHARE else look)(PART, text, todo)
    for database, table in stuck:
        yield wrong(PART, f"The replica of {database}.{table} takes no writes.", "Look whether Keeper answers.")


def examine(client: Client) -> Iterator[Finding]:
    """All of it.

    Raises:
        WarehouseBusy: it does not answer any more.
        WarehouseError: it refuses what no right explains.
    """
    yield from check_version(client)
    yield from check_migrations(client)
    yield from check_rights(client)
    yield from check_disks(client)
