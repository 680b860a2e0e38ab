"""Export requests of the golden files in tests/golden/otlp, in both encodings, and spans built by hand."""

import base64
import copy
import itertools
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from barograph_server.streams.otlp.conventions import load_conventions
from barograph_server.streams.otlp.ingest import Ingest
from barograph_server.streams.otlp.settings import OtlpSettings
from tests.support.http import request
from tests.support.operation import address
from tests.support.pipeline import Pipeline, wait_for

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "otlp"
INSTRUMENTATIONS = (
    *("genai-openai-default", "genai-openai-content", "v2-default", "v2-latest"),
    *("openllmetry", "openinference", "openlit", "litellm"),
)
RECORDED = ("logfire", "langfuse", "pydantic-ai", "anthropic")
"""Calls of other clients, to a server with fixed usage."""
SETUPS = (
    *("agno", "anthropic-mlflow", "anthropic-openinference", "anthropic-openlit", "anthropic-openllmetry"),
    *("bedrock-openinference", "bedrock-openllmetry", "dspy", "gemini-genai", "haystack", "langchain-openinference"),
    *("langchain-openllmetry", "litellm-openinference", "litellm-otel", "llama-index-openinference", "openai-agents"),
    *("openai-genai", "openai-langfuse", "openai-logfire", "openai-mlflow", "openai-openinference", "openai-openlit"),
    *("openai-openllmetry", "pydantic-ai-openai", "semantic-kernel", "smolagents", "strands", "vercel-ai"),
)
"""Set-ups of tests/instrumentations/record.py."""
RECEIVED_MS = 1_795_792_020_000
"""A time shortly after all golden files were recorded, Unix milliseconds."""


def exports(name: str, path: str = "/v1/traces") -> list[dict[str, Any]]:
    lines = map(json.loads, (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines())
    return [line["body"] for line in lines if line["path"] == path]


def truth(name: str) -> dict[str, dict[str, Any]]:
    calls = json.loads((FOLDER / f"{name}.truth.json").read_text(encoding="utf-8"))
    return {call["call"]: call for call in calls}


def as_json(export: dict[str, Any]) -> bytes:
    return json.dumps(export).encode()


def as_protobuf(export: dict[str, Any]) -> bytes:
    """Encode an OTLP/JSON request in protobuf, by protobuf's own JSON mapping, in which ids are base64."""
    export = copy.deepcopy(export)
    for span in spans_of(export):
        for name in ("traceId", "spanId", "parentSpanId"):
            if name in span:
                span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
        for link in span.get("links", []):
            for name in ("traceId", "spanId"):
                link[name] = base64.b64encode(bytes.fromhex(link[name])).decode()
    data: bytes = json_format.ParseDict(export, ExportTraceServiceRequest()).SerializeToString()
    return data


def post(
    port: int, body: bytes, content_type: str | None = "application/json", path: str = "/v1/traces", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    if content_type is not None:
        names["Content-Type"] = content_type
    answer = request(names.pop("method", "POST"), f"http://127.0.0.1:{port}{path}", body, names)
    return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.data


def spans_of(export: dict[str, Any]) -> Iterable[dict[str, Any]]:
    for resource in export.get("resourceSpans", []):
        for scope in resource.get("scopeSpans", []):
            yield from scope.get("spans", [])


def make_ingest(**options: Any) -> Ingest:
    otlp = options.pop("otlp", OtlpSettings())
    return Ingest(load_conventions(), otlp, producer="test", seq=itertools.count(), **options)


def predictions(
    bodies: Iterable[dict[str, Any]], encode: Callable[[dict[str, Any]], bytes] = as_json, ingest: Ingest | None = None
) -> list[dict[str, Any]]:
    ingest = ingest or make_ingest()
    decoder = ingest.json if encode is as_json else ingest.protobuf
    events: list[bytes] = []
    for body in bodies:
        events += ingest.add(decoder.decode(encode(body)), RECEIVED_MS)[0]
    events += ingest.release()
    return sorted(map(json.loads, events), key=lambda event: event["at"])


_START_NS = 1_795_792_000_000_000_000


def span(
    span_id: str = "01",
    parent_id: str = "",
    *,
    trace_id: str = "0a",
    start_ms: float = 0,
    duration_ms: float = 100,
    **members: Any,
) -> dict[str, Any]:
    """A span in OTLP/JSON; attributes are given as `attributes={name: value}` in OTLP's or Python's values."""
    start_ns = _START_NS + int(start_ms * 1e6)
    built = {
        "traceId": trace_id.rjust(32, "0"),
        "spanId": span_id.rjust(16, "0"),
        "parentSpanId": parent_id.rjust(16, "0") if parent_id else "",
        "name": "chat m",
        "startTimeUnixNano": str(start_ns),
        "endTimeUnixNano": str(start_ns + int(duration_ms * 1e6)),
    }
    attributes = members.pop("attributes", CALL)
    return (
        built | {"attributes": [{"key": key, "value": otlp_value(each)} for key, each in attributes.items()]} | members
    )


CALL = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 7}


def otlp_value(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [otlp_value(each) for each in value]}}
    return {"stringValue": value}


def export_of(*spans: dict[str, Any], scope: str = "test", service: str | None = "support-bot") -> dict[str, Any]:
    attributes = [] if service is None else [{"key": "service.name", "value": {"stringValue": service}}]
    scope_spans = [{"scope": {"name": scope}, "spans": list(spans)}]
    return {"resourceSpans": [{"resource": {"attributes": attributes}, "scopeSpans": scope_spans}]}


def start(pipeline: Pipeline, instance: str = "otlp-0", **otlp: Any) -> int:
    pipeline.clock = "live"
    pipeline.start("otlp", instance, otlp={"port": 0, "grpc_port": 0, "wait_s": 0.5, **otlp})
    return port_of(pipeline, instance)


def port_of(pipeline: Pipeline, instance: str = "otlp-0") -> int:
    return int(address(pipeline, instance, "receiving").rpartition(":")[2])


def published(pipeline: Pipeline, n: int) -> list[dict[str, Any]]:
    messages = wait_for(
        lambda: len(each := pipeline.read_all(pipeline.topics.predictions)) >= n and each, f"{n} predictions"
    )
    events = [json.loads(message.value()) for message in messages]
    assert len(events) == n
    return sorted(events, key=lambda event: event["at"])
