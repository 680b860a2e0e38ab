"""Opens Arrow messages: validates their buffers and rejects messages that unpack to more than the limit.

Kafka bounds a message's size, but not the size that it unpacks to: buffers may be compressed a thousandfold, a
dictionary may hold one long text that all rows refer to, and a column of nulls may have any length at no cost. The size
that a stream claims is read from its metadata before any buffer is unpacked.
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
"""Rows per message. The publisher cuts tables at 1,000."""
MAX_UNPACKED_BYTES = 8 << 20
"""Unpacked size of a message's columns. The message itself has 1 MiB at most."""
FEW_BYTES = 256 << 10
"""Below this bound on the size of shared values, the exact size is not computed."""
DETAIL_CHARS = 200

_U16, _I32, _U32, _I64 = (struct.Struct(f"<{code}") for code in "HiIq")
# Slots of the tables in Arrow's Message.fbs, in the order of their declaration there.
_MESSAGE_HEADER, _DICTIONARY_DATA, _BATCH_BUFFERS, _BATCH_COMPRESSION = 2, 1, 2, 3
_BUFFER_BYTES = 16


class UnpackedError(ValueError):
    """A stream is valid and unpacks to more than a message may hold."""


@dataclass(frozen=True, slots=True, eq=False)
class KnownSchema:
    """A schema of recent messages; messages with equal schemas share one object while it is cached."""

    schema: pa.Schema
    sharing: tuple[int, ...]
    """Indices of the columns whose rows may share values."""


class Opened(NamedTuple):
    """A message's rows, their schema and their unpacked size in bytes."""

    batches: list[pa.RecordBatch]
    schema: KnownSchema
    n_bytes: int


def open_table(value: bytes | None) -> pa.Table:
    """Read and validate a whole Arrow IPC stream; raises as `open_message` does."""
    opened, schema = _open(value)
    return pa.Table.from_batches(opened.batches, schema)


def open_message(value: bytes | None) -> Opened:
    """Read and validate a whole Arrow IPC stream.

    Raises:
        UnpackedError: the stream holds more than `MAX_ROWS` rows or `MAX_UNPACKED_BYTES`.
        ValueError: the bytes are not such a stream, or damaged. The message has at most `DETAIL_CHARS` characters.
    """
    return _open(value)[0]


def _open(value: bytes | None) -> tuple[Opened, pa.Schema]:
    """Read a stream and its own schema, which may differ from the known one in metadata."""
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


def rejection_reason(value: bytes | None, error: ValueError) -> Reason:
    """Return the dead-letter reason for a message that `open_message` refused."""
    if not value:
        return Reason.EMPTY
    return Reason.TOO_LARGE if isinstance(error, UnpackedError) else Reason.NOT_ARROW


def _claims(value: bytes) -> tuple[pa.Buffer | None, int]:
    """Return a stream's encoded schema and the size that its compressed buffers claim."""
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
                # −1 marks a buffer that is not compressed.
                size = _I64.unpack_from(body, start)[0]
                claimed += length if size == -1 else max(0, size)
    return head, claimed


def _follow(data: bytes, position: int) -> int:
    """Return the position of the object that the offset at a position refers to."""
    return position + int(_U32.unpack_from(data, position)[0])


def _table_of(data: bytes, table: int, slot: int) -> int | None:
    """Return the position of the object in a slot of a flatbuffer table; None if the slot is empty."""
    slots = table - int(_I32.unpack_from(data, table)[0])
    entry = 4 + 2 * slot
    if entry >= _U16.unpack_from(data, slots)[0]:
        return None
    offset = int(_U16.unpack_from(data, slots + entry)[0])
    return _follow(data, table + offset) if offset else None


