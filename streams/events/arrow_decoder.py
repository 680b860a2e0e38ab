"""Arrow batches → columns, without Python code per value. An invalid row never costs the rest of its batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from barograph.contract import CONFIDENCE
from barograph.events import ROLES, SHADOW, Reason
from barograph.string_views import to_string
from numpy.typing import NDArray

from barograph_server.streams.events.arrow_columns import BatchRows, RowSelection
from barograph_server.streams.events.arrow_message import (
    COLUMN_ERRORS,
    KnownSchema,
    open_message,
    reject_message,
    rejection_reason,
)
from barograph_server.streams.events.batch import Decoded, MessageBatch, RejectedEvent, join_batches
from barograph_server.streams.events.columns import INVALID_TEXT, EventColumns, encode_arrow_names, producer_arrivals
from barograph_server.streams.events.event_time import arrow_times_ms, arrow_to_ms, rejected_times
from barograph_server.streams.events.event_type import UNNAMED_ERROR
from barograph_server.streams.events.hashed_values import replace_plain_values
from barograph_server.streams.events.projection import SCORES_PREFIX, Projection, build_projection
from barograph_server.streams.registry.registry import Registry

MAX_PENDING_BYTES = 32 << 20
"""Unpacked bytes of messages that are decoded together."""
MAX_SPLIT_BYTES = 64 << 20
"""Bytes of rejected rows of one batch that are kept."""
BYTES_OMITTED = "too many rows were rejected at once to keep the bytes of each: see the message at this position"

_REASONS = (
    None,
    *(Reason.MISSING_MODEL, Reason.MISSING_VERSION, Reason.MISSING_ID, Reason.WRONG_TYPE),
    *(Reason.MISSING_TIME, Reason.BAD_TIME, Reason.FUTURE_TIME, Reason.TOO_OLD, Reason.UNKNOWN_MODEL),
)
"""Rejection reasons by code; code 0 is an accepted row."""
_REASON_CODES = {reason: code for code, reason in enumerate(_REASONS)}


class ArrowDecoder:
    """Decodes the Arrow predictions of all models of a registry."""

    def __init__(self, registry: Registry) -> None:
        self._projections = {model: build_projection(registry, model) for model in registry.contracts}
        self._retention_ms = registry.retention_ms

    def decode(self, batch: MessageBatch) -> Decoded:
        """Decode a batch into columns per model and rejected events; every row ends in one of the two."""
        accumulator = self.accumulator()
        accumulator.add(batch)
        return accumulator.take()

    def accumulator(self) -> ArrowAccumulator:
        """Return an accumulator of messages that arrive in small batches."""
        return ArrowAccumulator(self.decode_opened)

    def decode_opened(
        self, batch: MessageBatch, schema: pa.Schema, messages: list[OpenedMessage], decoded: Decoded
    ) -> None:
        """Decode opened messages of one schema into `decoded`.

        A message that Arrow cannot compute on is rejected alone: the messages are bisected until it is found.
        """
        result = Decoded()
        try:
            self._decode_rows(batch, schema, messages, result)
        except COLUMN_ERRORS as error:
            if len(messages) == 1:
                decoded.rejected.append(reject_message(batch, messages[0].position, error))
                return
            half = len(messages) // 2
            self.decode_opened(batch, schema, messages[:half], decoded)
            self.decode_opened(batch, schema, messages[half:], decoded)
            return
        decoded.events += result.events
        decoded.rejected += result.rejected
        decoded.arrivals += result.arrivals

    def _decode_rows(
        self, batch: MessageBatch, schema: pa.Schema, messages: list[OpenedMessage], decoded: Decoded
    ) -> None:
        lengths = [each.n_rows for each in messages]
        message = np.repeat([each.position for each in messages], lengths).astype(np.int64)
        index = np.concatenate([np.arange(n) for n in lengths]).astype(np.int32) if messages else np.empty(0, np.int32)
        rows = BatchRows(schema, [record_batch for each in messages for record_batch in each.batches])
        reasons = np.zeros(len(message), dtype=np.int8)
        models, versions = _NameColumn.of(rows, "model"), _NameColumn.of(rows, "version")
        _reject_names(reasons, models, Reason.MISSING_MODEL)
        _reject_names(reasons, versions, Reason.MISSING_VERSION)
        _reject_ids(reasons, rows)
        roles = _NameColumn.of(rows, "role")
        _reject(
            reasons, np.array([role not in ROLES for role in roles.values] + [False])[roles.code], Reason.WRONG_TYPE
        )
        at_ms, no_time, bad_time = arrow_times_ms(rows.column("at") if rows.has("at") else None, len(rows))
        _reject(reasons, no_time, Reason.MISSING_TIME)
        _reject(reasons, bad_time, Reason.BAD_TIME)
        received = batch.received_ms[message]
        refused = rejected_times(at_ms, received, None, self._retention_ms)
        if refused is not None:
            for reason in (Reason.FUTURE_TIME, Reason.TOO_OLD):
                _reject(reasons, refused == reason, reason)
        is_shadow = np.array([role == SHADOW for role in roles.values] + [False])[roles.code]
        has_contract = np.array([name in self._projections for name in models.values] + [False])
        accepted = reasons == 0
        for code in models.present(accepted):
            own = accepted & (models.code == code)
            if not has_contract[code]:
                reasons[own] = _REASON_CODES[Reason.UNKNOWN_MODEL]
                continue
            indices = slice(None) if own.all() else np.flatnonzero(own)
            model = models.values[code]
            selection = rows if isinstance(indices, slice) else RowSelection(rows, indices)
            error_kinds = encode_arrow_names(_text_column(selection, "error"), invalid=UNNAMED_ERROR)
            own_message = message[indices]
            decoded.events.append(
                EventColumns(
                    model,
                    at_ms[indices],
                    received[indices],
                    batch.partition[own_message],
                    batch.offset[own_message],
                    index[indices],
                    *versions.encode(indices),
                    np.zeros(len(selection), dtype=bool) if error_kinds is None else error_kinds.code >= 0,
                    *project_columns(selection, self._projections[model]),
                    error_kinds,
                    is_shadow[indices] if is_shadow[indices].any() else None,
                )
            )
        producer = encode_arrow_names(_text_column(rows, "producer"))
        if producer is not None:
            seq, arrival_ms = _seqs(rows), np.where(accepted, at_ms, received)
            for code in models.present(has_contract[models.code]):
                own = models.code == code
                decoded.arrivals += producer_arrivals(
                    models.values[code], arrival_ms[own], producer.take(own), seq[own]
                )
        bad = np.flatnonzero(reasons).tolist()
        for i, row in zip(bad, split_rows(rows.table(), bad) if bad else (), strict=True):
            rejection = _REASONS[reasons[i]]
            assert rejection is not None
            position, code = int(message[i]), int(models.code[i])
            detail = models.values[code][:200] if rejection is Reason.UNKNOWN_MODEL else ""
            decoded.rejected.append(
                RejectedEvent(
                    rejection,
                    int(batch.partition[position]),
                    int(batch.offset[position]),
                    int(index[i]),
                    row,
                    detail if row else BYTES_OMITTED,
                    models.values[code] if has_contract[code] else "",
                    int(received[i]),
                )
            )


class OpenedMessage(NamedTuple):
    position: int
    """Index in its batch."""
    n_rows: int
    batches: list[pa.RecordBatch]


class ArrowAccumulator:
    """Collects messages that arrive in small batches and decodes them together.

    Messages are opened on arrival. Computing on columns costs less per row the longer they are.
    """

    def __init__(self, decode: Callable[[MessageBatch, pa.Schema, list[OpenedMessage], Decoded], None]) -> None:
        self._decode = decode
        self._batches: list[MessageBatch] = []
        self._messages: dict[KnownSchema, list[OpenedMessage]] = {}
        self._pending_bytes = 0
        """Unpacked bytes of the messages that are not decoded yet."""
        self._decoded = Decoded()
        self.messages = self.rows = self.n_bytes = self.rejected_bytes = 0
        """Size of the content: messages, their rows (a rejected message counts as one), unpacked bytes, bytes of
        rejected events."""

    def add(self, batch: MessageBatch) -> None:
        """Open more messages; every one ends as rows or as a rejected event."""
        if not len(batch):
            return
        start = sum(map(len, self._batches))
        self._batches.append(batch)
        self.messages += len(batch)
        for i, value in enumerate(batch.values):
            try:
                batches, schema, n_bytes = open_message(value)
            except ValueError as error:
                event = batch.reject(i, rejection_reason(value, error), str(error))
                self._decoded.rejected.append(event)
                self.rows += 1
                self.rejected_bytes += len(event.value)
                continue
            n_rows = sum(each.num_rows for each in batches)
            self.rows += n_rows
            self.n_bytes += n_bytes
            self._pending_bytes += n_bytes
            self._messages.setdefault(schema, []).append(OpenedMessage(start + i, n_rows, batches))
            if self._pending_bytes >= MAX_PENDING_BYTES:
                self._decode_pending()
                self._batches, start = [batch], 0

    def take(self) -> Decoded:
        """Decode and return the content and start over; every row ends as an event or as a rejected event."""
        self._decode_pending()
        decoded, self._decoded = self._decoded, Decoded()
        self.messages = self.rows = self.n_bytes = self.rejected_bytes = 0
        return decoded

    def _decode_pending(self) -> None:
        messages, self._messages = self._messages, {}
        batches, self._batches = self._batches, []
        self._pending_bytes = 0
        if messages:
            batch = join_batches(batches)
            for known, own in messages.items():
                self._decode(batch, known.schema, own, self._decoded)


@dataclass(frozen=True, slots=True)
class _NameColumn:
    values: tuple[str, ...]
    """Distinct names."""
    code: NDArray[np.int64]
    """Shape (n,): an index into `values`, or −1 for no name."""

    @classmethod
    def of(cls, rows: BatchRows, name: str) -> _NameColumn:
        """Read a column. An absent column has no names; values that are not text become `INVALID_TEXT`."""
        if not rows.has(name):
            return cls((), np.full(len(rows), -1, dtype=np.int64))
        column = rows.column(name)
        kind = column.type
        if not (pa.types.is_dictionary(kind) and pa.types.is_string(kind.value_type)):
            column = _text(column).dictionary_encode()
        dictionary = column.dictionary.to_pylist()
        if len(dictionary) == 1 and dictionary[0] is not None and not column.null_count:
            return cls((dictionary[0],), np.zeros(len(column), dtype=np.int64))
        values = tuple(sorted({each for each in dictionary if each is not None}))
        index = {value: i for i, value in enumerate(values)}
        codes = np.array([*(index.get(each, -1) for each in dictionary), -1], dtype=np.int64)
        # Null selects the last entry.
        indices = (
            pc.fill_null(column.indices.cast(pa.int64()), len(dictionary)) if column.null_count else column.indices
        )
        return cls(values, codes[indices.to_numpy(zero_copy_only=False)])

    def encode(self, rows: slice | NDArray[np.int64]) -> tuple[tuple[str, ...], NDArray[np.int32]]:
        """Return the distinct names of rows that all have one, and each row's index into them."""
        code = self.code[rows]
        present = np.bincount(code, minlength=len(self.values)) > 0
        names = tuple(name for name, is_present in zip(self.values, present.tolist(), strict=True) if is_present)
        return names, (np.cumsum(present) - 1)[code].astype(np.int32)

    def present(self, mask: NDArray[np.bool_]) -> list[int]:
        """Return the codes of the selected rows, all of which have a name."""
        codes: list[int] = np.flatnonzero(np.bincount(self.code[mask])).tolist()
        return codes


