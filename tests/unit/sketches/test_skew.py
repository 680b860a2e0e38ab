import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from barograph_server.sketches.skew.field import Explanation, FloatArray, IntArray, Skew, choose
from barograph_server.sketches.skew.history_rules import EntityHistory, EntitySeries
from barograph_server.sketches.skew.numbers import EXACT, compare_numbers
from barograph_server.sketches.skew.texts import compare_texts
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
KILOMETRES = "served = recomputed × 1.609344 (miles → kilometres)"
PLANTS: list[tuple[str, str, Plant]] = [
    ("constant offset", "served = recomputed + 5", lambda x: x + 5),
    ("constant offset", "served = recomputed + 273.15 (degrees Celsius → kelvin)", lambda x: x + 273.15),
    ("constant factor", KILOMETRES, lambda x: x * 1.609344),
    ("constant factor", "served = recomputed × 1.609 (about miles → kilometres)", lambda x: x * 1.609),
    ("constant factor", "served = recomputed × 1000 (thousandths: kilo–, milli–)", lambda x: x * 1000),
    ("constant factor", "served = recomputed × −1 (the sign)", lambda x: -x),
    ("constant factor", "served = recomputed × 1.23", lambda x: x * 1.23),
    ("constant factor", f"{KILOMETRES}, rounded to 2 digits", lambda x: np.round(x * 1.609344, 2)),
    ("linear", "served = 1.8 · recomputed + 32 (degrees Celsius → degrees Fahrenheit)", lambda x: x * 1.8 + 32),
    ("linear", "served = 0.08333333 · recomputed − 5.833333", lambda x: (x - 70) / 12),
    ("rounding", "served = recomputed rounded to whole numbers", np.round),
    ("rounding", "served = recomputed rounded to 1 digit", lambda x: np.round(x, 1)),
    ("rounding", "served = recomputed rounded down to whole numbers", np.floor),
    ("transformed", "served = ln(1 + recomputed)", np.log1p),
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
    result = one(skew)
    assert (result.kind, result.detail, result.explained) == ("constant offset", "served = recomputed + 300", 20)


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
    assert name_wrap(23, 24) == "− 1, wrapping at 24 (-1 h: another time zone?)"


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


TEXT_RNG = np.random.default_rng(5)
NAMES = ("São Paulo", "New York-JFK", "la Guardia", "Newark EWR", "Köln Bonn", "Orly")
TEXTS = [NAMES[i] for i in TEXT_RNG.integers(0, len(NAMES), 3_000)]


def compared_texts(served: Sequence[str | None], recomputed: Sequence[str | None], *, show: bool = True) -> Skew:
    def coded(texts: Sequence[str | None]) -> tuple[IntArray, list[str]]:
        values = sorted({text for text in texts if text is not None}, key=hash)
        code = {text: i for i, text in enumerate(values)}
        return np.array([-1 if text is None else code[text] for text in texts], np.int64), values

    (left, left_values), (right, right_values) = coded(served), coded(recomputed)
    return compare_texts(left, right, left_values, right_values, show=show)


def test_equal_texts_have_no_skew() -> None:
    with_nulls = [None if i % 7 == 0 else text for i, text in enumerate(TEXTS)]
    for texts in (TEXTS, with_nulls, [None] * 5, []):
        skew = compared_texts(texts, list(texts))
        assert (skew.compared, skew.mismatched, skew.kinds) == (len(texts), 0, ())


@pytest.mark.parametrize("share", [1.0, 0.15])
def test_spelling_is_named(share: float) -> None:
    spellings: tuple[tuple[str, Callable[[str], str]], ...] = (
        ("case", str.upper),
        ("spaces", lambda text: f" {text} "),
        ("spaces", lambda text: text.replace(" ", "  ") + "\t"),
        ("accents", lambda text: text.replace("ã", "a").replace("ö", "o")),
        ("spaces, hyphens, underscores or other signs", lambda text: text.replace(" ", "_").replace("-", "_")),
        ("several differences of spelling", lambda text: f"{text.upper()} ".replace("Ö", "O").replace(" ", "-")),
    )
    for what, spell in spellings:
        served = [spell(text) if TEXT_RNG.random() < share else text for text in TEXTS]
        skew = compared_texts(served, TEXTS)
        assert skew.kinds == ("category spelling",), what
        assert one(skew).detail.startswith(f"{what}: “")
        assert skew.mismatched == sum(left != right for left, right in zip(served, TEXTS, strict=True))


def test_other_codes_one_for_one_are_recoded() -> None:
    def recoded(code: Callable[[str], str]) -> tuple[tuple[str, ...], str]:
        skew = compared_texts([*map(code, TEXTS)], TEXTS)
        return skew.kinds, one(skew).detail

    codes = {name: f"{i:03}" for i, name in enumerate(NAMES)}
    swap = {NAMES[0]: NAMES[1], NAMES[1]: NAMES[0]}
    for code, message in ((codes, "6 texts one for one: “0"), (swap, "2 texts one for one")):
        kinds, detail = recoded(lambda text, code=code: code.get(text, text))  # type: ignore[misc]
        assert kinds == ("recoded",)
        assert detail.startswith(message)
    assert recoded(lambda text: text[:3]) == (("recoded",), "served holds the first 3 characters")
    # Codes that fall together are not one for one.
    assert recoded(lambda text: str(NAMES.index(text) % 3))[0] == ("unexplained",)
    default = recoded(lambda text: "other" if text in NAMES[2:] else text)
    assert default == (("null handling",), "served is “other” where recomputed has another value")


def test_random_texts_are_unexplained() -> None:
    served = [TEXTS[i] for i in TEXT_RNG.permutation(len(TEXTS))]
    assert compared_texts(served, TEXTS).kinds == ("unexplained",)
    ids, others = ([f"{prefix}{i}" for i in range(3_000)] for prefix in "ab")
    assert compared_texts(ids, others).kinds == ("unexplained",), "each text occurs once, which proves no code"


def test_nulls_are_reported_with_their_replacement() -> None:
    for served, recomputed, message in (
        ("unknown", None, "served is “unknown” where recomputed is null"),
        (None, "unknown", "recomputed is “unknown” where served is null"),
        (None, "keep", "served is null where recomputed has a value"),
    ):
        left = [served if i % 5 == 0 else text for i, text in enumerate(TEXTS)]
        right = [recomputed if i % 5 == 0 and recomputed != "keep" else text for i, text in enumerate(TEXTS)]
        skew = compared_texts(left, right)
        assert (skew.kinds, one(skew).detail, skew.mismatched) == (("null handling",), message, 600)


def test_texts_of_personal_data_are_not_repeated() -> None:
    for plant in (str.upper, lambda text: text[::-1], lambda _text: "unknown", lambda text: text[:3]):
        skew = compared_texts([plant(text) for text in TEXTS], TEXTS, show=False)
        assert skew.kinds != ("unexplained",)
        for result in skew.explanations:
            assert not any(text in result.detail for text in [*NAMES, *map(str.upper, NAMES), "unknown"])


ENTITIES, ROWS = 40, 150
HOUR = 3_600_000
HISTORY_RNG = np.random.default_rng(11)
ENTITY = np.repeat(np.arange(ENTITIES), ROWS)
REGULAR = np.tile(np.arange(ROWS) * HOUR, ENTITIES)
UNEVEN = np.concatenate([np.cumsum(HISTORY_RNG.integers(1, 4 * HOUR, ROWS)) for _ in range(ENTITIES)])
RAW: FloatArray = np.round(HISTORY_RNG.normal(20.0, 6.0, ENTITIES * ROWS), 3)


def rolled(values: FloatArray, how: Callable[..., Any], rows: int, *, skip: int = 0) -> FloatArray:
    """By the definition: an aggregate over the last rows of each entity, partial ones at the start."""
    by_entity, out = values.reshape(ENTITIES, ROWS), np.full((ENTITIES, ROWS), np.nan)
    for i in range(ROWS):
        begin = max(0, i - skip - rows + 1)
        if begin <= i - skip:
            out[:, i] = how(by_entity[:, begin : i - skip + 1], axis=1)
    return out.ravel()


def rolled_sum(values: FloatArray, times: IntArray, span: int) -> FloatArray:
    """By the definition: a sum over a span of time up to each row of an entity."""
    by_entity, at = values.reshape(ENTITIES, ROWS), times.reshape(ENTITIES, ROWS)
    sums = [(by_entity[:, : i + 1] * (at[:, : i + 1] > at[:, [i]] - span)).sum(axis=1) for i in range(ROWS)]
    return np.stack(sums, axis=1).ravel()


def compared_series(
    served: FloatArray, recomputed: FloatArray, *, times: IntArray = REGULAR, underlying: FloatArray | None = None
) -> Skew:
    order = HISTORY_RNG.permutation(len(served))
    history = EntityHistory.of(ENTITY[order], times[order])
    ordered = [None if values is None else values[order][history.order] for values in (served, underlying)]
    series = EntitySeries(history, history.rank, recomputed[order][history.order], *ordered)
    return compare_numbers(served[order], recomputed[order], series=series.rules)


def lagged(values: FloatArray, rows: int) -> FloatArray:
    return rolled(values, np.mean, 1, skip=rows)


def test_a_lag_of_rows_is_named() -> None:
    for rows, message in ((1, "1 row earlier (1 h)"), (3, "3 rows earlier (3 h)"), (24, "24 rows earlier (1 d)")):
        skew = compared_series(lagged(RAW, rows), RAW)
        assert skew.kinds == ("lag in time",)
        assert one(skew).detail == f"served is the value {message}"
    # A window without the row itself is a lag of one row.
    skew = compared_series(rolled(RAW, np.mean, 7, skip=1), rolled(RAW, np.mean, 7), underlying=RAW)
    assert skew.kinds == ("lag in time",)


def test_a_lag_of_time_is_named_for_uneven_rows_and_values_of_another_entity_or_later_are_none() -> None:
    steps = np.floor_divide(UNEVEN, 6 * HOUR)
    readings = {(e, s): HISTORY_RNG.normal(20, 6) for e, s in set(zip(ENTITY.tolist(), steps.tolist(), strict=True))}

    def reading(entity: int, step: int) -> float:
        return readings.setdefault((entity, step), float(HISTORY_RNG.normal(20, 6)))

    recomputed = np.array([reading(e, s) for e, s in zip(ENTITY.tolist(), steps.tolist(), strict=True)])
    served = np.array([reading(e, s - 4) for e, s in zip(ENTITY.tolist(), steps.tolist(), strict=True)])
    skew = compared_series(served, recomputed, times=UNEVEN)
    assert skew.kinds == ("lag in time",)
    assert one(skew).detail == "served is the value of 1 d earlier"
    other = np.roll(RAW, ROWS // 2)
    assert compared_series(other, RAW).kinds == ("unexplained",)
    assert compared_series(-lagged(-RAW[::-1], 1)[::-1], RAW).kinds == ("unexplained",)


def test_another_window_of_rows_is_named_from_the_underlying_column() -> None:
    for served, recomputed, expected in (
        (7, 14, "served is the mean over the last 7 rows, recomputed is the mean over the last 14 rows"),
        (14, 7, "served is the mean over the last 14 rows, recomputed is the mean over the last 7 rows"),
        (30, 1, "served is the mean over the last 30 rows"),
    ):
        skew = compared_series(rolled(RAW, np.mean, served), rolled(RAW, np.mean, recomputed), underlying=RAW)
        assert skew.kinds == ("other window length",)
        assert one(skew).detail.startswith(expected)
    # Other aggregates are not guessed.
    assert compared_series(rolled(RAW, np.max, 5), rolled(RAW, np.mean, 5), underlying=RAW).kinds == ("unexplained",)


def test_another_window_of_time_is_named_from_the_underlying_column() -> None:
    served = rolled_sum(RAW, UNEVEN, 24 * HOUR)
    recomputed = rolled_sum(RAW, UNEVEN, 12 * HOUR)
    skew = compared_series(served, recomputed, times=UNEVEN, underlying=RAW)
    assert skew.kinds == ("other window length",)
    assert one(skew).detail == "served is the sum over the last 1 d, recomputed is the sum over the last 12 h"
    # Counts of rows need no column.
    ones = np.ones(len(RAW))
    skew = compared_series(rolled_sum(ones, UNEVEN, 12 * HOUR), rolled_sum(ones, UNEVEN, 24 * HOUR), times=UNEVEN)
    assert (skew.kinds, one(skew).detail) == (
        ("other window length",),
        "served is the count of rows over the last 12 h",
    )


def test_windows_that_are_multiples_are_named_without_the_column() -> None:
    for how, name in ((np.mean, "mean"), (np.sum, "sum")):
        for served, recomputed, expected in (
            (5, 1, f"served is the {name} of the last 5 rows of recomputed"),
            (21, 7, f"served is the {name} over 21 rows where recomputed is over 7"),
            (7, 21, f"recomputed is the {name} over 21 rows where served is over 7"),
        ):
            skew = compared_series(rolled(RAW, how, served), rolled(RAW, how, recomputed))
            assert skew.kinds == ("other window length",), (served, recomputed, skew.explanations)
            assert one(skew).detail == expected
    # Others are not guessed.
    assert compared_series(rolled(RAW, np.mean, 5), rolled(RAW, np.mean, 7)).kinds == ("unexplained",)


def test_units_are_preferred_over_time() -> None:
    constant = np.repeat(HISTORY_RNG.normal(20, 6, ENTITIES), ROWS)  # a lag of it explains nothing
    assert compared_series(constant * 1000, constant).kinds == ("constant factor",)
    assert compared_series(RAW * 1000, RAW, underlying=RAW).kinds == ("constant factor",)
