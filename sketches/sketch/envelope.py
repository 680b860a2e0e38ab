"""Sketch bytes travel in an envelope that is checked before anything opens them.

datasketches trusts its input: three random mutations of a serialised sketch are enough to end the process
with a segmentation fault. So the bytes of a sketch are stored and sent as

    magic 2 | format version 1 | sketch type 1 | payload length 4 | CRC-32 4 | payload        (little-endian)

where the checksum covers everything but itself. It finds every error burst of up to 32 bits, every change of
one or two bits, and lets one in 2³² other corruptions pass. What a checksum cannot find, a sound payload of
another sketch type or size parameter, is refused by its preamble (`numeric`, `categorical`).

The polynomial is zlib's (ISO 3309, at 4 GB/s in the standard library): CRC-32C would find three-bit errors in
longer payloads too, but in Python it is a further dependency or an inner part of a Kafka client, and Kafka
and ClickHouse guard the same bytes with checksums of their own.

An empty sketch has no envelope at all: it is `b""`.
"""

from __future__ import annotations

import struct
import zlib
from enum import IntEnum

MAGIC = b"BS"
FORMAT = 1

_PREFIX = struct.Struct("<2sBBI")
_CHECKSUM = struct.Struct("<I")
HEADER_BYTES = _PREFIX.size + _CHECKSUM.size


class SketchType(IntEnum):
    """What a payload holds. The numbers are stored: they are never re-used."""

    KLL_FLOATS = 1
    KLL_DOUBLES = 2
    REQ_FLOATS = 3
    FREQUENT_STRINGS = 4


class EnvelopeError(ValueError):
    """The bytes are no intact sketch envelope: they were cut, changed, or written by something else."""


class MixedSketches(ValueError):
    """Two sketches differ in type or size parameter, so their merge would not keep the stated error."""


def seal(sketch_type: SketchType, payload: bytes) -> bytes:
    """Put serialised sketch bytes into an envelope.

    Args:
        sketch_type: what the payload holds.
        payload: the bytes as datasketches serialised them, under 4 GiB.

    Returns:
        `HEADER_BYTES` more than the payload.
    """
    prefix = _PREFIX.pack(MAGIC, FORMAT, sketch_type, len(payload))
    return prefix + _CHECKSUM.pack(zlib.crc32(payload, zlib.crc32(prefix))) + payload


def unseal(data: bytes) -> tuple[SketchType, bytes]:
    """Check an envelope and take the payload out.

    Raises:
        EnvelopeError: the bytes are shorter or longer than they say, differ from what was sealed, or are of a
            format or sketch type that this version does not know.
    """
    if len(data) < HEADER_BYTES:
        raise EnvelopeError(
            f"a sketch envelope has at least {HEADER_BYTES} bytes, this one {len(data)}: it was cut or is no sketch"
        )
    magic, version, number, length = _PREFIX.unpack_from(data)
    if magic != MAGIC:
        raise EnvelopeError(f"a sketch envelope begins with {MAGIC!r}, this one with {magic!r}: it is no sketch")
    if version != FORMAT:
        raise EnvelopeError(
            f"the sketch envelope is of format {version}, this version of Barograph reads format {FORMAT}: "
            "upgrade it, or the bytes are corrupt"
        )
    if len(data) - HEADER_BYTES != length:
        raise EnvelopeError(
            f"the sketch envelope announces {length} bytes and holds {len(data) - HEADER_BYTES}: it was cut"
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
    """Check an envelope and take out a payload of the expected sketch type.

    Raises:
        EnvelopeError: as `unseal`.
        MixedSketches: the envelope is intact and holds another type of sketch.
    """
    found, payload = unseal(data)
    if found is not sketch_type:
        raise MixedSketches(
            f"expected a {sketch_type.name} sketch and found {found.name}: the field's sketch kind changed "
            "without a new baseline, or the bytes belong to another field"
        )
    return payload
