"""What the monitor relies on in Faust, on Apache Kafka; to be run again at every upgrade of it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from local.kafka import LocalKafka
from streams.topics import Topics
from tests.support.pipeline import ROOT, wait_for


class Probe:
    """One topic `parts` and processes that read it the monitor's way."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path) -> None:
        self.bootstrap, self.prefix, self.topic, self.folder = bootstrap, prefix, Topics(prefix).parts, folder
        self.processes: list[subprocess.Popen[bytes]] = []
        admin = AdminClient({"bootstrap.servers": bootstrap})
        admin.create_topics([NewTopic(self.topic, 1, 1)])[self.topic].result(30)

    def start(self, name: str, **told: Any) -> tuple[subprocess.Popen[bytes], Callable[[], list[tuple[int, str]]]]:
        """Start a process; the second result reads what it has seen so far: offsets and texts."""
        seen = self.folder / f"{name}.seen"
        seen.touch()
        given = {"bootstrap": self.bootstrap, "prefix": self.prefix, "seen": str(seen), **told}
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.faust_probe", json.dumps(given)], cwd=ROOT, stdout=log, stderr=log
            )
        self.processes.append(process)
        return process, lambda: [(offset, text) for _, offset, text in map(json.loads, seen.read_text().splitlines())]

    def produce(self, texts: list[str], **config: Any) -> None:
        producer = Producer({"bootstrap.servers": self.bootstrap, **config})
        for text in texts:
            producer.produce(self.topic, text.encode(), partition=0)
        assert producer.flush(30) == 0


@pytest.fixture
def probe(broker: LocalKafka, topic_prefix: str, tmp_path: Path) -> Iterator[Probe]:
    made = Probe(broker.bootstrap_servers, topic_prefix, tmp_path)
    yield made
    for process in made.processes:
        process.kill()
        process.wait(30)


@pytest.mark.slow
def test_records_of_every_codec_are_read_and_one_that_fails_is_delivered_again(probe: Probe) -> None:
    codecs = ["none", "gzip", "snappy", "lz4", "zstd", "lz4", "zstd"]
    for i, codec in enumerate(codecs):
        probe.produce([f"m{i}" * 200], **{"compression.type": codec})
    failing, seen = probe.start("failing", fail_at=3)
    assert failing.wait(60) == 1
    assert seen() == [(i, f"m{i}" * 200) for i in range(4)]
    # The mark that it failed once goes with the file's name, so this one fails no more.
    (probe.folder / "next.failed").touch()
    _, again = probe.start("next", fail_at=3)
    wait_for(lambda: len(again()) >= 4 and again()[-1][0] == 6, "records from the failing one on", 60)
    assert again()[0][0] <= 3
    assert again() == [(i, f"m{i}" * 200) for i in range(again()[0][0], 7)]


@pytest.mark.slow
def test_what_is_not_acknowledged_is_delivered_again_after_an_orderly_stop(probe: Probe) -> None:
    probe.produce([f"m{i}" for i in range(7)])
    first, seen = probe.start("first", withhold_from=4)
    wait_for(lambda: len(seen()) == 7, "all records", 60)
    first.send_signal(signal.SIGTERM)
    # With the default stream_wait_empty this would wait for acknowledgements that never come.
    assert first.wait(20) == 0
    _, again = probe.start("second")
    wait_for(lambda: bool(again()) and again()[-1][0] == 6, "what was withheld", 60)
    assert [offset for offset, _ in again()] == [4, 5, 6]


@pytest.mark.slow
def test_only_our_transport_keeps_aborted_records_away(probe: Probe) -> None:
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
    _, all_of_it = probe.start("uncommitted", uncommitted_too=True, group="another")
    wait_for(lambda: bool(committed()) and committed()[-1][1] == "committed 42", "the last record", 60)
    assert [text for _, text in committed()] == [f"committed {i}{j}" for i in (0, 2, 4) for j in range(3)]
    # This is what Faust's own transport delivers.
    wait_for(lambda: bool(all_of_it()) and all_of_it()[-1][1] == "committed 42", "the last record", 60)
    assert sum(text.startswith("aborted") for _, text in all_of_it()) == 6
