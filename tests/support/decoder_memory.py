"""`python -m tests.support.decoder_memory ENCODING MIB`: decodes hostile messages with so much memory for each.

Prints a line of JSON for each decoder and message, with their names and the outcome: the rows of events or labels, the
reason and the detail of the first dead letter, the messages that the recorder omitted, and the error that the decoder
raised.
"""

from __future__ import annotations

import gc
import json
import re
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from streams.events.arrow_decoder import ArrowDecoder
from streams.events.batch import MessageBatch
from streams.events.json_decoder import JsonDecoder
from streams.recorder.arrow_rows import ArrowRows
from streams.recorder.json_rows import JsonRows
from streams.recorder.labels import decode_arrow_labels, decode_json_labels
from streams.registry.registry import RegisteredBaseline, build_registry
from tests.support.arrow_bombs import LARGEST, NOW_MS, TOO_LARGE
from tests.support.json_bombs import JSON
from tests.support.pipeline import simple_baseline, simple_contract

MODELS = frozenset({"toy"})


def _batch(value: bytes) -> MessageBatch:
    return MessageBatch([value], np.zeros(1, np.int32), np.zeros(1, np.int64), np.full(1, NOW_MS))


def _decoders() -> dict[str, Callable[[MessageBatch], Any]]:
    baseline = simple_baseline(rows=50)
    registry = build_registry([(simple_contract(), 0)], [RegisteredBaseline(baseline, baseline.id, 0, 0)])
    arrow_rows, json_rows = ArrowRows(registry), JsonRows(registry)

    def recorded(rows: ArrowRows | JsonRows, batch: MessageBatch) -> dict[str, Any]:
        tables = rows.rows(batch)
        return {"rows": sum(map(len, tables)), "omitted": rows.omitted}

    def counted(decoder: ArrowDecoder | JsonDecoder, batch: MessageBatch) -> dict[str, Any]:
        decoded = decoder.decode(batch)
        return {"rows": sum(map(len, decoded.events)), "dead": _first(decoded.rejected)}

    def labels(decode: Callable[[MessageBatch, frozenset[str]], Any], batch: MessageBatch) -> dict[str, Any]:
        decoded = decode(batch, MODELS)
        return {"rows": sum(map(len, decoded.rows)), "dead": _first(decoded.rejected)}

    arrow_decoder, json_decoder = ArrowDecoder(registry), JsonDecoder(registry)
    return {
        "sketcher-arrow": lambda batch: counted(arrow_decoder, batch),
        "sketcher-json": lambda batch: counted(json_decoder, batch),
        "recorder-arrow": lambda batch: recorded(arrow_rows, batch),
        "recorder-json": lambda batch: recorded(json_rows, batch),
        "labels-arrow": lambda batch: labels(decode_arrow_labels, batch),
        "labels-json": lambda batch: labels(decode_json_labels, batch),
    }


def _first(rejected: list[Any]) -> list[str]:
    return [str(rejected[0].reason), rejected[0].detail] if rejected else []


def _data_bytes() -> int:
    """Return the size of this process's private writable memory in bytes: what RLIMIT_DATA limits."""
    match = re.search(r"^VmData:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert match
    return int(match[1]) << 10


def main() -> None:
    """Decode each message with the limit; the previous messages do not count."""
    encoding, mib = sys.argv[1], int(sys.argv[2])
    builders = JSON if encoding == "json" else TOO_LARGE | LARGEST
    messages = {key: build() for key, build in builders.items()}
    for name, decode in _decoders().items():
        if not name.endswith(encoding):
            continue
        decode(_batch(messages[next(iter(messages))]))
        for key, value in messages.items():
            gc.collect()
            pa.default_memory_pool().release_unused()
            resource.setrlimit(resource.RLIMIT_DATA, (_data_bytes() + (mib << 20), resource.RLIM_INFINITY))
            try:
                outcome = decode(_batch(value))
            except (Exception, MemoryError) as error:
                outcome = {"error": f"{type(error).__name__}: {error}"[:200]}
            resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            print(json.dumps([name, key, outcome]), flush=True)


if __name__ == "__main__":
    main()
