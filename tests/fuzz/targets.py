"""Fuzz targets: each decoder of untrusted bytes, with the invariants that must hold for any input.

A target takes bytes. It returns if they were decoded, or rejected with the decoder's own error; any other exception is
a fault.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
from barograph.contract import Slice
from barograph.contract.file import dump_contract, parse_contract
from barograph.contract.problems import ContractError

from barograph_server.sketches.baseline.baseline import BaselineError, load_baseline
from barograph_server.sketches.sketch.envelope import EnvelopeError, unseal
from barograph_server.streams import records
from barograph_server.streams.events import native_reader
from barograph_server.streams.events.arrow_decoder import ArrowDecoder
from barograph_server.streams.events.arrow_message import open_table
from barograph_server.streams.events.batch import Decoded
from barograph_server.streams.events.json_decoder import JsonDecoder
from barograph_server.streams.recorder.arrow_rows import ArrowRows
from barograph_server.streams.recorder.json_rows import JsonRows
from barograph_server.streams.recorder.labels import DecodedLabels, decode_arrow_labels, decode_json_labels
from barograph_server.streams.registry.registry import RegisteredBaseline, build_registry
from barograph_server.streams.sketcher.summarise import FlushSummaries
from tests.support.decoded import content, row_content
from tests.support.messages import batch_of
from tests.support.pipeline import simple_baseline, simple_contract

MODEL = "toy"
GOOD = b'{"model":"toy","version":"1","id":"good","at":1789999999000,"features":{"x":1.5,"colour":"red"},"score":0.5}'
GOOD_LABEL = b'{"model":"toy","id":"good","label":true,"at":1789999999000}'
_CONTRACT = simple_contract(slices=(Slice(name="region", source="context.region", sketches=("x",)),))
_BASELINE = simple_baseline(rows=200)
_REGISTRY = build_registry([(_CONTRACT, 1)], [RegisteredBaseline(_BASELINE, _BASELINE.id, 0, 1)])
_JSON, _ARROW = JsonDecoder(_REGISTRY), ArrowDecoder(_REGISTRY)
_PURE_JSON = JsonDecoder(_REGISTRY, native=False)
_JSON_ROWS, _ARROW_ROWS = JsonRows(_REGISTRY), ArrowRows(_REGISTRY)
_PURE_JSON_ROWS = JsonRows(_REGISTRY, native=False)
_CODEC = pa.Codec("zstd", compression_level=1)


@dataclass(frozen=True, slots=True)
class Target:
    run: Callable[[bytes], None]
    share: float
    cost_us: float
    """Measured duration of one execution in microseconds; the targets that take longest start first."""
    max_bytes: int = 4096


def run(target: str, data: bytes) -> None:
    """Run a target on one input; an exception of any type is a fault of it."""
    TARGETS[target].run(data)


def _check_total(decoded: Decoded | DecodedLabels, n: int) -> None:
    rows = decoded.events if isinstance(decoded, Decoded) else decoded.rows
    counted, dead = sum(map(len, rows)), len(decoded.rejected)
    assert counted + dead == n, f"{n} events or labels received, {counted} decoded and {dead} dead-lettered"


def predictions_json(data: bytes) -> None:
    """One message between two valid ones, which it must not affect; with the same result with and without Rust."""
    result = _JSON.decode(batch_of(GOOD, data, GOOD))
    if native_reader.VERSION is not None:
        assert content(result) == content(_PURE_JSON.decode(batch_of(GOOD, data, GOOD)))
    _check_total(result, 3)
    rejected = {dead.offset for dead in result.rejected}
    assert not {0, 2} & rejected
    summaries = FlushSummaries(_REGISTRY)
    if not rejected:
        # Otherwise only the valid messages are left: their summary takes five times as long as decoding all three.
        for events in result.events:
            summaries.add(events)
    for each in result.arrivals:
        summaries.add_arrivals(each)


def predictions_arrow(data: bytes) -> None:
    """An Arrow batch: one event or dead letter per row, or a single dead letter."""
    result = _ARROW.decode(batch_of(data))
    if result.events or len(result.rejected) != 1:
        _check_total(result, _rows(data))
    summaries = FlushSummaries(_REGISTRY)
    for events in result.events:
        summaries.add(events)


def _check_rows(rows: ArrowRows | JsonRows, decoder: ArrowDecoder | JsonDecoder, *values: bytes) -> None:
    recorded = sum(table.num_rows for table in rows.rows(batch_of(*values)))
    counted = sum(map(len, decoder.decode(batch_of(*values)).events))
    assert recorded == counted, f"{counted} events counted and {recorded} recorded"
    assert not rows.omitted, "the recorder omitted a message"


def rows_json(data: bytes) -> None:
    """Raw rows of one message between two valid ones; the same with and without Rust."""
    n = _JSON_ROWS.read_by["native"]
    _check_rows(_JSON_ROWS, _JSON, GOOD, data, GOOD)
    if _JSON_ROWS.read_by["native"] == n + 3:
        batch = batch_of(GOOD, data, GOOD)
        assert row_content(_JSON_ROWS.rows(batch)) == row_content(_PURE_JSON_ROWS.rows(batch))


def rows_arrow(data: bytes) -> None:
    """Raw rows of an Arrow batch that is there twice, so that its columns are joined."""
    _check_rows(_ARROW_ROWS, _ARROW, data, data)


def _rows(data: bytes) -> int:
    try:
        return int(open_table(data).num_rows)
    except ValueError:
        return 1


def labels_json(data: bytes) -> None:
    _check_total(decode_json_labels(batch_of(GOOD_LABEL, data, GOOD_LABEL), frozenset({MODEL})), 3)


def labels_arrow(data: bytes) -> None:
    """An Arrow batch of labels: one label or dead letter per row, or a single dead letter."""
    result = decode_arrow_labels(batch_of(data), frozenset({MODEL}))
    if result.rows or len(result.rejected) != 1:
        _check_total(result, _rows(data))


def record_bytes(data: bytes) -> None:
    """A record of `partials`, unchanged; the checksum rejects nearly all of them."""
    try:
        records.decode(data)
    except records.RecordError:
        return


def record_bodies(data: bytes) -> None:
    """A record with a valid checksum and any body. The first byte of the input selects its type and format."""
    if not data:
        return
    body = data[1:]
    rest = len(body).to_bytes(4, "big") + _CODEC.compress(body, asbytes=True)
    kind, version = b"PTG"[data[0] % 3 : data[0] % 3 + 1], 1 + data[0] // 3 % 2
    record_bytes(kind + bytes([version]) + zlib.crc32(rest).to_bytes(4, "big") + rest)


def envelopes(data: bytes) -> None:
    try:
        unseal(data)
    except EnvelopeError:
        return


def contracts(data: bytes) -> None:
    """A contract file. A valid contract has the same id after it is written and read again."""
    try:
        contract = parse_contract(data)
    except ContractError as error:
        if not error.problems:
            raise AssertionError("a rejected contract has no problems") from error
        return
    assert parse_contract(dump_contract(contract)).id == contract.id


def baselines(data: bytes) -> None:
    try:
        load_baseline(data, "baseline.json")
    except BaselineError:
        return


TARGETS = {
    "predictions-json": Target(predictions_json, 0.10, 300),
    "predictions-arrow": Target(predictions_arrow, 0.08, 145, 8192),
    "rows-json": Target(rows_json, 0.02, 1400),
    "rows-arrow": Target(rows_arrow, 0.05, 280, 8192),
    "labels-json": Target(labels_json, 0.07, 250),
    "labels-arrow": Target(labels_arrow, 0.10, 65, 8192),
    "record-bytes": Target(record_bytes, 0.11, 4),
    "record-bodies": Target(record_bodies, 0.15, 40),
    "envelopes": Target(envelopes, 0.10, 3),
    "contracts": Target(contracts, 0.12, 85),
    "baselines": Target(baselines, 0.10, 2),
}
