"""Arrow predictions → raw rows: maps are built from columns, without Python code per value.

The sketcher's decoder decides which rows are events; here they become rows of the table `predictions`. A null is an
absent value, since a batch has every column for every row. In `features.NAME` it is recorded among the nulls.
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
from streams.events.hashed_values import NOT_HASHED, replace_plain_values
from streams.recorder.arrow_values import is_number, plain_array, plain_column, to_mask, to_numbers, to_text
from streams.recorder.map_columns import FeatureColumns, MapColumns
from streams.recorder.rows import (
    FEATURES,
    RecordedModel,
    build_table,
    position_columns,
    recorded_models,
    time_column,
    unknown_column,
)
from streams.registry.registry import Registry

_TEXTS = ("arm", "class", "status", "error", "producer")
_NUMBERS = ("score", "latency_ms")
_MEMBERS = frozenset(("model", "version", "id", "at", "seq", *_TEXTS, *_NUMBERS))
_PREFIXES = (FEATURES, "context.", "scores.", "metrics.")


class ArrowRows:
    """Builds raw rows from the Arrow predictions of all models of a registry."""

    def __init__(self, registry: Registry) -> None:
        self._models = recorded_models(registry)
        self._decoder = ArrowDecoder(registry)

    def rows(self, batch: MessageBatch) -> list[pa.Table]:
        """Build the rows of a batch, one table per model and schema. Rows that the decoder rejects give none."""
        decoded = self._decoder.decode(batch).events
        if not decoded:
            return []
        tables = _MessageTables(batch)
        return [rows for events in decoded for rows in self._rows(events, tables, batch)]

    def _rows(self, events: EventColumns, tables: _MessageTables, batch: MessageBatch) -> list[pa.Table]:
        model = self._models[events.model]
        table, messages = tables.take(events)
        ids = to_text(plain_array(table.column("id")))
        if model.share < 1:
            mask = model.sample(ids.to_pylist())
            if not mask.any():
                return []
            arrow_mask = pa.array(mask)
            events, table, messages = events.take(mask), table.filter(arrow_mask), messages[mask]
            ids = ids.filter(arrow_mask)
        columns = position_columns(batch, messages, events.index)
        versions = pa.array(events.versions, pa.string()).take(pa.array(events.version_code))
        columns |= {"model": pa.repeat(events.model, len(events)), "version": versions, "id": ids}
        columns["at"] = time_column(events.at_ms)
        return [build_table("predictions", columns | _member_columns(model, table))]


class _MessageTables:
    """The tables of a batch's messages, concatenated by schema."""

    def __init__(self, batch: MessageBatch) -> None:
        groups: dict[Any, list[pa.Table]] = {}
        lengths: dict[Any, int] = {}
        self._location: dict[tuple[int, int], tuple[Any, int, int]] = {}
        """Partition and offset of a message → its schema, its first row there and its index in the batch."""
        for i, value in enumerate(batch.values):
            try:
                table = open_table(value)
            except ValueError:
                continue
            schema = table.schema.remove_metadata()
            start = lengths.get(schema, 0)
            self._location[int(batch.partition[i]), int(batch.offset[i])] = schema, start, i
            groups.setdefault(schema, []).append(table.replace_schema_metadata())
            lengths[schema] = start + table.num_rows
        self._tables = {schema: pa.concat_tables(tables).unify_dictionaries() for schema, tables in groups.items()}

    def take(self, events: EventColumns) -> tuple[pa.Table, NDArray[np.int64]]:
        """Return the rows of events, in their order, and each one's message as an index into the batch."""
        changes = (np.diff(events.partition) != 0) | (np.diff(events.offset) != 0)
        first = np.flatnonzero(np.concatenate(([True], changes)))
        lengths = np.diff(np.append(first, len(events)))
        locations = [self._location[int(events.partition[i]), int(events.offset[i])] for i in first.tolist()]
        starts = np.repeat([start for _, start, _ in locations], lengths)
        messages = np.repeat([message for _, _, message in locations], lengths)
        # All events of one `EventColumns` have one schema.
        table = self._tables[locations[0][0]]
        rows = starts + events.index
        is_whole = len(rows) == table.num_rows and bool((rows == np.arange(len(rows))).all())
        return table if is_whole else table.take(pa.array(rows)), messages


def _member_columns(model: RecordedModel, table: pa.Table) -> dict[str, pa.Array]:
    """Build the columns of `predictions` that come from the members of events."""
    n = table.num_rows
    unknown = np.zeros(n, dtype=np.int64)
    features = FeatureColumns(n)
    context, scores, metrics = MapColumns(), MapColumns(), MapColumns()
    for name in table.column_names:
        prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), "")
        if name in _MEMBERS:
            continue
        column = plain_array(table.column(name))
        if name in model.hashed:
            column = replace_plain_values(to_text(column), NOT_HASHED)
        present = to_mask(pc.is_valid(column))
        key = name.removeprefix(prefix)
        if not prefix or (prefix == FEATURES and key not in model.known):
            unknown += present
        if prefix == FEATURES:
            features.nulls.add(key, None, ~present)
            if is_number(column.type, feature=True):
                features.numbers.add(key, to_numbers(column), present)
            else:
                features.strings.add(key, to_text(column), present)
        elif prefix == "context.":
            context.add(key, to_text(column), present)
        elif prefix and is_number(column.type):
            (scores if prefix == "scores." else metrics).add(key, to_numbers(column), present)
        elif prefix:
            unknown += present
    columns = features.arrays()
    columns |= {"context": context.texts(n), "scores": scores.numbers(n), "metrics": metrics.numbers(n)}
    for name in _TEXTS:
        columns[name] = pc.fill_null(to_text(plain_column(table, name)), "")
    for name in _NUMBERS:
        column = plain_column(table, name)
        if is_number(column.type):
            columns[name] = pa.array(to_numbers(column))
        else:
            columns[name] = pa.array(np.full(n, np.nan))
            unknown += to_mask(pc.is_valid(column))
    columns["seq"] = _seqs(plain_column(table, "seq"))
    columns["unknown"] = unknown_column(n, [unknown])
    return columns


def _seqs(column: pa.Array) -> pa.Array:
    if not pa.types.is_integer(column.type):
        return pa.repeat(pa.scalar(-1, pa.int64()), len(column))
    numbers = pc.fill_null(column.cast(pa.int64(), safe=False), -1)
    return pc.if_else(pc.less(numbers, 0), -1, numbers)
