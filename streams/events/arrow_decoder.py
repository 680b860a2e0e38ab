"""Arrow batches → columns: no Python per value, and a bad row never costs its batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from barograph.contract.check import CONFIDENCE
from barograph.events import Reason
from numpy.typing import NDArray

from streams.events.arrow_columns import Part, Rows
from streams.events.arrow_message import DETAIL_CHARS, KnownSchema, open_message, refusal
from streams.events.batch import RejectedEvent, Decoded, MessageBatch, join_batches
from streams.events.columns import INVALID_TEXT, EventColumns, producer_arrivals, code_names
from streams.events.event_time import refuse_times
from streams.events.event_type import UNNAMED_ERROR
from streams.events.projection import SCORES_OF, Projection, build_projection
from streams.registry.registry import Registry

MAX_APART_BYTES = 64 << 20
LEFT_OUT = "too many rows were put aside at once to keep each one's bytes: see the message at this position"

_REASONS = (
    None,
    *(Reason.MISSING_MODEL, Reason.MISSING_VERSION, Reason.MISSING_ID, Reason.WRONG_TYPE),
    *(Reason.MISSING_TIME, Reason.BAD_TIME, Reason.FUTURE_TIME, Reason.TOO_OLD, Reason.UNKNOWN_MODEL),
)
"""Why a row is refused, by its number; 0 is one that is not."""
_NUMBER = {reason: number for number, reason in enumerate(_REASONS)}


class ArrowDecoder:
    """Decodes the Arrow predictions of all models of a registry."""

    def __init__(self, registry: Registry) -> None:
        self._wanted = {model: build_projection(registry, model) for model in registry.contracts}

    def decode(self, batch: MessageBatch) -> Decoded:
        """Turn a batch of messages into columns per model and dead letters; every row ends in one of the two."""
        gathered = self.accumulator()
        gathered.add(batch)
        return gathered.take()

    def accumulator(self) -> ArrowGathering:
        """Begin to gather messages that come in small batches."""
        return ArrowGathering(self.decode_found)

    def decode_found(self, batch: MessageBatch, schema: pa.Schema, found: list[Found], decoded: Decoded) -> None:
        """Decode opened messages of one schema.

        What Arrow cannot compute on costs its own message only.
        """
        part = Decoded()
        try:
            self._decode_found(batch, schema, found, part)
        except (pa.ArrowException, ValueError, TypeError) as error:
            if len(found) == 1:
                decoded.rejected.append(batch.reject(found[0].position, Reason.NOT_ARROW, str(error)[:DETAIL_CHARS]))
                return
            half = len(found) // 2
            self.decode_found(batch, schema, found[:half], decoded)
            self.decode_found(batch, schema, found[half:], decoded)
            return
        decoded.events += part.events
        decoded.rejected += part.rejected
        decoded.arrivals += part.arrivals

    def _decode_found(self, batch: MessageBatch, schema: pa.Schema, found: list[Found], decoded: Decoded) -> None:
        lengths = [each.n_rows for each in found]
        message = np.repeat([each.position for each in found], lengths).astype(np.int64)
        index = np.concatenate([np.arange(n) for n in lengths]).astype(np.int32) if found else np.empty(0, np.int32)
        rows = Rows(schema, [one for each in found for one in each.batches])
        reasons = np.zeros(len(message), dtype=np.int8)
        models, versions = _Names.of(rows, "model"), _Names.of(rows, "version")
        _refuse_names(reasons, models, Reason.MISSING_MODEL)
        _refuse_names(reasons, versions, Reason.MISSING_VERSION)
        _refuse_ids(reasons, rows)
        at_ms, no_time, bad_time = _times(rows)
        _refuse(reasons, no_time, Reason.MISSING_TIME)
        _refuse(reasons, bad_time, Reason.BAD_TIME)
        received = batch.received_ms[message]
        refused = refuse_times(at_ms, received, None)
        if refused is not None:
            for reason in (Reason.FUTURE_TIME, Reason.TOO_OLD):
                _refuse(reasons, refused == reason, reason)
        known = np.array([name in self._wanted for name in models.values] + [False])
        good = reasons == 0
        for code in models.present(good):
            own = good & (models.code == code)
            if not known[code]:
                reasons[own] = _NUMBER[Reason.UNKNOWN_MODEL]
                continue
            where = slice(None) if own.all() else np.flatnonzero(own)
            model = models.values[code]
            part = rows if isinstance(where, slice) else Part(rows, where)
            kinds = code_names(_as_text(part, "error"), invalid=UNNAMED_ERROR)
            places = message[where]
            decoded.events.append(
                EventColumns(
                    model,
                    at_ms[where],
                    received[where],
                    batch.partition[places],
                    batch.offset[places],
                    index[where],
                    *versions.coded(where),
                    np.zeros(len(part), dtype=bool) if kinds is None else kinds.code >= 0,
                    *_columns(part, self._wanted[model]),
                    kinds,
                )
            )
        producer = code_names(_as_text(rows, "producer"))
        if producer is not None:
            seq, seen_ms = _seqs(rows), np.where(good, at_ms, received)
            for code in models.present(known[models.code]):
                own = models.code == code
                decoded.arrivals += producer_arrivals(models.values[code], seen_ms[own], producer.take(own), seq[own])
        bad = np.flatnonzero(reasons).tolist()
        for i, row in zip(bad, rows_apart(rows.table(), bad) if bad else (), strict=True):
            why = _REASONS[reasons[i]]
            assert why is not None
            place, code = int(message[i]), int(models.code[i])
            detail = models.values[code][:200] if why is Reason.UNKNOWN_MODEL else ""
            decoded.rejected.append(
                RejectedEvent(
                    why,
                    int(batch.partition[place]),
                    int(batch.offset[place]),
                    int(index[i]),
                    row,
                    detail if row else LEFT_OUT,
                    models.values[code] if known[code] else "",
                    int(received[i]),
                )
            )


class Found(NamedTuple):
    """A message that was opened."""

    position: int
    """In its batch."""
    n_rows: int
    batches: list[pa.RecordBatch]


class ArrowGathering:
    """Messages that come in small batches, opened as they come → columns of all of them together.

    What is worked out of columns costs less the longer they are.
    """

    def __init__(self, decode: Callable[[MessageBatch, pa.Schema, list[Found], Decoded], None]) -> None:
        self._decode = decode
        self._batches: list[MessageBatch] = []
        self._found: dict[KnownSchema, list[Found]] = {}
        self._dead: list[RejectedEvent] = []
        self.messages = self.rows = self.n_bytes = self.rejected_bytes = 0
        """How much waits: messages, their rows (a refused one counts as one), the bytes of these once they are
        unpacked, and those of what was put aside."""

    def add(self, batch: MessageBatch) -> None:
        """Open some more messages; every one ends as rows or as a dead letter."""
        if not len(batch):
            return
        for i, value in enumerate(batch.values):
            try:
                batches, schema, n_bytes = open_message(value)
            except ValueError as error:
                dead = batch.reject(i, refusal(value, error), str(error))
                self._dead.append(dead)
                self.rows += 1
                self.rejected_bytes += len(dead.value)
                continue
            n_rows = sum(each.num_rows for each in batches)
            self.rows += n_rows
            self.n_bytes += n_bytes
            self._found.setdefault(schema, []).append(Found(self.messages + i, n_rows, batches))
        self._batches.append(batch)
        self.messages += len(batch)

    def take(self) -> Decoded:
        """Hand over all that was gathered; every row ends as an event or as a dead letter."""
        decoded = Decoded(rejected=self._dead)
        if self._batches:
            batch = join_batches(self._batches)
            for known, found in self._found.items():
                self._decode(batch, known.schema, found, decoded)
        self._batches, self._found, self._dead = [], {}, []
        self.messages = self.rows = self.n_bytes = self.rejected_bytes = 0
        return decoded


@dataclass(frozen=True, slots=True)
class _Names:
    """A column of names as numbers of distinct ones."""

    values: tuple[str, ...]
    """Distinct."""
    code: NDArray[np.int64]
    """Shape (n,): a position in `values`, or −1 for none."""

    @classmethod
    def of(cls, rows: Rows, name: str) -> _Names:
        """Read a column; one that is absent or null has no names, what is no text is `INVALID_TEXT`."""
        if not rows.has(name):
            return cls((), np.full(len(rows), -1, dtype=np.int64))
        column = rows.column(name)
        kind = column.type
        if not (pa.types.is_dictionary(kind) and pa.types.is_string(kind.value_type)):
            column = _text(column).dictionary_encode()
        held = column.dictionary.to_pylist()
        if len(held) == 1 and held[0] is not None and not column.null_count:
            return cls((held[0],), np.zeros(len(column), dtype=np.int64))
        values = tuple(sorted({each for each in held if each is not None}))
        place = {value: i for i, value in enumerate(values)}
        codes = np.array([*(place.get(each, -1) for each in held), -1], dtype=np.int64)
        # The last entry is what null points at.
        indices = pc.fill_null(column.indices.cast(pa.int64()), len(held)) if column.null_count else column.indices
        return cls(values, codes[indices.to_numpy(zero_copy_only=False)])

    def coded(self, where: slice | NDArray[np.int64]) -> tuple[tuple[str, ...], NDArray[np.int32]]:
        """The distinct names of some rows, all of which have one, and each row's position among them."""
        code = self.code[where]
        present = np.bincount(code, minlength=len(self.values)) > 0
        names = tuple(name for name, held in zip(self.values, present.tolist(), strict=True) if held)
        return names, (np.cumsum(present) - 1)[code].astype(np.int32)

    def present(self, chosen: NDArray[np.bool_]) -> list[int]:
        """The positions of the names that some rows have, all of which have one."""
        found: list[int] = np.flatnonzero(np.bincount(self.code[chosen])).tolist()
        return found


