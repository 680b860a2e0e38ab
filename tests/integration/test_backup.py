"""Restoring a backup that was made during operation: the pipeline then reaches the same rows."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.streams.rebuild.rewind import rewind
from barograph_server.warehouse.client import connect
from tests.integration.test_rebuild import rows
from tests.support.pipeline import Pipeline, simple_baseline, simple_contract
from tests.support.sketching import settings_of
from tests.support.toy_events import messages, toy_events

FIRST, ALL, LABELS = 1500, 3000, 200
FIRST_TABLES = ("progress", "scorer_checkpoints"), ("offset_ledger",)
"""Tables that are backed up first, in the reverse of the order of writing."""


def backups(database: str, name: str) -> list[str]:
    statements = []
    for i, tables in enumerate(FIRST_TABLES, start=1):
        named = ", ".join(f"TABLE {database}.{table}" for table in tables)
        statements.append(f"BACKUP {named} TO File('{name}/{i}')")
    others = ", ".join(f"{database}.{table}" for tables in FIRST_TABLES for table in tables)
    statements.append(f"BACKUP DATABASE {database} EXCEPT TABLES {others} TO File('{name}/3')")
    return statements


def restores(database: str, name: str) -> list[str]:
    statements = [f"RESTORE DATABASE {database} FROM File('{name}/3')"]
    for i, tables in enumerate(FIRST_TABLES, start=1):
        named = ", ".join(f"TABLE {database}.{table}" for table in tables)
        statements.append(f"RESTORE {named} FROM File('{name}/{i}')")
    return statements


def contents(engine: LocalClickHouse, database: str) -> dict[str, tuple[int, int]]:
    """Return the row count of every table and the sum of its row hashes."""
    with connect(engine.address(database)) as client:
        tables = client.rows(
            "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE 'Replacing%'"
        )
        return {name: client.rows(f"SELECT count(), sum(cityHash64(*)) FROM {name} FINAL")[0] for (name,) in tables}


@pytest.mark.long
def test_a_backup_in_operation_gives_the_same_rows(pipeline: Pipeline, engine: LocalClickHouse, tmp_path: Path) -> None:
    database = pipeline.address.database
    pipeline.create(source_partitions=1)
    pipeline.register(simple_contract(), [simple_baseline()])
    events = toy_events(ALL, hours=30)
    for kind in ("sketcher", "recorder", "monitor"):
        pipeline.start(kind)
    pipeline.produce(messages(events[:FIRST]))
    labels = [{"model": "toy", "id": e["id"], "label": True, "at": e["at"]} for e in events[:LABELS]]
    pipeline.produce(messages(labels), pipeline.topics.labels)
    pipeline.wait_rows(
        f"SELECT sum(n) >= {FIRST} AND max(sealed) FROM volume FINAL WHERE slice = 'all'", "the first half"
    )
    pipeline.produce(messages(events[FIRST : FIRST + 500]))
    with pipeline.client as client:
        for sql in backups(database, f"{database}/early"):
            client.command(sql)
    pipeline.produce(messages(events[FIRST + 500 :]))
    pipeline.end(1)
    whole = f"SELECT sum(n) = {ALL} AND min(sealed) FROM volume FINAL WHERE slice = 'all'"
    raw = f"SELECT uniqExact(offset) = {ALL} FROM predictions"
    pipeline.wait_rows(whole, "sealed volume")
    pipeline.wait_rows(raw, "raw rows")
    pipeline.wait_settled()
    pipeline.stop()
    undisturbed = rows(pipeline)
    with pipeline.client as client:
        for sql in backups(database, f"{database}/late"):
            client.command(sql)
    tables = contents(engine, database)
    fresh = LocalClickHouse(tmp_path / "fresh", port=0)
    fresh.start()
    try:
        shutil.copytree(engine.data_dir / "backups" / database, fresh.data_dir / "backups" / database)
        # A backup of an idle database is restored bit by bit.
        with connect(fresh.address("default")) as client:
            for sql in restores(database, f"{database}/late"):
                client.command(sql)
            assert contents(fresh, database) == tables
            client.command(f"DROP DATABASE {database} SYNC")
            for sql in restores(database, f"{database}/early"):
                client.command(sql)
        restored = replace(pipeline, address=fresh.address(database), processes={})
        assert restored.rows("SELECT sum(n) FROM volume FINAL WHERE slice = 'all'")[0][0] < ALL
        assert {name: n for name, n in contents(fresh, database).items() if name in ("contracts", "baselines")} == {
            name: tables[name] for name in ("contracts", "baselines")
        }
        resets = rewind(settings_of(restored), dry_run=True)
        moves = rewind(settings_of(restored))
        assert moves == resets
        assert {(move.topic, move.target < move.committed) for move in moves if move.committed} >= {
            (pipeline.topics.predictions, True),
            (pipeline.topics.labels, True),
            (pipeline.topics.partials, True),
        }
        # The second run finds nothing to do.
        assert all(move.target == move.committed for move in rewind(settings_of(restored)))
        try:
            for kind in ("sketcher", "recorder", "monitor"):
                restored.start(kind)
            restored.wait_rows(whole, "sealed volume after the restore")
            restored.wait_rows(raw, "raw rows after the restore")
            restored.wait_settled()
        finally:
            restored.stop()
        matches = rows(restored)
        for name, expected in undisturbed.items():
            assert matches[name] == expected, name
        assert restored.rows("SELECT count() FROM lost_ranges") == [(0,)]
        assert restored.rows("SELECT count(), uniqExact(id) FROM all_predictions") == [(ALL, ALL)]
        assert restored.rows("SELECT count(), uniqExact(id) FROM labels FINAL") == [(LABELS, LABELS)]
    finally:
        fresh.stop()
