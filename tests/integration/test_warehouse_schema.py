"""Migrations and named queries on the real engine."""

import re
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pyarrow as pa
import pytest

from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.streams.events.event_time import RETENTION_MS
from barograph_server.warehouse import migrate, queries, retention
from barograph_server.warehouse.client import Address, Client, WarehouseError, connect
from barograph_server.warehouse.migrate import MigrationState
from barograph_server.warehouse.operations import status
from barograph_server.warehouse.tables import SCHEMAS, insert_rows, schemas_of
from tests.support.grafana_provisioning import ROOT
from tests.support.warehouse import add_row, add_rows, created, row


@pytest.fixture
def address(engine: LocalClickHouse, database: str) -> Address:
    return engine.address(database)


@pytest.fixture
def empty(address: Address) -> Iterator[Client]:
    with connect(address, create=True) as client:
        yield client


def made_of(*statements: str) -> list[migrate.Migration]:
    return [migrate.parse(f"{i:04d}_step.sql", text) for i, text in enumerate(statements, start=1)]


def names(client: Client) -> set[str]:
    return {name for name, _ in created(client)}


def test_all_run_once_and_a_second_time_none(empty: Client) -> None:
    known = list(migrate.load())
    assert (migrate.pending(empty), names(empty), migrate.apply(empty)) == (known, set(), known)
    before = names(empty)
    assert SCHEMAS.keys() | {"latest_drift", "pipeline", "migrations"} <= before
    assert (migrate.pending(empty), migrate.apply(empty), names(empty)) == ([], [], before)
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

    later = f"{len(first):04}_more"
    insert_all("old", 0)
    added = [(table, column) for tables, column in ADDED.items() for table in tables]
    statements = [f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {column};\n" for table, column in added]
    (tmp_path / "migrations" / f"{later}.sql").write_text("".join(statements))
    panes_view, verdicts_view = (tmp_path / "views" / name for name in ("30_panes.sql", "60_verdicts.sql"))
    panes_view.write_text(panes_view.read_text().replace("    pane_s, n, nulls,", "    pane_s, n, nulls, negative,", 1))
    verdicts_view.write_text(verdicts_view.read_text().replace("kind, window,", "kind, tested, window,", 1))
    second = migrate.load(tmp_path)
    assert [str(migration) for migration in migrate.pending(empty, second)] == [later, "views"]
    insert_all("between", 0)
    assert [str(migration) for migration in migrate.apply(empty, second)] == [later, "views"]
    assert migrate.apply(empty, second) == []
    with pytest.raises(WarehouseError, match=f"has migration {later}, which this program does not know.* update the"):
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
        assert [
            (name, statement.replace(f"{fresh.database}.", f"{empty.database}.")) for name, statement in created(fresh)
        ] == created(empty)
        fresh.command(f"DROP DATABASE {address.database}")


def test_views_are_created_again_only_if_they_changed(empty: Client) -> None:
    def views(kind: str) -> migrate.Migration:
        text = f"CREATE OR REPLACE VIEW v AS SELECT {kind}(1) AS x"
        return migrate.Migration(migrate.VIEWS, "views", (text,), text)

    for kind in ("toUInt8", "toUInt16", "toUInt8"):
        assert migrate.apply(empty, [views(kind)]) == [views(kind)]
        assert empty.rows("SELECT toTypeName(x) FROM v") == [(kind.removeprefix("to"),)]
        assert migrate.pending(empty, [views(kind)]) == []


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


def test_runs_at_the_same_time_all_succeed(address: Address, empty: Client) -> None:
    barrier = threading.Barrier(4)

    def run(_: int) -> None:
        with connect(address) as own:
            barrier.wait()
            migrate.apply(own)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(4)))
    assert migrate.pending(empty) == []


def test_every_table_view_and_column_is_described(client: Client) -> None:
    bare = "WHERE database = currentDatabase() AND comment = ''"
    sql = f"SELECT table || '.' || name FROM system.columns {bare} UNION ALL SELECT name FROM system.tables {bare}"
    assert client.rows(sql) == []


def test_results_are_kept_for_longer_than_an_event_may_be_old(client: Client) -> None:
    statements = dict(created(client))
    for table in ("panes", "rollups", "volume", "drift", "rates"):
        retained = re.search(r" TTL \w+ \+ toIntervalDay\((\d+)\) ", statements[table])
        assert retained is not None, table
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
    assert "TTL pane_start + toIntervalDay(1030)" in dict(created(empty))["panes"]
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
        sql = (
            "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String} "
            "AND default_kind != 'MATERIALIZED' ORDER BY position"
        )
        columns = client.rows(sql, {"table": table})
        sent = dict(zip(schema.names, schema.types, strict=True))
        if "sketch" in sent:
            assert sent.pop("sketch") == pa.binary()
        expected = {name: arrow_type(kind) for name, kind in columns if name != "sketch"}
        assert list(sent.items()) == list(expected.items()), table


ODD = "it's “Größe” \\ 📈"
NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)


