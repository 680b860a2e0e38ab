"""Compares two tables field by field. Memory holds the pairs of rows and the values of one field at a time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from barograph.contract import Contract

from barograph_server.batch.skew.fields import (
    FieldPair,
    SkippedField,
    entities,
    pair_fields,
    protect_personal_data,
    read_as_numbers,
    read_as_texts,
)
from barograph_server.batch.skew.join import JoinedRows, join, texts_at
from barograph_server.batch.skew.sources import SkewError
from barograph_server.profiling.infer.columns import FloatArray, TextColumn, read_times_ms
from barograph_server.profiling.infer.errors import OptionError
from barograph_server.profiling.infer.tables import Table, is_text, plain_type
from barograph_server.sketches.skew.field import Skew, cleaned
from barograph_server.sketches.skew.history_rules import EntityHistory, EntitySeries
from barograph_server.sketches.skew.numbers import EXACT, TOLERANCE, compare_numbers
from barograph_server.sketches.skew.texts import compare_texts

SAMPLES = 5
"""Mismatched rows shown per field."""
MASKED = "•••"
"""Replaces a value of personal data."""

_Sample = tuple[int, str | None, str | None]
"""Served row, and the value on either side as text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SkewOptions:
    on: str = "id"
    by: tuple[str, ...] = ()
    """Columns of the entity, for lags and windows."""
    time: str | None = None
    """Column of the time, for lags and windows."""
    underlying: Mapping[str, str]
    """Field → the column of the recomputed side that the field aggregates."""
    only: tuple[str, ...] = ()
    """Fields to compare; empty for all."""
    tolerance: float = TOLERANCE
    samples: int = SAMPLES
    is_production: bool = False
    """Whether the served side comes from ClickHouse."""

    @property
    def named_columns(self) -> set[str]:
        """The columns that keep their names, because options name them."""
        return {*self.by, *self.underlying.values(), *([self.time] if self.time else [])}


@dataclass(frozen=True, slots=True)
class MismatchSample:
    """One pair of rows whose values differ; None is a null."""

    id: str
    served: str | None
    recomputed: str | None


@dataclass(frozen=True, slots=True)
class FieldSkew:
    field: FieldPair
    skew: Skew
    samples: tuple[MismatchSample, ...]


@dataclass(frozen=True, slots=True)
class SkewReport:
    joined: JoinedRows
    fields: list[FieldSkew]
    skipped: list[SkippedField]

    @property
    def skewed(self) -> list[FieldSkew]:
        return [field for field in self.fields if field.skew.mismatched]


def compare(
    served: Table,
    recomputed: Table,
    contract: Contract | None,
    options: SkewOptions,
    progress: Callable[[str], None] = lambda _name: None,
) -> SkewReport:
    """Compare served features with those that training computes.

    Args:
        contract: determines types and personal data; None compares the common columns.
        progress: receives the name of each field before its comparison.
    """
    if bool(options.by) != bool(options.time):
        raise SkewError("--by and --time belong together: name the columns of the entity and of the time.")
    served_on = "id" if options.is_production else options.on
    joined = join(served, recomputed, options.on, served_on)
    excluded = [options.on, served_on, *options.by, *([options.time] if options.time else [])]
    excluded += [column for column in options.underlying.values() if column not in options.underlying]
    pairs, skipped = pair_fields(
        served, recomputed, contract, excluded=excluded, only=options.only, is_production=options.is_production
    )
    history = _read_history(recomputed, options)
    _check_underlying(recomputed, pairs, options)
    results: list[tuple[FieldPair, Skew, list[_Sample]]] = []
    for pair in pairs:
        progress(pair.name)
        try:
            skew, samples = _compare_field(pair, served, recomputed, contract, joined, history, options)
        except SkewError as error:
            skipped.append(SkippedField(pair.name, str(error).rstrip(".")))
            continue
        results.append((pair, skew, samples))
    sample_rows = np.array([row for _, _, samples in results for row, _, _ in samples], np.int64)
    ids = texts_at(served, served_on, sample_rows) if len(sample_rows) else {}
    return SkewReport(
        joined,
        [
            FieldSkew(pair, skew, tuple(MismatchSample(ids[row], left, right) for row, left, right in samples))
            for pair, skew, samples in results
        ],
        skipped,
    )


def _read_history(recomputed: Table, options: SkewOptions) -> EntityHistory | None:
    if not options.time:
        return None
    if options.time not in recomputed.columns:
        raise SkewError(f"{recomputed.name} has no column {options.time!r}; correct --time.")
    try:
        times_ms, null, _ = read_times_ms(recomputed, options.time)
    except OptionError as error:
        raise SkewError(f"{error}.") from error
    entity = entities(recomputed, options.by)
    entity[null] = entity.max(initial=0) + 1 + np.arange(int(null.sum()))
    return EntityHistory.of(entity, times_ms)


