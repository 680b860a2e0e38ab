"""The local ClickHouse as its clients see it: who is let in, read-only requests, crashes; and HTTPS by settings."""

import base64
import gzip
import itertools
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import clickhouse_connect
import pandas as pd  # type: ignore[import-untyped]
import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from barograph_server.local.child_process import LocalStackError
from barograph_server.local.clickhouse import PID_HEADER, READER, LocalClickHouse, gateway_pid
from barograph_server.local.read_only import LIMITS
from barograph_server.warehouse.client import Address, connect
from barograph_server.warehouse.errors import WarehouseError
from tests.support.http import request
from tests.support.scripted_http import ScriptedServer, reply
from tests.support.warehouse import credentials, login


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
    for rows, settings, message in (
        (b"1\n2\n9\n", {}, "VIOLATED_CONSTRAINT"),
        (b"1\n2\n", {"min_free_disk_bytes_to_perform_insert": 1 << 60}, "NOT_ENOUGH_SPACE"),
        (b"1\n2\nx\n", {}, "row 3"),
    ):
        with pytest.raises(DatabaseError, match=message):
            client.raw_insert("small", ["a"], rows, fmt="CSV", settings=settings)
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


def test_curl_gets_an_answer_in_the_requested_format(engine: LocalClickHouse, database: str) -> None:
    status, headers, body = http_request(engine, "GET", "/?query=select%201")
    assert (status, body, headers["X-ClickHouse-Format"]) == (200, b"1\n", "TabSeparated")
    assert headers["Content-Type"].startswith("text/tab-separated-values")
    for path in ("/", "/ping"):
        assert http_request(engine, "GET", path)[2] == b"Ok.\n"
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


def exchange(engine: LocalClickHouse, sent: bytes) -> bytes:
    with socket.create_connection((engine.host, engine.port), timeout=30) as raw:
        raw.sendall(sent)
        received = b""
        while data := raw.recv(65_536):
            received += data
        return received


def raw_request(address: Address, method: str, path: str, *headers: str, body: bytes = b"", host: str = "") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host or address}", "Connection: close", *headers]
    lines += [f"{name}: {value}" for name, value in credentials(address).items()] if address.password else []
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.fixture
def full(engine: LocalClickHouse) -> Address:
    return engine.address()


@pytest.fixture
def stranger(full: Address) -> Address:
    return replace(full, password="")


def basic(text: str) -> str:
    return f"Authorization: Basic {base64.b64encode(text.encode()).decode()}"


def test_every_request_needs_a_password(engine: LocalClickHouse, stranger: Address) -> None:
    paths = ("/?query=SELECT%207", "/ping", "/replicas_status", "/", "/nowhere")
    for method, path in itertools.product(("GET", "HEAD", "POST"), paths):
        answer = exchange(engine, raw_request(stranger, method, path))
        assert answer.startswith(b"HTTP/1.1 403 "), (method, path)
        assert b"X-ClickHouse-Exception-Code: 516\r\n" in answer
        for secret in (b"\r\n7\n", PID_HEADER.encode(), b"WWW-Authenticate"):
            assert secret not in answer, (method, path)


def test_user_and_password_are_in_headers_and_a_wrong_one_is_rejected_wherever_it_is(
    engine: LocalClickHouse, full: Address, stranger: Address
) -> None:
    password, reader = full.password, engine.address(user=READER).password
    for headers in (
        [basic(f"default:{password}")],
        [basic(f"reader:{reader}")],
        ["X-ClickHouse-User: reader", f"X-ClickHouse-Key: {reader}"],
        [f"x-clickhouse-key: {password}"],
    ):
        answer = exchange(engine, raw_request(stranger, "GET", "/?query=SELECT%207", *headers))
        assert answer.endswith(b"\r\n\r\n7\n"), headers
    for headers in (
        [basic("default:")],
        [basic(f"default:{password[:-1]}")],
        [basic(f"default:{password}x")],
        [basic(f"default:{reader}")],
        [basic(f"reader:{password}")],
        [basic(f"nobody:{password}")],
        [basic("nobody:")],
        [basic(password)],
        [basic("default:ü")],
        ["Authorization: Basic !!!"],
        ["Authorization: Basic"],
        [f"Authorization: Bearer {password}"],
        ["X-ClickHouse-User: nobody", "X-ClickHouse-Key: "],
        [f"X-ClickHouse-Key: {password}", "X-ClickHouse-Key: x"],
        [basic(f"default:{password}"), f"X-ClickHouse-Key: {password}"],
        [basic(f"default:{password}"), basic("reader:x")],
    ):
        answer = exchange(engine, raw_request(stranger, "GET", "/?query=SELECT%207", *headers))
        assert answer.startswith(b"HTTP/1.1 403 "), headers
        assert password.encode() not in answer
    # A URL holds no password, even if the headers do.
    path = f"/?query=SELECT%207&user=default&password={password}"
    for address in (stranger, full):
        answer = exchange(engine, raw_request(address, "GET", path))
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"A URL must not hold" in answer
        assert password.encode() not in answer


