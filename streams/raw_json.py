"""JSON predictions → raw rows: a typed decode in C, then whole columns.

Three ways, each for what the one before refuses, and all end in the same rows:

1. *exact*: the event holds every feature of the contract, each null or of its type, and no member that is unknown:
   features become columns.
2. *free*: the event fits the format; its features are laid end to end and sorted by key and kind.
3. *judged*: it does not fit, and the sketcher's own decoder says whether it is counted.

Whatever fits the format is an event to the sketcher as well, so raw rows and counted events are the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import attrgetter, or_
from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streams import raw_maps as maps
from streams.batch import MessageBatch
from streams.decode_json import JsonDecoder
from streams.event_types import is_nameable
from streams.raw_columns import FeatureColumns
from streams.raw_parse import parse_counted
from streams.raw_rows import RawModel, positions, raw_models, rows_of, times, unknown
from streams.raw_values import integer_column, number_column, text_column
from streams.registry import Registry
from streams.times import refuse_times, times_ms

CHUNK = 2_000
"""Messages decoded in one go: what they hold stays in the processor's cache."""
CHUNK_BYTES = 8 << 20
"""… and of no more than so many bytes: maps of unknown members become objects of ten times their size meanwhile."""
TRIES = 50
"""Events of a chunk that are tried the exact way in vain before the rest is not."""

_MAPS = ("features", "context", "scores", "metrics")
_TEXTS = ("arm", "class", "status", "error", "producer")
_NUMBERS = ("score", "latency_ms")
_PLAIN = (*_TEXTS, *_NUMBERS, "seq")
_NAMES = ("version", "id", "at", *_MAPS, *_PLAIN)
_KNOWN = frozenset((*_NAMES, "model"))
_RENAME = {f"{name}_": name for name in _PLAIN}
_ATTRIBUTES = {name: f"{name}_" if name in _PLAIN else name for name in _NAMES}
_NULL = msgspec.Raw(b"null")
_RAW_MAP = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OFF_FORMAT = (ValueError, RecursionError, TypeError)
"""What msgspec raises; its own errors are ValueErrors, as is that of text which is no UTF-8."""


def _event_type(model: RawModel, *, exact: bool = False, strict: bool = True) -> Any:
    """The struct of one model's events; a strict one refuses unknown members."""
    some_map = dict[str, Any] | None
    members: list[Any] = [("version", str), ("id", str), ("at", int | str)]
    members.append(("features", _features_type(model)) if exact else ("features", some_map, None))
    members += [(name, some_map, None) for name in _MAPS[1:]]
    members += [(f"{name}_", Any, None) for name in _PLAIN]
    return msgspec.defstruct(
        "event_", members, rename=_RENAME, gc=False, tag_field="model", tag=model.model, forbid_unknown_fields=strict
    )


def _features_type(model: RawModel) -> Any:
    """The struct of features: all that are watched, each of its type, and no unknown one."""
    kinds: list[tuple[Any, ...]] = [(name, float | bool | None) for name in model.numbers]
    kinds += [(name, str | None) for name in model.texts]
    kinds += [(name, Any) for name in model.others]
    kinds += [(name, Any, msgspec.UNSET) for name in model.ignored]
    members = [(f"m{i}", *kind) for i, (_, *kind) in enumerate(kinds)]
    names = {f"m{i}": name for i, (name, *_) in enumerate(kinds)}
    return msgspec.defstruct("features_", members, rename=names, gc=False, forbid_unknown_fields=True)


