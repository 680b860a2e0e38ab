import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pytest
from barograph.contract import Arms, Contract, Rollback
from clickhouse_connect.driver import exceptions

from barograph_server.alerts import rules_for, rules_of, to_files
from barograph_server.dashboards.pages import dashboards
from barograph_server.streams.registry.registry import Registry
from barograph_server.streams.scorer.rules import make_rules
from barograph_server.warehouse import migrate
from barograph_server.warehouse.client import Address, Client, WarehouseError, identifier
from barograph_server.warehouse.errors import BUSY_CODES, WarehouseBusy, translate
from barograph_server.warehouse.evaluation import anchor_runs
from barograph_server.warehouse.evaluation.anchor_runs import BANK, RUN, AnchorRun, DriftOutcome, judge_drift
from barograph_server.warehouse.roles import MODELS, ROLES, Limit, Role, statements
from barograph_server.warehouse.schema import Relations, declare
from barograph_server.warehouse.scoring.arms import count_arms
from barograph_server.warehouse.tables import SCHEMAS, dictionary_column, ragged, table_of
from tests.support.alerting import contracts, installation
from tests.support.dashboard_lint import queries_in
from tests.support.grafana_provisioning import ROOT


def topics(**changes: Any) -> dict[str, Any]:
    columns = {"name": ["partials", "labels"], "topic_id": ["a", "b"], "partitions": [8, 4], "recorded_at": [0, 1]}
    return {**columns, **changes}


def test_times_in_any_form() -> None:
    for times in (
        [1_700_000_000_123, 0],
        np.array([1_700_000_000_123, 0], dtype="datetime64[ms]"),
        np.array([1_700_000_000_123_000_000, 0], dtype="datetime64[ns]"),
        [datetime(2023, 11, 14, 22, 13, 20, 123_000, UTC), datetime(1970, 1, 1, tzinfo=UTC)],
        pa.array([1_700_000_000_123, 0], pa.timestamp("ms", tz="UTC")),
    ):
        column = table_of("topics", topics(recorded_at=times))["recorded_at"]
        assert column.type == pa.timestamp("ms", tz="UTC"), times
        assert column.cast(pa.int64()).to_pylist() == [1_700_000_000_123, 0], times


def test_dictionary_encoded_text_and_map_keys_are_not_decoded() -> None:
    names = pa.array(["partials", "partials"]).dictionary_encode()
    assert table_of("topics", topics(name=names))["name"].type == names.type
    keys = pa.array(["m", "n"]).dictionary_encode()
    watermarks = pa.MapArray.from_arrays(pa.array([0, 2], pa.int32()), keys, pa.array([5, 6]))
    column = with_watermarks(watermarks)
    assert column.type == watermarks.type
    assert column.to_pylist() == [[("m", 5), ("n", 6)]]
    wide = pa.MapArray.from_arrays(pa.array([0, 2], pa.int32()), keys, pa.array([5.0, 6.0]))
    assert with_watermarks(wide).type == SCHEMAS["offset_ledger"].field("watermarks").type
    for plain in ({"m": 5}, [("m", 5)]):
        assert with_watermarks([plain]).to_pylist() == [[("m", 5)]]


def test_a_dictionary_column_has_each_text_once() -> None:
    """ClickHouse rejects a dictionary with duplicate texts."""
    column = dictionary_column(np.array([0, 1, 2, 3, 1]), pa.array(["a", "b", "a", ""]))
    assert column.to_pylist() == ["a", "b", "a", "", "b"]
    assert column.dictionary.to_pylist() == ["a", "b", ""]
    names = pa.array(["b", "a"])
    column = dictionary_column(np.array([1, 0, 1]), names)
    assert column.to_pylist() == ["a", "b", "a"]
    assert column.dictionary.equals(names)


def with_watermarks(watermarks: Any) -> pa.ChunkedArray:
    row: dict[str, Any] = {name: [0] for name in SCHEMAS["offset_ledger"].names}
    row |= {"source_topic_id": ["s"], "partials_topic_id": ["p"], "watermarks": watermarks}
    return table_of("offset_ledger", row)["watermarks"]


def test_ragged_columns_share_the_values_buffer() -> None:
    values = np.arange(5)
    column = ragged(values, np.array([0, 2, 2, 5]))
    assert column.to_pylist() == [[0, 1], [], [2, 3, 4]]
    assert column.values.buffers()[1].address == values.ctypes.data


