"""Envelope of sketch bytes, which is checked before the payload is opened.

datasketches trusts its input: three random mutations of a serialized sketch are enough for a segmentation fault. So the
bytes of a sketch are stored and sent as

    magic 2 | format version 1 | sketch type 1 | payload length 4 | CRC-32 4 | payload        (little-endian)

where the checksum covers everything but itself. It detects every error burst of up to 32 bits and every change of one
or two bits, and misses one in 2³² other corruptions. An intact payload of another sketch type or size parameter passes
the checksum and is rejected by its preamble (`numeric`, `categorical`).

The polynomial is zlib's (ISO 3309, 4 GB/s in the standard library): CRC-32C would detect three-bit errors in longer
payloads too, but in Python it needs another dependency or internals of a Kafka client, and Kafka and ClickHouse protect
the same bytes with their own checksums.

An empty sketch has no envelope: it is `b""`.
"""

import struct
import zlib
from enum import IntEnum

MAGIC = b"BS"
FORMAT = 1

_PREFIX = struct.Struct("<2sBBI")
_CHECKSUM = struct.Struct("<I")
HEADER_BYTES = _PREFIX.size + _CHECKSUM.size


class SketchType(IntEnum):
    """Type of the payload. The numbers are stored: never reuse one."""

    KLL_FLOATS = 1
    KLL_DOUBLES = 2
    REQ_FLOATS = 3
    FREQUENT_STRINGS = 4


class EnvelopeError(ValueError):
    """The bytes are not an intact sketch envelope: truncated, changed, or written by another program."""


class MixedSketches(ValueError):
    """Two sketches differ in type or size parameter, so their merge would exceed the stated error."""


def seal(sketch_type: SketchType, payload: bytes) -> bytes:
    """Put serialized sketch bytes into an envelope.

    Args:
        payload: bytes that datasketches serialized, under 4 GiB.

    Returns:
        `HEADER_BYTES` more than the payload.
    """
    prefix = _PREFIX.pack(MAGIC, FORMAT, sketch_type, len(payload))
    return prefix + _CHECKSUM.pack(zlib.crc32(payload, zlib.crc32(prefix))) + payload


def unseal(data: bytes) -> tuple[SketchType, bytes]:
    """Check an envelope and return its type and payload.

    Raises:
        EnvelopeError: the length differs from the announced one, the checksum does not match, or this version does not
            know the format or sketch type.
    """
    if len(data) < HEADER_BYTES:
        raise EnvelopeError(
            f"a sketch envelope has at least {HEADER_BYTES} bytes, this one {len(data)}: it is truncated or no sketch"
        )
    magic, version, number, length = _PREFIX.unpack_from(data)
    if magic != MAGIC:
        raise EnvelopeError(f"a sketch envelope begins with {MAGIC!r}, this one with {magic!r}: it is no sketch")
    if version != FORMAT:
        raise EnvelopeError(
            f"the sketch envelope has format {version}, this version of Barograph reads format {FORMAT}: "
            "upgrade it, or the bytes are corrupt"
        )
    if len(data) - HEADER_BYTES != length:
        raise EnvelopeError(
            f"the sketch envelope announces {length} bytes and has {len(data) - HEADER_BYTES}: it is truncated"
        )
    payload = data[HEADER_BYTES:]
    (checksum,) = _CHECKSUM.unpack_from(data, _PREFIX.size)
    if zlib.crc32(payload, zlib.crc32(data[: _PREFIX.size])) != checksum:
        raise EnvelopeError("the sketch's checksum does not match its bytes: they are corrupt and were not opened")
    try:
        return SketchType(number), payload
    except ValueError:
        raise EnvelopeError(
            f"sketch type {number} is unknown to this version of Barograph: upgrade it to read this sketch"
        ) from None


def unseal_as(sketch_type: SketchType, data: bytes) -> bytes:
    """Check an envelope and return its payload, which must have the expected sketch type.

    Raises:
        EnvelopeError: see `unseal`.
        MixedSketches: the envelope is intact and contains another type of sketch.
    """
    actual, payload = unseal(data)
    if actual is not sketch_type:
        raise MixedSketches(
            f"expected a {sketch_type.name} sketch, got {actual.name}: the field's sketch kind changed "
            "without a new baseline, or the bytes belong to another field"
        )
    return payload
