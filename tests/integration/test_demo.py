"""The demo's parts that ask Kafka and ClickHouse; the whole of it is the last step of .ci/run."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from barograph.contract.file import dump_contract
from confluent_kafka.admin import AdminClient

from cli.apply import apply_all
from cli.demo.chart_data import read_scores
from cli.demo.flights import (
    MODEL,
    VERSION,
    Calendar,
)
from cli.demo.fresh_start import DRIFT_DEMO, fresh_settings, wipe
from local.clickhouse import LocalClickHouse
from local.credentials import read_passwords
from local.kafka import LocalKafka
from local.stack import StackAddresses
from tests.support.pipeline import simple_baseline, simple_contract, wait_for
from warehouse.client import Client, connect
from warehouse.tables import insert_rows

SHIFT = (datetime.now(UTC) - datetime(2014, 1, 2, tzinfo=UTC)) // timedelta(weeks=1)
"""Shift to the present, as in the demo: ClickHouse deletes rows whose event time is years ago."""
AWAY = timedelta(weeks=SHIFT)
CALENDAR = Calendar(SHIFT)
WEEK_BEGIN = datetime(2013, 12, 5, tzinfo=UTC) + AWAY
"""A Thursday, on which whole weeks since 1970 begin."""
END = datetime(2014, 1, 1, 5, tzinfo=UTC) + AWAY


@pytest.fixture
def addresses(broker: LocalKafka, engine: LocalClickHouse) -> Iterator[StackAddresses]:
    result = StackAddresses(broker.bootstrap_servers, engine.port, read_passwords(engine.data_dir))
    yield result
    wipe(result)


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
        assert opened.rows(f"SHOW TABLES FROM {DRIFT_DEMO.database}") == []
    wipe(addresses)  # a first run finds nothing, and that is well
    wait_for(lambda: fresh_settings(addresses).topic_prefix != first.topic_prefix, "the next second")


def test_scores_are_charted_with_positive_rates_by_week(client: Client) -> None:
    insert_rows(client, "scorer_models", [scorer_row()])
    for days, labelled, positives in ((1, 4, 1), (3, 6, 3), (8, 10, 5)):
        start = f"toDateTime({int((WEEK_BEGIN + timedelta(days=days)).timestamp())}, 'UTC')"
        client.command(
            "INSERT INTO performance_state (model, version, basis, slice, window_start, bins, bin_labelled, "
            f"bin_labelled_scores, bin_positives) SELECT '{MODEL}', '{VERSION}', 'now', 'all', {start}, [7], "
            f"[{labelled}], [{labelled / 2}], [{positives}]"
        )
    result = read_scores(client, CALENDAR)
    ends = [CALENDAR.end_date(WEEK_BEGIN + timedelta(days=days)) for days in (7, 14)]
    assert result == [(ends[0], 0.5, 0.4), (ends[1], 0.5, 0.5)]


def scorer_row() -> dict[str, object]:
    return {
        "model": MODEL,
        "state": "scored",
        "reason": "",
        "basis": "now",
        "kind": "binary",
        "raw_share": 1.0,
        "newest_at": 0,
        "scored_until": 0,
        "updated_at": 1,
    }