def test_a_browser_is_rejected_even_with_the_password(engine: LocalClickHouse, full: Address) -> None:
    origins = ("null", "http://127.0.0.1", "https://elsewhere.example")
    sent_by_browsers = [f"Sec-Fetch-Site: {site}" for site in ("none", "same-origin", "cross-site")]
    sent_by_browsers += [f"Origin: {origin}" for origin in origins] + ["Host: rebound.example"]
    hosts = ("rebound.example", "rebound.example:80", "127.0.0.1.rebound.example", "127.0.0.1@rebound.example")
    requests = [([header], "") for header in sent_by_browsers]
    requests += [([], host) for host in hosts] + [(["Host: 127.0.0.1"], "rebound.example")]
    for headers, host in requests:
        sent = raw_request(full, "POST", "/", *headers, "Content-Length: 8", body=b"SELECT 7", host=host)
        answer = exchange(engine, sent)
        assert answer.startswith(b"HTTP/1.1 403 "), (headers, host)
        assert not answer.endswith(b"\r\n\r\n7\n")


def test_a_stranger_is_answered_before_the_body(engine: LocalClickHouse, stranger: Address, full: Address) -> None:
    """The rest of the connection is not taken for a request."""
    inner = raw_request(full, "GET", "/?query=SELECT%207")
    for headers in (["Content-Length: 1000000000"], ["Transfer-Encoding: chunked"], ["Content-Length: ²"]):
        sent = raw_request(stranger, "POST", "/", *headers, "Content-Encoding: gzip", body=inner)
        answer = exchange(engine, sent)
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"Connection: close\r\n" in answer
        assert answer.count(b"HTTP/1.1") == 1


def test_a_body_is_answered_unless_its_framing_is_odd(engine: LocalClickHouse, full: Address) -> None:
    """`tests/unit/local/test_gateway.py` has every odd framing."""
    packed = gzip.compress(b"SELECT 7")
    for status, headers, body in (
        (200, ["Content-Length: 8"], b"SELECT 7"),
        (200, [f"Content-Length: {len(packed)}", "Content-Encoding: gzip"], packed),
        (200, ["Transfer-Encoding: chunked"], b"4\r\nSELE\r\n4;x=y\r\nCT 7\r\n0\r\n\r\n"),
        (400, ["Content-Length: ²"], b"SELECT 7"),
        (400, ["no colon", "Content-Length: 8"], b"SELECT 7"),
        (400, ["Content-Length: 8", "Content-Encoding: br"], b"SELECT 7"),
        (413, [f"Content-Length: {2**40}"], b"SELECT 7"),
    ):
        answer = exchange(engine, raw_request(full, "POST", "/", *headers, body=body))
        assert answer.startswith(f"HTTP/1.1 {status} ".encode()), (headers, body)
        assert (answer.count(b"HTTP/1.1"), answer.endswith(b"\r\n\r\n7\n")) == (1, status == 200)
    assert b"larger than 512 MiB" in answer


def test_the_driver_names_a_wrong_password_and_shows_none(engine: LocalClickHouse, full: Address) -> None:
    with pytest.raises(DatabaseError) as raised:
        clickhouse_connect.get_client(**login(full) | {"password": "guess"})
    assert raised.value.code == 516
    with pytest.raises(WarehouseError, match="Check the user name and the password in the settings") as refused:
        connect(Address(engine.host, engine.port, password="guess"))
    assert "guess" not in str(refused.value)
    assert full.password not in str(refused.value) + repr(full)


