"""JSON predictions → raw rows: a typed decode in C, then whole columns.

`NativeRows` reads plain events where the library is installed. For the others there are three paths. Each takes the
events that the one before refuses, and all produce the same rows:

1. *Contract*: the event has every feature of the contract, each null or of its type, and no unknown member. Features
   become columns.
2. *Open*: the event fits the format. Its features are concatenated with those of others and separated by key and kind.
3. *Lenient*: the event does not fit the format, and the sketcher's decoder decides whether it is counted.

An event that fits the format is an event to the sketcher as well, so raw rows and counted events are the same.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, compress
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from barograph.events import SHADOW
from numpy.typing import NDArray

from barograph_server.streams.events import native_reader
from barograph_server.streams.events.batch import MessageBatch
from barograph_server.streams.events.event_time import rejected_times, times_ms
from barograph_server.streams.events.event_type import is_nameable, replace_surrogates
from barograph_server.streams.events.json_decoder import JsonDecoder, union_decoder
from barograph_server.streams.recorder.contract_events import (
    CONTRACT_CHUNK,
    FORMAT_ERRORS,
    MAPS,
    NAMES,
    NUMBERS,
    PLAIN,
    TEXTS,
    ContractEvents,
    OpenEvents,
    event_type,
    id_type,
)
from barograph_server.streams.recorder.map_entries import NULL, NUMBER, TEXT, MapEntries
from barograph_server.streams.recorder.native_rows import NativeRows
from barograph_server.streams.recorder.rows import (
    RecordedModel,
    build_table,
    hash_ids,
    position_columns,
    recorded_models,
    shadow_column,
    time_column,
    unknown_column,
)
from barograph_server.streams.recorder.values import integer_column, number_column, text_column
from barograph_server.streams.registry.registry import Registry
from barograph_server.warehouse.tables import constant_column

_DEPTH = 2
"""Levels at which members are parsed one by one: the event's members and the members of its maps."""


def parse_lenient(value: bytes | None) -> dict[str, Any]:
    """Parse an event that the sketcher's decoder accepts, with all texts encodable as UTF-8.

    The sketcher's decoder skips members that it does not need, so these may contain anything: NaN, lone surrogates,
    invalid UTF-8, numbers of thousands of digits.
    """
    data = value or b""
    try:
        return dict(msgspec.json.decode(data))
    except (ValueError, RecursionError):
        pass
    try:
        return _replace_surrogates(json.loads(data.decode()))
    except (ValueError, RecursionError):
        pass
    return {name: _parse_member(member, 1) for name, member in _members(data).items()}


def _members(data: bytes) -> dict[str, msgspec.Raw]:
    return _RAW_MAP.decode(data.decode("utf-8", "replace").encode())


def _parse_member(data: msgspec.Raw, depth: int) -> Any:
    """Parse one member; return its text if it cannot be parsed."""
    try:
        return msgspec.json.decode(data)
    except (ValueError, RecursionError):
        pass
    if depth < _DEPTH:
        try:
            return {name: _parse_member(member, depth + 1) for name, member in _members(bytes(data)).items()}
        except (ValueError, RecursionError):
            pass
    return bytes(data).decode()


def _replace_surrogates(event: dict[str, Any]) -> dict[str, Any]:
    """Replace lone surrogates in the texts of an event and of its maps; deeper values are recorded as text anyway."""
    cleaned: dict[str, Any] = {}
    for name, value in event.items():
        if isinstance(value, dict):
            value = {
                replace_surrogates(key): replace_surrogates(each) if isinstance(each, str) else each
                for key, each in value.items()
            }
        cleaned[replace_surrogates(name)] = replace_surrogates(value) if isinstance(value, str) else value
    return cleaned


CHUNK = 10_000
"""Messages whose rows are built together, so that a column costs little compared with its values."""
CHUNK_BYTES = 4 << 20
"""Bytes of a chunk: maps of unknown members become objects of ten times their size."""
OPEN_CHUNK = 2_000
"""Events of the open path whose rows are built together. Their objects stay in memory until then."""

_KNOWN = frozenset((*NAMES, "model"))
_JSON_NULL = msgspec.Raw(b"null")
_RAW_MAP = msgspec.json.Decoder(dict[str, msgspec.Raw])


