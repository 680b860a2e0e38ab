"""JSON predictions → raw rows: a typed decode in C, then whole columns.

An event that fits the format exactly is taken as it is: whatever fits is an event to the sketcher too. About every
other event the sketcher's own decoder decides, so that raw rows and counted events are the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import reduce
from operator import or_
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streams import raw_maps as maps
from streams.batch import MessageBatch
from streams.decode_json import JsonDecoder, refuse_times
from streams.raw_rows import RawModel, positions, raw_models, rows_of, times, unknown
from streams.raw_values import clean, integer_column, number_column, text_column
from streams.registry import Registry
from streams.times import times_ms

_MAPS = ("context", "features", "scores", "metrics")
_TEXTS = ("arm", "class", "status", "error", "producer")
_NUMBERS = ("score", "latency_ms")
_OPTIONAL = (*_MAPS, *_TEXTS, *_NUMBERS, "seq")
_REQUIRED = ("version", "id", "at")
_NAMES = (*_REQUIRED, *_OPTIONAL)
_N_MEMBERS = len(_NAMES) + 1  # and the model
_RAW_MAP = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _event_type(model: str, *, strict: bool) -> Any:
    """The struct of one model's events; a strict one refuses unknown members."""
    members: list[Any] = [("version", str), ("id", str), ("at", int | str)]
    members += [(name, dict[str, Any] | None, None) for name in _MAPS]
    members += [(f"{name}_", Any, None) for name in _OPTIONAL if name not in _MAPS]
    rename = {f"{name}_": name for name in _OPTIONAL if name not in _MAPS}
    return msgspec.defstruct(
        "event_", members, rename=rename, gc=False, tag_field="model", tag=model, forbid_unknown_fields=strict
    )


class RawJson:
    """Makes raw rows of the JSON predictions of all models of a registry."""

    def __init__(self, registry: Registry) -> None:
        self._models = raw_models(registry)
        self._judge = JsonDecoder(registry)
        self._types = {model: _event_type(model, strict=False) for model in self._models}
        strict = {model: _event_type(model, strict=True) for model in self._models}
        self._model_of = {kind: model for kinds in (self._types, strict) for model, kind in kinds.items()}
        self._strict, self._lenient = _decoder(strict.values()), _decoder(self._types.values())

    def rows(self, batch: MessageBatch) -> list[pa.Table]:
        """Make rows of a batch, one table per model; events that the sketcher puts aside give none."""
        events: list[Any] = []
        position: list[int] = []
        extra: dict[int, int] = {}
        refused: list[int] = []
        for i, value in enumerate(batch.values):
            try:
                event = self._strict(value)
            except (msgspec.DecodeError, RecursionError, TypeError):
                try:
                    event = self._lenient(value)
                    extra[i] = _unknown_members(_RAW_MAP.decode(value))  # type: ignore[arg-type]
                except (msgspec.DecodeError, RecursionError, TypeError):
                    refused.append(i)
                    continue
            if not event.id or not event.version:
                continue
            events.append(event)
            position.append(i)
        if refused:
            self._add_judged(batch, refused, events, position, extra)
        found = []
        where = np.array(position, dtype=np.int64)
        for kinds, model in self._present(events):
            own = events if kinds is None else [event for event in events if type(event) in kinds]
            places = where if kinds is None else where[[type(event) in kinds for event in events]]
            found += self._rows(self._models[model], own, places, extra, batch)
        return found

    def _present(self, events: list[Any]) -> Iterable[tuple[set[Any] | None, str]]:
        """The models that events are of, with their types; None where all are of one model."""
        kinds = set(map(type, events))
        models = {self._model_of[kind] for kind in kinds}
        if len(models) == 1:
            yield None, models.pop()
            return
        for model in sorted(models):
            yield {kind for kind in kinds if self._model_of[kind] == model}, model

    def _add_judged(
        self, batch: MessageBatch, refused: list[int], events: list[Any], position: list[int], extra: dict[int, int]
    ) -> None:
        """Add those of the events off the format that the sketcher counts."""
        part = batch.take(np.array(refused))
        place = {key: i for key, i in zip(zip(part.partition.tolist(), part.offset.tolist(), strict=True), refused, strict=True)}
        for counted in self._judge.decode(part).events:
            kind = self._types[counted.model]
            for i, code in enumerate(counted.version_code.tolist()):
                at = place[int(counted.partition[i]), int(counted.offset[i])]
                raw = _parse(batch.values[at])
                held = {name: raw.get(name) for name in _MAPS}
                extra[at] = _unknown_members(raw) + sum(
                    not isinstance(value, dict) for value in held.values() if value is not None
                )
                events.append(
                    kind(
                        counted.versions[code],
                        clean(raw["id"]),
                        int(counted.at_ms[i]),
                        *(value if isinstance(value, dict) else None for value in held.values()),
                        *(raw.get(name) for name in _OPTIONAL if name not in _MAPS),
                    )
                )
                position.append(at)

    def _rows(
        self, model: RawModel, events: list[Any], where: NDArray[np.int64], extra: dict[int, int], batch: MessageBatch
    ) -> list[pa.Table]:
        columns = dict(zip(_NAMES, zip(*map(msgspec.structs.astuple, events), strict=True), strict=True))
        at_ms, unreadable = times_ms(columns["at"])
        refused = refuse_times(at_ms, batch.received_ms[where], unreadable)
        keep = model.keep(columns["id"])
        if refused is not None:
            keep = refused == "" if keep is None else keep & (refused == "")
        if keep is not None and not keep.all():
            if not keep.any():
                return []
            chosen = np.flatnonzero(keep).tolist()
            columns = {name: [values[i] for i in chosen] for name, values in columns.items()}
            at_ms, where = at_ms[keep], where[keep]
        added = np.array([extra.get(i, 0) for i in where.tolist()]) if extra else None
        return [_table(model, columns, at_ms, added, positions(batch, where))]


