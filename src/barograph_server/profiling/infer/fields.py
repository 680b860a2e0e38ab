"""Converts one column of a training table to a field, or explains why it is ignored."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from barograph.contract import CONFIDENCE
from numpy.typing import NDArray

from barograph_server.profiling.infer.columns import (
    FloatArray,
    TextColumn,
    TooManyValues,
    count_distinct,
    read_distinct_integers,
    read_numbers,
    read_texts,
)
from barograph_server.profiling.infer.profile import FieldPlan
from barograph_server.profiling.infer.slices import SliceDimension
from barograph_server.profiling.infer.summarise import (
    MAX_CATEGORIES,
    FieldSummary,
    is_whole,
    needs_doubles,
    summarise_numbers,
    summarise_texts,
)
from barograph_server.profiling.infer.tables import Table, is_text, plain_type
from barograph_server.sketches.baseline.baseline import ALL, RARE_DIVISOR, FieldBaseline
from barograph_server.sketches.baseline.layout import IntArray
from barograph_server.sketches.sketch.quantiles import FEW_INTEGERS, POINT_MASS

ID_MIN_ROWS = 100
"""Minimum number of valid rows to classify a column as an id."""
_ID_PERCENT = 99
"""Percentage of distinct values among valid rows from which an integer or text column is an id."""
_EXACT_LIMIT = 2.0**53
ID_REASON, MANY_VALUES_REASON = "looks like an id", "high cardinality"
TEXT_NUMBERS_REASON = "numbers as text"
MIN_TEXT_NUMBERS = 21
"""Minimum number of distinct texts to classify them as numbers; fewer are codes, such as grades from 1 to 5."""
_TEXT_NUMBER_PERCENT = 95
"""Percentage of numbers among distinct texts from which a text column has numbers."""
_SAMPLE_ROWS = 10_000
_NUMBER_LIKE = re.compile(
    r"\s*(?:[$€£¥]|[A-Z]{3}\s)?\s*[+-]?(\d{1,3}([,.' ]\d{3})+|\d+)?([.,]\d+)?([eE][+-]?\d+)?"
    r"\s*(?:%|[$€£¥]|\s[A-Za-z]{1,3})?\s*"
)
"""A number as people write it, with a separator of thousands, a currency or a unit."""
_NO_VALUE = frozenset({"", "?", "-", "--", ".", "na", "n/a", "nan", "null", "none", "missing", "unknown", "inf"})
"""Texts that stand for a missing number, in lower case."""


@dataclass(frozen=True, slots=True)
class IgnoredColumn:
    reason: str


@dataclass(frozen=True, slots=True)
class InferredField:
    plan: FieldPlan
    summary: FieldSummary
    reason: str


class FieldReader:
    """Reads columns of one table, with the same slices and event times.

    Args:
        at_ms: Event times, Unix milliseconds, shape (n,); None without a column of event times.
        untimed: Mask of rows without an event time, shape (n,).
        scores: The columns whose largest value is the confidence.
    """

    def __init__(
        self,
        table: Table,
        dimensions: Sequence[SliceDimension],
        at_ms: IntArray | None,
        untimed: NDArray[np.bool_] | None,
        scores: Sequence[str] = (),
    ) -> None:
        self._table, self._dimensions, self._scores = table, dimensions, scores
        self._at_ms, self._untimed = at_ms, untimed

    def read(self, plan: FieldPlan) -> InferredField | IgnoredColumn:
        """Read a column and summarise it, if its values can be monitored."""
        return self._category(plan) if plan.type == "category" else self._numeric(plan)

    def _numeric(self, plan: FieldPlan) -> InferredField | IgnoredColumn:
        values = self._max_score() if plan.source == CONFIDENCE else read_numbers(self._table, plan.column)
        if plan.type == "timestamp":
            if self._at_ms is None or self._untimed is None:
                return IgnoredColumn("a timestamp is monitored by its age, but --time names no event time")
            values = (self._at_ms - values) / 1000
            values[self._untimed] = np.nan
        ordered = np.sort(values[np.isfinite(values)])
        distinct = count_distinct(ordered)
        if plan.type == "int" and not plan.is_required:
            if ordered.size and max(-ordered[0], ordered[-1]) >= _EXACT_LIMIT:
                distinct = read_distinct_integers(self._table, plan.column)
            if _is_id(distinct, ordered.size):
                return IgnoredColumn(_id_reason(distinct, ordered.size))
        whole = plan.type in ("int", "bool") or is_whole(ordered)
        summary = summarise_numbers(
            plan.name,
            values,
            ordered,
            self._dimensions,
            integer=whole or needs_doubles(ordered),
            boolean=plan.type == "bool",
            limits=(None, None) if plan.declared is None else (plan.declared.low, plan.declared.high),
        )
        reason = _numeric_reason(plan, values, ordered, distinct, summary.baseline, whole=whole)
        return InferredField(plan, summary, reason)

    def _max_score(self) -> FloatArray:
        """Read the largest score of each row: NaN where all are null, invalid where one is."""
        largest = np.full(self._table.rows, np.nan)
        for column in self._scores:
            values = read_numbers(self._table, column)
            values[np.isinf(values)] = np.inf
            np.fmax(largest, values, out=largest)
        return largest

    def _category(self, plan: FieldPlan) -> InferredField | IgnoredColumn:
        try:
            texts = read_texts(self._table, plan.column)
        except TooManyValues as error:
            sample = next(self._table.batches(plan.column)).slice(0, _SAMPLE_ROWS)
            reason = self._text_numbers(plan, [text for text in pc.unique(sample).to_pylist() if text is not None])
            return IgnoredColumn(reason or f"{MANY_VALUES_REASON}: {error}")
        distinct = len(texts.values)
        valid = int(np.count_nonzero(texts.codes >= 0))
        reason = self._text_numbers(plan, texts.values)
        if reason:
            return IgnoredColumn(reason)
        if not plan.is_required and _is_id(distinct, valid):
            return IgnoredColumn(_id_reason(distinct, valid))
        summary = summarise_texts(plan.name, texts, self._dimensions)
        return InferredField(plan, summary, _category_reason(plan, texts, summary.baseline))

    def _text_numbers(self, plan: FieldPlan, values: Sequence[str]) -> str:
        """Return why texts are numbers that were written as text; empty if they are categories."""
        is_slice = any(plan.source in dimension.values.sources for dimension in self._dimensions)
        if is_slice or plan.source == "class" or not is_text(plain_type(self._table.columns[plan.column])):
            return ""
        return _describe_text_numbers(values)


def _describe_text_numbers(values: Sequence[str]) -> str:
    present = [value for value in values if value.strip().lower() not in _NO_VALUE]
    numbers = [value for value in present if any(map(str.isdigit, value)) and _NUMBER_LIKE.fullmatch(value)]
    if len(numbers) < MIN_TEXT_NUMBERS or len(numbers) * 100 < _TEXT_NUMBER_PERCENT * len(present):
        return ""
    digits = [value for value in numbers if value.isdecimal()]
    has_zeros = any(value.startswith("0") and len(value) > 1 for value in digits)
    if len(digits) == len(numbers) and (has_zeros or len({len(value) for value in digits}) == 1):
        return ""  # codes, such as postal codes and years
    number_set = set(numbers)
    others = [repr(value) for value in values if value not in number_set]
    rest = f"; the others: {', '.join(others[:3])}{', …' if len(others) > 3 else ''}" if others else ""
    return f"{TEXT_NUMBERS_REASON}: {len(numbers):,} of {len(values):,} texts, such as {numbers[0]!r}{rest}"


def _is_id(distinct: int, valid: int) -> bool:
    return valid >= ID_MIN_ROWS and distinct * 100 >= _ID_PERCENT * valid


def _id_reason(distinct: int, valid: int) -> str:
    return f"{ID_REASON}: {distinct:,} distinct values in {valid:,} rows"


def _numeric_reason(
    plan: FieldPlan, values: FloatArray, ordered: FloatArray, distinct: int, field: FieldBaseline, *, whole: bool
) -> str:
    notes = [plan.note] if plan.note else []
    invalid = int(np.count_nonzero(np.isinf(values)))
    if invalid:
        notes.append(f"{invalid:,} NaN or infinite values count as invalid")
    if ordered.size == 0:
        return "; ".join([*notes, "no valid value: any value counts as drift"])
    if plan.type == "bool":
        notes.append("true and false" if distinct == 2 else f"constant, always {'true' if ordered[0] else 'false'}")
    elif distinct == 1:
        notes.append(f"constant, always {ordered[0]:.6g}: any other value counts as drift")
    elif whole and distinct <= FEW_INTEGERS:
        notes.append(f"{distinct} integers, one bin each")
    else:
        masses = _point_masses(field, ordered.size)
        notes.append("deciles" + (f"; point mass at {', '.join(masses)}" if masses else ""))
    return "; ".join(notes)


def _point_masses(field: FieldBaseline, valid: int) -> list[str]:
    """Format the values with at least a tenth of the rows, according to the quantiles."""
    values, counts = np.unique(np.array(field.quantiles), return_counts=True)
    heavy = counts * POINT_MASS >= len(field.quantiles)
    return [f"{value:.6g}" for value in values[heavy & (valid >= POINT_MASS)].tolist()]


def _category_reason(plan: FieldPlan, texts: TextColumn, field: FieldBaseline) -> str:
    notes = [plan.note] if plan.note else []
    distinct = len(texts.values)
    if distinct == 0:
        return "; ".join([*notes, "no value: any value counts as drift"])
    if distinct == 1:
        return "; ".join([*notes, f"constant, always {field.categories[0]!r}"])
    counts = field.slices[ALL].cells
    retained = sum(count * RARE_DIVISOR >= sum(counts) for count in counts[:-2])
    if retained == 0:
        notes.append(f"{distinct:,} values, none in 0.5 % of the rows: only unseen values and nulls can show drift")
    elif retained < distinct:
        notes.append(f"{distinct:,} values, {distinct - retained:,} rare ones grouped as `other`")
    else:
        notes.append(f"{distinct:,} values")
    if distinct > MAX_CATEGORIES:
        notes.append(f"the {MAX_CATEGORIES:,} most frequent counted individually")
    return "; ".join(notes)
