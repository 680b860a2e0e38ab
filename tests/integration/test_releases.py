"""Every version counts the events and judges the partials of each release as that did, and migrates its tables."""

from contextlib import suppress
from pathlib import Path

import pytest
from barograph import load_contract

from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.sketches.baseline.baseline import load_baseline
from tests.support.pipeline import Pipeline, wait_for
from tests.support.released_data import COUNTS, FOLDERS, answers_of, is_equal, read, restored

EXPIRING = (
    "SELECT name FROM system.tables WHERE database = {database:String} AND position(create_table_query, ' TTL ') > 0"
)
pytestmark = [pytest.mark.smoke, pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)]


@pytest.mark.parametrize("topics", [("predictions", "labels"), ("partials",)], ids=["events", "partials"])
def test_messages_of_a_release_are_counted_as_then(pipeline: Pipeline, folder: Path, topics: tuple[str, ...]) -> None:
    baseline = load_baseline((folder / "baseline.json").read_bytes(), "baseline.json")
    pipeline.prepare(load_contract(folder / "contract.yaml"), [baseline], source_partitions=2)
    with pipeline.client as client:
        for (name,) in client.rows(EXPIRING, {"database": client.database}):
            client.command(f"ALTER TABLE {name} REMOVE TTL")
    for topic in topics:
        sent = [m for m in read(folder, "messages") if m["topic"] == topic]
        pipeline.produce(
            ((m["partition"], m["value"], [(k, v.encode()) for k, v in m["marks"]]) for m in sent),
            getattr(pipeline.topics, topic),
        )
    pipeline.start_all("monitor", *(() if "partials" in topics else ("sketcher", "recorder")), retention_days=100_000)
    expected = {sql: read(folder, "answers")[sql] for sql in COUNTS}
    with pipeline.client as client:
        with suppress(AssertionError):
            wait_for(lambda: is_equal([*answers_of(client, COUNTS).values()], [*expected.values()]), "the answers", 120)
        for sql, rows in answers_of(client, COUNTS).items():
            assert is_equal(rows, expected[sql]), (sql, rows, expected[sql])


def test_tables_of_a_release_are_migrated_with_equal_views(
    engine: LocalClickHouse, database: str, folder: Path
) -> None:
    with restored(engine.address(database), read(folder, "tables")) as client:
        expected = {sql: rows for sql, rows in read(folder, "answers").items() if sql not in COUNTS}
        assert len(expected) > 20
        for sql, rows in answers_of(client, expected).items():
            assert rows == expected[sql], sql
