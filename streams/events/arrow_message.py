"""Opens Arrow messages: validates their buffers and rejects messages that unpack to more than the limit.

Kafka bounds a message's size, but not the size that it unpacks to: buffers may be compressed a thousandfold or overlap,
a dictionary may hold one long text that all rows refer to, and nulls cost nothing at any length and depth. The sizes
that a stream claims are read from its metadata before Arrow allocates anything for it (arrow_metadata.py). What rows
share is measured in the columns, which are not expanded (arrow_sizes.py).
"""

import struct
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa
from barograph.events import Reason

from barograph_server.streams.events.arrow_metadata import VALUE_BYTES, read_claims, schema_bytes
from barograph_server.streams.events.arrow_sizes import shared_bytes, shares_values
from barograph_server.streams.events.batch import OUT_OF_MEMORY, MessageBatch, RejectedEvent

MAX_ROWS = 10_000
"""Rows per message. The publisher cuts tables at 1,000."""
MAX_UNPACKED_BYTES = 8 << 20
"""Unpacked size of a message's columns, with at least eight bytes per value. The message itself has 1 MiB at most."""
KNOWN_SCHEMAS, KNOWN_SCHEMA_BYTES = 64, 16 << 20
"""Schemas that are cached, and their size in bytes; the latest one is always cached."""
DETAIL_CHARS = 200
COLUMN_ERRORS = (pa.ArrowException, ArithmeticError, LookupError, MemoryError, RecursionError, TypeError, ValueError)
"""Errors of valid columns that Arrow or Python cannot convert, such as times beyond its range or in unknown zones."""


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
        claims = read_claims(value)
        _refuse_rows(claims.rows)
        size = max(claims.n_bytes, claims.values * VALUE_BYTES)
        _refuse_bytes(size)
        known = _find_known(claims.schema)
        schema_size = 0 if known else schema_bytes(claims.schema, MAX_UNPACKED_BYTES)
        _refuse_bytes(schema_size)
        with pa.ipc.open_stream(value) as reader:
            own, batches = reader.schema, list(reader)
        for batch in batches:
            batch.validate(full=True)
        _refuse_rows(sum(batch.num_rows for batch in batches))
        schema = known or _remember(claims.schema, own, schema_size)
        shared = sum(shared_bytes([batch.column(i) for batch in batches]) for i in schema.sharing)
        _refuse_bytes(shared)
    except UnpackedError:
        raise
    except MemoryError as error:
        raise UnpackedError(OUT_OF_MEMORY) from error
    except (pa.ArrowException, OSError, ValueError, OverflowError, struct.error) as error:
        raise ValueError(f"{error}"[:DETAIL_CHARS]) from error
    return Opened(batches, schema, max(len(value), size) + int(shared)), own


def rejection_reason(value: bytes | None, error: ValueError) -> Reason:
    """Return the dead-letter reason for a message that `open_message` refused."""
    if not value:
        return Reason.EMPTY
    return Reason.TOO_LARGE if isinstance(error, UnpackedError) else Reason.NOT_ARROW


def reject_message(batch: MessageBatch, position: int, error: Exception) -> RejectedEvent:
    """Return a message whose columns caused one of `COLUMN_ERRORS` as a rejected event."""
    if isinstance(error, MemoryError):
        return batch.reject(position, Reason.TOO_LARGE, OUT_OF_MEMORY)
    return batch.reject(position, Reason.NOT_ARROW, str(error)[:DETAIL_CHARS])


def _refuse_rows(n: int) -> None:
    if n > MAX_ROWS:
        raise UnpackedError(f"it has {n:,} rows; a message may hold {MAX_ROWS:,}")


def _refuse_bytes(size: float) -> None:
    if size > MAX_UNPACKED_BYTES:
        raise UnpackedError(f"its columns unpack to {size:,.0f} bytes; a message may hold {MAX_UNPACKED_BYTES:,}")


@dataclass(frozen=True, slots=True)
class _CachedSchema:
    """A schema's encoded message, the schema and its size in bytes."""

    message: bytes
    known: KnownSchema
    n_bytes: int


_cache: deque[_CachedSchema] = deque()


def _find_known(message: bytes) -> KnownSchema | None:
    """Look up the known schema by its encoded form.

    A topic has few schemas, and comparing bytes is far faster than comparing columns.
    """
    for cached in _cache:
        if cached.message == message:
            return cached.known
    return None


def _remember(message: bytes, schema: pa.Schema, n_bytes: int) -> KnownSchema:
    """Cache a schema with its encoded message; return the known schema that equals it, if there is one.

    Raises:
        ValueError: column names repeat.
    """
    known = next((cached.known for cached in _cache if cached.known.schema.equals(schema)), None)
    if known is None:
        if len(set(schema.names)) != len(schema):
            raise ValueError("column names repeat")
        known = KnownSchema(schema, tuple(i for i, kind in enumerate(schema.types) if shares_values(kind)))
    _cache.append(_CachedSchema(message, known, n_bytes + len(message)))
    while len(_cache) > KNOWN_SCHEMAS or (len(_cache) > 1 and sum(c.n_bytes for c in _cache) > KNOWN_SCHEMA_BYTES):
        _cache.popleft()
    return known
