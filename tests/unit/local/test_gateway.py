import gzip
import io
import json
import tracemalloc
import zlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from email.message import Message
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from barograph_server.dashboards.macros import ALL, TimeRange
from barograph_server.local.child_process import LocalStackError
from barograph_server.local.kafka_jars import JAR_LIST, KAFKA_VERSION, Jar, cache_dir, parse_jar_list
from barograph_server.local.preview import PreviewServer
from barograph_server.local.preview.frames import RangeError, frame_of, kind_of, moment_ms, read_range
from barograph_server.local.preview.pages import PageError, annotations_of, panel_answers, panel_of, resolve
from barograph_server.local.request_body import RequestError, decode_body, read_body
from barograph_server.local.stack import LocalStack, default_root
from barograph_server.local.statement import Statement, parse_statement
from barograph_server.warehouse.client import Address, QueryResult
from tests.support.http import request

PLAIN = b"INSERT INTO t FORMAT CSV\n" + b"1,2\n" * 100_000
ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "lz4": lambda data: bytes(pa.compress(data, "lz4", asbytes=True)),
    "zstd": lambda data: bytes(pa.compress(data, "zstd", asbytes=True)),
    "gzip": gzip.compress,
    "deflate": zlib.compress,
}


def test_every_encoding_that_clients_use_is_undone() -> None:
    for encoding in (None, "identity"):
        assert decode_body(PLAIN, encoding) == PLAIN
    assert decode_body(b"", "gzip") == b""
    for encoding, encode in ENCODERS.items():
        assert decode_body(encode(PLAIN), encoding) == PLAIN
        if encoding != "deflate":
            assert decode_body(encode(PLAIN[:100]) + encode(PLAIN[100:]), encoding) == PLAIN, "two members"


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


def test_an_odd_length_is_a_bad_request() -> None:
    for length in ("²", "+1", "-1", "1_0", "0x1", "1.0", "", " ", "1 1", "1,1", "9" * 30):
        with pytest.raises(RequestError, match="is not a number") as refused:
            read(b"abcdefghij", (LENGTH, length))
        assert refused.value.status == HTTPStatus.BAD_REQUEST


def test_an_ambiguous_framing_is_a_bad_request() -> None:
    for headers in (
        [(LENGTH, "3"), (LENGTH, "3")],
        [(LENGTH, "3"), (LENGTH, "4")],
        [(LENGTH, "3"), CHUNKED],
        [CHUNKED, (LENGTH, "3")],
        [CHUNKED, CHUNKED],
        [("Transfer-Encoding", "gzip, chunked")],
        [("Transfer-Encoding", "identity")],
        [("Transfer-Encoding", "xchunked")],
    ):
        with pytest.raises(RequestError) as refused:
            read(b"3\r\nabc\r\n0\r\n\r\n", *headers)
        assert refused.value.status == HTTPStatus.BAD_REQUEST


DAMAGED = (
    *(b"5\nabcde\r\n0\r\n\r\n", b"5\r\nabcdeXX0\r\n\r\n", b"5\r\nabc", b"5\r\nabcde\r\n", b"0\r\n", b"0\r\nx: y", b""),
)


def test_damaged_chunks_are_a_bad_request() -> None:
    for size in (b"-1", b"+5", b"0x10", b"1_0", b" 5", b"", b"5 5", b"\xb2", b"5" * 20, b"g"):
        with pytest.raises(RequestError, match="chunked body is damaged"):
            read(size + b"\r\n" + b"x" * 100 + b"\r\n0\r\n\r\n", CHUNKED)
    for sent in DAMAGED:
        with pytest.raises(RequestError, match=r"damaged|in the middle"):
            read(sent, CHUNKED)


def test_what_is_too_large_is_not_read() -> None:
    full_chunk = b"3E8\r\n" + b"x" * 1000 + b"\r\n"
    for sent, header in ((b"", (LENGTH, "1001")), (b"3E9\r\n", CHUNKED), (full_chunk + b"1\r\n", CHUNKED)):
        with pytest.raises(RequestError, match="larger than") as refused:
            read(sent, header)
        assert refused.value.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE


QUOTED = "INSERT INTO t SETTINGS a = 'FORMAT x' "


