"""JSON messages → columns: a typed decode in C where a chunk is well formed, one by one where it is not.

Each model's events have a struct type of their own, made from its contract; the union of these, told apart by the
member `model`, is what a chunk is decoded into. Whatever does not fit (a number as a string, NaN, no object at all)
makes its chunk take the tolerant way, which puts the event aside with a reason or marks the field invalid. Both ways
end in the same structs, so their results are the same.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from itertools import chain
from operator import attrgetter, methodcaller, or_
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
from barograph.contract_check import CONFIDENCE
from barograph.events import MAPS, SCORES, Reason
from numpy.typing import NDArray

from streams.batch import Decoded, MessageBatch
from streams.columns import INVALID_TEXT, EventColumns, arrivals, encode_names, encode_versions
from streams.registry import Registry
from streams.times import FUTURE_MS, RETENTION_MS, parse_time_ms, times_ms
from streams.wanted import SCORES_OF, Wanted, wanted

CHUNK = 2_000
"""Messages decoded in one go: one bad message costs the tolerant way for this many."""
INVALID = math.inf
UNNAMED_ERROR = "error"
"""The kind of an error that is no text."""
_REFUSALS = (msgspec.DecodeError, ValueError, RecursionError)
"""What msgspec raises for bytes that it cannot decode; bad UTF-8 is a plain UnicodeDecodeError."""
_TOP = ("score", "class", "latency_ms", "arm")
_Seq = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_UNNAMEABLE = re.compile(r'["\\\x00-\x1f]')
"""What msgspec allows in no member's name, though JSON does, escaped."""


def is_nameable(name: str) -> bool:
    """Whether a struct type can have a member of this name in JSON."""
    return _UNNAMEABLE.search(name) is None


class _Nobody(msgspec.Struct, tag_field="model", tag="\x00nobody"):
    """Makes a union of even a single model's type: outside a union msgspec does not ask for the tag."""

    never: Literal["\x00never"]


class _Rejected(Exception):
    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail
        self.model = ""
        """Where it is known and has a contract."""
        self.producer: str | None = None
        self.seq = -1


