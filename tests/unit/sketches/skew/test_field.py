"""Each mistake is recognised by name if planted alone; other differences are not named."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from barograph_server.sketches.skew.field import Explanation, FloatArray, Skew, choose
from barograph_server.sketches.skew.numbers import EXACT, compare_numbers
from barograph_server.sketches.skew.units import name_factor, name_linear, name_offset, name_span, name_wrap

N = 4_000
RNG = np.random.default_rng(20130601)
VALUES: FloatArray = np.round(RNG.normal(70.0, 12.0, N), 2)
NULLS = RNG.random(N) < 0.1


def one(skew: Skew) -> Explanation:
    (result,) = skew.explanations
    return result


def test_equal_values_have_no_skew() -> None:
    skew = compare_numbers(VALUES, VALUES.copy())
    assert (skew.compared, skew.mismatched, skew.rate, skew.kinds, skew.explanations) == (N, 0, 0.0, (), ())
    assert skew.low == 0.0
    assert 0 < skew.high < 0.001
    assert skew.precision == ""
    # Nor have nulls on both sides; values that are not finite count as missing on either.
    values = np.where(NULLS, np.nan, VALUES)
    assert compare_numbers(values, values.copy()).mismatched == 0
    assert compare_numbers(np.where(NULLS, np.inf, VALUES), values).mismatched == 0
    assert compare_numbers(np.array([1e-17, 5.0]), np.array([0.0, 5.0])).mismatched == 0
    assert compare_numbers(np.array([]), np.array([])).rate == 0.0


def test_32_bit_floats_are_reported_as_precision_and_not_as_mismatch() -> None:
    exact = RNG.normal(70.0, 12.0, N)
    narrow = exact.astype(np.float32).astype(np.float64)
    skew = compare_numbers(narrow, exact)
    assert (skew.mismatched, skew.precision) == (0, "4,000 served values are 32-bit floats")
    assert compare_numbers(exact, narrow).precision == "4,000 recomputed values are 32-bit floats"
    nearly = compare_numbers(exact * (1 + 1e-8), exact)
    assert (nearly.mismatched, nearly.precision) == (0, "4,000 values differ by less than the tolerance")
    assert compare_numbers(exact * (1 + 1e-5), exact).mismatched == N
    assert compare_numbers(exact * (1 + 1e-5), exact, tolerance=1e-4).mismatched == 0


Plant = Callable[[FloatArray], NDArray[np.floating]]

PLANTS: list[tuple[str, str, Plant]] = [
    ("constant offset", "served = recomputed + 5", lambda x: x + 5),
    ("constant offset", "served = recomputed + 273.15 (degrees Celsius → kelvin)", lambda x: x + 273.15),
    ("constant factor", "served = recomputed × 1.609344 (miles → kilometres)", lambda x: x * 1.609344),
    ("constant factor", "served = recomputed × 1.609 (about miles → kilometres)", lambda x: x * 1.609),
    ("constant factor", "served = recomputed × 1000 (thousandths: kilo–, milli–)", lambda x: x * 1000),
    ("constant factor", "served = recomputed × 3600 (hours → seconds)", lambda x: x * 3600),
    ("constant factor", "served = recomputed × −1 (the sign)", lambda x: -x),
    ("constant factor", "served = recomputed × 1.23", lambda x: x * 1.23),
    (
        "constant factor",
        "served = recomputed × 1.609344 (miles → kilometres), rounded to 2 digits",
        lambda x: np.round(x * 1.609344, 2),
    ),
    ("linear", "served = 1.8 · recomputed + 32 (degrees Celsius → degrees Fahrenheit)", lambda x: x * 1.8 + 32),
    ("linear", "served = 0.08333333 · recomputed − 5.833333", lambda x: (x - 70) / 12),
    ("rounding", "served = recomputed rounded to whole numbers", np.round),
    ("rounding", "served = recomputed rounded to 1 digit", lambda x: np.round(x, 1)),
    ("rounding", "served = recomputed rounded down to whole numbers", np.floor),
    ("rounding", "served = recomputed rounded up to whole numbers", np.ceil),
    ("transformed", "served = ln(1 + recomputed)", np.log1p),
    ("transformed", "served = √recomputed", np.sqrt),
    ("transformed", "served = recomputed²", np.square),
    ("limited", "served is at most 50", lambda x: np.minimum(x, 50.0)),
    ("limited", "served is at least 90", lambda x: np.maximum(x, 90.0)),
    ("null handling", "served is 0 where recomputed has another value", lambda x: np.where(x > 60, 0.0, x)),
]


@pytest.mark.parametrize("share", [1.0, 0.1])
def test_each_mistake_is_named(share: float) -> None:
    """… also where only some of the rows are served wrongly, as one host of ten would do."""
    for planted, text, plant in PLANTS:
        served = np.where(RNG.random(N) < share, plant(VALUES), VALUES).astype(np.float64)
        skew = compare_numbers(served, VALUES)
        kind, detail = planted, text
        if kind == "limited" and share < 1.0:
            # If other rows exceed it, it is not a limit of served values.
            kind, detail = "null handling", f"served is {text.split()[-1]} where recomputed has another value"
        assert skew.kinds == (kind,), (text, skew.explanations)
        result = one(skew)
        assert (result.detail, result.is_named) == (detail, True)
        assert result.share >= 0.95, text
        np.testing.assert_array_equal(skew.rows, np.flatnonzero(~np.isclose(served, VALUES, rtol=1e-6, atol=1e-9)))
        assert skew.low <= skew.rate <= skew.high, text


def test_a_default_for_nulls_is_named_with_its_value() -> None:
    recomputed = np.where(NULLS, np.nan, VALUES)
    mean, median = float(np.mean(VALUES[~NULLS])), float(np.median(VALUES[~NULLS]))
    for default, name in (
        (0.0, "0"),
        (-1.0, "-1"),
        (mean, f"{mean:.6g} (the mean)"),
        (median, f"{median:.6g} (the median)"),
    ):
        skew = compare_numbers(np.where(NULLS, default, VALUES), recomputed)
        assert (skew.kinds, one(skew).detail) == (("null handling",), f"served is {name} where recomputed is null")
        assert skew.mismatched == NULLS.sum()
    # Two independent mistakes are both named.
    skew = compare_numbers(np.where(NULLS, 0.0, VALUES * 1000), recomputed)
    assert skew.kinds == ("constant factor", "null handling")


def test_a_clock_of_another_time_zone_is_an_offset_modulo_a_day() -> None:
    minute = RNG.integers(0, 1440, N).astype(np.float64)
    served = (minute + 300) % 1440
    partly = np.where(np.arange(N) < 50, RNG.permutation(minute), served)
    for each in (served, partly):
        skew = compare_numbers(each, minute, tolerance=EXACT)
        assert skew.kinds == ("constant offset",)
        assert one(skew).detail == "served = recomputed + 300, wrapping at 1440 (+5 h: another time zone?)"
    # One offset does not wrap, and few rows prove none.
    skew = compare_numbers(minute + 300 * (np.arange(N) < 20), minute, tolerance=EXACT)
    assert skew.kinds == ("unexplained",)
    assert (one(skew).kind, one(skew).detail, one(skew).explained) == (
        "constant offset",
        "served = recomputed + 300",
        20,
    )


def test_times_are_compared_to_the_millisecond() -> None:
    moments = 1.37e12 + RNG.integers(0, 10**9, N).astype(np.float64)
    assert compare_numbers(moments + 60_000, moments, tolerance=EXACT, are_times=True).mismatched == N
    skew = compare_numbers(moments - 4 * 3_600_000, moments, tolerance=EXACT, are_times=True)
    assert one(skew).detail == "served = recomputed − 4 h (another time zone?)"
    jitter = compare_numbers(moments + RNG.integers(10, 10**6, N), moments, tolerance=EXACT, are_times=True)
    assert jitter.kinds == ("unexplained",)


def test_flags_and_fields_of_mostly_zeros_have_their_own_rules() -> None:
    flags = (RNG.random(N) < 0.3).astype(np.float64)
    assert compare_numbers(1.0 - flags, flags).kinds == ("recoded",)
    # Of three different values an offset is named, too.
    seats = RNG.choice([20.0, 55.0, 189.0], N)
    assert one(compare_numbers(seats + 7, seats)).detail == "served = recomputed + 7"
    # A linear rule wins over an offset.
    recomputed = np.where(RNG.random(N) < 0.97, 0.0, RNG.random(N) * 3)
    assert compare_numbers(recomputed * 1.8 + 32, recomputed).kinds == ("linear",)


def test_noise_is_not_named() -> None:
    for noise in (
        RNG.normal(0.0, 1.0, N),
        RNG.normal(0.0, 0.01, N),
        RNG.integers(1, 9, N).astype(np.float64),
        np.round(RNG.normal(0.0, 5.0, N), 2) + 0.01,
    ):
        skew = compare_numbers(VALUES + noise, VALUES)
        assert skew.kinds == ("unexplained",)
        assert skew.mismatched > 0.9 * N
    # Nor are shuffled values, or a single pair of values.
    assert compare_numbers(RNG.permutation(VALUES), VALUES).kinds == ("unexplained",)
    assert compare_numbers(np.full(N, 7.0), np.full(N, 5.0)).kinds == ("unexplained",)


def test_few_mismatches_show_the_candidate_and_name_nothing() -> None:
    served = VALUES.copy()
    served[:20] *= 1000
    skew = compare_numbers(served, VALUES)
    assert skew.kinds == ("unexplained",)
    result = one(skew)
    assert (result.kind, result.explained, result.judged, result.share) == ("constant factor", 20, 20, 1.0)
    assert result.low == pytest.approx(0.8389, abs=1e-4)
    served[:73] = VALUES[:73] * 1000
    assert compare_numbers(served, VALUES).kinds == ("constant factor",)
    # A rule that explains four fifths is a candidate, too.
    served = VALUES * 1000
    served[: N // 5] = RNG.normal(0, 1, N // 5)
    skew = compare_numbers(served, VALUES)
    assert (skew.kinds, one(skew).kind) == (("unexplained",), "constant factor")
    assert one(skew).share == pytest.approx(0.8)


def test_even_few_nulls_on_one_side_are_null_handling() -> None:
    with_nulls = np.where(NULLS, np.nan, VALUES)
    for served, recomputed, text in (
        (with_nulls, np.where(NULLS, 0.0, VALUES), "recomputed is 0 where served is null"),
        (with_nulls, VALUES, "served is null where recomputed has a value"),
        (VALUES, with_nulls, "recomputed is null where served has a value"),
    ):
        assert one(compare_numbers(served, recomputed)).detail == text
    served, recomputed = VALUES.copy(), VALUES.copy()
    served[[5, 70, 900]] = -1.0
    recomputed[[5, 70, 900]] = np.nan
    skew = compare_numbers(served, recomputed)
    assert (skew.mismatched, skew.kinds) == (3, ("null handling",))
    assert one(skew).detail == "served is -1 where recomputed is null"
    # … and says nothing of values that differ beside it.
    served[:30] += RNG.normal(0, 5, 30)
    assert compare_numbers(served, recomputed).kinds == ("unexplained",)


def test_known_units_are_named() -> None:
    assert name_factor(2.54) == "× 2.54 (inches → centimetres)"
    assert name_factor(1 / 2.54) == "÷ 2.54 (centimetres → inches)"
    assert name_factor(3.28) == "× 3.28 (about metres → feet)"
    assert name_factor(1.7) == "× 1.7"
    assert name_offset(-273.15) == "− 273.15 (kelvin → degrees Celsius)"
    assert name_linear(1.8, 32.0).endswith("(degrees Celsius → degrees Fahrenheit)")
    assert name_linear(2.0, -1.0) == "2 · recomputed − 1"
    assert name_span(90_000) == "+ 1.5 min"
    assert name_span(-2.5) == "− 2.5 ms"
    assert name_wrap(23, 24) == "− 1, wrapping at 24 (-1 h: another time zone?)"
    assert name_wrap(1, 7) == "+ 1, wrapping at 7"


def test_the_first_named_rule_wins_unless_a_later_one_explains_the_rest() -> None:
    first = Explanation("a", "", 970, 1000, 1000)
    later = Explanation("b", "", 999, 1000, 1000)
    assert choose([first, later]) is later
    assert choose([later, first]) is later
    assert choose([first, Explanation("c", "", 980, 1000, 1000)]) is first
    best = Explanation("e", "", 2, 10, 10)
    assert choose([Explanation("d", "", 1, 10, 10), best]) is best
    assert choose([Explanation("f", "", 0, 10, 10)]) is None
    assert not Explanation("g", "", 100, 100, 300).is_named, "it judged a third"
    assert math.isclose(Explanation("h", "", 73, 73, 73).low, 0.95, abs_tol=1e-4)
