"""Publishers on Apache Kafka: order, partitions, end markers, forks, process exits, outages, other languages."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from barograph import Contract, Publisher, PublishError, dump_contract
from barograph.contract import Field
from barograph.events import ARROW_CONTENT_TYPE, CONTENT_TYPE_HEADER, END_MARK, HEARTBEAT_MARK, MARK_HEADER, label_key
from confluent_kafka import Message
from confluent_kafka.admin import AdminClient, NewTopic

from barograph_server.local.kafka import LocalKafka
from barograph_server.local.kafka_jars import kafka_jars
from barograph_server.streams.events.batch import MessageBatch
from barograph_server.streams.events.json_decoder import JsonDecoder
from barograph_server.streams.registry.registry import Registry
from tests.support.missing_dependencies import skip_or_fail
from tests.support.pipeline import ROOT, read_topic

CONTRACT = Contract(model="m", fields=(Field(name="x", type="float", source="features.x"),))
PARTITIONS = 3
Run = Callable[..., None]


@pytest.fixture
def topics(broker: LocalKafka, topic_prefix: str) -> str:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    new = [NewTopic(f"{topic_prefix}{name}", PARTITIONS, 1) for name in ("predictions", "labels")]
    for future in admin.create_topics(new).values():
        future.result(timeout=30)
    return topic_prefix


def read(broker: LocalKafka, topic: str) -> list[Message]:
    return sorted(read_topic(broker.bootstrap_servers, topic), key=lambda each: (each.partition(), each.offset()))


def events(messages: list[Message]) -> list[dict[str, Any]]:
    received: list[dict[str, Any]] = []
    for message in messages:
        headers = dict(message.headers() or [])
        if MARK_HEADER in headers:
            continue
        if headers.get(CONTENT_TYPE_HEADER) == ARROW_CONTENT_TYPE:
            received += pa.ipc.open_stream(message.value()).read_all().to_pylist()
        else:
            received.append(json.loads(message.value() or b""))
    return received


@pytest.mark.smoke
def test_all_events_are_delivered_once_in_the_partitions_of_their_ids_before_the_end(
    broker: LocalKafka, topics: str
) -> None:
    """Through a queue that is smaller than the number of events, since the calls wait."""
    ids = [f"größe-{i}" for i in range(500)]
    options: Any = {"topic_prefix": topics, "on_full": "wait", "max_queued": 100}
    publisher = Publisher.from_contract(CONTRACT, version="3", bootstrap_servers=broker.bootstrap_servers, **options)
    for i in range(3_000):
        publisher.prediction(id=str(i), features={"x": i / 2}, at=i)
    n = 7_000
    assert publisher.predictions(pa.table({"id": [f"t{i}" for i in range(n)], "x": [0.5] * n})) == n
    for event_id in ids:
        publisher.label(id=event_id, label=False)
    assert publisher.labels(pa.table({"id": ids, "label": [True] * len(ids)})) == len(ids)
    publisher.publish_end_marker()
    stats = publisher.stats
    # End markers are not events.
    assert (stats.published, stats.dropped, stats.failed, stats.waiting) == (11_000, {}, 0, 0)
    publisher.close()
    predictions, labels = (read(broker, f"{topics}{topic}") for topic in ("predictions", "labels"))
    received = events(predictions)
    assert sorted(event["seq"] for event in received) == list(range(10_000))
    assert len({event["id"] for event in received}) == 10_000
    assert len({event["producer"] for event in received}) == 1
    assert sorted((event["id"], event["label"]) for event in events(labels)) == sorted(
        (event_id, truth) for event_id in ids for truth in (False, True)
    )
    arrow = sum(dict(message.headers() or []).get(CONTENT_TYPE_HEADER) == ARROW_CONTENT_TYPE for message in labels)
    assert 0 < arrow <= PARTITIONS
    for message in labels:
        for event in events([message]):
            assert message.partition() == zlib.crc32(label_key("m", event["id"])) % PARTITIONS
    for messages in (predictions, labels):
        for partition in range(PARTITIONS):
            last = [message for message in messages if message.partition() == partition][-1]
            assert (last.headers(), last.value() or b"") == ([(MARK_HEADER, END_MARK)], b"")


@pytest.mark.smoke
def test_an_unavailable_broker_neither_blocks_nor_breaks_serving() -> None:
    publisher = Publisher.from_contract(
        CONTRACT, version="3", bootstrap_servers="127.0.0.1:9", max_queued=100, max_queued_bytes=1 << 20
    )
    times_s = [time.perf_counter()]
    for i in range(1_000):
        publisher.prediction(id=str(i), features={"x": 1.0})
        times_s.append(time.perf_counter())
    assert max(np.diff(times_s)) < 1.0
    assert (publisher.stats.dropped, publisher.stats.waiting) == ({"queue-full": 900}, 100)
    begun_s = time.perf_counter()
    assert publisher.labels(pa.table({"id": ["a"], "label": [True]})) == 1, "labels have their own queue"
    assert time.perf_counter() - begun_s < 1.0, "the call does not wait for the number of partitions"
    assert (publisher.stats.waiting, publisher.flush(0.1), publisher.close(0.1)) == (101, 101, 101)


def test_a_batch_job_gets_an_error_if_no_broker_answers_or_topics_are_missing(
    broker: LocalKafka, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("barograph.publisher.outbox.Outbox.fetch_partition_count.__defaults__", (0.2,))
        with pytest.raises(PublishError, match=r"no broker answers at 127\.0\.0\.1:9 within 0\.2 s .*start Kafka"):
            Publisher.from_contract(CONTRACT, version="3", bootstrap_servers="127.0.0.1:9", on_full="wait")
    with pytest.raises(PublishError, match=f"the topic {topic_prefix}predictions does not exist at .*barograph apply"):
        Publisher.from_contract(
            CONTRACT, version="3", bootstrap_servers=broker.bootstrap_servers, topic_prefix=topic_prefix, on_full="wait"
        )


def test_wrong_arguments_are_rejected_at_once() -> None:
    rejected: tuple[tuple[dict[str, Any], str], ...] = (
        ({"version": ""}, "version is empty; write a name"),
        ({"version": "3", "on_full": "block"}, "on_full is 'block'; write drop"),
        ({"version": "3", "kafka": {"no.such": 1}}, r"Kafka's client rejects its settings: .*no\.such.*; correct"),
    )
    for arguments, message in rejected:
        with pytest.raises(ValueError, match=message):
            Publisher.from_contract(CONTRACT, bootstrap_servers="127.0.0.1:9", **arguments)


@pytest.fixture
def run(broker: LocalKafka, topics: str, tmp_path: Path) -> Run:
    """Return what runs a script with a `publisher` in a new process, which must exit without an error in a minute."""
    contract = tmp_path / "m.yaml"
    contract.write_text(dump_contract(CONTRACT))

    def run_script(script: str, **arguments: Any) -> None:
        arguments |= {"version": "3", "topic_prefix": topics, "bootstrap_servers": broker.bootstrap_servers}
        head = f"""\
            import os, signal, sys, time
            from pathlib import Path
            from barograph import Publisher
            from barograph.publisher import lifetime
            publisher = Publisher.from_contract({str(contract)!r}, **{arguments!r})
            """
        command = [sys.executable, "-X", "faulthandler", "-W", "ignore::DeprecationWarning", "-c"]
        command.append("".join(map(textwrap.dedent, (head, script))))
        process = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (process.returncode, process.stderr) == (0, "")

    return run_script


def test_a_forked_child_is_a_separate_producer(broker: LocalKafka, topics: str, run: Run) -> None:
    """Parent and child deliver their events; the child neither resends the parent's events nor hangs at exit."""
    run("""
        for i in range(100): publisher.prediction(id=f"parent-{i}")
        child = os.fork()
        for i in range(50): publisher.prediction(id=f"{'child' if child == 0 else 'later'}-{i}")
        if child == 0: sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert publisher.stats.dropped == {}, publisher.stats
        publisher.close()
        child = os.fork()
        publisher.prediction(id="closed")
        assert child == 0 or os.waitpid(child, 0)[1] == 0
    """)
    received = events(read(broker, f"{topics}predictions"))
    numbers: dict[str, list[int]] = {}
    for event in received:
        numbers.setdefault(event["producer"], []).append(event["seq"])
    assert sorted(sorted(seqs) == list(range(len(seqs))) for seqs in numbers.values()) == [True, True]
    assert sorted(map(len, numbers.values())) == [50, 150]
    assert len({event["id"] for event in received}) == 200