def test_values_that_do_not_fit_and_missing_columns_are_rejected() -> None:
    rejected: list[tuple[dict[str, Any], str]] = [
        ({"partitions": [8, 70_000]}, "partitions of topics does not fit uint16"),
        ({"partitions": [8, -1]}, "partitions of topics does not fit uint16"),
        ({"partitions": pa.array([8, 70_000])}, "partitions of topics does not fit uint16"),
        ({"name": ["partials", "\ud800"]}, "name of topics does not fit string"),
        ({"name": ["partials"]}, "differ in length"),
        ({"extra": [1, 2]}, r"unknown \['extra'\]"),
    ]
    for columns, message in rejected:
        with pytest.raises(WarehouseError, match=message):
            table_of("topics", topics(**columns))
    with pytest.raises(WarehouseError, match=r"missing \['topic_id'\]"):
        table_of("topics", {name: values for name, values in topics().items() if name != "topic_id"})


def test_statements_end_with_a_semicolon_at_the_end_of_a_line() -> None:
    text = "-- What it does; and why.\n\nSELECT 1\n  , ';'\n;\n-- more\nSELECT 2;  \n"
    migration = migrate.parse("0007_two_things.sql", text)
    assert (migration.number, migration.name, str(migration)) == (7, "two_things", "0007_two_things")
    assert migration.statements == ("SELECT 1\n  , ';'", "SELECT 2")


def test_invalid_names_statements_and_numbers_are_rejected() -> None:
    for name in ("1_x.sql", "0001_X.sql", "0001.sql", "0001_x.sql.bak"):
        with pytest.raises(ValueError, match="NNNN_words"):
            migrate.parse(name, "SELECT 1;")
    for text in ("", "-- only a comment\n", "SELECT 1", "SELECT 1;\nSELECT 2\n"):
        with pytest.raises(ValueError, match="end each statement"):
            migrate.parse("0001_x.sql", text)
    for numbers in ((1, 3), (1, 1, 2), (2,)):
        with pytest.raises(ValueError, match="without gap or repeat"):
            migrate.in_order(migrate.parse(f"{number:04d}_x.sql", "SELECT 1;") for number in numbers)
    one, other = (migrate.parse("0001_x.sql", text) for text in ("SELECT 1;", "SELECT 1 ;"))
    assert one.checksum != other.checksum, "any change of the text"


def test_every_statement_of_the_schema_is_repeatable() -> None:
    repeatable = ("CREATE TABLE IF NOT EXISTS ", "CREATE OR REPLACE VIEW ", "ALTER TABLE ")
    statements = [statement for migration in migrate.load() for statement in migration.statements]
    assert [s for s in statements if not s.startswith(repeatable)] == []
    # Projections and settings may be set again.
    statements = [s for s in statements if " MATERIALIZE PROJECTION " not in s and " MODIFY SETTING " not in s]
    alters = [s for s in statements if s.startswith("ALTER TABLE ")]
    # Comments and indexes may be set again.
    harmless = ("IF NOT EXISTS", "IF EXISTS", " COMMENT COLUMN ", " MODIFY COMMENT ", " MATERIALIZE INDEX ")
    assert [s for s in alters if not any(words in s for words in harmless)] == []


TABLE = """CREATE TABLE IF NOT EXISTS readings
(
    model LowCardinality(String) COMMENT 'The model''s name',
    n UInt64 COMMENT 'Values, in all' CODEC(T64, ZSTD(1)),
    extra Map(String, UInt64) DEFAULT map() COMMENT 'More',
    INDEX by_model model TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = Memory"""


def declared(*statements: str) -> Relations:
    relations: Relations = {}
    for statement in (TABLE, *statements):
        declare(statement, relations)
    return relations


