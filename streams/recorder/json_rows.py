"""JSON predictions → raw rows: a typed decode in C, then whole columns.

Three ways, each for what the one before refuses, and all end in the same rows:

1. *exact*: the event holds every feature of the contract, each null or of its type, and no member that is unknown:
   features become columns.
2. *free*: the event fits the format; its features are laid end to end and sorted by key and kind.
3. *judged*: it does not fit, and the sketcher's own decoder says whether it is counted.

Whatever fits the format is an event to the sketcher as well, so raw rows and counted events are the same.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, compress
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streams.events.batch import MessageBatch
from streams.events.event_time import rejected_times, times_ms
from streams.events.event_type import is_nameable
from streams.events.json_decoder import JsonDecoder
from streams.recorder import maps
from streams.recorder.contract_events import STRETCH, ExactEvents
from streams.recorder.event_structs import (
    MAPS,
    NAMES,
    NUMBERS,
    OFF_FORMAT,
    PLAIN,
    TEXTS,
    decoder,
    event_type,
    id_type,
)
from streams.recorder.open_events import FreeEvents
from streams.recorder.rows import RawModel, hashes, positions, raw_models, rows_of, times, unknown
from streams.recorder.salvage import parse_counted
from streams.recorder.values import integer_column, number_column, text_column
from streams.registry.registry import Registry
from warehouse.dictionary_columns import constant_column

CHUNK = 10_000
"""Messages of which rows are made in one go, so that a column costs little beside its values."""
CHUNK_BYTES = 4 << 20
"""… and of no more than so many bytes: maps of unknown members become objects of ten times their size meanwhile."""
FREE_CHUNK = 2_000
"""Events off the contract of which rows are made in one go: their objects are held until then."""

_KNOWN = frozenset((*NAMES, "model"))
_NULL = msgspec.Raw(b"null")
_RAW_MAP = msgspec.json.Decoder(dict[str, msgspec.Raw])


class RawJson:
    """Makes raw rows of the JSON predictions of all models of a registry."""

    def __init__(self, registry: Registry) -> None:
        self._models = raw_models(registry)
        self._judge = JsonDecoder(registry)
        exact = {
            model: event_type(facts, exact=True)
            for model, facts in self._models.items()
            if all(map(is_nameable, facts.known))
        }
        strict = {model: event_type(facts) for model, facts in self._models.items()}
        self._types = {model: event_type(facts, strict=False) for model, facts in self._models.items()}
        self._exact, self._strict, self._lenient = map(decoder, (exact, strict, self._types))
        self._models_of_exact = {kind: self._models[model] for model, kind in exact.items()}
        self._models_of_free = {kind: self._models[m] for kinds in (strict, self._types) for m, kind in kinds.items()}
        self._shares = any(model.share < 1 for model in self._models.values())
        ids = {model: id_type(facts) for model, facts in self._models.items()}
        self._id = decoder(ids)
        self._lines = {kind: self._models[model].line for model, kind in ids.items()}

    def sample(self, values: Sequence[bytes | None]) -> Sequence[int]:
        """Which messages are to be recorded by the ids of their events, ascending, as far as a glance can tell.

        That reads nothing but an event's model and id, so what a contract's share leaves out costs little. Messages
        that are no such events, of another encoding too, are among the wanted: they are to be looked at more closely.
        """
        if not self._shares:
            return range(len(values))
        events: list[Any] = []
        where: list[int] = []
        others: list[int] = []
        for i, value in enumerate(values):
            try:
                events.append(self._id(value))
                where.append(i)
            except OFF_FORMAT:
                others.append(i)
        below = np.array([self._lines[type(event)] for event in events])
        kept = hashes([event.id for event in events]) < below
        return sorted([*others, *compress(where, kept.tolist())])

    def rows(self, batch: MessageBatch) -> list[pa.Table]:
        """Make rows of a batch, in some order; events that the sketcher puts aside give none."""
        found = []
        for chunk in _chunks(batch):
            found += self._chunk(batch.select(chunk))
        return found

    def _chunk(self, batch: MessageBatch) -> list[pa.Table]:
        exact: dict[str, ExactEvents] = {}
        free, refused, found = _Events(), list[int](), list[pa.Table]()
        for start in range(0, len(batch), STRETCH):
            values = batch.values[start : start + STRETCH]
            others: Iterable[int] = range(len(values))
            # Where none of the first stretch is exact, no more are tried.
            if exact or start == 0:
                others = self._add_exact(values, start, exact)
            for i in others:
                self._add_free(values[i], start + i, free, refused)
            if len(free.events) >= FREE_CHUNK:
                found += self._free_rows(free, batch)
                free = _Events()
        if refused:
            self._add_judged(batch, refused, free)
        for events in exact.values():
            found += _rows(events.model, events, batch, {})
        return found + self._free_rows(free, batch)

    def _add_exact(self, values: list[bytes | None], start: int, exact: dict[str, ExactEvents]) -> list[int]:
        """Add the events that hold just what their contract names; return the places of the others."""
        decode, models = self._exact, self._models_of_exact
        events: list[Any] = []
        refused: list[int] = []
        keep, left = events.append, iter(values)
        while True:
            try:
                for value in left:
                    keep(decode(value))
                break
            except OFF_FORMAT:
                refused.append(len(events) + len(refused))
        where: Sequence[int] = range(start, start + len(values))
        if refused:
            where = np.delete(np.array(where), refused).tolist()
        for model, own, own_where in _by_model(events, where, models):
            if model.model not in exact:
                exact[model.model] = ExactEvents(model)
            exact[model.model].add(own, own_where)
        return refused

    def _add_free(self, value: bytes | None, position: int, free: _Events, refused: list[int]) -> None:
        """Add an event that fits the format, else note that it does not."""
        try:
            free.add(self._strict(value), position)
        except OFF_FORMAT:
            try:
                event = self._lenient(value)
                unread = _unknown_members(_RAW_MAP.decode(value))  # type: ignore[arg-type]
                free.add(event, position, unread)
            except OFF_FORMAT:
                refused.append(position)

    def _free_rows(self, free: _Events, batch: MessageBatch) -> list[pa.Table]:
        found = []
        for model, events, where in _by_model(free.events, free.where, self._models_of_free):
            found += _rows(model, FreeEvents(model, events, where), batch, free.unread)
        return found

    def _add_judged(self, batch: MessageBatch, refused: list[int], free: _Events) -> None:
        """Add those of the events off the format that the sketcher counts."""
        part = batch.select(np.array(refused))
        place = dict(zip(zip(part.partition.tolist(), part.offset.tolist(), strict=True), refused, strict=True))
        for counted in self._judge.decode(part).events:
            for i, code in enumerate(counted.version_code.tolist()):
                at = place[int(counted.partition[i]), int(counted.offset[i])]
                raw = parse_counted(batch.values[at])
                held = [raw.get(name) for name in MAPS]
                event = self._types[counted.model](
                    counted.versions[code],
                    raw["id"],
                    int(counted.at_ms[i]),
                    *(each if isinstance(each, dict) else None for each in held),
                    *(raw.get(name) for name in PLAIN),
                )
                unread = _unknown_members(raw) + sum(not isinstance(each, dict | None) for each in held)
                free.add(event, at, unread)


@dataclass(slots=True)
class _Events:
    """Decoded events, and each one's message as a position in the batch."""

    events: list[Any] = field(default_factory=list)
    where: list[int] = field(default_factory=list)
    unread: dict[int, int] = field(default_factory=dict)
    """By message: how many members, beside the features, are recorded nowhere."""

    def add(self, event: Any, position: int, unread: int = 0) -> None:
        """Add an event."""
        self.events.append(event)
        self.where.append(position)
        if unread:
            self.unread[position] = unread


