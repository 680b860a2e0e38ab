"""The door as its clients see it: clickhouse-connect, plain HTTP, several processes, crashes."""

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import clickhouse_connect
import pandas as pd  # type: ignore[import-untyped]
import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from barograph_server.local.child_process import LocalStackError
from barograph_server.local.clickhouse import LocalClickHouse
from tests.support.http import request
from tests.support.warehouse import credentials, login

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def client(engine: LocalClickHouse, database: str) -> Iterator[Any]:
    with clickhouse_connect.get_client(**login(engine.address()), database=database) as client:
        client.command("CREATE TABLE t (id UInt64, s String, m Map(String, Float64)) ENGINE = MergeTree ORDER BY id")
        yield client


def http_request(
    engine: LocalClickHouse, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, Mapping[str, str], bytes]:
    reply = request(method, f"{engine.url}{path}", body, credentials(engine.address()) | (headers or {}))
    return reply.status, reply.headers, reply.data


# --- clickhouse-connect ------------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [False, "lz4", "zstd", "gzip"])
def test_rows_come_back_as_they_went_in(engine: LocalClickHouse, client: Any, database: str, compress: Any) -> None:
    rows = [[1, "it's; FORMAT CSV\n\t\\ ü \x00", {"a": 1.5}], [2, "", {}]]
    table = pa.table({"id": pa.array([3], pa.uint64()), "s": ["arrow"]})
    with clickhouse_connect.get_client(**login(engine.address()), database=database, compress=compress) as other:
        assert other.insert("t", rows, column_names=["id", "s", "m"]).written_rows == 2
        assert other.insert_arrow("t", table).written_rows == 1
        other.insert_df("t", pd.DataFrame({"id": [4], "s": ["frame"]}))
        assert other.raw_insert("t", ["id", "s"], b"5,raw\n", fmt="CSV").written_rows == 1
        expected = [*map(tuple, rows), (3, "arrow", {}), (4, "frame", {}), (5, "raw", {})]
        assert other.query("SELECT * FROM t ORDER BY id").result_rows == expected
        assert other.query_arrow("SELECT id, s FROM t WHERE id = 3").to_pylist() == [{"id": 3, "s": "arrow"}]
        assert other.query_df("SELECT count() AS n FROM t")["n"].tolist() == [5]
        with other.query_row_block_stream("SELECT id FROM t ORDER BY id") as stream:
            assert [row for block in stream for row in block] == [(1,), (2,), (3,), (4,), (5,)]


def test_a_query_too_long_for_a_url_goes_as_a_form(client: Any) -> None:
    ids = list(range(60_000))
    result = client.query("SELECT length({ids:Array(UInt64)})", parameters={"ids": ids}).result_rows
    assert result == [(60_000,)]


