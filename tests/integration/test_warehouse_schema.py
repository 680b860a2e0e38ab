"""Migrations on the real engine: run all twice, interrupted, at once; and the page that describes their outcome."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.streams.events.event_time import RETENTION_MS
from barograph_server.warehouse import migrate, retention
from barograph_server.warehouse.client import Address, Client, WarehouseError, connect
from barograph_server.warehouse.migrate import MigrationState
from barograph_server.warehouse.tables import SCHEMAS, insert_rows, schemas_of
from tests.support.grafana_provisioning import ROOT
from tests.support.warehouse import migrated, row

pytestmark = pytest.mark.engine


@pytest.fixture
def address(engine: LocalClickHouse, database: str) -> Address:
    return engine.address(database)


@pytest.fixture
def empty(address: Address) -> Iterator[Client]:
    with connect(address, create=True) as client:
        yield client


@pytest.fixture(scope="module")
def client(engine: LocalClickHouse) -> Iterator[Client]:
    with migrated(engine) as client:
        yield client


def made_of(*statements: str) -> list[migrate.Migration]:
    return [migrate.parse(f"{i:04d}_step.sql", text) for i, text in enumerate(statements, start=1)]


def names(client: Client) -> set[str]:
    sql = "SELECT name FROM system.tables WHERE database = {database:String}"
    return {name for (name,) in client.rows(sql, {"database": client.database})}


def test_all_run_once_and_a_second_time_none(empty: Client) -> None:
    known = list(migrate.load())
    assert migrate.pending(empty) == known
    assert names(empty) == set()
    assert migrate.apply(empty) == known
    before = names(empty)
    assert SCHEMAS.keys() | {"latest_drift", "pipeline", "migrations"} <= before
    assert migrate.pending(empty) == []
    assert migrate.apply(empty) == []
    assert names(empty) == before
    assert set(migrate.states(empty).values()) == {MigrationState.COMPLETED}


ADDED = {
    ("panes", "rollups"): "negative UInt64 DEFAULT 0 COMMENT 'Numbers below zero' AFTER above",
    ("rates",): "tested Bool DEFAULT true COMMENT 'Whether it was tested'",
}
SHOWN = ("all_panes", "hours", "days", "latest_rates")


def test_a_second_migration_adds_a_column_to_tables_and_views(
    engine: LocalClickHouse, empty: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database with rows has then the same schema as a new one, and every view shows old and new rows."""
    for folder in ("migrations", "views"):
        shutil.copytree(ROOT / "warehouse" / folder, tmp_path / folder)
    first = migrate.load(tmp_path)
    assert first == migrate.load()
    migrate.apply(empty, first)
    start_s = (int(time.time()) // 86_400 - 1) * 86_400
    panes = {"n": 5, "counts": [5], "minimum": 0.0, "maximum": 1.0, "sealed": True}
    verdict = {"kind": "null", "window": "1h", "window_end": start_s + 3600}

    def insert(table: str, **values: Any) -> None:
        insert_rows(empty, table, [row(table, model="m", field=values.pop("name"), **values)])

    def insert_all(name: str, added: int) -> None:
        extra = {"negative": added} if added else {}
        insert("panes", name=name, pane_start=start_s, pane_s=60, **panes, **extra)
        for length_s in (3600, 86400):
            insert("rollups", name=name, pane_start=start_s, pane_s=length_s, **panes, **extra)
        insert("rates", name=name, window_start=start_s, **verdict, **({"tested": False} if added else {}))

    insert_all("old", 0)
    (tmp_path / "migrations" / "0002_more.sql").write_text(
        "".join(
            f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {column};\n"
            for tables, column in ADDED.items()
            for table in tables
        )
    )
    panes_view, verdicts_view = (tmp_path / "views" / name for name in ("30_panes.sql", "60_verdicts.sql"))
    panes_view.write_text(panes_view.read_text().replace("    pane_s, n, nulls,", "    pane_s, n, nulls, negative,", 1))
    verdicts_view.write_text(verdicts_view.read_text().replace("kind, window,", "kind, tested, window,", 1))
    second = migrate.load(tmp_path)
    assert [str(migration) for migration in migrate.pending(empty, second)] == ["0002_more", "views"]
    insert_all("between", 0)
    assert [str(migration) for migration in migrate.apply(empty, second)] == ["0002_more", "views"]
    assert migrate.apply(empty, second) == []
    with pytest.raises(WarehouseError, match="this program does not know"):
        migrate.pending(empty, first)
    for table in ("panes", "rollups", "rates"):
        monkeypatch.setitem(SCHEMAS, table, schemas_of(second)[table])
    insert_all("new", 3)
    for view in SHOWN:
        column = "tested" if view == "latest_rates" else "negative"
        default, value = (True, False) if view == "latest_rates" else (0, 3)
        shown = empty.rows(f"SELECT field, {column} FROM {view} WHERE model = 'm' ORDER BY field")
        assert shown == [("between", default), ("new", value), ("old", default)], view
    address = engine.address(f"{empty.database}_new")
    with connect(address, create=True) as fresh:
        migrate.apply(fresh, second)
        assert created(fresh) == created(empty)
        fresh.command(f"DROP DATABASE {address.database}")


def created(client: Client) -> list[tuple[str, str]]:
    sql = "SELECT name, create_table_query FROM system.tables WHERE database = {database:String} ORDER BY name"
    rows = client.rows(sql, {"database": client.database})
    return [(name, statement.replace(f"{client.database}.", "")) for name, statement in rows]


def test_views_are_created_again_only_if_they_changed(empty: Client) -> None:
    def views(kind: str) -> migrate.Migration:
        text = f"CREATE OR REPLACE VIEW v AS SELECT {kind}(1) AS x"
        return migrate.Migration(migrate.VIEWS, "views", (text,), text)

    assert migrate.apply(empty, [views("toUInt8")]) == [views("toUInt8")]
    assert migrate.pending(empty, [views("toUInt8")]) == []
    for kind in ("toUInt16", "toUInt8"):
        assert migrate.apply(empty, [views(kind)]) == [views(kind)]
        assert empty.rows("SELECT toTypeName(x) FROM v") == [(kind.removeprefix("to"),)]
    assert migrate.pending(empty, [views("toUInt8")]) == []


def test_an_interrupted_one_is_recorded_and_resumed_from_its_first_statement(empty: Client) -> None:
    one, broken = made_of(
        "CREATE TABLE IF NOT EXISTS a (x UInt8) ENGINE = Memory;",
        "CREATE TABLE IF NOT EXISTS b (x UInt8) ENGINE = Memory;\nCREATE TABLE IF NOT EXISTS c (x Nonsense)\n"
        "ENGINE = Memory;",
    )
    with pytest.raises(WarehouseError, match="Statement 2 of migration 0002_step failed") as caught:
        migrate.apply(empty, [one, broken])
    assert caught.value.code == 50  # UNKNOWN_TYPE
    assert migrate.states(empty, [one, broken]) == {one: MigrationState.COMPLETED, broken: MigrationState.IN_PROGRESS}
    assert {"a", "b"} <= names(empty)
    mended = migrate.parse("0002_step.sql", ";\n".join(broken.statements).replace("Nonsense", "UInt8") + ";\n")
    assert migrate.pending(empty, [one, mended]) == [mended]
    assert migrate.apply(empty, [one, mended]) == [mended]
    assert "c" in names(empty)
    assert migrate.states(empty, [one, mended])[mended] is MigrationState.COMPLETED


def test_a_changed_migration_is_rejected_after_it_has_run(empty: Client) -> None:
    migrate.apply(empty, made_of("CREATE TABLE IF NOT EXISTS a (x UInt8) ENGINE = Memory;"))
    changed = made_of("CREATE TABLE IF NOT EXISTS a (x UInt16) ENGINE = Memory;")
    with pytest.raises(WarehouseError, match="0001_step changed after it had run"):
        migrate.apply(empty, changed)


def test_a_database_of_a_newer_program_is_rejected(empty: Client) -> None:
    both = made_of("CREATE TABLE IF NOT EXISTS a (x UInt8) ENGINE = Memory;") * 2
    newer = [both[0], migrate.parse("0002_future.sql", "CREATE TABLE IF NOT EXISTS b (x UInt8) ENGINE = Log;")]
    migrate.apply(empty, newer)
    with pytest.raises(WarehouseError, match=r"has migration 0002_future, .* update the program"):
        migrate.pending(empty, both[:1])


def test_runs_at_the_same_time_all_succeed(address: Address, empty: Client) -> None:
    barrier, failures = threading.Barrier(4), []

    def run() -> None:
        with connect(address) as own:
            barrier.wait()
            try:
                migrate.apply(own)
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert migrate.pending(empty) == []


def test_every_table_view_and_column_is_described(client: Client) -> None:
    sql = (
        "SELECT table || '.' || name FROM system.columns WHERE database = {database:String} AND comment = '' "
        "UNION ALL SELECT name FROM system.tables WHERE database = {database:String} AND comment = ''"
    )
    assert client.rows(sql, {"database": client.database}) == []


def test_results_are_kept_for_longer_than_an_event_may_be_old(client: Client) -> None:
    sql = "SELECT create_table_query FROM system.tables WHERE database = {d:String} AND name = {table:String}"
    for table in ("panes", "rollups", "volume", "drift", "rates"):
        [(statement,)] = client.rows(sql, {"d": client.database, "table": table})
        retained = re.search(r" TTL \w+ \+ toIntervalDay\((\d+)\) ", statement)
        assert retained is not None, statement
        assert timedelta(days=int(retained[1])) > timedelta(milliseconds=RETENTION_MS)


def test_a_longer_retention_extends_every_table_of_event_time_and_a_shorter_one_none(empty: Client) -> None:
    migrate.apply(empty)
    tables = {table for table, _, _ in retention.declared_ttls()}
    assert {"panes", "rollups", "volume", "violations", "drift", "rates", "distances", "performance_state"} <= tables
    assert retention.ttl_changes(empty, 400) == []
    assert retention.stored_retention_days(empty) == 400
    assert {change.table for change in retention.ttl_changes(empty, 1000)} == tables
    retention.apply_ttls(empty, 1000)
    assert retention.stored_retention_days(empty) == 1000
    sql = "SELECT create_table_query FROM system.tables WHERE database = {d:String} AND name = 'panes'"
    assert "TTL pane_start + toIntervalDay(1030)" in empty.rows(sql, {"d": empty.database})[0][0]
    assert retention.ttl_changes(empty, 1000) == retention.ttl_changes(empty, 400) == []


def test_arrow_schemas_match_the_tables(client: Client) -> None:
    """Each schema has every inserted column of its table, in order, with the Arrow type of the engine's type."""
    plain = {
        "String": pa.string(),
        **{
            f"{kind}{bits}": getattr(pa, f"{kind.lower()}{bits}")()
            for kind in ("Int", "UInt")
            for bits in (8, 16, 32, 64)
        },
        "Float64": pa.float64(),
        "Bool": pa.bool_(),
        "Date": pa.date32(),
        "DateTime('UTC')": pa.timestamp("s", tz="UTC"),
        "DateTime64(3, 'UTC')": pa.timestamp("ms", tz="UTC"),
    }

    def arrow_type(kind: str) -> pa.DataType:
        kind = re.sub(r"(?:LowCardinality|Nullable)\((\w+)\)|SimpleAggregateFunction\(\w+, (\w+)\)", r"\1\2", kind)
        if kind in plain:
            return plain[kind]
        outer, _, inner = kind.removesuffix(")").partition("(")
        parts = [plain[part] for part in inner.split(", ")]
        if outer == "Map":
            return pa.map_(*parts)
        assert outer == "Array", kind
        return pa.large_list(*parts) if inner == "UInt64" else pa.list_(*parts)

    for table, schema in SCHEMAS.items():
        columns = client.rows(
            "SELECT name, type FROM system.columns WHERE database = {database:String} AND table = {table:String} "
            "AND default_kind != 'MATERIALIZED' ORDER BY position",
            {"database": client.database, "table": table},
        )
        sent = dict(zip(schema.names, schema.types, strict=True))
        if "sketch" in sent:
            assert sent.pop("sketch") == pa.binary()
        expected = {name: arrow_type(kind) for name, kind in columns if name != "sketch"}
        assert list(sent.items()) == list(expected.items()), table


def test_a_missing_database_is_reported_first(engine: LocalClickHouse) -> None:
    address = engine.address("no_such_database")
    with pytest.raises(WarehouseError, match=r"has no database .* Run `barograph apply`"):
        connect(address)
