"""Reads the sizes that an Arrow IPC stream claims from its metadata, before Arrow allocates anything for it.

The metadata of each message of a stream is a flatbuffer (Arrow's Message.fbs and Schema.fbs). Its parts may be shared:
a hundred thousand offsets may refer to one field or one text, of which Arrow makes as many copies. Buffers may overlap
in the body, and may be compressed. Sizes here count every copy. This code only measures: Arrow verifies the flatbuffers
when it opens the stream, and a stream that is invalid gives any sizes, or an error.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

VALUE_BYTES = 8
"""Least size of a value, in bytes. Nulls and empty structs cost no bytes in a message, and eight or more once read."""
FIELD_BYTES = 1024
"""Size of a field in memory without its texts, in bytes, and more than its columns take."""
_ENTRY_BYTES = 128
"""Size of an entry of custom metadata in memory without its texts, in bytes."""
_MAX_ENTRIES_BYTES = 8 << 20
"""Size of entries from which their texts are not read."""

_U8, _U16, _I32, _U32, _I64 = (struct.Struct(f"<{code}") for code in "BHiIq")
# Slots of tables and members of unions in Message.fbs and Schema.fbs, in the order of their declaration there.
_HEADER_TYPE, _HEADER, _BODY_BYTES, _MESSAGE_METADATA = 1, 2, 3, 4
_SCHEMA, _DICTIONARY, _RECORD_BATCH = 1, 2, 3
_FIELDS, _SCHEMA_METADATA = 1, 2
_NAME, _TYPE_TYPE, _TYPE, _CHILDREN, _FIELD_METADATA = 0, 2, 3, 5, 6
_TIMESTAMP, _ZONE = 10, 1
_DICTIONARY_ID, _DICTIONARY_DATA, _IS_DELTA = 0, 1, 2
_ROWS, _NODES, _BUFFERS, _COMPRESSION = 0, 1, 2, 3
_NEGATIVE = "a size in the metadata is negative"
_FEW_PAIRS = 64
"""Structs up to which Python adds faster than NumPy."""


@dataclass(slots=True)
class Claims:
    """Sizes of a stream, with every shared part counted as often as it is used."""

    schema: bytes = b""
    """The encoded message of the schema."""
    rows: int = 0
    values: int = 0
    """Values of all columns, nested ones included. Each record batch counts its dictionaries again."""
    n_bytes: int = 0
    """Bytes of all buffers when they are unpacked, and of the metadata of messages."""


class _Message(NamedTuple):
    """An encapsulated message of a stream."""

    metadata: bytes
    table: int
    """Position of the root table in the metadata."""
    body: int
    """Position of the body in the stream."""


class _Sizes(NamedTuple):
    """Size of a record batch or a dictionary."""

    values: int
    n_bytes: int


def read_claims(stream: bytes) -> Claims:
    """Read the sizes of a stream.

    Raises:
        ValueError: the stream is damaged.
        struct.error: the same.
    """
    claims = Claims()
    dictionaries: dict[int, _Sizes] = {}
    values = n_bytes = 0
    is_pending = False
    for message in _messages(stream):
        metadata = message.metadata
        claims.n_bytes += _metadata_bytes(metadata, message.table, _MESSAGE_METADATA)
        kind = _number(metadata, message.table, _HEADER_TYPE, _U8)
        header = _object(metadata, message.table, _HEADER)
        if header is None:
            continue
        if kind == _SCHEMA and not claims.schema:
            claims.schema = metadata
        elif kind == _DICTIONARY and (data := _object(metadata, header, _DICTIONARY_DATA)) is not None:
            key, sizes = _number(metadata, header, _DICTIONARY_ID, _I64), _sizes(stream, message, data)
            old = dictionaries.get(key, _Sizes(0, 0))
            values, n_bytes = values + sizes.values, n_bytes + sizes.n_bytes
            if _number(metadata, header, _IS_DELTA, _U8):
                # The next record batch gets a copy of the whole dictionary.
                sizes = _Sizes(old.values + sizes.values, old.n_bytes + sizes.n_bytes)
            else:
                values, n_bytes = values - old.values, n_bytes - old.n_bytes
            dictionaries[key] = sizes
            is_pending = True
        elif kind == _RECORD_BATCH:
            sizes = _sizes(stream, message, header)
            claims.rows += max(0, _number(metadata, header, _ROWS, _I64))
            claims.values += sizes.values + values
            claims.n_bytes += sizes.n_bytes + n_bytes
            is_pending = False
    if is_pending:
        claims.values, claims.n_bytes = claims.values + values, claims.n_bytes + n_bytes
    return claims


def schema_bytes(message: bytes, limit: int) -> int:
    """Return the size of a schema in memory, in bytes; a size above `limit` is a lower bound.

    Args:
        message: the encoded message, as in `Claims.schema`.
        limit: the size from which the rest is not read.

    Raises:
        ValueError: the message is damaged.
        struct.error: the same.
    """
    schema = _object(message, _follow(message, 0), _HEADER)
    if schema is None:
        return 0
    size = _metadata_bytes(message, schema, _SCHEMA_METADATA)
    pending, n_fields = [], 0
    children = _offsets(message, schema, _FIELDS)
    while True:
        # Parents may share their children, and a damaged schema may contain itself: this bound ends both.
        n_fields += len(children)
        if size + n_fields * FIELD_BYTES > limit:
            break
        pending += children.tolist()
        if not pending:
            break
        position = pending.pop()
        size += _text_bytes(message, position, _NAME) + _metadata_bytes(message, position, _FIELD_METADATA)
        if _number(message, position, _TYPE_TYPE, _U8) == _TIMESTAMP:
            kind = _object(message, position, _TYPE)
            size += 0 if kind is None else _text_bytes(message, kind, _ZONE)
        children = _offsets(message, position, _CHILDREN)
    return size + n_fields * FIELD_BYTES


def _messages(stream: bytes) -> Iterator[_Message]:
    """Yield the messages of a stream up to its end marker."""
    position, end = 0, len(stream)
    while position + 4 <= end:
        size = int(_I32.unpack_from(stream, position)[0])
        position += 4
        if size == -1:  # Arrow before 0.15 has no such marker in front of the size.
            size = int(_I32.unpack_from(stream, position)[0])
            position += 4
        if not size:
            return
        body = position + size
        if size < 0 or body > end:
            raise ValueError("the stream ends within a message")
        metadata = stream[position:body]
        table = _follow(metadata, 0)
        yield _Message(metadata, table, body)
        body_bytes = _number(metadata, table, _BODY_BYTES, _I64)
        if not 0 <= body_bytes <= end - body:
            raise ValueError("the stream ends within a message")
        position = body + body_bytes


def _sizes(stream: bytes, message: _Message, batch: int) -> _Sizes:
    """Return the number of values of a record batch and the unpacked size of its buffers."""
    metadata = message.metadata
    values = _sum(metadata, batch, _NODES, 0)
    if _object(metadata, batch, _COMPRESSION) is None:
        return _Sizes(values, _sum(metadata, batch, _BUFFERS, 1))
    starts, sizes = _pairs(metadata, batch, _BUFFERS).T.copy()
    compressed = np.flatnonzero(sizes >= _I64.size)
    prefixes = message.body + starts[compressed]
    if len(prefixes) and not 0 <= prefixes.min() <= prefixes.max() <= len(stream) - _I64.size:
        raise ValueError("a buffer is outside of its message")
    data = np.frombuffer(stream, np.uint8)[prefixes[:, None] + np.arange(_I64.size)]
    unpacked = data.view(np.int64)[:, 0]
    # −1 marks a buffer that is not compressed.
    sizes[compressed] = np.where(unpacked == -1, sizes[compressed], unpacked)
    return _Sizes(values, _total(sizes))


def _metadata_bytes(data: bytes, table: int, slot: int) -> int:
    """Return the size of custom metadata in bytes: a vector of keys and values."""
    if not _slot(data, table, slot):
        return 0
    entries = _offsets(data, table, slot)
    size = len(entries) * _ENTRY_BYTES
    if size <= _MAX_ENTRIES_BYTES:
        size += sum(_text_bytes(data, entry, 0) + _text_bytes(data, entry, 1) for entry in entries.tolist())
    return size


# ----------------------------------------------------------------------------------------------------- flatbuffers


def _follow(data: bytes, position: int) -> int:
    """Return the position of the object that the offset at a position refers to."""
    return position + int(_U32.unpack_from(data, position)[0])


def _slot(data: bytes, table: int, slot: int) -> int:
    """Return the position of a slot of a table; 0 if the slot is empty."""
    slots = table - int(_I32.unpack_from(data, table)[0])
    entry = 4 + 2 * slot
    if entry >= _U16.unpack_from(data, slots)[0]:
        return 0
    offset = int(_U16.unpack_from(data, slots + entry)[0])
    return table + offset if offset else 0


def _object(data: bytes, table: int, slot: int) -> int | None:
    """Return the position of the object in a slot of a table; None if the slot is empty."""
    position = _slot(data, table, slot)
    return _follow(data, position) if position else None


def _number(data: bytes, table: int, slot: int, kind: struct.Struct) -> int:
    """Return the number in a slot of a table; 0 if the slot is empty."""
    position = _slot(data, table, slot)
    return int(kind.unpack_from(data, position)[0]) if position else 0


def _text_bytes(data: bytes, table: int, slot: int) -> int:
    text = _object(data, table, slot)
    return 0 if text is None else int(_U32.unpack_from(data, text)[0])


def _offsets(data: bytes, table: int, slot: int) -> NDArray[np.int64]:
    """Return the positions of the objects of the vector in a slot of a table."""
    vector = _object(data, table, slot)
    if vector is None:
        return np.empty(0, np.int64)
    n = int(_U32.unpack_from(data, vector)[0])
    offsets = np.frombuffer(data, "<u4", n, vector + 4).astype(np.int64)
    return vector + 4 + 4 * np.arange(n) + offsets


def _sum(data: bytes, table: int, slot: int, member: int) -> int:
    """Add one member of the structs in a slot of a table: sizes.

    Raises:
        ValueError: a size is negative, which would hide others.
    """
    vector = _object(data, table, slot)
    n = 0 if vector is None else int(_U32.unpack_from(data, vector)[0])
    if vector is None or n > _FEW_PAIRS:
        return _total(_pairs(data, table, slot)[:, member])
    sizes = _member_of_pairs(n, member).unpack_from(data, vector + 4)
    if sizes and min(sizes) < 0:
        raise ValueError(_NEGATIVE)
    return sum(sizes)


@cache
def _member_of_pairs(n: int, member: int) -> struct.Struct:
    """Return the format that reads one member of n structs of two integers and skips the other."""
    return struct.Struct("<" + ("8xq" if member else "q8x") * n)


def _total(sizes: NDArray[np.int64]) -> int:
    """Add sizes as floats, which do not overflow; raises as `_sum` does."""
    if len(sizes) and sizes.min() < 0:
        raise ValueError(_NEGATIVE)
    return int(sizes.sum(dtype=np.float64))


def _pairs(data: bytes, table: int, slot: int) -> NDArray[np.int64]:
    """Return the vector of structs of two integers in a slot of a table, shape (n, 2)."""
    vector = _object(data, table, slot)
    if vector is None:
        return np.empty((0, 2), np.int64)
    n = int(_U32.unpack_from(data, vector)[0])
    return np.frombuffer(data, "<i8", 2 * n, vector + 4).reshape(n, 2)
