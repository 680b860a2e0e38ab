"""What is fuzzed: each decoder that reads bytes from outside, and what must hold of it whatever the bytes are.

A target takes bytes. It returns where they were read, and where they were refused in the decoder's own words; anything
else that is raised is a fault.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from barograph.contract import Slice
from barograph.contract.file import dump_contract, parse_contract
from barograph.contract.problems import ContractError

from sketches.baseline.baseline import BaselineError, load_baseline
from sketches.sketch.envelope import EnvelopeError, unseal
from streams import records
from streams.events.arrow_decoder import ArrowDecoder
from streams.events.arrow_message import open_table
from streams.events.batch import Decoded, MessageBatch
from streams.events.json_decoder import JsonDecoder
from streams.recorder.labels import DecodedLabels, decode_arrow_labels, decode_json_labels
from streams.registry.registry import RegisteredBaseline, build_registry
from streams.sketcher.summarise import FlushSummaries
from tests.support.pipeline import simple_baseline, simple_contract

MODEL = "toy"
RECEIVED_MS = 1_790_000_000_000
GOOD = b'{"model":"toy","version":"1","id":"good","at":1789999999000,"features":{"x":1.5,"colour":"red"},"score":0.5}'
GOOD_LABEL = b'{"model":"toy","id":"good","label":true,"at":1789999999000}'

_CONTRACT = simple_contract(slices=(Slice(name="region", source="context.region", sketches=("x",)),))
_BASELINE = simple_baseline(rows=200)
_REGISTRY = build_registry([(_CONTRACT, 1)], [RegisteredBaseline(_BASELINE, _BASELINE.id, 0, 1)])
_JSON, _ARROW = JsonDecoder(_REGISTRY), ArrowDecoder(_REGISTRY)
_CODEC = pa.Codec("zstd", compression_level=1)


@dataclass(frozen=True, slots=True)
class Target:
    """A decoder with what must hold of it."""

    run: Callable[[bytes], None]
    share: float
    """Of all executions: quick decoders are given more."""
    cost: float
    """Of one execution beside those of the others, as measured; the long ones begin first."""
    max_bytes: int = 4096


def run(target: str, data: bytes) -> None:
    """Give a target bytes.

    Raises:
        Exception: of any kind: a fault.
    """
    TARGETS[target].run(data)


def _batch(*values: bytes) -> MessageBatch:
    n = len(values)
    at = np.full(n, RECEIVED_MS, dtype=np.int64)
    return MessageBatch(list(values), np.zeros(n, dtype=np.int32), np.arange(n, dtype=np.int64), at)


def _account(found: Decoded, n: int) -> None:
    """Hold a decoder to having every event once: counted or put aside."""
    counted, dead = sum(len(events) for events in found.events), len(found.rejected)
    assert counted + dead == n, f"{n} events came, {counted} are counted and {dead} put aside"


def predictions_json(data: bytes) -> None:
    """One message between two good ones, which must not suffer from it."""
    result = _JSON.decode(_batch(GOOD, data, GOOD))
    _account(result, 3)
    assert not {0, 2} & {dead.offset for dead in result.rejected}
    summaries = FlushSummaries(_REGISTRY)
    for events in result.events:
        summaries.add(events)
    for each in result.arrivals:
        summaries.add_arrivals(each)


def predictions_arrow(data: bytes) -> None:
    """A batch: as many events as it has rows, or one dead letter."""
    result = _ARROW.decode(_batch(data))
    if result.events or len(result.rejected) != 1:
        _account(result, _rows(data))
    summaries = FlushSummaries(_REGISTRY)
    for events in result.events:
        summaries.add(events)


def _rows(data: bytes) -> int:
    try:
        return int(open_table(data).num_rows)
    except ValueError:
        return 1


def _account_labels(found: DecodedLabels, n: int) -> None:
    counted, dead = sum(table.num_rows for table in found.rows), len(found.rejected)
    assert counted + dead == n, f"{n} labels came, {counted} are recorded and {dead} put aside"


def labels_json(data: bytes) -> None:
    """One label between two good ones."""
    _account_labels(decode_json_labels(_batch(GOOD_LABEL, data, GOOD_LABEL), frozenset({MODEL})), 3)


def labels_arrow(data: bytes) -> None:
    """A batch of labels: as many as it has rows, or one dead letter."""
    result = decode_arrow_labels(_batch(data), frozenset({MODEL}))
    if result.rows or len(result.rejected) != 1:
        _account_labels(result, _rows(data))


def record_bytes(data: bytes) -> None:
    """A record of `parts` as it stands, which its checksum nearly always refuses."""
    try:
        records.decode(data)
    except records.RecordError:
        return


def record_bodies(data: bytes) -> None:
    """A record whose checksum is right and whose body is anything: the first byte says of which kind and format."""
    if not data:
        return
    body = data[1:]
    rest = len(body).to_bytes(4, "big") + _CODEC.compress(body, asbytes=True)
    kind, version = b"PTG"[data[0] % 3 : data[0] % 3 + 1], 1 + data[0] // 3 % 2
    record_bytes(kind + bytes([version]) + zlib.crc32(rest).to_bytes(4, "big") + rest)


def envelopes(data: bytes) -> None:
    """The envelope of a sketch."""
    try:
        unseal(data)
    except EnvelopeError:
        return


def contracts(data: bytes) -> None:
    """A contract file; one that is valid means the same once it was written again."""
    try:
        contract = parse_contract(data)
    except ContractError as error:
        if not error.problems:
            raise AssertionError("a refusal says what is wrong") from error
        return
    again = parse_contract(dump_contract(contract))
    assert again.id == contract.id


def baselines(data: bytes) -> None:
    """A baseline file."""
    try:
        load_baseline(data, "baseline.json")
    except BaselineError:
        return


TARGETS = {
    "predictions-json": Target(predictions_json, 0.1, 6.0),
    "predictions-arrow": Target(predictions_arrow, 0.05, 3.0, 8192),
    "labels-json": Target(labels_json, 0.1, 3.0),
    "labels-arrow": Target(labels_arrow, 0.05, 2.0, 8192),
    "record-bytes": Target(record_bytes, 0.25, 0.1),
    "record-bodies": Target(record_bodies, 0.1, 0.5),
    "envelopes": Target(envelopes, 0.25, 0.1),
    "contracts": Target(contracts, 0.03, 4.0),
    "baselines": Target(baselines, 0.07, 1.0),
}
