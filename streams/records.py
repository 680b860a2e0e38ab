"""The records of the topic `partials`.

Partials hold the summaries of one flush, tallies its other counts, and progress records the offsets that it covered.
A record is one byte of kind, one byte of format version, the CRC-32 of the rest (4 bytes, big-endian), and a
zstd-compressed MessagePack body. The checksum is verified before anything is decompressed.
"""

import zlib

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from barograph_server.sketches.baseline.columns import TAIL_KEYS
from barograph_server.sketches.baseline.layout import HEADER

FORMAT = 2
OLDEST_FORMAT = 1
"""The oldest readable format. Its partials have two header columns: events and errors."""
_HEADER_OF_1 = 2
_PARTIAL, _TALLY, _PROGRESS = b"P", b"T", b"G"
_KINDS = (_PARTIAL, _TALLY, _PROGRESS)
_CODEC = pa.Codec("zstd", compression_level=1)
MAX_RECORD_BYTES = 512 * 1024
"""Limit of one record. Larger partials are split by slices and fields before they are written."""
MAX_TAIL, MAX_TAIL_CHARS = 64, 64
"""Most tail columns that a field may have, and most characters of the name of one; more are rejected."""
_TAIL_OF_2 = ("invalid", "below", "above")
"""Tail columns of partials that do not name theirs."""
MAX_BODY_BYTES = 64 * 1024 * 1024
"""Limit of a decompressed body. A record that claims more is rejected before decompression."""


class RecordError(Exception):
    """Bytes in `partials` that are not a valid record; the message says why."""


class OffsetRange(msgspec.Struct, frozen=True, array_like=True):
    """Offsets [start, end) of one source partition."""

    partition: int
    start: int
    end: int


class Partial(msgspec.Struct, kw_only=True):
    """The summaries of one flush for one (model, version, baseline, pane): a rectangle of slices × fields.

    `counts` covers the slices [slice_from, slice_to) and of each the header columns (events, errors, timed,
    slow; zero in all but the rectangle that starts at field 0), then the columns of the fields [field_from, field_to):
    of each its cells and then its tail.
    """

    model: str
    version: str
    baseline_id: str
    pane_start_s: int
    pane_s: int
    unregistered: bool
    source_topic_id: str
    """Kafka's id of `predictions`, the one source topic: `ranges` name its partitions by number alone."""
    ranges: list[OffsetRange]
    slice_from: int
    slice_to: int
    field_from: int
    field_to: int
    counts: NDArray[np.int64]
    moments: NDArray[np.float64]
    """Shape (fields, 4); empty unless the rectangle holds the slice `all`."""
    sketches: list[bytes]
    """Of the slice `all`, one per field, enveloped; empty unless the rectangle holds the slice `all`."""
    tail: tuple[str, ...] = TAIL_KEYS
    """Names of the counts that follow the cells of each field, in order (`sketches.baseline.columns`)."""
    slice_cells: NDArray[np.int64] = msgspec.field(default_factory=lambda: np.empty((0, 2), dtype=np.int64))
    """Slice and field of the moments and sketches of slices other than `all`, shape (n, 2), within the rectangle."""
    slice_moments: NDArray[np.float64] = msgspec.field(default_factory=lambda: np.empty((0, 4)))
    """Shape (n, 4), one row per row of `slice_cells`."""
    slice_sketches: list[bytes] = msgspec.field(default_factory=list)
    """One enveloped sketch per row of `slice_cells`."""


class ErrorCount(msgspec.Struct, frozen=True, array_like=True):
    """Failed predictions of one kind in one slice of a pane; each (version, baseline, slice, kind, pane) once."""

    version: str
    baseline_id: str
    slice: str
    kind: str
    pane_start_s: int
    n: int


class ProducerCount(msgspec.Struct, frozen=True, array_like=True):
    """Arrivals of one producer in a pane; each (producer, pane) once."""

    producer: str
    pane_start_s: int
    n: int
    """Distinct producer numbers."""
    first_seq: int
    """−1, like `last_seq`, for the producer `other`."""
    last_seq: int


class DeadCount(msgspec.Struct, frozen=True, array_like=True):
    """Dead letters of one reason that Kafka received in one hour; each (reason, hour) once."""

    reason: str
    hour_s: int
    n: int


class ProducerHeartbeat(msgspec.Struct, frozen=True, array_like=True):
    producer: str
    at_s: int
    """When Kafka received it."""
    since_s: int
    last_seq: int
    queued: int
    ended: bool
    discarded: dict[str, int] = {}


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """The counts of one flush and model besides its panes; several records if one would be too large."""

    model: str
    """Empty for dead letters of unknown models."""
    topic: str
    """`predictions` or `labels`."""
    source_topic_id: str = ""
    ranges: list[OffsetRange] = []
    """Offsets of `predictions`; empty for `labels`, which the offset ledger does not cover."""
    pane_s: int = 0
    errors: list[ErrorCount] = []
    producers: list[ProducerCount] = []
    dead: list[DeadCount] = []
    heartbeats: list[ProducerHeartbeat] = []


class PartitionProgress(msgspec.Struct, frozen=True, kw_only=True):
    """The offsets of one source partition that a flush covered, and their event times."""

    partition: int
    start: int
    end: int
    newest_ms: dict[str, int]
    """Model → the newest event time, each clipped to the time at which Kafka received the event."""
    oldest_ms: int | None = None
    """The oldest event time of the range."""
    end_mark: bool = False
    caught_up_at_ms: int | None = None
    """A time at which the partition held nothing beyond `end`."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Written to every partition of `partials` after the partials of a flush, in the same transaction."""

    source_topic_id: str
    """Kafka's id of `predictions`. A new id means that the topic was recreated: an installation has one."""
    source_partitions: int
    """Number of partitions of the source topic, queried after the flush's last fetch."""
    counted_at_ms: int
    ranges: list[PartitionProgress]
    instance: str = ""


