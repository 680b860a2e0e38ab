import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import grpc
import msgspec
import pytest
from barograph.publisher.outbox import Outbox
from confluent_kafka import KafkaError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from barograph_server.local.child_process import choose_port
from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.otlp import grpc_endpoint, http_endpoint
from barograph_server.streams.otlp.conventions import load_conventions
from barograph_server.streams.otlp.grpc_endpoint import MAX_MESSAGES, METHOD, SERVICE, GrpcEndpoint
from barograph_server.streams.otlp.http_endpoint import OtlpEndpoint
from barograph_server.streams.otlp.json_decoder import JsonExportDecoder
from barograph_server.streams.otlp.protobuf_decoder import ProtobufExportDecoder, varint
from barograph_server.streams.otlp.receiver import Receiver
from barograph_server.streams.otlp.rejection import MAX_ATTRIBUTES, ExportError, RequestReason, SpanReason
from barograph_server.streams.otlp.settings import OtlpSettings
from barograph_server.streams.otlp.span import MAX_PART_BYTES, MAX_REQUEST_BYTES, MAX_SPANS, DecodedRequest
from barograph_server.streams.runtime.metrics_report import Report, memory_bytes
from barograph_server.warehouse.operations import metrics
from tests.support import otlp
from tests.support.otlp import CALL, as_json, as_protobuf, export_of, exports, make_ingest, post, span
from tests.support.pipeline import wait_for
from tests.support.scripted_kafka import BrokerScript, ScriptedProducer

PROTOBUF = "application/x-protobuf"
GZIP = {"Content_Encoding": "gzip"}


class Served:
    def __init__(self) -> None:
        self.script = BrokerScript()
        factory = partial(ScriptedProducer, script=self.script)
        self.outbox = Outbox({}, wait=False, factory=factory, poll_interval_s=3_600)
        self.script.on_poll = partial(self.outbox.flush, 0)
        self.report = Report("otlp", "o-1")
        self.ingest = make_ingest()
        limits: dict[str, Any] = {"max_pending": 50, "clock": lambda: otlp.RECEIVED_MS / 1e3}
        self.receiver = Receiver(self.ingest, self.outbox, "predictions", self.report, **limits)
        self.endpoint = OtlpEndpoint(self.receiver, OtlpSettings(port=0, wait_s=0), 0.1)
        self.endpoint.start()

    def stop(self) -> None:
        self.endpoint.stop()
        self.receiver.stop(0.0)

    def post(self, *arguments: Any, **options: Any) -> tuple[int, dict[str, str], bytes]:
        return post(self.endpoint.port, *arguments, **options)


@pytest.fixture
def served() -> Iterator[Served]:
    running = Served()
    yield running
    running.stop()


def request(n: int, first: int = 1) -> dict[str, Any]:
    return export_of(*[span("01", trace_id=f"{first + i:x}") for i in range(n)])


ONE = as_json(request(1))
HEAD = b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


@pytest.mark.parametrize("packed", [False, True])
def test_both_encodings_are_accepted_packed_or_not(served: Served, packed: bool) -> None:
    headers = GZIP if packed else {}
    for first, (body, kind) in enumerate(
        ((as_json(request(1, 1)), "application/json; charset=utf-8"), (as_protobuf(request(1, 2)), PROTOBUF)), 1
    ):
        members = gzip.compress(body[:9]) + gzip.compress(body[9:])
        status, answer, data = served.post(members if packed else body, kind, **headers)
        assert status == 200
        assert answer["content-type"] == kind.partition(";")[0]
        assert data == (b"{}" if "json" in kind else b"")
        assert len(served.script.delivered) == first


def test_rejected_spans_are_a_partial_success(served: Served) -> None:
    bad = export_of(span("01"), span("02", startTimeUnixNano="0"), span("03", startTimeUnixNano="0"))
    status, _, data = served.post(as_json(bad))
    partial = json.loads(data)["partialSuccess"]
    assert (status, partial["rejectedSpans"]) == (200, "2")
    assert "2 × bad-time: a model call needs a start time" in partial["errorMessage"]
    _, _, data = served.post(as_protobuf(export_of(span("04"), span("05"), service=None)), PROTOBUF)
    answer = ExportTraceServiceResponse.FromString(data)
    assert answer.partial_success.rejected_spans == 2
    assert "OTEL_SERVICE_NAME" in answer.partial_success.error_message