def _reject_names(reasons: NDArray[np.int8], names: _NameColumn, missing: Reason) -> None:
    by_name = [
        _REASON_CODES[missing if not name else Reason.WRONG_TYPE if name == INVALID_TEXT else None]
        for name in names.values
    ]
    by_row = np.array([*by_name, _REASON_CODES[missing]], dtype=np.int8)[names.code]
    np.copyto(reasons, by_row, where=reasons == 0)


def _reject_ids(reasons: NDArray[np.int8], rows: BatchRows) -> None:
    column = rows.column("id") if rows.has("id") else pa.nulls(len(rows))
    if pa.types.is_string(column.type) and not column.null_count:
        shortest = pc.min(pc.binary_length(column)).as_py()
        if shortest and not pc.any(pc.equal(column, INVALID_TEXT)).as_py():
            return
    ids = _text(column)
    missing = pc.or_kleene(pc.is_null(ids), pc.fill_null(pc.equal(ids, ""), True))
    _reject(reasons, missing.to_numpy(zero_copy_only=False), Reason.MISSING_ID)
    wrong = pc.fill_null(pc.equal(ids, INVALID_TEXT), False)
    _reject(reasons, wrong.to_numpy(zero_copy_only=False), Reason.WRONG_TYPE)


def _reject(reasons: NDArray[np.int8], mask: NDArray[np.bool_], reason: Reason) -> None:
    if mask.any():
        reasons[mask & (reasons == 0)] = _REASON_CODES[reason]