class _PartialBody(msgspec.Struct, array_like=True):
    model: str
    version: str
    baseline_id: str
    pane_start_s: int
    pane_s: int
    unregistered: bool
    source_topic_id: str
    ranges: list[OffsetRange]
    rectangle: tuple[int, int, int, int]
    width: int
    counts: bytes
    wide: bool
    moments: bytes
    sketches: list[bytes]
    slice_cells: bytes = b""
    slice_moments: bytes = b""
    slice_sketches: list[bytes] = []
    tail: tuple[str, ...] = _TAIL_OF_2


_ENCODER = msgspec.msgpack.Encoder()
_PARTIAL_DECODER = msgspec.msgpack.Decoder(_PartialBody)
_TALLY_DECODER = msgspec.msgpack.Decoder(Tally)
_PROGRESS_DECODER = msgspec.msgpack.Decoder(Progress)


Record = Partial | Tally | Progress


def encode(record: Record) -> bytes:
    if isinstance(record, Tally):
        return _pack(_TALLY, _ENCODER.encode(record))
    if isinstance(record, Progress):
        return _pack(_PROGRESS, _ENCODER.encode(record))
    rows = record.slice_to - record.slice_from
    wide = bool(record.counts.size) and int(record.counts.max()) > np.iinfo(np.int32).max
    body = _PartialBody(
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
        record.slice_cells.astype("<i4").tobytes(),
        record.slice_moments.astype("<f8").tobytes(),
        record.slice_sketches,
        record.tail,
    )
    return _pack(_PARTIAL, _ENCODER.encode(body))


def decode(data: bytes | None) -> Record:
    """Decode a record of any readable format.

    Raises:
        RecordError: the bytes are damaged, of another kind or of a newer format.
    """
    if not data or len(data) < 10:
        raise RecordError(f"a record of {len(data or b'')} bytes is too short to be one")
    kind, version, checksum = data[:1], data[1], int.from_bytes(data[2:6], "big")
    if kind not in _KINDS:
        raise RecordError(f"the record's first byte is {kind!r}, not P (partial), T (tally) or G (progress)")
    if not OLDEST_FORMAT <= version <= FORMAT:
        raise RecordError(
            f"the record has format {version}; this monitor reads formats {OLDEST_FORMAT} to {FORMAT}: upgrade it first"
        )
    if zlib.crc32(data[6:]) != checksum:
        raise RecordError("the record's checksum does not match: its bytes were damaged")
    size = int.from_bytes(data[6:10], "big")
    if size > MAX_BODY_BYTES:
        raise RecordError(f"the record claims a body of {size} bytes; the limit is {MAX_BODY_BYTES}")
    try:
        body = _CODEC.decompress(data[10:], decompressed_size=size, asbytes=True)
        if kind == _PROGRESS:
            return _PROGRESS_DECODER.decode(body)
        if kind == _TALLY:
            return _TALLY_DECODER.decode(body)
        return _open_partial(_PARTIAL_DECODER.decode(body), version)
    except (msgspec.DecodeError, pa.ArrowException, OSError, ValueError) as error:
        raise RecordError(f"the record's body cannot be read: {error}") from error


def _open_partial(body: _PartialBody, version: int) -> Partial:
    s0, s1, f0, f1 = body.rectangle
    if not (0 <= s0 <= s1 and 0 <= f0 <= f1):
        raise RecordError(f"the partial's rectangle {body.rectangle} is invalid")
    counts = np.frombuffer(body.counts, dtype="<i8" if body.wide else "<i4").astype(np.int64)
    moments = np.frombuffer(body.moments, dtype="<f8").reshape(-1, 4)
    if counts.size != (s1 - s0) * body.width:
        raise RecordError(f"the partial holds {counts.size} counts for {s1 - s0} slices of {body.width} columns")
    counts = counts.reshape(s1 - s0, body.width)
    if version == OLDEST_FORMAT and s1 > s0:
        if body.width < _HEADER_OF_1:
            raise RecordError(f"the partial has {body.width} columns, fewer than its header")
        # Format 1 has no latency: insert the missing header columns without counts.
        counts = np.insert(counts, [_HEADER_OF_1] * (HEADER - _HEADER_OF_1), 0, axis=1)
    if len(body.tail) > MAX_TAIL or any(len(key) > MAX_TAIL_CHARS for key in body.tail):
        raise RecordError(
            f"the partial names {len(body.tail)} counts per field; at most {MAX_TAIL}, of {MAX_TAIL_CHARS} characters "
            "each, are read"
        )
    if len(moments) not in (0, f1 - f0) or len(body.sketches) not in (0, f1 - f0):
        raise RecordError("the partial's moments and sketches do not match its fields")
    slice_cells = np.frombuffer(body.slice_cells, dtype="<i4").astype(np.int64).reshape(-1, 2)
    slice_moments = np.frombuffer(body.slice_moments, dtype="<f8").reshape(-1, 4)
    if not len(slice_cells) == len(slice_moments) == len(body.slice_sketches):
        raise RecordError("the partial's moments and sketches of slices do not match their positions")
    return Partial(
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
        counts=counts,
        moments=moments,
        sketches=body.sketches,
        slice_cells=slice_cells,
        slice_moments=slice_moments,
        slice_sketches=body.slice_sketches,
        tail=body.tail,
    )


def _pack(kind: bytes, body: bytes) -> bytes:
    rest = len(body).to_bytes(4, "big") + bytes(_CODEC.compress(body, asbytes=True))
    return kind + bytes([FORMAT]) + zlib.crc32(rest).to_bytes(4, "big") + rest