def test_requests_that_are_rejected(served: Served) -> None:
    for body, content_type, headers, status, text in (
        (b"{", "application/json", {}, 400, "not OTLP/JSON"),
        (b"{}", PROTOBUF, {}, 400, "not an ExportTraceServiceRequest"),
        (b"{}", "text/plain", {}, 415, "application/x-protobuf or application/json"),
        (b"{}", "application/json", {"Content_Encoding": "zstd"}, 415, "gzip"),
        (b"{}", "application/json", GZIP, 400, "gzip"),
        (gzip.compress(b"{}" * 99, mtime=0)[:-5], "application/json", GZIP, 400, "cut off"),
        (gzip.compress(bytes(MAX_REQUEST_BYTES + 1), mtime=0), PROTOBUF, GZIP, 413, "20,971,520 bytes"),
        (gzip.compress(b" ", mtime=0) * 101, "application/json", GZIP, 400, "more than 100 members"),
        (bytes(MAX_REQUEST_BYTES + 1), PROTOBUF, {}, 413, "batch size"),
        (b'{"resourceSpans":[{}%s]}' % (b",{}" * 10_000), "application/json", {}, 400, "10,001 resources"),
        (b"\x0a\x00" * 10_001, PROTOBUF, {}, 400, "10,001 resources"),
        (b'{"resourceSpans":[{"scopeSpans":[%s{}]}]}' % (b"{}," * 10_000), "application/json", {}, 400, "10,001 scope"),
        (b"{}", "application/json", {"Host": "evil.example"}, 421, "otlp.names"),
        (b"{}", "application/json", {"Origin": "http://127.0.0.1"}, 403, "browsers"),
        (b"{}", "application/json", {"path": "/v1/logs"}, 404, "OTEL_LOGS_EXPORTER=none"),
        (b"{}", "application/json", {"method": "GET"}, 405, "POST to /v1/traces"),
    ):
        code, answer, data = served.post(body, content_type, **headers)
        assert code == status
        assert text in data.decode("utf-8", "replace")
        if content_type == PROTOBUF:
            # google.rpc.Status: field 1 is the code, field 2 the message, whose length takes two bytes.
            assert answer["content-type"] == PROTOBUF
            assert (data[0], data[2]) == (0x08, 0x12)
            if status == 400:
                assert len(data) == 5 + ((data[3] & 0x7F) | data[4] << 7)
                assert text in data[5:].decode()
        else:
            assert json.loads(data)["code"] > 0
        assert served.outbox.stats.queued == 0


def test_a_request_is_acknowledged_once_kafka_has_its_predictions(served: Served) -> None:
    served.script.can_flush = False
    for _ in range(2):
        status, headers, data = served.post(as_json(request(1)))
        assert (status, headers["retry-after"], json.loads(data)["code"]) == (503, "5", 14)
        assert b"Kafka has not stored the predictions within 0.1 s" in data
    assert served.post(as_json(export_of(span("03", attributes={}))))[0] == 200, "no model call"
    served.script.can_flush = True
    assert served.post(as_json(request(1)))[0] == 200
    # What Kafka rejects is sent again until it does not.
    served.script.delivery_error = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    assert served.post(as_json(request(1, 2)))[0] == 503
    served.script.delivery_error = None
    served.receiver.tick()
    assert served.post(as_json(request(1, 2)))[0] == 200
    assert [len(served.script.delivered), served.outbox.stats.published] == [3, 2]
    # A call is not stored while it waits for its parents, and then what counts instead is.
    parent, child = (as_json(export_of(span(*ids, trace_id="99"))) for ids in (("01",), ("02", "01")))
    assert [served.post(body)[0] for body in (child, parent, child)] == [503, 200, 200]
    assert served.outbox.stats.published == 3


def test_memory_and_ports_are_limited_and_requests_refused_while_kafka_is_unavailable(served: Served) -> None:
    served.script.can_flush = False
    codes = [served.post(as_json(request(10, 1 + 10 * i)))[0] for i in range(8)]
    assert codes == [503] * 5 + [429] * 3
    status, headers, data = served.post(as_json(request(10, 1_000)))
    assert (status, headers["retry-after"], json.loads(data)["code"]) == (429, "5", 14)
    assert served.outbox.stats.queued == 50
    assert served.outbox.stats.dropped == {}
    assert served.ingest.nested.remembered == 50, "a refused request is not read"
    with pytest.raises(ProcessorError, match=r"otlp\.host and otlp\.port"):
        OtlpEndpoint(served.receiver, OtlpSettings(port=served.endpoint.port))


