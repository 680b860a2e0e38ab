import pytest

from barograph_server.local.statement import Statement, parse_statement


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