def test_a_view_takes_types_comments_and_expressions_from_what_it_reads() -> None:
    relations = declared()
    first = declare(
        "CREATE OR REPLACE VIEW first\n(\n    model, n ALIAS sum(r.n),\n    share Float64 ALIAS n / (1, 2).1 COMMENT "
        "'n, halved'\n)\nFROM readings AS r\nGROUP BY model\nCOMMENT 'One row each.'",
        relations,
    )
    columns = "    model LowCardinality(String) COMMENT 'The model''s name',\n    n UInt64 COMMENT 'Values, in all',\n"
    assert first == (
        f"CREATE OR REPLACE VIEW first\n(\n{columns}    share Float64 COMMENT 'n, halved'\n)\nAS\nSELECT\n    model,\n"
        "    sum(r.n) AS n,\n    n / (1, 2).1 AS share\nFROM readings AS r\nGROUP BY model\nCOMMENT 'One row each.'"
    )
    other = "CREATE OR REPLACE VIEW other\n(\n    LIKE first\n)\nFROM readings AS r\nLIMIT 1\nCOMMENT ''"
    assert "sum(r.n) AS n,\n    n / (1, 2).1 AS share\nFROM readings" in declare(other, relations)
    own = "CREATE OR REPLACE VIEW own\n(\n    n, model COMMENT 'Whose'\n)\nAS\nSELECT 1, 'm' FROM readings\nCOMMENT ''"
    assert (
        "n UInt64 COMMENT 'Values, in all',\n    model LowCardinality(String) COMMENT 'Whose'\n)\nAS\nSELECT 1"
        in declare(own, relations)
    )
    with pytest.raises(ValueError, match="view v: no table that it reads has a column gone"):
        declare("CREATE OR REPLACE VIEW v\n(\n    gone\n)\nFROM readings\nCOMMENT ''", relations)


def test_columns_that_later_migrations_add_have_their_place() -> None:
    add = "ALTER TABLE readings ADD COLUMN IF NOT EXISTS"
    relations = declared(
        f"{add} late UInt8 DEFAULT 0 COMMENT 'Last'",
        f"{add} middle Nullable(UInt64) COMMENT 'Second' AFTER model",
        f"{add} zero Float64 FIRST",
        f"{add} late UInt8 DEFAULT 0 COMMENT 'Again'",
        "ALTER TABLE readings COMMENT COLUMN n 'Others'",
        "ALTER TABLE readings MODIFY SETTING x = 1",
    )
    columns = relations["readings"]
    assert [column.name for column in columns] == ["zero", "model", "middle", "n", "extra", "late"]
    assert [column.comment for column in columns] == ["", "The model''s name", "Second", "Others", "More", "Last"]
    for change in ("DROP COLUMN n", "MODIFY COLUMN n UInt8", "RENAME COLUMN n TO m"):
        with pytest.raises(ValueError, match="migrations only add columns"):
            declared(f"ALTER TABLE readings {change}")
    view = "CREATE OR REPLACE VIEW latest\n(\n    LIKE readings\n)\nFROM readings FINAL\nCOMMENT ''"
    assert "    late UInt8 COMMENT 'Last'\n)\nAS\nSELECT\n" in declare(view, relations)
    assert ",\n    late\nFROM readings FINAL\n" in declare(view, relations), "the value, not its default"


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("alter table readings add column x UInt8", "its columns cannot be read; write CREATE TABLE .*ADD COLUMN"),
        ("ALTER TABLE `readings` ADD COLUMN x UInt8", "its columns cannot be read"),
        ("ALTER TABLE here.readings ADD COLUMN x UInt8", "its columns cannot be read"),
        ("ALTER TABLE readings ADD INDEX i n, ADD COLUMN x UInt8", "its columns cannot be read"),
        ("ALTER TABLE readings MATERIALIZE COLUMN n", "its columns cannot be read"),
        ("ALTER TABLE readings ADD COLUMN x UInt8, ADD COLUMN y UInt8", "declares no column"),
        ("ALTER TABLE others ADD COLUMN x UInt8", "no earlier statement creates the table others"),
        ("ALTER TABLE readings ADD COLUMN x UInt8 AFTER y", "readings has no column y; write one of model, n, extra"),
        ("ALTER TABLE readings COMMENT COLUMN y 'No'", "readings has no column y"),
        ("CREATE TABLE copied AS readings", "its columns cannot be read"),
        ("CREATE OR REPLACE VIEW v AS SELECT 1", "its columns cannot be read"),
        ("ALTER TABLE readings MODIFY COMMENT 'Its COLUMN'", None),
    ],
)
def test_statements_whose_columns_cannot_be_read_are_errors_that_say_where(statement: str, message: str | None) -> None:
    migrations = [migrate.parse(*each) for each in (("0001_x.sql", f"{TABLE};\n"), ("0002_y.sql", f"{statement};\n"))]
    if message is None:
        migrate.relations_of(migrations)
        return
    with pytest.raises(ValueError, match=f"0002_y, statement 1, {re.escape(repr(statement))}: .*{message}"):
        migrate.relations_of(migrations)