def _check_underlying(recomputed: Table, pairs: Sequence[FieldPair], options: SkewOptions) -> None:
    names = {pair.name for pair in pairs}
    for name, column in options.underlying.items():
        if name not in names:
            raise SkewError(f"--underlying {name}={column}: no field {name!r} is compared.")
        if column not in recomputed.columns:
            raise SkewError(f"--underlying {name}={column}: {recomputed.name} has no column {column!r}.")
        if not options.time:
            raise SkewError("--underlying needs the order of rows: give --by and --time too.")


def _compare_field(
    pair: FieldPair,
    served: Table,
    recomputed: Table,
    contract: Contract | None,
    joined: JoinedRows,
    history: EntityHistory | None,
    options: SkewOptions,
) -> tuple[Skew, list[_Sample]]:
    # Text on one side and numbers on the other may be the same numbers.
    is_mixed = pair.field is None and not (_has_text(served, pair.served) and _has_text(recomputed, pair.recomputed))
    if pair.kind != "text" or is_mixed:
        kind = "number" if pair.kind == "text" else pair.kind
        left = read_as_numbers(served, pair.served, kind)
        right = read_as_numbers(recomputed, pair.recomputed, kind)
        if left is not None and right is not None:
            return _compare_numbers(pair, left, right, recomputed, joined, history, options)
    left_texts, right_texts = read_as_texts(served, pair.served), read_as_texts(recomputed, pair.recomputed)
    if options.is_production and pair.field is not None and contract is not None:
        left_texts, right_texts = protect_personal_data(left_texts, right_texts, pair.field, contract)
    return _compare_texts(pair, left_texts, right_texts, joined, history, options)


def _has_text(table: Table, column: str) -> bool:
    return is_text(plain_type(table.columns[column]))


def _compare_numbers(
    pair: FieldPair,
    left: FloatArray,
    right: FloatArray,
    recomputed: Table,
    joined: JoinedRows,
    history: EntityHistory | None,
    options: SkewOptions,
) -> tuple[Skew, list[_Sample]]:
    joined_left, joined_right = left[joined.served], right[joined.recomputed]
    rules = None
    if history is not None:
        aligned = np.full(len(right), np.nan)
        aligned[joined.recomputed] = joined_left
        column = options.underlying.get(pair.name)
        underlying = None if column is None else read_as_numbers(recomputed, column, "number")
        if column is not None and underlying is None:
            raise SkewError(f"the underlying column {column} has no numbers")
        rules = EntitySeries(
            history,
            history.rank[joined.recomputed],
            cleaned(right)[history.order],
            cleaned(aligned)[history.order],
            None if underlying is None else cleaned(underlying)[history.order],
        ).rules
    skew = compare_numbers(
        joined_left,
        joined_right,
        tolerance=EXACT if pair.exact else options.tolerance,
        are_times=pair.kind == "time",
        series=rules,
    )
    return skew, [
        (int(joined.served[row]), _format_number(joined_left[row], pair), _format_number(joined_right[row], pair))
        for row in skew.rows[: options.samples].tolist()
    ]


def _format_number(value: float, pair: FieldPair) -> str | None:
    if not np.isfinite(value):
        return None
    if not pair.show:
        return MASKED
    if pair.kind == "time":
        return str(pa.scalar(int(value), pa.timestamp("ms", "UTC")).as_py().isoformat(timespec="milliseconds"))
    return f"{value:.17g}" if pair.exact else f"{value:.9g}"


def _compare_texts(
    pair: FieldPair,
    left: TextColumn,
    right: TextColumn,
    joined: JoinedRows,
    history: EntityHistory | None,
    options: SkewOptions,
) -> tuple[Skew, list[_Sample]]:
    left_codes = left.codes[joined.served].astype(np.int64)
    right_codes = right.codes[joined.recomputed].astype(np.int64)
    rules = None
    if history is not None:
        codes = np.where(right.codes < 0, np.nan, right.codes.astype(np.float64))
        rules = EntitySeries(history, history.rank[joined.recomputed], codes[history.order]).lags
    skew = compare_texts(left_codes, right_codes, left.values, right.values, series=rules, show=pair.show)

    def format_text(code: int, values: Sequence[str]) -> str | None:
        if code < 0:
            return None
        return values[code] if pair.show else MASKED

    return skew, [
        (
            int(joined.served[row]),
            format_text(left_codes[row], left.values),
            format_text(right_codes[row], right.values),
        )
        for row in skew.rows[: options.samples].tolist()
    ]
