"""Tables of events as columns of the Arrow batch: names, types and times brought into one form.

Takes whatever speaks Arrow's PyCapsule interface (pyarrow, pandas, polars, DuckDB and others); none of these is
imported but pyarrow. Rows without id or time are left out and counted.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from barograph.contract import Contract
from barograph.events import MAPS, label_key
from barograph.publisher.pii import Pii
from barograph.values import InvalidEvent, epoch_ms

BLOCK_ROWS = 65_536
"""Rows prepared at a time, so that a large table is never copied whole."""
TIME = pa.timestamp("ms", "UTC")
_TEXT_MEMBERS = ("version", "arm", "class", "status", "error")
_NUMBER_MEMBERS = ("score", "latency_ms")
_OWN_MEMBERS = ("producer", "seq")
"""Written by the publisher itself; columns of these names are left out."""


class Block(NamedTuple):
    """Rows ready to be encoded."""

    rows: pa.RecordBatch
    n_rejected: int
    """Rows that were left out, for they have no id or no time (or no label)."""


def as_table(data: Any) -> pa.Table:
    """View any table as a pyarrow Table, without a copy where its memory allows.

    Raises:
        InvalidEvent: it is no table.
    """
    if isinstance(data, pa.Table):
        return data
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    try:
        if hasattr(data, "__arrow_c_stream__"):
            return pa.table(data)
        if hasattr(data, "to_arrow"):
            return data.to_arrow()
    except (pa.ArrowException, TypeError, ValueError) as error:
        # Its own text may hold a value, and this one is logged.
        raise InvalidEvent(
            f"the table cannot be read as Arrow ({type(error).__name__}); make each column of one type"
        ) from error
    raise InvalidEvent(
        f"{type(data).__name__} is no table; pass a pyarrow Table or RecordBatch, or a pandas or polars DataFrame"
    )


class PredictionTables:
    """Maps the columns of tables to those of the Arrow batch, for one contract and version."""

    def __init__(self, contract: Contract, version: str, pii: Pii) -> None:
        self._model = contract.model
        self._version = version
        self._pii = pii
        sources = [field.source for field in contract.fields] + [
            source for cut in contract.slices for source in cut.sources
        ]
        sources += [f"features.{name}" for name in contract.ignored]
        self._by_bare_name: dict[str, str] = {}
        for source in sorted(sources, key=lambda source: not source.startswith("features.")):
            room, _, name = source.partition(".")
            if name and room in MAPS:
                self._by_bare_name.setdefault(name, source)

    def columns(self, names: Sequence[str]) -> tuple[dict[str, int], list[str]]:
        """Map the batch's columns to positions in a table, and list the table's columns that are left out.

        A column keeps its name where it is a member (`id`, `score`, `features.NAME`, …); `class_` is `class`; any
        other is a member of `features`, `context` or `metrics` where the contract names it there.

        Raises:
            InvalidEvent: there is no column `id`, or two columns mean the same member.
        """
        found: dict[str, int] = {}
        left_out = []
        for position, name in enumerate(names):
            target = self._target(name)
            if target is None:
                left_out.append(name)
            elif target in found:
                raise InvalidEvent(f"the columns {names[found[target]]!r} and {name!r} both mean {target}; drop one")
            else:
                found[target] = position
        if "id" not in found:
            raise InvalidEvent("the table has no column id; add one with the request's ids")
        return found, [name for name in left_out if name not in _OWN_MEMBERS]

    def _target(self, name: str) -> str | None:
        if name in ("model", "id", "at", *_TEXT_MEMBERS, *_NUMBER_MEMBERS):
            return name
        if name == "class_":
            return "class"
        room, dot, member = name.partition(".")
        if dot and room in MAPS and member:
            return name
        return self._by_bare_name.get(name)

    def blocks(self, table: pa.Table) -> Iterator[Block]:
        """Prepare the rows of a table, up to 65,536 at a time.

        Raises:
            InvalidEvent: columns are missing, mean the same or have a type that cannot be read.
        """
        positions, _ = self.columns(table.column_names)
        _check_model(table, positions, self._model)
        now_ms = time.time_ns() // 1_000_000
        for block in _slices(table):
            read = {name: block.column(position) for name, position in positions.items() if name != "model"}
            yield self._block(read, block.num_rows, now_ms)

    def _block(self, read: Mapping[str, pa.Array], n_rows: int, now_ms: int) -> Block:
        columns: dict[str, pa.Array] = {"model": constant(self._model, n_rows)}
        columns["version"] = constant(self._version, n_rows)
        columns["id"] = _text("id", read["id"])
        columns["at"] = _times(read.get("at"), n_rows, now_ms)
        for name, values in read.items():
            if name in ("id", "at"):
                continue
            if name == "version":
                given = _text(name, values)
                columns[name] = pc.if_else(_filled(given), given, self._version)
            elif name in _TEXT_MEMBERS or name.startswith("context."):
                columns[name] = _text(name, values)
            else:
                columns[name] = _value(values)
            protected = self._pii.protect_column(name, columns[name])
            if protected is None:
                del columns[name]
            else:
                columns[name] = protected
        return _keep(columns, pc.and_(_filled(columns["id"]), columns["at"].is_valid()))


class LabelTables:
    """Maps the columns of tables of labels to those of the Arrow batch, for one model."""

    def __init__(self, model: str) -> None:
        self._model = model

    def blocks(self, table: pa.Table) -> Iterator[Block]:
        """Prepare the rows of a table with the columns `id`, `label` and, optional, `at` and `model`.

        Raises:
            InvalidEvent: columns are missing or have a type that cannot be read.
        """
        positions = {name: table.column_names.index(name) for name in set(table.column_names)}
        for name in ("id", "label"):
            if name not in positions:
                raise InvalidEvent(f"the table has no column {name}; labels need id, label and at")
        _check_model(table, positions, self._model)
        now_ms = time.time_ns() // 1_000_000
        for block in _slices(table):
            labels = _value(block.column(positions["label"]))
            if not _is_label(labels.type):
                raise InvalidEvent(f"label has the type {labels.type}; make it flags, numbers or text")
            at = block.column(positions["at"]) if "at" in positions else None
            columns = {
                "model": constant(self._model, block.num_rows),
                "id": _text("id", block.column(positions["id"])),
                "label": labels,
                "at": _times(at, block.num_rows, now_ms),
            }
            keep = pc.and_(_filled(columns["id"]), columns["at"].is_valid())
            keep = pc.and_(keep, labels.is_valid())
            if pa.types.is_floating(labels.type):
                keep = pc.and_kleene(keep, pc.is_finite(labels))
            yield _keep(columns, keep)


def constant(text: str, n_rows: int) -> pa.Array:
    """Make a column that holds the same text in every row, stored once."""
    indices = pa.repeat(pa.scalar(0, pa.int8()), n_rows)
    return pa.DictionaryArray.from_arrays(indices, pa.array([text], pa.string()))


def by_partition(rows: pa.RecordBatch, model: str, n_partitions: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Cut rows of labels by the partition their key belongs to: crc32(key) modulo the number of partitions."""
    begun = zlib.crc32(label_key(model, ""))
    chosen: dict[int, list[int]] = {}
    for position, event_id in enumerate(rows.column("id").to_pylist()):
        chosen.setdefault(zlib.crc32(event_id.encode(), begun) % n_partitions, []).append(position)
    for partition, positions in sorted(chosen.items()):
        yield partition, rows.take(pa.array(positions, pa.int64()))


