"""Who is let in by the gateway of the local ClickHouse, over raw sockets."""

import base64
import gzip
import itertools
import socket
from pathlib import Path

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from barograph_server.local.clickhouse import PID_HEADER, LocalClickHouse, gateway_pid
from barograph_server.warehouse.client import Address, connect
from barograph_server.warehouse.errors import WarehouseError
from tests.support.warehouse import credentials, login


def exchange(engine: LocalClickHouse, sent: bytes) -> bytes:
    """Send bytes, and return all that the gateway sends before it closes the connection."""
    with socket.create_connection((engine.host, engine.port), timeout=30) as raw:
        raw.sendall(sent)
        received = b""
        while data := raw.recv(65_536):
            received += data
        return received


def request(address: Address, method: str, path: str, *headers: str, body: bytes = b"", host: str = "") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host or address}", "Connection: close", *headers]
    lines += [f"{name}: {value}" for name, value in credentials(address).items()] if address.password else []
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.fixture
def full(engine: LocalClickHouse) -> Address:
    return engine.address()


@pytest.fixture
def stranger(engine: LocalClickHouse) -> Address:
    return Address(engine.host, engine.port)


def basic(text: str) -> str:
    return f"Authorization: Basic {base64.b64encode(text.encode()).decode()}"


def test_every_request_needs_a_password(engine: LocalClickHouse, stranger: Address) -> None:
    paths = ("/?query=SELECT%207", "/ping", "/replicas_status", "/", "/nowhere")
    for method, path in itertools.product(("GET", "HEAD", "POST"), paths):
        answer = exchange(engine, request(stranger, method, path))
        assert answer.startswith(b"HTTP/1.1 403 "), (method, path)
        assert b"X-ClickHouse-Exception-Code: 516\r\n" in answer
        for secret in (b"\r\n7\n", PID_HEADER.encode(), b"WWW-Authenticate"):
            assert secret not in answer, (method, path)


def test_the_headers_of_clickhouse_hold_user_and_password(engine: LocalClickHouse, full: Address) -> None:
    stranger, reader = Address(engine.host, engine.port), engine.reader_address()
    path = "/?query=SELECT%207"
    for headers in (
        [basic(f"default:{full.password}")],
        [basic(f"reader:{reader.password}")],
        ["X-ClickHouse-User: reader", f"X-ClickHouse-Key: {reader.password}"],
        [f"x-clickhouse-key: {full.password}"],
    ):
        assert exchange(engine, request(stranger, "GET", path, *headers)).endswith(b"\r\n\r\n7\n"), headers


def test_a_wrong_password_is_rejected_wherever_it_is(engine: LocalClickHouse, full: Address, stranger: Address) -> None:
    password, reader = full.password, engine.reader_address().password
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
        answer = exchange(engine, request(stranger, "GET", "/?query=SELECT%207", *headers))
        assert answer.startswith(b"HTTP/1.1 403 "), headers
        assert password.encode() not in answer


def test_a_url_holds_no_password(engine: LocalClickHouse, full: Address, stranger: Address) -> None:
    path = f"/?query=SELECT%207&user=default&password={full.password}"
    for address in (stranger, full):
        answer = exchange(engine, request(address, "GET", path))
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"A URL must not hold" in answer
        assert full.password.encode() not in answer


def test_a_browser_is_rejected_even_with_the_password(engine: LocalClickHouse, full: Address) -> None:
    for headers, host in (
        (["Sec-Fetch-Site: none"], ""),
        (["Sec-Fetch-Site: same-origin"], ""),
        (["Sec-Fetch-Site: cross-site"], ""),
        (["Origin: null"], ""),
        (["Origin: http://127.0.0.1"], ""),
        (["Origin: https://elsewhere.example"], ""),
        ([], "rebound.example"),
        ([], "rebound.example:80"),
        ([], "127.0.0.1.rebound.example"),
        ([], "127.0.0.1@rebound.example"),
        (["Host: 127.0.0.1"], "rebound.example"),
        (["Host: rebound.example"], ""),
    ):
        sent = request(full, "POST", "/", *headers, "Content-Length: 8", body=b"SELECT 7", host=host)
        answer = exchange(engine, sent)
        assert answer.startswith(b"HTTP/1.1 403 "), (headers, host)
        assert not answer.endswith(b"\r\n\r\n7\n")


def test_a_stranger_is_answered_before_the_body(engine: LocalClickHouse, stranger: Address, full: Address) -> None:
    """The rest of the connection is not taken for a request."""
    inner = request(full, "GET", "/?query=SELECT%207")
    for headers in (["Content-Length: 1000000000"], ["Transfer-Encoding: chunked"], ["Content-Length: ²"]):
        sent = request(stranger, "POST", "/", *headers, "Content-Encoding: gzip", body=inner)
        answer = exchange(engine, sent)
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"Connection: close\r\n" in answer
        assert answer.count(b"HTTP/1.1") == 1


def test_an_odd_framing_is_a_bad_request(engine: LocalClickHouse, full: Address) -> None:
    for headers, body in (
        (["Content-Length: ²"], b"SELECT 7"),
        (["Content-Length: x"], b"SELECT 7"),
        (["Content-Length: +8"], b"SELECT 7"),
        (["Content-Length: -1"], b"SELECT 7"),
        (["Content-Length: 8", "Content-Length: 8"], b"SELECT 7"),
        (["Content-Length: 8", "Content-Length: 9"], b"SELECT 7"),
        (["Content-Length: 8", "Transfer-Encoding: chunked"], b"8\r\nSELECT 7\r\n0\r\n\r\n"),
        (["Transfer-Encoding: gzip, chunked"], b"8\r\nSELECT 7\r\n0\r\n\r\n"),
        *(
            (["Transfer-Encoding: chunked"], length + b"\r\nSELECT 7\r\n0\r\n\r\n")
            for length in (b"-1", b"+8", b"0x8", b"1_0", b"zz")
        ),
        (["no colon", "Content-Length: 8"], b"SELECT 7"),
        (["Content-Length: 4", "Content-Encoding: gzip"], b"nope"),
        (["Content-Length: 8", "Content-Encoding: br"], b"SELECT 7"),
    ):
        answer = exchange(engine, request(full, "POST", "/", *headers, body=body))
        assert answer.startswith(b"HTTP/1.1 400 "), (headers, body)
        assert answer.count(b"HTTP/1.1") == 1


def test_a_body_beyond_the_limit_is_too_large(engine: LocalClickHouse, full: Address) -> None:
    answer = exchange(engine, request(full, "POST", "/", f"Content-Length: {2**40}", body=b"SELECT 7"))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"larger than 512 MiB" in answer


def test_an_ordinary_body_is_answered(engine: LocalClickHouse, full: Address) -> None:
    packed = gzip.compress(b"SELECT 7")
    for headers, body in (
        (["Content-Length: 8"], b"SELECT 7"),
        ([f"Content-Length: {len(packed)}", "Content-Encoding: gzip"], packed),
        (["Transfer-Encoding: chunked"], b"4\r\nSELE\r\n4;x=y\r\nCT 7\r\n0\r\n\r\n"),
    ):
        assert exchange(engine, request(full, "POST", "/", *headers, body=body)).endswith(b"\r\n\r\n7\n")


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
    exchange(engine, request(full, "GET", "/?query=SELEC"))
    exchange(engine, request(stranger, "GET", f"/?password={full.password}"))
    text = engine.log_path.read_text() + Path(f"/proc/{pid}/cmdline").read_text()
    assert "barograph_server.local.http_gateway" in text
    for password in (full.password, engine.reader_address().password):
        assert password not in text
