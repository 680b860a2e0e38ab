"""The recorder on Kafka and ClickHouse: every event is recorded once, over crashes and recreated topics."""

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa
import pytest
from barograph.events import ARROW_CONTENT_TYPE, CONTENT_TYPE_HEADER, encode_arrow
from confluent_kafka.admin import AdminClient

from barograph_server.streams.recorder.recorder import Recorder, epoch_of
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.warehouse.client import Client, connect
from tests.support.pipeline import Pipeline, simple_baseline, simple_contract, wait_for
from tests.support.poison import KINDS
from tests.support.scoring import Killed, MortalClient
from tests.support.sketching import settings_of, toy_registry

NOW_MS = int(time.time() * 1000) - 1_000_000
ARROW = [(CONTENT_TYPE_HEADER, ARROW_CONTENT_TYPE)]
END = [("barograph-mark", b"end")]
Message = tuple[int, bytes | None, list[tuple[str, bytes]] | None]


def prediction(i: int) -> dict[str, Any]:
    features = {"x": i / 8, "k": i % 5, "flag": i % 2 == 0, "colour": None if i % 7 == 0 else "red"}
    plain = {"model": "toy", "version": "1", "id": f"e{i}", "at": NOW_MS + i}
    return plain | {"features": features, "context": {"region": "north"}, "seq": i}


def shadow(i: int) -> dict[str, Any]:
    return prediction(i) | {"version": "2", "role": "shadow"}


def json_events(numbers: Iterable[int], partitions: int = 1) -> Iterator[Message]:
    return ((i % partitions, json.dumps(prediction(i)).encode(), None) for i in numbers)