def test_calls_that_wait_for_parents_are_pending_and_a_preflight_of_a_browser_allows_nothing(served: Served) -> None:
    waiting = export_of(*[span("02", "01", trace_id=f"{i + 1:x}") for i in range(50)])
    assert served.post(as_json(waiting))[0] == 503
    assert served.outbox.stats.queued == 0
    assert served.post(as_json(request(1, 1_000)))[0] == 429
    status, answer, _ = served.post(b"", None, method="OPTIONS", Access_Control_Request_Method="POST")
    assert status == 405
    assert not [name for name in answer if name.startswith("access-control")]


def test_repeated_and_left_out_spans_are_in_the_metrics(served: Served) -> None:
    assert [served.post(as_json(request(3)))[0] for _ in range(2)] == [200, 200]
    assert len(served.script.delivered) == 3
    served.receiver.tick()
    assert served.report.values(metrics.SPANS) == {("counted",): 3, ("duplicate",): 3}
    assert served.report.values(metrics.EVENTS) == {("published",): 3}
    # What is left out is counted, too.
    spans = [
        span("11", trace_id="ff", attributes={"gen_ai.usage.input_tokens": -1, "gen_ai.response.model": "m"}),
        span("12", trace_id="ff") | {"spanId": ""},
    ]
    served.post(as_json(export_of(*spans, span("13", trace_id="ff", attributes={}))))
    for _ in range(2):
        served.receiver.tick()
    assert served.report.values(metrics.SPANS) == {("counted",): 4, ("duplicate",): 3, ("no-call",): 1, ("bad-id",): 1}
    assert served.report.values(metrics.NOT_OBSERVED) == {("negative",): 1}


def test_models_of_applications() -> None:
    names = OtlpSettings(models=" web = support-bot,shop=shop-bot, ").model_names()
    assert names == {"web": "support-bot", "shop": "shop-bot"}
    with pytest.raises(ProcessorError, match="'web' is no entry"):
        OtlpSettings(models="web").model_names()


def test_a_request_that_takes_long_does_not_stop_others(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    end, read, receive = threading.Event(), list[bytes](), served.receiver.receive

    def slow(data: bytes, encoding: Any) -> Any:
        read.append(data)
        assert end.wait(60)
        return receive(data, encoding)

    monkeypatch.setattr(served.receiver, "receive", slow)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(served.post, as_json(request(1)))
        wait_for(lambda: read, "its body")
        try:
            assert served.post(b"{}", "text/plain")[0] == 415
            # A client that goes while its request waits: nobody would read the answer.
            with socket.create_connection(("127.0.0.1", served.endpoint.port)) as leaving:
                leaving.sendall(HEAD % len(ONE) + ONE)
                wait_for(lambda: served.endpoint.buffered_bytes == 2 * len(ONE), "its body")
        finally:
            end.set()
        assert answer.result(60)[0] == 200
    wait_for(lambda: served.endpoint.buffered_bytes == 0, "its end")
    assert read == [ONE]


def test_memory_of_large_bodies_is_given_back(served: Served) -> None:
    before = memory_bytes()
    for _ in range(3):
        assert served.post(gzip.compress(b"\x0a\x00" * 2_600_000, 1), PROTOBUF, **GZIP)[0] == 400
    served.endpoint.give_back_memory()
    assert memory_bytes() - before < 80 << 20


def test_bodies_that_arrive_at_once_are_bounded(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_endpoint, "MAX_BODIES_BYTES", len(ONE) - 1)
    assert served.post(ONE)[0] == 429


def test_headers_that_do_not_arrive_end_the_connection(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_endpoint, "HEADERS_S", 0.2)
    for sent in (b"", HEAD[:20]):
        with socket.create_connection(("127.0.0.1", served.endpoint.port), 30) as slow:
            slow.sendall(sent)
            assert slow.recv(1) == b""


class GrpcServed(Served):
    def __init__(self) -> None:
        super().__init__()
        self.settings = OtlpSettings(grpc_port=choose_port(), wait_s=0)
        self.grpc = GrpcEndpoint(self.endpoint, self.receiver, self.settings, 0.1)
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.grpc.port}")

    def export(self, body: bytes, *, method: str = f"/{SERVICE}/{METHOD}", **options: Any) -> tuple[str, str]:
        try:
            answer = self.channel.unary_unary(method)(body, timeout=30, **options)
        except grpc.RpcError as error:
            return error.code().name, error.details()
        return "OK", ExportTraceServiceResponse.FromString(answer).partial_success.error_message