def split_rows(table: pa.Table, rows: Sequence[int]) -> Iterator[bytes]:
    """Serialise each given row as its own Arrow IPC stream; empty bytes after `MAX_SPLIT_BYTES` in all.

    Each stream carries the whole schema: many rows of many columns are far larger apart than together.
    """
    size = 0
    for i in rows:
        if size > MAX_SPLIT_BYTES:
            yield b""
            continue
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table.slice(i, 1))
        data: bytes = sink.getvalue().to_pybytes()
        size += len(data)
        yield data


def _text_column(rows: BatchRows | RowSelection, name: str) -> pa.Array:
    """Read a column as strings, null if the column is absent."""
    return _text(rows.column(name)) if rows.has(name) else pa.nulls(len(rows), pa.string())


def _text(column: Any) -> pa.Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_string(kind):
        return column
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return to_string(column)
    if pa.types.is_null(kind):
        return pa.nulls(len(column), pa.string())
    return pc.if_else(pc.is_valid(column), pa.scalar(INVALID_TEXT), pa.scalar(None, pa.string()))


def _seqs(rows: BatchRows) -> NDArray[np.int64]:
    """Read `seq`, −1 for a missing value or one that is not an integer."""
    column = rows.column("seq") if rows.has("seq") else None
    if column is None or not pa.types.is_integer(column.type):
        return np.full(len(rows), -1, dtype=np.int64)
    if pa.types.is_uint64(column.type):
        column = pc.if_else(pc.less_equal(column, 2**63 - 1), column, None)
    seqs: NDArray[np.int64] = pc.fill_null(column.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
    return seqs


def project_columns(
    rows: BatchRows | RowSelection, projection: Projection
) -> tuple[dict[str, NDArray[np.float64]], dict[str, pa.Array]]:
    """Read the projected columns, numbers and texts by source, as `EventColumns` has them."""
    readers = ((projection.numbers, _numbers), (projection.flags, _flags), (projection.times, _instants))
    numbers = {source: read(rows.column(source)) for sources, read in readers for source in sources if rows.has(source)}
    if CONFIDENCE in projection.numbers:
        # It is computed from the scores, even if a column has this name.
        numbers.pop(CONFIDENCE, None)
        largest = _largest_score(rows)
        if largest is not None:
            numbers[CONFIDENCE] = largest
    texts = {}
    for source in projection.texts:
        if not rows.has(source):
            continue
        column = rows.column(source)
        texts[source] = _class_text(column) if source == "class" else _text(column)
        if source in projection.hashed:
            texts[source] = replace_plain_values(texts[source], INVALID_TEXT)
    return numbers, texts


def _largest_score(rows: BatchRows | RowSelection) -> NDArray[np.float64] | None:
    """Return each row's largest score: NaN if it has none, invalid if one is invalid. None without score columns."""
    largest: NDArray[np.float64] | None = None
    for name in rows.names:
        if name.startswith(SCORES_PREFIX):
            values = _numbers(rows.column(name))
            values = np.where(np.isinf(values), np.inf, values)
            largest = values if largest is None else np.fmax(largest, values)
    return None if largest is None else largest + 0.0


def _numbers(column: Any) -> NDArray[np.float64]:
    """Read numbers: NaN for null, an infinity for invalid. The array may be Arrow's own, which is read-only."""
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
    milliseconds = arrow_to_ms(column) if pa.types.is_timestamp(column.type) else None
    return _numbers(column if milliseconds is None else milliseconds)


def _class_text(column: Any) -> pa.Array:
    if pa.types.is_boolean(column.type):
        return pc.if_else(column, "true", "false")
    if pa.types.is_integer(column.type):
        return column.cast(pa.string())
    return _text(column)