def test_errors_keep_the_engines_code(client: Any) -> None:
    for sql, code, name in (
        ("SELECT * FROM missing", 60, "UNKNOWN_TABLE"),
        ("SELECT missing FROM t", 47, "UNKNOWN_IDENTIFIER"),
        ("SELEC 1", 62, "SYNTAX_ERROR"),
        ("SELECT {x:String}", 456, "UNKNOWN_QUERY_PARAMETER"),
        ("INSERT INTO t FORMAT CSV\nx,y,z", 27, "CANNOT_PARSE_INPUT_ASSERTION_FAILED"),
        ("SELECT throwIf(number = 5) FROM numbers(10)", 395, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
        ("CREATE TABLE t (a Int8) ENGINE = Memory", 57, "TABLE_ALREADY_EXISTS"),
    ):
        with pytest.raises(DatabaseError) as raised:
            client.command(sql)
        assert (raised.value.code, raised.value.name) == (code, name), sql
        assert client.command("SELECT count() FROM t") == 0, "the session must go on"


def test_an_insert_that_fails_is_an_error_and_leaves_no_row(client: Any) -> None:
    client.command("CREATE TABLE small (a Int64, CONSTRAINT is_small CHECK a < 5) ENGINE = MergeTree ORDER BY a")
    with pytest.raises(DatabaseError) as raised:
        client.raw_insert("small", ["a"], b"1\n2\n9\n", fmt="CSV")
    assert raised.value.name == "VIOLATED_CONSTRAINT"
    full = {"min_free_disk_bytes_to_perform_insert": 1 << 60}
    with pytest.raises(DatabaseError) as raised:
        client.raw_insert("small", ["a"], b"1\n2\n", fmt="CSV", settings=full)
    assert raised.value.name == "NOT_ENOUGH_SPACE"
    with pytest.raises(DatabaseError, match="row 3"):
        client.raw_insert("small", ["a"], b"1\n2\nx\n", fmt="CSV")
    assert client.command("SELECT count() FROM small") == 0
    client.raw_insert("small", ["a"], b"1\n2\n", fmt="CSV")
    client.command("INSERT INTO small (a) SETTINGS max_threads = 1 FORMAT CSV\n3")
    assert client.command("SELECT sum(a) FROM small") == 6


def test_settings_of_a_request_end_with_it(engine: LocalClickHouse, client: Any) -> None:
    sql = "SELECT getSetting('max_threads'), getSetting('max_block_size'), getSetting('max_memory_usage')"
    before = client.query(sql).result_rows
    changed = client.query(sql, settings={"max_threads": 7, "max_block_size": 123, "max_memory_usage": 10**9})
    assert changed.result_rows == [(7, 123, 10**9)]
    assert client.query(sql, settings={"max_threads": 5}).result_rows == [(5, *before[0][1:])]
    assert client.query(sql).result_rows == before
    client.command("SET max_threads = 3")
    assert client.query(sql).result_rows[0][0] == 3, "settings of a session persist"
    client.command("CREATE TEMPORARY TABLE mine (a Int8)")
    with clickhouse_connect.get_client(**login(engine.address())) as other:
        assert other.query(sql).result_rows == before, "and stay in it"
        with pytest.raises(DatabaseError, match="mine"):
            other.command("SELECT a FROM mine")


# --- plain HTTP --------------------------------------------------------------------------------------------


def test_curl_gets_an_answer_in_the_requested_format(engine: LocalClickHouse, database: str) -> None:
    status, headers, body = http_request(engine, "GET", "/?query=select%201")
    assert (status, body) == (200, b"1\n")
    assert headers["Content-Type"].startswith("text/tab-separated-values")
    assert headers["X-ClickHouse-Format"] == "TabSeparated"
    assert http_request(engine, "GET", "/")[2] == b"Ok.\n"
    assert http_request(engine, "GET", "/ping")[2] == b"Ok.\n"
    assert http_request(engine, "GET", "/play")[0] == 404
    assert http_request(engine, "HEAD", "/?query=select%201")[2] == b""
    _, headers, body = http_request(engine, "POST", "/?default_format=JSON", b"SELECT 5 AS five FORMAT CSV")
    assert (body, headers["X-ClickHouse-Format"]) == (b"5\n", "CSV")
    _, _, body = http_request(engine, "POST", "/", b"SELECT 5 AS five", {"X-ClickHouse-Format": "JSONEachRow"})
    assert json.loads(body) == {"five": 5}
    _, headers, body = http_request(engine, "POST", "/", b"SELECT 1 WHERE 0")
    assert (body, headers["X-ClickHouse-Format"]) == (b"", "TabSeparated")
    sql = f"CREATE TABLE {database}.x (a Int8) ENGINE = Memory".encode()
    status, headers, body = http_request(engine, "POST", "/", sql)
    assert (status, body, headers.get("X-ClickHouse-Format")) == (200, b"", None), "without rows there is no format"


def test_a_bad_request_gets_a_status_and_a_reason(engine: LocalClickHouse) -> None:
    """`test_local_gateway_access` has requests with an odd framing, and those of browsers."""
    for method, path, sent, status, code in (
        ("POST", "/", b"SELECT * FROM missing", 404, "60"),
        ("POST", "/", b"", 400, "62"),
        ("GET", "/?query=create%20database%20x", None, 403, "164"),
        ("POST", "/?no_such_setting=1", b"SELECT 1", 404, "115"),
        ("POST", "/?session_id=none&session_check=1", b"SELECT 1", 404, "372"),
        ("POST", "/?session_timeout=x", b"SELECT 1", 400, None),
    ):
        result, headers, text = http_request(engine, method, path, sent)
        assert (result, headers.get("X-ClickHouse-Exception-Code")) == (status, code), (path, text)
        assert text.strip()


def test_the_door_is_on_loopback_only(engine: LocalClickHouse) -> None:
    sockets = Path("/proc/net/tcp").read_text().splitlines() if Path("/proc/net/tcp").exists() else []
    listening = [line.split()[1] for line in sockets[1:] if line.split()[3] == "0A"]
    own_addresses = [address for address in listening if int(address.partition(":")[2], 16) == engine.port]
    assert own_addresses in ([], [f"0100007F:{engine.port:04X}"])
    assert (engine.host, socket.gethostbyname("localhost")) == ("127.0.0.1", "127.0.0.1")


# --- side by side ------------------------------------------------------------------------------------------


def test_a_slow_query_holds_back_neither_inserts_nor_queries(engine: LocalClickHouse, client: Any) -> None:
    def wait_in_the_engine() -> None:
        http_request(engine, "POST", "/", b"SELECT sleepEachRow(0.1) FROM numbers(25) SETTINGS max_block_size = 1")

    slow = threading.Thread(target=wait_in_the_engine)
    slow.start()
    for number in range(5):
        client.insert("t", [[number, "x", {}]])
    assert client.command("SELECT count() FROM t") == 5
    assert slow.is_alive()
    slow.join()


# --- life and death ----------------------------------------------------------------------------------------


def test_acknowledged_rows_survive_a_kill(tmp_path: Path) -> None:
    server = LocalClickHouse(tmp_path, port=0)
    server.start()
    with clickhouse_connect.get_client(**login(server.address())) as client:
        client.command("CREATE DATABASE d")
        client.command("CREATE TABLE d.t (id UInt64) ENGINE = MergeTree ORDER BY id")
        for number in range(20):
            client.insert("d.t", [[number]])
        client.insert_arrow("d.t", pa.table({"id": pa.array(range(20, 100_020), pa.uint64())}))
    server.kill()
    assert not server.is_running
    with server, clickhouse_connect.get_client(**login(server.address())) as client:
        assert client.query("SELECT count(), sum(id) FROM d.t").result_rows == [(100_020, 100_020 * 100_019 // 2)]
    assert not server.is_running
    assert server.log_path.read_text().rstrip().endswith("closed")


def test_a_folder_has_one_owner_and_a_port_in_use_is_reported(tmp_path: Path) -> None:
    with LocalClickHouse(tmp_path, port=0) as server:
        with pytest.raises(LocalStackError, match=r"The local ClickHouse in .* is run by another process"):
            LocalClickHouse(tmp_path, port=0).start()
        with pytest.raises(LocalStackError, match=f"Port {server.port} is taken"):
            LocalClickHouse(tmp_path / "other", port=server.port).start()
        server.start()
        assert server.is_running