def _refuse_names(reasons: NDArray[np.int8], names: _Names, missing: Reason) -> None:
    verdict = [
        _NUMBER[missing if not name else Reason.WRONG_TYPE if name == INVALID_TEXT else None] for name in names.values
    ]
    each = np.array([*verdict, _NUMBER[missing]], dtype=np.int8)[names.code]
    np.copyto(reasons, each, where=reasons == 0)


def _refuse_ids(reasons: NDArray[np.int8], rows: Rows) -> None:
    column = rows.column("id") if rows.has("id") else pa.nulls(len(rows))
    if pa.types.is_string(column.type) and not column.null_count:
        shortest = pc.min(pc.binary_length(column)).as_py()
        if shortest and not pc.any(pc.equal(column, INVALID_TEXT)).as_py():
            return
    ids = _text(column)
    missing = pc.or_kleene(pc.is_null(ids), pc.fill_null(pc.equal(ids, ""), True))
    _refuse(reasons, missing.to_numpy(zero_copy_only=False), Reason.MISSING_ID)
    wrong = pc.fill_null(pc.equal(ids, INVALID_TEXT), False)
    _refuse(reasons, wrong.to_numpy(zero_copy_only=False), Reason.WRONG_TYPE)


def rows_apart(table: pa.Table, rows: Sequence[int]) -> Iterator[bytes]:
    """Write each of some rows as an Arrow IPC stream of its own; none more once they have `MAX_APART_BYTES` in all.

    A row carries its whole schema: many rows of many columns are far larger apart than together.
    """
    size = 0
    for i in rows:
        if size > MAX_APART_BYTES:
            yield b""
            continue
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table.slice(i, 1))
        data: bytes = sink.getvalue().to_pybytes()
        size += len(data)
        yield data


