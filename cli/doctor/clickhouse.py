"""Checks of ClickHouse: version, migrations, privileges, disks and replicas."""

from __future__ import annotations

from collections.abc import Iterator

from cli.doctor.finding import Finding, error, ok, unknown, warning
from cli.terminal import plural
from warehouse import migrate
from warehouse.client import Client
from warehouse.errors import WarehouseError
from warehouse.tables import SCHEMAS

COMPONENT = "ClickHouse"
TESTED_VERSION = (26, 9)
"""The version of the tests and of `docker-compose.yml`."""
LOW_SHARE, LEAST_SHARE = 0.1, 0.02
"""Shares of free disk space: below the first is a warning, below the second an error, since inserts soon fail."""
DENIED_CODES = {164: "the user is read-only", 497: "the privilege is missing"}
"""ClickHouse's error codes for missing privileges."""


def check_clickhouse(client: Client) -> Iterator[Finding]:
    """Run all checks of ClickHouse.

    Raises:
        WarehouseBusy: ClickHouse stopped answering.
        WarehouseError: ClickHouse rejects a query for a reason other than a missing privilege.
    """
    yield from check_version(client)
    yield from check_migrations(client)
    yield from check_privileges(client)
    yield from check_disks(client)


def check_version(client: Client) -> Iterator[Finding]:
    """Check the version."""
    version = str(client.rows("SELECT version()")[0][0])
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if numbers < TESTED_VERSION:
        tested = ".".join(map(str, TESTED_VERSION))
        yield warning(
            COMPONENT,
            f"ClickHouse at {client.where} has version {version}, older than the tested version {tested}.",
            "Upgrade it if queries fail.",
        )
    else:
        yield ok(COMPONENT, f"ClickHouse {version} at {client.where}, database {client.database}.")


def check_migrations(client: Client) -> Iterator[Finding]:
    """Check whether the schema is that of this program."""
    try:
        pending = migrate.pending(client)
    except WarehouseError as cause:
        yield error(COMPONENT, str(cause))
        return
    if pending:
        names = ", ".join(map(str, pending[:3])) + (", …" if len(pending) > 3 else "")
        yield error(COMPONENT, f"{plural(len(pending), 'migration')} pending ({names}).", "Run `barograph apply`.")
    else:
        yield ok(COMPONENT, "All migrations are applied.")


def check_privileges(client: Client) -> Iterator[Finding]:
    """Check whether this user may read and write every table, by reading and writing no rows."""
    tables = {
        str(name)
        for (name,) in client.rows(
            "SELECT name FROM system.tables WHERE database = {database:String}", {"database": client.database}
        )
    }
    denied: dict[str, list[str]] = {}
    for table in sorted(SCHEMAS.keys() & tables):
        for verb, sql in (
            ("read", f"SELECT 1 FROM {table} LIMIT 0"),  # noqa: S608 - names of this program
            ("write", f"INSERT INTO {table} SELECT * FROM {table} LIMIT 0"),  # noqa: S608
        ):
            try:
                client.command(sql)
            except WarehouseError as cause:
                if cause.code not in DENIED_CODES:
                    raise
                denied.setdefault(f"{verb} ({DENIED_CODES[cause.code]})", []).append(table)
                break
    for verb, names in denied.items():
        listed = "any table" if len(names) == len(SCHEMAS) else ", ".join(names)
        yield error(
            COMPONENT,
            f"This user may not {verb}: {listed}.",
            f"Grant SELECT and INSERT on {client.database}.* to it (docs/security.md), or configure another user.",
        )
    if tables and not denied:
        yield ok(COMPONENT, f"This user may read and write all {len(SCHEMAS.keys() & tables)} tables.")


def check_disks(client: Client) -> Iterator[Finding]:
    """Check the free space of the disks, and whether replicas accept writes."""
    try:
        disks = client.rows("SELECT name, free_space, total_space FROM system.disks WHERE total_space > 0")
        readonly = client.rows("SELECT database, table FROM system.replicas WHERE is_readonly ORDER BY ALL LIMIT 5")
    except WarehouseError as cause:
        yield unknown(COMPONENT, f"The disks could not be checked: {cause}")
        return
    for name, free, total in disks:
        if free / total >= LOW_SHARE:
            continue
        report = error if free / total < LEAST_SHARE else warning
        yield report(
            COMPONENT,
            f"The disk {name} of ClickHouse at {client.where} has {free / 2**30:.1f} GiB free, {free / total:.0%}.",
            "Add space, or shorten the TTL of `predictions` and `labels`.",
        )
    for database, table in readonly:
        yield error(COMPONENT, f"The replica of {database}.{table} is read-only.", "Check whether Keeper answers.")
