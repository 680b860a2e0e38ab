"""Arrow batches → columns: no Python per value, and a bad row never costs its batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from barograph.contract_check import CONFIDENCE
from barograph.events import Reason
from numpy.typing import NDArray

from streams.arrow_stream import DETAIL_CHARS, open_table, refusal
from streams.batch import Dead, Decoded, MessageBatch
from streams.columns import INVALID_TEXT, Coded, EventColumns, arrivals, code_names
from streams.event_types import UNNAMED_ERROR
from streams.registry import Registry
from streams.times import refuse_times
from streams.wanted import SCORES_OF, Wanted, wanted

MAX_APART_BYTES = 64 << 20
LEFT_OUT = "too many rows were put aside at once to keep each one's bytes: see the message at this position"

_REQUIRED = (
    ("model", Reason.MISSING_MODEL),
    ("version", Reason.MISSING_VERSION),
    ("id", Reason.MISSING_ID),
)


class ArrowDecoder:
    """Decodes the Arrow predictions of all models of a registry."""

    def __init__(self, registry: Registry) -> None:
        self._wanted = {model: wanted(registry, model) for model in registry.contracts}

    def decode(self, batch: MessageBatch) -> Decoded:
        """Turn a batch of messages into columns per model and dead letters; every row ends in one of the two."""
        decoded = Decoded()
        tables: dict[Any, list[tuple[int, pa.Table]]] = {}
        for i, value in enumerate(batch.values):
            try:
                table = open_table(value)
            except ValueError as error:
                decoded.dead.append(batch.dead(i, refusal(value, error), str(error)))
                continue
            tables.setdefault(table.schema.remove_metadata(), []).append((i, table))
        for found in tables.values():
            self._decode_patiently(batch, found, decoded)
        return decoded

    def _decode_patiently(self, batch: MessageBatch, found: list[tuple[int, pa.Table]], decoded: Decoded) -> None:
        """Decode messages of one schema; what Arrow cannot compute on costs its own message only."""
        part = Decoded()
        try:
            self._decode_tables(batch, found, part)
        except (pa.ArrowException, ValueError, TypeError) as error:
            if len(found) == 1:
                decoded.dead.append(batch.dead(found[0][0], Reason.NOT_ARROW, str(error)[:DETAIL_CHARS]))
                return
            for one in found:
                self._decode_patiently(batch, [one], decoded)
            return
        decoded.events += part.events
        decoded.dead += part.dead
        decoded.arrivals += part.arrivals

    def _decode_tables(self, batch: MessageBatch, found: list[tuple[int, pa.Table]], decoded: Decoded) -> None:
        lengths = [table.num_rows for _, table in found]
        message = np.repeat([i for i, _ in found], lengths).astype(np.int64)
        index = np.concatenate([np.arange(n) for n in lengths]).astype(np.int32) if found else np.empty(0, np.int32)
        table = pa.concat_tables([table for _, table in found], promote_options="none").unify_dictionaries()
        reasons = np.full(len(message), "", dtype="U20")
        details: dict[str, str] = {}
        texts: dict[str, pa.Array] = {}
        for name, reason in _REQUIRED:
            column = as_text(table, name)
            texts[name] = column
            missing = pc.or_kleene(pc.is_null(column), pc.fill_null(pc.equal(column, ""), True))
            _refuse(reasons, missing.to_numpy(zero_copy_only=False), reason)
            wrong = pc.fill_null(pc.equal(column, INVALID_TEXT), False)
            _refuse(reasons, wrong.to_numpy(zero_copy_only=False), Reason.WRONG_TYPE)
        at_ms, no_time, bad_time = _times(table)
        _refuse(reasons, no_time, Reason.MISSING_TIME)
        _refuse(reasons, bad_time, Reason.BAD_TIME)
        received = batch.received_ms[message]
        refused = refuse_times(at_ms, received, None)
        if refused is not None:
            for reason in (Reason.FUTURE_TIME, Reason.TOO_OLD):
                _refuse(reasons, refused == reason, reason)
        good = reasons == ""
        for model in pc.unique(texts["model"].filter(pa.array(good))).to_pylist():
            own = pc.fill_null(pc.equal(texts["model"], model), False).to_numpy(zero_copy_only=False) & good
            want = self._wanted.get(model)
            if want is None:
                reasons[own] = Reason.UNKNOWN_MODEL
                details[Reason.UNKNOWN_MODEL] = model[:200]
                continue
            where = np.flatnonzero(own)
            part = table if len(where) == len(message) else table.take(pa.array(where))
            version = texts["version"].take(pa.array(where)).dictionary_encode()
            kinds = code_names(as_text(part, "error"), invalid=UNNAMED_ERROR)
            decoded.events.append(
                EventColumns(
                    model,
                    at_ms[where],
                    received[where],
                    batch.partition[message[where]],
                    batch.offset[message[where]],
                    index[where],
                    tuple(version.dictionary.to_pylist()),
                    version.indices.to_numpy(zero_copy_only=False).astype(np.int32),
                    np.zeros(len(where), dtype=bool) if kinds is None else kinds.code >= 0,
                    *_columns(part, want),
                    kinds,
                )
            )
        models = self._models(texts["model"])
        producer, seq = code_names(as_text(table, "producer")), _seqs(table)
        seen_ms = np.where(good, at_ms, received)
        for code, model in enumerate(models.values):
            own = models.code == code
            if producer is not None and own.any():
                decoded.arrivals += arrivals(model, seen_ms[own], producer.take(own), seq[own])
        bad = np.flatnonzero(reasons != "").tolist()
        for i, row in zip(bad, rows_apart(table, bad), strict=True):
            reason = Reason(str(reasons[i]))
            place = int(message[i])
            decoded.dead.append(
                Dead(
                    reason,
                    int(batch.partition[place]),
                    int(batch.offset[place]),
                    int(index[i]),
                    row,
                    details.get(reason, "") if row else LEFT_OUT,
                    models.values[models.code[i]] if models.code[i] >= 0 else "",
                    int(received[i]),
                )
            )

    def _models(self, texts: pa.Array) -> Coded:
        """Number the models that have a contract; −1 is any other."""
        known = tuple(sorted(self._wanted))
        code = pc.fill_null(pc.index_in(texts, value_set=pa.array(known, pa.string())), -1)
        return Coded(known, code.to_numpy(zero_copy_only=False))


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


def as_text(table: pa.Table, name: str) -> pa.Array:
    """A column as strings; null where it is absent or holds no text."""
    if name not in table.column_names:
        return pa.nulls(table.num_rows, pa.string())
    return _text(table.column(name).combine_chunks())


def _text(column: Any) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
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


def _refuse(reasons: NDArray[np.str_], where: NDArray[np.bool_], reason: Reason) -> None:
    reasons[where & (reasons == "")] = str(reason)


def _times(table: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Read `at`: Unix ms, where it is missing, where it cannot be read."""
    n = table.num_rows
    none = np.zeros(n, dtype=bool)
    if "at" not in table.column_names:
        return np.zeros(n, dtype=np.int64), ~none, none
    column = table.column("at").combine_chunks()
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


