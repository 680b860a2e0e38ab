"""Compare numbers pair by pair and explain the differences."""

from collections.abc import Callable, Iterator

import numpy as np

from barograph_server.sketches.drift.rates import wilson
from barograph_server.sketches.skew.field import (
    NAMED_SHARE,
    Explanation,
    FloatArray,
    IntArray,
    Skew,
    ValuePairs,
    absolute_floor,
    agree,
    choose,
    cleaned,
    most_frequent,
)
from barograph_server.sketches.skew.value_rules import value_rules

TOLERANCE = 1e-6
"""Relative difference up to which two numbers are equal; that of 32-bit floats is at most 6·10⁻⁸."""
EXACT = 1e-13
"""Tolerance of whole numbers and times: rounding of double arithmetic; under a millisecond for times since 1970."""


def compare_numbers(
    served: FloatArray,
    recomputed: FloatArray,
    *,
    tolerance: float = TOLERANCE,
    are_times: bool = False,
    series: Callable[[ValuePairs, IntArray], Iterator[Explanation]] | None = None,
) -> Skew:
    """Compare numbers pair by pair and explain the differences.

    Args:
        served: shape (n,), NaN for null.
        recomputed: shape (n,).
        tolerance: relative difference up to which numbers are equal; `EXACT` for whole numbers and times.
        are_times: whether the values are Unix milliseconds, so that offsets are shown as spans of time.
        series: tries rules that use entity and time on the mismatches and their indices (`history_rules`).
    """
    served, recomputed = cleaned(served), cleaned(recomputed)
    floor = absolute_floor(recomputed, tolerance)
    equal = agree(served, recomputed, tolerance, floor)
    rows = np.flatnonzero(~equal)
    pairs = ValuePairs(served[rows], recomputed[rows], tolerance, floor, are_times)
    low, high = wilson(len(rows), len(served))
    explanations = _explain(pairs, rows, recomputed, served, series) if len(rows) else ()
    return Skew(
        len(served),
        len(rows),
        float(low),
        float(high),
        explanations,
        _precision(served[equal], recomputed[equal]),
        rows,
    )


def _explain(
    pairs: ValuePairs,
    rows: IntArray,
    recomputed: FloatArray,
    served: FloatArray,
    series: Callable[[ValuePairs, IntArray], Iterator[Explanation]] | None,
) -> tuple[Explanation, ...]:
    one_null = np.isnan(pairs.served) | np.isnan(pairs.recomputed)
    parts: list[Explanation] = []
    if not one_null.all():
        values = pairs.take(~one_null)
        best = choose(value_rules(values, served))
        if best is None or not best.is_named:
            whole = choose(series(pairs, rows)) if series is not None else None
            if whole is not None and whole.is_named:
                return (whole,)
            alone = choose(series(values, rows[~one_null])) if series is not None and one_null.any() else whole
            best = choose(each for each in (best, alone) if each is not None)
        if best is not None:
            parts.append(best)
    if one_null.any():
        parts.append(_null_rule(pairs.take(one_null), recomputed))
    return tuple(sorted(parts, key=lambda part: -part.of))


def _null_rule(pairs: ValuePairs, recomputed: FloatArray) -> Explanation:
    """Explain nulls on one side; name the value on the other side if it is a single one."""
    n = len(pairs.served)
    filled = np.isnan(pairs.recomputed)
    if filled.sum() * 2 >= n:
        side, other, values = "served", "recomputed", pairs.served[filled]
    else:
        side, other, values = "recomputed", "served", pairs.recomputed[~filled]
    value, count = most_frequent(values)
    if count >= NAMED_SHARE * len(values) and count > 1:
        return Explanation(
            "null handling",
            f"{side} is {value:.6g}{_typical(value, recomputed)} where {other} is null",
            count,
            n,
            n,
            is_plain=True,
        )
    detail = f"{other} is null where {side} has a value"
    return Explanation("null handling", detail, len(values), n, n, is_plain=True)


def _typical(value: float, recomputed: FloatArray) -> str:
    known = recomputed[~np.isnan(recomputed)]
    if not known.size:
        return ""
    for name, typical in (("mean", known.mean()), ("median", np.median(known))):
        if value and abs(value - typical) <= 1e-4 * abs(typical):
            return f" (the {name})"
    return ""


def _precision(served: FloatArray, recomputed: FloatArray) -> str:
    """Describe how numbers that count as equal differ: as 32-bit floats, or by less than the tolerance."""
    differ = (served != recomputed) & ~np.isnan(served)
    n = int(differ.sum())
    if not n:
        return ""
    left, right = served[differ], recomputed[differ]
    with np.errstate(over="ignore"):
        if (left == right.astype(np.float32)).mean() >= NAMED_SHARE:
            return f"{n:,} served values are 32-bit floats"
        if (right == left.astype(np.float32)).mean() >= NAMED_SHARE:
            return f"{n:,} recomputed values are 32-bit floats"
    return f"{n:,} values differ by less than the tolerance"
