"""Checks of tables against the contract, column by column in Arrow: the checks of `validation.rows` for many rows."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any, get_args

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from barograph.contract import Contract, Field
from barograph.events import FEATURES, MAPS
from barograph.publisher.tables import as_table, features_first
from barograph.string_views import to_string
from barograph.validation.rows import ViolationKind, known_features, time_ms
from barograph.values import text_of

SAMPLES = 5
"""Rows to report per violation."""
SAMPLE_CHARS = 60
"""Characters to report of a value."""
_CHUNK_ROWS = 1 << 18
"""Rows to check at a time."""
_IDENTITY = ("id", "model", "version", "at")
MEMBERS = frozenset((*_IDENTITY, "arm", "class", "class_", "status", "error", "score", "latency_ms"))
"""Columns that are members of events, never features."""
_NON_FEATURES = ("label", "role", "producer", "seq")
"""Further columns that are not features unless the contract names them."""
_NUMBER_TEXT = r"^\s*[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|(?i:nan|inf|infinity))\s*$"
_FLAG_TEXT = r"^(?i:true|false|0|1)$"


class TableViolation(msgspec.Struct, frozen=True):
    """One violation of the contract by rows of one column."""

    field: str
    kind: ViolationKind
    n: int
    """Violating rows."""
    n_checked: int
    """Checked rows."""
    limit: float | None = None
    """The exceeded limit of the contract's range for `below` and `above`; for timestamps an age in seconds."""
    expected_type: str = ""
    """The contract's type for `type`: `float`, `int`, `bool`, `category`, `timestamp`."""
    rows: tuple[int, ...] = ()
    """The first such rows, from 0; none if the whole column is `missing` or `unknown`."""
    examples: tuple[str, ...] = ()
    """The values of these rows; none for personal data and nulls."""

    @property
    def share(self) -> float:
        """The share of violating rows; 0 for an empty table."""
        return self.n / self.n_checked if self.n_checked else 0.0


def validate_table(
    contract: Contract,
    table: Any,
    *,
    at: str = "at",
    exclude: Collection[str] = (),
    samples: int = SAMPLES,
    text_values: bool = False,
) -> list[TableViolation]:
    """Check a table of features against a contract.

    A field is read from the column of its source (`features.temp`) or of its bare name (`temp`). Features must be
    present. Fields that read the score, the class, the latency, context or metrics are checked if they are present.

    Args:
        table: A table of pyarrow, pandas or polars, or another object with Arrow's PyCapsule interface.
        at: The column of event times, from which the ages of timestamps are computed; without it, ages are not checked.
        exclude: Columns that are not features, such as an id or a label of another name.
        samples: The most rows to report per violation.
        text_values: Whether text may represent numbers and flags, as in CSV.

    Returns:
        Violations in the contract's order, unknown columns last; empty if there are none.

    Raises:
        InvalidEvent: `table` is not a table.
    """
    checker = TableChecker(contract, at=at, exclude=exclude, samples=samples, text_values=text_values)
    checker.add(as_table(table))
    return checker.violations()


class TableChecker:
    """Checks a table that arrives in chunks; a chunk's size bounds memory. Takes the arguments of `validate_table`."""

    def __init__(
        self,
        contract: Contract,
        *,
        at: str = "at",
        exclude: Collection[str] = (),
        samples: int = SAMPLES,
        text_values: bool = False,
    ) -> None:
        self._contract = contract
        self._at = at
        self._exclude = exclude
        self._samples = samples
        self._text_values = text_values
        self._violations: dict[tuple[int, ViolationKind, str], TableViolation] = {}
        self.rows = 0
        """Rows checked so far."""

    def add(self, table: pa.Table, row_numbers: Sequence[int] | None = None) -> None:
        """Check further rows.

        Args:
            table: The rows, with the same columns as before.
            row_numbers: The number to report for each row; by default its position among all added rows.
        """
        for start in range(0, table.num_rows, _CHUNK_ROWS):
            piece = table.slice(start, _CHUNK_ROWS)
            if row_numbers is None:
                numbers: Sequence[int] = range(self.rows, self.rows + piece.num_rows)
            else:
                numbers = row_numbers[start : start + piece.num_rows]
            self._add(piece, numbers)
            self.rows += piece.num_rows

    def violations(self) -> list[TableViolation]:
        """List the violations so far in the contract's order, unknown columns last."""
        order = {kind: position for position, kind in enumerate(get_args(ViolationKind))}
        keys = sorted(self._violations, key=lambda key: (key[0], order[key[1]]))
        return [msgspec.structs.replace(self._violations[key], n_checked=self.rows) for key in keys]

    def _add(self, piece: pa.Table, numbers: Sequence[int]) -> None:
        names = piece.column_names
        columns = source_columns(self._contract, names)
        at_ms = _event_times(piece, self._at)
        for position, field in enumerate(self._contract.fields):
            name = columns.get(field.source)
            if name is None:
                if field.source.startswith(f"{FEATURES}."):
                    self._record(position, TableViolation(field.name, "missing", len(numbers), 0))
                continue
            column = _ColumnCheck(field, _plain(piece.column(name)), self._text_values)
            for kind, mask in column.faults(at_ms):
                rows = pc.indices_nonzero(mask)
                if len(rows):
                    self._record(position, _violation(field, kind, column, rows, self._samples, numbers))
        for position, name in enumerate(unknown_columns(self._contract, names, self._at, self._exclude)):
            self._record(len(self._contract.fields) + position, TableViolation(name, "unknown", len(numbers), 0))

    def _record(self, position: int, violation: TableViolation) -> None:
        key = (position, violation.kind, violation.field)
        known = self._violations.get(key)
        if known is not None:
            violation = msgspec.structs.replace(
                known,
                n=known.n + violation.n,
                rows=(known.rows + violation.rows)[: self._samples],
                examples=(known.examples + violation.examples)[: self._samples],
            )
        self._violations[key] = violation


