"""Read-only requests of the local ClickHouse: what they may run, and that nothing else has an effect."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.local.read_only import LIMITS
from barograph_server.warehouse.client import Address, connect
from tests.support.http import request
from tests.support.scripted_http import ScriptedServer, reply
from tests.support.warehouse import credentials

READONLY = "164"


class World:
    """A database with one row, a file with a secret, a web server, and a path that does not exist."""

    def __init__(self, engine: LocalClickHouse, database: str, folder: Path, visits: ScriptedServer) -> None:
        self.engine, self.database, self.visits = engine, database, visits
        self.secret = folder / "secret.csv"
        self.secret.write_text("swordfish,1\n")
        self.out = folder / "out"
        self.write(f"CREATE TABLE {database}.t (a Int64) ENGINE = ReplacingMergeTree ORDER BY a")
        self.write(f"INSERT INTO {database}.t VALUES (1)")

    def write(self, sql: str) -> None:
        status, _, answer = self.ask(self.engine.address(), "POST", sql)
        assert status == 200, answer

    def ask(self, user: Address, method: str, sql: str, **arguments: str) -> tuple[int, str, str]:
        """Send a statement; return status, ClickHouse's error code and answer."""
        sql = sql.format(t=f"{self.database}.t", file=self.secret, out=self.out, port=self.visits.port)
        body = sql.encode() if method == "POST" else None
        query = arguments if method == "POST" else {**arguments, "query": sql}
        url = f"http://{user.host}:{user.port}/?{urlencode(query)}"
        answer = request(method, url, body, credentials(user), timeout_s=60)
        return answer.status, answer.headers.get("X-ClickHouse-Exception-Code", ""), answer.data.decode()

    def untouched(self) -> bool:
        count = self.ask(self.engine.address(), "POST", "SELECT groupArray(a) FROM {t}")[2]
        return (count, self.out.exists(), self.visits.requests) == ("[1]\n", False, [])


@pytest.fixture(scope="module")
def visits() -> Iterator[ScriptedServer]:
    with ScriptedServer(reply(b"visited")) as server:
        yield server


