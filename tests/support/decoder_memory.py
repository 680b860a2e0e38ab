"""`python -m tests.support.decoder_memory GROUP MIB` decodes messages with so much memory for each: hostile `arrow` or
`json`, or `types`, one for each Arrow type.

Prints a line of JSON for each decoder and message: the rows of events or labels, the number of dead letters, reason and
detail of the first, the messages that the recorder omitted, and the error that the decoder raised.
"""

import gc
import json
import re
import resource
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from barograph_server.streams.events.arrow_decoder import ArrowDecoder
from barograph_server.streams.events.batch import MessageBatch
from barograph_server.streams.events.json_decoder import JsonDecoder
from barograph_server.streams.recorder.arrow_rows import ArrowRows
from barograph_server.streams.recorder.json_rows import JsonRows
from barograph_server.streams.recorder.labels import decode_arrow_labels, decode_json_labels
from barograph_server.streams.registry.registry import RegisteredBaseline, build_registry
from tests.support.arrow_bombs import LARGEST, NOW_MS, TOO_LARGE, message
from tests.support.arrow_types import all_arrays
from tests.support.messages import batch_of
from tests.support.pipeline import simple_baseline, simple_contract

_N = 1_000_000


def _event(value: bytes, more: bytes = b"") -> bytes:
    """Return an event with the value as a feature, another feature, a context member and the label."""
    head = b'{"model":"toy","version":"1","id":"a","at":%d,' % NOW_MS
    return head + b'"features":{"x":' + value + b',"other":1},"label":1' + more + b"}"


def _label(value: bytes) -> bytes:
    return b'{"model":"toy","version":"1","id":"a","at":%d,"label":' % NOW_MS + value + b"}"


def _members(n: int) -> bytes:
    return b",".join(b'"%d":%d' % (i, i) for i in range(n))