def test_an_inserts_text_ends_where_its_data_begin() -> None:
    for body, head, format_name, data in (
        (b"INSERT INTO t FORMAT Native\n\x01\x02", "INSERT INTO t ", "Native", b"\x01\x02"),
        (b"insert into t (a, `for;mat`) format CSV\r\n1,2\n", "insert into t (a, `for;mat`) ", "CSV", b"1,2\n"),
        (b"INSERT INTO t (format) FORMAT TSV  \t\n x", "INSERT INTO t (format) ", "TSV", b" x"),
        (b"INSERT INTO t FORMAT JSONEachRow {\"a\": ';'}", "INSERT INTO t ", "JSONEachRow", b"{\"a\": ';'}"),
        (b"/* x */ INSERT INTO t SETTINGS a = 'FORMAT x' FORMAT Arrow\n\n", f"/* x */ {QUOTED}", "Arrow", b"\n"),
        (b"INSERT INTO t FORMAT CSV", "INSERT INTO t ", "CSV", b""),
        (b"INSERT INTO t FORMAT Values (1), (2)", "INSERT INTO t ", "Values", b"(1), (2)"),
    ):
        statement = parse_statement(body)
        assert (statement.verb, statement.insert_text, statement.insert_format) == ("INSERT", head, format_name)
        assert (body[statement.data_start :], statement.has_another) == (data, False)


def test_the_settings_of_an_insert_are_distinguished_from_names() -> None:
    for body, before in (
        (b"INSERT INTO t (a) FORMAT CSV\n1", "INSERT INTO t (a) "),
        (b"INSERT INTO t (a) SETTINGS b = 1 FORMAT CSV\n1", "INSERT INTO t (a) "),
        (b"INSERT INTO settings FORMAT CSV\n1", "INSERT INTO settings "),
        (b"INSERT INTO d.settings (settings) SETTINGS b = 1 FORMAT CSV\n1", "INSERT INTO d.settings (settings) "),
    ):
        statement: Any = parse_statement(body)
        assert statement.insert_text[: statement.settings_start] == before


def test_values_and_queries_are_left_to_the_engine() -> None:
    for body in (
        b"INSERT INTO t VALUES (1, 'a; FORMAT CSV'); (2)",
        b"INSERT INTO t SELECT 1 FORMAT CSV",
        b"INSERT INTO t WITH 1 AS x SELECT x",
    ):
        assert parse_statement(body) == Statement("INSERT")


def test_the_reply_format_is_the_clauses_and_no_columns() -> None:
    for body, reply_format in (
        (b"SELECT 1", None),
        (b"SELECT 1 FORMAT JSON", "JSON"),
        (b"SELECT 1 FORMAT JSON SETTINGS max_threads = 1;", "JSON"),
        (b"SELECT 1 SETTINGS max_threads = 1 FORMAT JSON", "JSON"),
        (b"SELECT format FROM system.formats", None),
        (b"SELECT format, a FROM t FORMAT CSV", "CSV"),
        (b"SELECT ' FORMAT CSV'", None),
        (b"SELECT 1 -- FORMAT CSV", None),
        (b"(SELECT 1 FORMAT CSV)", None),
    ):
        assert parse_statement(body).reply_format == reply_format


def test_a_second_statement_is_detected_but_not_a_quoted_one() -> None:
    for body, has_another in (
        (b"SELECT 1; ; -- done", False),
        (b"SELECT 1; SELECT 2", True),
        (b"SELECT ';' ; DROP TABLE t", True),
        (b"SELECT ';', \";\", `;`, $$;$$, $a$;$a$ /* ; x */ -- ; y", False),
        (rb"SELECT '\'; DROP TABLE t; --'", False),
        (b"SELECT 'it''s; x'", False),
    ):
        assert parse_statement(body).has_another is has_another


def test_the_first_word_determines_the_kind() -> None:
    for body, verb, writes, has_result in (
        (b" -- nothing\n", "", False, False),
        (b"with 1 as x select x", "WITH", False, True),
        (b"SHOW TABLES", "SHOW", False, True),
        (b"create table t (a Int8) engine = Memory", "CREATE", True, False),
        (b"SET a = 1", "SET", False, False),
        (b"SELECT 'never closed", "SELECT", False, True),
        (b"SELECT '\xff\xfe'", "SELECT", False, True),
    ):
        statement = parse_statement(body)
        assert (statement.verb, statement.writes, statement.has_result) == (verb, writes, has_result)