def _buffers(data: bytes, batch: int) -> Iterator[tuple[int, int]]:
    """Yield start and length of each buffer of a record batch in its message's body."""
    vector = _table_of(data, batch, _BATCH_BUFFERS)
    if vector is None:
        return
    for i in range(int(_U32.unpack_from(data, vector)[0])):
        entry = vector + 4 + _BUFFER_BYTES * i
        yield int(_I64.unpack_from(data, entry)[0]), int(_I64.unpack_from(data, entry + 8)[0])


def _refuse_bytes(size: int) -> None:
    if size > MAX_UNPACKED_BYTES:
        raise UnpackedError(f"its columns unpack to {size:,} bytes; a message may hold {MAX_UNPACKED_BYTES:,}")


def _schema_of(head: pa.Buffer, schema: pa.Schema) -> KnownSchema:
    """Look up the known schema by its encoded form.

    A topic has few schemas, and comparing bytes is far faster than comparing columns.

    Raises:
        ValueError: column names repeat.
    """
    for encoded, known in _known:
        if encoded.equals(head):
            return known
    match = next((known for _, known in _known if known.schema.equals(schema)), None)
    if match is None:
        if len(set(schema.names)) != len(schema):
            raise ValueError("column names repeat")
        match = KnownSchema(schema, tuple(i for i, kind in enumerate(schema.types) if _shares(kind)))
    # A copy: the encoded schema is a slice of the message and would keep the message alive.
    _known.append((pa.py_buffer(head.to_pybytes()), match))
    return match


_known: deque[tuple[pa.Buffer, KnownSchema]] = deque(maxlen=64)


def _bytes_of_sharing(batches: Sequence[pa.RecordBatch], schema: KnownSchema) -> int:
    """Return the size in bytes of the columns whose rows share values, with each row's value written out.

    Raises:
        UnpackedError: there are too many rows, or rows share long values.
    """
    rows = sum(batch.num_rows for batch in batches)
    if rows > MAX_ROWS:
        raise UnpackedError(f"it has {rows:,} rows; a message may hold {MAX_ROWS:,}")
    size = sum(_shared_bytes([batch.column(i) for batch in batches]) for i in schema.sharing)
    _refuse_bytes(size)
    return size


def _shared_bytes(chunks: Sequence[pa.Array]) -> int:
    """Return an upper bound on the size of a column whose rows share values, with each row's value written out."""
    if not chunks:
        return 0
    kind = chunks[0].type
    if pa.types.is_dictionary(kind):
        return sum(map(_dictionary_bytes, chunks))
    bound = sum(chunk.nbytes for chunk in chunks) * sum(map(len, chunks))
    if bound <= FEW_BYTES:
        return int(bound)
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return _view_bytes(chunks)
    return int(bound)


def _shares(kind: pa.DataType) -> bool:
    """Return whether rows of a type, or of a type nested in it, may refer to the same values."""
    types = pa.types
    if types.is_dictionary(kind) or types.is_string_view(kind) or types.is_binary_view(kind):
        return True
    if types.is_list_view(kind) or types.is_large_list_view(kind) or types.is_run_end_encoded(kind):
        return True
    return any(_shares(kind.field(i).type) for i in range(kind.num_fields))


def _dictionary_bytes(chunk: pa.DictionaryArray) -> int:
    values = chunk.dictionary
    bound = values.nbytes * len(chunk)
    if bound <= FEW_BYTES:
        return int(bound)
    if pa.types.is_primitive(values.type):
        return int(len(chunk) * values.type.bit_width // 8)
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return int(values.nbytes * len(chunk))
    return int(pc.sum(pc.binary_length(values).cast(pa.int64()).take(chunk.indices)).as_py() or 0)


def _view_bytes(chunks: Sequence[pa.Array]) -> int:
    """Sum the lengths of views; the length is the first four of a view's sixteen bytes."""
    total = 0
    for chunk in chunks:
        views = np.frombuffer(chunk.buffers()[1], np.int32).reshape(-1, 4)
        total += int(views[chunk.offset : chunk.offset + len(chunk), 0].sum(dtype=np.int64))
    return total
