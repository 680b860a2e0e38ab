#!/usr/bin/env python3
"""Create the roles of `barograph plan --roles` and a ClickHouse user for each: the service `users` of the compose file.

It connects with the settings of the `barograph` command (BAROGRAPH_CLICKHOUSE_…) as a user that may manage access. The
password of the user NAME is in the environment variable CLICKHOUSE_NAME_PASSWORD. Statements and passwords are sent in
the body of a request, never as arguments, and are not printed. A second run changes nothing but passwords that differ.
"""

import dataclasses
import os
import sys
import time
from collections.abc import Iterator, Mapping

from barograph_server.settings import load_settings
from barograph_server.warehouse.client import Client, WarehouseBusy, WarehouseError, connect, identifier
from barograph_server.warehouse.roles import ROLES, Role, statements

PATIENCE_S = 120.0
PAUSE_S = 2.0


def main(environ: Mapping[str, str] = os.environ, *, patience_s: float = PATIENCE_S, pause_s: float = PAUSE_S) -> int:
    """Create roles and users; return 0, or 1 after a message that says what to do."""
    missing = [variable(role) for role in ROLES if not environ.get(variable(role))]
    if missing:
        sys.stderr.write(f"Set {', '.join(missing)}: run `python3 deploy/create_env.py`.\n")
        return 1
    settings = {name: value for name, value in environ.items() if name.startswith("BAROGRAPH_")}
    address = load_settings(environ=settings, needs=("clickhouse",)).warehouse
    deadline = time.monotonic() + patience_s
    while True:
        try:
            # `barograph apply` creates the database.
            with connect(dataclasses.replace(address, database="default")) as client:
                create(client, address.database, environ)
            return 0
        except (WarehouseBusy, WarehouseError) as error:
            if isinstance(error, WarehouseError) or time.monotonic() > deadline:
                sys.stderr.write(f"{error}\n")
                return 1
            time.sleep(pause_s)


def create(client: Client, database: str, environ: Mapping[str, str]) -> None:
    for role, role_statements in statements(database):
        for statement in role_statements:
            client.command(statement)
        for statement in user_statements(role, environ[variable(role)]):
            try:
                client.command(statement)
            except WarehouseError as error:
                # The server's message may quote the statement.
                message = f"ClickHouse rejects the user {role.user} with code {error.code}. "
                raise WarehouseError(f"{message}Connect as a user that may manage access.", error.code) from None
        sys.stdout.write(f"role {role.name}, user {role.user}\n")


def user_statements(role: Role, password: str) -> Iterator[str]:
    """Yield the statements that create a role's user, or change its password."""
    user = identifier(role.user)
    secret = f"IDENTIFIED WITH sha256_password BY '{_escaped(password)}'"
    yield f"CREATE USER IF NOT EXISTS {user} {secret}"
    yield f"ALTER USER {user} {secret}"
    yield f"GRANT {role.name} TO {user}"
    yield f"ALTER USER {user} DEFAULT ROLE {role.name}"


def variable(role: Role) -> str:
    """Return the environment variable with the password of a role's user."""
    return f"CLICKHOUSE_{role.user.upper()}_PASSWORD"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


if __name__ == "__main__":
    sys.exit(main())