class _ModelType:
    """The struct type of one model's events, and how its columns are read out of them."""

    def __init__(self, want: Wanted) -> None:
        self.want = want
        self.is_typed = True
        """Whether events can be decoded into the type; if not they are made by `normalise`, each by itself."""
        kinds: dict[str, Any] = dict.fromkeys(want.numbers, float | None)
        kinds |= dict.fromkeys(want.flags, bool | int | None)
        kinds |= dict.fromkeys(want.times, str | int | float | None)
        kinds |= dict.fromkeys(want.texts, str | None)
        self.groups: dict[str, list[str]] = {group: [] for group in MAPS}
        self.group_types: dict[str, Any] = {}
        members: list[Any] = [("version", str), ("id", str), ("at", int | str)]
        members += [("error", str | None, None), ("producer", str | None, None), ("seq", _Seq | None, None)]
        rename = {}
        self.paths: dict[str, tuple[str, str]] = {}
        for source in kinds:
            group, _, name = source.partition(".")
            if name:
                self.groups[group].append(source)
        self.all_scores = CONFIDENCE in kinds
        if self.all_scores:
            # The largest of all of them is asked for, whatever classes there are: a map instead of members.
            members.append((SCORES, dict[str, float | None] | None, None))
        for group, sources in self.groups.items():
            if not sources or (group == SCORES and self.all_scores):
                continue
            names = {f"m{i}": source.partition(".")[2] for i, source in enumerate(sources)}
            if not all(map(is_nameable, names.values())):
                names, self.is_typed = {}, False
            fields = [(f"m{i}", kinds[source], None) for i, source in enumerate(sources)]
            member_type: Any = msgspec.defstruct(f"{group}_", fields, rename=names, gc=False)
            self.group_types[group] = member_type
            members.append((group, member_type | None, None))
            for i, source in enumerate(sources):
                self.paths[source] = (group, f"m{i}")
        for source in _TOP:
            if source in kinds:
                kind = str | bool | int | None if source == "class" else kinds[source]
                members.append((f"top_{source}", kind, None))
                rename[f"top_{source}"] = source
                self.paths[source] = ("", f"top_{source}")
        self.type: Any = msgspec.defstruct(
            "event_", members, rename=rename, gc=False, tag_field="model", tag=want.model
        )
        self.empty = {group: kind() for group, kind in self.group_types.items()}

    def columns(self, events: Sequence[Any], batch: MessageBatch, position: NDArray[np.int64]) -> Decoded:
        at_ms, unreadable = times_ms([event.at for event in events])
        versions, code = encode_versions([event.version for event in events])
        groups: dict[str, Sequence[Any]] = {"": events}
        for group, empty in self.empty.items():
            groups[group] = [member or empty for member in map(attrgetter(group), events)]
        scores: list[dict[str, float | None]] = []
        if self.all_scores:
            scores = [member or {} for member in map(attrgetter(SCORES), events)]

        def read(source: str) -> Iterator[Any]:
            if self.all_scores and source.startswith(SCORES_OF):
                return map(methodcaller("get", source.removeprefix(SCORES_OF)), scores)
            group, name = self.paths[source]
            return map(attrgetter(name), groups[group])

        def read_numbers(source: str) -> NDArray[np.float64]:
            if source == CONFIDENCE:
                return _largest(scores)
            # Straight from the structs: a list between would cost a quarter more.
            try:
                return np.fromiter(read(source), dtype=np.float64, count=len(events))
            except OverflowError:  # a flag may be a whole number of hundreds of digits
                return np.array([_within_floats(value) for value in read(source)], dtype=np.float64)

        numbers = {source: read_numbers(source) for source in self.want.numbers}
        for source in self.want.flags:
            flags = read_numbers(source)
            flags[(flags != 0) & (flags != 1) & ~np.isnan(flags)] = INVALID
            numbers[source] = flags
        for source in self.want.times:
            numbers[source] = np.array([_time(value) for value in read(source)], dtype=np.float64)
        texts = {}
        for source in self.want.texts:
            values = list(read(source))
            if source == "class" and not set(map(type, values)) <= {str, type(None)}:
                values = [_text(value) for value in values]
            texts[source] = pa.array(values, pa.string())
        kinds = encode_names([event.error for event in events])
        columns = EventColumns(
            self.want.model,
            at_ms,
            batch.received_ms[position],
            batch.partition[position],
            batch.offset[position],
            np.zeros(len(events), dtype=np.int32),
            versions,
            code,
            np.zeros(len(events), dtype=bool) if kinds is None else kinds.code >= 0,
            numbers,
            texts,
            kinds,
        )
        refused = refuse_times(at_ms, columns.received_ms, unreadable)
        decoded = _split(columns, refused, batch, position)
        seen_ms = at_ms if refused is None else np.where(refused == "", at_ms, columns.received_ms)
        producer = encode_names([event.producer for event in events])
        seq = np.array([-1 if event.seq is None else event.seq for event in events], dtype=np.int64)
        decoded.arrivals += arrivals(self.want.model, seen_ms, producer, seq)
        return decoded

    def normalise(self, raw: dict[str, Any]) -> Any:
        """Make the struct of an event that the typed decode refused, invalid fields marked."""
        want = self.want
        values: dict[str, Any] = {}
        for required, missing in (("version", Reason.MISSING_VERSION), ("id", Reason.MISSING_ID)):
            value = raw.get(required)
            if value is None or value == "":
                raise _Rejected(missing)
            if not isinstance(value, str):
                raise _Rejected(Reason.WRONG_TYPE, f"{required} must be a string, not {type(value).__name__}")
            values[required] = _clean(value)
        if raw.get("at") is None:
            raise _Rejected(Reason.MISSING_TIME)
        at = parse_time_ms(raw["at"])
        if at is None:
            raise _Rejected(Reason.BAD_TIME, f"at = {str(raw['at'])[:60]!r}")
        values["at"] = at
        error = raw.get("error")
        values["error"] = _clean(error) if isinstance(error, str) else (UNNAMED_ERROR if error else None)
        values["producer"], seq = _numbered(raw)
        values["seq"] = None if seq < 0 else seq
        members: dict[str, dict[str, Any]] = {group: {} for group in self.groups}
        for group, sources in self.groups.items():
            whole = group == SCORES and self.all_scores
            if not sources and not whole:
                continue
            held = raw.get(group)
            if held is None:
                held = {}
            if not isinstance(held, dict):
                raise _Rejected(Reason.WRONG_TYPE, f"{group} must be an object, not {type(held).__name__}")
            if whole:
                values[SCORES] = {_clean(name): _number(value) for name, value in held.items()}
                continue
            for source in sources:
                name = source.partition(".")[2]
                members[group][self.paths[source][1]] = self._value(source, held.get(name), want)
        for group, kind in self.group_types.items():
            values[group] = kind(**members[group])
        for source, (group, name) in self.paths.items():
            if not group:
                values[name] = self._value(source, raw.get(source), want)
        return self.type(**values)

    def _value(self, source: str, value: Any, want: Wanted) -> Any:
        if value is None:
            return None
        if source in want.texts:
            if isinstance(value, str):
                return _clean(value)
            if source in ("class", "arm") or source.startswith("context."):
                return _text(value)
            return INVALID_TEXT
        if source in want.flags:
            return float(value) if value in (0, 1) and isinstance(value, bool | int) else INVALID
        if source in want.times:
            return _time(value)
        return _number(value)


