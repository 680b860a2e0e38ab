"""Programs in other languages publish an event to the real Kafka, which the sketcher's decoder accepts."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from barograph.contract import Contract, Field
from confluent_kafka.admin import AdminClient, NewTopic

from barograph_server.local.kafka import LocalKafka
from barograph_server.local.kafka_jars import kafka_jars
from barograph_server.streams.events.batch import MessageBatch
from barograph_server.streams.events.json_decoder import JsonDecoder
from barograph_server.streams.registry.registry import Registry
from tests.support.missing_dependencies import skip_or_fail
from tests.support.pipeline import read_topic

ROOT = Path(__file__).resolve().parents[2]
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
