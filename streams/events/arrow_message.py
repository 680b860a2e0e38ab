"""An Arrow message opened: its buffers checked, and nothing unpacked that is larger than a message may be.

Kafka bounds a message's bytes, but bytes say little about what they unpack to: buffers may be compressed a
thousandfold, a dictionary may hold one long text that every row names, a column of nulls has any length for nothing.
What a stream claims is read from its metadata before its buffers are.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from barograph.events import Reason

MAX_ROWS = 10_000
"""Of a message; the publisher cuts tables at 1,000."""
MAX_UNPACKED_BYTES = 8 << 20
"""Of a message's columns once they are unpacked; the message itself has 1 MiB at most."""
FEW_BYTES = 256 << 10
"""Where rows share values that are no more than this if each is written out, nobody looks how much exactly."""
DETAIL_CHARS = 200

_U16, _I32, _U32, _I64 = (struct.Struct(f"<{code}") for code in "HiIq")
# Slots of the tables in Arrow's Message.fbs, in the order of their declaration there.
_MESSAGE_HEADER, _DICTIONARY_DATA, _BATCH_BUFFERS, _BATCH_COMPRESSION = 2, 1, 2, 3
_BUFFER_BYTES = 16


class UnpackedError(ValueError):
    """A stream is sound and unpacks to more than a message may hold."""


@dataclass(frozen=True, slots=True, eq=False)
class KnownSchema:
    """A schema that messages have; the same object for each of them, as long as it is among the last ones seen."""

    schema: pa.Schema
    sharing: tuple[int, ...]
    """The columns that have rows which share values."""


class Opened(NamedTuple):
    """A message's rows, their schema, and how many bytes they take once they are unpacked."""

    batches: list[pa.RecordBatch]
    schema: KnownSchema
    n_bytes: int


def open_table(value: bytes | None) -> pa.Table:
    """Read an Arrow IPC stream whole, its buffers checked; raises as `open_message`."""
    opened, schema = _open(value)
    return pa.Table.from_batches(opened.batches, schema)


def open_message(value: bytes | None) -> Opened:
    """Read an Arrow IPC stream whole, its buffers checked.

    Raises:
        UnpackedError: the stream holds more than `MAX_ROWS` rows or `MAX_UNPACKED_BYTES`.
        ValueError: the bytes are no such stream, or damaged; at most `DETAIL_CHARS` characters say in what.
    """
    return _open(value)[0]


def _open(value: bytes | None) -> tuple[Opened, pa.Schema]:
    """Read a stream; its own schema too, which may differ from the known one in metadata."""
    if not value:
        raise ValueError("the message is empty")
    try:
        head, claimed = _claims(value)
        _refuse_bytes(claimed)
        with pa.ipc.open_stream(value) as reader:
            own, batches = reader.schema, list(reader)
        for batch in batches:
            batch.validate(full=True)
        schema = _schema_of(head, own)
        shared = _bytes_of_sharing(batches, schema)
    except UnpackedError:
        raise
    except (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError, struct.error) as error:
        raise ValueError(f"{error}"[:DETAIL_CHARS]) from error
    return Opened(batches, schema, max(len(value), claimed) + shared), own


def refusal(value: bytes | None, error: ValueError) -> Reason:
    """Why a message that `open_message` refused is a dead letter."""
    if not value:
        return Reason.EMPTY
    return Reason.TOO_LARGE if isinstance(error, UnpackedError) else Reason.NOT_ARROW


def unpacked_bytes(value: bytes) -> int:
    """The size that the compressed buffers of a stream claim, in bytes; 0 where none is compressed.

    Raises:
        ValueError, struct.error: the stream is damaged; reading it would fail too.
    """
    return _claims(value)[1]


def _claims(value: bytes) -> tuple[pa.Buffer | None, int]:
    """What a stream says of its schema, as it stands there, and the size that its compressed buffers claim."""
    head, claimed = None, 0
    for message in pa.ipc.MessageReader.open_stream(value):
        if head is None:
            head = message.metadata
        if message.body is None or not message.body.size:
            continue
        metadata = message.metadata.to_pybytes()
        table = _table_of(metadata, _follow(metadata, 0), _MESSAGE_HEADER)
        if message.type == "dictionary" and table is not None:
            table = _table_of(metadata, table, _DICTIONARY_DATA)
        if table is None or _table_of(metadata, table, _BATCH_COMPRESSION) is None:
            continue
        body = message.body.to_pybytes()
        for start, length in _buffers(metadata, table):
            if length >= _I64.size:
                # −1 is written for a buffer that is not compressed after all.
                size = _I64.unpack_from(body, start)[0]
                claimed += length if size == -1 else max(0, size)
    return head, claimed


