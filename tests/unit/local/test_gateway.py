import gzip
import io
import tracemalloc
import zlib
from collections.abc import Callable
from email.message import Message
from http import HTTPStatus

import pyarrow as pa
import pytest

from barograph_server.local.request_body import RequestError, decode_body, read_body
from barograph_server.local.statement import Statement, parse_statement

PLAIN = b"INSERT INTO t FORMAT CSV\n" + b"1,2\n" * 100_000
ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "lz4": lambda data: bytes(pa.compress(data, "lz4", asbytes=True)),
    "zstd": lambda data: bytes(pa.compress(data, "zstd", asbytes=True)),
    "gzip": gzip.compress,
    "deflate": zlib.compress,
}


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        (None, PLAIN),
        ("identity", PLAIN),
        ("gzip", b""),
        *((encoding, encode(PLAIN)) for encoding, encode in ENCODERS.items()),
        *(
            (encoding, ENCODERS[encoding](PLAIN[:100]) + ENCODERS[encoding](PLAIN[100:]))
            for encoding in ("lz4", "zstd", "gzip")
        ),
    ],
)
def test_every_encoding_that_clients_use_is_undone(encoding: str | None, body: bytes) -> None:
    assert decode_body(body, encoding) == (PLAIN if body else b"")


@pytest.mark.parametrize("encoding", ENCODERS)
def test_damaged_and_cut_bodies_are_bad_requests(encoding: str) -> None:
    whole = ENCODERS[encoding](PLAIN)
    for body in (b"INSERT INTO t", whole[:-5], whole[: len(whole) // 2]):
        with pytest.raises(RequestError, match=encoding):
            decode_body(body, encoding)


@pytest.mark.parametrize("encoding", ENCODERS)
def test_a_body_that_unpacks_to_more_than_the_limit_is_stopped_there(encoding: str) -> None:
    body = ENCODERS[encoding](bytes(200 * 2**20))
    assert len(body) < 2**20
    pool = pa.default_memory_pool()
    tracemalloc.start()
    with pytest.raises(RequestError) as refused:
        decode_body(body, encoding, limit=8 * 2**20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refused.value.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    assert peak + pool.bytes_allocated() < 32 * 2**20


def read(sent: bytes, *headers: tuple[str, str], limit: int = 1000) -> bytes:
    message = Message()
    for name, value in headers:
        message[name] = value
    return read_body(message, io.BufferedReader(io.BytesIO(sent)), limit)


LENGTH, CHUNKED = "Content-Length", ("Transfer-Encoding", "chunked")


def test_a_body_ends_where_its_framing_says() -> None:
    assert read(b"GET /next", (LENGTH, "3")) == b"GET"
    assert read(b"GET /next") == b""
    assert read(b"3\r\nabc\r\nA;name=x\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nGET", CHUNKED) == b"abc0123456789"


@pytest.mark.parametrize("length", ["²", "+1", "-1", "1_0", "0x1", "1.0", "", " ", "1 1", "1,1", "9" * 30])
def test_an_odd_length_is_a_bad_request(length: str) -> None:
    with pytest.raises(RequestError, match="is not a number") as refused:
        read(b"abcdefghij", (LENGTH, length))
    assert refused.value.status == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize(
    "headers",
    [
        [(LENGTH, "3"), (LENGTH, "3")],
        [(LENGTH, "3"), (LENGTH, "4")],
        [(LENGTH, "3"), CHUNKED],
        [CHUNKED, (LENGTH, "3")],
        [CHUNKED, CHUNKED],
        [("Transfer-Encoding", "gzip, chunked")],
        [("Transfer-Encoding", "identity")],
        [("Transfer-Encoding", "xchunked")],
    ],
)
def test_an_ambiguous_framing_is_a_bad_request(headers: list[tuple[str, str]]) -> None:
    with pytest.raises(RequestError) as refused:
        read(b"3\r\nabc\r\n0\r\n\r\n", *headers)
    assert refused.value.status == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize("size", [b"-1", b"+5", b"0x10", b"1_0", b" 5", b"", b"5 5", b"\xb2", b"5" * 20, b"g"])
def test_an_odd_chunk_size_is_a_bad_request(size: bytes) -> None:
    with pytest.raises(RequestError, match="chunked body is damaged"):
        read(size + b"\r\n" + b"x" * 100 + b"\r\n0\r\n\r\n", CHUNKED)


@pytest.mark.parametrize(
    "sent",
    [b"5\nabcde\r\n0\r\n\r\n", b"5\r\nabcdeXX0\r\n\r\n", b"5\r\nabc", b"5\r\nabcde\r\n", b"0\r\n", b"0\r\nx: y", b""],
)
def test_damaged_chunks_are_a_bad_request(sent: bytes) -> None:
    with pytest.raises(RequestError, match=r"damaged|in the middle"):
        read(sent, CHUNKED)


def test_what_is_too_large_is_not_read() -> None:
    full_chunk = b"3E8\r\n" + b"x" * 1000 + b"\r\n"
    for sent, header in ((b"", (LENGTH, "1001")), (b"3E9\r\n", CHUNKED), (full_chunk + b"1\r\n", CHUNKED)):
        with pytest.raises(RequestError, match="larger than") as refused:
            read(sent, header)
        assert refused.value.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE


@pytest.mark.parametrize(
    ("body", "head", "format_name", "data"),
    [
        (b"INSERT INTO t FORMAT Native\n\x01\x02", "INSERT INTO t ", "Native", b"\x01\x02"),
        (b"insert into t (a, `for;mat`) format CSV\r\n1,2\n", "insert into t (a, `for;mat`) ", "CSV", b"1,2\n"),
        (b"INSERT INTO t (format) FORMAT TSV  \t\n x", "INSERT INTO t (format) ", "TSV", b" x"),
        (b"INSERT INTO t FORMAT JSONEachRow {\"a\": ';'}", "INSERT INTO t ", "JSONEachRow", b"{\"a\": ';'}"),
        (
            b"/* load */ INSERT INTO t SETTINGS a = 'FORMAT x' FORMAT Arrow\n\n",
            "/* load */ INSERT INTO t SETTINGS a = 'FORMAT x' ",
            "Arrow",
            b"\n",
        ),
        (b"INSERT INTO t FORMAT CSV", "INSERT INTO t ", "CSV", b""),
        (b"INSERT INTO t FORMAT Values (1), (2)", "INSERT INTO t ", "Values", b"(1), (2)"),
    ],
)
def test_an_inserts_text_ends_where_its_data_begin(body: bytes, head: str, format_name: str, data: bytes) -> None:
    statement = parse_statement(body)
    assert statement.verb == "INSERT"
    assert statement.insert_text == head
    assert statement.insert_format == format_name
    assert body[statement.data_start :] == data
    assert not statement.has_another


@pytest.mark.parametrize(
    ("body", "before"),
    [
        (b"INSERT INTO t (a) FORMAT CSV\n1", "INSERT INTO t (a) "),
        (b"INSERT INTO t (a) SETTINGS b = 1 FORMAT CSV\n1", "INSERT INTO t (a) "),
        (b"INSERT INTO settings FORMAT CSV\n1", "INSERT INTO settings "),
        (b"INSERT INTO d.settings (settings) SETTINGS b = 1 FORMAT CSV\n1", "INSERT INTO d.settings (settings) "),
    ],
)
def test_the_settings_of_an_insert_are_distinguished_from_names(body: bytes, before: str) -> None:
    statement = parse_statement(body)
    assert statement.insert_text is not None
    assert statement.insert_text[: statement.settings_start] == before


@pytest.mark.parametrize(
    "body",
    [
        b"INSERT INTO t VALUES (1, 'a; FORMAT CSV'); (2)",
        b"INSERT INTO t SELECT 1 FORMAT CSV",
        b"INSERT INTO t WITH 1 AS x SELECT x",
    ],
)
def test_values_and_queries_are_left_to_the_engine(body: bytes) -> None:
    assert parse_statement(body) == Statement("INSERT")


@pytest.mark.parametrize(
    ("body", "reply_format"),
    [
        (b"SELECT 1", None),
        (b"SELECT 1 FORMAT JSON", "JSON"),
        (b"SELECT 1 FORMAT JSON SETTINGS max_threads = 1;", "JSON"),
        (b"SELECT 1 SETTINGS max_threads = 1 FORMAT JSON", "JSON"),
        (b"SELECT format FROM system.formats", None),
        (b"SELECT format, a FROM t FORMAT CSV", "CSV"),
        (b"SELECT ' FORMAT CSV'", None),
        (b"SELECT 1 -- FORMAT CSV", None),
        (b"(SELECT 1 FORMAT CSV)", None),
    ],
)
def test_the_reply_format_is_the_clauses_and_no_columns(body: bytes, reply_format: str | None) -> None:
    assert parse_statement(body).reply_format == reply_format


@pytest.mark.parametrize(
    ("body", "has_another"),
    [
        (b"SELECT 1; ; -- done", False),
        (b"SELECT 1; SELECT 2", True),
        (b"SELECT ';' ; DROP TABLE t", True),
        (b"SELECT ';', \";\", `;`, $$;$$, $a$;$a$ /* ; x */ -- ; y", False),
        (rb"SELECT '\'; DROP TABLE t; --'", False),
        (b"SELECT 'it''s; x'", False),
    ],
)
def test_a_second_statement_is_detected_but_not_a_quoted_one(body: bytes, has_another: bool) -> None:
    assert parse_statement(body).has_another is has_another


@pytest.mark.parametrize(
    ("body", "verb", "writes", "has_result"),
    [
        (b" -- nothing\n", "", False, False),
        (b"with 1 as x select x", "WITH", False, True),
        (b"SHOW TABLES", "SHOW", False, True),
        (b"create table t (a Int8) engine = Memory", "CREATE", True, False),
        (b"SET a = 1", "SET", False, False),
        (b"SELECT 'never closed", "SELECT", False, True),
        (b"SELECT '\xff\xfe'", "SELECT", False, True),
    ],
)
def test_the_first_word_determines_the_kind(body: bytes, verb: str, writes: bool, has_result: bool) -> None:
    statement = parse_statement(body)
    assert (statement.verb, statement.writes, statement.has_result) == (verb, writes, has_result)