JSON: dict[str, Callable[[], bytes]] = {
    "empty lists": lambda: _event(b"[" + b"[]," * (_N // 3) + b"[]]"),
    "empty objects": lambda: _event(b"[" + b"{}," * (_N // 3) + b"{}]"),
    "lists in lists": lambda: _event(b"[" * 500 + b"]" * 500),
    "a deep list": lambda: _event(b"[" * (_N // 2) + b"]" * (_N // 2)),
    "a deep object": lambda: _event(b'{"a":' * (_N // 6) + b"1" + b"}" * (_N // 6)),
    "a deep label": lambda: _label(b"[" * (_N // 2) + b"]" * (_N // 2)),
    "a deep unknown member": lambda: _event(b"1", b',"more":' + b"[" * (_N // 2) + b"]" * (_N // 2)),
    "numbers": lambda: _event(b"[" + b"1," * (_N // 2) + b"1]"),
    "large numbers": lambda: _event(b"[" + b"12345678901234567890," * (_N // 21) + b"1]"),
    "an integer of a million digits": lambda: _event(b"9" * _N),
    "an integer of four thousand digits": lambda: _event(b"9" * 4_000),
    "an integer of five thousand digits": lambda: _event(b"9" * 5_000),
    "a label of a million digits": lambda: _label(b"9" * _N),
    "a label of four thousand digits": lambda: _label(b"9" * 4_000),
    "a fraction of a million digits": lambda: _event(b"0." + b"9" * _N),
    "an exponent of a million digits": lambda: _event(b"1e" + b"9" * _N),
    "a text": lambda: _event(b'"' + b"x" * _N + b'"'),
    "a wide text": lambda: _event(b'"' + b"x" * _N + b'\xf0\x9f\x98\x80"'),
    "escaped characters in a list": lambda: _event(b'["' + b"\\u0001" * (_N // 6) + b'\xf0\x9f\x98\x80"]'),
    "a label of a wide text": lambda: _label(b'"' + b"x" * _N + b'\xf0\x9f\x98\x80"'),
    "a lone surrogate in a text": lambda: _event(b'"' + b"x" * (_N // 2) + b'\\ud800"'),
    "lone surrogates in names": lambda: _event(b'{"\\ud800":"\\udfff"}', b',"\\ud800":{"\\udc00":["\\ud800"]}'),
    "a label of a lone surrogate": lambda: _label(b'"\\ud800"'),
    "a member many times": lambda: _event(b"1", b',"features":{' + b'"x":1,' * (_N // 6) + b'"x":2}'),
    "the features many times": lambda: _event(b"1", b',"features":{"x":1}' * (_N // 19)),
    "many members": lambda: _event(b"1", b',"features":{' + _members(75_000) + b"}"),
    "many members of each map": lambda: _event(
        b"1", b"".join(b',"%s":{' % name + _members(18_000) + b"}" for name in (b"context", b"scores", b"metrics"))
    ),
    "many unknown members": lambda: _event(b"1", b"," + _members(75_000)),
    "members with lists": lambda: _event(
        b"1", b',"context":{' + _members(60_000).replace(b":", b":[").replace(b",", b"],") + b"]}"
    ),
    "NaN in a list": lambda: _event(b"[" + b"NaN," * (_N // 4) + b"-Infinity]"),
    "NaN in a label": lambda: _label(b"NaN"),
    "NaN among unknown members": lambda: _event(b"1", b',"more":[' + b"NaN," * (_N // 4) + b"1]"),
    "bytes that are not UTF-8": lambda: _event(b'"' + b"\xff" * _N + b'"'),
    "bytes of an unknown member that are not UTF-8": lambda: _event(b"1", b',"more":"' + b"\xff" * (_N // 2) + b'"'),
    "null bytes": lambda: _event(b'"' + b"\\u0000" * (_N // 6) + b'"'),
    "cut off": lambda: _event(b"[" + b"[]," * (_N // 3))[:_N],
    "spaces": lambda: _event(b" " * _N + b"1"),
}

MODELS = frozenset({"toy"})
REPEATS = 20
"""Repetitions of the three values of each type."""


def _decoders() -> dict[str, Callable[[MessageBatch], Any]]:
    baseline = simple_baseline(rows=50)
    registry = build_registry([(simple_contract(), 0)], [RegisteredBaseline(baseline, baseline.id, 0, 0)])
    arrow_rows, json_rows = ArrowRows(registry), JsonRows(registry)

    def recorded(rows: ArrowRows | JsonRows, batch: MessageBatch) -> dict[str, Any]:
        tables = rows.rows(batch)
        return {"rows": sum(map(len, tables)), "omitted": rows.omitted}

    def counted(decoder: ArrowDecoder | JsonDecoder, batch: MessageBatch) -> dict[str, Any]:
        decoded = decoder.decode(batch)
        return {"rows": sum(map(len, decoded.events)), **_dead(decoded.rejected)}

    def labels(decode: Callable[[MessageBatch, frozenset[str]], Any], batch: MessageBatch) -> dict[str, Any]:
        decoded = decode(batch, MODELS)
        return {"rows": sum(map(len, decoded.rows)), **_dead(decoded.rejected)}

    arrow_decoder, json_decoder = ArrowDecoder(registry), JsonDecoder(registry)
    return {
        "sketcher-arrow": lambda batch: counted(arrow_decoder, batch),
        "sketcher-json": lambda batch: counted(json_decoder, batch),
        "recorder-arrow": lambda batch: recorded(arrow_rows, batch),
        "recorder-json": lambda batch: recorded(json_rows, batch),
        "labels-arrow": lambda batch: labels(decode_arrow_labels, batch),
        "labels-json": lambda batch: labels(decode_json_labels, batch),
    }


def _dead(rejected: list[Any]) -> dict[str, Any]:
    first = [str(rejected[0].reason), rejected[0].detail] if rejected else []
    return {"dead_letters": len(rejected), "dead": first}


def _data_bytes() -> int:
    """Return the size of this process's private writable memory in bytes: what RLIMIT_DATA limits."""
    match = re.search(r"^VmData:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert match
    return int(match[1]) << 10


def _build(builders: Mapping[str, Callable[[], bytes]]) -> dict[str, bytes]:
    return {key: build() for key, build in builders.items()}


def _all_types() -> dict[str, bytes]:
    """Return a message with a column of each Arrow type, nested and shared ones too; Arrow cannot repeat a few."""
    messages = {}
    for kind, array in all_arrays().items():
        with suppress(pa.ArrowNotImplementedError):
            messages[kind] = message(pa.concat_arrays([array] * REPEATS))
    return messages


GROUPS: dict[str, Callable[[], dict[str, bytes]]] = {
    "arrow": lambda: _build(TOO_LARGE | LARGEST),
    "json": lambda: _build(JSON),
    "types": _all_types,
}


def main() -> None:
    group, mib = sys.argv[1], int(sys.argv[2])
    encoding = "json" if group == "json" else "arrow"
    messages = GROUPS[group]()
    # Otherwise each collection below visits all modules.
    gc.collect()
    gc.freeze()
    for name, decode in _decoders().items():
        if not name.endswith(encoding):
            continue
        decode(batch_of(messages[next(iter(messages))]))
        for key, value in messages.items():
            gc.collect()
            pa.default_memory_pool().release_unused()
            resource.setrlimit(resource.RLIMIT_DATA, (_data_bytes() + (mib << 20), resource.RLIM_INFINITY))
            try:
                outcome = decode(batch_of(value))
            except (Exception, MemoryError) as error:
                outcome = {"error": f"{type(error).__name__}: {error}"[:200]}
            resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            print(json.dumps([name, key, outcome]), flush=True)


if __name__ == "__main__":
    main()
