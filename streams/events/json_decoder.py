"""JSON messages → columns: a typed decode in C for well-formed chunks, event by event for the rest.

Each model's events have their own struct type, built from the contract. A chunk is decoded into the union of these
types, distinguished by the member `model`. If any event of a chunk does not fit (a number as a string, NaN, no object),
the whole chunk takes the tolerant path, which rejects the event with a reason or marks the field invalid. Both paths
produce the same structs, so their results are the same.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
from barograph.events import Reason
from numpy.typing import NDArray

from barograph_server.streams.events import native_reader
from barograph_server.streams.events.batch import OUT_OF_MEMORY, Decoded, MessageBatch, join_batches
from barograph_server.streams.events.columns import EventColumns, concat_columns, encode_names, producer_arrivals
from barograph_server.streams.events.event_type import MAX_BATCH_EVENTS, EventType, Rejection, producer_seq
from barograph_server.streams.events.native_reader import NativeReader
from barograph_server.streams.events.projection import build_projection
from barograph_server.streams.registry.registry import Registry

_DECODE_ERRORS = (msgspec.DecodeError, ValueError, RecursionError)
"""Errors that msgspec raises for bytes it cannot decode; invalid UTF-8 is a plain UnicodeDecodeError."""

MAX_PENDING_BATCHES = 20
"""Incomplete batches that all models may hold together. Each holds up to about a megabyte of structs."""


class JsonDecoder:
    """Decodes the JSON predictions of all models of a registry."""

    def __init__(self, registry: Registry, *, native: bool = True) -> None:
        """Prepare the types of all models.

        Args:
            native: whether to read plain events with `barograph_native` if it is installed.
        """
        self._models = {
            model: EventType(build_projection(registry, model), registry.retention_ms) for model in registry.contracts
        }
        self._by_type = {event_type.type: event_type for event_type in self._models.values()}
        types = (event_type.type for event_type in self._models.values() if event_type.is_typed)
        self._decoder = union_decoder(types)
        self.chunk_messages = min((each.batch_events for each in self._models.values()), default=MAX_BATCH_EVENTS)
        """Messages decoded together. One malformed message sends this many down the tolerant path."""
        self._readers: list[NativeReader] = []
        """Readers that no accumulator holds: to make one takes as long as to read a thousand events."""
        self._is_native = native and native_reader.VERSION is not None
        self._retention_ms = registry.retention_ms
        self.read_by: Counter[str] = Counter()
        """Messages by what read them, `native` or `python`; and `panics`, messages on which the library failed."""

    def decode(self, batch: MessageBatch) -> Decoded:
        """Decode a batch into columns per model and rejected events; every message ends in one of the two."""
        accumulator = self.accumulator()
        accumulator.add(batch)
        return accumulator.take()

    def accumulator(self) -> JsonAccumulator:
        """Return an accumulator of messages that arrive in small batches."""
        return JsonAccumulator(self._by_type, self.chunk, self.chunk_messages, self)

    def lend_reader(self) -> NativeReader | None:
        """Return an empty native reader, which `return_reader` gets back once it is empty again; None without one."""
        if not self._is_native:
            return None
        return self._readers.pop() if self._readers else NativeReader(self._models, self._retention_ms)

    def return_reader(self, reader: NativeReader) -> None:
        """Keep a reader for the next accumulator."""
        self._readers.append(reader)

    def chunk(self, values: Sequence[bytes | None]) -> Chunk:
        """Decode messages, all together if they are well formed."""
        decoded = self._decode_all(values)
        if decoded is not None:
            return Chunk(decoded, None, [])
        events: list[Any] = []
        position: list[int] = []
        rejected: list[RejectedMessage] = []
        for i, value in enumerate(values):
            try:
                events.append(self._decode_one(value))
                position.append(i)
            except Rejection as error:
                # Only its fields: the exception would keep the whole event alive through its traceback's frames.
                fields = error.reason, error.detail, error.model, error.producer, error.seq
                rejected.append(RejectedMessage(i, *fields))
            except MemoryError:
                rejected.append(RejectedMessage(i, Reason.TOO_LARGE, OUT_OF_MEMORY, "", None, -1))
        return Chunk(events, np.array(position, dtype=np.int64), rejected)

    def _decode_all(self, values: Iterable[bytes | None]) -> list[Any] | None:
        try:
            return list(map(self._decoder.decode, values))  # type: ignore[arg-type]
        except (*_DECODE_ERRORS, TypeError, MemoryError):
            return None

    def _decode_one(self, value: bytes | None) -> Any:
        if not value:
            raise Rejection(Reason.EMPTY)
        try:
            return self._decoder.decode(value)
        except _DECODE_ERRORS:
            pass
        raw = _parse(value)
        if not isinstance(raw, dict):
            raise Rejection(Reason.NOT_AN_OBJECT, f"the message is {type(raw).__name__}")
        model = raw.get("model")
        if model is None or model == "":
            raise Rejection(Reason.MISSING_MODEL)
        event_type = self._models.get(model) if isinstance(model, str) else None
        if event_type is None:
            raise Rejection(Reason.UNKNOWN_MODEL, str(model)[:200])
        try:
            return event_type.normalise(raw)
        except Rejection as rejection:
            rejection.model = event_type.projection.model
            rejection.producer, rejection.seq = producer_seq(raw)
            raise


class RejectedMessage(NamedTuple):
    """A rejected message of a chunk: its index, the reason, and the members that could be read."""

    position: int
    reason: Reason
    detail: str
    model: str
    producer: str | None
    seq: int


@dataclass(slots=True)
class Chunk:
    """Decoded messages: the structs of the valid ones and the rejected ones."""

    events: list[Any]
    position: NDArray[np.int64] | None
    """Index of each event among the messages; None if all are valid."""
    rejected: list[RejectedMessage]


class JsonAccumulator:
    """Collects events that arrive in batches of any size and builds long columns.

    An event is decoded into a struct of about a kilobyte, which is fast to read while it is in the CPU cache. So
    structs become columns as soon as a model has a full batch of them, and the columns are concatenated at the end.
    """

    def __init__(
        self,
        types: Mapping[Any, EventType],
        decode: Callable[[Sequence[bytes | None]], Chunk],
        chunk_messages: int,
        decoder: JsonDecoder,
    ) -> None:
        self._types = types
        self._decode = decode
        self._chunk_messages = chunk_messages
        self._decoder = decoder
        self._reader: NativeReader | None = None
        self._is_new = True
        self._pending: dict[Any, _PendingBatch] = {}
        self._pending_batches = 0.0
        """Pending events of all models, counted in full batches."""
        self._columns: dict[str, list[EventColumns]] = {}
        self._rest = Decoded()
        """Rejected events and producer arrivals."""
        self.messages = self.n_bytes = self.rejected_bytes = 0
        """Size of the content: messages, bytes of numeric columns, bytes of rejected events."""

    def add(self, batch: MessageBatch) -> None:
        """Decode more messages; every one ends as an event or a rejected event."""
        self.messages += len(batch)
        if len(batch) and self._reader is None and self._is_new:
            self._reader, self._is_new = self._decoder.lend_reader(), False
        if self._reader is not None:
            batch = self._read_natively(self._reader, batch)
        self._decoder.read_by["python"] += len(batch)
        for start in range(0, len(batch), self._chunk_messages):
            messages = batch.select(slice(start, start + self._chunk_messages))
            chunk = self._decode(messages.values)
            self._reject(messages, chunk.rejected)
            if chunk.position is not None:
                messages = messages.select(chunk.position)
            for struct_type, events, own_messages in _by_type(chunk.events, messages):
                pending = self._pending.setdefault(struct_type, _PendingBatch())
                pending.events += events
                pending.messages.append(own_messages)
                batch_events = self._types[struct_type].batch_events
                self._pending_batches += len(events) / batch_events
                if len(pending.events) >= batch_events:
                    self._build_columns(struct_type)
            if self._pending_batches > MAX_PENDING_BATCHES:
                for struct_type in list(self._pending):
                    self._build_columns(struct_type)

    def _read_natively(self, reader: NativeReader, batch: MessageBatch) -> MessageBatch:
        """Return the messages that the reader leaves."""
        n_bytes, panics = reader.n_bytes, reader.panics
        left = reader.add(batch)
        self.n_bytes += reader.n_bytes - n_bytes
        self._decoder.read_by.update(native=len(batch) - len(left), panics=reader.panics - panics)
        return left

    def take(self) -> Decoded:
        """Return the content, one `EventColumns` per model, and start over."""
        for struct_type in list(self._pending):
            self._build_columns(struct_type)
        decoded = self._rest
        columns = {model: concat_columns(pieces) for model, pieces in self._columns.items()}
        decoded.events = list(columns.values())
        if self._reader is not None:
            decoded.events, arrivals = self._reader.take(columns)
            decoded.arrivals += arrivals
            self._decoder.return_reader(self._reader)
        self._reader, self._is_new = None, True
        self._rest, self._columns = Decoded(), {}
        self.messages = self.n_bytes = self.rejected_bytes = 0
        return decoded

    def _build_columns(self, struct_type: Any) -> None:
        pending = self._pending.pop(struct_type)
        event_type = self._types[struct_type]
        self._pending_batches -= len(pending.events) / event_type.batch_events
        decoded = event_type.columns(pending.events, join_batches(pending.messages))
        for events in decoded.events:
            self._columns.setdefault(events.model, []).append(events)
            self.n_bytes += sum(values.nbytes for values in events.numbers.values())
        self._rest.rejected += decoded.rejected
        self._rest.arrivals += decoded.arrivals

    def _reject(self, batch: MessageBatch, rejected: list[RejectedMessage]) -> None:
        by_model: dict[str, list[tuple[int, str | None, int]]] = {}
        for each in rejected:
            event = batch.reject(each.position, each.reason, each.detail, model=each.model)
            self._rest.rejected.append(event)
            self.rejected_bytes += len(event.value)
            by_model.setdefault(each.model, []).append((each.position, each.producer, each.seq))
        for model, rows in by_model.items():
            positions, producers, seqs = zip(*rows, strict=True)
            received_ms = batch.received_ms[list(positions)]
            self._rest.arrivals += producer_arrivals(
                model, received_ms, encode_names(producers), np.array(seqs, dtype=np.int64)
            )


@dataclass(slots=True)
class _PendingBatch:
    """Decoded structs of one type that are not columns yet."""

    events: list[Any] = field(default_factory=list)
    messages: list[MessageBatch] = field(default_factory=list)


def _by_type(events: list[Any], messages: MessageBatch) -> Iterable[tuple[Any, list[Any], MessageBatch]]:
    """Group events and their messages by struct type."""
    types = set(map(type, events))
    if len(types) <= 1:
        yield from ((struct_type, events, messages) for struct_type in types)
        return
    rows_by_type: dict[Any, list[int]] = {struct_type: [] for struct_type in types}
    for i, event in enumerate(events):
        rows_by_type[type(event)].append(i)
    for struct_type, rows in rows_by_type.items():
        yield struct_type, [events[i] for i in rows], messages.select(np.array(rows, dtype=np.int64))


def _parse(value: bytes) -> Any:
    """Parse strictly, else as Python's json does, which accepts NaN, Infinity and lone surrogates."""
    try:
        return msgspec.json.decode(value)
    except RecursionError:
        raise Rejection(Reason.TOO_DEEP) from None
    except _DECODE_ERRORS:
        pass
    try:
        return json.loads(value.decode())
    except RecursionError:
        raise Rejection(Reason.TOO_DEEP) from None
    except ValueError as error:
        raise Rejection(Reason.NOT_JSON, str(error)[:200]) from None


class UnknownModel(msgspec.Struct, tag_field="model", tag="\x00unknown"):
    """Turns even a single model's type into a union: outside a union msgspec does not check the tag."""

    never: Literal["\x00never"]


def union_decoder(types: Iterable[Any]) -> msgspec.json.Decoder[Any]:
    """Return a decoder of the given struct types, each tagged with its model."""
    return msgspec.json.Decoder(reduce(or_, types, UnknownModel))