def driver_error(code: int, text: str) -> exceptions.DatabaseError:
    return exceptions.DatabaseError(
        f"Received ClickHouse exception, code: {code}, server response: Code: {code}. DB::Exception: {text} "
        "(version 26.9.2.1 (official build)) (for url http://127.0.0.1:8123)",
        code=code,
    )


def test_temporary_codes_and_transport_failures_are_busy() -> None:
    for code, meaning in BUSY_CODES.items():
        error = translate(driver_error(code, "No."), "write 20 rows to panes", "127.0.0.1:8123")
        assert isinstance(error, WarehouseBusy)
        assert error.code == code
        assert str(error) == (
            f"ClickHouse at 127.0.0.1:8123 could not write 20 rows to panes now: {meaning} (code {code}: "
            "No.). Retry it unchanged; if the error persists, check the server's log."
        )
    for failure in (
        exceptions.OperationalError("Error Connection refused executing HTTP request attempt 1"),
        exceptions.StreamFailureError("cut off"),
        exceptions.DatabaseError("HTTP driver received HTTP status 502, server response: Bad Gateway"),
    ):
        error = translate(failure, "answer a query", "db:8123")
        assert isinstance(error, WarehouseBusy)
        assert error.code is None
        assert "could not be reached to answer a query" in str(error)


def test_an_unreachable_server_is_one_sentence_without_the_chain_of_the_driver() -> None:
    def chained(system: OSError) -> exceptions.OperationalError:
        try:
            try:
                raise system
            except OSError as cause:
                raise ValueError("HTTPConnectionPool(host='db', port=8123): Max retries exceeded") from cause
        except ValueError as pool:
            error = exceptions.OperationalError(f"Error {pool} executing HTTP request attempt 1")
            error.__cause__ = pool
            return error

    refused = ConnectionRefusedError(111, "Connection refused")
    for system, reason in ((refused, "Connection refused"), (TimeoutError("timed out"), "timed out")):
        assert str(translate(chained(system), "open a connection", "db:8123")) == (
            f"ClickHouse at db:8123 could not be reached to open a connection: {reason}. "
            "Check that the server runs and that host and port are right, then retry."
        )


def test_other_codes_are_errors_with_advice() -> None:
    apply = "barograph apply"
    for code, advice in ((60, apply), (81, apply), (16, apply), (516, "password"), (62, "")):
        error = translate(driver_error(code, "Something is wrong."), "run a statement", "db:8123")
        assert isinstance(error, WarehouseError)
        assert error.code == code
        refusal = f"ClickHouse at db:8123 refused to run a statement: Something is wrong (code {code})."
        assert str(error).startswith(refusal)
        assert advice in str(error), code
        assert "official build" not in str(error)
    error = translate(exceptions.ProgrammingError("no such setting"), "run a statement", "db:8123")
    assert isinstance(error, WarehouseError)
    assert error.code is None


def test_a_name_that_needs_quotes_is_rejected_and_an_address_hides_its_password() -> None:
    for name in ("", "1a", "a-b", "a.b", "a b", "ä", "a`; DROP DATABASE b"):
        with pytest.raises(WarehouseError, match="use ASCII letters, digits and underscores"):
            identifier(name)
    assert "secret" not in repr(Address(password="secret"))


def test_an_insert_sends_arrow_with_durable_settings() -> None:
    driver, rows = Mock(), pa.table({"name": ["partials"], "partitions": [8]})
    Client(driver, "db:8123").insert("topics", rows.slice(0, 0))
    assert driver.mock_calls == [], "an empty table"
    Client(driver, "db:8123").insert("topics", rows)
    driver.raw_insert.assert_called_once()
    (table, columns, body), options = driver.raw_insert.call_args
    assert (table, columns, options["fmt"]) == ("topics", ["name", "partitions"], "ArrowStream")
    assert pa.ipc.open_stream(body).read_all() == rows
    assert options["settings"] == {
        "async_insert": 0,
        "insert_quorum": "auto",
        "distributed_foreground_insert": 1,
        "insert_deduplicate": 0,
        "min_free_disk_bytes_to_perform_insert": 128 << 20,
        "max_partitions_per_insert_block": 0,
        "input_format_null_as_default": 0,
        "optimize_on_insert": 0,
    }