class JsonRows:
    """Builds raw rows from the JSON predictions of all models of a registry."""

    def __init__(self, registry: Registry, *, native: bool = True) -> None:
        """Prepare the types of all models.

        Args:
            native: whether to use `barograph_native` if it is installed.
        """
        self._models = recorded_models(registry)
        self._decoder = JsonDecoder(registry, native=False)
        self._retention_ms = registry.retention_ms
        exact = {
            model: event_type(recorded, exact=True)
            for model, recorded in self._models.items()
            if all(map(is_nameable, recorded.known))
        }
        strict = {model: event_type(recorded) for model, recorded in self._models.items()}
        self._types = {model: event_type(recorded, strict=False) for model, recorded in self._models.items()}
        self._decode_exact, self._decode_strict, self._decode = map(_union_decode, (exact, strict, self._types))
        self._contract_models = {struct_type: self._models[model] for model, struct_type in exact.items()}
        self._open_models = {t: self._models[m] for types in (strict, self._types) for m, t in types.items()}
        self._is_sampled = any(model.share < 1 for model in self._models.values())
        is_native = native and native_reader.VERSION is not None
        self._native = NativeRows(self._models, registry.retention_ms) if is_native else None
        self.read_by: Counter[str] = Counter()
        """Messages by what read them, and `panics`, as in `JsonDecoder`."""
        ids = {model: id_type(recorded) for model, recorded in self._models.items()}
        self._decode_id = _union_decode(ids)
        self.omitted: list[int] = []
        """Messages of the last batch that do not fit into memory, as indices into the batch. They have no rows."""
        self._hash_limits = {struct_type: self._models[model].hash_limit for model, struct_type in ids.items()}

    def sample(self, values: Sequence[bytes | None]) -> Sequence[int]:
        """Return the indices, ascending, of the messages that the sampling by id does not drop.

        It reads only an event's model and id, so that dropped events cost little. Messages without these, of another
        encoding too, are kept: their decoder decides.
        """
        if not self._is_sampled:
            return range(len(values))
        if self._native is not None:
            return self._native.sample(values)
        events: list[Any] = []
        messages: list[int] = []
        others: list[int] = []
        for i, value in enumerate(values):
            try:
                events.append(self._decode_id(value))
                messages.append(i)
            except FORMAT_ERRORS:
                others.append(i)
        limits = np.array([self._hash_limits[type(event)] for event in events])
        mask = hash_ids([event.id for event in events]) < limits
        return sorted([*others, *compress(messages, mask.tolist())])

    def rows(self, batch: MessageBatch) -> list[pa.Table]:
        """Build the rows of a batch, in no particular order. Events that the sketcher rejects give none."""
        self.omitted = []
        return self._rows_within_memory(batch, 0, len(batch))

    def _rows_within_memory(self, batch: MessageBatch, start: int, end: int) -> list[pa.Table]:
        """Build the rows of messages. If memory is short, they are bisected, so that one message is omitted."""
        try:
            return self._read(batch if end - start == len(batch) else batch.select(slice(start, end)))
        except MemoryError:
            if end == start + 1:
                self.omitted.append(start)
                return []
        middle = (start + end) // 2
        return self._rows_within_memory(batch, start, middle) + self._rows_within_memory(batch, middle, end)

    def _read(self, batch: MessageBatch) -> list[pa.Table]:
        tables: list[pa.Table] = []
        if self._native is not None:
            n, panics = len(batch), self._native.panics
            tables, batch = self._native.read(batch)
            self.read_by.update(native=n - len(batch), panics=self._native.panics - panics)
        self.read_by["python"] += len(batch)
        return tables + [table for chunk in _chunks(batch) for table in self._chunk_rows(batch.select(chunk))]

    def _chunk_rows(self, batch: MessageBatch) -> list[pa.Table]:
        tables: list[pa.Table] = []
        contract_events: dict[str, ContractEvents] = {}
        open_events, refused = _DecodedEvents(), list[int]()
        for start in range(0, len(batch), CONTRACT_CHUNK):
            values = batch.values[start : start + CONTRACT_CHUNK]
            others: Iterable[int] = range(len(values))
            # If the first values have no contract event, the path is not tried again.
            if contract_events or start == 0:
                others = self._add_contract(values, start, contract_events)
            for i in others:
                self._add_open(values[i], start + i, open_events, refused)
            if len(open_events.events) >= OPEN_CHUNK:
                tables += self._open_rows(open_events, batch)
                open_events = _DecodedEvents()
        if refused:
            self._add_lenient(batch, refused, open_events)
        for events in contract_events.values():
            tables += _rows(events.model, events, batch, {}, self._retention_ms)
        return tables + self._open_rows(open_events, batch)

    def _add_contract(
        self, values: Sequence[bytes | None], start: int, contract_events: dict[str, ContractEvents]
    ) -> list[int]:
        """Add the contract events among the values; return the indices of the others."""
        decode = self._decode_exact
        events: list[Any] = []
        refused: list[int] = []
        append, remaining = events.append, iter(values)
        while True:
            try:
                for value in remaining:
                    append(decode(value))
                break
            except FORMAT_ERRORS:
                refused.append(len(events) + len(refused))
        messages: Sequence[int] = range(start, start + len(values))
        if refused:
            messages = np.delete(np.array(messages), refused).tolist()
        for model, own, own_messages in _by_model(events, messages, self._contract_models):
            if model.model not in contract_events:
                contract_events[model.model] = ContractEvents(model)
            contract_events[model.model].add(own, own_messages)
        return refused

    def _add_open(self, value: bytes | None, message: int, open_events: _DecodedEvents, refused: list[int]) -> None:
        """Add an event that fits the format, else add its message to `refused`."""
        try:
            open_events.add(self._decode_strict(value), message)
        except FORMAT_ERRORS:
            try:
                # In an unknown member the decoder would pass over invalid UTF-8.
                text = str(value, "utf-8")  # type: ignore[arg-type]
                open_events.add(self._decode(text), message, _count_unknown(_RAW_MAP.decode(text)))
            except FORMAT_ERRORS:
                refused.append(message)

    def _open_rows(self, open_events: _DecodedEvents, batch: MessageBatch) -> list[pa.Table]:
        tables = []
        for model, events, messages in _by_model(open_events.events, open_events.messages, self._open_models):
            tables += _rows(model, OpenEvents(model, events, messages), batch, open_events.unknown, self._retention_ms)
        return tables

    def _add_lenient(self, batch: MessageBatch, refused: list[int], open_events: _DecodedEvents) -> None:
        """Add the events off the format that the sketcher counts."""
        messages = batch.select(np.array(refused))
        index = dict(zip(zip(messages.partition.tolist(), messages.offset.tolist(), strict=True), refused, strict=True))
        for counted in self._decoder.decode(messages).events:
            for i, code in enumerate(counted.version_code.tolist()):
                message = index[int(counted.partition[i]), int(counted.offset[i])]
                raw = parse_lenient(batch.values[message])
                maps = [raw.get(name) for name in MAPS]
                event = self._types[counted.model](
                    counted.versions[code],
                    raw["id"],
                    int(counted.at_ms[i]),
                    *(each if isinstance(each, dict) else None for each in maps),
                    *(raw.get(name) for name in PLAIN),
                )
                unknown = _count_unknown(raw) + sum(not isinstance(each, dict | None) for each in maps)
                open_events.add(event, message, unknown)


