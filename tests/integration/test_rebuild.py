"""Rebuilding a past range, and restoring a backup, give the rows of an undisturbed run."""

import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from barograph.contract import Window
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.streams.rebuild.rewind import rewind
from barograph_server.streams.rebuild.run import RebuildResult, rebuild
from barograph_server.streams.rebuild.stopped_check import RebuildError
from barograph_server.warehouse.client import Client, connect
from tests.support.pipeline import Pipeline, simple_baseline, simple_contract, wait_for
from tests.support.scoring import Killed
from tests.support.sketching import settings_of
from tests.support.toy_events import HOUR_S, START_S, messages, toy_events

FROM_S, TO_S = START_S + 7 * HOUR_S, START_S + 15 * HOUR_S

PANES = (
    "SELECT version, baseline_id, slice, field, toUnixTimestamp(pane_start), pane_s, n, nulls, invalid, below, above, "
    "unseen, counts, sealed, minimum, maximum FROM {table} FINAL ORDER BY ALL"
)
QUERIES = {
    "panes": PANES.format(table="panes"),
    "rollups": PANES.format(table="rollups"),
    "volume": "SELECT version, baseline_id, slice, toUnixTimestamp(pane_start), n, errors, timed, slow, late, sealed, "
    "unregistered FROM volume FINAL ORDER BY ALL",
    "drift": "SELECT baseline_id, slice, field, window, toUnixTimestamp(window_start), toUnixTimestamp(window_end), n, "
    "psi, psi_low, psi_high, p_value, df, phi, level, threshold_minor, threshold_major, top_bin, completeness "
    "FROM latest_drift ORDER BY ALL",
    "rates": "SELECT baseline_id, slice, field, kind, window, toUnixTimestamp(window_end), n, k, level, completeness "
    "FROM latest_rates ORDER BY ALL",
}


def rows(pipeline: Pipeline) -> dict[str, list[tuple[Any, ...]]]:
    return {
        name: [tuple(None if value != value else value for value in row) for row in pipeline.rows(sql)]
        for name, sql in QUERIES.items()
    }


class Reader(threading.Thread):
    QUERIES_OF_RANGE = (
        f"SELECT count(), sum(n), sum(nulls) FROM panes FINAL WHERE pane_start >= {FROM_S} AND pane_start < {TO_S}",
        f"SELECT count(), countIf(psi = 9) FROM latest_drift WHERE window_end > {FROM_S} AND window_start < {TO_S}",
    )

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__()
        self._pipeline, self._end = pipeline, threading.Event()
        self.results: tuple[set[tuple[Any, ...]], set[tuple[Any, ...]]] = (set(), set())
        self.n_queries = 0

    def query(self) -> None:
        for sql, results in zip(self.QUERIES_OF_RANGE, self.results, strict=True):
            results.update(self._pipeline.rows(sql))
        self.n_queries += 1

    def run(self) -> None:
        while not self._end.is_set():
            self.query()

    def stop(self) -> None:
        self._end.set()
        self.join(60)


def run(pipeline: Pipeline, from_s: int = FROM_S, to_s: int = TO_S, **how: Any) -> RebuildResult:
    return rebuild(settings_of(pipeline), "toy", from_s, to_s, **how)


def dying_after(steps: int, real: Callable[..., None]) -> Callable[..., None]:
    """Return a `Client.command` that attaches partitions a number of times and then dies."""
    attached = 0

    def command(client: Client, sql: str, parameters: Any = None) -> None:
        nonlocal attached
        attached += "ATTACH PARTITION" in sql
        if attached > steps and "ATTACH PARTITION" in sql:
            raise Killed
        real(client, sql, parameters)

    return command