def _follow(data: bytes, at: int) -> int:
    """Where the object is that the offset at a place refers to."""
    return at + int(_U32.unpack_from(data, at)[0])


def _table_of(data: bytes, table: int, slot: int) -> int | None:
    """Where the object in a slot of a flatbuffer's table is; None where the slot is empty."""
    slots = table - int(_I32.unpack_from(data, table)[0])
    place = 4 + 2 * slot
    if place >= _U16.unpack_from(data, slots)[0]:
        return None
    offset = int(_U16.unpack_from(data, slots + place)[0])
    return _follow(data, table + offset) if offset else None


def _buffers(data: bytes, batch: int) -> Iterator[tuple[int, int]]:
    """Start and length of each buffer of a record batch in its message's body."""
    vector = _table_of(data, batch, _BATCH_BUFFERS)
    if vector is None:
        return
    for i in range(int(_U32.unpack_from(data, vector)[0])):
        at = vector + 4 + _BUFFER_BYTES * i
        yield int(_I64.unpack_from(data, at)[0]), int(_I64.unpack_from(data, at + 8)[0])


def _refuse_bytes(size: int) -> None:
    if size > MAX_UNPACKED_BYTES:
        raise UnpackedError(f"its columns unpack to {size:,} bytes; a message may hold {MAX_UNPACKED_BYTES:,}")


def _schema_of(head: pa.Buffer, schema: pa.Schema) -> KnownSchema:
    """The known one of a schema, found by how its stream states it.

    A topic holds few schemas, and bytes are compared far quicker than columns.

    Raises:
        ValueError: names of columns repeat.
    """
    for stated, known in _known:
        if stated.equals(head):
            return known
    found = next((known for _, known in _known if known.schema.equals(schema)), None)
    if found is None:
        if len(set(schema.names)) != len(schema):
            raise ValueError("column names repeat")
        found = KnownSchema(schema, tuple(i for i, kind in enumerate(schema.types) if _shares(kind)))
    # A copy: what is stated is a part of the message, which would be kept with it.
    _known.append((pa.py_buffer(head.to_pybytes()), found))
    return found


_known: deque[tuple[pa.Buffer, KnownSchema]] = deque(maxlen=64)


def _bytes_of_sharing(batches: Sequence[pa.RecordBatch], schema: KnownSchema) -> int:
    """The size of columns of which rows share values, were each written out, in bytes.

    Refuses what cannot be worked on: too many rows, rows that share long values.
    """
    rows = sum(batch.num_rows for batch in batches)
    if rows > MAX_ROWS:
        raise UnpackedError(f"it has {rows:,} rows; a message may hold {MAX_ROWS:,}")
    size = sum(_shared_bytes([batch.column(i) for batch in batches]) for i in schema.sharing)
    _refuse_bytes(size)
    return size


def _shared_bytes(chunks: Sequence[pa.Array]) -> int:
    """At most the size of a column of which rows share values, were each written out."""
    if not chunks:
        return 0
    kind = chunks[0].type
    if pa.types.is_dictionary(kind):
        return sum(map(_dictionary_bytes, chunks))
    most = sum(chunk.nbytes for chunk in chunks) * sum(map(len, chunks))
    if most <= FEW_BYTES:
        return int(most)
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return _view_bytes(chunks)
    return int(most)


def _shares(kind: pa.DataType) -> bool:
    """Whether rows of a type, or what is nested in them, may refer to the same values."""
    types = pa.types
    if types.is_dictionary(kind) or types.is_string_view(kind) or types.is_binary_view(kind):
        return True
    if types.is_list_view(kind) or types.is_large_list_view(kind) or types.is_run_end_encoded(kind):
        return True
    return any(_shares(kind.field(i).type) for i in range(kind.num_fields))


def _dictionary_bytes(chunk: pa.DictionaryArray) -> int:
    values = chunk.dictionary
    most = values.nbytes * len(chunk)
    if most <= FEW_BYTES:
        return int(most)
    if pa.types.is_primitive(values.type):
        return int(len(chunk) * values.type.bit_width // 8)
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return int(values.nbytes * len(chunk))
    return int(pc.sum(pc.binary_length(values).cast(pa.int64()).take(chunk.indices)).as_py() or 0)


def _view_bytes(chunks: Sequence[pa.Array]) -> int:
    """The lengths of views, which are the first four bytes of each one's sixteen."""
    total = 0
    for chunk in chunks:
        views = np.frombuffer(chunk.buffers()[1], np.int32).reshape(-1, 4)
        total += int(views[chunk.offset : chunk.offset + len(chunk), 0].sum(dtype=np.int64))
    return total
