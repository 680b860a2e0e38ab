"""What a demo deletes on the local stack; the whole of it is the last step of .ci/run."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from barograph.contract.file import dump_contract
from confluent_kafka.admin import AdminClient, NewTopic

from barograph_server.examples.demo.fresh_start import fresh_settings, wipe
from barograph_server.examples.flights.contract import MODEL
from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.local.credentials import read_passwords
from barograph_server.local.kafka import LocalKafka
from barograph_server.local.stack import StackAddresses
from barograph_server.provisioning import apply_all
from barograph_server.warehouse.client import connect
from tests.support.pipeline import simple_baseline, simple_contract, wait_for


@pytest.fixture
def addresses(broker: LocalKafka, engine: LocalClickHouse) -> Iterator[StackAddresses]:
    result = StackAddresses(broker.bootstrap_servers, engine.port, read_passwords(engine.data_dir))
    yield result
    wipe(result)


def test_each_run_has_topics_of_its_own_and_an_empty_database(addresses: StackAddresses, topic_prefix: str) -> None:
    contract = msgspec.structs.replace(simple_contract(), model=MODEL)
    baseline = msgspec.structs.replace(simple_baseline(100), model=MODEL)
    admin = AdminClient({"bootstrap.servers": addresses.bootstrap_servers})

    def topics(prefix: str) -> set[str]:
        return {name for name in admin.list_topics(timeout=30).topics if name.startswith(prefix)}

    other = f"{topic_prefix}another"
    admin.create_topics([NewTopic(other, 1, 1)])[other].result(30)
    first = fresh_settings(addresses)
    apply_all(first, [(contract, dump_contract(contract))], [baseline])
    wait_for(lambda: topics(first.topic_prefix), "the topics of the first run")
    wipe(addresses)
    wait_for(lambda: not topics("demo-"), "the topics of the first run to go")
    assert topics(other), "topics of others stay"
    with connect(first.warehouse, create=True) as client:
        assert client.rows(f"SHOW TABLES FROM {first.warehouse.database}") == []
    wipe(addresses)  # a first run finds nothing, and that is well
    wait_for(lambda: fresh_settings(addresses).topic_prefix != first.topic_prefix, "the next second")