@pytest.fixture
def grpc_served() -> Iterator[GrpcServed]:
    running = GrpcServed()
    yield running
    running.channel.close()
    running.grpc.stop()
    running.stop()


def test_grpc_accepts_what_http_accepts_and_its_statuses_say_what_to_send_again(grpc_served: GrpcServed) -> None:
    export, gzipped = grpc_served.export, grpc.Compression.Gzip
    assert export(as_protobuf(request(1))) == export(as_protobuf(request(1, 2)), compression=gzipped) == ("OK", "")
    assert len(grpc_served.script.delivered) == 2
    status, text = export(as_protobuf(export_of(span("03"), service=None)))
    assert (status, "OTEL_SERVICE_NAME" in text) == ("OK", True)
    for body, options, expected, text in (
        (b"{}", {}, "INVALID_ARGUMENT", "not an ExportTraceServiceRequest"),
        (b"\x0a\x00" * 10_001, {}, "INVALID_ARGUMENT", "10,001 resources"),
        (bytes(MAX_REQUEST_BYTES + 1), {}, "RESOURCE_EXHAUSTED", "larger than max"),
        (bytes(MAX_REQUEST_BYTES + 1), {"compression": gzipped}, "RESOURCE_EXHAUSTED", "20,971,520 bytes"),
        (b"", {"method": "/opentelemetry.proto.collector.logs.v1.LogsService/Export"}, "UNIMPLEMENTED", "not found"),
    ):
        status, answer = export(body, **options)
        assert (status, text in answer) == (expected, True), answer
    counts = grpc_served.receiver._findings._requests
    wait_for(lambda: counts == {"not-protobuf": 1, "too-many-spans": 1, "too-large": 2}, "all counts")
    grpc_served.script.can_flush = False
    assert export(as_protobuf(request(1, 3))) == (
        "UNAVAILABLE",
        "Kafka has not stored the predictions within 0.1 s. Send the request again later.",
    )
    assert export(as_protobuf(request(50, 3)))[0] == "UNAVAILABLE"
    assert "the queue is full" in export(as_protobuf(request(1, 100)))[1]
    grpc_served.script.can_flush = True
    grpc_served.outbox.poll()
    assert export(as_protobuf(request(50, 3)))[0] == "OK"
    assert len(grpc_served.script.delivered) == 52, "each counted once"
    with pytest.raises(ProcessorError, match=r"otlp\.grpc_port"):
        GrpcEndpoint(grpc_served.endpoint, grpc_served.receiver, grpc_served.settings)


def test_messages_of_grpc_are_in_memory_a_few_at_a_time_and_arrive_in_time(
    grpc_served: GrpcServed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpc_endpoint, "BODY_S", 0.5)
    stream = grpc_served.channel.stream_unary(f"/{SERVICE}/{METHOD}")
    end = threading.Event()

    def nothing() -> Iterator[bytes]:
        end.wait(60)
        yield from ()

    waiting = [stream.future(nothing(), timeout=60) for _ in range(MAX_MESSAGES)]
    wait_for(lambda: grpc_served.grpc._turns.locked(), "all turns")
    assert grpc_served.export(as_protobuf(request(1)))[0] == "OK", "in its turn"
    assert {call.code() for call in waiting} == {grpc.StatusCode.DEADLINE_EXCEEDED}
    end.set()
    monkeypatch.setattr(grpc_endpoint, "MAX_CONNECTIONS", 0)
    assert grpc_served.export(as_protobuf(request(1, 2)))[0] == "UNAVAILABLE"


JSON_DECODER = JsonExportDecoder(load_conventions(), OtlpSettings())
PROTOBUF_DECODER = ProtobufExportDecoder(load_conventions(), OtlpSettings())


def plain(request: DecodedRequest) -> list[dict[str, Any]]:
    return [msgspec.structs.asdict(each) for each in request.spans]


@pytest.mark.parametrize("name", otlp.INSTRUMENTATIONS)
def test_both_encodings_give_the_same_spans(name: str) -> None:
    for export in exports(name):
        from_json, from_protobuf = JSON_DECODER.decode(as_json(export)), PROTOBUF_DECODER.decode(as_protobuf(export))
        assert len(from_json.spans) > 0
        assert plain(from_json) == plain(from_protobuf)
        assert from_json.rejected == from_protobuf.rejected == {}


