"""Tables held against the contract, column by column in Arrow: the checks of `validation` for many rows at once."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any, get_args

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from barograph.contract import Contract, Field
from barograph.events import MAPS
from barograph.publisher.tables import as_table
from barograph.validation.rows import ViolationKind, known_features, time_ms
from barograph.values import text_of

SAMPLES = 5
"""Rows that are shown of a violation."""
SAMPLE_CHARS = 60
"""Characters shown of a value."""
_PIECE_ROWS = 1 << 18
_IDENTITY = ("id", "model", "version", "at")
MEMBERS = frozenset((*_IDENTITY, "arm", "class", "class_", "status", "error", "score", "latency_ms"))
"""Columns that mean the member of an event of that name, never a feature."""
_OTHERS = ("label", "producer", "seq")
"""Columns that are no features either, where the contract does not say otherwise."""
_NUMBER_TEXT = r"^\s*[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|(?i:nan|inf|infinity))\s*$"
_FLAG_TEXT = r"^(?i:true|false|0|1)$"


class TableViolation(msgspec.Struct, frozen=True):
    """One way in which rows of one column do not keep the contract."""

    field: str
    kind: ViolationKind
    n: int
    """Rows that are affected."""
    n_checked: int
    """Rows that were looked at."""
    limit: float | None = None
    """The limit of the contract's range that `below` or `above` speaks of; of a timestamp an age in seconds."""
    expected_type: str = ""
    """What `type` asks for: `float`, `int`, `bool`, `category`, `timestamp`."""
    rows: tuple[int, ...] = ()
    """The first such rows, counted from 0; none where the whole column is `missing` or `unknown`."""
    examples: tuple[str, ...] = ()
    """The values of these rows; none of a field that is personal data, nor of nulls."""

    @property
    def share(self) -> float:
        """The share of rows that are affected; 0 of no rows."""
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
    """Hold a table of features against a contract.

    A field is read from the column of its source (`features.temp`) or of its bare name (`temp`). Features must be
    there; the fields that read the score, the class, the latency, context or metrics are checked where they are.

    Args:
        contract: the contract.
        table: a pyarrow Table or RecordBatch, a pandas or polars DataFrame, or whatever else speaks Arrow.
        at: the column of event times, from which timestamps have their age; without it ages have no limits.
        exclude: columns that are no features, such as an id or a label of another name.
        samples: the most rows shown per violation.
        text_values: whether text may stand for numbers and flags, as it does in CSV.

    Returns:
        Violations in the contract's order, unknown columns last; empty where the contract is kept.

    Raises:
        InvalidEvent: it is no table.
    """
    checker = TableChecker(contract, at=at, exclude=exclude, samples=samples, text_values=text_values)
    checker.add(as_table(table))
    return checker.violations()


class TableChecker:
    """Holds a table that comes in pieces against a contract; memory is bounded by a piece.

    Args: as `validate_table`.
    """

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
        self._without = exclude
        self._samples = samples
        self._text_values = text_values
        self._found: dict[tuple[int, ViolationKind, str], TableViolation] = {}
        self.rows = 0
        """Rows that were looked at."""

    def add(self, table: pa.Table, row_numbers: Sequence[int] | None = None) -> None:
        """Look at further rows.

        Args:
            table: the rows, with the same columns as before.
            row_numbers: what each row is called, where that is not its place among all that were added.
        """
        for start in range(0, table.num_rows, _PIECE_ROWS):
            piece = table.slice(start, _PIECE_ROWS)
            if row_numbers is None:
                numbers: Sequence[int] = range(self.rows, self.rows + piece.num_rows)
            else:
                numbers = row_numbers[start : start + piece.num_rows]
            self._add(piece, numbers)
            self.rows += piece.num_rows

    def violations(self) -> list[TableViolation]:
        """List what was found so far, in the contract's order, unknown columns last."""
        order = {kind: position for position, kind in enumerate(get_args(ViolationKind))}
        keys = sorted(self._found, key=lambda key: (key[0], order[key[1]]))
        return [msgspec.structs.replace(self._found[key], n_checked=self.rows) for key in keys]

    def _add(self, piece: pa.Table, numbers: Sequence[int]) -> None:
        names = piece.column_names
        read = source_columns(self._contract, names)
        at_ms = _event_times(piece, self._at)
        for position, field in enumerate(self._contract.fields):
            name = read.get(field.source)
            if name is None:
                if field.source.startswith("features."):
                    self._note(position, TableViolation(field.name, "missing", len(numbers), 0))
                continue
            column = _Column(field, _plain(piece.column(name)), self._text_values)
            for kind, mask in column.faults(at_ms):
                found = pc.indices_nonzero(mask)
                if len(found):
                    self._note(position, _violation(field, kind, column, found, self._samples, numbers))
        for position, name in enumerate(unknown_columns(self._contract, names, self._at, self._without)):
            here = len(self._contract.fields) + position
            self._note(here, TableViolation(name, "unknown", len(numbers), 0))

    def _note(self, position: int, found: TableViolation) -> None:
        key = (position, found.kind, found.field)
        known = self._found.get(key)
        if known is not None:
            found = msgspec.structs.replace(
                known,
                n=known.n + found.n,
                rows=(known.rows + found.rows)[: self._samples],
                examples=(known.examples + found.examples)[: self._samples],
            )
        self._found[key] = found


