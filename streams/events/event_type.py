"""The msgspec struct type of one model's JSON events, and the conversion of structs to columns.

The type has only the members that the model's contract and baselines watch. The decoder skips all others without
creating objects for them.
"""

import json
import math
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from operator import attrgetter, methodcaller
from typing import Annotated, Any

import msgspec
import numpy as np
import pyarrow as pa
from barograph.contract import CONFIDENCE
from barograph.events import MAPS, ROLES, SCORES, SHADOW, Reason, Role
from numpy.typing import NDArray

from barograph_server.streams.events.batch import Decoded, MessageBatch
from barograph_server.streams.events.columns import (
    INVALID_TEXT,
    EventColumns,
    encode_names,
    encode_versions,
    producer_arrivals,
)
from barograph_server.streams.events.event_time import RETENTION_MS, parse_time_ms, rejected_times, times_ms
from barograph_server.streams.events.hashed_values import StructNumbers, replace_plain_values
from barograph_server.streams.events.projection import SCORES_PREFIX, Projection

FloatArray = NDArray[np.float64]

INVALID = math.inf
UNNAMED_ERROR = "error"
"""Error kind of an event whose `error` is not text."""
BATCH_MEMBERS = 20_000
"""Watched members decoded before they are read into columns.

This many, with their messages, fit into the caches of one core. With ten times as many, reading takes 50 % longer.
"""
MIN_BATCH_EVENTS, MAX_BATCH_EVENTS = 64, 1_000
_TOP = ("score", "class", "latency_ms", "arm")
_Named = Annotated[str, msgspec.Meta(min_length=1)]
_Seq = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_UNNAMEABLE = re.compile(r'["\\\x00-\x1f]')
"""Characters that msgspec does not allow in a member's name, although JSON allows them escaped."""


def is_nameable(name: str) -> bool:
    """Return whether a struct type can have a member of this name in JSON."""
    return _UNNAMEABLE.search(name) is None