GRAFANA, ANALYST = (
    next(role for role in ROLES if role.name == name) for name in ("barograph_grafana", "barograph_analyst")
)
RULES = [
    query["model"]["rawSql"]
    for content in to_files(rules_for(contracts(), installation()), installation()).values()
    for group in content.get("groups", [])
    for rule in group["rules"]
    for query in rule["data"]
    if "rawSql" in query["model"]
]
CREATED = {
    match[1]: statement
    for migration in migrate.load()
    for statement in migration.statements
    if (match := re.match(r"CREATE (?:TABLE IF NOT EXISTS|OR REPLACE VIEW) (\w+)", statement))
}
LIFTED_BY_ZERO = {
    *("max_memory_usage", "max_execution_time", "max_rows_to_read", "max_bytes_to_read", "max_result_rows"),
    *("max_result_bytes", "max_concurrent_queries_for_user", "max_temporary_data_on_disk_size_for_query"),
    "max_temporary_data_on_disk_size_for_user",
}


def named(sql: str) -> set[str]:
    return set(re.findall(r"\b(?:FROM|JOIN)\s+(\w+)", sql)) & CREATED.keys()


def below(names: set[str]) -> set[str]:
    """Return what views read with the privileges of their caller: a view with a definer hides what it reads."""
    result: set[str] = set()
    queue = list(names)
    while queue:
        statement = CREATED[queue.pop()]
        if statement.startswith("CREATE OR REPLACE VIEW") and "SQL SECURITY DEFINER" not in statement:
            _, _, select = statement.partition("\nAS\n")
            queue += (fresh := named(select) - result - names)
            result |= fresh
    return result


def test_grafana_reads_exactly_what_dashboards_and_rules_need() -> None:
    queries = [query.sql for dashboard in dashboards().values() for query in queries_in(dashboard)]
    names = set[str]().union(*map(named, (*queries, *RULES)))
    assert {"drift", "label_times", "duplicates", "processors"} <= names
    assert set(GRAFANA.reads) == names | below(names)


@pytest.mark.parametrize(("role", "mode"), [(GRAFANA, 1), (ANALYST, 2)])
def test_a_reader_does_not_write_and_fails_beyond_limits_that_zero_does_not_lift(role: Role, mode: int) -> None:
    assert role.readonly == mode
    assert not role.writes
    assert not role.further
    bounded = {limit.setting for limit in role.limits if limit.most is not None}
    assert bounded >= LIFTED_BY_ZERO
    for limit in role.limits:
        assert re.search(r" CONST$| MIN [1-9]\d* MAX [1-9]\d*", str(limit)), limit
    (profile,) = (sql for _, those in statements("db", [role]) for sql in those if "SETTINGS PROFILE" in sql)
    assert profile.count(" MAX ") == profile.count(" MIN 1 MAX ")
    for kind in ("timeout", "read", "result"):
        assert Limit(f"{kind}_overflow_mode", "throw") in role.limits


def test_the_quota_of_grafana_lasts_for_the_stated_number_of_models() -> None:
    rules = [rules_of(model, installation()) for model in contracts()]
    busiest = round(max(sum(len(rule.queries) * 60 / rule.every_s for rule in of_model) for of_model in rules))
    assert GRAFANA.quota is not None
    budget = GRAFANA.quota.queries / MODELS / 60
    # More than half of the quota is left for dashboards.
    assert budget > 2 * busiest
    text = " ".join((ROOT / "docs/security.md").read_text("utf-8").split())
    shown = f"{budget:g} queries a minute, of which all rules of a model need {busiest}"
    assert f"for {MODELS} models, each with {shown}" in text


def test_roles_and_their_users_have_different_names() -> None:
    """ClickHouse takes a name after TO for a user before it looks for a role."""
    names = {role.name for role in ROLES}
    assert not names & {role.user for role in ROLES}
    assert all(name.startswith("barograph_") for name in names), "roles belong to the whole server"


def test_a_role_that_exists_loses_what_it_no_longer_has() -> None:
    for role, those in statements("db"):
        (grant,) = (sql for sql in those if sql.startswith("GRANT"))
        assert grant.endswith(f" TO {role.name} WITH REPLACE OPTION")


