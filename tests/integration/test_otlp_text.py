"""Text of prompts and answers, for each setting of `content`: it reaches raw predictions as that says, nothing else."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
from barograph.contract import Field, Slice, Text
from barograph.publisher.pii import KEY_VARIABLE
from barograph.text.codebook import Codebook, CodebookHeader
from barograph.text.embedding import SentenceEncoder
from confluent_kafka.admin import AdminClient, NewTopic

from barograph_server.local.child_process import choose_port
from barograph_server.provisioning.codebooks import store_codebooks
from tests.support.http import request
from tests.support.otlp import as_json, as_protobuf, export_of, post, span
from tests.support.otlp_receiver import port_of
from tests.support.pipeline import Pipeline, simple_baseline, simple_contract, wait_for

PROTOBUF = "application/x-protobuf"
SECRETS = {
    "drop": ("4111 1111 1111 1111", "GB82 WEST 1234 5698 7654 32"),
    "hash": ("5555 5555 5555 4444", "NL91 ABNA 0417 1643 00"),
    "redact": ("4556 7375 8689 9855", "DE89 3704 0044 0532 0130 00"),
    "keep": ("4012 8888 8888 1881", "FR14 2004 1010 0505 0001 3M02 606"),
}
"""Setting of `content` → a card and an account that only texts of its model contain."""
QUESTION = "How do I reset my password?"
ELSEWHERE = "sk-elsewhere-0123456789abcdef"
"""A secret where no text is read: in system instructions, arguments of tools, names, messages of errors."""


def secrets_of(mode: str) -> tuple[str, ...]:
    return f"AKIA{mode.upper()}PLANTEDSECRETS"[:20], f"planted.{mode}@secret.example", *SECRETS[mode]


def planted(mode: str) -> str:
    return " and ".join(secrets_of(mode))


def generation(number: int, mode: str) -> dict[str, Any]:
    """A model call with secrets in every position that may hold text."""
    secrets = planted(mode)
    messages = [
        {"role": "system", "parts": [{"type": "text", "content": ELSEWHERE}]},
        {"role": "user", "parts": [{"type": "text", "content": f"An earlier question {ELSEWHERE}"}]},
        {"role": "user", "parts": [{"type": "text", "content": f"{QUESTION} {secrets}"}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "response": ELSEWHERE}]},
    ]
    answer = [
        {
            "role": "model",
            "parts": [
                {"type": "reasoning", "content": ELSEWHERE},
                {"type": "text", "content": f"Click on the link. {secrets}"},
                {"type": "tool_call", "name": "mail", "arguments": {"to": ELSEWHERE}},
            ],
            "finish_reason": "stop",
        }
    ]
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m",
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.input.messages": json.dumps(messages),
        "gen_ai.output.messages": json.dumps(answer),
        "gen_ai.system_instructions": ELSEWHERE,
        "gen_ai.tool.call.arguments": ELSEWHERE,
        "gen_ai.tool.definitions": ELSEWHERE,
        "gen_ai.novel": ELSEWHERE,
        "note": ELSEWHERE,
        "barograph.prompt.name": f"answer {ELSEWHERE} with  spaces",
    }
    exception = {
        "exception.type": f"an error {ELSEWHERE}",
        "exception.message": ELSEWHERE,
        "exception.stacktrace": ELSEWHERE,
    }
    pairs = [{"key": name, "value": {"stringValue": text}} for name, text in exception.items()]
    events = [
        {"name": "exception", "attributes": pairs},
        {"name": ELSEWHERE, "attributes": [{"key": "body", "value": {"stringValue": secrets}}]},
    ]
    members: dict[str, Any] = {
        "name": f"chat {ELSEWHERE} x",
        "status": {"code": 2, "message": ELSEWHERE},
        "events": events,
    }
    return span(f"{number:02x}", trace_id=f"{number:02x}", attributes=attributes, **members)


def codebook() -> Codebook:
    encoder = SentenceEncoder()
    centroids = encoder.encode([QUESTION, "A recipe for soup with potatoes"])
    header = CodebookHeader(
        format=1,
        embedding=encoder.name(),
        names=("passwords", "food"),
        threshold=0.9,
        quantile=0.99,
        n_training=2,
        n_held_out=0,
        seed=0,
    )
    return Codebook(header, centroids / np.linalg.norm(centroids, axis=1, keepdims=True))


def prepare(pipeline: Pipeline) -> None:
    """Register a model for each setting of `content`."""
    pipeline.create()
    pipeline.environ[KEY_VARIABLE] = "a key of sixteen bytes"
    book = codebook()
    with pipeline.client as client:
        store_codebooks(client, [book], 1)
    fields = (
        Field(name="topic", type="category", source="features.topic"),
        Field(name="language", type="category", source="features.language"),
        Field(name="code_share", type="float", source="features.code_share"),
        Field(name="distance", type="float", source="features.topic_distance"),
    )
    slices = (Slice(name="topic", source="features.topic"),)
    for mode in SECRETS:
        sample = 1.0 if mode in ("redact", "keep") else 0.0
        text = Text(codebook=book.id, languages=("en", "de"), content=mode, sample=sample)  # type: ignore[arg-type]
        pipeline.register(simple_contract(model=f"{mode}-bot", fields=fields, slices=slices, text=text), [])
    pipeline.register(simple_contract(), [simple_baseline(rows=1_000)])
    pipeline.clock = "live"


def dead_letters() -> list[bytes]:
    text = {"prompt_text": planted("keep"), "answer_text": planted("keep")}
    event = {"model": "keep-bot", "version": "1", "id": "dead", "context": {"provider": "p", **text}}
    no_time = json.dumps(event).encode()
    return [no_time, no_time.replace(b"_text", b"\\u005ftext"), no_time[:-10], json.dumps({"context": text}).encode()]


def everything(pipeline: Pipeline, instances: list[str]) -> dict[str, str]:
    contents: dict[str, str] = {}
    topics = pipeline.topics
    for topic in (
        topics.predictions,
        topics.predictions_dead,
        topics.partials,
        topics.partials_dead,
        topics.labels_dead,
    ):
        contents[topic] = repr([(m.key(), m.value(), m.headers()) for m in pipeline.read_all(topic)])
    tables = pipeline.rows(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
    )
    for (table,) in tables:
        contents[f"table {table}"] = repr(pipeline.rows(f"SELECT * FROM {table}"))
    for instance in instances:
        contents[f"log of {instance}"] = (pipeline.log_dir / f"{instance}.log").read_text()
    return contents


def test_secrets_in_text_are_only_where_the_contract_allows_them(pipeline: Pipeline) -> None:
    prepare(pipeline)
    topic = f"{pipeline.prefix}otlp.traces"
    admin = AdminClient({"bootstrap.servers": pipeline.bootstrap})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
    metrics_port = choose_port()
    pipeline.start("otlp", otlp={"port": 0, "wait_s": 0.5}, metrics_port=metrics_port)
    pipeline.start("otlp", "otlp-topics", otlp={"topics": f"{topic}=json", "wait_s": 0.5})
    for kind in ("sketcher", "recorder", "monitor"):
        pipeline.start(kind)
    port = port_of(pipeline)
    answers: list[bytes] = []
    for i, mode in enumerate(SECRETS):
        first, second, third, fourth = (generation(10 * i + number, mode) for number in (1, 2, 3, 4))
        service = f"{mode}-bot"
        for body, kind in (
            (as_json(export_of(first, service=service)), "application/json"),
            (as_protobuf(export_of(second, service=service)), PROTOBUF),
            (as_json(export_of(third, service=service))[:-30], "application/json"),
            (as_json(export_of(third | {"startTimeUnixNano": "1"}, service=service)), "application/json"),
        ):
            answers.append(post(port, body, kind)[2])
        pipeline.produce([(0, as_json(export_of(fourth, service=service)), None)], topic)
    pipeline.produce([(0, value, None) for value in dead_letters()])
    pipeline.wait_rows(f"SELECT count() = {3 * len(SECRETS)} FROM predictions FINAL", "three generations of each model")
    wait_for(lambda: len(pipeline.read_all(pipeline.topics.predictions_dead)) == 4, "four dead letters")
    pipeline.wait_rows("SELECT count() > 0 FROM processor_metrics WHERE kind = 'otlp'", "a report of the receiver")
    metrics = request("GET", f"http://127.0.0.1:{metrics_port}/metrics").data.decode()
    rows = pipeline.rows("SELECT model, strings, numbers, context FROM predictions FINAL")
    contents = everything(pipeline, list(pipeline.processes)) | {"answers": repr(answers), "metrics": metrics}
    pipeline.stop()
    allowed = {
        (position, secret)
        for position in (pipeline.topics.predictions, "table predictions")
        for secret in secrets_of("keep")
    }
    secrets = [*(secret for mode in SECRETS for secret in secrets_of(mode)), ELSEWHERE]
    assert {
        (position, secret) for position, text in contents.items() for secret in secrets if secret in text
    } == allowed
    texts, hashes = {"prompt_text", "answer_text", "text_sample"}, {"prompt_hash", "answer_hash"}
    members_of = {"drop": set[str](), "hash": hashes, "redact": texts, "keep": texts}
    assert Counter(model for model, *_ in rows) == {f"{mode}-bot": 3 for mode in SECRETS}
    for model, strings, numbers, context in rows:
        mode = model.removesuffix("-bot")
        assert (strings["topic"], strings["language"], numbers["code_share"]) == ("passwords", "en", 0)
        assert 0 <= numbers["topic_distance"] < 0.9
        assert set(context) & (texts | hashes) == members_of[mode], mode
        if mode == "redact":
            assert context["prompt_text"] == f"{QUESTION} <secret> and <email> and <card> and <iban>"
            assert context["answer_text"] == "Click on the link. <secret> and <email> and <card> and <iban>"
        if mode == "hash":
            assert len(context["prompt_hash"]) == 39