class JsonDecoder:
    """Decodes the JSON predictions of all models of a registry."""

    def __init__(self, registry: Registry) -> None:
        self._models = {model: _ModelType(wanted(registry, model)) for model in registry.contracts}
        self._by_type = {kind.type: kind for kind in self._models.values()}
        union = reduce(or_, (kind.type for kind in self._models.values() if kind.is_typed), _Nobody)
        self._decoder = msgspec.json.Decoder(union)

    def decode(self, batch: MessageBatch) -> Decoded:
        """Turn a batch into columns per model and dead letters; every message ends in one of the two."""
        decoded = Decoded()
        events: list[Any] = []
        position: list[int] = []
        aside: dict[str, list[tuple[int, str | None, int]]] = {}
        for start in range(0, len(batch), CHUNK):
            values = batch.values[start : start + CHUNK]
            fast = self._decode_all(values)
            if fast is not None:
                events += fast
                position += range(start, start + len(values))
                continue
            for i, value in enumerate(values, start):
                try:
                    events.append(self._decode_one(value))
                    position.append(i)
                except _Rejected as rejected:
                    decoded.dead.append(batch.dead(i, rejected.reason, rejected.detail, model=rejected.model))
                    aside.setdefault(rejected.model, []).append((i, rejected.producer, rejected.seq))
        for model, rows in aside.items():
            at, producers, seqs = zip(*rows, strict=True)
            received_ms = batch.received_ms[list(at)]
            decoded.arrivals += arrivals(model, received_ms, encode_names(producers), np.array(seqs, dtype=np.int64))
        for kind, chosen, where in _by_type(events, position):
            part = self._by_type[kind].columns(chosen, batch, where)
            decoded.events += part.events
            decoded.dead += part.dead
            decoded.arrivals += part.arrivals
        return decoded

    def _decode_all(self, values: Iterable[bytes | None]) -> list[Any] | None:
        decode = self._decoder.decode
        try:
            return [_identified(decode(value)) for value in values]  # type: ignore[arg-type]
        except (*_REFUSALS, TypeError, _Rejected):
            return None

    def _decode_one(self, value: bytes | None) -> Any:
        if not value:
            raise _Rejected(Reason.EMPTY)
        try:
            return _identified(self._decoder.decode(value))
        except (*_REFUSALS, _Rejected):
            pass
        raw = _parse(value)
        if not isinstance(raw, dict):
            raise _Rejected(Reason.NOT_AN_OBJECT, f"the message is {type(raw).__name__}")
        model = raw.get("model")
        if model is None or model == "":
            raise _Rejected(Reason.MISSING_MODEL)
        kind = self._models.get(model) if isinstance(model, str) else None
        if kind is None:
            raise _Rejected(Reason.UNKNOWN_MODEL, str(model)[:200])
        try:
            return kind.normalise(raw)
        except _Rejected as rejected:
            rejected.model = kind.want.model
            rejected.producer, rejected.seq = _numbered(raw)
            raise


