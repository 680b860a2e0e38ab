"""The demo's parts that ask Kafka and ClickHouse; the whole of it is the last step of .ci/run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import pyarrow as pa
import pytest
from barograph.contract_yaml import dump_contract
from confluent_kafka.admin import AdminClient

from cli.apply import apply_all
from cli.demo.counts import STAGES, StageCount, stage_counts
from cli.demo.findings import read_findings
from cli.demo.flights import DAY, DAY_S, HOUR_S, MODEL, VERSION, WEEK, Calendar, last_pane_end
from cli.demo.fresh import DATABASE, fresh_settings, wipe
from cli.demo.sql import drift_sql, outage_sql
from local.clickhouse import LocalClickHouse
from local.kafka import LocalKafka
from local.stack import StackAddresses
from tests.support.pipeline import simple_baseline, simple_contract, wait_for
from warehouse.client import Client, connect
from warehouse.tables import insert_rows

SHIFT = (datetime.now(UTC) - datetime(2014, 1, 2, tzinfo=UTC)) // timedelta(weeks=1)
"""Up to the present, as in the demo: ClickHouse forgets rows whose event time is years ago."""
END = datetime(2014, 1, 1, 5, tzinfo=UTC) + timedelta(weeks=SHIFT)


@pytest.fixture
def addresses(broker: LocalKafka, engine: LocalClickHouse) -> Iterator[StackAddresses]:
    found = StackAddresses(broker.bootstrap_servers, engine.port, engine.host)
    yield found
    wipe(found)


@pytest.fixture
def client(addresses: StackAddresses) -> Iterator[Client]:
    settings = fresh_settings(addresses)
    apply_all(settings, [], [])
    with connect(settings.warehouse) as opened:
        yield opened


def demo_topics(addresses: StackAddresses) -> set[str]:
    admin = AdminClient({"bootstrap.servers": addresses.bootstrap_servers})
    return {name for name in admin.list_topics(timeout=30).topics if name.startswith("demo-")}


def test_each_run_has_topics_of_its_own_and_an_empty_database(addresses: StackAddresses) -> None:
    contract = msgspec.structs.replace(simple_contract(), model=MODEL)
    baseline = msgspec.structs.replace(simple_baseline(100), model=MODEL)
    first = fresh_settings(addresses)
    apply_all(first, [(contract, dump_contract(contract))], [baseline])
    topics = wait_for(lambda: demo_topics(addresses), "the topics of the first run")
    assert all(name.startswith(first.topic_prefix) for name in topics)

    wipe(addresses)
    wait_for(lambda: not demo_topics(addresses), "the topics of the first run to go")
    with connect(first.warehouse, create=True) as opened:
        assert opened.rows(f"SHOW TABLES FROM {DATABASE}") == []
    wipe(addresses)  # a first run finds nothing, and that is well
    wait_for(lambda: fresh_settings(addresses).topic_prefix != first.topic_prefix, "the next second")


def test_counts_of_an_empty_pipeline_are_zero(client: Client) -> None:
    assert stage_counts(client, 0) == dict.fromkeys(STAGES, StageCount(0))


def test_counts_are_what_processors_and_tables_say(client: Client) -> None:
    now_ms = int(time.time() * 1000)
    insert_rows(
        client,
        "processors",
        [
            {"kind": kind, "instance": "demo", "at": now_ms, "host": "h", "pid": 1, "started_at": now_ms, "lag": lag}
            | {"events": events, "rate": 12.5, "retries": 0, "dead_letters": 0, "last_commit_at": now_ms, "details": {}}
            for kind, lag, events in (("sketcher", 3, 40), ("monitor", -1, 30))
        ],
    )
    for hours, sealed in ((2, True), (1, False)):
        insert_rows(client, "volume", [_volume(END - timedelta(hours=hours), 7, sealed=sealed)])
    assert stage_counts(client, 99) == {
        "published": StageCount(99),
        "sketched": StageCount(40, 12.5, 3),
        "recorded": StageCount(0),
        "judged": StageCount(7, 12.5, 0),
    }


def test_findings_and_the_queries_that_are_printed(client: Client) -> None:
    week_ends = [datetime(2013, 9, day, tzinfo=UTC) + timedelta(weeks=SHIFT) for day in (19, 20, 21)]
    for end, level in zip(week_ends, ("stable", "major", "major"), strict=True):
        insert_rows(client, "drift", [_drift("temp", end, level)])
    for field, level in (("temp", "major"), ("humid", "stable")):
        insert_rows(client, "rates", [_rate(field, level)])
    insert_rows(client, "volume", [_volume(END - timedelta(hours=1), 7, sealed=True)])

    found = read_findings(client, Calendar(SHIFT), END, 7, 0)
    assert (found.counts.published, found.counts.counted, found.counts.recorded) == (7, 7, 0)
    assert (found.counts.verdicts, found.counts.rate_verdicts) == (3, 2)
    assert [(f"{day:%d %b}", level) for day, level in found.weeks["temp"]] == [
        ("19 Sep", "stable"),
        ("20 Sep", "major"),
        ("21 Sep", "major"),
    ]
    assert [(row.field, row.window_end) for row in found.first_critical] == [("temp", week_ends[1])]
    assert [(row.field, row.level) for row in found.outage] == [("humid", "stable"), ("temp", "major")]

    rows = client.rows(drift_sql(found.first_critical[0], Calendar(SHIFT)))
    assert [(row[0].replace(tzinfo=UTC), row[1]) for row in rows] == [
        (datetime(2013, 9, 19, tzinfo=UTC), "stable"),
        (datetime(2013, 9, 20, tzinfo=UTC), "major"),
        (datetime(2013, 9, 21, tzinfo=UTC), "major"),
    ]
    assert [row[:4] for row in client.rows(outage_sql(found.outage[1]))] == [("temp", "major", 776, 700)]


def test_the_record_ends_with_the_hour_of_the_last_prediction() -> None:
    at = [END - timedelta(hours=1), END - timedelta(minutes=1)]
    assert last_pane_end(pa.table({"at": pa.array(at, pa.timestamp("ms", "UTC"))})) == END


def _volume(start: datetime, n: int, *, sealed: bool) -> dict[str, object]:
    return {
        "parts_partition": 0,
        "model": MODEL,
        "version": VERSION,
        "baseline_id": "b",
        "slice": "all",
        "pane_start": int(start.timestamp()),
        "pane_s": HOUR_S,
        "n": n,
        "errors": 0,
        "timed": 0,
        "slow": 0,
        "late": 0,
        "sealed": sealed,
        "unregistered": False,
        "pos": 1,
    }


def _verdict(field: str, level: str, window: str, end: datetime, length_s: int) -> dict[str, object]:
    end_s = int(end.timestamp())
    return {
        "model": MODEL,
        "version": VERSION,
        "baseline_id": "b",
        "slice": "all",
        "field": field,
        "window": window,
        "window_start": end_s - length_s,
        "window_end": end_s,
        "n": 776,
        "p_value": 0.01,
        "phi": 1.0,
        "level": level,
        "line_minor": 0.1,
        "line_major": 0.2,
        "completeness": 1.0,
        "judged_at": 0,
        "pos": 1,
    }


def _drift(field: str, end: datetime, level: str) -> dict[str, object]:
    return _verdict(field, level, WEEK.name, end, 7 * DAY_S) | {
        "psi": 0.3,
        "psi_low": 0.2,
        "psi_high": 0.4,
        "js": 0.1,
        "q_value": 0.01,
        "df": 9,
        "season": "none",
        "top_bin": "[1, 2)",
        "top_bin_index": 1,
        "expected_share": 0.1,
        "actual_share": 0.2,
        "visible_shift": 0.1,
    }


def _rate(field: str, level: str) -> dict[str, object]:
    return _verdict(field, level, DAY.name, END, DAY_S) | {
        "kind": "null",
        "k": 700,
        "rate": 0.9,
        "baseline_rate": 0.001,
        "delta": 0.899,
        "delta_low": 0.5,
        "delta_high": 0.95,
    }
