"""Compare two tables field by field; beside the pairs of rows only one field's values are held."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from barograph.contract import Contract

from cli.infer.columns import FloatArray, Texts, read_times_ms
from cli.infer.errors import OptionError
from cli.infer.tables import Table, is_text, plain_type
from cli.skew.fields import Compared, LeftOut, entities, numbers, pair_fields, published, texts_of
from cli.skew.join import Joined, join, texts_at
from cli.skew.sources import SkewError
from sketches.skew.field import Skew, cleaned
from sketches.skew.history_rules import EntityHistory, EntitySeries
from sketches.skew.numbers import EXACT, TOLERANCE, compare_numbers
from sketches.skew.texts import compare_texts

SAMPLES = 5
"""Rows shown per field."""
MASKED = "•••"
"""Stands for a value of personal data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How two sides are compared."""

    on: str = "id"
    by: tuple[str, ...] = ()
    time: str | None = None
    underlying: Mapping[str, str]
    """Field → the column of the recomputed side that it is an aggregate of."""
    only: tuple[str, ...] = ()
    tolerance: float = TOLERANCE
    samples: int = SAMPLES
    is_production: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """One pair that differs."""

    id: str
    served: str | None
    recomputed: str | None


@dataclass(frozen=True, slots=True)
class FieldSkew:
    """What was found of one field."""

    field: Compared
    skew: Skew
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was found of two tables."""

    joined: Joined
    fields: list[FieldSkew]
    left_out: list[LeftOut]

    @property
    def skewed(self) -> list[FieldSkew]:
        """The fields that differ."""
        return [each for each in self.fields if each.skew.mismatched]


def compare(
    served: Table,
    recomputed: Table,
    contract: Contract | None,
    options: Options,
    progress: Callable[[str], None] = lambda _name: None,
) -> Comparison:
    """Compare what was served with what training computes.

    Raises:
        SkewError: the sides cannot be joined or have nothing in common, or a column that was named is not there.
        TableError: a file is damaged.
    """
    if bool(options.by) != bool(options.time):
        raise SkewError("--by and --time belong together: name the entity's column and that of the time.")
    served_on = "id" if options.is_production else options.on
    joined = join(served, recomputed, options.on, served_on)
    apart = [options.on, served_on, *options.by, *([options.time] if options.time else [])]
    apart += [column for column in options.underlying.values() if column not in options.underlying]
    fields, left_out = pair_fields(
        served, recomputed, contract, apart=apart, only=options.only, is_production=options.is_production
    )
    history = _history(recomputed, options)
    _check_underlying(recomputed, fields, options)
    found: list[tuple[Compared, Skew, list[tuple[int, str | None, str | None]]]] = []
    for field in fields:
        progress(field.name)
        try:
            skew, shown = _compare(field, served, recomputed, contract, joined, history, options)
        except SkewError as error:
            left_out.append(LeftOut(field.name, str(error).rstrip(".")))
            continue
        found.append((field, skew, shown))
    wanted = np.array([row for _, _, shown in found for row, _, _ in shown], np.int64)
    ids = texts_at(served, served_on, wanted) if len(wanted) else {}
    return Comparison(
        joined,
        [
            FieldSkew(field, skew, tuple(Sample(ids[row], left, right) for row, left, right in shown))
            for field, skew, shown in found
        ],
        left_out,
    )


def _history(recomputed: Table, options: Options) -> EntityHistory | None:
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


def _check_underlying(recomputed: Table, fields: Sequence[Compared], options: Options) -> None:
    names = {field.name for field in fields}
    for name, column in options.underlying.items():
        if name not in names:
            raise SkewError(f"--underlying {name}={column}: no field {name!r} is compared.")
        if column not in recomputed.columns:
            raise SkewError(f"--underlying {name}={column}: {recomputed.name} has no column {column!r}.")
        if not options.time:
            raise SkewError("--underlying asks for the order of rows: name --by and --time too.")


