"""`barograph run otlp` as a process: real exports over HTTP become predictions in Kafka."""

from __future__ import annotations

import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from barograph.contract import Field
from confluent_kafka.admin import AdminClient, NewTopic

from barograph_server.streams.otlp.contract_privacy import ContractPrivacy
from barograph_server.streams.registry.registry import Registry
from tests.support.otlp import (
    FOLDER,
    INSTRUMENTATIONS,
    as_json,
    as_protobuf,
    export_of,
    exports,
    make_ingest,
    post,
    predictions,
    span,
    spans_of,
)
from tests.support.otlp_receiver import published, start
from tests.support.pipeline import Pipeline, simple_contract, wait_for

SECRET = "my card number is 4556 7375 8689 9855"
CONTENT = ("llm.input", "llm.output", "input.", "output.", "gen_ai.input", "gen_ai.output", "exception.")
PROTOBUF = "application/x-protobuf"


def without_contract(bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The predictions of requests for a model without a contract: ids of users and sessions are left out."""
    return predictions(bodies, ingest=make_ingest(steps=[ContractPrivacy(Registry).protect]))


def without_numbers(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    left_out = ("producer", "seq")
    return [{name: value for name, value in event.items() if name not in left_out} for event in events]


def test_exports_of_all_instrumentations_become_predictions(pipeline: Pipeline) -> None:
    pipeline.create(2)
    port = start(pipeline)
    expected: list[dict[str, Any]] = []
    for i, name in enumerate(INSTRUMENTATIONS):
        expected += without_contract(exports(name))
        for export in exports(name):
            body, kind = (as_json(export), "application/json") if i % 2 else (as_protobuf(export), PROTOBUF)
            status, _, _ = post(port, gzip.compress(body), kind, Content_Encoding="gzip")
            assert status == 200
            # Exporters repeat what they believe was lost.
            assert post(port, body, kind)[0] == 200
    events = published(pipeline, len(expected))
    assert sorted(map(str, without_numbers(events))) == sorted(map(str, without_numbers(expected)))
    assert sorted(event["seq"] for event in events) == list(range(len(events)))
    pipeline.stop()
    assert '"reason": "requested"' in (pipeline.log_dir / "otlp-0.log").read_text()


@pytest.mark.smoke
def test_predictions_of_contracts_are_mapped_protected_and_recorded(pipeline: Pipeline) -> None:
    pipeline.create()
    fields = (
        Field(name="prompt", type="category", source="context.prompt", pii="drop"),
        Field(name="provider", type="category", source="context.provider", pii="truncate"),
        Field(name="tokens", type="float", source="metrics.input_tokens"),
    )
    pipeline.register(simple_contract(model="answers", fields=fields, slices=()), [])
    fields = (
        Field(name="input_tokens", type="float", source="metrics.input_tokens"),
        Field(name="ttft", type="float", source="metrics.ttft_ms"),
        Field(name="prompt", type="category", source="context.prompt"),
    )
    pipeline.register(simple_contract(model="probe-oinf", fields=fields, slices=()), [])
    # A call that waits for its parent for so long is published at a stop.
    port = start(pipeline, models="support-bot=answers", wait_s=300.0)
    pipeline.start("recorder")
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m",
        "gen_ai.provider.name": "openai",
        "barograph.prompt.name": "answer",
        "gen_ai.usage.input_tokens": 7,
    }
    with ThreadPoolExecutor(20) as pool:
        bodies = [export_of(span("02", "01", attributes=attributes)), *exports("openinference")]
        answers = [pool.submit(post, port, as_json(export)) for export in bodies]
        wait_for(lambda: sum(answer.done() for answer in answers) == len(bodies) - 1, "all answers but one")
        pipeline.processes["otlp-0"].terminate()
        assert {answer.result(30)[0] for answer in answers} == {200}
    (event, *_) = [each for each in published(pipeline, 9) if each["model"] == "answers"]
    assert event["context"]["provider"] == "ope"
    assert "prompt" not in event["context"]
    assert event["metrics"] == {"input_tokens": 7}
    pipeline.processes.pop("otlp-0").wait(30)
    pipeline.wait_rows("SELECT count() = 9 FROM predictions FINAL", "nine generations")
    rows = pipeline.rows(
        "SELECT metrics['input_tokens'], metrics['ttft_ms'] > 0, context['prompt'], status, error "
        "FROM predictions FINAL WHERE model = 'probe-oinf' ORDER BY at"
    )
    assert rows == [
        (25, None, "v7", "length", ""),
        (25, 1, "v7", "length", ""),
        (None, 1, "v7", "length", ""),
        (39, None, "v7", "length", ""),
        (None, None, "v7", "", "BadRequestError"),
        (None, None, "v7", "", "APIConnectionError"),
        (None, 1, "v7", "", ""),
        (33, None, "v7", "", ""),
    ], "what is not observed is NULL"


def test_a_planted_secret_is_neither_in_kafka_nor_in_logs(pipeline: Pipeline) -> None:
    pipeline.create()
    port = start(pipeline)
    names = ("openinference", "litellm")
    for export in (export for name in names for export in exports(name)):
        for each in spans_of(export):
            each["name"] += SECRET
            each.setdefault("status", {})["message"] = SECRET
            pairs = [*each.get("attributes", []), *(p for e in each.get("events", []) for p in e.get("attributes", []))]
            for pair in pairs:
                if pair["key"].startswith(CONTENT):
                    pair["value"] = {"stringValue": SECRET}
            each["attributes"] = [*each.get("attributes", []), {"key": "gen_ai.new", "value": {"stringValue": SECRET}}]
        assert post(port, as_json(export))[0] == 200
        assert post(port, as_json(export)[:-20])[0] == 400
        assert post(port, as_protobuf(export)[:-20], PROTOBUF)[0] == 400
        assert post(port, as_json(export), path="/v1/logs")[0] == 404
    for export in (export for name in names for export in exports(name, "/v1/logs")):
        assert post(port, as_json(export).replace(b"France", SECRET.encode()), path="/v1/logs")[0] == 404
    rejected = export_of(span(name=SECRET, attributes={"gen_ai.operation.name": "chat", "llm.model_name": SECRET}))
    _, _, answer = post(port, as_json(rejected))
    assert b"missing-version" in answer
    assert b"4556 7375" not in answer
    published(pipeline, sum(len(predictions(exports(name))) for name in names))
    wait_for(lambda: "gen_ai.new" in pipeline.log("otlp-0"), "the log of unknown names")
    pipeline.stop()
    assert "4556 7375" not in (pipeline.log_dir / "otlp-0.log").read_text()
    for topic in (pipeline.topics.predictions, pipeline.topics.predictions_dead):
        assert not [message for message in pipeline.read_all(topic) if b"4556 7375" in message.value()]


def test_topics_of_the_collector_give_the_same_predictions_once(pipeline: Pipeline) -> None:
    """Messages in both encodings, damaged ones among them, and the golden messages of a real Collector."""
    pipeline.create()
    names = {f"{pipeline.prefix}otlp.{encoding}": encoding for encoding in ("protobuf", "json")}
    admin = AdminClient({"bootstrap.servers": pipeline.bootstrap})
    for future in admin.create_topics([NewTopic(name, 1, 1) for name in names]).values():
        future.result(30)
    expected: list[dict[str, Any]] = []
    messages: dict[str, list[bytes]] = {"protobuf": [b"damaged"], "json": [b"{", b""]}
    for i, name in enumerate(INSTRUMENTATIONS):
        expected += without_contract(exports(name))
        for export in exports(name):
            # The Collector's exporter repeats what it believes was lost.
            messages["json" if i % 2 else "protobuf"] += [as_json(export) if i % 2 else as_protobuf(export)] * 2
    collector = json.loads((FOLDER / "collector.otlp_json.json").read_bytes())
    expected += without_contract([collector])
    messages["json"].append((FOLDER / "collector.otlp_json.json").read_bytes())
    messages["protobuf"].append((FOLDER / "collector.otlp_proto.bin").read_bytes())
    for topic, encoding in names.items():
        pipeline.produce([(0, value, None) for value in messages[encoding]], topic)
    pipeline.clock = "live"
    topics = ", ".join(f"{topic}={encoding}" for topic, encoding in names.items())
    pipeline.start("otlp", otlp={"topics": topics, "wait_s": 0.5})
    # The two messages of the Collector have the same span.
    events = published(pipeline, len(expected))
    assert sorted(map(str, without_numbers(events))) == sorted(map(str, without_numbers(expected)))
    pipeline.kill("otlp-0")
    pipeline.start("otlp", otlp={"topics": topics, "wait_s": 0.5})
    pipeline.produce([(0, as_json(export_of(span())), None)], next(iter(reversed(names))))
    published(pipeline, len(expected) + 1)
    log = (pipeline.log_dir / "otlp-0.log").read_text()
    assert log.count("message skipped") == 3
    assert "damaged" not in log