def test_json_at_any_depth_is_decoded_or_rejected() -> None:
    text = json.dumps(export_of(span(attributes={"gen_ai.input.messages": {"stringValue": "HERE"}})))
    outcomes = set()
    for depth in (*range(10, 1_000, 60), 1_000, 100_000):
        value = '{"arrayValue": {"values": [' * depth + "]}}" * depth
        try:
            JSON_DECODER.decode(text.replace('{"stringValue": "HERE"}', value).encode())
            outcomes.add("decoded")
            assert depth < 1_000
        except ExportError as error:
            outcomes.add(error.reason)
    assert outcomes == {"decoded", RequestReason.TOO_DEEP}


NO_JSON = (b"", b"[]", b'{"resourceSpans": [', b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "\xff"}]}]}]}')
NO_PROTOBUF = (b"\x0a\x03abc", b"{}", b"\xff" * 20, as_json(export_of(span())), b"\x0a\xff\xff\xff")


def test_bytes_that_are_no_exports() -> None:
    for decoder, reason, values in (
        (JSON_DECODER, RequestReason.NOT_JSON, (*NO_JSON, b"\x0a\x03abc")),
        (JSON_DECODER, RequestReason.TOO_LARGE, [b" " * (MAX_REQUEST_BYTES + 1)]),
        (PROTOBUF_DECODER, RequestReason.NOT_PROTOBUF, NO_PROTOBUF),
    ):
        for data in values:
            with pytest.raises(ExportError) as caught:
                decoder.decode(data)
            assert caught.value.reason == reason
    assert PROTOBUF_DECODER.decode(b"").spans == JSON_DECODER.decode(b"{}").spans == [], "an empty request has no spans"
    # The place of an error is named, and no value.
    with pytest.raises(ExportError, match=r"resourceSpans.*attributes") as caught:
        JSON_DECODER.decode(b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"attributes": "SECRET"}]}]}]}')
    assert "SECRET" not in str(caught.value)


BOTH = pytest.mark.parametrize(
    "decode",
    [lambda export: JSON_DECODER.decode(as_json(export)), lambda export: PROTOBUF_DECODER.decode(as_protobuf(export))],
)
Decode = Callable[[dict[str, Any]], DecodedRequest]


@BOTH
def test_too_many_spans(decode: Decode) -> None:
    with pytest.raises(ExportError, match="10,001 spans") as caught:
        decode(export_of(*[span(f"{i + 1:x}", attributes={}) for i in range(MAX_SPANS + 1)]))
    assert caught.value.reason == RequestReason.TOO_MANY_SPANS


@BOTH
def test_a_batch_of_long_texts_is_read_in_parts_as_whole(decode: Decode) -> None:
    texts = {"gen_ai.response.model": "m", "gen_ai.prompt.0.content": "some, words " * 1_000}

    def batch(n: int) -> list[dict[str, Any]]:
        exported = export_of(*[span(f"{i + 1:x}", attributes=texts) for i in range(n)], scope="one")
        resources: list[dict[str, Any]] = exported["resourceSpans"]
        return resources

    (small,) = decode({"resourceSpans": batch(1)}).spans
    other = export_of(span("fff"), scope="two", service="other")["resourceSpans"]
    export = {"resourceSpans": [*batch(512), *other, *batch(512)]}
    assert len(as_protobuf(export)) > 2 * MAX_PART_BYTES
    read = decode(export).spans
    assert [each.span_id for each in read[:512]] == [each.span_id for each in read[513:]]
    assert (read[512].scope.name, read[512].scope.resource["service.name"]) == ("two", "other")
    assert read[0] == read[513] == small
    assert all(each.scope == small.scope for each in (*read[:512], *read[513:]))


def test_a_large_span_is_read_without_its_long_attributes() -> None:
    image = {"gen_ai.input.messages": f"data:image/png;base64,{'A' * MAX_PART_BYTES}"}
    more: dict[str, Any] = {"status": {"code": 2}, "flags": 257}
    large, short = (span("01", attributes=CALL | texts, **more) for texts in (image, {}))
    read = PROTOBUF_DECODER.decode(as_protobuf(export_of(large, span("02")))).spans
    assert read == PROTOBUF_DECODER.decode(as_protobuf(export_of(short, span("02")))).spans