def test_the_contract_in_force_is_the_last_applied(client: Client) -> None:
    for model, contract_id, hours in ((ODD, "a", 1), (ODD, "b", 2), (ODD, "a", 3), ("m", "c", 1)):
        values = {"model": model, "contract_id": contract_id, "yaml": f"{contract_id} at {hours}"}
        add_row(client, "contracts", **values, applied_at=NOW + hours * HOUR)
    assert queries.contracts(client) == [
        queries.ContractRow(ODD, "a", "a at 3", NOW + 3 * HOUR),
        queries.ContractRow("m", "c", "c at 1", NOW + HOUR),
    ]


def test_baselines_come_in_the_order_in_which_they_take_effect(client: Client) -> None:
    first = datetime(1970, 1, 1, tzinfo=UTC)
    applied = [
        ("m", "1", "a", first, 1),
        ("m", "1", "b", NOW, 2),
        ("m", "1", "a", NOW + HOUR, 3),
        ("m", "1", "c", NOW, 4),
        ("m", "2", "d", first, 1),
        (ODD, "1", "e", first, 1),
    ]
    for model, version, baseline_id, since, order in reversed(applied):
        values = {"model": model, "version": version, "baseline_id": baseline_id, "effective_from": since}
        add_row(client, "baselines", **values, body="{}", accepted_at=NOW + order * HOUR)
    result = [(b.version, b.baseline_id, b.effective_from) for b in queries.baselines(client, "m")]
    assert result == [("1", "a", first), ("1", "b", NOW), ("1", "c", NOW), ("1", "a", NOW + HOUR), ("2", "d", first)]
    assert [b.baseline_id for b in queries.baselines(client, ODD)] == ["e"]
    assert len(queries.baselines(client)) == len(applied)


def test_the_stamp_changes_with_every_application_and_with_nothing_else(client: Client) -> None:
    stamps = [queries.registry_stamp(client)]
    contract = {"model": "m", "contract_id": "a", "applied_at": NOW}
    for table, values in (
        ("contracts", contract),
        ("baselines", {"model": "m", "version": "1", "accepted_at": NOW}),
        # From a machine with a slow clock.
        ("baselines", {"model": "m", "version": "2", "accepted_at": NOW - HOUR}),
        ("contracts", contract),
    ):
        add_row(client, table, **values)
        stamps.append(queries.registry_stamp(client))
    assert (len(set(stamps)), stamps[-1]) == (4, stamps[-2])


def test_state_of_a_partition_of_partials(client: Client) -> None:
    ledger = queries.LedgerRow(3, 0, 2**63, {ODD: -5, "m": 2**40}, NOW, 8, NOW, "source", "parts", 1, 2**48 + 7)
    for record_seq, end in ((6, 10), (7, 2**63)):
        values = {"watermarks": ledger.watermarks, "last_event_at": NOW, "counted_at": NOW, "partitions": 8}
        values |= {"source_topic_id": "source", "partials_topic_id": "parts", "epoch": 1, "end_offset": end}
        for partials_partition in (3, 4):
            key = {"partials_partition": partials_partition, "source_partition": 0, "record_seq": 2**48 + record_seq}
            add_row(client, "offset_ledger", **values | key)
    assert queries.offset_ledger(client, 3) == [ledger]
    assert queries.offset_ledger(client, 5) == []
    values = {"partials_partition": 3, "source_partition": 1, "start_offset": 5, "end_offset": 9, "from_time": NOW}
    values |= {"to_time": NOW + HOUR, "reason": ODD, "recorded_at": NOW}
    for record_seq in (2**48 + 1, 2**48 + 1, 2**48 + 3, 2 * 2**48):
        add_row(client, "losses", **values, record_seq=record_seq)
    assert [(loss.epoch, loss.record_seq) for loss in queries.losses(client, 3)] == [(1, 2**48 + 3), (2, 2 * 2**48)]
    assert queries.losses(client, 3)[0].reason == ODD
    add_row(client, "losses", **values | {"partials_partition": 4}, record_seq=2**48)
    assert [(lost.epoch, lost.offsets) for lost in status.lost_ranges(client)] == [(1, 4), (2, 4)]


def test_cells_are_read_by_model_and_range(client: Client) -> None:
    start_s = int(NOW.timestamp()) // 3600 * 3600
    for table, read in (("panes", queries.panes), ("rollups", queries.rollups)):
        pane_s = 60 if table == "panes" else 3600
        rows = [
            {"model": model, "version": version, "baseline_id": baseline_id, "pane_start": start_s + 60 * i, "n": i}
            | {"counts": list(range(i)), "sketch": bytes([255, 0, i])}
            for model in (ODD, "m")
            for version, baseline_id in (("1", "a"), ("1", ODD), (ODD, "a"))
            for i in range(4)
        ]
        add_rows(client, table, rows, pane_s=pane_s, record_seq=1)
        result = read(client, ODD, start_s + 60, start_s + 180).sort_by("n")
        assert result.schema.names == SCHEMAS[table].names
        assert result["n"].to_pylist() == 3 * [1] + 3 * [2]
        assert result["pane_start"].to_pylist() == 3 * [start_s + 60] + 3 * [start_s + 120]
        assert result["counts"].to_pylist() == 3 * [[0]] + 3 * [[0, 1]]
        assert result["sketch"].to_pylist() == 3 * [b"\xff\x00\x01"] + 3 * [b"\xff\x00\x02"]
        assert result["sketch"].type == pa.binary()
        assert read(client, ODD, start_s, start_s + 240).num_rows == 12
        nothing = read(client, "none", start_s, start_s + 240)
        assert (nothing.num_rows, nothing.schema.names) == (0, SCHEMAS[table].names)