def _as_text(rows: Rows | Part, name: str) -> pa.Array:
    """A column as strings; null where it is absent or holds no text."""
    return _text(rows.column(name)) if rows.has(name) else pa.nulls(len(rows), pa.string())


def _text(column: Any) -> pa.Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_string(kind):
        return column
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.string())
    if pa.types.is_null(kind):
        return pa.nulls(len(column), pa.string())
    return pc.if_else(pc.is_valid(column), pa.scalar(INVALID_TEXT), pa.scalar(None, pa.string()))


def _refuse(reasons: NDArray[np.int8], where: NDArray[np.bool_], reason: Reason) -> None:
    if where.any():
        reasons[where & (reasons == 0)] = _NUMBER[reason]


def _times(rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Read `at`: Unix ms, where it is missing, where it cannot be read."""
    n = len(rows)
    none = np.zeros(n, dtype=bool)
    if not rows.has("at"):
        return np.zeros(n, dtype=np.int64), ~none, none
    column = rows.column("at")
    missing = pc.is_null(column).to_numpy(zero_copy_only=False)
    milliseconds = _to_ms(column)
    if milliseconds is None:
        return np.zeros(n, dtype=np.int64), missing, ~missing
    at: NDArray[np.int64] = pc.fill_null(milliseconds, 0).to_numpy(zero_copy_only=False)
    return at, missing, none


def _to_ms(column: Any) -> pa.Array | None:
    kind = column.type
    if pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp("ms", kind.tz), safe=False).cast(pa.int64())
    if pa.types.is_integer(kind):
        return column.cast(pa.int64(), safe=False)
    return None


def _seqs(rows: Rows) -> NDArray[np.int64]:
    """Read `seq`, −1 where it is missing or no whole number."""
    column = rows.column("seq") if rows.has("seq") else None
    if column is None or not pa.types.is_integer(column.type):
        return np.full(len(rows), -1, dtype=np.int64)
    if pa.types.is_uint64(column.type):
        column = pc.if_else(pc.less_equal(column, 2**63 - 1), column, None)
    seqs: NDArray[np.int64] = pc.fill_null(column.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
    return seqs


def _columns(rows: Rows | Part, projection: Projection) -> tuple[dict[str, NDArray[np.float64]], dict[str, pa.Array]]:
    numbers = {
        source: read(rows.column(source))
        for sources, read in ((projection.numbers, _numbers), (projection.flags, _flags), (projection.times, _instants))
        for source in sources
        if rows.has(source)
    }
    if CONFIDENCE in projection.numbers:
        # It is worked out of the scores, whatever a column of this name holds.
        numbers.pop(CONFIDENCE, None)
        largest = _largest(rows)
        if largest is not None:
            numbers[CONFIDENCE] = largest
    texts = {}
    for source in projection.texts:
        if not rows.has(source):
            continue
        column = rows.column(source)
        texts[source] = _class_text(column) if source == "class" else _text(column)
    return numbers, texts


def _largest(rows: Rows | Part) -> NDArray[np.float64] | None:
    """The largest of each row's scores: NaN where it has none, invalid where one is invalid; None without columns."""
    largest: NDArray[np.float64] | None = None
    for name in rows.names:
        if name.startswith(SCORES_OF):
            values = _numbers(rows.column(name))
            values = np.where(np.isinf(values), np.inf, values)
            largest = values if largest is None else np.fmax(largest, values)
    return None if largest is None else largest + 0.0


def _numbers(column: Any) -> NDArray[np.float64]:
    """Read numbers: NaN for null, an infinity for what is none; they may be Arrow's own, which are read-only."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    plain = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    values: NDArray[np.float64]
    if plain and not column.null_count:
        values = column.to_numpy().astype(np.float64, copy=False)
        return _nan_as_invalid(values) if pa.types.is_floating(kind) else values
    values = np.empty(len(column))
    if pa.types.is_null(kind):
        values[:] = np.nan
        return values
    null = pc.is_null(column).to_numpy(zero_copy_only=False)
    if plain or pa.types.is_decimal(kind):
        values[:] = _nan_as_invalid(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    else:
        values[:] = np.inf
    values[null] = np.nan
    return values


def _nan_as_invalid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    nan = np.isnan(values)
    return np.where(nan, np.inf, values) if nan.any() else values


def _flags(column: Any) -> NDArray[np.float64]:
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    values = _numbers(column)
    return np.where((values != 0) & (values != 1) & ~np.isnan(values), np.inf, values)


def _instants(column: Any) -> NDArray[np.float64]:
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("ms"))
    milliseconds = _to_ms(column) if pa.types.is_timestamp(column.type) else None
    return _numbers(column if milliseconds is None else milliseconds)


def _class_text(column: Any) -> pa.Array:
    if pa.types.is_boolean(column.type):
        return pc.if_else(column, "true", "false")
    if pa.types.is_integer(column.type):
        return column.cast(pa.string())
    return _text(column)