def _identified(event: Any) -> Any:
    if not event.id or not event.version:
        raise _Rejected(Reason.MISSING_ID)
    return event


def _by_type(events: list[Any], position: list[int]) -> Iterable[tuple[Any, list[Any], NDArray[np.int64]]]:
    kinds = set(map(type, events))
    where = np.array(position, dtype=np.int64)
    if len(kinds) == 1:
        yield next(iter(kinds)), events, where
        return
    for kind in kinds:
        own = [i for i, event in enumerate(events) if type(event) is kind]
        yield kind, [events[i] for i in own], where[own]


def _parse(value: bytes) -> Any:
    """Parse strictly, else as Python does, which lets NaN, Infinity and lone surrogates through."""
    try:
        return msgspec.json.decode(value)
    except RecursionError:
        raise _Rejected(Reason.TOO_DEEP) from None
    except _REFUSALS:
        pass
    try:
        return json.loads(value.decode())
    except RecursionError:
        raise _Rejected(Reason.TOO_DEEP) from None
    except ValueError as error:
        raise _Rejected(Reason.NOT_JSON, str(error)[:200]) from None


def _numbered(raw: dict[str, Any]) -> tuple[str | None, int]:
    """The producer of an event and its number, −1 where it has none."""
    producer, seq = raw.get("producer"), raw.get("seq")
    if not isinstance(seq, int) or isinstance(seq, bool) or not 0 <= seq < 2**63:
        seq = -1
    return _clean(producer) if isinstance(producer, str) else None, seq


def _split(
    columns: EventColumns, refused: NDArray[np.str_] | None, batch: MessageBatch, position: NDArray[np.int64]
) -> Decoded:
    """Part the events whose time is refused from the others."""
    if refused is None:
        return Decoded([columns], [])
    keep = refused == ""
    dead = [
        batch.dead(int(position[i]), Reason(refused[i]), f"at = {int(columns.at_ms[i])}", model=columns.model)
        for i in np.flatnonzero(~keep)
    ]
    return Decoded([columns.take(keep)] if keep.any() else [], dead)


def refuse_times(
    at_ms: NDArray[np.int64], received_ms: NDArray[np.int64], unreadable: NDArray[np.bool_] | None
) -> NDArray[np.str_] | None:
    """Name the reason each event's time is refused for ('' where it is not); None where none is.

    Times are held against the moment Kafka received the event, so that reading it again decides the same.
    """
    future = at_ms > received_ms + FUTURE_MS
    old = at_ms < received_ms - RETENTION_MS
    bad = unreadable if unreadable is not None else np.zeros(len(at_ms), dtype=bool)
    if not (future.any() or old.any() or bad.any()):
        return None
    return np.select([bad, future, old], [Reason.BAD_TIME, Reason.FUTURE_TIME, Reason.TOO_OLD], "")


def _largest(maps: Sequence[dict[str, float | None]]) -> NDArray[np.float64]:
    """The largest value of each map, shape (n,): NaN where it holds none, invalid where it holds an invalid one."""
    n_members = np.fromiter(map(len, maps), dtype=np.int64, count=len(maps))
    every = chain.from_iterable(map(methodcaller("values"), maps))
    values = np.fromiter(every, dtype=np.float64, count=int(n_members.sum()))
    largest = np.full(len(maps), np.nan)
    full = n_members > 0
    if full.any():
        starts = np.cumsum(n_members) - n_members
        # Without -0, which would come or not by the order of the members.
        largest[full] = np.fmax.reduceat(values, starts[full]) + 0.0
    return largest


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return INVALID
    try:
        number = float(value)
    except OverflowError:
        return INVALID
    return number if math.isfinite(number) else INVALID


def _time(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, float) and math.isfinite(value):
        return value
    parsed = parse_time_ms(value)
    return INVALID if parsed is None else float(parsed)


def _within_floats(value: Any) -> Any:
    return INVALID if isinstance(value, int) and abs(value) > sys.float_info.max else value


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float) and math.isfinite(value):
        return json.dumps(value)
    return INVALID_TEXT


def _clean(text: str) -> str:
    """Replace lone surrogates, which no UTF-8 can hold."""
    return text.encode("utf-8", "replace").decode()
