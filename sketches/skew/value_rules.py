"""Rules for pairs of numbers without nulls: offsets, factors, rounding, functions, defaults, limits."""

from collections.abc import Callable, Iterator

import numpy as np

from barograph_server.sketches.skew.field import BoolArray, Explanation, FloatArray, ValuePairs, most_frequent
from barograph_server.sketches.skew.units import name_factor, name_linear, name_offset, name_span, name_wrap

_DIGITS = range(-6, 10)
_SIGNIFICANT = range(1, 7)
_GRID_DIGITS = range(5)
_GRID_STEPS = 20.0
"""Fewest steps that the middle half of the values must span for a rounded result to count as rounded."""
_PERIODS = (7.0, 12.0, 24.0, 60.0, 360.0, 1440.0, 86400.0)


def value_rules(pairs: ValuePairs, served: FloatArray) -> Iterator[Explanation]:
    """Try all rules, simpler ones first; a single pair of values proves nothing.

    Args:
        pairs: mismatches with a value on both sides.
        served: all served values of the field, mismatches or not.
    """
    if pairs.recomputed.min() < pairs.recomputed.max():
        yield _constant(pairs, served, of="served")
        yield _negated(pairs)
        yield from _offset(pairs)
        yield from _factor(pairs)
    if pairs.served.min() < pairs.served.max():
        yield _constant(pairs, served, of="recomputed")
    yield from _rounding(pairs)
    yield from _linear(pairs)
    yield from _transformed(pairs)


def _constant(pairs: ValuePairs, served: FloatArray, *, of: str) -> Explanation:
    """Explain mismatches by one value on one side: a default, or a limit at which values are clipped."""
    n = len(pairs.served)
    values, others = (pairs.served, pairs.recomputed) if of == "served" else (pairs.recomputed, pairs.served)
    value, count = most_frequent(values)
    beside = others[values == value]
    if of == "served" and len(np.unique(beside)) > 1:
        known = served[~np.isnan(served)]
        if (beside > value).all() and known.min() < value >= known.max():
            return Explanation("limited", f"served is at most {value:.6g}", count, n, n)
        if (beside < value).all() and known.max() > value <= known.min():
            return Explanation("limited", f"served is at least {value:.6g}", count, n, n)
    other = "recomputed" if of == "served" else "served"
    count = count if len(np.unique(beside)) > 1 else 0
    return Explanation("null handling", f"{of} is {value:.6g} where {other} has another value", count, n, n)


def _negated(pairs: ValuePairs) -> Explanation:
    """Explain mismatches by a negated flag."""
    n = len(pairs.served)
    flags = np.isin(pairs.served, (0.0, 1.0)) & np.isin(pairs.recomputed, (0.0, 1.0))
    count = int((flags & (pairs.served == 1.0 - pairs.recomputed)).sum())
    return Explanation("recoded", "served is the opposite of recomputed", count, n, n)


def _offset(pairs: ValuePairs) -> Iterator[Explanation]:
    n = len(pairs.served)
    differences = pairs.served - pairs.recomputed
    best = Explanation("constant offset", "", 0, n, n)
    for offset in {float(np.median(differences)), most_frequent(_rough(differences))[0]}:
        fits = pairs.equal(pairs.served, pairs.recomputed + offset)
        if fits.any():
            offset = float(np.median(differences[fits]))  # exact instead of rounded
            fits = pairs.equal(pairs.served, pairs.recomputed + offset)
        count = int(fits.sum())
        if count > best.explained:
            detail = name_span(offset) if pairs.are_times else name_offset(offset)
            best = Explanation("constant offset", f"served = recomputed {detail}", count, n, n)
    yield best
    if not pairs.are_times:
        yield from _wrap(pairs, differences)


def _wrap(pairs: ValuePairs, differences: FloatArray) -> Iterator[Explanation]:
    """Explain mismatches by an offset modulo a period, such as a clock in another time zone: c or c − period."""
    n = len(differences)
    distinct, counts = np.unique(_rough(differences), return_counts=True)
    if len(distinct) < 2:
        return
    first, second = np.argsort(counts)[-2:][::-1]
    apart = abs(float(distinct[first] - distinct[second]))
    period = next((p for p in _PERIODS if abs(apart - p) <= 1e-6 * p), None)
    if period is None:
        return
    offset = float(distinct[first])
    wrapped = (pairs.recomputed + offset) % period
    served = pairs.served % period
    apart_now = np.abs(served - wrapped)
    count = int((np.minimum(apart_now, period - apart_now) <= pairs.tolerance * period).sum())
    yield Explanation("constant offset", f"served = recomputed {name_wrap(offset, period)}", count, n, n)