def _slices(table: pa.Table) -> Iterator[pa.RecordBatch]:
    for start in range(0, table.num_rows, BLOCK_ROWS):
        yield from table.slice(start, BLOCK_ROWS).combine_chunks().to_batches()


def _check_model(table: pa.Table, positions: Mapping[str, int], model: str) -> None:
    if "model" not in positions:
        return
    others = [name for name in pc.unique(table.column(positions["model"])).to_pylist() if name not in (model, None)]
    if others:
        raise InvalidEvent(f"the column model holds {str(others[0])[:60]!r}; this publisher is for {model!r}")


def _keep(columns: Mapping[str, pa.Array], mask: pa.Array) -> Block:
    rows = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    mask = mask.fill_null(False)
    if mask.true_count == rows.num_rows:
        return Block(rows, 0)
    return Block(rows.filter(mask), rows.num_rows - mask.true_count)


def _filled(texts: pa.Array) -> pa.Array:
    """Where a text column holds at least one character; never null."""
    return pc.not_equal(texts, "").fill_null(False)


def _decoded(values: pa.Array) -> pa.Array:
    """Write a dictionary-encoded column out: every message would carry the whole dictionary."""
    if not isinstance(values.type, pa.DictionaryType):
        return values
    dictionary = values.dictionary
    if pa.types.is_string_view(dictionary.type):  # polars' categories; Arrow takes nothing from views
        dictionary = dictionary.cast(pa.string())
    return dictionary.take(values.indices)


def _text(name: str, values: pa.Array) -> pa.Array:
    values = _decoded(values)
    if values.type == pa.string():
        return values
    try:
        return values.cast(pa.string())
    except (pa.ArrowException, NotImplementedError) as error:
        raise InvalidEvent(f"the column {name} has the type {values.type}; make it text") from error


def _value(values: pa.Array) -> pa.Array:
    """Bring a feature or number into one of few types; what no event can hold stays, and is invalid to readers."""
    values = _decoded(values)
    kind = values.type
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return values.cast(pa.string())
    if pa.types.is_decimal(kind):
        return values.cast(pa.float64())
    if pa.types.is_float16(kind):
        return values.cast(pa.float32())
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _timestamps(values)
    return values


def _is_label(kind: pa.DataType) -> bool:
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return bool(numeric or pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_null(kind))


def _timestamps(values: pa.Array) -> pa.Array:
    """Bring times to UTC milliseconds (cut, not rounded); those without a zone are UTC already."""
    if pa.types.is_date(values.type):
        values = values.cast(pa.timestamp("s"))
    zone = getattr(values.type, "tz", None)
    if zone is None:
        return pc.assume_timezone(values.cast(pa.timestamp("ms"), safe=False), "UTC")
    return values.cast(TIME, safe=False)


def _times(values: pa.Array | None, n_rows: int, now_ms: int) -> pa.Array:
    """Bring event times to UTC milliseconds: timestamps, epoch milliseconds, or RFC 3339 text with an offset."""
    if values is None:
        return pa.repeat(pa.scalar(now_ms, TIME), n_rows)
    values = _decoded(values)
    kind = values.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _timestamps(values)
    if pa.types.is_null(kind):
        return values.cast(TIME)
    if pa.types.is_floating(kind):  # pandas makes floats of whole numbers beside nulls
        values = pc.if_else(pc.less(pc.abs(values), 2.0**53), pc.floor(values), None)
        return values.cast(pa.int64()).cast(TIME)
    if pa.types.is_integer(kind):
        return values.cast(pa.int64()).cast(TIME)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.array([_parsed(text) for text in values.to_pylist()], pa.int64()).cast(TIME)
    raise InvalidEvent(f"the column at has the type {kind}; make it timestamps or epoch milliseconds")


def _parsed(text: str | None) -> int | None:
    try:
        return None if text is None else epoch_ms(datetime.fromisoformat(text))
    except ValueError:
        return None
