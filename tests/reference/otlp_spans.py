"""How many spans a receiver turns into predictions per CPU-second: `python -m tests.reference.otlp_spans [DUMP]`.

It repeats the model calls of a golden dump (genai-openai-default) with other ids, 512 spans per request, decodes them,
joins nested calls and encodes the events. It prints the best of seven runs for each encoding: other programs on the
machine only make a run slower. Kafka is not part of it.
"""

from __future__ import annotations

import copy
import platform
import random
import sys
import time
from collections.abc import Callable
from typing import Any

from tests.support.otlp import RECEIVED_MS, as_json, as_protobuf, exports, make_ingest, spans_of

REQUESTS, SPANS, RUNS = 16, 512, 7


def requests(dump: str) -> list[dict[str, Any]]:
    """Return export requests with the spans of a dump, repeated under other ids."""
    rng = random.Random(1)
    spans = [span for export in exports(dump) for span in spans_of(export)]
    result = []
    for _ in range(REQUESTS):
        traces: dict[str, str] = {}
        own = []
        for i in range(SPANS):
            span = copy.deepcopy(spans[i % len(spans)])
            fresh = f"{rng.getrandbits(128):032x}"
            if not span.get("parentSpanId"):
                traces[span["traceId"]] = fresh
            span["traceId"] = traces.get(span["traceId"], fresh)
            own.append(span)
        export = copy.deepcopy(exports(dump)[0])
        resource = export["resourceSpans"][0]
        scope = {**resource["scopeSpans"][-1], "spans": own}
        result.append({**export, "resourceSpans": [{**resource, "scopeSpans": [scope]}]})
    return result


def spans_per_cpu_second(bodies: list[bytes], *, is_json: bool) -> float:
    """Measure one run."""
    ingest = make_ingest()
    decoder = ingest.json if is_json else ingest.protobuf
    began_s = time.process_time()
    n_events = sum(len(ingest.add(decoder.decode(body), RECEIVED_MS)[0]) for body in bodies) + len(ingest.release())
    assert n_events > len(bodies)
    return REQUESTS * SPANS / (time.process_time() - began_s)


def main(dump: str) -> None:
    """Print the figures."""
    print(f"{platform.machine()}, Python {platform.python_version()}, dump {dump}")
    exported = requests(dump)
    encodings: tuple[tuple[str, Callable[[dict[str, Any]], bytes]], ...] = (
        ("protobuf", as_protobuf),
        ("JSON", as_json),
    )
    for name, encode in encodings:
        bodies = [encode(each) for each in exported]
        best = max(spans_per_cpu_second(bodies, is_json=name == "JSON") for _ in range(RUNS))
        print(
            f"{name}: {best:,.0f} spans per CPU-second, {sum(map(len, bodies)) / REQUESTS / SPANS:,.0f} bytes per span"
        )


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "genai-openai-default")
