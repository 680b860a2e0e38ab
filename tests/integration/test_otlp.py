"""`barograph run otlp` and `run scrape` as processes: exports become predictions, endpoints become facts."""

import gzip
import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import grpc
import msgspec
import numpy as np
import pytest
from barograph.contract import Field, Slice, Text
from barograph.publisher.pii import KEY_VARIABLE
from barograph.text.codebook import Codebook, CodebookHeader
from barograph.text.embedding import SentenceEncoder
from confluent_kafka.admin import NewTopic
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

from barograph_server.local.child_process import choose_port
from barograph_server.local.kafka import LocalKafka
from barograph_server.provisioning.files import store_codebooks
from barograph_server.sketches.baseline.baseline import Baseline
from barograph_server.streams.otlp.contract_privacy import ContractPrivacy
from barograph_server.streams.registry.registry import Registry
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.scrape.fact_buffer import FactBuffer
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.errors import WarehouseBusy
from barograph_server.warehouse.operations import metrics
from barograph_server.warehouse.operations.serving_facts import ServingFact
from tests.support import otlp
from tests.support.http import request
from tests.support.pipeline import Pipeline, simple_baseline, simple_contract, wait_for
from tests.support.scripted_http import ScriptedServer, reply

PROTOBUF = "application/x-protobuf"
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 7}


