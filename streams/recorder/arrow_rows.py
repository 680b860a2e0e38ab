"""Arrow predictions → raw rows: maps are built from columns, no Python per value.

The sketcher's own decoder decides which rows are events; here they become rows of the table `predictions`. A null is
an absent value there: a batch has every column for every row. In `features.NAME` it is recorded among the nulls.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from streams.events.arrow_decoder import ArrowDecoder
from streams.events.arrow_message import open_table
from streams.events.batch import MessageBatch
from streams.events.columns import EventColumns
from streams.recorder.map_columns import Entries, FeatureColumns
from streams.recorder.rows import FEATURES, RawModel, positions, raw_models, rows_of, times, unknown
from streams.recorder.values import UNWRITABLE, text_of
from streams.registry.registry import Registry

_TEXTS = ("arm", "class", "status", "error", "producer")
_NUMBERS = ("score", "latency_ms")
_MEMBERS = frozenset(("model", "version", "id", "at", "seq", *_TEXTS, *_NUMBERS))
_PREFIXES = (FEATURES, "context.", "scores.", "metrics.")


class RawArrow:
    """Makes raw rows of the Arrow predictions of all models of a registry."""

    def __init__(self, registry: Registry) -> None:
        self._models = raw_models(registry)
        self._judge = ArrowDecoder(registry)

    def rows(self, batch: MessageBatch) -> list[pa.Table]:
        """Make rows of a batch, one table per model and schema; rows that the sketcher puts aside give none."""
        counted = self._judge.decode(batch).events
        if not counted:
            return []
        tables = _Tables(batch)
        return [rows for events in counted for rows in self._rows(events, tables, batch)]

    def _rows(self, events: EventColumns, tables: _Tables, batch: MessageBatch) -> list[pa.Table]:
        model = self._models[events.model]
        table, message = tables.take(events)
        ids = as_texts(plain(table.column("id")))
        if model.share < 1:
            keep = model.keep(ids.to_pylist())
            if not keep.any():
                return []
            events, table, message = events.take(keep), table.filter(pa.array(keep)), message[keep]
            ids = ids.filter(pa.array(keep))
        made = positions(batch, message, events.index)
        versions = pa.array(events.versions, pa.string()).take(pa.array(events.version_code))
        made |= {"model": pa.repeat(events.model, len(events)), "version": versions, "id": ids}
        made["at"] = times(events.at_ms)
        return [_members(model, table, made)]


class _Tables:
    """The tables of a batch's messages, those of one schema end to end."""

    def __init__(self, batch: MessageBatch) -> None:
        groups: dict[Any, list[pa.Table]] = {}
        lengths: dict[Any, int] = {}
        self._place: dict[tuple[int, int], tuple[Any, int, int]] = {}
        for i, value in enumerate(batch.values):
            try:
                table = open_table(value)
            except ValueError:
                continue
            schema = table.schema.remove_metadata()
            start = lengths.get(schema, 0)
            self._place[int(batch.partition[i]), int(batch.offset[i])] = schema, start, i
            groups.setdefault(schema, []).append(table.replace_schema_metadata())
            lengths[schema] = start + table.num_rows
        self._tables = {schema: pa.concat_tables(found).unify_dictionaries() for schema, found in groups.items()}

    def take(self, events: EventColumns) -> tuple[pa.Table, NDArray[np.int64]]:
        """The rows of some events, in their order, and each one's message as a position in the batch."""
        changes = (np.diff(events.partition) != 0) | (np.diff(events.offset) != 0)
        first = np.flatnonzero(np.concatenate(([True], changes)))
        lengths = np.diff(np.append(first, len(events)))
        places = [self._place[int(events.partition[i]), int(events.offset[i])] for i in first.tolist()]
        starts = np.repeat([start for _, start, _ in places], lengths)
        message = np.repeat([position for _, _, position in places], lengths)
        # The decoder makes columns of one schema at a time.
        table = self._tables[places[0][0]]
        rows = starts + events.index
        whole = len(rows) == table.num_rows and bool((rows == np.arange(len(rows))).all())
        return table if whole else table.take(pa.array(rows)), message


