"""The script that creates the users of ClickHouse for the compose file, with a server that records statements."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from barograph_server.warehouse.client import Address, WarehouseError
from barograph_server.warehouse.roles import ROLES, statements
from tests.support.deploy_scripts import load_script

PASSWORDS = {f"CLICKHOUSE_{role.user.upper()}_PASSWORD": f"it's \\ {role.user}" for role in ROLES}
ENVIRON = {
    "BAROGRAPH_CLICKHOUSE_HOST": "clickhouse",
    "BAROGRAPH_CLICKHOUSE_USERNAME": "admin",
    "BAROGRAPH_CLICKHOUSE_PASSWORD": "administrator",
    "BAROGRAPH_CLICKHOUSE_DATABASE": "watched",
    "PATH": "/usr/bin",
    **PASSWORDS,
}


class Server:
    def __init__(self) -> None:
        self.statements: list[str] = []
        self.addresses: list[Address] = []
        self.rejected = ""

    def command(self, sql: str) -> None:
        if self.rejected and sql.startswith(self.rejected):
            raise WarehouseError(f"ClickHouse refused to run a statement: {sql} (code 497).", 497)
        self.statements.append(sql)

    @contextmanager
    def connect(self, address: Address) -> Iterator[Server]:
        self.addresses.append(address)
        yield self


def run(server: Server, monkeypatch: pytest.MonkeyPatch) -> int:
    script = load_script("clickhouse/create_users.py")
    monkeypatch.setattr(script, "connect", server.connect)
    code: int = script.main(ENVIRON, patience_s=60.0, pause_s=0.0)
    return code


def test_every_role_gets_a_user_with_its_own_password(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    assert run(server, monkeypatch) == 0
    assert [address.username for address in server.addresses] == ["admin"]
    assert server.addresses[0].database == "default", "the database may not exist yet"
    for role, granted in statements("watched"):
        quoted = f"it\\'s \\\\ {role.user}"
        own = [statement for statement in server.statements if f"'{quoted}'" in statement]
        assert own == [
            f"CREATE USER IF NOT EXISTS {role.user} IDENTIFIED WITH sha256_password BY '{quoted}'",
            f"ALTER USER {role.user} IDENTIFIED WITH sha256_password BY '{quoted}'",
        ]
        order = [
            *granted,
            *own,
            f"GRANT {role.name} TO {role.user}",
            f"ALTER USER {role.user} DEFAULT ROLE {role.name}",
        ]
        positions = [server.statements.index(statement) for statement in order]
        assert positions == sorted(positions)


def test_no_password_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Server(), monkeypatch) == 0
    failing = Server()
    failing.rejected = "ALTER USER"
    assert run(failing, monkeypatch) == 1
    shown = capsys.readouterr()
    assert "code 497" in shown.err
    assert "IDENTIFIED" not in shown.out + shown.err
    assert not [password for password in PASSWORDS.values() if password in shown.out + shown.err]
