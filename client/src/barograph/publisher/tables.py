"""Conversion of tables of events to the columns of Arrow messages: one set of names, types and times.

Accepts every object with Arrow's PyCapsule interface (pyarrow, pandas, polars, DuckDB and others) and imports only
pyarrow. Rows without an id or a time are removed and counted.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from barograph.contract import Contract, LabelSpec
from barograph.contract.label_values import refusal
from barograph.events import CONTEXT, FEATURES, MAPS, ROLES, label_key
from barograph.publisher.label_columns import label_texts, read_labels
from barograph.publisher.pii import Pii
from barograph.string_views import to_string
from barograph.values import InvalidEvent, epoch_ms

BLOCK_ROWS = 65_536
"""Rows converted at a time, so that a large table is never copied as a whole."""
EVENT_TIME = pa.timestamp("ms", "UTC")
_TEXT_MEMBERS = ("version", "arm", "class", "status", "error")
_ROLE = "role"
_NUMBER_MEMBERS = ("score", "latency_ms")
_PUBLISHER_MEMBERS = ("producer", "seq")
"""Members that the publisher sets; columns of these names are ignored without a warning."""


class Block(NamedTuple):
    """Rows that are ready to be encoded."""

    rows: pa.RecordBatch
    n_rejected: int
    """Rows that were removed because they have no id, no time or, in labels, no label."""
    unread: str = ""
    """Why some of these labels do not fit the contract, if there are any."""


def as_table(data: Any) -> pa.Table:
    """View a table of any library as a pyarrow Table, without a copy if its memory layout allows that.

    Raises:
        InvalidEvent: `data` is not a table.
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
        # The original text may hold a value, and this one is logged.
        raise InvalidEvent(
            f"the table cannot be read as Arrow ({type(error).__name__}); make each column of one type"
        ) from error
    raise InvalidEvent(
        f"{type(data).__name__} is not a table; pass a pyarrow Table or RecordBatch, or a pandas or polars DataFrame"
    )


def count_texts(rows: pa.RecordBatch) -> dict[str, int]:
    """Count texts in the numeric columns of prepared predictions: score, latency, scores and metrics."""
    numbers = [
        name for name in rows.schema.names if name in _NUMBER_MEMBERS or name.startswith(("scores.", "metrics."))
    ]
    counts = {}
    for name in numbers:
        column = rows.column(name)
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if (pa.types.is_string(kind) or pa.types.is_large_string(kind)) and len(column) > column.null_count:
            counts[name] = len(column) - column.null_count
    return counts