def _seqs(table: pa.Table) -> NDArray[np.int64]:
    """Read `seq`, −1 where it is missing or no whole number."""
    column = table.column("seq").combine_chunks() if "seq" in table.column_names else None
    if column is None or not pa.types.is_integer(column.type):
        return np.full(table.num_rows, -1, dtype=np.int64)
    if pa.types.is_uint64(column.type):
        column = pc.if_else(pc.less_equal(column, 2**63 - 1), column, None)
    seqs: NDArray[np.int64] = pc.fill_null(column.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
    return seqs


def _columns(table: pa.Table, want: Wanted) -> tuple[dict[str, NDArray[np.float64]], dict[str, pa.Array]]:
    held = set(table.column_names)
    numbers = {}
    if CONFIDENCE in want.numbers:
        held.discard(CONFIDENCE)
        largest = _largest(table)
        if largest is not None:
            numbers[CONFIDENCE] = largest
    for sources, read in ((want.numbers, _numbers), (want.flags, _flags), (want.times, _instants)):
        for source in _held(sources, held):
            numbers[source] = read(table.column(source).combine_chunks())
    texts = {}
    for source in _held(want.texts, held):
        column = table.column(source).combine_chunks()
        texts[source] = _class_text(column) if source == "class" else _text(column)
    return numbers, texts


def _largest(table: pa.Table) -> NDArray[np.float64] | None:
    """The largest of each row's scores: NaN where it has none, invalid where one is invalid; None without columns."""
    largest: NDArray[np.float64] | None = None
    for name in table.column_names:
        if name.startswith(SCORES_OF):
            values = _numbers(table.column(name).combine_chunks())
            values[np.isinf(values)] = np.inf
            largest = values if largest is None else np.fmax(largest, values)
    return None if largest is None else largest + 0.0


def _held(sources: Iterable[str], held: set[str]) -> list[str]:
    return [source for source in sources if source in held]


def _numbers(column: Any) -> NDArray[np.float64]:
    """Read numbers: NaN for null, an infinity for what is none."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    null = pc.is_null(column).to_numpy(zero_copy_only=False)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False).copy()
        values[np.isnan(values)] = np.inf
    else:
        values = np.full(len(column), np.inf)
    values[null] = np.nan
    found: NDArray[np.float64] = values
    return found


def _flags(column: Any) -> NDArray[np.float64]:
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    values = _numbers(column)
    values[(values != 0) & (values != 1) & ~np.isnan(values)] = np.inf
    return values


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
