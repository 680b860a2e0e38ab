"""HTTPS to ClickHouse by settings: a TLS proxy in front of the local engine, which does not support TLS."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.warehouse.client import Address, WarehouseError, connect
from tests.support.command_line import run
from tests.support.scripted_http import Exchange, ScriptedServer
from tests.support.secure_kafka import Certificates, require_openssl

PASSWORD = "p4ss word"


@dataclass
class Door:
    """Where it listens, and the authority of its certificate."""

    port: int
    ca: Path
    users: set[str] = field(default_factory=set)
    """Name and password of each request."""


@pytest.fixture(scope="module")
def door(engine: LocalClickHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    require_openssl()
    certificates = Certificates(tmp_path_factory.mktemp("https"))
    built = Door(0, certificates.ca)
    own = engine.address()
    # The local engine has users of its own.
    user = "Basic " + base64.b64encode(f"{own.username}:{own.password}".encode()).decode()

    def pass_on(exchange: Exchange) -> None:
        credentials = exchange.headers.get("Authorization", "").removeprefix("Basic ")
        built.users.add(base64.b64decode(credentials).decode())
        exchange.forward(engine.host, engine.port, Authorization=user)

    with ScriptedServer(pass_on, certificate=certificates.issue("clickhouse")) as server:
        built.port = server.port
        yield built


def address(door: Door, database: str, **changes: object) -> Address:
    defaults: dict[str, object] = {"secure": True, "ca_file": str(door.ca), "username": "ana", "password": PASSWORD}
    return Address("127.0.0.1", door.port, database, **{**defaults, **changes})  # type: ignore[arg-type]


def test_a_verified_server_is_spoken_to_as_the_user_of_the_settings(door: Door, database: str) -> None:
    with connect(address(door, database)) as client:
        assert client.rows("SELECT 1") == [(1,)]
    assert door.users == {f"ana:{PASSWORD}"}


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"ca_file": ""}, "Set clickhouse.ca_file to the CA of its certificate"),
        ({"ca_file": "/nowhere/ca.pem"}, "clickhouse.ca_file"),
    ],
)
def test_an_untrusted_server_receives_no_credentials(
    door: Door, database: str, changes: dict[str, object], advice: str
) -> None:
    door.users.clear()
    with pytest.raises(WarehouseError) as refused:
        connect(address(door, database, **changes))
    assert advice in str(refused.value)
    assert PASSWORD not in str(refused.value)
    assert not door.users, "no password went out"


def test_https_to_a_port_without_it_is_no_busy_server(door: Door, engine: LocalClickHouse, database: str) -> None:
    with pytest.raises(WarehouseError, match="does not use TLS"):
        connect(replace(engine.address(database), secure=True, ca_file=str(door.ca)))


def test_commands_take_it_from_the_settings(
    door: Door, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "barograph.toml"
    config.write_text(
        f'[clickhouse]\nhost = "127.0.0.1"\nport = {door.port}\ndatabase = "{database}"\nsecure = true\n'
        f'ca_file = "{door.ca}"\nusername = "ana"\n'
    )
    monkeypatch.setenv("BAROGRAPH_CLICKHOUSE_PASSWORD", PASSWORD)
    assert run("query", "SELECT 40 + 2 AS answer", "--config", config) == 0
    assert "42" in capsys.readouterr().out