class PredictionTables:
    """Maps the columns of tables to those of Arrow messages, for one contract and version."""

    def __init__(
        self, contract: Contract, version: str, pii: Pii, *, wall_clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        """Index the contract's sources by bare name.

        Args:
            version: The version of rows that have none.
            wall_clock_ns: Returns nanoseconds since the Unix epoch; the time of rows that have none.
        """
        self._wall_clock_ns = wall_clock_ns
        self._model = contract.model
        self._version = version
        self._pii = pii
        self._by_bare_name: dict[str, str] = {}
        ignored = [f"{FEATURES}.{name}" for name in contract.ignored]
        for source in features_first([*contract.sources, *ignored]):
            map_name, _, name = source.partition(".")
            if name and map_name in MAPS:
                self._by_bare_name.setdefault(name, source)

    def columns(self, names: Sequence[str]) -> tuple[dict[str, int], list[str]]:
        """Map the columns of messages to positions in a table, and list the table's columns that are ignored.

        A column keeps its name if it is a member (`id`, `score`, `features.NAME`, …); `class_` becomes `class`. Any
        other column is a member of `features`, `context` or `metrics` if the contract has one of that name.

        Raises:
            InvalidEvent: There is no column `id`, or two columns map to the same member.
        """
        positions: dict[str, int] = {}
        ignored = []
        for position, name in enumerate(names):
            target = self._target(name)
            if target is None:
                ignored.append(name)
            elif target in positions:
                other = names[positions[target]]
                raise InvalidEvent(f"the columns {other!r} and {name!r} both mean {target}; drop one")
            else:
                positions[target] = position
        if "id" not in positions:
            raise InvalidEvent("the table has no column id; add one with the request's ids")
        return positions, [name for name in ignored if name not in _PUBLISHER_MEMBERS]

    def _target(self, name: str) -> str | None:
        if name in ("model", "id", "at", *_TEXT_MEMBERS, *_NUMBER_MEMBERS):
            return name
        if name == "class_":
            return "class"
        map_name, dot, member = name.partition(".")
        if dot and map_name in MAPS and member:
            return name
        return self._by_bare_name.get(name, _ROLE if name == _ROLE else None)

    def blocks(self, table: pa.Table) -> Iterator[Block]:
        """Convert the rows of a table, up to 65,536 at a time.

        Raises:
            InvalidEvent: A column is missing, is duplicated or has a type that cannot be read.
        """
        positions, _ = self.columns(table.column_names)
        _check_model(table, positions, self._model)
        now_ms = self._wall_clock_ns() // 1_000_000
        for block in _split(table):
            sources = {name: block.column(position) for name, position in positions.items() if name != "model"}
            yield self._block(sources, block.num_rows, now_ms)

    def _block(self, sources: Mapping[str, pa.Array], n_rows: int, now_ms: int) -> Block:
        columns: dict[str, pa.Array] = {"model": constant_column(self._model, n_rows)}
        columns["version"] = constant_column(self._version, n_rows)
        columns["id"] = _text("id", sources["id"])
        columns["at"] = _times(sources.get("at"), n_rows, now_ms)
        for name, values in sources.items():
            if name in ("id", "at"):
                continue
            if name == "version":
                versions = _text(name, values)
                columns[name] = pc.if_else(_is_filled(versions), versions, self._version)
            elif name == _ROLE:
                columns[name] = _roles(values)
            elif name in _TEXT_MEMBERS or name.startswith(f"{CONTEXT}."):
                columns[name] = _text(name, values)
            else:
                columns[name] = _value(values)
            protected = self._pii.protect_column(name, columns[name])
            if protected is None:
                del columns[name]
            else:
                columns[name] = protected
        return _select(columns, pc.and_(_is_filled(columns["id"]), columns["at"].is_valid()))


class LabelTables:
    """Maps the columns of tables of labels to those of Arrow messages, for one model."""

    def __init__(
        self, model: str, label: LabelSpec | None = None, *, wall_clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        """Set the model.

        Args:
            label: The contract's label, to whose type labels are converted; None: they stay as they are.
            wall_clock_ns: Returns nanoseconds since the Unix epoch; the time of rows that have none.
        """
        self._model = model
        self._label = label
        self._wall_clock_ns = wall_clock_ns

    def blocks(self, table: pa.Table) -> Iterator[Block]:
        """Convert the rows of a table with the columns `id`, `label` and, optionally, `at` and `model`.

        Raises:
            InvalidEvent: A column is missing or has a type that cannot be read.
        """
        positions = {name: table.column_names.index(name) for name in set(table.column_names)}
        for name in ("id", "label"):
            if name not in positions:
                raise InvalidEvent(f"the table has no column {name}; labels need id, label and at")
        _check_model(table, positions, self._model)
        now_ms = self._wall_clock_ns() // 1_000_000
        for block in _split(table):
            labels = _label_values(block.column(positions["label"]))
            at = block.column(positions["at"]) if "at" in positions else None
            columns = {
                "model": constant_column(self._model, block.num_rows),
                "id": _text("id", block.column(positions["id"])),
                "label": labels,
                "at": _times(at, block.num_rows, now_ms),
            }
            is_known = _is_known(labels)
            unread = ""
            if self._label is not None:
                columns["label"] = read_labels(self._label, labels)
                is_read = columns["label"].is_valid()
                if pc.any(pc.and_not(is_known, is_read)).as_py():
                    unread = refusal(self._label)
                is_known = is_read
            is_valid = pc.and_(_is_filled(columns["id"]), columns["at"].is_valid())
            yield _select(columns, pc.and_(is_valid, is_known), unread)


def known_ids(values: pa.Array) -> pa.Array:
    """Return a mask without nulls: where a column of ids has one, which is neither null nor empty.

    Raises:
        InvalidEvent: The column has a type that no id has.
    """
    return _is_filled(_text("id", values))


def known_labels(values: pa.Array) -> pa.Array:
    """Return a mask without nulls: where a column has a known label, which is neither null nor NaN nor infinite.

    Raises:
        InvalidEvent: The column has a type that no label has.
    """
    return _is_known(_label_values(values))


def unread_labels(label: LabelSpec, values: pa.Array) -> dict[str, int]:
    """Count the labels of a column that are not a form of a value of the contract, by their text.

    Args:
        values: Labels of any type; nulls, NaN and infinities are unknown labels and not counted.

    Raises:
        InvalidEvent: The column has a type that no label has.
    """
    values = _label_values(values)
    unread = values.filter(pc.and_not(_is_known(values), read_labels(label, values).is_valid()))
    return {each["values"]: each["counts"] for each in label_texts(unread).value_counts().to_pylist()}


def features_first(sources: Iterable[str]) -> list[str]:
    """Order sources so that a bare name means the feature if a context member or a metric has the same name."""
    return sorted(sources, key=lambda source: not source.startswith(f"{FEATURES}."))


def constant_column(text: str, n_rows: int) -> pa.Array:
    """Create a dictionary column that holds the same text in every row and stores it once."""
    indices = pa.repeat(pa.scalar(0, pa.int8()), n_rows)
    return pa.DictionaryArray.from_arrays(indices, pa.array([text], pa.string()))


def by_partition(rows: pa.RecordBatch, model: str, n_partitions: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Group rows of labels by the partition of their key: crc32(key) modulo the number of partitions."""
    prefix_crc = zlib.crc32(label_key(model, ""))
    positions: dict[int, list[int]] = {}
    for position, event_id in enumerate(rows.column("id").to_pylist()):
        positions.setdefault(zlib.crc32(event_id.encode(), prefix_crc) % n_partitions, []).append(position)
    for partition, partition_positions in sorted(positions.items()):
        yield partition, rows.take(pa.array(partition_positions, pa.int64()))


def _split(table: pa.Table) -> Iterator[pa.RecordBatch]:
    for start in range(0, table.num_rows, BLOCK_ROWS):
        yield from table.slice(start, BLOCK_ROWS).combine_chunks().to_batches()


def _check_model(table: pa.Table, positions: Mapping[str, int], model: str) -> None:
    if "model" not in positions:
        return
    others = [name for name in pc.unique(table.column(positions["model"])).to_pylist() if name not in (model, None)]
    if others:
        raise InvalidEvent(f"the column model holds {str(others[0])[:60]!r}; this publisher is for {model!r}")


def _select(columns: Mapping[str, pa.Array], mask: pa.Array, unread: str = "") -> Block:
    rows = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    mask = mask.fill_null(False)
    if mask.true_count == rows.num_rows:
        return Block(rows, 0)
    return Block(rows.filter(mask), rows.num_rows - mask.true_count, unread)


def _is_filled(texts: pa.Array) -> pa.Array:
    """Return a mask without nulls: where a text column holds at least one character."""
    return pc.not_equal(texts, "").fill_null(False)


def _decode(values: pa.Array) -> pa.Array:
    """Decode a dictionary column, since every message would carry the whole dictionary."""
    if not isinstance(values.type, pa.DictionaryType):
        return values
    dictionary = values.dictionary
    if pa.types.is_string_view(dictionary.type):  # polars categories; `take` does not support views
        dictionary = to_string(dictionary)
    return dictionary.take(values.indices)


def _text(name: str, values: pa.Array) -> pa.Array:
    values = _decode(values)
    if values.type == pa.string():
        return values
    try:
        return to_string(values)
    except (pa.ArrowException, NotImplementedError) as error:
        raise InvalidEvent(f"the column {name} has the type {values.type}; make it text") from error


def _roles(values: pa.Array) -> pa.Array:
    roles = _text(_ROLE, values)
    others = [role for role in pc.unique(roles).to_pylist() if role not in (*ROLES, None)]
    if others:
        raise InvalidEvent(f"the column role holds {str(others[0])[:60]!r}; make it one of {', '.join(ROLES)}")
    return roles


def _value(values: pa.Array) -> pa.Array:
    """Convert a feature or number to one of few types. Types that no event can hold stay, and consumers reject them."""
    values = _decode(values)
    kind = values.type
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return to_string(values)
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


def _label_values(values: pa.Array) -> pa.Array:
    values = _value(values)
    if not _is_label(values.type):
        raise InvalidEvent(f"label has the type {values.type}; make it flags, numbers or text")
    return values


def _is_known(labels: pa.Array) -> pa.Array:
    """Return a mask without nulls: where a label is neither null nor NaN nor infinite."""
    if pa.types.is_floating(labels.type):
        return pc.is_finite(labels).fill_null(False)
    return labels.is_valid()


def _timestamps(values: pa.Array) -> pa.Array:
    """Convert times to UTC milliseconds, rounded down. Times without a zone are UTC."""
    if pa.types.is_date(values.type):
        values = values.cast(pa.timestamp("s"))
    zone = getattr(values.type, "tz", None)
    if zone is None:
        return pc.assume_timezone(values.cast(pa.timestamp("ms"), safe=False), "UTC")
    return values.cast(EVENT_TIME, safe=False)


def _times(values: pa.Array | None, n_rows: int, now_ms: int) -> pa.Array:
    """Convert event times to UTC milliseconds: timestamps, epoch milliseconds, or RFC 3339 text with an offset."""
    if values is None:
        return pa.repeat(pa.scalar(now_ms, EVENT_TIME), n_rows)
    values = _decode(values)
    kind = values.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _timestamps(values)
    if pa.types.is_null(kind):
        return values.cast(EVENT_TIME)
    if pa.types.is_floating(kind):  # pandas stores integers with nulls as floats
        values = pc.if_else(pc.less(pc.abs(values), 2.0**53), pc.floor(values), None)
        return values.cast(pa.int64()).cast(EVENT_TIME)
    if pa.types.is_integer(kind):
        return values.cast(pa.int64()).cast(EVENT_TIME)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.array([_parse_time(text) for text in values.to_pylist()], pa.int64()).cast(EVENT_TIME)
    raise InvalidEvent(f"the column at has the type {kind}; make it timestamps or epoch milliseconds")


def _parse_time(text: str | None) -> int | None:
    try:
        return None if text is None else epoch_ms(datetime.fromisoformat(text))
    except ValueError:
        return None