def _members(model: RawModel, table: pa.Table, made: dict[str, pa.Array]) -> pa.Table:
    n = table.num_rows
    passed_over = np.zeros(n, dtype=np.int64)
    features = FeatureColumns(n)
    context, scores, metrics = Entries(), Entries(), Entries()
    for name in table.column_names:
        prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), "")
        if name in _MEMBERS:
            continue
        column = plain(table.column(name))
        held = pc.is_valid(column).to_numpy(zero_copy_only=False)
        key = name.removeprefix(prefix)
        if not prefix or (prefix == FEATURES and key not in model.known):
            passed_over += held
        if prefix == FEATURES:
            features.nulls.add(key, None, ~held)
            if is_number(column.type, flags=True):
                features.numbers.add(key, as_numbers(column), held)
            else:
                features.strings.add(key, as_texts(column), held)
        elif prefix == "context.":
            context.add(key, as_texts(column), held)
        elif prefix and is_number(column.type):
            (scores if prefix == "scores." else metrics).add(key, as_numbers(column), held)
        elif prefix:
            passed_over += held
    features.into(made)
    made |= {"context": context.texts(n), "scores": scores.numbers(n), "metrics": metrics.numbers(n)}
    for name in _TEXTS:
        made[name] = pc.fill_null(as_texts(_column(table, name)), "")
    for name in _NUMBERS:
        column = _column(table, name)
        if is_number(column.type):
            made[name] = pa.array(as_numbers(column))
        else:
            made[name] = pa.array(np.full(n, np.nan))
            passed_over += pc.is_valid(column).to_numpy(zero_copy_only=False)
    made["seq"] = _seqs(_column(table, "seq"))
    made["unknown"] = unknown(n, [passed_over])
    return rows_of("predictions", made)


def _column(table: pa.Table, name: str) -> pa.Array:
    return plain(table.column(name)) if name in table.column_names else pa.nulls(table.num_rows, pa.string())


def plain(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array, not dictionary encoded."""
    whole = column.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = pa.concat_arrays(whole.chunks)
    if not pa.types.is_dictionary(whole.type):
        return whole
    values = whole.dictionary
    # Arrow takes nothing from views of strings.
    return (as_texts(values) if is_text(values.type) else values).take(whole.indices)


def is_text(kind: pa.DataType) -> bool:
    """Whether values of a type are text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_number(kind: pa.DataType, *, flags: bool = False) -> bool:
    """Whether values of a type are numbers; of features flags and times are as well."""
    types = pa.types
    if flags and (types.is_boolean(kind) or types.is_timestamp(kind) or types.is_date(kind)):
        return True
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))


def as_numbers(column: pa.Array) -> NDArray[np.float64]:
    """Read a column as numbers: true as 1, times as Unix milliseconds; NaN where it is null."""
    kind = column.type
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    elif pa.types.is_date(kind):
        column = column.cast(pa.timestamp("ms")).cast(pa.int64())
    elif pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("ms", kind.tz), safe=False).cast(pa.int64())
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))


def as_texts(column: pa.Array) -> pa.Array:
    """Read a column as text: flags and whole numbers as JSON has them, what is no scalar as its JSON."""
    kind = column.type
    if is_text(kind):
        return column.cast(pa.string())
    if pa.types.is_null(kind):
        return pa.nulls(len(column), pa.string())
    if pa.types.is_boolean(kind):
        return pc.if_else(column, "true", "false")
    if pa.types.is_integer(kind):
        return column.cast(pa.string())
    try:
        values = column.to_pylist()
    except (OverflowError, ValueError):  # times beyond Python's
        return pc.if_else(pc.is_valid(column), UNWRITABLE, pa.scalar(None, pa.string()))
    return pa.array([None if value is None else text_of(value) for value in values], pa.string())


def _seqs(column: pa.Array) -> pa.Array:
    if not pa.types.is_integer(column.type):
        return pa.repeat(pa.scalar(-1, pa.int64()), len(column))
    numbers = pc.fill_null(column.cast(pa.int64(), safe=False), -1)
    return pc.if_else(pc.less(numbers, 0), -1, numbers)