def _table(
    model: RawModel,
    columns: dict[str, Sequence[Any]],
    at_ms: NDArray[np.int64],
    added: NDArray[np.int64] | None,
    made: dict[str, pa.Array],
) -> pa.Table:
    n = len(at_ms)
    made |= {"model": pa.repeat(model.model, n), "at": times(at_ms)}
    made |= {name: pa.array(columns[name], pa.string()) for name in ("version", "id")}
    made |= {name: text_column(columns[name]) for name in _TEXTS}
    made["error"] = _errors(columns["error"], made["error"])
    unread: list[NDArray[np.int64] | None] = [added]
    for name in _NUMBERS:
        values, other = number_column(columns[name])
        made[name] = pa.array(values)
        unread.append(other)
    made["seq"] = pa.array(integer_column(columns["seq"]))
    unread.append(_features(model, columns["features"], made))
    for name in ("scores", "metrics"):
        found = maps.members(columns[name])
        maps.spelled_numbers(found, found.kinds == maps.TEXT)
        numbers = found.kinds == maps.NUMBER
        made[name] = found.numbers(numbers)
        unread.append(found.count(~numbers & (found.kinds != maps.NULL)))
    context = maps.members(columns["context"])
    maps.as_texts(context)
    made["context"] = context.texts(context.kinds == maps.TEXT)
    made["unknown"] = unknown(n, *unread)
    return rows_of("predictions", made)


def _features(model: RawModel, features: Sequence[dict[str, Any] | None], made: dict[str, pa.Array]) -> Any:
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
    foreign = np.array([name not in model.features for name in names], dtype=bool)
    return found.count(foreign[found.code]) if foreign.any() else None


def _errors(values: Sequence[Any], texts: pa.Array) -> pa.Array:
    """What an event holds instead of a text means that it failed when it is true."""
    if set(map(type, values)) <= {str, type(None)}:
        return texts
    return pa.array([text if value else "" for value, text in zip(values, texts.to_pylist(), strict=True)], pa.string())


def _decoder(types: Iterable[Any]) -> Any:
    kinds = list(types)
    return msgspec.json.Decoder(reduce(or_, kinds)).decode if kinds else _refuse


def _refuse(_value: bytes | None) -> Any:
    raise msgspec.DecodeError("no model is known")


def _unknown_members(event: dict[str, Any]) -> int:
    return sum(name not in _KNOWN for name in event)


def _parse(value: bytes | None) -> Any:
    """Parse an event that the sketcher's decoder took."""
    assert value is not None
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError:
        return _cleaned(json.loads(value.decode()))


def _cleaned(value: Any) -> Any:
    """Replace lone surrogates in every text of a JSON value."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(key): _cleaned(member) for key, member in value.items()}
    return [_cleaned(member) for member in value] if isinstance(value, list) else value


_KNOWN = frozenset((*_NAMES, "model"))