def _rough(values: FloatArray) -> FloatArray:
    """Round to nine significant digits, so that values that differ only by rounding are equal."""
    scale = np.max(np.abs(values))
    if not np.isfinite(scale) or scale == 0.0:
        return values
    step = 10.0 ** (np.floor(np.log10(scale)) - 8)
    rounded: FloatArray = np.round(values / step) * step
    return rounded


def _factor(pairs: ValuePairs) -> Iterator[Explanation]:
    n = len(pairs.served)
    nonzero = (pairs.recomputed != 0.0) & (pairs.served != 0.0)
    if not nonzero.any():
        return
    ratios = pairs.served[nonzero] / pairs.recomputed[nonzero]
    best = Explanation("constant factor", "", 0, n, n)
    for factor in {float(np.median(ratios)), most_frequent(_rough(ratios))[0]}:
        fits = pairs.equal(pairs.served, pairs.recomputed * factor)
        if (fits & nonzero).any():
            factor = _slope_through_zero(pairs.take(fits))
            fits = pairs.equal(pairs.served, pairs.recomputed * factor)
        count = int(fits.sum())
        if count > best.explained:
            best = Explanation("constant factor", f"served = recomputed {name_factor(factor)}", count, n, n)
    yield best
    if best.is_named:
        return
    fits, digits = _on_grid(pairs, pairs.recomputed * float(np.median(ratios)))
    if fits.any() and digits is not None:
        factor = _slope_through_zero(pairs.take(fits))
        fits, _ = _on_grid(pairs, pairs.recomputed * factor)
        detail = f"served = recomputed {name_factor(factor)}, rounded to {_decimals(digits)}"
        yield Explanation("constant factor", detail, int(fits.sum()), n, n)


def _slope_through_zero(pairs: ValuePairs) -> float:
    """Return the least-squares factor; some value is not zero."""
    return float(pairs.served @ pairs.recomputed) / float(pairs.recomputed @ pairs.recomputed)


def _linear(pairs: ValuePairs) -> Iterator[Explanation]:
    """Explain mismatches by offset and factor; two free parameters need three distinct values."""
    n = len(pairs.served)
    fit = _fit_line(pairs)
    if fit is None:
        return
    slope, intercept = fit
    fits = pairs.equal(pairs.served, slope * pairs.recomputed + intercept)
    yield Explanation("linear", f"served = {name_linear(slope, intercept)}", int(fits.sum()), n, n)
    fits, digits = _on_grid(pairs, slope * pairs.recomputed + intercept)
    if digits is not None:
        detail = f"served = {name_linear(slope, intercept)}, rounded to {_decimals(digits)}"
        yield Explanation("linear", detail, int(fits.sum()), n, n)


def _fit_line(pairs: ValuePairs) -> tuple[float, float] | None:
    """Return slope and intercept: the median slope of distant pairs, then least squares on the pairs near that line."""
    order = np.argsort(pairs.recomputed, kind="stable")
    x, y = pairs.recomputed[order], pairs.served[order]
    if len(np.unique(x)) < 3:
        return None
    half = len(x) // 2
    run, rise = x[half:] - x[: len(x) - half], y[half:] - y[: len(x) - half]
    apart = run > 0.0
    if not apart.any():
        return None
    slope = float(np.median(rise[apart] / run[apart]))
    intercept = float(np.median(y - slope * x))
    residual = np.abs(y - slope * x - intercept)
    near = residual <= max(4.0 * float(np.median(residual)), pairs.floor)
    if len(np.unique(x[near])) >= 3:
        centre = float(x[near].mean())
        slope, level = (float(coefficient) for coefficient in np.polyfit(x[near] - centre, y[near], 1))
        intercept = level - slope * centre
    if slope == 0.0 or not np.isfinite(slope):
        return None
    return slope, intercept