@pytest.fixture(scope="module")
def shared(
    engine: LocalClickHouse, visits: ScriptedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    database = f"t{uuid.uuid4().hex[:10]}"
    with connect(engine.address(database), create=True) as client:
        yield World(engine, database, tmp_path_factory.mktemp("files"), visits)
        client.command(f"DROP DATABASE {database}")


@pytest.fixture
def world(shared: World, visits: ScriptedServer) -> World:
    visits.requests.clear()
    shared.out.unlink(missing_ok=True)
    return shared


ATTACKS = [
    "SELECT 7 INTO OUTFILE '{out}'",
    "SELECT 7 INTO OUTFILE '{out}' APPEND FORMAT CSV",
    "SELECT 7 INTO OUTFILE '{out}' AND STDOUT",
    "/* SELECT */ SELECT 7 -- INTO\nINTO\n/**/OUTFILE '{out}'",
    "SHOW TABLES INTO OUTFILE '{out}'",
    "DESCRIBE {t} INTO OUTFILE '{out}'",
    "EXISTS {t} INTO OUTFILE '{out}'",
    "EXPLAIN SELECT 1 INTO OUTFILE '{out}'",
    "EXPLAIN AST SELECT 1 INTO OUTFILE '{out}'",
    "WITH 7 AS y INSERT INTO {t} SELECT y",
    "(SELECT 1) PARALLEL WITH DROP TABLE {t}",
    "SELECT 1 PARALLEL WITH DROP TABLE {t}",
    "DROP TABLE {t} PARALLEL WITH DROP TABLE {t}",
    "EXPLAIN AST SELECT 1 PARALLEL WITH DROP TABLE {t}",
    "EXPLAIN INSERT INTO {t} SELECT 7",
    "EXPLAIN SYNTAX DROP TABLE {t}",
    "INSERT INTO {t} VALUES (7)",
    "FROM {t} INSERT INTO {t} SELECT 7",
    "TRUNCATE TABLE {t}",
    "CREATE TEMPORARY TABLE x (a Int8)",
    "CREATE FUNCTION leak AS x -> file(x)",
    "KILL QUERY WHERE 1",
    "SYSTEM STOP MERGES",
    "SET readonly = 0",
    "USE system",
    "CHECK TABLE {t}",
    "EXECUTE AS default DROP TABLE {t}",
    "BACKUP TABLE {t} TO File('x')",
    "SELECT * FROM file('{file}')",
    "SELECT * FROM FILE('{file}', CSV, 'a String, b Int8')",
    "SELECT * FROM `file`('{file}')",
    "DESCRIBE file('{file}')",
    "DESCRIBE (SELECT * FROM file('{file}'))",
    "SELECT file('{file}')",
    "SELECT `file`('{file}')",
    "SELECT * APPLY(file) FROM (SELECT '{file}')",
    "SELECT * APPLY(x -> file(x)) FROM (SELECT '{file}')",
    "SELECT * REPLACE(file('{file}') AS a) FROM {t}",
    "SELECT arrayMap(x -> file(x), ['{file}'])",
    "SELECT 1 ORDER BY file('{file}')",
    "SELECT count() OVER (PARTITION BY file('{file}')) FROM {t}",
    "SELECT throwIf(1, file('{file}'))",
    "SHOW TABLES WHERE name = file('{file}')",
    "SHOW COLUMNS FROM t WHERE field = file('{file}')",
    "WITH x AS (SELECT * FROM file('{file}')) SELECT * FROM x",
    "SELECT a IN (SELECT b FROM file('{file}')) FROM {t}",
    "SELECT * FROM view(SELECT * FROM file('{file}'))",
    "SELECT * FROM (EXPLAIN SELECT * FROM file('{file}'))",
    "SELECT 1 UNION ALL SELECT length(file('{file}'))",
    "SELECT 1 EXCEPT SELECT length(file('{file}'))",
    "SELECT * FROM `{file}`",
    "SELECT * FROM '{file}'",
    "SELECT * FROM default.`{file}`",
    "SELECT ('swordfish', 1) IN `{file}`",
    "SELECT ('swordfish', 1) IN default.`{file}`",
    "DESCRIBE `{file}`",
    "EXISTS `{file}`",
    "SHOW CREATE TABLE `{file}`",
    "SHOW COLUMNS FROM `{file}`",
    "SELECT * FROM `../../../../../../../../../..{file}`",
    "SELECT hasColumnInTable('default', '{file}', 'c1')",
    "SELECT joinGet('default.`{file}`', 'c1', 1)",
    "SELECT * FROM url('http://127.0.0.1:{port}/', LineAsString)",
    "SELECT * FROM `http://127.0.0.1:{port}/x.csv`",
    "SELECT * FROM remote('127.0.0.1:{port}', {t})",
    "SELECT * FROM s3('http://127.0.0.1:{port}/b/x', CSV)",
    "SELECT * FROM mysql('127.0.0.1:{port}', 'a', 'b', 'c', 'd')",
    "SELECT * FROM cluster('default', {t})",
    "SELECT * FROM executable('x', TSV, 'a String')",
    "SELECT * FROM sqlite('{file}', 't')",
    "SELECT * FROM input('a Int8')",
    "SELECT * FROM dictionary('d')",
    "SELECT * FROM filesystem('{file}')",
    "SELECT * FROM eval('SELECT 1')",
    "SELECT * FROM loop({t}) LIMIT 1",
    "SELECT * FROM Python(sys)",
    "SELECT * FROM fuzzQuery('SELECT 1')",
    "SELECT 1 IN remote('127.0.0.1:{port}', {t})",
    "SELECT 1 FORMAT Template SETTINGS format_template_row = '{file}'",
    "SELECT a FROM {t} SETTINGS additional_table_filters = {{'{t}': 'file(\\'{file}\\') = 1'}}",
    "SELECT * FROM (SELECT 1 SETTINGS dialect = 'prql')",
    "SELECT 1 FORMAT Template",
    "SELECT 1 FORMAT CapnProto",
]


@pytest.mark.parametrize("way", ["reader", "GET", "readonly"])
def test_a_read_only_request_has_no_effect_and_reads_no_file(world: World, way: str) -> None:
    reader, full = world.engine.reader_address(), world.engine.address()
    for sql in ATTACKS:
        match way:
            case "reader":
                status, code, answer = world.ask(reader, "POST", sql)
            case "GET":
                status, code, answer = world.ask(full, "GET", sql)
            case _:
                status, code, answer = world.ask(full, "POST", sql, readonly="2")
        assert (status, code) in {(403, READONLY), (400, "62")}, (sql, answer)
        assert "swordfish" not in answer, sql
        assert "visited" not in answer, sql
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
        status, code, answer = world.ask(world.engine.reader_address(), "POST", sql, **arguments)
        assert (status, code) == (403, READONLY), (arguments, answer)


def test_several_statements_run_none(world: World) -> None:
    for sql in ("SELECT 1; DROP TABLE {t}", "SELECT ';'; DROP TABLE {t};", "SELECT 1 /*;*/ ; DROP TABLE {t}"):
        assert world.ask(world.engine.reader_address(), "POST", sql)[:2] == (400, "62")
        assert world.untouched()
    assert world.ask(world.engine.reader_address(), "POST", "SELECT 1;")[2] == "1\n"


READS = [
    ("SELECT 'INTO OUTFILE, file(x), SETTINGS'", "INTO OUTFILE, file(x), SETTINGS\n"),
    ("WITH 2 AS y SELECT a + y FROM {t} WHERE a IN (SELECT number FROM numbers(5))", "3\n"),
    ("FROM {t} SELECT a", "1\n"),
    ("(SELECT 1) UNION ALL (SELECT 1)", "1\n1\n"),
    ("SELECT a / 2 AS `rate/s` FROM {t} ORDER BY `rate/s` FORMAT CSV", "0.5\n"),
    ("SELECT sum(a) OVER (ORDER BY a ROWS UNBOUNDED PRECEDING) FROM {t} FINAL LIMIT 1 BY a", "1\n"),
    ("SELECT x.a FROM {t} AS x ANY LEFT JOIN {t} AS y USING a ARRAY JOIN [1] AS z", "1\n"),
    ("SELECT number FROM numbers(1, 3) ORDER BY number WITH FILL FROM 0 TO 2 LIMIT 2", "0\n1\n"),
    (
        "SELECT arrayMap(x -> x + 1, [1]), CASE WHEN 1 THEN 2 END, 1 BETWEEN 0 AND 2, CAST(1 AS String)",
        "[2]\t2\t1\t1\n",
    ),
    ("SELECT format('{{}}/', 1)", "1/\n"),
    ("SHOW TABLES FROM system LIKE 'one'", "one\n"),
    ("DESCRIBE TABLE {t} FORMAT TSV", "a\tInt64\t\t\t\t\t\n"),
    ("EXPLAIN indexes = 1 SELECT 1", "Output: 1\n\nReadFromSystemOne\n"),
    ("SHOW CREATE TABLE {t} FORMAT Null", ""),
    ("-- why\nSELECT 1 # because", "1\n"),
]


def test_reads_are_answered(world: World) -> None:
    for user, method in ((world.engine.reader_address(), "POST"), (world.engine.address(), "GET")):
        for sql, answer in READS:
            assert world.ask(user, method, sql) == (200, "", answer), sql


def test_reads_have_parameters_settings_and_a_database(world: World) -> None:
    reader = world.engine.reader_address()
    sql = "SELECT a + {{n:UInt8}}, {{s:String}} FROM {{name:Identifier}}"
    arguments = {"database": world.database, "param_n": "2", "param_s": "it's x", "param_name": "t"}
    arguments |= {"max_execution_time": "30", "readonly": "1", "session_id": "s"}
    assert world.ask(reader, "POST", sql, default_format="JSONCompactEachRow", **arguments)[2] == '[3, "it\'s x"]\n'
    status, _, answer = world.ask(reader, "POST", "SELECT x", default_format="JSON")
    assert status == 404, answer
    summary = json.loads(world.ask(reader, "POST", "SELECT 1 AS one", default_format="JSON")[2])
    assert summary["data"] == [{"one": 1}]


def test_readers_have_limits_that_they_cannot_lift(world: World) -> None:
    reader = world.engine.reader_address()
    assert world.ask(reader, "POST", "SELECT length(groupArray(number)) FROM numbers(400000000)")[1] == "241"
    for name, most in LIMITS.items():
        for value, code in ((f"{most}", ""), ("0", "164"), (f"{most + 1}", "164"), ("1e99", "164")):
            assert world.ask(reader, "POST", "SELECT 1", **{name: value})[1] == code, (name, value)


def test_the_full_user_still_uses_files(world: World) -> None:
    full = world.engine.address()
    assert world.ask(full, "POST", "SELECT c1 FROM file('{file}', CSV)")[2] == "swordfish\n"
    assert world.ask(full, "POST", "SELECT 7 INTO OUTFILE '{out}'")[0] == 200
    assert world.out.read_text() == "7\n"