def test_a_large_body_that_cannot_be_read_in_parts_is_rejected() -> None:
    def field(tag: int, data: bytes) -> bytes:
        return bytes((tag, *varint(len(data)))) + data

    large, many = bytes(MAX_PART_BYTES + 1), MAX_PART_BYTES // 2
    for data, text in (
        (b"\x0a\x00" * (many + 1), "10,001 resources"),
        (field(0x0A, field(0x12, b"\x12\x00" * (many + 9))), "10,001 spans"),
        (field(0x0A, field(0x12, field(0x12, field(0x0A, large)))), "A span without its long attributes of a request"),
        (field(0x0A, field(0x12, field(0x12, b"\x4a\x00" * many + b"\x00"))), "A span without its long"),
        (field(0x0A, field(0x1A, large)), "A resource or scope"),
        (b"\x0a" + b"\xff" * MAX_PART_BYTES, "cut off"),
        (field(0x0A, large)[:-1], "cut off"),
    ):
        with pytest.raises(ExportError, match=text):
            PROTOBUF_DECODER.decode(data)
    with pytest.raises(ExportError, match="braces, brackets and commas"):
        JSON_DECODER.decode(b'{"resourceSpans":[%s{}]}' % (b"{}," * many))


@BOTH
def test_unknown_attributes_are_left_out_and_too_many_reject_one_span(decode: Decode) -> None:
    known = span(attributes={"http.url": "x", "gen_ai.response.model": "m"})
    assert decode(export_of(known)).spans[0].attributes == {"gen_ai.response.model": "m"}, "others are left out"
    crowded = span("02", attributes={f"a{i}": 1 for i in range(MAX_ATTRIBUTES + 1)})
    request = decode(export_of(span("01"), crowded))
    assert len(request.spans) == 1
    assert request.rejected == {SpanReason.TOO_MANY_ATTRIBUTES: 1}


def test_ids_that_are_none() -> None:
    for ids in (
        {"traceId": ""},
        {"spanId": "0" * 16},
        {"spanId": "abc"},
        {"parentSpanId": "12"},
        {"traceId": "57i3RNZkMrazB/lAsxHBxA=="},
    ):
        request = JSON_DECODER.decode(as_json(export_of(span() | ids)))
        assert (request.spans, request.rejected) == ([], {SpanReason.BAD_ID: 1})
        if ids == {"spanId": "0" * 16}:
            request = PROTOBUF_DECODER.decode(as_protobuf(export_of(span() | ids, span("02"))))
            assert (len(request.spans), request.rejected) == (1, {SpanReason.BAD_ID: 1})


def test_integers_are_numbers_or_text_and_doubles_too() -> None:
    values: dict[str, Any] = {
        "gen_ai.usage.input_tokens": {"intValue": 5},
        "gen_ai.usage.output_tokens": {"intValue": "6"},
        "gen_ai.usage.cost": {"doubleValue": "NaN"},
        "gen_ai.response.time_to_first_chunk": {"doubleValue": 1},
        "llm.token_count.prompt": {"intValue": "six"},
        "llm.token_count.completion": {"bytesValue": "YQ=="},
    }
    times = {"startTimeUnixNano": 5, "endTimeUnixNano": "x"}
    built = JSON_DECODER.decode(as_json(export_of(span(attributes=values) | times)))
    assert repr(list(built.spans[0].attributes.values())) == "[5, 6, nan, 1.0, None, None]"
    assert (built.spans[0].start_ns, built.spans[0].end_ns) == (5, 0)


@BOTH
def test_text_becomes_its_length(decode: Decode) -> None:
    parts = [{"role": "user", "parts": [{"type": "text", "content": "abc"}, {"type": "text", "content": "de"}]}]
    structured = [{"kvlistValue": {"values": [{"key": "content", "value": {"stringValue": "abcd"}}]}}]
    for attributes, chars in (
        ({"gen_ai.input.messages": json.dumps(parts)}, {"input_chars": 5}),
        ({"gen_ai.output.messages": "not JSON"}, {"output_chars": 8}),
        ({"gen_ai.output.messages": '["ab", 7, ["c"]]'}, {"output_chars": 3}),
        ({"gen_ai.output.messages": {"arrayValue": {"values": structured}}}, {"output_chars": 4}),
        (
            {"llm.input_messages.0.message.content": "ab", "llm.input_messages.1.message.content": "é"},
            {"input_chars": 3},
        ),
        ({"gen_ai.system_instructions": "abc", "gen_ai.input.messages": ""}, {"input_chars": 0}),
        ({"gen_ai.input.messages": 7}, {}),
        ({"gen_ai.prompt.0.content": '[{"type": "text", "text": "abc"}]'}, {"input_chars": 3}),
        ({"gen_ai.prompt.0.content": '[{"name": "abc"}]'}, {"input_chars": 17}),
    ):
        request = decode(export_of(span(attributes=attributes)))
        assert (request.spans[0].attributes, request.spans[0].chars) == ({}, chars)