def arrow_events(numbers: range, partition: int, event: Callable[[int], dict[str, Any]] = prediction) -> Message:
    columns: dict[str, list[Any]] = {}
    for i in numbers:
        for name, value in event(i).items():
            members = {f"{name}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}
            for column, each in members.items():
                columns.setdefault(column, []).append(each)
    return partition, encode_arrow(pa.table(columns)), ARROW


def label(i: int) -> dict[str, Any]:
    return {"model": "toy", "id": f"e{i}", "label": i % 3 == 0, "at": NOW_MS + i}


@pytest.mark.smoke
def test_every_event_is_recorded_once_although_a_batch_is_read_again(pipeline: Pipeline) -> None:
    pipeline.prepare(source_partitions=3)
    n_json, n = 6_000, 9_000
    pipeline.produce(json_events(range(n_json), partitions=3))
    pipeline.produce(arrow_events(range(start, start + 1000), start % 3) for start in range(n_json, n, 1000))
    pipeline.produce((i % 3, json.dumps(shadow(i)).encode(), None) for i in range(500))
    pipeline.produce([arrow_events(range(500, 1_000), 1, shadow)])
    labels = [b"bad"] * 3 + [json.dumps(label(i)).encode() for i in range(3_000)]
    pipeline.produce(((i % 3, value, None) for i, value in enumerate(labels)), pipeline.topics.labels)
    for topic in (pipeline.topics.predictions, pipeline.topics.labels):
        pipeline.produce(((p, b"", END) for p in range(3)), topic)
    settings = settings_of(pipeline, instance="recorder-0")
    crashing: Any = lambda address: MortalClient(connect(address), 1, ("labels",))  # noqa: E731
    with pytest.raises(Killed):
        Recorder(settings, toy_registry, Report("recorder", "recorder-0"), connect_to=crashing).run(threading.Event())
    assert pipeline.rows("SELECT count() > 0 FROM labels") == [(True,)]
    assert pipeline.read_all(pipeline.topics.labels_dead) == [], "dead letters are sent with the commit"
    for name in ("recorder-0", "recorder-1"):
        pipeline.start("recorder", name)
    for table, rows in (("predictions", n), ("shadow_predictions", 1_000), ("labels", 3_000)):
        pipeline.wait_rows(f"SELECT uniqExact(id) = {rows} FROM {table}", f"all {table}")
    wait_for(lambda: len(pipeline.read_all(pipeline.topics.labels_dead)) == 3, "dead labels")
    pipeline.stop()
    assert pipeline.rows("SELECT count() FROM all_predictions") == [(n,)]
    shadows = pipeline.rows("SELECT version, seq, numbers['x'], unknown FROM shadow_predictions FINAL ORDER BY seq")
    assert shadows == [("2", i, i / 8, 0) for i in range(1_000)]
    labelled = "SELECT count(), uniqExact(id), countIf(label = 'true') FROM labels FINAL"
    assert pipeline.rows(labelled) == [(3_000, 3_000, 1_000)]
    matches = pipeline.rows(
        "SELECT seq, id, toUnixTimestamp64Milli(at), numbers['x'], numbers['k'], numbers['flag'], strings['colour'], "
        "nulls, context['region'], unknown, epoch FROM predictions FINAL ORDER BY seq"
    )
    assert matches == [
        (
            *(i, f"e{i}", NOW_MS + i, i / 8, i % 5, float(i % 2 == 0), "" if i % 7 == 0 else "red"),
            *(["colour"] if i % 7 == 0 else [], "north", 0, 0),
        )
        for i in range(n)
    ]
    assert len(pipeline.read_all(pipeline.topics.labels_dead)) == 3


def test_invalid_labels_are_dead_lettered_and_invalid_predictions_left_to_the_sketcher(pipeline: Pipeline) -> None:
    pipeline.prepare()
    pipeline.produce((0, kind.make(prediction(i)), kind.headers) for i, kind in enumerate(KINDS))
    rows = sum(kind.good_rows + (kind.reason is None) for kind in KINDS)
    bad = pa.table({"model": ["toy", "nobody's"], "id": ["a", "b"], "label": [0.5, 0.5], "at": pa.array([NOW_MS] * 2)})
    changed = [json.dumps(label(1) | change).encode() for change in ({"label": None}, {"model": "nobody's"})]
    labels: list[Message] = [
        *((0, value, None) for value in (json.dumps(label(0)).encode(), b"{", b"", *changed)),
        (0, encode_arrow(bad), ARROW),
        (0, b"nope", ARROW),
        (0, b"", END),
    ]
    pipeline.produce(labels, pipeline.topics.labels)
    pipeline.start("recorder")
    pipeline.wait_rows(f"SELECT count() = {rows} FROM predictions FINAL", f"{rows} predictions")
    pipeline.wait_rows("SELECT count() = 2 FROM labels FINAL", "labels")
    pipeline.wait_rows("SELECT max(dead_letters) = 6 FROM processors WHERE kind = 'recorder'", "dead letters reported")
    pipeline.stop()
    assert pipeline.rows("SELECT id, label, label_type, offset, message_index FROM labels FINAL ORDER BY id") == [
        ("a", "0.5", "number", 5, 0),
        ("e0", "true", "bool", 0, 0),
    ]
    dead = {}
    for message in pipeline.read_all(pipeline.topics.labels_dead):
        headers = {name: value.decode() for name, value in message.headers()}
        assert (headers["source-topic"], headers["source-partition"]) == (pipeline.topics.labels, "0")
        dead[int(headers["source-offset"])] = (headers["reason"], headers["index"], message.value() or b"")
    reasons = ("not-json", "empty", "wrong-type", "unknown-model", "unknown-model", "not-arrow")
    expected = {i: (reason, "1" if i == 5 else "0") for i, reason in enumerate(reasons, 1)}
    assert {offset: fields[:2] for offset, fields in dead.items()} == expected
    assert [dead[offset][2] for offset in (1, 3, 6)] == [labels[offset][1] for offset in (1, 3, 6)]
    with pa.ipc.open_stream(dead[5][2]) as reader:
        assert reader.read_all().to_pylist() == bad.slice(1, 1).to_pylist()
    assert pipeline.read_all(pipeline.topics.predictions_dead) == []


def test_a_share_of_predictions_and_all_labels_are_recorded(pipeline: Pipeline) -> None:
    pipeline.create()
    pipeline.register(simple_contract(raw_share=0.5), [simple_baseline()])
    pipeline.register(simple_contract(model="none", raw_share=0.0), [])
    pipeline.produce(json_events(range(2000)))
    pipeline.produce((0, json.dumps(prediction(i) | {"model": "none"}).encode(), None) for i in range(100))
    pipeline.produce(((0, json.dumps(label(i)).encode(), None) for i in range(2000)), pipeline.topics.labels)
    pipeline.start("recorder")
    pipeline.wait_rows("SELECT count() = 2000 FROM labels FINAL", "labels")
    ids = "(SELECT arrayJoin(range(2000)) AS i, concat('e', toString(i)) AS id)"
    (counts,) = pipeline.wait_rows(
        f"SELECT countIf(CRC32(id) < pow(2, 31)) AS n, n = (SELECT count() FROM predictions FINAL) FROM {ids} "
        "HAVING n = (SELECT count() FROM predictions FINAL)",
        "half of the predictions",
    )
    assert 900 < counts[0] < 1100
    assert pipeline.rows("SELECT DISTINCT model FROM predictions") == [("toy",)]


def test_a_recreated_topic_has_another_epoch(pipeline: Pipeline) -> None:
    admin = AdminClient({"bootstrap.servers": pipeline.bootstrap})
    names = list(pipeline.topics.all)
    for done in (10, 20):
        pipeline.prepare()
        pipeline.produce(json_events(range(10)))
        pipeline.produce(((0, json.dumps(label(i)).encode(), None) for i in range(10)), pipeline.topics.labels)
        pipeline.start("recorder")
        for table in ("predictions", "labels"):
            pipeline.wait_rows(f"SELECT count() = {done} FROM {table} FINAL", f"{done} {table}")
        pipeline.stop()
        for future in admin.delete_topics(names, operation_timeout=30).values():
            future.result(30)
        wait_for(lambda: not set(names) & set(admin.list_topics(timeout=10).topics), "topics gone")
    for table in ("predictions", "labels"):
        epochs = pipeline.rows(f"SELECT epoch, count() FROM {table} FINAL GROUP BY epoch ORDER BY epoch")
        assert epochs == [(0, 10), (1, 10)]


def test_a_missing_table_stops_the_recorder_with_advice(pipeline: Pipeline) -> None:
    pipeline.prepare()
    with pipeline.client as client:
        client.command("DROP TABLE predictions")
    pipeline.produce(json_events(range(3)))
    assert pipeline.start("recorder").wait(60) == 1
    assert "Run `barograph apply`, which creates the tables" in pipeline.log("recorder-0")
    pipeline.processes.clear()


def test_each_incarnation_keeps_its_epoch(client: Client) -> None:
    assert epoch_of(client, "labels", "id-z", 3, NOW_MS) == 0
    assert epoch_of(client, "labels", "id-a", 3, NOW_MS + 5) == 1
    # A slow clock does not change the order, and each topic counts its own epochs.
    assert epoch_of(client, "labels", "id-m", 3, NOW_MS - 5000) == 2
    assert epoch_of(client, "t-labels", "id-x", 3, NOW_MS) == 0
    client.command("OPTIMIZE TABLE topics FINAL")
    assert [epoch_of(client, "labels", each, 3, NOW_MS) for each in ("id-z", "id-a", "id-m")] == [0, 1, 2]