class EventType:
    """The struct type of one model's events, and the reader of its columns."""

    def __init__(self, projection: Projection, retention_ms: int = RETENTION_MS) -> None:
        self.projection = projection
        self.retention_ms = retention_ms
        """Age at receipt from which events are rejected."""
        self.is_typed = True
        """Whether events can be decoded into the type. If not, `normalise` builds each struct from parsed JSON."""
        kinds: dict[str, Any] = dict.fromkeys(projection.numbers, float | None)
        kinds |= dict.fromkeys(projection.flags, bool | int | None)
        kinds |= dict.fromkeys(projection.times, str | int | float | None)
        kinds |= dict.fromkeys(projection.texts, str | None)
        kinds = {source: kinds[source] for source in projection.order}
        self.groups: dict[str, list[str]] = {group: [] for group in MAPS}
        self.group_types: dict[str, Any] = {}
        members: list[Any] = [("version", _Named), ("id", _Named), ("at", int | str)]
        members += [("error", str | None, None), ("role", Role | None, None)]
        members += [("producer", str | None, None), ("seq", _Seq | None, -1)]
        rename = {}
        self.paths: dict[str, tuple[str, str]] = {}
        for source in kinds:
            group, _, name = source.partition(".")
            if name:
                self.groups[group].append(source)
        self.all_scores = CONFIDENCE in kinds
        if self.all_scores:
            # The projection needs the largest score, whatever the classes are: a map instead of members.
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
            "event_", members, rename=rename, gc=False, tag_field="model", tag=projection.model
        )
        self.empty = {group: kind() for group, kind in self.group_types.items()}
        self.read_numbers: list[tuple[str, tuple[str, ...], StructNumbers]] = []
        """Per group its numeric sources and their reader; the empty group is the event's own members."""
        numeric = {*projection.numbers, *projection.flags}
        for group, member_type in (("", self.type), *self.group_types.items()):
            sources = [source for source, (owner, _) in self.paths.items() if owner == group and source in numeric]
            if sources:
                attributes = [self.paths[source][1] for source in sources]
                reader = StructNumbers(attributes, all_members=attributes == list(member_type.__struct_fields__))
                self.read_numbers.append((group, tuple(sources), reader))
        self.batch_events = min(MAX_BATCH_EVENTS, max(MIN_BATCH_EVENTS, BATCH_MEMBERS // max(1, len(kinds))))
        """Number of events whose structs are read into columns together."""

    def columns(self, events: Sequence[Any], batch: MessageBatch) -> Decoded:
        """Read the columns out of structs; `batch` holds one message per struct."""
        at_ms, unreadable = times_ms([event.at for event in events])
        versions, code = encode_versions([event.version for event in events])
        reader = MemberReader(self, events)
        numbers = reader.numbers()
        texts = {source: reader.texts(source) for source in self.projection.texts}
        for source in self.projection.hashed:
            texts[source] = replace_plain_values(texts[source], INVALID_TEXT)
        error_kinds = encode_names([event.error for event in events])
        columns = EventColumns(
            self.projection.model,
            at_ms,
            batch.received_ms,
            batch.partition,
            batch.offset,
            np.zeros(len(events), dtype=np.int32),
            versions,
            code,
            np.zeros(len(events), dtype=bool) if error_kinds is None else error_kinds.code >= 0,
            numbers,
            texts,
            error_kinds,
            _shadows([event.role for event in events]),
        )
        refused = rejected_times(at_ms, columns.received_ms, unreadable, self.retention_ms)
        decoded = _split(columns, refused, batch)
        arrival_ms = at_ms if refused is None else np.where(refused == "", at_ms, columns.received_ms)
        producer = encode_names([event.producer for event in events])
        seq = _seqs([event.seq for event in events])
        decoded.arrivals += producer_arrivals(self.projection.model, arrival_ms, producer, seq)
        return decoded

    def normalise(self, raw: dict[str, Any]) -> Any:
        """Build the struct of an event that the typed decoder refused, with invalid fields marked.

        Raises:
            Rejection: the event is a dead letter.
        """
        projection = self.projection
        values: dict[str, Any] = {}
        for required, missing in (("version", Reason.MISSING_VERSION), ("id", Reason.MISSING_ID)):
            values[required] = required_text(raw, required, missing)
        values["at"] = required_time_ms(raw)
        error = raw.get("error")
        values["error"] = replace_surrogates(error) if isinstance(error, str) else (UNNAMED_ERROR if error else None)
        values["role"] = raw.get("role")
        if values["role"] not in (*ROLES, None):
            raise Rejection(Reason.WRONG_TYPE, f"role must be one of {', '.join(ROLES)}")
        values["producer"], values["seq"] = producer_seq(raw)
        members: dict[str, dict[str, Any]] = {group: {} for group in self.groups}
        for group, sources in self.groups.items():
            whole = group == SCORES and self.all_scores
            if not sources and not whole:
                continue
            value = raw.get(group)
            if value is None:
                value = {}
            if not isinstance(value, dict):
                raise Rejection(Reason.WRONG_TYPE, f"{group} must be an object, not {type(value).__name__}")
            if whole:
                values[SCORES] = {replace_surrogates(name): _number(score) for name, score in value.items()}
                continue
            for source in sources:
                name = source.partition(".")[2]
                members[group][self.paths[source][1]] = self._value(source, value.get(name), projection)
        for group, kind in self.group_types.items():
            values[group] = kind(**members[group])
        for source, (group, name) in self.paths.items():
            if not group:
                values[name] = self._value(source, raw.get(source), projection)
        return self.type(**values)

    def _value(self, source: str, value: Any, projection: Projection) -> Any:
        if value is None:
            return None
        if source in projection.texts:
            if isinstance(value, str):
                return replace_surrogates(value)
            if source in ("class", "arm") or source.startswith("context."):
                return _text(value)
            return INVALID_TEXT
        if source in projection.flags:
            return float(value) if value in (0, 1) and isinstance(value, bool | int) else INVALID
        if source in projection.times:
            return _time(value)
        return _number(value)


class MemberReader:
    """Reads columns out of the structs of n events."""

    def __init__(self, kind: EventType, events: Sequence[Any]) -> None:
        self._kind = kind
        self._n = len(events)
        self._groups: dict[str, Sequence[Any]] = {"": events}
        for group, empty in kind.empty.items():
            self._groups[group] = [member or empty for member in map(attrgetter(group), events)]
        self._scores: list[dict[str, float | None]] = []
        if kind.all_scores:
            self._scores = [member or {} for member in map(attrgetter(SCORES), events)]

    def numbers(self) -> dict[str, FloatArray]:
        """Read all columns of numbers, flags and times, each of shape (n,)."""
        projection = self._kind.projection
        columns: dict[str, FloatArray] = {}
        for group, sources, reader in self._kind.read_numbers:
            try:
                columns |= zip(sources, reader.read(self._groups[group]).T.copy(), strict=True)
            except OverflowError:  # a flag may be an integer of hundreds of digits
                columns |= {source: self._column(source) for source in sources}
        for source in projection.numbers:
            if source not in columns:
                columns[source] = _largest(self._scores) if source == CONFIDENCE else self._column(source)
        for source in projection.flags:
            flags = columns[source]
            flags[(flags != 0) & (flags != 1) & ~np.isnan(flags)] = INVALID
        for source in projection.times:
            columns[source] = np.array([_time(value) for value in self._values(source)], dtype=np.float64)
        return columns

    def texts(self, source: str) -> pa.Array:
        """Read a text column, shape (n,)."""
        values = list(self._values(source))
        if source == "class" and not set(map(type, values)) <= {str, type(None)}:
            values = [_text(value) for value in values]
        return pa.array(values, pa.string())

    def _column(self, source: str) -> FloatArray:
        values = list(self._values(source))
        try:
            return np.array(values, dtype=np.float64)
        except OverflowError:
            return np.array([_within_floats(value) for value in values], dtype=np.float64)

    def _values(self, source: str) -> Iterator[Any]:
        if self._kind.all_scores and source.startswith(SCORES_PREFIX):
            return map(methodcaller("get", source.removeprefix(SCORES_PREFIX)), self._scores)
        group, name = self._kind.paths[source]
        return map(attrgetter(name), self._groups[group])


def producer_seq(raw: dict[str, Any]) -> tuple[str | None, int]:
    """Return an event's producer and sequence number, −1 if it has none."""
    producer, seq = raw.get("producer"), raw.get("seq")
    if not isinstance(seq, int) or isinstance(seq, bool) or not 0 <= seq < 2**63:
        seq = -1
    return replace_surrogates(producer) if isinstance(producer, str) else None, seq


def _split(columns: EventColumns, refused: NDArray[np.str_] | None, batch: MessageBatch) -> Decoded:
    """Reject the events whose time is invalid."""
    if refused is None:
        return Decoded([columns], [])
    accepted = refused == ""
    dead = [
        batch.reject(int(i), Reason(refused[i]), f"at = {int(columns.at_ms[i])}", model=columns.model)
        for i in np.flatnonzero(~accepted)
    ]
    if not accepted.any():
        return Decoded([], dead)
    valid = columns.take(accepted)
    # Only versions of accepted events: each takes one of the places of unregistered versions.
    valid.versions, valid.version_code = encode_versions([valid.versions[code] for code in valid.version_code.tolist()])
    return Decoded([valid], dead)


def _shadows(roles: list[Role | None]) -> NDArray[np.bool_] | None:
    return np.array([role == SHADOW for role in roles]) if SHADOW in roles else None


def _seqs(values: list[int | None]) -> NDArray[np.int64]:
    """Return the sequence numbers of events, −1 for none or null."""
    try:
        return np.fromiter(values, dtype=np.int64, count=len(values))
    except TypeError:
        return np.array([-1 if value is None else value for value in values], dtype=np.int64)


def _largest(maps: Sequence[dict[str, float | None]]) -> NDArray[np.float64]:
    """Return the largest value of each map, shape (n,): NaN if it is empty, invalid if it has an invalid value."""
    n_members = np.fromiter(map(len, maps), dtype=np.int64, count=len(maps))
    flat = chain.from_iterable(map(methodcaller("values"), maps))
    values = np.fromiter(flat, dtype=np.float64, count=int(n_members.sum()))
    largest = np.full(len(maps), np.nan)
    full = n_members > 0
    if full.any():
        starts = np.cumsum(n_members) - n_members
        # Adding 0 removes -0, which would depend on the order of the members.
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
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return json.dumps(value)
    return INVALID_TEXT


class Rejection(Exception):
    """An event is rejected, with the reason code and a detail."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail
        self.model = ""
        """The event's model, if it is known and has a contract."""
        self.producer: str | None = None
        self.seq = -1


def required_text(raw: dict[str, Any], name: str, missing: Reason) -> str:
    """Return a required text member of a parsed event.

    Raises:
        Rejection: the member is missing or empty (reason `missing`), or not a string.
    """
    value = raw.get(name)
    if value is None or value == "":
        raise Rejection(missing)
    if not isinstance(value, str):
        raise Rejection(Reason.WRONG_TYPE, f"{name} must be a string, not {type(value).__name__}")
    return replace_surrogates(value)


def required_time_ms(raw: dict[str, Any]) -> int:
    """Return the event time of a parsed event, in Unix milliseconds.

    Raises:
        Rejection: the member `at` is missing or cannot be parsed.
    """
    if raw.get("at") is None:
        raise Rejection(Reason.MISSING_TIME)
    at_ms = parse_time_ms(raw["at"])
    if at_ms is None:
        raise Rejection(Reason.BAD_TIME, f"at = {str(raw['at'])[:60]!r}")
    return at_ms


def replace_surrogates(text: str) -> str:
    """Replace lone surrogates, which UTF-8 cannot encode."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