def _by_model(
    events: list[Any], where: Sequence[int], models: Mapping[Any, RawModel]
) -> Iterator[tuple[RawModel, list[Any], Sequence[int]]]:
    """Split events, and each one's place, by their model."""
    present = {models[kind].model: models[kind] for kind in set(map(type, events))}
    for model in present.values():
        if len(present) == 1:
            yield model, events, where
            return
        own = [i for i, event in enumerate(events) if models[type(event)] is model]
        yield model, [events[i] for i in own], [where[i] for i in own]


def _chunks(batch: MessageBatch) -> Iterator[slice]:
    """Cut a batch where `CHUNK` messages or `CHUNK_BYTES` are full."""
    values = [each or b"" for each in batch.values]
    ends = list(accumulate(map(len, values)))
    start, held = 0, 0
    while start < len(ends):
        full = bisect_right(ends, held + CHUNK_BYTES, lo=start)
        end = min(max(full, start + 1), start + CHUNK, len(ends))
        yield slice(start, end)
        start, held = end, ends[end - 1]


def _rows(
    model: RawModel, events: ExactEvents | FreeEvents, batch: MessageBatch, unread: Mapping[int, int]
) -> list[pa.Table]:
    """Rows of those events of a model that are recorded; `unread` says of how many members of a message nothing is."""
    columns, where = events.columns, np.array(events.where)
    at_ms, unreadable = times_ms(columns["at"])
    refused = rejected_times(at_ms, batch.received_ms[where], unreadable)
    ids, versions = columns["id"], columns["version"]
    keep = model.keep(ids)
    if refused is not None:
        keep &= refused == ""
    if "" in ids or "" in versions:
        keep &= np.array([bool(id_ and version) for id_, version in zip(ids, versions, strict=True)])
    if not keep.all():
        events.take(keep)
        columns, at_ms, where = events.columns, at_ms[keep], where[keep]
    if not len(where):
        return []
    made = positions(batch, where) | {"at": times(at_ms)}
    passed_over = [np.array([unread.get(i, 0) for i in where.tolist()])] if unread else []
    passed_over += events.into(made)
    return [_table(model, columns, made, passed_over)]