def test_a_multiprocessing_worker_delivers_queued_events_at_exit(broker: LocalKafka, topics: str, run: Run) -> None:
    run("""
        import multiprocessing
        def serve(worker):
            for i in range(50): publisher.prediction(id=f"{worker}-{i}")
        context = multiprocessing.get_context("fork")
        workers = [context.Process(target=serve, args=(worker,)) for worker in range(2)]
        for worker in workers: worker.start()
        for worker in workers: worker.join()
        assert [worker.exitcode for worker in workers] == [0, 0]
    """)
    assert len({event["id"] for event in events(read(broker, f"{topics}predictions"))}) == 100


@pytest.mark.parametrize("end", ["signal.raise_signal(9)", "signal.raise_signal(15)", "sys.exit(0)"])
def test_farewells_say_what_processes_lost_that_ended_with_a_full_queue(
    broker: LocalKafka, topics: str, tmp_path: Path, run: Run, end: str
) -> None:
    state = tmp_path / "state"
    slow = {"batch.num.messages": 1, "max.in.flight": 1}
    script = f"""
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the log of lost events
            lifetime.EXIT_FLUSH_S = 0.1
            end_s = time.monotonic() + 3
            while time.monotonic() < end_s: publisher.prediction(id="a")
            Path({str(tmp_path / "last")!r}).write_text(str(publisher._outbox._last_seq()))
            {end}
        os.waitpid(child, 0)
        publisher._outbox._heartbeats._next_scan_s = 0
        while len(os.listdir({str(state)!r})) > 1: time.sleep(0.1)
    """
    run(script, max_queued=2_000, state_dir=str(state), kafka=slow)
    assert list(state.iterdir()) == []
    messages = read(broker, f"{topics}predictions")
    marked = [message for message in messages if message.headers() == [(MARK_HEADER, HEARTBEAT_MARK)]]
    *beats, farewell = [json.loads(message.value() or b"") for message in marked]
    numbers, last = [event["seq"] for event in events(messages)], int((tmp_path / "last").read_text())
    assert (farewell["seq"], farewell["ended"], "discarded" in farewell) == (last, True, end == "sys.exit(0)")
    assert len(numbers) == len(set(numbers)) < last, "the queue was full"
    assert 0 < beats[-1]["seq"] <= last < beats[-1]["queued"] * 1_000