def _on_grid(pairs: ValuePairs, predicted: FloatArray) -> tuple[BoolArray, int | None]:
    """Return where served is the prediction rounded to served's digits, and the digits; None if it has many."""
    low, high = np.quantile(pairs.served, [0.25, 0.75])
    for digits in _GRID_DIGITS:
        step = 10.0**-digits
        rounded = np.round(pairs.served, digits)
        if np.mean(pairs.equal(pairs.served, rounded)) >= 0.99:
            if high - low < _GRID_STEPS * step:
                break
            within = step / 2.0 * (1.0 + 1e-6) + pairs.tolerance * np.abs(predicted)
            return np.abs(pairs.served - predicted) <= within, digits
    return np.zeros(len(pairs.served), np.bool_), None


def _rounding(pairs: ValuePairs) -> Iterator[Explanation]:
    """Explain mismatches by fewer digits on one side, decimal or binary."""
    for name, coarse, fine in (
        ("served = recomputed", pairs.served, pairs.recomputed),
        ("recomputed = served", pairs.recomputed, pairs.served),
    ):
        yield from _rounded(pairs, name, coarse, fine)


def _rounded(pairs: ValuePairs, name: str, coarse: FloatArray, fine: FloatArray) -> Iterator[Explanation]:
    n = len(coarse)
    best = Explanation("rounding", "", 0, n, n)

    def better(fits: BoolArray, detail: str) -> None:
        nonlocal best
        count = int(fits.sum())
        if count > best.explained:
            best = Explanation("rounding", f"{name} {detail}", count, n, n)

    if len(np.unique(coarse)) < 2:
        return
    tiny = pairs.tolerance * np.abs(coarse) + pairs.floor
    for digits in reversed(_DIGITS):
        step = 10.0**-digits
        # With a tolerance as wide as the grid, every value lies on it.
        grid = (np.abs(coarse - np.round(coarse / step) * step) <= tiny) & (tiny < step / 20.0)
        if not grid.any():
            continue
        left = fine - coarse
        better(grid & (np.abs(left) <= step / 2.0 + tiny), f"rounded to {_decimals(digits)}")
        better(grid & (left >= -tiny) & (left < step), f"rounded down to {_decimals(digits)}")
        better(grid & (left <= tiny) & (left > -step), f"rounded up to {_decimals(digits)}")
        better(grid & (np.sign(fine) * left >= -tiny) & (np.abs(left) < step), f"cut to {_decimals(digits)}")
    nonzero = fine != 0.0
    size = np.floor(np.log10(np.abs(np.where(nonzero, fine, 1.0))))
    for significant in _SIGNIFICANT:
        step_each = 10.0 ** (size - significant + 1)
        better(
            pairs.equal(coarse, np.round(fine / step_each) * step_each) & nonzero,
            f"rounded to {significant} significant digit{'s' if significant > 1 else ''}",
        )
    with np.errstate(over="ignore"):
        better(pairs.equal(coarse, fine.astype(np.float16).astype(np.float64)), "as a 16-bit float")
    yield best


def _decimals(digits: int) -> str:
    if digits <= 0:
        return "whole numbers" if digits == 0 else f"whole {10**-digits}s"
    return f"{digits} digit{'s' if digits > 1 else ''}"


_FUNCTIONS: tuple[tuple[str, Callable[[FloatArray], FloatArray]], ...] = (
    ("ln(1 + {})", np.log1p),
    ("ln({})", np.log),
    ("log10({})", np.log10),
    ("√{}", np.sqrt),
    ("{}²", np.square),
    ("|{}|", np.abs),
    ("1/{}", np.reciprocal),
)


def _transformed(pairs: ValuePairs) -> Iterator[Explanation]:
    """Explain mismatches by a function that only one side applies."""
    n = len(pairs.served)
    best = Explanation("transformed", "", 0, n, n)
    for left, right, target, source in (
        ("served", "recomputed", pairs.served, pairs.recomputed),
        ("recomputed", "served", pairs.recomputed, pairs.served),
    ):
        for pattern, function in _FUNCTIONS:
            with np.errstate(all="ignore"):
                predicted = function(source)
            count = int((pairs.equal(target, predicted) & np.isfinite(predicted)).sum())
            if count > best.explained:
                best = Explanation("transformed", f"{left} = {pattern.format(right)}", count, n, n)
    yield best
