#!/usr/bin/env python3
"""Try on a running ClickHouse server what each role must not do: `python deploy/clickhouse/check_roles.py`.

Run it after `docker compose up`, or after you created the roles of `barograph plan --roles` on a server of your own:

    docker compose run --rm --entrypoint "python /deploy/check_roles.py" users

It connects with the settings of the `barograph` command (BAROGRAPH_CLICKHOUSE_…) as a user that may manage access, and
creates a user for each role, which it drops at the end. For each role it tries to read and write every table, and
statements that no role allows; for the roles with limits it tries to lift each limit. It prints a line per check, and
exits with 1 if the server accepted something that it must refuse.

CI has no ClickHouse server, so it is not run there: tests run its checks on the embedded engine, which has roles but no
users, profiles and quotas.
"""

import base64
import dataclasses
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

from barograph_server.settings import load_settings
from barograph_server.streams.runtime.http_exchange import exchange_once
from barograph_server.warehouse.client import Address, Client, WarehouseBusy, WarehouseError, connect
from barograph_server.warehouse.operations.server import tables
from barograph_server.warehouse.roles import ROLES, Limit, Role

Check = tuple[bool, str]
"""Whether the server behaves as it must, and what was checked."""
Run = Callable[[str], int]
"""Runs a statement and returns the code of its error, 0 for none."""

_DENIED = 497
_CONSTRAINT = 452
_READONLY = 164
_PLUGIN_TIME_S = 65
"""The longest `max_execution_time` that Grafana's plugin sends."""
_FORBIDDEN = (
    "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')",
    "SELECT * FROM file('/etc/passwd', 'LineAsString', 'a String')",
    "SELECT * FROM remote('127.0.0.2', system.one)",
    "CREATE TABLE default.barograph_check (a UInt8) ENGINE = Memory",
    "CREATE USER barograph_check_other NOT IDENTIFIED",
    "GRANT SELECT ON *.* TO CURRENT_USER",
    "SYSTEM DROP MARK CACHE",
)


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Run all checks; return 0 if all hold."""
    settings = {name: value for name, value in environ.items() if name.startswith("BAROGRAPH_")}
    address = load_settings(environ=settings, needs=("clickhouse",)).warehouse
    failed = 0
    try:
        with connect(address) as admin:
            for role in ROLES:
                failed += report(as_user(admin, address, role, tables(admin)))
        failed += report(cors_checks(address))
    except (WarehouseError, WarehouseBusy) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return int(failed > 0)


def report(checks: Iterator[Check]) -> int:
    """Print a line per check and return how many fail."""
    failed = 0
    for holds, text in checks:
        sys.stdout.write(f"{'ok  ' if holds else 'HOLE'} {text}\n")
        sys.stdout.flush()
        failed += not holds
    return failed


def as_user(admin: Client, address: Address, role: Role, tables: Sequence[str]) -> Iterator[Check]:
    """Run the checks of a role as a new user with this role."""
    name, password = f"barograph_check_{secrets.token_hex(8)}", secrets.token_urlsafe(24)
    admin.command(f"CREATE USER {name} IDENTIFIED WITH sha256_password BY '{password}'")
    try:
        admin.command(f"GRANT {role.name} TO {name}")
        with connect(dataclasses.replace(address, username=name, password=password)) as client:
            yield from role_checks(role, lambda sql: _code(client, sql), tables)
    finally:
        admin.command(f"DROP USER {name}")


def role_checks(role: Role, run: Run, tables: Sequence[str]) -> Iterator[Check]:
    """Check the privileges and limits of a role."""
    for table in tables:
        # The names are those of our own database.
        may_read = role.reads == ("*",) or table in role.reads
        code = run(f"SELECT * FROM {table} LIMIT 0")  # noqa: S608
        yield code == (0 if may_read else _DENIED), f"{role.name}: SELECT on {table}: {_outcome(code)}"
        if table not in role.writes:
            code = run(f"INSERT INTO {table} SELECT * FROM {table} LIMIT 0")  # noqa: S608
            yield code in (_DENIED, _READONLY), f"{role.name}: INSERT into {table}: {_outcome(code)}"
    for statement in _FORBIDDEN:
        code = run(statement)
        yield code in (_DENIED, _READONLY), f"{role.name}: {statement}: {_outcome(code)}"
    for limit in role.limits:
        for value in _lifting(limit):
            code = run(f"SELECT 1 SETTINGS {limit.setting} = {value}")
            holds = code in (_CONSTRAINT, _READONLY)
            yield holds, f"{role.name}: SETTINGS {limit.setting} = {value}: {_outcome(code)}"
        if limit.in_readonly:
            code = run(f"SELECT 1 SETTINGS {limit.setting} = {_PLUGIN_TIME_S}")
            yield code == 0, f"{role.name}: SETTINGS {limit.setting} = {_PLUGIN_TIME_S}: {_outcome(code)}"


def cors_checks(address: Address) -> Iterator[Check]:
    """Check that no web page may read a response of the server."""
    scheme = "https" if address.secure else "http"
    credentials = base64.b64encode(f"{address.username}:{address.password}".encode()).decode()
    headers = {"Origin": "https://page.example", "Authorization": f"Basic {credentials}"}
    for method in ("OPTIONS", "GET"):
        url = f"{scheme}://{address}/?add_http_cors_header=1&query=SELECT%201"
        allowed = exchange_once(method, url, 30.0, headers).headers.get("Access-Control-Allow-Origin")
        yield allowed is None, f"{method} from a web page: Access-Control-Allow-Origin: {allowed or 'none'}"


def _lifting(limit: Limit) -> Sequence[int | str]:
    if limit.most is None:
        return (1,) if isinstance(limit.value, int) else ("'break'",)
    # For threads 0 is not unlimited, but the number of cores.
    return (limit.most + 1,) if limit.setting == "max_threads" else (0, limit.most + 1)


def _outcome(code: int) -> str:
    return "accepted" if code == 0 else f"error {code}"


def _code(client: Client, sql: str) -> int:
    try:
        client.rows(sql) if sql.startswith("SELECT") else client.command(sql)
    except WarehouseError as error:
        return error.code or -1
    return 0


if __name__ == "__main__":
    sys.exit(main())
