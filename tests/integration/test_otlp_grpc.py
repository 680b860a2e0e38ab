"""`barograph run otlp` receives what OpenTelemetry's own exporter sends over gRPC, also while Kafka is stopped."""

from collections.abc import Sequence
from pathlib import Path

import grpc
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

from barograph_server.local.child_process import choose_port
from barograph_server.local.kafka import LocalKafka
from tests.support.otlp import CALL, as_json, export_of, post, published, span, start
from tests.support.pipeline import Pipeline


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
        port = start(pipeline, grpc_port=grpc_port)

        def exporter(timeout_s: float) -> OTLPSpanExporter:
            where = f"http://127.0.0.1:{grpc_port}"
            return OTLPSpanExporter(where, insecure=True, timeout=timeout_s, compression=grpc.Compression.Gzip)

        recorder = Recorder(exporter(60))
        provider = TracerProvider(resource=Resource({"service.name": "support-bot"}))
        provider.add_span_processor(BatchSpanProcessor(recorder))
        tracer = provider.get_tracer("test")

        def call(n: int) -> None:
            for _ in range(n):
                tracer.start_span("chat m", attributes=CALL).end()
            assert provider.force_flush(60_000)

        call(600)
        assert recorder.results == [SpanExportResult.SUCCESS] * 2
        assert {each["metrics"]["input_tokens"] for each in published(pipeline, 600)} == {7}
        assert post(port, as_json(export_of(span())))[0] == 200, "HTTP beside it"
        broker.stop()
        recorder.exporter = exporter(6)
        call(5)
        assert recorder.results[2:] == [SpanExportResult.FAILURE], "Kafka does not have them"
        broker.start()
        assert exporter(60).export(recorder.last) is SpanExportResult.SUCCESS
        published(pipeline, 606)
        provider.shutdown()
        pipeline.stop()