def source_columns(contract: Contract, names: Collection[str]) -> dict[str, str]:
    """Map the sources of a contract's fields and slices to columns, as `Publisher.predictions` does.

    A source is read from the column of its name, else from that of its bare name. If a feature and a context member
    have the same bare name, the column is the feature's.
    """
    columns: dict[str, str] = {}
    bare_columns: set[str] = set()
    for source in features_first(contract.sources):
        map_name, dot, bare = source.partition(".")
        is_bare_column = bool(dot) and map_name in MAPS and bare in names and bare not in MEMBERS
        if source in names:
            columns[source] = source
        elif source == "class" and "class_" in names:
            columns[source] = "class_"
        elif is_bare_column and (bare not in bare_columns or source in columns):
            columns[source] = bare
            bare_columns.add(bare)
    return columns


def unknown_columns(
    contract: Contract, names: Collection[str], at: str = "at", exclude: Collection[str] = ()
) -> list[str]:
    """List the columns that would be features and that the contract does not monitor, slice by or ignore.

    Args:
        at: The column of event times.
        exclude: Columns that are not features.
    """
    features = known_features(contract)
    expected = {*source_columns(contract, names).values(), *exclude, at, *features, *MEMBERS, *_NON_FEATURES}
    unknown = []
    for name in names:
        map_name, dot, member = name.partition(".")
        is_member = bool(dot) and map_name in MAPS and bool(member)
        if name not in expected and (not is_member or (map_name == FEATURES and member not in features)):
            unknown.append(name)
    return unknown


class _ColumnCheck:
    """One column interpreted as its field's type: masks of null and wrong values, and the numbers of the others."""

    def __init__(self, field: Field, values: Any, text_values: bool) -> None:
        self.field = field
        self.values = values
        self.null = pc.is_null(values)
        if field.type == "category":
            self.wrong, self.numbers = _texts(field, values), None
        elif field.type == "timestamp":
            self.wrong, self.numbers = _times(values, text_values)
        elif field.type == "bool":
            self.wrong, self.numbers = _flags(values, text_values), None
        else:
            self.wrong, self.numbers = _numbers(values, text_values)

    def faults(self, at_ms: Any | None) -> Iterator[tuple[ViolationKind, Any]]:
        """Yield each kind of violation with a mask of the rows; masks have no nulls."""
        field = self.field
        if field.nulls == "refuse":
            yield "null", self.null
        yield "type", self.wrong if field.type != "int" or self.numbers is None else self._fractions()
        if self.numbers is None:
            if pa.types.is_floating(self.values.type):
                yield "not-finite", _true(pc.invert(pc.is_finite(self.values)))
            return
        finite = pc.is_finite(self.numbers)
        yield "not-finite", _true(pc.invert(finite))
        measured = pc.if_else(finite, self.numbers, None)
        if field.type == "timestamp":
            if at_ms is None:
                return
            measured = pc.divide(pc.subtract(at_ms, measured), 1000.0)
        if field.low is not None:
            yield "below", _true(pc.less(measured, field.low))
        if field.high is not None:
            yield "above", _true(pc.greater(measured, field.high))

    def _fractions(self) -> Any:
        """Return a mask of values that are not whole numbers, or not numbers."""
        broken = _true(pc.not_equal(pc.floor(self.numbers), self.numbers))
        return pc.or_(self.wrong, pc.and_(broken, _true(pc.is_finite(self.numbers))))


