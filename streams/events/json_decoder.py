"""JSON messages → columns: a typed decode in C where a chunk is well formed, one by one where it is not.

Each model's events have a struct type of their own, made from its contract; the union of these, told apart by the
member `model`, is what a chunk is decoded into. Whatever does not fit (a number as a string, NaN, no object at all)
makes its chunk take the tolerant way, which puts the event aside with a reason or marks the field invalid. Both ways
end in the same structs, so their results are the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
from barograph.events import Reason
from numpy.typing import NDArray

from streams.events.batch import Decoded, MessageBatch, join_batches
from streams.events.columns import EventColumns, producer_arrivals, encode_names, join
from streams.events.event_type import MOST_STRETCH, EventType, Rejected, numbered
from streams.events.projection import build_projection
from streams.registry.registry import Registry

_REFUSALS = (msgspec.DecodeError, ValueError, RecursionError)
"""What msgspec raises for bytes that it cannot decode; bad UTF-8 is a plain UnicodeDecodeError."""

MOST_STRETCHES = 20
"""Of many models together that wait to be whole: each holds as much as is read at once, about a megabyte of structs."""


class _Nobody(msgspec.Struct, tag_field="model", tag="\x00nobody"):
    """Makes a union of even a single model's type: outside a union msgspec does not ask for the tag."""

    never: Literal["\x00never"]


class JsonDecoder:
    """Decodes the JSON predictions of all models of a registry."""

    def __init__(self, registry: Registry) -> None:
        self._models = {model: EventType(build_projection(registry, model)) for model in registry.contracts}
        self._by_type = {kind.type: kind for kind in self._models.values()}
        union = reduce(or_, (kind.type for kind in self._models.values() if kind.is_typed), _Nobody)
        self._decoder = msgspec.json.Decoder(union)
        self.chunk_messages = min((kind.stretch for kind in self._models.values()), default=MOST_STRETCH)
        """Messages decoded in one go: one bad message costs the tolerant way for this many."""

    def decode(self, batch: MessageBatch) -> Decoded:
        """Turn a batch into columns per model and dead letters; every message ends in one of the two."""
        gathered = self.accumulator()
        gathered.add(batch)
        return gathered.take()

    def accumulator(self) -> JsonGathering:
        """Begin to gather messages that come in small batches."""
        return JsonGathering(self._by_type, self.chunk, self.chunk_messages)

    def chunk(self, values: Sequence[bytes | None]) -> Chunk:
        """Decode some messages, all in one go if they are well formed."""
        fast = self._decode_all(values)
        if fast is not None:
            return Chunk(fast, None, [])
        events: list[Any] = []
        position: list[int] = []
        refused: list[Refused] = []
        for i, value in enumerate(values):
            try:
                events.append(self._decode_one(value))
                position.append(i)
            except Rejected as rejected:
                # Not the error itself: it would keep the whole event, through the frames of its traceback.
                about = rejected.reason, rejected.detail, rejected.model, rejected.producer, rejected.seq
                refused.append(Refused(i, *about))
        return Chunk(events, np.array(position, dtype=np.int64), refused)

    def _decode_all(self, values: Iterable[bytes | None]) -> list[Any] | None:
        try:
            return list(map(self._decoder.decode, values))  # type: ignore[arg-type]
        except (*_REFUSALS, TypeError):
            return None

    def _decode_one(self, value: bytes | None) -> Any:
        if not value:
            raise Rejected(Reason.EMPTY)
        try:
            return self._decoder.decode(value)
        except _REFUSALS:
            pass
        raw = _parse(value)
        if not isinstance(raw, dict):
            raise Rejected(Reason.NOT_AN_OBJECT, f"the message is {type(raw).__name__}")
        model = raw.get("model")
        if model is None or model == "":
            raise Rejected(Reason.MISSING_MODEL)
        kind = self._models.get(model) if isinstance(model, str) else None
        if kind is None:
            raise Rejected(Reason.UNKNOWN_MODEL, str(model)[:200])
        try:
            return kind.normalise(raw)
        except Rejected as rejected:
            rejected.model = kind.projection.model
            rejected.producer, rejected.seq = numbered(raw)
            raise


class Refused(NamedTuple):
    """A message that is no event: where it stood, why, and what is known of it."""

    position: int
    reason: Reason
    detail: str
    model: str
    producer: str | None
    seq: int


@dataclass(slots=True)
class Chunk:
    """Some messages decoded: the structs of the good ones, and why the others were refused."""

    events: list[Any]
    position: NDArray[np.int64] | None
    """Where each event stood among the messages; None where all are good."""
    refused: list[Refused]