def test_freshness_is_queried_and_not_inferred(client: Client) -> None:
    start = NOW.replace(minute=0, second=0) - 3 * HOUR
    panes = [("1", 0, 5), ("1", 1, 0), ("1", 2, 0), ("2", 0, 0)]
    for version, hours, n in panes:
        values = {"model": "m", "version": version, "slice": "all", "pane_s": 3600, "n": n, "record_seq": 1}
        add_row(client, "volume", **values, pane_start=start + hours * HOUR)
    for record_seq, hours in ((1, 1), (2, 3)):
        values = {"model": "m", "watermark": start, "sealed_until": start + hours * HOUR, "updated_at": NOW}
        add_row(client, "progress", **values, record_seq=record_seq)
    add_row(client, "progress", model="quiet", record_seq=1)
    add_rows(client, "contracts", [{"model": "applied"}, {"model": "m"}])
    applied, one, two, quiet = status.freshness(client)
    assert (applied.model, applied.version, applied.sealed_until.year) == ("applied", "", 1970)
    assert (one.model, one.version, one.last_traffic_at) == ("m", "1", start + HOUR)
    assert (one.last_counted_at, one.sealed_until) == (start + 3 * HOUR, start + 3 * HOUR)
    age_s = (datetime.now(UTC) - start).total_seconds()
    assert one.traffic_age_s == pytest.approx(age_s - 3600, abs=60)
    assert one.sealed_age_s == pytest.approx(age_s - 3 * 3600, abs=60)
    assert (two.version, two.last_traffic_at.year, two.last_counted_at) == ("2", 1970, start + HOUR)
    assert (quiet.model, quiet.version) == ("quiet", "")


def test_the_last_report_of_each_processor(client: Client) -> None:
    for instance, ago_s, events in (("a", 100, 5), ("a", 10, 7), ("b", 40, 1)):
        values = {"instance": instance, "events": events, "at": datetime.now(UTC) - timedelta(seconds=ago_s)}
        add_row(client, "processors", kind="sketcher", details={"flush_s": 0.5}, **values)
    a, b = status.processors(client)
    assert (a.instance, a.events, a.details, b.instance, b.events) == ("a", 7, {"flush_s": 0.5}, "b", 1)
    assert 9 <= a.silent_s < b.silent_s < 100


@pytest.mark.parametrize(("table", "read"), [("drift", status.latest_drift), ("rates", status.latest_rates)])
def test_the_newest_verdict_of_each_field_and_window(client: Client, table: str, read: Any) -> None:
    end = NOW.replace(minute=0, second=0)
    key = {"model": ODD, "version": "1", "baseline_id": "b", "slice": "all"}
    judged = [
        *(("x", "1h", 0, 1, "stable"), ("x", "1h", 1, 2, "minor"), ("x", "1h", 1, 3, "major")),
        *(("x", "1d", 0, 1, "stable"), ("y", "1h", 0, 1, "insufficient"), ("long ago", "1h", -24 * 30, 1, "major")),
    ]
    for field, window, hours, record_seq, level in judged:
        times = {"window_start": end + (hours - 1) * HOUR, "window_end": end + hours * HOUR}
        values = {"field": field, "window": window, "record_seq": record_seq, "level": level}
        add_row(client, table, **key, **values, **times)
    add_row(client, "rates", **key, field="events", kind="error", window="1h", window_end=end, level="major")
    add_row(client, "progress", model=ODD, sealed_until=end + HOUR, record_seq=1)
    result = [(v.field, v.window, v.level, v.revisions) for v in read(client, ODD)]
    assert result == [("x", "1d", "stable", 1), ("x", "1h", "major", 2), ("y", "1h", "insufficient", 1)]
    assert read(client, "m") == []
    assert read(client, ODD, "country=DE") == []


def test_replicated_tables_are_synced() -> None:
    cluster = create_autospec(Client, instance=True)
    cluster.rows.return_value = [("offset_ledger",), ("panes",)]
    queries.sync_replicas(cluster, "offset_ledger", "panes")
    assert cluster.rows.call_args.args[1]["names"] == ("offset_ledger", "panes")
    synced = [f"SYSTEM SYNC REPLICA {table} LIGHTWEIGHT" for table in ("offset_ledger", "panes")]
    assert [each.args[0] for each in cluster.command.call_args_list] == synced
