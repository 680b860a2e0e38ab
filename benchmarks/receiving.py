"""Spans per CPU-second of `barograph run otlp`, from an HTTP request to Kafka's acknowledgement.

The exports repeat the model calls of a recorded dump of OpenTelemetry's own instrumentation of the `openai` client,
with new ids, 512 spans per request as the SDK's batch processor sends them. CPU time is that of the whole process.
"""

import itertools
import random
import time
from collections.abc import Callable
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection
from typing import Any

from barograph_server.local.child_process import choose_port
from barograph_server.streams.otlp.conventions import load_conventions
from barograph_server.streams.otlp.ingest import Ingest
from barograph_server.streams.otlp.settings import OtlpSettings
from barograph_server.warehouse import migrate
from benchmarks.figures import Figures
from benchmarks.stack import Testbed, terminating, wait_until
from tests.support.otlp import as_json, as_protobuf, exports, spans_of

RECEIVER = "The OTLP receiver"
DATABASE = "receiving"
DUMP = "genai-openai-default"
SPANS = 512
"""Spans per request."""
WAIT_S = 0.2
"""How long a call waits for the spans around it."""
Export = dict[str, Any]
ENCODINGS: dict[str, tuple[Callable[[Export], bytes], str]] = {
    "protobuf": (as_protobuf, "application/x-protobuf"),
    "JSON": (as_json, "application/json"),
}


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
        for run, (name, (encode, content_type)) in itertools.product(range(runs + 1), ENCODINGS.items()):
            bodies = [encode(make_export(next(seeds))) for _ in range(requests)]
            n_published += requests * per_request
            began_s = receiver.sample().cpu_s
            with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
                for body in bodies:
                    _post(connection, body, content_type)

            def have_arrived(n: int = n_published) -> bool:
                return testbed.end_offset(topics.predictions) >= n

            wait_until(have_arrived, "all predictions are in Kafka")
            if run:
                rates[name].append(requests * SPANS / (receiver.sample().cpu_s - began_s))
    testbed.delete_topics(topics)
    for encoding, each in rates.items():
        figures.add_runs(
            RECEIVER, f"{encoding}: spans per CPU-second", each, "spans", f"{requests * SPANS:,} spans each"
        )


def make_export(seed: int) -> Export:
    """Return an export request in OTLP/JSON with the spans of the dump, repeated under other ids and of now."""
    rng = random.Random(seed)
    recorded_exports = exports(DUMP)
    resource = recorded_exports[0]["resourceSpans"][0]
    scope = resource["scopeSpans"][0]
    recorded = [span for export in recorded_exports for span in spans_of(export)]
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
    ingest = Ingest(load_conventions(), OtlpSettings(), producer="benchmark", seq=itertools.count())
    events = ingest.add(ingest.json.decode(as_json(make_export(0))), time.time_ns() // 1_000_000).events
    return len(events) + len(ingest.release())


def _post(connection: HTTPConnection, body: bytes, content_type: str) -> None:
    """Send one request, again after a pause while the receiver's queue to Kafka is full."""
    while True:
        connection.request("POST", "/v1/traces", body, {"Content-Type": content_type})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status == HTTPStatus.OK:
            return
        if answer.status != HTTPStatus.TOO_MANY_REQUESTS:
            raise RuntimeError(f"the receiver answered {answer.status}: {text!r}")
        time.sleep(WAIT_S)