class RawJson:
    """Makes raw rows of the JSON predictions of all models of a registry."""

    def __init__(self, registry: Registry) -> None:
        self._models = raw_models(registry)
        self._judge = JsonDecoder(registry)
        exact = {
            model: _event_type(facts, exact=True)
            for model, facts in self._models.items()
            if all(map(is_nameable, facts.known))
        }
        strict = {model: _event_type(facts) for model, facts in self._models.items()}
        self._types = {model: _event_type(facts, strict=False) for model, facts in self._models.items()}
        self._exact, self._strict, self._lenient = map(_decoder, (exact, strict, self._types))
        self._models_of_exact = {kind: self._models[model] for model, kind in exact.items()}
        self._models_of_free = {kind: self._models[m] for kinds in (strict, self._types) for m, kind in kinds.items()}

    def rows(self, batch: MessageBatch) -> list[pa.Table]:
        """Make rows of a batch, in some order; events that the sketcher puts aside give none."""
        found = []
        for chunk in _chunks(batch):
            found += self._chunk(_part(batch, chunk))
        return found

    def _chunk(self, batch: MessageBatch) -> list[pa.Table]:
        exact, free = _Events(), _Events()
        refused = []
        for i, value in enumerate(batch.values):
            if exact.events or i < TRIES:
                try:
                    exact.events.append(self._exact(value))
                    exact.where.append(i)
                    continue
                except _OFF_FORMAT:
                    pass
            try:
                free.add(self._strict(value), i)
            except _OFF_FORMAT:
                try:
                    event = self._lenient(value)
                    unread = _unknown_members(_RAW_MAP.decode(value))  # type: ignore[arg-type]
                    free.add(event, i, unread)
                except _OFF_FORMAT:
                    refused.append(i)
        if refused:
            self._add_judged(batch, refused, free)
        found = []
        for events, models in ((exact, self._models_of_exact), (free, self._models_of_free)):
            for model, own in events.by_model(models):
                found += _rows(model, own, batch, exact=events is exact)
        return found

    def _add_judged(self, batch: MessageBatch, refused: list[int], free: _Events) -> None:
        """Add those of the events off the format that the sketcher counts."""
        part = _part(batch, refused)
        place = dict(zip(zip(part.partition.tolist(), part.offset.tolist(), strict=True), refused, strict=True))
        for counted in self._judge.decode(part).events:
            for i, code in enumerate(counted.version_code.tolist()):
                at = place[int(counted.partition[i]), int(counted.offset[i])]
                raw = parse_counted(batch.values[at])
                held = [raw.get(name) for name in _MAPS]
                event = self._types[counted.model](
                    counted.versions[code],
                    raw["id"],
                    int(counted.at_ms[i]),
                    *(each if isinstance(each, dict) else None for each in held),
                    *(raw.get(name) for name in _PLAIN),
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

    def by_model(self, models: dict[Any, RawModel]) -> Iterable[tuple[RawModel, _Events]]:
        """Split the events by their model."""
        present = {models[kind].model: models[kind] for kind in set(map(type, self.events))}
        for model in present.values():
            own = self
            if len(present) > 1:
                chosen = [i for i, event in enumerate(self.events) if models[type(event)] is model]
                own = _Events([self.events[i] for i in chosen], [self.where[i] for i in chosen], self.unread)
            yield model, own


def _chunks(batch: MessageBatch) -> Iterator[slice]:
    """Cut a batch where `CHUNK` messages or `CHUNK_BYTES` are full."""
    start, held = 0, 0
    for i, value in enumerate(batch.values):
        size = len(value or b"")
        if i > start and (i - start >= CHUNK or held + size > CHUNK_BYTES):
            yield slice(start, i)
            start, held = i, 0
        held += size
    if start < len(batch):
        yield slice(start, len(batch))


def _part(batch: MessageBatch, chosen: slice | list[int]) -> MessageBatch:
    values = batch.values[chosen] if isinstance(chosen, slice) else [batch.values[i] for i in chosen]
    return MessageBatch(values, batch.partition[chosen], batch.offset[chosen], batch.received_ms[chosen])


def _rows(model: RawModel, own: _Events, batch: MessageBatch, *, exact: bool) -> list[pa.Table]:
    events, where = own.events, np.array(own.where)
    at_ms, unreadable = times_ms([event.at for event in events])
    refused = refuse_times(at_ms, batch.received_ms[where], unreadable)
    ids, versions = [event.id for event in events], [event.version for event in events]
    keep = model.keep(ids)
    if refused is not None:
        keep &= refused == ""
    if "" in ids or "" in versions:
        keep &= np.array([bool(event.id and event.version) for event in events])
    if not keep.all():
        events = [event for event, kept in zip(events, keep.tolist(), strict=True) if kept]
        at_ms, where = at_ms[keep], where[keep]
    if not events:
        return []
    columns = {name: list(map(attrgetter(attribute), events)) for name, attribute in _ATTRIBUTES.items()}
    made = positions(batch, where) | {"at": times(at_ms)}
    unread = [np.array([own.unread.get(i, 0) for i in where.tolist()])] if own.unread else []
    if exact:
        _exact_features(model, columns["features"], made)
    else:
        unread.append(_free_features(model, columns["features"], made))
    return [_table(model, columns, made, unread)]


def _table(
    model: RawModel, columns: dict[str, list[Any]], made: dict[str, pa.Array], unread: list[NDArray[np.int64]]
) -> pa.Table:
    n = len(columns["id"])
    made["model"] = pa.repeat(model.model, n)
    made |= {name: pa.array(columns[name], pa.string()) for name in ("version", "id")}
    made |= {name: text_column(columns[name]) for name in _TEXTS}
    made["error"] = _errors(columns["error"], made["error"])
    for name in _NUMBERS:
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


def _exact_features(model: RawModel, features: Sequence[Any], made: dict[str, pa.Array]) -> None:
    """Sort features into `numbers`, `strings` and `nulls`, column by column."""
    n = len(features)
    found = FeatureColumns(n)
    columns = (map(attrgetter(f"m{i}"), features) for i in itertools.count())
    for name in model.numbers:
        found.add_numbers(name, np.fromiter(next(columns), dtype=np.float64, count=n))
    for name in model.texts:
        found.add_texts(name, pa.array(list(next(columns)), pa.string()))
    for name in (*model.others, *model.ignored):
        found.add(name, list(next(columns)), numeric=name in model.numeric)
    found.into(made)


def _free_features(
    model: RawModel, features: Sequence[dict[str, Any] | None], made: dict[str, pa.Array]
) -> NDArray[np.int64]:
    """Sort features into `numbers`, `strings` and `nulls`; count those that the contract does not know."""
    found = maps.members(features)
    names = found.names.to_pylist()
    numeric = np.array([name in model.numeric for name in names], dtype=bool)
    maps.spelled_numbers(found, numeric[found.code])
    if (found.kinds == maps.OTHER).any():
        maps.as_texts(found, found.kinds == maps.OTHER)
    made["numbers"] = found.numbers(found.kinds <= maps.FLAG)
    made["strings"] = found.texts(found.kinds == maps.TEXT)
    made["nulls"] = found.keys(found.kinds == maps.NULL)
    foreign = np.array([name not in model.known for name in names], dtype=bool)
    return found.count(foreign[found.code] & (found.kinds != maps.NULL))


def _errors(values: Sequence[Any], texts: pa.Array) -> pa.Array:
    """What an event holds instead of a text means that it failed when it is true."""
    if set(map(type, values)) <= {str, type(None)}:
        return texts
    return pa.array([text if value else "" for value, text in zip(values, texts.to_pylist(), strict=True)], pa.string())


class _Nobody(msgspec.Struct, tag_field="model", tag="\x00nobody"):
    """Makes a union of even a single model's type: outside a union msgspec does not ask for the tag."""

    never: Literal["\x00never"]


def _decoder(types: dict[str, Any]) -> Any:
    return msgspec.json.Decoder(reduce(or_, types.values(), _Nobody)).decode


def _unknown_members(event: dict[str, Any]) -> int:
    """Count the members that the format does not have and that are not null."""
    return sum(name not in _KNOWN and value is not None and value != _NULL for name, value in event.items())