class JsonGathering:
    """Events that come in batches of any size → columns of long stretches.

    An event is decoded into a struct of a kilobyte or so, and reading it is quick while it is still in the processor's
    cache. So structs become columns as soon as a model has a stretch of them, and the columns are joined at the end.
    """

    def __init__(
        self, types: Mapping[Any, EventType], decode: Callable[[Sequence[bytes | None]], Chunk], chunk_messages: int
    ) -> None:
        self._types = types
        self._decode = decode
        self._chunk_messages = chunk_messages
        self._waiting: dict[Any, _Waiting] = {}
        self._stretches = 0.0
        """How many stretches wait in all."""
        self._found: dict[str, list[EventColumns]] = {}
        self._rest = Decoded()
        """Dead letters and arrivals."""
        self.messages = self.n_bytes = self.rejected_bytes = 0
        """How much was gathered: messages, the bytes of numbers in columns, those of what was put aside."""

    def add(self, batch: MessageBatch) -> None:
        """Decode some more messages; every one ends as an event or as a dead letter."""
        self.messages += len(batch)
        for start in range(0, len(batch), self._chunk_messages):
            some = batch.select(slice(start, start + self._chunk_messages))
            chunk = self._decode(some.values)
            self._put_aside(some, chunk.refused)
            if chunk.position is not None:
                some = some.select(chunk.position)
            for kind, events, messages in _by_type(chunk.events, some):
                waiting = self._waiting.setdefault(kind, _Waiting())
                waiting.events += events
                waiting.messages.append(messages)
                stretch = self._types[kind].stretch
                self._stretches += len(events) / stretch
                if len(waiting.events) >= stretch:
                    self._make_columns(kind)
            if self._stretches > MOST_STRETCHES:
                for kind in list(self._waiting):
                    self._make_columns(kind)

    def take(self) -> Decoded:
        """Hand over all that was gathered, one `EventColumns` for each model."""
        for kind in list(self._waiting):
            self._make_columns(kind)
        decoded, found = self._rest, self._found
        decoded.events = [join(parts) for parts in found.values()]
        self._rest, self._found = Decoded(), {}
        self.messages = self.n_bytes = self.rejected_bytes = 0
        return decoded

    def _make_columns(self, kind: Any) -> None:
        waiting = self._waiting.pop(kind)
        self._stretches -= len(waiting.events) / self._types[kind].stretch
        part = self._types[kind].columns(waiting.events, join_batches(waiting.messages))
        for events in part.events:
            self._found.setdefault(events.model, []).append(events)
            self.n_bytes += sum(values.nbytes for values in events.numbers.values())
        self._rest.rejected += part.rejected
        self._rest.arrivals += part.arrivals

    def _put_aside(self, batch: MessageBatch, refused: list[Refused]) -> None:
        aside: dict[str, list[tuple[int, str | None, int]]] = {}
        for each in refused:
            dead = batch.reject(each.position, each.reason, each.detail, model=each.model)
            self._rest.rejected.append(dead)
            self.rejected_bytes += len(dead.value)
            aside.setdefault(each.model, []).append((each.position, each.producer, each.seq))
        for model, rows in aside.items():
            at, producers, seqs = zip(*rows, strict=True)
            received_ms = batch.received_ms[list(at)]
            self._rest.arrivals += producer_arrivals(
                model, received_ms, encode_names(producers), np.array(seqs, dtype=np.int64)
            )


@dataclass(slots=True)
class _Waiting:
    events: list[Any] = field(default_factory=list)
    messages: list[MessageBatch] = field(default_factory=list)


def _by_type(events: list[Any], messages: MessageBatch) -> Iterable[tuple[Any, list[Any], MessageBatch]]:
    kinds = set(map(type, events))
    if len(kinds) <= 1:
        yield from ((kind, events, messages) for kind in kinds)
        return
    places: dict[Any, list[int]] = {kind: [] for kind in kinds}
    for i, event in enumerate(events):
        places[type(event)].append(i)
    for kind, where in places.items():
        yield kind, [events[i] for i in where], messages.select(np.array(where, dtype=np.int64))


def _parse(value: bytes) -> Any:
    """Parse strictly, else as Python does, which lets NaN, Infinity and lone surrogates through."""
    try:
        return msgspec.json.decode(value)
    except RecursionError:
        raise Rejected(Reason.TOO_DEEP) from None
    except _REFUSALS:
        pass
    try:
        return json.loads(value.decode())
    except RecursionError:
        raise Rejected(Reason.TOO_DEEP) from None
    except ValueError as error:
        raise Rejected(Reason.NOT_JSON, str(error)[:200]) from None