def source_columns(contract: Contract, names: Collection[str]) -> dict[str, str]:
    """Map the sources of a contract's fields and slices to the columns that hold them, as `Publisher.predictions` does.

    A source is read from the column of its name, else from that of its bare name; where a feature and a context have
    the same bare name it is the feature's.
    """
    sources = [field.source for field in contract.fields]
    sources += [source for cut in contract.slices for source in cut.sources]
    found: dict[str, str] = {}
    taken: set[str] = set()
    for source in sorted(sources, key=lambda source: not source.startswith("features.")):
        room, dot, bare = source.partition(".")
        if source in names:
            found[source] = source
        elif source == "class" and "class_" in names:
            found[source] = "class_"
        elif dot and room in MAPS and bare in names and bare not in MEMBERS and (bare not in taken or source in found):
            found[source] = bare
            taken.add(bare)
    return found


def unknown_columns(
    contract: Contract, names: Collection[str], at: str = "at", exclude: Collection[str] = ()
) -> list[str]:
    """List the columns that would be features and that the contract neither watches, slices by nor ignores."""
    known = known_features(contract)
    read = set(source_columns(contract, names).values())
    unknown = []
    for name in names:
        room, dot, member = name.partition(".")
        if name in read or name in exclude or name == at or name in known or name in MEMBERS or name in _OTHERS:
            continue
        if not (dot and room in MAPS and member) or (room == "features" and member not in known):
            unknown.append(name)
    return unknown


class _Column:
    """One column as its field has it: which values are null, wrong, and what numbers the others are."""

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
        """Each kind of violation with a mask over the rows, without nulls in it."""
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
        judged = pc.if_else(finite, self.numbers, None)
        if field.type == "timestamp":
            if at_ms is None:
                return
            judged = pc.divide(pc.subtract(at_ms, judged), 1000.0)
        if field.low is not None:
            yield "below", _true(pc.less(judged, field.low))
        if field.high is not None:
            yield "above", _true(pc.greater(judged, field.high))

    def _fractions(self) -> Any:
        """What is no whole number beside what is no number."""
        broken = _true(pc.not_equal(pc.floor(self.numbers), self.numbers))
        return pc.or_(self.wrong, pc.and_(broken, _true(pc.is_finite(self.numbers))))


def _violation(
    field: Field, kind: ViolationKind, column: _Column, found: Any, samples: int, numbers: Sequence[int]
) -> TableViolation:
    shown = found.slice(0, samples)
    examples: tuple[str, ...] = ()
    if kind != "null" and field.pii == "keep":
        examples = tuple((text_of(v) or "")[:SAMPLE_CHARS] for v in column.values.take(shown).to_pylist())
    return TableViolation(
        field.name,
        kind,
        len(found),
        0,
        limit=field.low if kind == "below" else field.high if kind == "above" else None,
        expected_type=field.type if kind == "type" else "",
        rows=tuple(int(numbers[row]) for row in shown.to_pylist()),
        examples=examples,
    )


def _plain(column: Any) -> Any:
    """One array of the values themselves: no chunks, no dictionary, no views."""
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if pa.types.is_dictionary(values.type):
        dictionary = values.dictionary
        if pa.types.is_string_view(dictionary.type):
            dictionary = dictionary.cast(pa.string())
        values = dictionary.take(values.indices)
    if pa.types.is_string_view(values.type) or pa.types.is_large_string(values.type):
        values = values.cast(pa.string())
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
    """Where values are no numbers, and the numbers; None where there are none."""
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
    written = field.pii in ("hash", "truncate") or not field.source.startswith("features.")
    if written and (_is_number(kind) or pa.types.is_boolean(kind)):
        return _none(values)  # the publisher writes these as text
    return _true(pc.is_finite(values)) if pa.types.is_floating(kind) else _all(values)


def _times(values: Any, text_values: bool) -> tuple[Any, Any | None]:
    """Where values are no times, and Unix milliseconds; text without a zone is a time where all values are text."""
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
    """A time that stands in a table as text: without a zone it is UTC, as everywhere in tables; or milliseconds."""
    if re.match(_NUMBER_TEXT, text):
        return time_ms(float(text))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time_ms(text if moment.tzinfo is not None else f"{moment.isoformat()}+00:00")
