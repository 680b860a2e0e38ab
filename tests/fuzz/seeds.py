"""Seeds: mostly valid inputs of each target, which the fuzzer mutates."""

import numpy as np
import pyarrow as pa
from barograph.contract.file import dump_contract
from barograph.events import encode_arrow

from barograph_server.sketches.baseline.baseline import dump_baseline
from barograph_server.sketches.sketch.categorical import UnseenCategories
from barograph_server.sketches.sketch.numeric import numeric_sketch
from barograph_server.streams.events.json_decoder import JsonDecoder
from barograph_server.streams.records import OffsetRange, PartitionProgress, Progress, Tally, encode
from barograph_server.streams.registry.registry import RegisteredBaseline, build_registry
from barograph_server.streams.sketcher.partial_messages import encode_partials
from barograph_server.streams.sketcher.summarise import FlushSummaries
from tests.fuzz.targets import GOOD, GOOD_LABEL, MODEL
from tests.support.arrow_types import all_arrays, write
from tests.support.messages import NOW_MS, batch_of
from tests.support.pipeline import simple_baseline, simple_contract

_AT = [NOW_MS - 1000, NOW_MS]


def seeds() -> dict[str, list[bytes]]:
    sketch = numeric_sketch(False, "kll")
    sketch.update(np.arange(50.0))
    unseen = UnseenCategories()
    unseen.update(["pink", "blue"])
    records = _records()
    bodies = [bytes([kind]) + _CODEC.decompress(data[10:], int.from_bytes(data[6:10], "big"), asbytes=True)
              for kind, data in zip((3, 4, 5), records, strict=True)]  # fmt: skip
    predictions_json = [
        GOOD,
        b'{"model":"toy","version":"9","id":"a","at":"2026-09-21T10:13:20Z","features":{"x":"NaN","flag":true}}',
        b'{"model":"toy","version":"1","id":"a","at":1e3,"features":{"x":null,"y":9007199254740993},"score":"-Infinity"}',
        b'{"model":"toy","version":"1","id":"a","at":-1,"context":{"region":"\\ud800"},"latency_ms":[],"seq":1e400}',
        b"[" * 2000,
    ]
    arrow = [_predictions(), *_all_types()]
    return {
        "predictions-json": predictions_json,
        "predictions-arrow": arrow,
        "rows-json": predictions_json,
        "rows-arrow": arrow,
        "labels-json": [GOOD_LABEL, b'{"model":"toy","id":7,"label":{},"at":"never"}'],
        "labels-arrow": [_labels()],
        "record-bytes": records,
        "record-bodies": bodies,
        "envelopes": [sketch.to_bytes(), unseen.to_bytes()],
        "contracts": [
            dump_contract(simple_contract()).encode(),
            b"contract: 1\nmodel: m\nfields: {x: {type: float}}\n",
        ],
        "baselines": [dump_baseline(simple_baseline(rows=50))],
    }


_CODEC = pa.Codec("zstd")


def _predictions() -> bytes:
    return encode_arrow(
        pa.table(
            {
                "model": [MODEL, MODEL],
                "version": ["1", "1"],
                "id": ["a", "b"],
                "at": pa.array(_AT, pa.int64()),
                "features.x": [1.5, None],
                "features.colour": ["red", "pink"],
                "score": [0.5, 2.0],
            }
        )
    )


def _all_types() -> list[bytes]:
    """Return predictions with a column of each flat type, and of texts in each kind of nested type."""
    arrays = {name: each for name, each in all_arrays().items() if name.count(" of ") < 2}
    arrays = {name: each for name, each in arrays.items() if " of " not in name or name.endswith(" of string")}
    columns = {"model": [MODEL] * 3, "version": ["1"] * 3, "id": ["a", "b", "c"], "at": _AT[:1] * 3}
    return [write(pa.table(columns | {"features.x": array})) for array in arrays.values()]


def _labels() -> bytes:
    return encode_arrow(
        pa.table({"model": [MODEL], "id": ["a"], "label": [True], "at": pa.array(_AT[:1], pa.timestamp("ms", "UTC"))})
    )


def _records() -> list[bytes]:
    contract, baseline = simple_contract(), simple_baseline(rows=50)
    registry = build_registry([(contract, 1)], [RegisteredBaseline(baseline, baseline.id, 0, 1)])
    summaries = FlushSummaries(registry)
    for events in JsonDecoder(registry).decode(batch_of(GOOD)).events:
        summaries.add(events)
    [(key, pane)] = summaries.panes.items()
    [partial, *_] = encode_partials(key, pane, "topic", [OffsetRange(0, 0, 1)])
    covered = PartitionProgress(partition=0, start=0, end=1, newest_ms={MODEL: NOW_MS})
    progress = Progress(source_topic_id="topic", source_partitions=1, counted_at_ms=NOW_MS, ranges=[covered])
    return [partial, encode(Tally(model=MODEL, topic="predictions")), encode(progress)]
