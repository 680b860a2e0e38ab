"""Arrow predictions → raw rows: maps are built from columns, without Python code per value.

The sketcher's decoder decides which rows are events; here they become rows of the table `predictions`. A null is an
absent value, since a batch has every column for every row. In `features.NAME` it is recorded among the nulls.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from barograph_server.streams.events.arrow_decoder import ArrowDecoder, OpenedMessage
from barograph_server.streams.events.arrow_message import COLUMN_ERRORS, KnownSchema, open_message
from barograph_server.streams.events.batch import Decoded, MessageBatch
from barograph_server.streams.events.columns import EventColumns
from barograph_server.streams.events.hashed_values import NOT_HASHED, replace_plain_values
from barograph_server.streams.recorder.arrow_values import PlainRows, is_number, to_mask, to_numbers, to_text
from barograph_server.streams.recorder.map_columns import FeatureColumns, MapColumns
from barograph_server.streams.recorder.rows import (
    FEATURES,
    RecordedModel,
    build_table,
    position_columns,
    recorded_models,
    shadow_column,
    time_column,
    unknown_column,
)
from barograph_server.streams.registry.registry import Registry

MAX_JOINED_BYTES = 32 << 20
"""Unpacked bytes of messages whose rows are built together, so that a column costs little compared with its values."""
_TEXTS = ("arm", "class", "status", "error", "producer")
_NUMBERS = ("score", "latency_ms")
_MEMBERS = frozenset(("model", "version", "id", "at", "role", "seq", *_TEXTS, *_NUMBERS))
_PREFIXES = (FEATURES, "context.", "scores.", "metrics.")


class ArrowRows:
    """Builds raw rows from the Arrow predictions of all models of a registry."""

    def __init__(self, registry: Registry) -> None:
        self._models = recorded_models(registry)
        self._decoder = ArrowDecoder(registry)
        self.omitted: list[int] = []
        """Messages of the last batch that have no rows because of an error, as indices into the batch."""

    def rows(self, batch: MessageBatch) -> list[pa.Table]:
        """Build the rows of a batch, one or more tables per model and schema, in no particular order.

        Rows that the decoder rejects give none.
        """
        tables: list[pa.Table] = []
        messages: dict[KnownSchema, list[OpenedMessage]] = {}
        n_bytes, self.omitted = 0, []
        for i, value in enumerate(batch.values):
            try:
                batches, schema, size = open_message(value)
            except ValueError:
                continue
            own = OpenedMessage(i, sum(each.num_rows for each in batches), batches)
            messages.setdefault(schema, []).append(own)
            n_bytes += size
            if n_bytes >= MAX_JOINED_BYTES:
                tables += self._rows_by_schema(batch, messages)
                messages, n_bytes = {}, 0
        return tables + self._rows_by_schema(batch, messages)

    def _rows_by_schema(self, batch: MessageBatch, messages: dict[KnownSchema, list[OpenedMessage]]) -> list[pa.Table]:
        return [table for known, own in messages.items() for table in self._joined_rows(batch, known.schema, own)]

    def _joined_rows(self, batch: MessageBatch, schema: pa.Schema, messages: list[OpenedMessage]) -> list[pa.Table]:
        """Build the rows of messages of one schema. If that fails, they are bisected: one message is omitted."""
        decoded = Decoded()
        try:
            self._decoder.decode_opened(batch, schema, messages, decoded)
            if not decoded.events:
                return []
            joined = _JoinedMessages(batch, schema, messages)
            return [rows for events in decoded.events for rows in self._rows(events, joined, batch)]
        except COLUMN_ERRORS:
            if len(messages) == 1:
                self.omitted.append(messages[0].position)
                return []
            half = len(messages) // 2
            parts = messages[:half], messages[half:]
            return [rows for part in parts for rows in self._joined_rows(batch, schema, part)]

    def _rows(self, events: EventColumns, joined: _JoinedMessages, batch: MessageBatch) -> list[pa.Table]:
        model = self._models[events.model]
        rows, messages = joined.find(events)
        ids = to_text(rows.column("id"))
        if model.share < 1:
            mask = model.sample(ids.to_pylist())
            if not mask.any():
                return []
            events, rows, messages = events.take(mask), rows.select(mask), messages[mask]
            ids = ids.filter(pa.array(mask))
        columns = position_columns(batch, messages, events.index)
        versions = pa.array(events.versions, pa.string()).take(pa.array(events.version_code))
        columns |= {"model": pa.repeat(events.model, len(events)), "version": versions, "id": ids}
        columns["at"] = time_column(events.at_ms)
        columns["shadow"] = shadow_column(events.shadow, len(events))
        return [build_table("predictions", columns | _member_columns(model, rows))]


class _JoinedMessages:
    """The rows of messages of one schema."""

    def __init__(self, batch: MessageBatch, schema: pa.Schema, messages: list[OpenedMessage]) -> None:
        self._table = pa.Table.from_batches([each for message in messages for each in message.batches], schema)
        self._start: dict[tuple[int, int], tuple[int, int]] = {}
        """Partition and offset of a message → its first row and its index in the batch."""
        start = 0
        for position, n_rows, _ in messages:
            self._start[int(batch.partition[position]), int(batch.offset[position])] = start, position
            start += n_rows

    def find(self, events: EventColumns) -> tuple[PlainRows, NDArray[np.int64]]:
        """Return the rows of events, in their order, and each one's message as an index into the batch."""
        changes = (np.diff(events.partition) != 0) | (np.diff(events.offset) != 0)
        first = np.flatnonzero(np.concatenate(([True], changes)))
        lengths = np.diff(np.append(first, len(events)))
        starts = [self._start[int(events.partition[i]), int(events.offset[i])] for i in first.tolist()]
        messages = np.repeat([message for _, message in starts], lengths)
        rows = np.repeat([start for start, _ in starts], lengths).astype(np.int64) + events.index
        is_whole = len(rows) == self._table.num_rows and bool((rows == np.arange(len(rows))).all())
        return PlainRows(self._table, None if is_whole else rows), messages


def _member_columns(model: RecordedModel, rows: PlainRows) -> dict[str, pa.Array]:
    """Build the columns of `predictions` that come from the members of events."""
    n = len(rows)
    unknown = np.zeros(n, dtype=np.int64)
    features = FeatureColumns(n)
    context, scores, metrics = MapColumns(), MapColumns(), MapColumns()
    for name in rows.names:
        prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), "")
        if name in _MEMBERS:
            continue
        column = rows.column(name)
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
        columns[name] = pc.fill_null(to_text(rows.column(name)), "")
    for name in _NUMBERS:
        column = rows.column(name)
        if is_number(column.type):
            columns[name] = pa.array(to_numbers(column))
        else:
            columns[name] = pa.array(np.full(n, np.nan))
            unknown += to_mask(pc.is_valid(column))
    columns["seq"] = _seqs(rows.column("seq"))
    columns["unknown"] = unknown_column(n, [unknown])
    return columns


def _seqs(column: pa.Array) -> pa.Array:
    if not pa.types.is_integer(column.type):
        return pa.repeat(pa.scalar(-1, pa.int64()), len(column))
    numbers = pc.fill_null(column.cast(pa.int64(), safe=False), -1)
    return pc.if_else(pc.less(numbers, 0), -1, numbers)