def _union_decode(types: Mapping[str, Any]) -> Callable[[Any], Any]:
    return union_decoder(types.values()).decode


@dataclass(slots=True)
class _DecodedEvents:
    """Decoded events and each one's message, as an index into the batch."""

    events: list[Any] = field(default_factory=list)
    messages: list[int] = field(default_factory=list)
    unknown: dict[int, int] = field(default_factory=dict)
    """By message: the number of members, except features, that are not recorded."""

    def add(self, event: Any, message: int, unknown: int = 0) -> None:
        self.events.append(event)
        self.messages.append(message)
        if unknown:
            self.unknown[message] = unknown


def _by_model(
    events: list[Any], messages: Sequence[int], models: Mapping[Any, RecordedModel]
) -> Iterator[tuple[RecordedModel, list[Any], Sequence[int]]]:
    present = {models[struct_type].model: models[struct_type] for struct_type in set(map(type, events))}
    for model in present.values():
        if len(present) == 1:
            yield model, events, messages
            return
        own = [i for i, event in enumerate(events) if models[type(event)] is model]
        yield model, [events[i] for i in own], [messages[i] for i in own]


def _chunks(batch: MessageBatch) -> Iterator[slice]:
    """Split a batch into chunks of at most `CHUNK` messages and `CHUNK_BYTES`, or one message."""
    ends = list(accumulate(len(value or b"") for value in batch.values))
    start, start_bytes = 0, 0
    while start < len(ends):
        full = bisect_right(ends, start_bytes + CHUNK_BYTES, lo=start)
        end = min(max(full, start + 1), start + CHUNK, len(ends))
        yield slice(start, end)
        start, start_bytes = end, ends[end - 1]