@pytest.mark.long
def test_a_damaged_range_is_rebuilt_to_its_original_rows(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline.create(source_partitions=2)
    windows = (*simple_contract().windows, Window(8 * HOUR_S, HOUR_S, last=500))
    pipeline.register(simple_contract(windows=windows), [simple_baseline()])
    events = toy_events(4000, hours=30)
    bad = [{**event, "id": ""} for event in events[1500:1505]]
    pipeline.produce(messages([*events[:2000], *bad, *events[2000:]], partitions=2))
    pipeline.end(2)
    pipeline.start_all("sketcher", "recorder")
    pipeline.start("monitor", report_s=0.5)
    pipeline.wait_judged(4000)
    with pytest.raises(RebuildError, match="Running: monitor monitor-0"):
        run(pipeline)
    pipeline.stop()
    undisturbed = rows(pipeline)
    revisions = pipeline.rows("SELECT count() FROM drift FINAL")[0][0]
    # Delete and damage rows, as a disk or an operator might.
    span = f"pane_start >= {FROM_S} AND pane_start < {TO_S}"
    with pipeline.client as client:
        for sql in (
            f"ALTER TABLE panes DELETE WHERE {span} AND field = 'x'",
            f"ALTER TABLE panes UPDATE n = n + 7, counts = arrayMap(c -> c + 1, counts) WHERE {span} AND field = 'k'",
            f"ALTER TABLE volume DELETE WHERE {span} AND pane_start < {FROM_S + 2 * HOUR_S}",
            f"ALTER TABLE drift DELETE WHERE window_end > {FROM_S} AND window_start < {TO_S} AND window = '3h'",
            f"ALTER TABLE drift UPDATE level = 'major', psi = 9 WHERE window_end > {FROM_S} AND window_start < {TO_S}",
            f"ALTER TABLE rates DELETE WHERE window_end > {FROM_S} AND window_start < {TO_S}",
            f"ALTER TABLE rollups DELETE WHERE pane_start = {START_S // 86400 * 86400}",
        ):
            client.command(f"{sql} SETTINGS mutations_sync = 2")
    damaged = rows(pipeline)
    assert all(damaged[name] != undisturbed[name] for name in QUERIES if name != "rollups")
    preview = run(pipeline, dry_run=True)
    changes = {line.subject: line for line in preview.differences}
    assert changes["drift (windows judged)"].changed > 0
    assert changes["events"].after == sum(FROM_S <= event["at"] // 1000 < TO_S for event in events)
    assert changes["events"].before < changes["events"].after
    assert rows(pipeline) == damaged
    # Kill it when some of the tables are replaced, and run it again.
    with monkeypatch.context() as patch:
        patch.setattr(Client, "command", dying_after(2, Client.command))
        with pytest.raises(Killed):
            run(pipeline)
    before, reader, after = Reader(pipeline), Reader(pipeline), Reader(pipeline)
    before.query()
    reader.start()
    done = run(pipeline)
    reader.stop()
    after.query()
    assert done.replaced
    assert reader.n_queries > 2
    for old, between, new in zip(before.results, reader.results, after.results, strict=True):
        assert between <= old | new, "a reader saw a mix of old and new rows"
    assert rows(pipeline) == undisturbed
    # The old verdicts stay as earlier revisions.
    assert pipeline.rows("SELECT count() FROM drift FINAL WHERE level = 'major' AND psi = 9")[0][0] > 0
    assert revisions > 0
    temporary = "SELECT count() FROM system.databases WHERE name LIKE concat(currentDatabase(), '_rebuild%')"
    assert pipeline.rows(temporary) == [(0,)]
    windows_in_range = f"window_end > {FROM_S} AND window_start < {TO_S}"
    with pipeline.client as client:
        for table in ("drift", "rates"):
            client.command(f"ALTER TABLE {table} DELETE WHERE {windows_in_range} SETTINGS mutations_sync = 2")
    # The panes are correct: judge them again.
    judged = run(pipeline, source="panes")
    assert (judged.read, judged.replaced) == (0, True)
    assert rows(pipeline) == undisturbed
    # Every event has a raw row and is restored from it unchanged.
    with pipeline.client as client:
        client.command(f"ALTER TABLE panes DELETE WHERE {span} AND field != 'k' SETTINGS mutations_sync = 2")
    assert run(pipeline, source="raw").read == sum(FROM_S <= event["at"] // 1000 < TO_S for event in events)
    assert rows(pipeline) == undisturbed
    # The monitor continues from the rebuilt rows: a late event is merged into them once.
    late = {**events[0], "id": "late", "at": (FROM_S + HOUR_S) * 1000}
    pipeline.produce(messages([late]))
    pipeline.start_all("sketcher", "monitor")
    pipeline.wait_rows("SELECT sum(n) = 4001 AND sum(late) = 1 FROM volume FINAL WHERE slice = 'all'", "the late event")
    n = 1 + sum(FROM_S <= event["at"] // 1000 < FROM_S + 3 * HOUR_S for event in events)
    pipeline.wait_rows(
        f"SELECT n = {n} FROM latest_drift WHERE slice = 'all' AND field = 'x' AND window = '3h' "
        f"AND window_end = {FROM_S + 3 * HOUR_S}",
        "a revision on the rebuilt panes",
    )
    pipeline.stop()
    # It stays late, and a rebuild gives the monitor's rows.
    with_late = rows(pipeline)
    again = run(pipeline)
    assert {line.subject: line.changed for line in again.differences if line.changed} == {}
    assert rows(pipeline) == with_late


def test_skipped_offsets_are_recovered_from_the_log_and_deleted_ones_rejected(pipeline: Pipeline) -> None:
    pipeline.prepare()
    events = toy_events(500, hours=10)
    pipeline.produce(messages(events[:300]))
    with pytest.raises(RebuildError, match="Nothing of model toy is sealed"):
        run(pipeline)
    pipeline.start_all("sketcher", "monitor")
    pipeline.wait_rows("SELECT sum(n) = 300 FROM volume FINAL WHERE slice = 'all'", "the first events")
    stopped = pipeline.processes.pop("sketcher-0")
    stopped.terminate()
    assert stopped.wait(30) == 0
    admin, group = AdminClient({"bootstrap.servers": pipeline.bootstrap}), f"{pipeline.prefix}sketcher"
    # A stopped member stays in its group until its session times out.
    wait_for(lambda: not admin.describe_consumer_groups([group])[group].result().members, "an empty group")
    request = ConsumerGroupTopicPartitions(group, [TopicPartition(pipeline.topics.predictions, 0, 340)])
    done = admin.alter_consumer_group_offsets([request])[group].result()
    assert all(position.error is None for position in done.topic_partitions)
    pipeline.produce(messages(events[300:]))
    pipeline.end(1)
    pipeline.start("sketcher", "sketcher-1")
    pipeline.wait_rows("SELECT sum(n) = 460 AND min(sealed) FROM volume FINAL WHERE slice = 'all'", "sealed volume")
    pipeline.wait_rows("SELECT sum(offsets) = 40 FROM lost_ranges", "the loss")
    pipeline.wait_settled()
    pipeline.stop()
    assert pipeline.rows("SELECT min(completeness) < 1 FROM latest_drift") == [(True,)]
    done = run(pipeline, START_S, START_S + 24 * HOUR_S)
    assert done.recovered == 40
    assert {line.subject: (line.before, line.after) for line in done.differences}["events"] == (460, 500)
    assert pipeline.rows("SELECT sum(n) FROM volume FINAL WHERE slice = 'all'") == [(500,)]
    assert pipeline.rows("SELECT min(completeness) FROM latest_drift") == [(1.0,)]
    with pytest.raises(RebuildError, match="No contract of model other"):
        rebuild(settings_of(pipeline), "other", FROM_S, TO_S)
    with pytest.raises(RebuildError, match="No sealed pane"):
        run(pipeline, START_S - 10 * HOUR_S, START_S - 5 * HOUR_S)
    # Counts cannot come from a sample of the predictions.
    pipeline.register(simple_contract(raw_share=0.5), [])
    with pytest.raises(RebuildError, match="records a share of"):
        run(pipeline, START_S, TO_S, source="raw")
    # Counted events that Kafka has deleted would be missing.
    admin = AdminClient({"bootstrap.servers": pipeline.bootstrap})
    position = TopicPartition(pipeline.topics.predictions, 0, 100)
    admin.delete_records([position])[position].result()
    before = rows(pipeline)
    with pytest.raises(RebuildError, match="Retention has deleted offsets"):
        run(pipeline, START_S, TO_S)
    assert rows(pipeline) == before


FIRST, ALL, LABELS = 1500, 3000, 200
FIRST_TABLES = ("progress", "scorer_checkpoints"), ("offset_ledger",)
"""Tables that are backed up first, in the reverse of the order of writing."""


def backups(database: str, name: str) -> tuple[list[str], list[str]]:
    """The statements that make a backup and those that restore it."""
    first = [", ".join(f"TABLE {database}.{table}" for table in tables) for tables in FIRST_TABLES]
    others = ", ".join(first).replace("TABLE ", "")
    files = [f"File('{name}/{i}')" for i in (1, 2, 3)]
    result = [f"BACKUP {tables} TO {file}" for tables, file in zip(first, files, strict=False)]
    restored = [f"RESTORE {tables} FROM {file}" for tables, file in zip(first, files, strict=False)]
    result.append(f"BACKUP DATABASE {database} EXCEPT TABLES {others} TO {files[-1]}")
    return result, [f"RESTORE DATABASE {database} FROM {files[-1]}", *restored]


def contents(engine: LocalClickHouse, database: str) -> dict[str, tuple[int, int]]:
    with connect(engine.address(database)) as client:
        tables = client.rows(
            "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE 'Replacing%'"
        )
        return {name: client.rows(f"SELECT count(), sum(cityHash64(*)) FROM {name} FINAL")[0] for (name,) in tables}


@pytest.mark.long
def test_a_backup_in_operation_gives_the_same_rows(pipeline: Pipeline, engine: LocalClickHouse, tmp_path: Path) -> None:
    database = pipeline.address.database
    pipeline.prepare()
    events = toy_events(ALL, hours=30)
    pipeline.start_all("sketcher", "recorder", "monitor")
    pipeline.produce(messages(events[:FIRST]))
    labels = [{"model": "toy", "id": e["id"], "label": True, "at": e["at"]} for e in events[:LABELS]]
    pipeline.produce(messages(labels), pipeline.topics.labels)
    pipeline.wait_rows(
        f"SELECT sum(n) >= {FIRST} AND max(sealed) FROM volume FINAL WHERE slice = 'all'", "the first half"
    )
    pipeline.produce(messages(events[FIRST : FIRST + 500]))
    with pipeline.client as client:
        for sql in backups(database, f"{database}/early")[0]:
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
        for sql in backups(database, f"{database}/late")[0]:
            client.command(sql)
    tables = contents(engine, database)
    with LocalClickHouse(tmp_path / "fresh", port=0) as fresh:
        shutil.copytree(engine.data_dir / "backups" / database, fresh.data_dir / "backups" / database)
        # A backup of an idle database is restored bit by bit.
        with connect(fresh.address("default")) as client:
            for sql in backups(database, f"{database}/late")[1]:
                client.command(sql)
            assert contents(fresh, database) == tables
            client.command(f"DROP DATABASE {database} SYNC")
            for sql in backups(database, f"{database}/early")[1]:
                client.command(sql)
        restored = replace(pipeline, address=fresh.address(database), processes={})
        assert restored.rows("SELECT sum(n) FROM volume FINAL WHERE slice = 'all'")[0][0] < ALL
        early = contents(fresh, database)
        assert [early[name] for name in ("contracts", "baselines")] == [tables["contracts"], tables["baselines"]]
        resets = rewind(settings_of(restored), dry_run=True)
        moves = rewind(settings_of(restored))
        assert moves == resets
        topics = pipeline.topics
        back = {move.topic for move in moves if move.committed and move.target < move.committed}
        assert back >= {topics.predictions, topics.labels, topics.partials}
        # The second run finds nothing to do.
        assert all(move.target == move.committed for move in rewind(settings_of(restored)))
        try:
            restored.start_all("sketcher", "recorder", "monitor")
            restored.wait_rows(whole, "sealed volume after the restore")
            restored.wait_rows(raw, "raw rows after the restore")
            restored.wait_settled()
        finally:
            restored.stop()
        assert rows(restored) == undisturbed
        assert restored.rows("SELECT count() FROM lost_ranges") == [(0,)]
        assert restored.rows("SELECT count(), uniqExact(id) FROM all_predictions") == [(ALL, ALL)]
        assert restored.rows("SELECT count(), uniqExact(id) FROM labels FINAL") == [(LABELS, LABELS)]
