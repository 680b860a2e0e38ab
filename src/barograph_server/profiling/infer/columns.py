"""Columns of a training table as whole arrays: numbers as doubles, texts as codes.

Each column is read into one array of its final size, with one batch in memory besides: 8 bytes per row for numbers,
4 for texts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from barograph.contract.label_values import label_text
from barograph.string_views import to_string
from numpy.typing import NDArray

from barograph_server.profiling.infer.errors import OptionError
from barograph_server.profiling.infer.tables import Table, is_text, plain_type
from barograph_server.profiling.table_files import first_line
from barograph_server.terminal import plural

FloatArray = NDArray[np.float64]
CodeArray = NDArray[np.int32]

NULL_CODE = -1
MAX_CATEGORY_VALUES = 50_000
"""Maximum number of distinct texts of a category; columns with more are ignored."""
MAX_SLICE_VALUES = 1_000_000
"""Maximum number of distinct texts of a slice column: only the most frequent get a slice, but all are counted."""

_ISO_TIME = r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d(:?\d\d)?)?)?$"
_OFFSET = r":\d\d(\.\d+)?(Z|[+-]\d\d(:?\d\d)?)$"
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_EPOCH_UNITS = ((10**11, "s", 1000.0), (10**14, "ms", 1.0), (10**17, "us", 1e-3), (10**20, "ns", 1e-6))
"""Unit of integer times by magnitude: up to 10¹¹ seconds (the year 5138), up to 10¹⁴ milliseconds, and so on."""


class TooManyValues(Exception):
    """A text column has more than `limit` distinct values within its first `rows_read` rows."""

    def __init__(self, limit: int, rows_read: int) -> None:
        super().__init__(f"more than {limit:,} distinct values within the first {rows_read:,} rows")
        self.limit, self.rows_read = limit, rows_read


@dataclass(frozen=True, slots=True)
class TextColumn:
    """A text column of n rows."""

    codes: CodeArray
    """Shape (n,): index into `values`, `NULL_CODE` for null."""
    values: tuple[str, ...]
    """Distinct texts, in the order in which they first occur."""
    counts: NDArray[np.int64]
    """Rows of each value, shape (len(values),)."""

    @classmethod
    def from_codes(cls, codes: CodeArray, values: Iterable[str]) -> TextColumn:
        """Create the column from its codes and values, and count the rows of each value."""
        distinct = tuple(values)
        result = np.bincount(codes + 1, minlength=len(distinct) + 1)
        return cls(codes, distinct, result[1:].astype(np.int64))

    def by_frequency(self) -> list[int]:
        """Return the codes by rows, most frequent first; ties by value."""
        counts = self.counts.tolist()
        return sorted(range(len(self.values)), key=lambda code: (-counts[code], self.values[code]))


def read_numbers(table: Table, column: str) -> FloatArray:
    """Read numbers, booleans (1 and 0), timestamps (Unix milliseconds) or durations and times of day (seconds).

    Returns:
        Shape (n,): NaN for null, an infinity for *invalid* (NaN or infinite in the file).
    """
    values = np.empty(table.rows)
    row = 0
    for batch in table.batches(column):
        values[row : row + len(batch)] = to_numbers(batch)
        row += len(batch)
    return values


def read_texts(table: Table, column: str, limit: int = MAX_CATEGORY_VALUES) -> TextColumn:
    """Read texts; booleans and numbers are converted to text as in messages: `true`, 1 for 1.0, 0.25.

    Raises:
        TooManyTexts: there are more distinct values than `limit`.
    """
    codes = np.full(table.rows, NULL_CODE, dtype=np.int32)
    known: dict[str, int] = {}
    row = 0
    for batch in table.batches(column):
        result = _encode_texts(batch)
        if result is not None:
            indices, texts = result
            # The entry after the last stands for null; dictionary entries without rows are skipped.
            lookup = np.full(len(texts) + 1, NULL_CODE, dtype=np.int32)
            for index in np.flatnonzero(np.bincount(indices, minlength=len(texts))[: len(texts)]).tolist():
                text = texts[index]
                if text is not None:
                    lookup[index] = known.setdefault(text, len(known))
            codes[row : row + len(batch)] = lookup[indices]
        row += len(batch)
        if len(known) > limit:
            raise TooManyValues(limit, row)
    return TextColumn.from_codes(codes, known)


def read_times_ms(table: Table, column: str) -> tuple[NDArray[np.int64], NDArray[np.bool_], str]:
    """Read event times.

    Returns:
        Unix milliseconds of shape (n,), a mask of nulls, and a description of the time format.

    Raises:
        OptionError: the column does not contain times.
    """
    kind = plain_type(table.columns[column])
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        times = read_numbers(table, column)
        time_format = f"in {kind.tz}" if pa.types.is_timestamp(kind) and kind.tz else "without zone, read as UTC"
    elif pa.types.is_integer(kind):
        times = read_numbers(table, column)
        valid = times[np.isfinite(times)]
        middle = abs(float(np.median(valid))) if valid.size else 0.0
        unit, factor = next((u, f) for limit, u, f in _EPOCH_UNITS if middle < limit)
        times = np.floor(times * factor)
        time_format = f"integers, read as {unit} since 1970"
    elif is_text(kind):
        times = _read_text_times(table, column)
        time_format = "texts in ISO 8601, without an offset read as UTC"
    else:
        raise OptionError(
            f"--time {column}: the column has type {kind}, which is not an event time; "
            "use timestamps, integer milliseconds since 1970 or texts in ISO 8601"
        )
    null = ~np.isfinite(times)
    if null.all():
        raise OptionError(f"--time {column}: all values are null; name another column, or omit --time")
    times[null] = 0
    return times.astype(np.int64), null, time_format


def _read_text_times(table: Table, column: str) -> FloatArray:
    """Read times as text in ISO 8601, those without an offset as UTC; empty texts are nulls.

    Returns:
        Unix milliseconds of shape (n,), NaN for null.

    Raises:
        OptionError: a text is no such time.
    """
    values, row = np.empty(table.rows), 0
    for batch in table.batches(column):
        texts = pc.utf8_trim_whitespace(to_string(_decode(batch)))
        texts = pc.if_else(pc.equal(texts, ""), None, texts)
        is_time = pc.match_substring_regex(texts, _ISO_TIME)
        if not pc.all(is_time).as_py():
            wrong = texts.filter(pc.invert(is_time))
            raise _not_a_time(table, column, wrong[0].as_py(), f" ({plural(len(wrong), 'such text')})")
        # Arrow reads at most microseconds into microseconds.
        texts = pc.replace_substring_regex(texts, r"(\.\d{6})\d+", r"\1")
        has_offset = pc.match_substring_regex(texts, _OFFSET)
        try:
            with_offset = pc.if_else(has_offset, texts, None).cast(pa.timestamp("us", "UTC"))
            without = pc.if_else(has_offset, None, texts).cast(pa.timestamp("us"))
        except pa.ArrowInvalid as error:
            raise _not_a_time(table, column, "", f": {first_line(error)}") from error
        whole = pc.coalesce(with_offset.cast(pa.int64()), without.cast(pa.int64()))
        values[row : row + len(batch)] = _to_milliseconds(whole, "us")
        row += len(batch)
    return values


def _not_a_time(table: Table, column: str, text: str, detail: str) -> OptionError:
    named = f"{text!r} is" if text else "a text is"
    return OptionError(
        f"--time {column}: {table.name}: {named} not a time in ISO 8601, such as 2026-03-01T12:00:00Z{detail}; "
        "correct the column, or use timestamps"
    )


def read_distinct_integers(table: Table, column: str) -> int:
    """Count the distinct values of a column of 64-bit integers, which doubles cannot distinguish."""
    values = np.empty(table.rows, dtype=np.int64)
    row = 0
    for batch in table.batches(column):
        retained = batch.drop_null()
        # The bits identify a number, signed or not.
        whole = _decode(retained)
        if pa.types.is_uint64(whole.type):
            whole = whole.view(pa.int64())
        values[row : row + len(retained)] = whole.cast(pa.int64()).to_numpy(zero_copy_only=False)
        row += len(retained)
    values = values[:row]
    values.sort()
    return count_distinct(values)


def count_distinct(ordered: NDArray[np.float64] | NDArray[np.int64]) -> int:
    return int(np.count_nonzero(ordered[1:] != ordered[:-1])) + 1 if ordered.size else 0


def to_numbers(batch: pa.Array) -> FloatArray:
    """Convert an array as `read_numbers` does: NaN for null, an infinity for invalid, shape (n,)."""
    batch = _decode(batch)
    kind = batch.type
    if pa.types.is_null(kind):
        return np.full(len(batch), np.nan)
    if pa.types.is_date(kind):
        batch, kind = batch.cast(pa.timestamp("ms")), pa.timestamp("ms")
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind) or pa.types.is_time(kind):
        whole = batch.cast(pa.int32()) if pa.types.is_time32(kind) else batch
        if pa.types.is_timestamp(kind):
            return _to_milliseconds(whole.cast(pa.int64()), kind.unit)
        values = _as_doubles(whole.cast(pa.int64()))
        return values / _PER_SECOND[kind.unit]
    values = _as_doubles(batch)
    if pa.types.is_floating(kind):
        is_invalid = np.isnan(values)
        if batch.null_count:
            is_invalid &= ~batch.is_null().to_numpy(zero_copy_only=False)
        values[is_invalid] = np.inf
    return values


def _to_milliseconds(whole: pa.Array, unit: str) -> FloatArray:
    """Convert counts of a unit since 1970 to whole milliseconds, rounded down, as in events."""
    counts = pc.fill_null(whole, 0).to_numpy(zero_copy_only=False)
    scaled = counts * 1000 if unit == "s" else counts // (_PER_SECOND[unit] // 1000)
    values: FloatArray = scaled.astype(np.float64)
    if whole.null_count:
        values[whole.is_null().to_numpy(zero_copy_only=False)] = np.nan
    return values


def _as_doubles(batch: pa.Array) -> FloatArray:
    """Cast to doubles, NaN for null."""
    return np.array(pc.cast(batch, pa.float64(), safe=False).to_numpy(zero_copy_only=False))


def _encode_texts(batch: pa.Array) -> tuple[NDArray[np.int64], list[str | None]] | None:
    """Split a batch into indices (len(texts) for null) and texts; None if all values are null."""
    if isinstance(batch, pa.ExtensionArray):
        batch = batch.storage
    if pa.types.is_null(batch.type):
        return None
    if not pa.types.is_dictionary(batch.type):
        if pa.types.is_string_view(batch.type):
            batch = to_string(batch, pa.large_string())
        batch = batch.dictionary_encode()
    texts = [None if value is None else _json_text(value) for value in batch.dictionary.to_pylist()]
    indices = pc.fill_null(batch.indices.cast(pa.int64()), len(texts))
    return indices.to_numpy(zero_copy_only=False), texts


def _json_text(value: object) -> str:
    return label_text(value) if isinstance(value, str | bool | int | float) else json.dumps(value)


def _decode(batch: pa.Array) -> pa.Array:
    if isinstance(batch, pa.ExtensionArray):
        batch = batch.storage
    return batch.dictionary_decode() if pa.types.is_dictionary(batch.type) else batch