def test_no_password_is_logged_or_on_a_command_line(engine: LocalClickHouse, full: Address, stranger: Address) -> None:
    pid = gateway_pid(engine.port, engine.data_dir)
    exchange(engine, raw_request(full, "GET", "/?query=SELEC"))
    exchange(engine, raw_request(stranger, "GET", f"/?password={full.password}"))
    text = engine.log_path.read_text() + Path(f"/proc/{pid}/cmdline").read_text()
    assert "barograph_server.local.http_gateway" in text
    for password in (full.password, engine.address(user=READER).password):
        assert password not in text


class World:
    """A database with one row, a file with a secret, a web server, and a path that does not exist."""

    def __init__(self, engine: LocalClickHouse, database: str, folder: Path, visits: ScriptedServer) -> None:
        self.engine, self.database, self.visits = engine, database, visits
        self.secret = folder / "secret.csv"
        self.secret.write_text("swordfish,1\n")
        self.out = folder / "out"
        for sql in ("CREATE TABLE {t} (a Int64) ENGINE = ReplacingMergeTree ORDER BY a", "INSERT INTO {t} VALUES (1)"):
            assert self.ask(engine.address(), "POST", sql)[0] == 200

    def ask(self, user: Address, method: str, sql: str, **arguments: str) -> tuple[int, str, str]:
        sql = sql.format(t=f"{self.database}.t", file=self.secret, out=self.out, port=self.visits.port)
        body = sql.encode() if method == "POST" else None
        query = arguments if method == "POST" else {**arguments, "query": sql}
        url = f"http://{user.host}:{user.port}/?{urlencode(query)}"
        answer = request(method, url, body, credentials(user), timeout_s=60)
        return answer.status, answer.headers.get("X-ClickHouse-Exception-Code", ""), answer.data.decode()

    def untouched(self) -> bool:
        count = self.ask(self.engine.address(), "POST", "SELECT groupArray(a) FROM {t}")[2]
        return (count, self.out.exists(), self.visits.requests) == ("[1]\n", False, [])


@pytest.fixture
def world(engine: LocalClickHouse, database: str, tmp_path: Path) -> Iterator[World]:
    with ScriptedServer(reply(b"visited")) as visits:
        yield World(engine, database, tmp_path, visits)


# Statements with placeholders for a table, a file with a secret, a path to write to, and the port of a web server.
ATTACKS = Path(__file__).parents[1] / "golden" / "read_only_attacks.sql"


@pytest.mark.parametrize("way", ["reader", "GET", "readonly"])
def test_a_read_only_request_has_no_effect_and_reads_no_file(world: World, way: str) -> None:
    user = world.engine.address(user=READER) if way == "reader" else world.engine.address()
    arguments = {"readonly": "2"} if way == "readonly" else {}
    for sql in ATTACKS.read_text(encoding="utf-8").strip().split("\n\n"):
        status, code, answer = world.ask(user, "GET" if way == "GET" else "POST", sql, **arguments)
        assert (status, code) in {(403, "164"), (400, "62")}, (sql, answer)
        for secret in ("swordfish", "visited"):
            assert secret not in answer, sql
        assert world.untouched(), sql


def test_settings_and_parameters_reach_no_file(world: World) -> None:
    for arguments in (
        {"format_schema": "x"},
        {"format_template_row": "/etc/hostname"},
        {"additional_result_filter": "file('/etc/hostname') = ''"},
        {"dialect": "prql"},
        {"implicit_select": "1"},
        {"output_format_schema": "{out}"},
        {"default_format": "Template"},
        {"param_t": "/etc/hostname"},
        {"param_t": "default.`/etc/hostname`"},
    ):
        sql = "SELECT * FROM {{t:Identifier}}" if "param_t" in arguments else "SELECT 1"
        status, code, answer = world.ask(world.engine.address(user=READER), "POST", sql, **arguments)
        assert (status, code) == (403, "164"), (arguments, answer)


