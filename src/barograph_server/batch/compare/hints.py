"""Hints at skew between training and serving: other types, other units, other spelling, missing columns.

Rows of production have no counterpart in training, so a hint follows from the distributions alone. It names a likely
cause and proves nothing; `barograph skew` compares values of the same ids.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from barograph.contract import CONFIDENCE, Contract
from numpy.typing import NDArray

from barograph_server.profiling.infer.tables import Table, is_number, is_text, plain_type
from barograph_server.sketches.baseline.baseline import QUANTILE_RANKS, FieldBaseline
from barograph_server.sketches.sketch.numeric import NumericSketch
from barograph_server.sketches.skew.texts import SPELLINGS, normal_spelling
from barograph_server.sketches.skew.units import FACTORS, LINEAR, OFFSETS, fits_name, name_factor, name_offset

FloatArray = NDArray[np.float64]

_RANKS = np.linspace(0.1, 0.9, 17)
_GAIN = 4.0
"""A conversion must bring the quantiles nearer by this factor."""
_LEAST_FACTOR = 1.5
"""Smaller factors are as likely drift as other units."""


@dataclass(frozen=True, slots=True)
class UnitTolerance:
    """How near a conversion must bring the quantiles of production to those of training."""

    apart: float
    """Largest root mean square distance after the conversion, in standard deviations."""
    factor: float
    """Largest relative difference of the fitted factor from the factor between two units."""


ALL_PERIODS = UnitTolerance(apart=0.25, factor=0.15)
"""Seasons and drift remain after a conversion."""
ONE_PERIOD = UnitTolerance(apart=0.1, factor=0.03)
"""The worst of many periods is near some conversion by chance."""
_SAMPLE_ROWS = 10_000
_MOSTLY = 0.9
_NAMED = 3
"""Values that a hint names."""


@dataclass(frozen=True, slots=True)
class Hint:
    """A likely cause of a difference between training and production."""

    field: str
    kind: str
    """`missing`, `type`, `units` or `spelling`."""
    text: str


def column_hints(contract: Contract, columns: Mapping[str, str], training: Table, production: Table) -> list[Hint]:
    """Compare the columns of both tables: missing ones, and numbers on one side and texts on the other.

    Args:
        columns: source → column of production.
    """
    hints = []
    for field in contract.fields:
        if field.source == CONFIDENCE:
            continue
        bare = field.source.partition(".")[2] or field.source
        column = columns.get(field.source)
        if column is None:
            if field.source == bare or bare in training.columns:
                reason = f", because it has {production.unreadable[bare]}" if bare in production.unreadable else ""
                hints.append(
                    Hint(field.name, "missing", f"{production.name} has no column {bare}{reason}: counted as null")
                )
            continue
        if bare not in training.columns:
            continue
        before, after = plain_type(training.columns[bare]), plain_type(production.columns[column])
        # Flags may also be served as 0 and 1. A class counts as its text.
        fits = field.source == "class" or (field.type == "bool" and is_number(after))
        if _family(before) != _family(after) and not pa.types.is_null(after) and not fits:
            detail = (
                _text_detail(production, column)
                if is_text(after) and field.type != "category" and field.pii == "keep"
                else ""
            )
            hints.append(Hint(field.name, "type", f"{before} in training, {after} in production{detail}"))
    return hints


def _family(kind: pa.DataType) -> str:
    if is_number(kind):
        return "number"
    if is_text(kind):
        return "text"
    return "flag" if pa.types.is_boolean(kind) else "time" if pa.types.is_temporal(kind) else str(kind)


def _text_detail(table: Table, column: str) -> str:
    """Describe texts that are numbers, by the first rows."""
    batch = next(iter(table.batches(column)), None)
    if batch is None:
        return ""
    texts = batch.slice(0, _SAMPLE_ROWS)
    texts = (texts.dictionary_decode() if pa.types.is_dictionary(texts.type) else texts).drop_null().to_pylist()
    others = Counter(text for text in texts if not _is_number(text))
    if not texts or len(texts) - others.total() < _MOSTLY * len(texts):
        return ""
    if not others:
        return ": numbers written as text; convert the column"
    examples = ", ".join(f"“{text[:40]}”" for text, _ in others.most_common(_NAMED))
    return f": numbers written as text, apart from values such as {examples}; convert the column"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def unit_hint(field: FieldBaseline, sketch: NumericSketch, tolerance: UnitTolerance) -> Hint | None:
    """Compare quantiles: a change of units makes one distribution the other times a factor, plus an offset."""
    if not field.quantiles or field.std <= 0 or sketch.n < QUANTILE_RANKS // 2:
        return None
    before = np.array(field.quantiles)[np.rint(_RANKS * (QUANTILE_RANKS - 1)).astype(np.int64)]
    after = sketch.quantiles(_RANKS)
    if not before.std() > 0 or not after.std() > 0:
        return None
    known = _known_conversion(before, after, tolerance, field.name)
    if known is None:
        return None
    return Hint(field.name, "units", f"production looks like training {known}")


def _known_conversion(before: FloatArray, after: FloatArray, tolerance: UnitTolerance, name: str) -> str | None:
    """Name the conversion between units that maps one set of quantiles to the other; None if no known one does.

    A conversion between units of another quantity than the name of the field says is no likely cause.
    """
    limit = min(tolerance.apart, _distance(after, before, float(before.std())) / _GAIN)
    best: tuple[float, str] | None = None
    for slope, offset, text in _conversions(before, after, tolerance.factor, name):
        apart = _distance(after, slope * before + offset, slope * float(before.std()))
        if apart <= limit and (best is None or apart < best[0]):
            best = apart, text
    return None if best is None else best[1]


def _conversions(before: FloatArray, after: FloatArray, near: float, field: str) -> Iterator[tuple[float, float, str]]:
    """Yield factor, offset and text of the conversions to try: factors near the fitted one, and those with an offset.

    The fitted factor is the ratio of the spreads of the quantiles.
    """
    factor = float(after.std() / before.std())
    for known, unit, _ in FACTORS:
        if not fits_name(unit, field):
            continue
        for exact in (known, 1.0 / known):
            if abs(factor / exact - 1.0) <= near and abs(math.log(exact)) >= math.log(_LEAST_FACTOR):
                yield exact, 0.0, name_factor(exact)
    if not fits_name("degrees Celsius", field):
        return
    for size in OFFSETS:
        for offset in (size, -size):
            yield 1.0, offset, name_offset(offset)
    for slope, offset, name in LINEAR:
        yield slope, offset, f"· {slope:.4g} {name_offset(offset)} ({name})"


def _distance(left: FloatArray, right: FloatArray, scale: float) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.sqrt(np.mean((left - right) ** 2))) / scale


def spelling_hint(field: FieldBaseline, merged_unseen: Counter[str], n_rows: int) -> Hint | None:
    """Compare unseen values with the categories of training, after case, spaces and signs are removed."""
    for what, normal in (*SPELLINGS, ("several differences of spelling", normal_spelling)):
        by_normal = {normal(category): category for category in reversed(field.categories)}
        alike = Counter(
            {(value, by_normal[normal(value)]): n for value, n in merged_unseen.items() if normal(value) in by_normal}
        )
        if not alike or 2 * alike.total() < merged_unseen.total():
            continue
        shown = ", ".join(f"“{value[:40]}” for “{known[:40]}”" for (value, known), _ in alike.most_common(_NAMED))
        share = alike.total() / max(n_rows, 1)
        return Hint(field.name, "spelling", f"{what}: {shown} ({share:.2%} of the rows)")
    return None