def test_no_row_is_emptied_after_a_refused_count() -> None:
    shares = {"answer@7": 0.5, "answer@8": 0.5}
    rollback = Rollback(prompt="answer", margins={"errors": 0.01}, events=10)
    contract = Contract(model="m", arms=Arms(shares=shares), rollback=rollback)
    rules = make_rules(contract, Registry())
    driver = Mock(command=Mock(side_effect=exceptions.DatabaseError("not allowed")))
    with pytest.raises(WarehouseError, match="db:8123 refused to write rows to arm_counts: not allowed"):
        count_arms(Client(driver, "db:8123"), rules, (), [3600], 7_200_000, has_repeats=False)
    assert [call.args[0].partition(" (")[0] for call in driver.command.mock_calls] == ["INSERT INTO arm_counts"]


BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
ANCHORS = [f"a{i}" for i in range(20)]


def run(number: int, kind: str, wrong: Iterable[int], missing: int = 0) -> AnchorRun:
    bad = {ANCHORS[i] for i in wrong}
    verdicts = {anchor: "faulty" if anchor in bad else "sound" for anchor in ANCHORS[missing:]}
    at, known = BEGIN + timedelta(hours=number), frozenset(bad & verdicts.keys())
    return AnchorRun(f"r{number}", at, kind, 20, verdicts, known)


def varying_bank(n: int) -> list[AnchorRun]:
    return [run(i, BANK, [i % 20]) for i in range(n)]


def test_a_judge_that_loses_anchors_drifts_and_says_since_when() -> None:
    later = [run(100 + i, RUN, [i % 20, (i + 3) % 20, (i + 7) % 20]) for i in range(10)]
    drift = judge_drift([*varying_bank(30), *later])
    assert drift.outcome is DriftOutcome.DRIFTED
    assert (drift.bank, len(drift.runs), drift.runs_left) == (30, 10, 20)
    # Each pair has two lost anchors and no gained one, since the wrong anchor of the bank is wrong later, too.
    expected = [sum((2 * share) ** (2 * (i + 1)) for share in (0.56, 0.62, 0.8)) / 3 for i in range(10)]
    assert drift.log_e == pytest.approx([math.log(each) for each in expected])
    first = next(i for i, each in enumerate(expected) if each >= 50)
    assert drift.drifted_at == later[first].at


def test_each_run_of_the_bank_is_used_once() -> None:
    later = [run(100 + i, RUN, [i % 20]) for i in range(14)]
    drift = judge_drift([*varying_bank(10), *later])
    assert drift.outcome is DriftOutcome.USED_UP
    assert (len(drift.runs), drift.runs_left, drift.unpaired) == (10, 0, 4)
    further = judge_drift([*varying_bank(10), *later, *(run(200 + i, BANK, [i]) for i in range(5))])
    assert (len(further.runs), further.runs_left, further.unpaired) == (14, 1, 0)


def test_runs_without_a_verdict_are_left_out_and_use_no_run_of_the_bank() -> None:
    bad = [run(100 + i, RUN, range(20), missing=1) for i in range(5)]
    drift = judge_drift([*varying_bank(10), *bad, run(50, BANK, [1], missing=20)])
    assert drift.outcome is DriftOutcome.NO_RUN
    assert (drift.bank, drift.runs_left, drift.incomplete) == (10, 10, 6)


def test_a_bank_of_fewer_than_five_runs_is_none() -> None:
    for n in (0, 4):
        drift = judge_drift([*varying_bank(n), run(100, RUN, range(20))])
        assert drift.outcome is DriftOutcome.NO_BANK
        assert (drift.bank, drift.runs, drift.unpaired) == (n, (), 1)


def test_a_changed_verdict_of_a_deterministic_judge_is_drift() -> None:
    bank = [run(i, BANK, [3]) for i in range(5)]
    same = judge_drift([*bank, *(run(100 + i, RUN, [3]) for i in range(50))])
    assert same.outcome is DriftOutcome.NO_DRIFT
    assert same.is_deterministic
    assert same.runs_left == 5, "it uses none"
    changed = judge_drift([*bank, run(100, RUN, [3]), run(101, RUN, [3, 8]), run(102, RUN, [])])
    assert changed.outcome is DriftOutcome.DRIFTED
    assert changed.changed == ((), ("a8",), ("a3",)), "a verdict that became right is changed, too"
    assert changed.drifted_at == BEGIN + timedelta(hours=101)


def test_the_identifier_of_a_scheduled_run_depends_on_series_and_period() -> None:
    one, same, other = (anchor_runs.AnchorSeries("bot", "faithful", version, "h1") for version in ("v1", "v1", "v2"))
    assert len({one.run_id(0), one.run_id(21_600), other.run_id(0)}) == 3
    assert one.run_id(0) == same.run_id(0)
