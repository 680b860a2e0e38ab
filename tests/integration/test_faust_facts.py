"""The behavior of Faust on Apache Kafka that the monitor relies on. Run these tests at every upgrade of Faust."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from barograph_server.local.kafka import LocalKafka
from barograph_server.streams.topics import Topics
from tests.support import faust_probe
from tests.support.forked_processors import Running, fork
from tests.support.pipeline import wait_for


class Probe:
    """One topic `partials`, and processes that read it as the monitor does."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path) -> None:
        self.bootstrap, self.prefix, self.topic, self.folder = bootstrap, prefix, Topics(prefix).partials, folder
        self.processes: list[Running] = []
        admin = AdminClient({"bootstrap.servers": bootstrap})
        admin.create_topics([NewTopic(self.topic, 1, 1)])[self.topic].result(30)

    def start(self, name: str, **options: Any) -> tuple[Running, Callable[[], list[tuple[int, str]]]]:
        """Start a process, and return it with a function that reads the offsets and texts it has handled so far."""
        handled = self.folder / f"{name}.handled"
        handled.touch()
        arguments = {"bootstrap": self.bootstrap, "prefix": self.prefix, "handled": str(handled), **options}
        process = fork(faust_probe.main, [json.dumps(arguments)], self.folder / f"{name}.log", os.environ)
        self.processes.append(process)

        def records() -> list[tuple[int, str]]:
            return [(offset, text) for _, offset, text in map(json.loads, handled.read_text().splitlines())]

        return process, records

    def produce(self, texts: list[str], **config: Any) -> None:
        producer = Producer({"bootstrap.servers": self.bootstrap, **config})
        for text in texts:
            producer.produce(self.topic, text.encode(), partition=0)
        assert producer.flush(30) == 0


@pytest.fixture
def probe(broker: LocalKafka, topic_prefix: str, tmp_path: Path) -> Iterator[Probe]:
    probe = Probe(broker.bootstrap_servers, topic_prefix, tmp_path)
    yield probe
    for process in probe.processes:
        process.kill()
        process.wait(30)


@pytest.mark.long
def test_records_of_every_codec_are_read_and_a_failed_one_is_redelivered(probe: Probe) -> None:
    codecs = ["none", "gzip", "snappy", "lz4", "zstd", "lz4", "zstd"]
    for i, codec in enumerate(codecs):
        probe.produce([f"m{i}" * 200], **{"compression.type": codec})
    failing, records = probe.start("failing", fail_at=3)
    assert failing.wait(60) == 1
    assert records() == [(i, f"m{i}" * 200) for i in range(4)]
    # A file with this name keeps the next process from failing too.
    (probe.folder / "next.failed").touch()
    _, redelivered = probe.start("next", fail_at=3)
    wait_for(lambda: len(redelivered()) >= 4 and redelivered()[-1][0] == 6, "records from the failing one on")
    assert redelivered()[0][0] <= 3
    assert redelivered() == [(i, f"m{i}" * 200) for i in range(redelivered()[0][0], 7)]


@pytest.mark.long
def test_unacknowledged_records_are_redelivered_after_an_orderly_stop(probe: Probe) -> None:
    probe.produce([f"m{i}" for i in range(7)])
    first, records = probe.start("first", withhold_from=4)
    wait_for(lambda: len(records()) == 7, "all records")
    first.send_signal(signal.SIGTERM)
    # With the default of stream_wait_empty, it would wait forever for acknowledgements.
    assert first.wait(20) == 0
    _, redelivered = probe.start("second")
    wait_for(lambda: bool(redelivered()) and redelivered()[-1][0] == 6, "the unacknowledged records")
    assert [offset for offset, _ in redelivered()] == [4, 5, 6]


def test_only_the_committed_only_transport_skips_aborted_records(probe: Probe) -> None:
    producer = Producer({"bootstrap.servers": probe.bootstrap, "transactional.id": f"{probe.prefix}writer"})
    producer.init_transactions(30)
    for i, abort in enumerate([False, True, False, True, False]):
        producer.begin_transaction()
        for j in range(3):
            producer.produce(probe.topic, f"{'aborted' if abort else 'committed'} {i}{j}".encode(), partition=0)
        assert producer.flush(30) == 0
        if abort:
            producer.abort_transaction(30)
        else:
            producer.commit_transaction(30)
    _, committed = probe.start("committed")
    _, uncommitted = probe.start("uncommitted", uncommitted_too=True, group="another")
    wait_for(lambda: bool(committed()) and committed()[-1][1] == "committed 42", "the last record")
    assert [text for _, text in committed()] == [f"committed {i}{j}" for i in (0, 2, 4) for j in range(3)]
    # Faust's own transport delivers aborted records.
    wait_for(lambda: bool(uncommitted()) and uncommitted()[-1][1] == "committed 42", "the last record")
    assert sum(text.startswith("aborted") for _, text in uncommitted()) == 6
