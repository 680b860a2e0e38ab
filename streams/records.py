"""What travels in `parts`: the summaries of one flush (parts) and what the flush covered (progress records).

A record is one byte of kind, one byte of format version, the CRC-32 of the rest (4 bytes, big-endian), and a
zstd-compressed MessagePack body. The checksum is checked before anything is opened.
"""

from __future__ import annotations

import zlib
from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

FORMAT = 1
_PART, _PROGRESS = b"P", b"G"
_CODEC = pa.Codec("zstd", compression_level=1)
MAX_RECORD_BYTES = 512 * 1024
"""Larger parts are split by slices and fields before they are written."""
MAX_BODY_BYTES = 64 * 1024 * 1024
"""A body that claims to be larger is refused unopened."""


class RecordError(Exception):
    """Bytes in `parts` that are no record of this project; the message says what is wrong with them."""


class Range(msgspec.Struct, frozen=True, array_like=True):
    """Offsets [start, end) of one source partition that a flush covers."""

    partition: int
    start: int
    end: int


class Part(msgspec.Struct, kw_only=True):
    """The summaries of one flush for one (model, version, baseline, pane): a rectangle of slices × fields.

    `counts` covers the slices [slice_from, slice_to) and of each the two header columns (events, errors; zero in
    all but the rectangle that starts at field 0), then the columns of the fields [field_from, field_to).
    """

    model: str
    version: str
    baseline_id: str
    pane_start_s: int
    pane_s: int
    unregistered: bool
    source_topic_id: str
    ranges: list[Range]
    slice_from: int
    slice_to: int
    field_from: int
    field_to: int
    counts: NDArray[np.int64]
    moments: NDArray[np.float64]
    """Shape (fields, 4); empty unless the rectangle holds the slice `all`."""
    sketches: list[bytes]
    """Of the slice `all`, one per field, enveloped; empty unless the rectangle holds the slice `all`."""


class PartitionProgress(msgspec.Struct, frozen=True, kw_only=True):
    """What a flush covered of one source partition."""

    partition: int
    start: int
    end: int
    newest_ms: dict[str, int]
    """Per model, the newest event time, each clipped to the time Kafka received it."""
    oldest_ms: int | None = None
    """Of all events of the range."""
    end_mark: bool = False
    caught_up_at_ms: int | None = None
    """A moment at which nothing beyond `end` was in the partition."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Written to every partition of `parts` after the parts of a flush, in the same transaction."""

    source_topic_id: str
    source_partitions: int
    """How many partitions the source topic has, read after the flush's last fetch."""
    counted_at_ms: int
    ranges: list[PartitionProgress]
    instance: str = ""


class _PartBody(msgspec.Struct, array_like=True):
    model: str
    version: str
    baseline_id: str
    pane_start_s: int
    pane_s: int
    unregistered: bool
    source_topic_id: str
    ranges: list[Range]
    rectangle: tuple[int, int, int, int]
    width: int
    counts: bytes
    wide: bool
    moments: bytes
    sketches: list[bytes]


_ENCODER = msgspec.msgpack.Encoder()
_PART_DECODER = msgspec.msgpack.Decoder(_PartBody)
_PROGRESS_DECODER = msgspec.msgpack.Decoder(Progress)


def encode(record: Part | Progress) -> bytes:
    """Write a record's bytes."""
    if isinstance(record, Progress):
        return _pack(_PROGRESS, _ENCODER.encode(record))
    rows = record.slice_to - record.slice_from
    wide = bool(record.counts.size) and int(record.counts.max()) > np.iinfo(np.int32).max
    body = _PartBody(
        record.model,
        record.version,
        record.baseline_id,
        record.pane_start_s,
        record.pane_s,
        record.unregistered,
        record.source_topic_id,
        record.ranges,
        (record.slice_from, record.slice_to, record.field_from, record.field_to),
        record.counts.shape[1] if rows else 0,
        record.counts.astype("<i8" if wide else "<i4").tobytes(),
        wide,
        record.moments.astype("<f8").tobytes(),
        record.sketches,
    )
    return _pack(_PART, _ENCODER.encode(body))


def decode(data: bytes | None) -> Part | Progress:
    """Read a record.

    Raises:
        RecordError: the bytes are damaged, of another kind or of a newer format.
    """
    if not data or len(data) < 10:
        raise RecordError(f"a record of {len(data or b'')} bytes is too short to be one")
    kind, version, checksum = data[:1], data[1], int.from_bytes(data[2:6], "big")
    if kind not in (_PART, _PROGRESS):
        raise RecordError(f"the record's first byte is {kind!r}, not P (part) or G (progress)")
    if version != FORMAT:
        raise RecordError(f"the record has format {version}; this monitor reads format {FORMAT}: upgrade it first")
    if zlib.crc32(data[6:]) != checksum:
        raise RecordError("the record's checksum does not match: its bytes were damaged")
    size = int.from_bytes(data[6:10], "big")
    if size > MAX_BODY_BYTES:
        raise RecordError(f"the record claims a body of {size} bytes; at most {MAX_BODY_BYTES} are opened")
    try:
        body = _CODEC.decompress(data[10:], decompressed_size=size, asbytes=True)
        return _PROGRESS_DECODER.decode(body) if kind == _PROGRESS else _open_part(_PART_DECODER.decode(body))
    except (msgspec.DecodeError, pa.ArrowException, OSError, ValueError) as error:
        raise RecordError(f"the record's body cannot be read: {error}") from error


def _open_part(body: _PartBody) -> Part:
    s0, s1, f0, f1 = body.rectangle
    if not (0 <= s0 <= s1 and 0 <= f0 <= f1):
        raise RecordError(f"the part's rectangle {body.rectangle} is none")
    counts = np.frombuffer(body.counts, dtype="<i8" if body.wide else "<i4").astype(np.int64)
    moments = np.frombuffer(body.moments, dtype="<f8").reshape(-1, 4)
    if counts.size != (s1 - s0) * body.width:
        raise RecordError(f"the part holds {counts.size} counts for {s1 - s0} slices of {body.width} columns")
    if len(moments) not in (0, f1 - f0) or len(body.sketches) not in (0, f1 - f0):
        raise RecordError("the part's moments and sketches do not match its fields")
    return Part(
        model=body.model,
        version=body.version,
        baseline_id=body.baseline_id,
        pane_start_s=body.pane_start_s,
        pane_s=body.pane_s,
        unregistered=body.unregistered,
        source_topic_id=body.source_topic_id,
        ranges=body.ranges,
        slice_from=s0,
        slice_to=s1,
        field_from=f0,
        field_to=f1,
        counts=counts.reshape(s1 - s0, body.width),
        moments=moments,
        sketches=body.sketches,
    )


def _pack(kind: Literal[b"P", b"G"] | bytes, body: bytes) -> bytes:
    rest = len(body).to_bytes(4, "big") + bytes(_compress(body))
    return kind + bytes([FORMAT]) + zlib.crc32(rest).to_bytes(4, "big") + rest


def _compress(body: bytes) -> Any:
    return _CODEC.compress(body, asbytes=True)