def without_contract(bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The predictions of requests for a model without a contract: ids of users and sessions are left out."""
    return otlp.predictions(bodies, ingest=otlp.make_ingest(steps=[ContractPrivacy(Registry).protect]))


def without_numbers(events: list[dict[str, Any]]) -> list[str]:
    return sorted(str(event | {"producer": "", "seq": 0}) for event in events)


def test_exports_of_all_instrumentations_become_predictions(pipeline: Pipeline) -> None:
    pipeline.create(2)
    port = otlp.start(pipeline)
    expected: list[dict[str, Any]] = []
    for i, name in enumerate(otlp.INSTRUMENTATIONS):
        expected += without_contract(otlp.exports(name))
        for export in otlp.exports(name):
            body, kind = (otlp.as_json(export), "application/json") if i % 2 else (otlp.as_protobuf(export), PROTOBUF)
            status, _, _ = otlp.post(port, gzip.compress(body), kind, Content_Encoding="gzip")
            assert status == 200
            # Exporters repeat what they believe was lost.
            assert otlp.post(port, body, kind)[0] == 200
    events = otlp.published(pipeline, len(expected))
    assert without_numbers(events) == without_numbers(expected)
    assert sorted(event["seq"] for event in events) == list(range(len(events)))
    pipeline.stop()
    assert '"reason": "requested"' in (pipeline.log_dir / "otlp-0.log").read_text()


@pytest.mark.smoke
def test_predictions_of_contracts_are_mapped_protected_and_recorded(pipeline: Pipeline) -> None:
    pipeline.create()
    tokens = Field(name="tokens", type="float", source="metrics.input_tokens")
    ttft = Field(name="ttft", type="float", source="metrics.ttft_ms")
    prompt = Field(name="prompt", type="category", source="context.prompt")
    provider = Field(name="provider", type="category", source="context.provider", pii="truncate")
    dropped = msgspec.structs.replace(prompt, pii="drop")
    for model, fields in (("answers", (dropped, provider, tokens)), ("probe-oinf", (tokens, ttft, prompt))):
        pipeline.register(simple_contract(model=model, fields=fields, slices=()), [])
    # A call that waits for its parent for so long is published at a stop.
    port = otlp.start(pipeline, models="support-bot=answers", wait_s=300.0)
    pipeline.start("recorder")
    attributes = {**CHAT, "gen_ai.provider.name": "openai", "barograph.prompt.name": "answer"}
    with ThreadPoolExecutor(20) as pool:
        bodies = [otlp.export_of(otlp.span("02", "01", attributes=attributes)), *otlp.exports("openinference")]
        answers = [pool.submit(otlp.post, port, otlp.as_json(export)) for export in bodies]
        wait_for(lambda: sum(answer.done() for answer in answers) == len(bodies) - 1, "all answers but one")
        pipeline.processes["otlp-0"].terminate()
        assert {answer.result(30)[0] for answer in answers} == {200}
    (event, *_) = [each for each in otlp.published(pipeline, 9) if each["model"] == "answers"]
    assert (event["context"]["provider"], "prompt" in event["context"]) == ("ope", False)
    assert event["metrics"] == {"input_tokens": 7}
    pipeline.processes.pop("otlp-0").wait(30)
    pipeline.wait_rows("SELECT count() = 9 FROM predictions FINAL", "nine generations")
    rows = pipeline.rows(
        "SELECT metrics['input_tokens'], metrics['ttft_ms'] > 0, status, error, context['prompt'] "
        "FROM predictions FINAL WHERE model = 'probe-oinf' ORDER BY at"
    )
    assert {prompt for *_, prompt in rows} == {"v7"}
    assert [observed for *observed, _ in rows] == [
        *([25, None, "length", ""], [25, 1, "length", ""], [None, 1, "length", ""], [39, None, "length", ""]),
        *([None, None, "", "BadRequestError"], [None, None, "", "APIConnectionError"]),
        *([None, 1, "", ""], [33, None, "", ""]),
    ], "what is not observed is NULL"


def test_topics_of_the_collector_give_the_same_predictions_once(pipeline: Pipeline) -> None:
    """Messages in both encodings, damaged ones among them, and the golden messages of a real Collector."""
    pipeline.create()
    names = {f"{pipeline.prefix}otlp.{encoding}": encoding for encoding in ("protobuf", "json")}
    pipeline.create_topics(NewTopic(name, 1, 1) for name in names)
    expected: list[dict[str, Any]] = []
    messages: dict[str, list[bytes]] = {"protobuf": [b"damaged"], "json": [b"{", b""]}
    for i, name in enumerate(otlp.INSTRUMENTATIONS):
        expected += without_contract(otlp.exports(name))
        encoding, encode = ("json", otlp.as_json) if i % 2 else ("protobuf", otlp.as_protobuf)
        for export in otlp.exports(name):
            # The Collector's exporter repeats what it believes was lost.
            messages[encoding] += [encode(export)] * 2
    messages["json"].append((otlp.FOLDER / "collector.otlp_json.json").read_bytes())
    expected += without_contract([json.loads(messages["json"][-1])])
    messages["protobuf"].append((otlp.FOLDER / "collector.otlp_proto.bin").read_bytes())
    for topic, encoding in names.items():
        pipeline.produce([(0, value, None) for value in messages[encoding]], topic)
    pipeline.clock = "live"
    topics = ", ".join(f"{topic}={encoding}" for topic, encoding in names.items())
    pipeline.start("otlp", otlp={"topics": topics, "wait_s": 0.5})
    # The two messages of the Collector have the same span.
    events = otlp.published(pipeline, len(expected))
    assert without_numbers(events) == without_numbers(expected)
    pipeline.kill("otlp-0")
    pipeline.start("otlp", otlp={"topics": topics, "wait_s": 0.5})
    pipeline.produce([(0, otlp.as_json(otlp.export_of(otlp.span())), None)], next(iter(reversed(names))))
    otlp.published(pipeline, len(expected) + 1)
    log = (pipeline.log_dir / "otlp-0.log").read_text()
    assert log.count("message skipped") == 3
    assert "damaged" not in log


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
    parts = [
        {"type": "reasoning", "content": ELSEWHERE},
        {"type": "text", "content": f"Click on the link. {secrets}"},
        {"type": "tool_call", "name": "mail", "arguments": {"to": ELSEWHERE}},
    ]
    answer = [{"role": "model", "parts": parts, "finish_reason": "stop"}]
    unread = ("gen_ai.system_instructions", "gen_ai.tool.call.arguments", "gen_ai.tool.definitions", "gen_ai.novel")
    attributes = {
        **CHAT,
        "gen_ai.input.messages": json.dumps(messages),
        "gen_ai.output.messages": json.dumps(answer),
        "barograph.prompt.name": f"answer {ELSEWHERE} with  spaces",
        **dict.fromkeys((*unread, "note"), ELSEWHERE),
    }
    exception = {f"exception.{part}": f"an error {ELSEWHERE}" for part in ("type", "message", "stacktrace")}
    events = [
        {"name": name, "attributes": [{"key": key, "value": {"stringValue": text}} for key, text in texts.items()]}
        for name, texts in (("exception", exception), (ELSEWHERE, {"body": secrets}))
    ]
    members: dict[str, Any] = {"status": {"code": 2, "message": ELSEWHERE}, "events": events}
    return otlp.span(
        f"{number:02x}", trace_id=f"{number:02x}", attributes=attributes, name=f"chat {ELSEWHERE} x", **members
    )


def codebook() -> Codebook:
    encoder = SentenceEncoder()
    centroids = encoder.encode([QUESTION, "A recipe for soup with potatoes"])
    known = {"format": 1, "threshold": 0.9, "quantile": 0.99, "n_training": 2, "n_held_out": 0, "seed": 0}
    header = CodebookHeader(embedding=encoder.name(), names=("passwords", "food"), **known)  # type: ignore[arg-type]
    return Codebook(header, centroids / np.linalg.norm(centroids, axis=1, keepdims=True))


def prepare(pipeline: Pipeline) -> None:
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
        topics.labels_dead,
        topics.partials,
        topics.partials_dead,
    ):
        contents[topic] = repr([(m.key(), m.value(), m.headers()) for m in pipeline.read_all(topic)])
    tables = "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
    for (table,) in pipeline.rows(tables):
        contents[f"table {table}"] = repr(pipeline.rows(f"SELECT * FROM {table}"))
    for instance in instances:
        contents[f"log of {instance}"] = (pipeline.log_dir / f"{instance}.log").read_text()
    return contents


def test_secrets_in_text_are_only_where_the_contract_allows_them(pipeline: Pipeline) -> None:
    prepare(pipeline)
    topic = f"{pipeline.prefix}otlp.traces"
    pipeline.create_topics([NewTopic(topic, 1, 1)])
    metrics_port = choose_port()
    pipeline.start("otlp", otlp={"port": 0, "grpc_port": 0, "wait_s": 0.5}, metrics_port=metrics_port)
    pipeline.start("otlp", "otlp-topics", otlp={"topics": f"{topic}=json", "wait_s": 0.5})
    pipeline.start_all("sketcher", "recorder", "monitor")
    port = otlp.port_of(pipeline)
    answers: list[bytes] = []
    for i, mode in enumerate(SECRETS):
        first, second, third, fourth = (generation(10 * i + number, mode) for number in (1, 2, 3, 4))
        service = f"{mode}-bot"
        for body, kind in (
            (otlp.as_json(otlp.export_of(first, service=service)), "application/json"),
            (otlp.as_protobuf(otlp.export_of(second, service=service)), PROTOBUF),
            (otlp.as_json(otlp.export_of(third, service=service))[:-30], "application/json"),
            (otlp.as_json(otlp.export_of(third | {"startTimeUnixNano": "1"}, service=service)), "application/json"),
        ):
            answers.append(otlp.post(port, body, kind)[2])
        pipeline.produce([(0, otlp.as_json(otlp.export_of(fourth, service=service)), None)], topic)
    pipeline.produce([(0, value, None) for value in dead_letters()])
    pipeline.wait_rows(f"SELECT count() = {3 * len(SECRETS)} FROM predictions FINAL", "three generations of each model")
    wait_for(lambda: len(pipeline.read_all(pipeline.topics.predictions_dead)) == 4, "four dead letters")
    pipeline.wait_rows("SELECT count() > 0 FROM processor_metrics WHERE kind = 'otlp'", "a report of the receiver")
    metrics = request("GET", f"http://127.0.0.1:{metrics_port}/metrics").data.decode()
    rows = pipeline.rows("SELECT model, strings, numbers, context FROM predictions FINAL")
    contents = everything(pipeline, list(pipeline.processes)) | {"answers": repr(answers), "metrics": metrics}
    pipeline.stop()
    secrets = [*(secret for mode in SECRETS for secret in secrets_of(mode)), ELSEWHERE]
    matches = {(position, secret) for position, text in contents.items() for secret in secrets if secret in text}
    assert matches == set(product((pipeline.topics.predictions, "table predictions"), secrets_of("keep")))
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


SERVING = Path(__file__).resolve().parents[1] / "golden" / "serving"


def show(server: ScriptedServer, scrape: int) -> None:
    server.answer = reply((SERVING / f"vllm.{scrape}.txt").read_bytes())


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(reply()) as served:
        yield served


def test_facts_of_servers_are_rows(pipeline: Pipeline, server: ScriptedServer) -> None:
    pipeline.create(1)
    show(server, 1)
    with ScriptedServer(reply()) as with_no_server:
        pass
    good = {"model": "answers", "url": f"http://127.0.0.1:{server.port}/metrics"}
    down = {"model": "bot", "url": f"http://127.0.0.1:{with_no_server.port}/m"}
    pipeline.start("scrape", scrape={"targets": [good, down], "interval_s": 1.0})

    def rows(sql: str) -> list[tuple[Any, ...]]:
        pipeline.alive()
        return pipeline.client.rows(sql)

    wait_for(lambda: rows("SELECT 1 FROM serving_facts WHERE name = 'running_requests' LIMIT 1"), "the first scrape")
    show(server, 2)
    difference = "server, kind, unit, n, round(value), bucket_counts, p50_low, p50_high"
    sql = f"SELECT {difference} FROM serving_facts FINAL WHERE name = 'ttft_ms'"
    ttft = wait_for(lambda: rows(sql), "the difference")
    assert ttft == [("vllm", "histogram", "ms", 20, 65, [0, 2, 10, 6, 1, 1, 0, 0], 20, 40)]
    # Differences, not sums: all scrapes together have what the counter grew.
    tokens = rows("SELECT sum(value), min(kind), any(instance) FROM serving_facts FINAL WHERE name = 'input_tokens'")
    assert tokens == [(4200, "counter", f"127.0.0.1:{server.port}")]
    states = rows("SELECT model, min(value), max(value) FROM serving_facts WHERE name = 'up' GROUP BY model ORDER BY 1")
    assert states == [("answers", 1, 1), ("bot", 0, 0)]
    assert rows("SELECT count() FROM serving_facts WHERE model = 'bot' AND name != 'up'") == [(0,)]
    [(report,)] = wait_for(lambda: rows("SELECT details FROM pipeline WHERE kind = 'scrape'"), "a report")
    assert report["scrapes_total read"] >= 1
    pipeline.stop()
    lines = [json.loads(line) for line in pipeline.log("scrape-0").splitlines() if line.startswith("{")]
    assert [line["outcome"] for line in lines if line["event"] == "target not read"] == ["unreachable"]


def test_the_oldest_rows_are_dropped_while_clickhouse_is_down_and_the_rest_is_written(client: Client) -> None:
    is_up, attempted = threading.Event(), threading.Event()

    class Connection:
        """A connection that refuses until the server is up; the rest is the real one."""

        on_insert: Any = None

        def insert(self, table: str, rows: Any) -> None:
            attempted.set()
            if not is_up.is_set():
                raise WarehouseBusy("down")
            client.insert(table, rows)

        def close(self) -> None:
            pass

    report = Report("scrape", "scrape-0")
    buffer = FactBuffer(lambda: Connection(), report, max_rows=10)  # type: ignore[arg-type,return-value]
    buffer.start()
    facts = [
        ServingFact("answers", "host:1", "waiting_requests", "", 1_795_900_000_000 + 15_000 * i, "vllm", "gauge", "", i)
        for i in range(20)
    ]
    buffer.add(facts[:8])
    assert attempted.wait(30)
    buffer.add(facts[8:])
    assert buffer.waiting == 10
    assert sum(report.values(metrics.FACTS_DROPPED).values()) == 10
    is_up.set()
    wait_for(lambda: buffer.waiting == 0, "the rows")
    assert buffer.stop(30) == 0
    assert client.rows("SELECT min(value), max(value), count() FROM serving_facts FINAL") == [(10, 19, 10)]
    assert report.retries >= 1
    assert report.events == 10


class Recorder:
    def __init__(self, exporter: OTLPSpanExporter) -> None:
        self.exporter, self.results, self.last = exporter, list[SpanExportResult](), list[ReadableSpan]()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.last = [*spans]
        self.results.append(self.exporter.export(spans))
        return self.results[-1]

    def shutdown(self) -> None:
        self.exporter.shutdown()


def test_the_exporter_of_opentelemetry_loses_nothing_and_counts_once(pipeline: Pipeline, tmp_path: Path) -> None:
    with LocalKafka(tmp_path / "kafka", port=0) as broker:
        pipeline.bootstrap = broker.bootstrap_servers
        pipeline.create()
        grpc_port = choose_port()
        port = otlp.start(pipeline, grpc_port=grpc_port)

        def exporter(timeout_s: float) -> OTLPSpanExporter:
            where = f"http://127.0.0.1:{grpc_port}"
            return OTLPSpanExporter(where, insecure=True, timeout=timeout_s, compression=grpc.Compression.Gzip)

        recorder = Recorder(exporter(60))
        provider = TracerProvider(resource=Resource({"service.name": "support-bot"}))
        provider.add_span_processor(BatchSpanProcessor(recorder))
        tracer = provider.get_tracer("test")

        def call(n: int) -> None:
            for _ in range(n):
                tracer.start_span("chat m", attributes=otlp.CALL).end()
            assert provider.force_flush(60_000)

        call(600)
        assert recorder.results == [SpanExportResult.SUCCESS] * 2
        assert {each["metrics"]["input_tokens"] for each in otlp.published(pipeline, 600)} == {7}
        assert otlp.post(port, otlp.as_json(otlp.export_of(otlp.span())))[0] == 200, "HTTP beside it"
        broker.stop()
        recorder.exporter = exporter(6)
        call(5)
        assert recorder.results[2:] == [SpanExportResult.FAILURE], "Kafka does not have them"
        broker.start()
        assert exporter(60).export(recorder.last) is SpanExportResult.SUCCESS
        otlp.published(pipeline, 606)
        provider.shutdown()
        pipeline.stop()


def test_tools_have_calls_errors_and_time_by_tool_and_hashed_users(pipeline: Pipeline) -> None:
    pipeline.create()
    pipeline.environ[KEY_VARIABLE] = "a key of sixteen bytes"
    contract = simple_contract(
        model="support-bot.tools",
        slices=(Slice(name="tool", source="context.tool", values=("search", "mail")),),
        fields=(*simple_contract().fields, Field(name="user", type="category", source="context.user", pii="hash")),
    )
    baseline = msgspec.json.encode(msgspec.structs.replace(simple_baseline(), model=contract.model, version="1"))
    for region, tool in ((b"region", b"tool"), (b"north", b"search"), (b"south", b"mail")):
        baseline = baseline.replace(region, tool)
    pipeline.register(contract, [msgspec.json.decode(baseline, type=Baseline)])
    port = otlp.start(pipeline)
    pipeline.clock = "replay"
    pipeline.start_all("sketcher", "recorder", "monitor")
    spans = []
    for i in range(10):
        name, failed = ("mail", {"error.type": "Refused"} if i == 9 else {}) if i >= 6 else ("search", {})
        attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name, "enduser.id": "ann", **failed}
        spans.append(otlp.span(f"{i + 1:x}", trace_id="99", attributes=attributes, duration_ms=10 * i + 10))
    assert otlp.post(port, otlp.as_json(otlp.export_of(*spans)))[0] == 200
    pipeline.end(1)
    pipeline.wait_rows("SELECT count() = 10 FROM predictions FINAL", "ten calls")
    by_tool = (
        "SELECT context['tool'] AS tool, count(), countIf(error != ''), max(latency_ms), uniqExact(context['user']) "
        "FROM predictions FINAL WHERE model = 'support-bot.tools' GROUP BY tool ORDER BY tool"
    )
    assert pipeline.rows(by_tool) == [("mail", 4, 1, 100, 1), ("search", 6, 0, 60, 1)]
    assert pipeline.rows("SELECT countIf(context['user'] = 'ann') FROM predictions") == [(0,)]
    pipeline.wait_judged(10)
    volume = "SELECT slice, sum(n), sum(errors) FROM volume FINAL WHERE n > 0 GROUP BY slice"
    assert {("all", 10, 1), ("tool=mail", 4, 1), ("tool=search", 6, 0)} <= {*pipeline.rows(volume)}
    pipeline.stop()