def _rows(
    model: RecordedModel,
    events: ContractEvents | OpenEvents,
    batch: MessageBatch,
    unknown: Mapping[int, int],
    retention_ms: int,
) -> list[pa.Table]:
    """Build the rows of a model's recorded events.

    Args:
        unknown: by message, the number of members that are not recorded.
        retention_ms: age at receipt from which events are rejected.
    """
    columns, messages = events.columns, np.array(events.messages)
    at_ms, unreadable = times_ms(columns["at"])
    rejected = rejected_times(at_ms, batch.received_ms[messages], unreadable, retention_ms)
    ids, versions = columns["id"], columns["version"]
    mask = model.sample(ids)
    if rejected is not None:
        mask &= rejected == ""
    if "" in ids or "" in versions:
        mask &= np.array([bool(id_ and version) for id_, version in zip(ids, versions, strict=True)])
    if not mask.all():
        events.filter(mask)
        columns, at_ms, messages = events.columns, at_ms[mask], messages[mask]
    if not len(messages):
        return []
    features, unknown_features = events.feature_arrays()
    arrays = position_columns(batch, messages) | {"at": time_column(at_ms)} | features
    unknown_counts = [np.array([unknown.get(i, 0) for i in messages.tolist()])] if unknown else []
    return [_build_table(model, columns, arrays, unknown_counts + unknown_features)]


def _build_table(
    model: RecordedModel,
    columns: dict[str, list[Any]],
    arrays: dict[str, pa.Array],
    unknown_counts: list[NDArray[np.int64]],
) -> pa.Table:
    n = len(columns["id"])
    arrays["model"] = constant_column(model.model, n)
    arrays["id"] = pa.array(columns["id"], pa.string())
    arrays |= {name: text_column(columns[name]) for name in ("version", *TEXTS)}
    arrays["error"] = _errors(columns["error"], arrays["error"])
    for name in NUMBERS:
        values, invalid = number_column(columns[name])
        arrays[name] = pa.array(values)
        unknown_counts.append(invalid)
    arrays["seq"] = pa.array(integer_column(columns["seq"]))
    for name in ("scores", "metrics"):
        entries = MapEntries.of(columns[name])
        entries.parse_not_finite(entries.kinds == TEXT)
        numbers = entries.kinds == NUMBER
        arrays[name] = entries.numbers(numbers)
        unknown_counts.append(entries.count(~numbers & (entries.kinds != NULL)))
    context = MapEntries.of(columns["context"])
    context.replace_plain(model.hashed_names("context"))
    context.convert_to_text(context.kinds != NULL)
    arrays["context"] = context.texts(context.kinds == TEXT)
    arrays["unknown"] = unknown_column(n, unknown_counts)
    roles = columns["role"]
    arrays["shadow"] = shadow_column(np.array([role == SHADOW for role in roles]) if SHADOW in roles else None, n)
    return build_table("predictions", arrays)


def _errors(values: Sequence[Any], texts: pa.Array) -> pa.Array:
    """Blank the errors whose value is not text and false: the event did not fail."""
    if set(map(type, values)) <= {str, type(None)}:
        return texts
    return pa.array([text if value else "" for value, text in zip(values, texts.to_pylist(), strict=True)], pa.string())


def _count_unknown(event: dict[str, Any]) -> int:
    """Count the members that are not in the format and not null."""
    return sum(name not in _KNOWN and value is not None and value != _JSON_NULL for name, value in event.items())