EXAMPLES, BUILT = ROOT / "examples/producers", ROOT / ".cache/producers"
FIELDS = (
    Field(name="temp", type="float", source="features.temp"),
    Field(name="carrier", type="category", source="features.carrier"),
    Field(name="score", type="float", source="score"),
)


def command(language: str) -> list[str | Path]:
    if language == "go":
        words: list[str | Path] = [BUILT / "go-producer"]
    elif language == "typescript":
        words = ["node", BUILT / "producer.js"]
    else:
        words = ["java", "-cp", os.pathsep.join(map(str, kafka_jars())), EXAMPLES / "java/Producer.java"]
    if shutil.which(words[0]) is None or (language != "java" and not Path(words[-1]).exists()):
        skip_or_fail(f"the producer in {language} is missing: run `make producers` (needs Go, Node.js, a JDK)")
    return words


@pytest.mark.parametrize("language", ["go", "java", "typescript"])
def test_an_event_of_another_language_is_decoded(broker: LocalKafka, topic_prefix: str, language: str) -> None:
    program, topic = command(language), f"{topic_prefix}predictions"
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
    subprocess.run([*program, broker.bootstrap_servers, topic], check=True, timeout=120)
    values = [message.value() for message in read_topic(broker.bootstrap_servers, topic)]
    one, now_ms = np.zeros(1, np.int32), np.array([time.time_ns() // 1_000_000])
    decoder = JsonDecoder(Registry(contracts={"flight-delay": Contract(model="flight-delay", fields=FIELDS)}))
    decoded = decoder.decode(MessageBatch(values, one, one.astype(np.int64), now_ms))
    assert decoded.rejected == []
    (events,) = decoded.events
    assert len(events) == 1
    assert (events.numbers["features.temp"].tolist(), events.numbers["score"].tolist()) == ([71.6], [0.73])
    assert events.texts["features.carrier"].to_pylist() == ["B6"]
    assert abs(events.at_ms[0] - now_ms[0]) < 120_000