def test_several_statements_run_none(world: World) -> None:
    for sql in ("SELECT 1; DROP TABLE {t}", "SELECT ';'; DROP TABLE {t};", "SELECT 1 /*;*/ ; DROP TABLE {t}"):
        assert world.ask(world.engine.address(user=READER), "POST", sql)[:2] == (400, "62")
        assert world.untouched()
    assert world.ask(world.engine.address(user=READER), "POST", "SELECT 1;")[2] == "1\n"


READS = (
    ("SELECT 'INTO OUTFILE, file(x), SETTINGS'", "INTO OUTFILE, file(x), SETTINGS\n"),
    ("WITH 2 AS y SELECT a + y FROM {t} WHERE a IN (SELECT number FROM numbers(5))", "3\n"),
    ("FROM {t} SELECT a", "1\n"),
    ("(SELECT 1) UNION ALL (SELECT 1)", "1\n1\n"),
    ("SELECT a / 2 AS `rate/s` FROM {t} ORDER BY `rate/s` FORMAT CSV", "0.5\n"),
    ("SELECT sum(a) OVER (ORDER BY a ROWS UNBOUNDED PRECEDING) FROM {t} FINAL LIMIT 1 BY a", "1\n"),
    ("SELECT x.a FROM {t} AS x ANY LEFT JOIN {t} AS y USING a ARRAY JOIN [1] AS z", "1\n"),
    ("SELECT number FROM numbers(1, 3) ORDER BY number WITH FILL FROM 0 TO 2 LIMIT 2", "0\n1\n"),
    ("SELECT arrayMap(x -> x + 1, [1]), CASE WHEN 1 THEN 2 END", "[2]\t2\n"),
    ("SELECT 1 BETWEEN 0 AND 2, CAST(1 AS String)", "1\t1\n"),
    ("SELECT format('{{}}/', 1)", "1/\n"),
    ("SHOW TABLES FROM system LIKE 'one'", "one\n"),
    ("DESCRIBE TABLE {t} FORMAT TSV", "a\tInt64\t\t\t\t\t\n"),
    ("EXPLAIN indexes = 1 SELECT 1", "Output: 1\n\nReadFromSystemOne\n"),
    ("SHOW CREATE TABLE {t} FORMAT Null", ""),
    ("-- why\nSELECT 1 # because", "1\n"),
)


def test_reads_are_answered(world: World) -> None:
    for user, method in ((world.engine.address(user=READER), "POST"), (world.engine.address(), "GET")):
        for sql, answer in READS:
            assert world.ask(user, method, sql) == (200, "", answer), sql


def test_reads_have_parameters_settings_and_a_database(world: World) -> None:
    read = partial(world.ask, world.engine.address(user=READER), "POST")
    sql = "SELECT a + {{n:UInt8}}, {{s:String}} FROM {{name:Identifier}}"
    arguments = {"database": world.database, "param_n": "2", "param_s": "it's x", "param_name": "t"}
    arguments |= {"max_execution_time": "30", "readonly": "1", "session_id": "s"}
    assert read(sql, default_format="JSONCompactEachRow", **arguments)[2] == '[3, "it\'s x"]\n'
    assert read("SELECT x", default_format="JSON")[0] == 404
    assert json.loads(read("SELECT 1 AS one", default_format="JSON")[2])["data"] == [{"one": 1}]


def test_readers_have_limits_that_they_cannot_lift(world: World) -> None:
    reader = world.engine.address(user=READER)
    assert world.ask(reader, "POST", "SELECT length(groupArray(number)) FROM numbers(400000000)")[1] == "241"
    for name, most in LIMITS.items():
        for value, code in ((f"{most}", ""), ("0", "164"), (f"{most + 1}", "164"), ("1e99", "164")):
            assert world.ask(reader, "POST", "SELECT 1", **{name: value})[1] == code, (name, value)


def test_the_full_user_still_uses_files(world: World) -> None:
    full = world.engine.address()
    assert world.ask(full, "POST", "SELECT c1 FROM file('{file}', CSV)")[2] == "swordfish\n"
    assert world.ask(full, "POST", "SELECT 7 INTO OUTFILE '{out}'")[0] == 200
    assert world.out.read_text() == "7\n"
