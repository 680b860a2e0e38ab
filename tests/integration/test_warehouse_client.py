"""The client against the real engine, over HTTPS, against servers that misbehave, and against none."""

import base64
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.warehouse import queries
from barograph_server.warehouse.client import Address, Client, WarehouseBusy, WarehouseError, connect
from barograph_server.warehouse.tables import insert_rows
from tests.support.command_line import run
from tests.support.scripted_http import Exchange, ScriptedServer, cut, hang, reply
from tests.support.secure_kafka import Certificates, require_openssl

ODD_NAMES = [
    *("", "it's", 'say "no"', "back\\slash", "tab\tand\nnewline", "\\N", "`; DROP TABLE topics", "{name:String}"),
    *("%s %(name)s", "Größe · 尺寸 · 📈", "' OR '1' = '1", "a\u0000b"),
]


def test_a_refused_connection_is_busy() -> None:
    with socket.socket() as stored:
        stored.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        address = Address("127.0.0.1", stored.getsockname()[1])
        reached = rf"ClickHouse at {address} could not be reached to open a connection: Connection refused\. Check "
        with pytest.raises(WarehouseBusy, match=reached):
            connect(address)


def test_a_silent_server_and_a_connection_cut_half_way_are_busy() -> None:
    for answer in (hang, cut):
        with ScriptedServer(answer) as server, pytest.raises(WarehouseBusy, match="could not be reached"):
            connect(Address(port=server.port), timeout_s=1)


def test_a_server_with_too_much_to_do_is_busy_and_one_that_refuses_an_error() -> None:
    for status, code, error in (
        *((status, None, WarehouseBusy) for status in (503, 502, 429)),
        *((500, 241, WarehouseBusy), (500, 252, WarehouseBusy)),
        *((403, 516, WarehouseError), (404, 81, WarehouseError), (400, None, WarehouseError)),
    ):
        code_header = {} if code is None else {"X_ClickHouse_Exception_Code": str(code)}
        with ScriptedServer(reply(b"no", status, **code_header)) as server, pytest.raises(error) as caught:
            connect(Address(port=server.port))
        assert (type(caught.value), getattr(caught.value, "code", None)) == (error, code), status


def test_a_statement_that_the_engine_refuses_keeps_its_code(client: Client) -> None:
    with pytest.raises(WarehouseError, match=r"Unknown table .*\(code 60\)\. Run `barograph apply`") as caught:
        client.rows("SELECT 1 FROM no_such_table")
    assert caught.value.code == 60
    with pytest.raises(WarehouseError) as caught:
        client.command("CREATE NONSENSE")
    assert caught.value.code == 62


def test_text_is_stored_and_found_whatever_it_holds(client: Client) -> None:
    rest = {"partitions": 1, "recorded_at": datetime(2026, 1, 2, tzinfo=UTC)}
    insert_rows(client, "topics", [{"name": name, "topic_id": f"id of {name}", **rest} for name in ODD_NAMES])
    assert [result.name for result in queries.topics(client)] == sorted(ODD_NAMES)
    assert client.rows("SELECT {names:Array(String)}", {"names": tuple(ODD_NAMES)}) == [(ODD_NAMES,)]
    for name in ODD_NAMES:
        sql = "SELECT topic_id FROM topics WHERE name = {name:String}"
        assert client.rows(sql, {"name": name}) == [(f"id of {name}",)]


def test_times_come_back_in_utc(client: Client) -> None:
    at = datetime(2026, 3, 29, 1, 30, 0, 250_000, tzinfo=UTC)
    insert_rows(client, "topics", [{"name": "a", "topic_id": "b", "partitions": 1, "recorded_at": at}])
    [result] = queries.topics(client)
    assert (result.recorded_at, result.recorded_at.utcoffset()) == (at, at.utcoffset())
    table = client.arrow("SELECT recorded_at, toDateTime(recorded_at) AS seconds FROM topics")
    assert table["recorded_at"].type == pa.timestamp("ms", tz="UTC")
    assert table["seconds"].to_pylist() == [int(at.timestamp())]


def test_a_null_is_rejected_and_not_dropped(client: Client) -> None:
    with pytest.raises(WarehouseError, match="NULL"):
        client.insert("topics", pa.table({"name": pa.array(["a", None])}))
    assert client.rows("SELECT count() FROM topics") == [(0,)]


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


@pytest.mark.parametrize(
    ("ca_file", "advice"),
    [("", "Set clickhouse.ca_file to the CA of its certificate"), ("/nowhere/ca.pem", "clickhouse.ca_file")],
)
def test_an_untrusted_server_gets_no_password(door: Door, database: str, ca_file: str, advice: str) -> None:
    door.users.clear()
    with pytest.raises(WarehouseError) as refused:
        connect(Address("127.0.0.1", door.port, database, "ana", PASSWORD, secure=True, ca_file=ca_file))
    assert advice in str(refused.value)
    assert PASSWORD not in str(refused.value)
    assert not door.users, "no password went out"


def test_https_to_a_port_without_it_is_no_busy_server(door: Door, engine: LocalClickHouse, database: str) -> None:
    with pytest.raises(WarehouseError, match="does not use TLS"):
        connect(replace(engine.address(database), secure=True, ca_file=str(door.ca)))


def test_a_verified_server_is_spoken_to_as_the_user_of_the_settings(
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
    assert door.users == {f"ana:{PASSWORD}"}
