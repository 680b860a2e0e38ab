"""Checks of ClickHouse: version, migrations, privileges, disks and replicas."""

from collections.abc import Iterator, Set

from barograph_server.finding import Finding, error, ok, unknown, warning
from barograph_server.terminal import plural
from barograph_server.warehouse import migrate
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.errors import WarehouseBusy, WarehouseError
from barograph_server.warehouse.operations import server
from barograph_server.warehouse.roles import ROLES, Role
from barograph_server.warehouse.tables import SCHEMAS

COMPONENT = "ClickHouse"
TESTED_VERSION = (26, 9)
"""The version of the tests and of `docker-compose.yml`."""
LOW_SHARE, LEAST_SHARE = 0.1, 0.02
"""Shares of free disk space: below the first is a warning, below the second an error, since inserts soon fail."""
DENIED_CODES = {164: "the user is read-only", 497: "the privilege is missing"}
"""ClickHouse's error codes for missing privileges."""


def not_permitted(component: str, cause: WarehouseError | WarehouseBusy) -> Finding:
    """Report that a check was not possible because this user lacks a privilege."""
    return unknown(
        component,
        f"Not checked: {cause}",
        "Run the doctor as a user with the role barograph_analyst, which may read all tables.",
    )


def check_clickhouse(client: Client) -> Iterator[Finding]:
    yield from check_version(client)
    yield from check_migrations(client)
    yield from check_privileges(client)
    yield from check_disks(client)


def check_version(client: Client) -> Iterator[Finding]:
    version = server.server_version(client)
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
        # ClickHouse lists a table only for users with a privilege on it, so without this the table would seem missing.
        server.probe_read(client, "migrations")
        pending = migrate.pending(client)
    except WarehouseError as cause:
        if cause.code in DENIED_CODES:
            yield not_permitted(COMPONENT, cause)
        else:
            yield error(COMPONENT, str(cause))
        return
    if pending:
        names = ", ".join(map(str, pending[:3])) + (", …" if len(pending) > 3 else "")
        yield error(COMPONENT, f"{plural(len(pending), 'migration')} pending ({names}).", "Run `barograph apply`.")
    else:
        yield ok(COMPONENT, "All migrations are applied.")


def check_privileges(client: Client) -> Iterator[Finding]:
    """Check which tables this user may read and write, by reading and writing no rows.

    A user with the privileges of one role is correct, but cannot show whether the users of the other roles have theirs.
    """
    present: set[str] = set()
    readable: set[str] = set()
    writable: set[str] = set()
    denied: dict[str, list[str]] = {}
    for table in sorted(SCHEMAS):
        for verb, granted, probe in (("read", readable, server.probe_read), ("write", writable, server.probe_write)):
            try:
                if not probe(client, table):
                    break
            except WarehouseError as cause:
                if cause.code not in DENIED_CODES:
                    raise
                present.add(table)
                denied.setdefault(f"{verb} ({DENIED_CODES[cause.code]})", []).append(table)
                continue
            present.add(table)
            granted.add(table)
    role = _matching_role(present, readable, writable) if denied else None
    if role is not None:
        yield ok(
            COMPONENT,
            f"This user has the privileges of {role.name}: it may read {len(readable)} of "
            f"{plural(len(present), 'table')}, and write to {len(writable)}.",
        )
        yield unknown(
            COMPONENT,
            "The privileges of the users of other roles were not checked.",
            "Run `python deploy/clickhouse/check_roles.py` as a user that may manage access.",
        )
        return
    for verb, names in denied.items():
        listed = "any table" if len(names) == len(SCHEMAS) else ", ".join(names)
        yield error(
            COMPONENT,
            f"This user may not {verb}: {listed}.",
            f"Grant it the role of its work (`barograph plan --roles`), or SELECT and INSERT on {client.database}.*.",
        )
    if present and not denied:
        yield ok(COMPONENT, f"This user may read and write all {plural(len(present), 'table')}.")


def _matching_role(present: Set[str], readable: Set[str], writable: Set[str]) -> Role | None:
    """Return the role that may read and write exactly these tables."""
    for role in ROLES:
        reads = present if role.reads == ("*",) else present & set(role.reads)
        if readable == reads and writable == present & set(role.writes):
            return role
    return None


def check_disks(client: Client) -> Iterator[Finding]:
    """Check the free space of the disks, and whether replicas accept writes."""
    try:
        disks, readonly = server.server_disks(client), server.readonly_replicas(client)
    except WarehouseError as cause:
        yield unknown(COMPONENT, f"The disks could not be checked: {cause}")
        return
    for disk in disks:
        free, total = disk.free_space, disk.total_space
        if free / total >= LOW_SHARE:
            continue
        report = error if free / total < LEAST_SHARE else warning
        yield report(
            COMPONENT,
            f"The disk {disk.name} of ClickHouse at {client.where} has {free / 2**30:.1f} GiB free, "
            f"{free / total:.0%}.",
            "Add space, or shorten the TTL of `predictions` and `labels`.",
        )
    for database, table in readonly:
        yield error(COMPONENT, f"The replica of {database}.{table} is read-only.", "Check whether Keeper answers.")