def _violation(
    field: Field, kind: ViolationKind, column: _ColumnCheck, rows: Any, samples: int, numbers: Sequence[int]
) -> TableViolation:
    sample = rows.slice(0, samples)
    examples: tuple[str, ...] = ()
    if kind != "null" and field.pii == "keep":
        examples = tuple((text_of(v) or "")[:SAMPLE_CHARS] for v in column.values.take(sample).to_pylist())
    return TableViolation(
        field.name,
        kind,
        len(rows),
        0,
        limit=field.low if kind == "below" else field.high if kind == "above" else None,
        expected_type=field.type if kind == "type" else "",
        rows=tuple(int(numbers[row]) for row in sample.to_pylist()),
        examples=examples,
    )


def _plain(column: Any) -> Any:
    """Convert a column to one array without chunks, dictionary or views."""
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if pa.types.is_dictionary(values.type):
        dictionary = values.dictionary
        if pa.types.is_string_view(dictionary.type):
            dictionary = to_string(dictionary)
        values = dictionary.take(values.indices)
    if pa.types.is_string_view(values.type) or pa.types.is_large_string(values.type):
        values = to_string(values)
    return values


def _true(mask: Any) -> Any:
    return pc.fill_null(mask, False)


def _none(values: Any) -> Any:
    return pa.repeat(pa.scalar(False), len(values))


def _all(values: Any) -> Any:
    return pc.is_valid(values)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _numbers(values: Any, text_values: bool) -> tuple[Any, Any | None]:
    """Return a mask of values that are not numbers, and the numbers or None."""
    kind = values.type
    if pa.types.is_null(kind):
        return _none(values), None
    if _is_number(kind):
        return _none(values), values.cast(pa.float64(), safe=False)
    if pa.types.is_string(kind) and text_values:
        readable = pc.match_substring_regex(values, _NUMBER_TEXT)
        trimmed = pc.utf8_trim_whitespace(pc.if_else(readable, values, None))
        trimmed = pc.replace_substring_regex(trimmed, r"^\+", "")
        return _true(pc.invert(readable)), trimmed.cast(pa.float64())
    return _all(values), None


def _flags(values: Any, text_values: bool) -> Any:
    kind = values.type
    if pa.types.is_boolean(kind) or pa.types.is_null(kind):
        return _none(values)
    if _is_number(kind):
        numbers = values.cast(pa.float64(), safe=False)
        flag = pc.or_(pc.equal(numbers, 0.0), pc.equal(numbers, 1.0))
        return _true(pc.and_(pc.invert(flag), pc.is_finite(numbers)))
    if pa.types.is_string(kind) and text_values:
        return _true(pc.invert(pc.match_substring_regex(values, _FLAG_TEXT)))
    return _all(values)


def _texts(field: Field, values: Any) -> Any:
    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_null(kind):
        return _none(values)
    written = field.pii in ("hash", "truncate") or not field.source.startswith(f"{FEATURES}.")
    if written and (_is_number(kind) or pa.types.is_boolean(kind)):
        return _none(values)  # the publisher converts these to text
    return _true(pc.is_finite(values)) if pa.types.is_floating(kind) else _all(values)


def _times(values: Any, text_values: bool) -> tuple[Any, Any | None]:
    """Return a mask of values that are not times, and Unix milliseconds or None.

    Text without a zone is a time only if all values of the table are text.
    """
    kind = values.type
    if pa.types.is_null(kind):
        return _none(values), None
    if _is_number(kind):
        return _none(values), values.cast(pa.float64(), safe=False)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _none(values), _milliseconds(values)
    if pa.types.is_string(kind):
        encoded = values.dictionary_encode()
        read = _moment if text_values else time_ms
        parsed = pa.array([None if t is None else read(t) for t in encoded.dictionary.to_pylist()], pa.float64())
        moments = parsed.take(encoded.indices)
        return pc.and_(pc.is_null(moments), pc.is_valid(values)), moments
    return _all(values), None


def _milliseconds(values: Any) -> Any:
    if pa.types.is_date(values.type):
        values = values.cast(pa.timestamp("s"))
    whole = values.cast(pa.timestamp("ms", values.type.tz), safe=False)
    return whole.cast(pa.int64()).cast(pa.float64(), safe=False)


def _event_times(rows: pa.Table, at: str) -> Any | None:
    if at not in rows.column_names:
        return None
    return _times(_plain(rows.column(at)), text_values=True)[1]


def _moment(text: str) -> float | None:
    """Convert a time in a text table to Unix milliseconds: a number, or RFC 3339; without a zone it is UTC."""
    if re.match(_NUMBER_TEXT, text):
        return time_ms(float(text))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time_ms(text if moment.tzinfo is not None else f"{moment.isoformat()}+00:00")