def _table(
    model: RawModel, columns: dict[str, list[Any]], made: dict[str, pa.Array], unread: list[NDArray[np.int64]]
) -> pa.Table:
    n = len(columns["id"])
    made["model"] = constant_column(model.model, n)
    made["id"] = pa.array(columns["id"], pa.string())
    made |= {name: text_column(columns[name]) for name in ("version", *TEXTS)}
    made["error"] = _errors(columns["error"], made["error"])
    for name in NUMBERS:
        values, other = number_column(columns[name])
        made[name] = pa.array(values)
        unread.append(other)
    made["seq"] = pa.array(integer_column(columns["seq"]))
    for name in ("scores", "metrics"):
        found = maps.members(columns[name])
        maps.spelled_numbers(found, found.kinds == maps.TEXT)
        numbers = found.kinds == maps.NUMBER
        made[name] = found.numbers(numbers)
        unread.append(found.count(~numbers & (found.kinds != maps.NULL)))
    context = maps.members(columns["context"])
    maps.as_texts(context, context.kinds != maps.NULL)
    made["context"] = context.texts(context.kinds == maps.TEXT)
    made["unknown"] = unknown(n, unread)
    return rows_of("predictions", made)


def _errors(values: Sequence[Any], texts: pa.Array) -> pa.Array:
    """What an event holds instead of a text means that it failed when it is true."""
    if set(map(type, values)) <= {str, type(None)}:
        return texts
    return pa.array([text if value else "" for value, text in zip(values, texts.to_pylist(), strict=True)], pa.string())


def _unknown_members(event: dict[str, Any]) -> int:
    """Count the members that the format does not have and that are not null."""
    return sum(name not in _KNOWN and value is not None and value != _NULL for name, value in event.items())