def _compare(
    field: Compared,
    served: Table,
    recomputed: Table,
    contract: Contract | None,
    joined: Joined,
    history: EntityHistory | None,
    options: Options,
) -> tuple[Skew, list[tuple[int, str | None, str | None]]]:
    if field.kind != "text":
        left = numbers(served, field.served, field.kind)
        right = numbers(recomputed, field.recomputed, field.kind)
        if left is not None and right is not None:
            return _compare_numbers(field, left, right, recomputed, joined, history, options)
    elif field.field is None and not (_is_text(served, field.served) and _is_text(recomputed, field.recomputed)):
        # Text on one side and numbers on the other may be the same numbers.
        left, right = numbers(served, field.served, "number"), numbers(recomputed, field.recomputed, "number")
        if left is not None and right is not None:
            return _compare_numbers(field, left, right, recomputed, joined, history, options)
    left_texts, right_texts = texts_of(served, field.served), texts_of(recomputed, field.recomputed)
    if options.is_production and field.field is not None and contract is not None:
        right_texts = published(right_texts, field.field, contract)
    return _compare_texts(field, left_texts, right_texts, joined, history, options)


def _is_text(table: Table, column: str) -> bool:
    return is_text(plain_type(table.columns[column]))


def _compare_numbers(
    field: Compared,
    left: FloatArray,
    right: FloatArray,
    recomputed: Table,
    joined: Joined,
    history: EntityHistory | None,
    options: Options,
) -> tuple[Skew, list[tuple[int, str | None, str | None]]]:
    pairs_left = left[joined.served]
    rules = None
    if history is not None:
        seen = np.full(len(right), np.nan)
        seen[joined.recomputed] = pairs_left
        column = options.underlying.get(field.name)
        underlying = None if column is None else numbers(recomputed, column, "number")
        if column is not None and underlying is None:
            raise SkewError(f"the underlying column {column} holds no numbers")
        rules = EntitySeries(
            history,
            history.place[joined.recomputed],
            cleaned(right)[history.order],
            cleaned(seen)[history.order],
            None if underlying is None else cleaned(underlying)[history.order],
        ).rules
    skew = compare_numbers(
        pairs_left,
        right[joined.recomputed],
        tolerance=EXACT if field.exact else options.tolerance,
        are_times=field.kind == "time",
        series=rules,
    )
    shown = [
        (
            int(joined.served[pair]),
            _number_shown(pairs_left[pair], field),
            _number_shown(right[joined.recomputed[pair]], field),
        )
        for pair in skew.rows[: options.samples].tolist()
    ]
    return skew, shown


def _number_shown(value: float, field: Compared) -> str | None:
    if not np.isfinite(value):
        return None
    if not field.show:
        return MASKED
    if field.kind == "time":
        return str(pa.scalar(int(value), pa.timestamp("ms", "UTC")).as_py().isoformat(timespec="milliseconds"))
    return f"{value:.17g}" if field.exact else f"{value:.9g}"


def _compare_texts(
    field: Compared, left: Texts, right: Texts, joined: Joined, history: EntityHistory | None, options: Options
) -> tuple[Skew, list[tuple[int, str | None, str | None]]]:
    left_codes = left.codes[joined.served].astype(np.int64)
    right_codes = right.codes[joined.recomputed].astype(np.int64)
    rules = None
    if history is not None:
        codes = np.where(right.codes < 0, np.nan, right.codes.astype(np.float64))
        rules = EntitySeries(history, history.place[joined.recomputed], codes[history.order]).lags
    skew = compare_texts(left_codes, right_codes, left.values, right.values, series=rules, show=field.show)

    def shown(code: int, values: Sequence[str]) -> str | None:
        if code < 0:
            return None
        return values[code] if field.show else MASKED

    return skew, [
        (int(joined.served[pair]), shown(left_codes[pair], left.values), shown(right_codes[pair], right.values))
        for pair in skew.rows[: options.samples].tolist()
    ]