RANGE = {"from": "now-1h", "to": "now", "variables": {}}
PATHS = ("/api/incidents", "/api/pages/p/variables", "/api/pages/p/annotations", "/api/pages/p/panels/1")


@pytest.fixture(scope="module")
def server() -> Iterator[PreviewServer]:
    """A server without a ClickHouse: a request that it accepts is answered with 503, except for incidents."""
    panel = {"id": 1, "type": "text", "targets": []}
    page = {"uid": "p", "title": "P", "panels": [panel], "templating": {"list": []}}
    with PreviewServer([page], Address("127.0.0.1", 1), incidents=lambda *_: []) as server:
        yield server


def ask(server: PreviewServer, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Any:
    answer = request(method, server.url.rstrip("/") + path, body, headers)
    return answer.status, answer.data


def post(server: PreviewServer, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
    sent = {"Content-Type": "application/json", **(headers or {})}
    status, answer = ask(server, "POST", path, body, sent)
    return status, json.loads(answer)


def test_a_request_of_the_page_is_answered(server: PreviewServer) -> None:
    own = {"Origin": server.url.rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    for path in PATHS:
        for headers in ({}, own, {"Content-Type": "application/json; charset=utf-8"}):
            status, answer = post(server, path, json.dumps(RANGE).encode(), headers)
            assert status == (200 if path == "/api/incidents" else 503), answer


def test_a_body_of_another_shape_is_explained(server: PreviewServer) -> None:
    for body in (
        b"",
        b"{",
        b"[]",
        b"[" * 60_000,
        b'{"from": "now-1h"}',
        b'{"from": null, "to": "now", "variables": {}}',
        b'{"from": 1.5, "to": NaN, "variables": {}}',
        b'{"from": 1' + b"0" * 5000 + b', "to": "now"}',
        b'{"from": "now-1h", "to": "now", "variables": {"a": 1}}',
        b'{"from": "now-1h", "to": "now", "variables": {"a": {"b": "c"}}}',
    ):
        for path in PATHS:
            status, answer = post(server, path, body)
            assert status == 400, (path, body[:60])
            assert answer["error"].endswith((".", "14:00"))


def test_a_body_has_a_limit_and_is_json(server: PreviewServer) -> None:
    for path in PATHS:
        padded = json.dumps({**RANGE, "x": "y" * 65_536}).encode()
        assert post(server, path, padded)[0] == 413
        assert post(server, path, json.dumps({**RANGE, "x": "y" * 60_000}).encode())[0] in (200, 503)
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
            assert post(server, path, json.dumps(RANGE).encode(), {"Content-Type": kind})[0] == 415


def test_pages_of_other_sites_get_no_data(server: PreviewServer) -> None:
    for headers in (
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:3000"},
        {"Origin": "https://127.0.0.1"},
        {"Origin": "http://site.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "none"},
    ):
        for path in PATHS:
            assert post(server, path, json.dumps(RANGE).encode(), headers)[0] == 403, headers
        assert ask(server, "GET", "/api/pages", None, headers)[0] == 403, headers
        assert ask(server, "GET", "/api/pages/p", None, headers)[0] == 403, headers


def test_another_host_name_is_rejected(server: PreviewServer) -> None:
    assert ask(server, "GET", "/api/pages", None, {"Host": "rebound.example"})[0] == 400


HOUR_MS = 3_600_000
BETWEEN = TimeRange(0, 24 * HOUR_MS)
PAGE: dict[str, Any] = {
    "uid": "p",
    "title": "Page",
    "templating": {
        "list": [
            {"name": "datasource", "type": "datasource"},
            {"name": "model", "type": "query", "query": {"rawSql": "MODELS"}},
            {
                "name": "field", "type": "query", "multi": True, "includeAll": True, "current": {"value": [ALL]},
                "query": {"rawSql": "FIELDS ${model:singlequote}"},
            },
            {"name": "window", "type": "custom", "options": [{"text": f"of {s}", "value": s} for s in ("1d", "7d")]},
        ]
    },
    "annotations": {
        "list": [
            {"name": "built in", "builtIn": 1},
            {"name": "deployments", "iconColor": "blue", "target": {"rawSql": "NOTES"}},
            {"name": "off", "enable": False, "target": {"rawSql": "NEVER"}},
        ]
    },
    "panels": [{"id": 2, "type": "row", "collapsed": True, "panels": [{"id": 3}]}],
}  # fmt: skip


class Desk:
    def __init__(self, **answers: list[list[Any]]) -> None:
        self.answers, self.queries = answers, list[str]()

    def __call__(self, sql: str) -> QueryResult:
        self.queries.append(sql)
        columns = self.answers.get(sql.split()[0], [])
        names = ("time", "text") if len(columns) == 2 else ("x",) * len(columns)
        return QueryResult(names, ("String",) * len(columns), columns)


def test_each_variable_has_a_value_that_later_queries_use() -> None:
    desk = Desk(MODELS=[["it's", "b"]], FIELDS=[["x", "y"]])
    _, values = resolve(PAGE, BETWEEN, {}, desk)
    assert dict(values) == {"datasource": "clickhouse", "model": "it's", "field": (ALL,), "window": "1d"}
    assert desk.queries == ["MODELS", r"FIELDS 'it\'s'"]


def test_what_was_given_is_taken_where_it_is_an_option() -> None:
    requested: Any = {"model": "b", "field": ("y", ALL), "window": "1h"}
    _, values = resolve(PAGE, BETWEEN, requested, Desk(MODELS=[["a", "b"]], FIELDS=[["x", "y"]]))
    assert (values["model"], values["field"], values["window"]) == ("b", ("y",), "1d")
    assert resolve(PAGE, BETWEEN, {"model": "b"}, Desk())[1]["model"] == "", "there are no models"
    shown, _ = resolve(PAGE, BETWEEN, {}, Desk(MODELS=[["Model A"], ["a"]]))
    assert shown[1]["options"] == [{"text": "Model A", "value": "a"}]


def test_a_step_is_the_one_that_grafana_chooses() -> None:
    for hours, least, expected_s in ((1, None, 5), (24, None, 120), (24, "1h", 3600), (24 * 180, "1m", 21_600)):
        desk = Desk()
        panel = {"targets": [{"rawSql": "A $__interval_s"}, {"rawSql": "B", "hide": True}]}
        panel_answers(panel | ({"interval": least} if least else {}), TimeRange(0, hours * HOUR_MS), {}, desk)
        assert desk.queries == [f"A {expected_s}"]


def test_panels_in_closed_rows_are_found_and_others_are_named() -> None:
    assert panel_of(PAGE, 3) == {"id": 3}
    with pytest.raises(PageError, match="The dashboard Page has no panel 9"):
        panel_of(PAGE, 9)


def test_annotations_have_a_kind_and_a_colour() -> None:
    at = datetime(2026, 11, 3, tzinfo=UTC)
    matches = annotations_of(PAGE, BETWEEN, {}, Desk(NOTES=[[at], ["version 4"]]))
    assert matches == [{"name": "deployments", "color": "blue", "time": at, "text": "version 4"}]


def test_types() -> None:
    for kind, names in (
        ("time", ("DateTime('UTC')", "Nullable(DateTime64(3, 'UTC'))", "Date")),
        ("string", ("LowCardinality(Nullable(String))", "Array(UInt64)")),
        ("boolean", ("Bool",)),
        ("number", ("Nullable(Float64)", "UInt8", "Decimal(9, 2)")),
    ):
        assert {kind_of(name) for name in names} == {kind}


def test_values_are_those_of_json() -> None:
    at = datetime(2026, 11, 3, 14, tzinfo=UTC)
    answer = QueryResult(
        ("at", "day", "x", "d", "name", "many"),
        ("DateTime('UTC')", "Date", "Nullable(Float64)", "Decimal(9, 2)", "String", "Array(UInt8)"),
        [
            [at, at.replace(tzinfo=None), None],
            [date(2026, 11, 3)] * 3,
            [float("nan"), float("-inf"), 1.5],
            [Decimal("1.25")] * 3,
            ["</script>", "", None],
            [[1, 2], [], [3]],
        ],
    )
    matches = json.loads(json.dumps(frame_of(answer), allow_nan=False))["columns"]
    at_ms, day_ms = 1_793_714_400_000, 1_793_664_000_000
    assert [column["values"] for column in matches] == [
        [at_ms, at_ms, None],
        [day_ms] * 3,
        ["NaN", "-Infinity", 1.5],
        [1.25] * 3,
        ["</script>", "", None],
        ["[1, 2]", "[]", "[3]"],
    ]


NOW = datetime(2026, 11, 25, 10, 30, tzinfo=UTC)
NOW_MS = round(NOW.timestamp() * 1000)


def test_one_end() -> None:
    for text, expected in (
        ("now", NOW),
        ("now-90m", datetime(2026, 11, 25, 9, 0, tzinfo=UTC)),
        ("now-7d", datetime(2026, 11, 18, 10, 30, tzinfo=UTC)),
        ("now-1d/d", datetime(2026, 11, 24, tzinfo=UTC)),
        ("2026-11-03 14:00", datetime(2026, 11, 3, 14, tzinfo=UTC)),
        ("2026-11-03T14:00:00+02:00", datetime(2026, 11, 3, 12, tzinfo=UTC)),
        (str(NOW_MS), NOW),
    ):
        assert moment_ms(text, NOW_MS, is_end=False) == round(expected.timestamp() * 1000), text
    start, end = read_range("now/d", "now/d", NOW_MS)
    assert end - start == 86_400_000, "a rounded end is the end of its day"
    assert start <= NOW_MS < end


def test_what_is_no_range_of_times_is_named() -> None:
    for end in (10**30, 4_300_000_000_000):
        with pytest.raises(RangeError, match="is not within the years 1970 to 2105"):
            read_range(0, end, NOW_MS)
    for text in ("", "yesterday", "now-", "now-3y", "now+1h", "2026-13-01"):
        with pytest.raises(RangeError, match="is not a time: write now, now-6h"):
            moment_ms(text, NOW_MS, is_end=False)
    with pytest.raises(RangeError, match="from now to now-1h is empty"):
        read_range("now", "now-1h", NOW_MS)


def test_the_root_is_the_environments_or_in_the_current_folder() -> None:
    assert default_root({"BAROGRAPH_HOME": "/data/barograph"}) == Path("/data/barograph")
    assert default_root({}) == default_root({"BAROGRAPH_HOME": ""}) == Path.cwd() / ".barograph"


def test_a_stack_that_was_not_started_has_no_address() -> None:
    with pytest.raises(LocalStackError, match="The local Kafka has no address yet; start it first"):
        _ = LocalStack(Path("/nowhere")).addresses


HASH = "0f" * 32


def test_the_checked_in_list_holds_one_kafka_of_one_version() -> None:
    jars = parse_jar_list(JAR_LIST.read_text(encoding="utf-8"))
    kafka = {jar.artifact: jar.version for jar in jars if jar.group == "org.apache.kafka"}
    assert {"kafka_2.13", "kafka-tools", "kafka-clients", "kafka-server"} <= kafka.keys()
    assert set(kafka.values()) == {KAFKA_VERSION}
    assert "log4j-slf4j-impl" in {jar.artifact for jar in jars}, "the broker would log nothing"
    assert len({jar.filename for jar in jars}) == len(jars) == 92


def test_an_invalid_line_is_rejected_with_its_number() -> None:
    assert parse_jar_list(f"# a note\n\ng.h:a:1.0 {HASH}\n") == (Jar("g.h", "a", "1.0", HASH),)
    for line in ("g:a:1.0", f"g:a {HASH}", "g:a:1.0 0f0f", f"g:a:1.0 {HASH} more"):
        with pytest.raises(LocalStackError, match=r"kafka-jars\.txt, line 2: expected"):
            parse_jar_list(f"# a note\n{line}\n")
    with pytest.raises(LocalStackError, match="line 2: g:a is there twice"):
        parse_jar_list(f"g:a:1.0 {HASH}\ng:a:1.1 {HASH}\n")


def test_the_environment_sets_the_cache_folder() -> None:
    assert cache_dir({"BAROGRAPH_CACHE": "/a/b", "XDG_CACHE_HOME": "/c"}) == Path("/a/b")
    assert cache_dir({"XDG_CACHE_HOME": "/c"}) == Path("/c/barograph")
    assert cache_dir({}) == Path.home() / ".cache" / "barograph"
