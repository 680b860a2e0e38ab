"""Spans per CPU-second of `barograph run otlp`, from an HTTP request to Kafka's acknowledgement.

The exports repeat the model calls of a recorded dump of OpenTelemetry's own instrumentation of the `openai` client,
with new ids, 512 spans per request as the SDK's batch processor sends them. CPU time is that of the whole process.
"""

import base64
import copy
import itertools
import json
import random
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from barograph_server.local.child_process import choose_port
from barograph_server.streams.otlp.conventions import load_conventions
from barograph_server.streams.otlp.ingest import Ingest
from barograph_server.streams.otlp.settings import MappingOptions
from barograph_server.warehouse import migrate
from benchmarks.figures import Figures
from benchmarks.stack import Testbed, terminating, wait_until

RECEIVER = "The OTLP receiver"
DATABASE = "receiving"
DUMP = Path(__file__).resolve().parents[1] / "tests/golden/otlp/genai-openai-default.jsonl"
SPANS = 512
"""Spans per request."""
WAIT_S = 0.2
"""How long a call waits for the spans around it."""
_ID_NAMES = frozenset(("traceId", "spanId", "parentSpanId"))

Export = dict[str, Any]


def measure_receiver(testbed: Testbed, figures: Figures, *, requests: int, runs: int) -> None:
    """Measure protobuf and JSON alternately, each run with other ids."""
    with testbed.client(DATABASE) as client:
        migrate.apply(client)
    topics = testbed.create_topics("receiving-")
    rates: dict[str, list[float]] = {"protobuf": [], "JSON": []}
    port = choose_port()
    receiver = testbed.start_processor(
        "otlp", "0", database=DATABASE, prefix="receiving-", otlp_port=port, wait_s=WAIT_S
    )
    n_published, seeds = 0, itertools.count()
    per_request = predictions_per_request()
    with terminating([receiver]):
        receiver.wait_event("receiving")
        # The first run warms up.
        for run in range(runs + 1):
            for encoding in rates:
                bodies = [_ENCODERS[encoding](make_export(next(seeds))) for _ in range(requests)]
                n_published += requests * per_request
                began_s = receiver.sample().cpu_s
                with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
                    for body in bodies:
                        _post(connection, body, encoding)
                wait_until(
                    partial(_has_messages, testbed, topics.predictions, n_published), "all predictions are in Kafka"
                )
                if run:
                    rates[encoding].append(requests * SPANS / (receiver.sample().cpu_s - began_s))
    testbed.delete_topics(topics)
    for encoding, each in rates.items():
        figures.add_runs(
            RECEIVER, f"{encoding}: spans per CPU-second", each, "spans", f"{requests * SPANS:,} spans each"
        )


def make_export(seed: int) -> Export:
    """Return an export request in OTLP/JSON with the spans of the dump, repeated under other ids and of now."""
    rng = random.Random(seed)
    lines = map(json.loads, DUMP.read_text(encoding="utf-8").splitlines())
    exports = [line["body"] for line in lines if line["path"] == "/v1/traces"]
    resource = exports[0]["resourceSpans"][0]
    scope = resource["scopeSpans"][0]
    recorded = [
        span
        for export in exports
        for each in export["resourceSpans"]
        for group in each["scopeSpans"]
        for span in group["spans"]
    ]
    shift_ns = time.time_ns() - max(int(span["endTimeUnixNano"]) for span in recorded)
    traces: dict[str, str] = {}
    spans = []
    for recorded_span in itertools.islice(itertools.cycle(recorded), SPANS):
        span = dict(recorded_span)
        new_trace = rng.randbytes(16).hex()
        if not span.get("parentSpanId"):
            traces[span["traceId"]] = new_trace
        span["traceId"] = traces.get(span["traceId"], new_trace)
        for name in ("startTimeUnixNano", "endTimeUnixNano"):
            span[name] = str(int(span[name]) + shift_ns)
        spans.append(span)
    return {"resourceSpans": [{**resource, "scopeSpans": [{**scope, "spans": spans}]}]}


def predictions_per_request() -> int:
    """Return how many predictions one request yields: nested calls do not count."""
    ingest = Ingest(load_conventions(), MappingOptions(), producer="benchmark", seq=itertools.count())
    events = ingest.add(ingest.json.decode(_as_json(make_export(0))), time.time_ns() // 1_000_000).events
    return len(events) + len(ingest.release())


def _has_messages(testbed: Testbed, topic: str, n: int) -> bool:
    return testbed.end_offset(topic) >= n


def _as_json(export: Export) -> bytes:
    return json.dumps(export).encode()


def _as_protobuf(export: Export) -> bytes:
    """Encode by protobuf's own mapping from JSON, in which ids are base64 instead of hexadecimal."""
    export = copy.deepcopy(export)
    for span in export["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        for name in _ID_NAMES & span.keys():
            span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
    data: bytes = json_format.ParseDict(export, ExportTraceServiceRequest()).SerializeToString()
    return data


_ENCODERS: dict[str, Callable[[Export], bytes]] = {"protobuf": _as_protobuf, "JSON": _as_json}
_CONTENT_TYPES = {"protobuf": "application/x-protobuf", "JSON": "application/json"}


def _post(connection: HTTPConnection, body: bytes, encoding: str) -> None:
    """Send one request, again after a pause while the receiver's queue to Kafka is full."""
    while True:
        connection.request("POST", "/v1/traces", body, {"Content-Type": _CONTENT_TYPES[encoding]})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status == HTTPStatus.OK:
            return
        if answer.status != HTTPStatus.TOO_MANY_REQUESTS:
            raise RuntimeError(f"the receiver answered {answer.status}: {text!r}")
        time.sleep(WAIT_S)
