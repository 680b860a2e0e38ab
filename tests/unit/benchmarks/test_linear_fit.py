"""Fitted lines."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.linear_fit import exponent, fit_line, shape_of, worst_residual

FACTORS = (1.0, 2.0, 5.0, 10.0, 20.0)
numbers = st.floats(-1e6, 1e6, allow_nan=False)


@given(numbers, numbers)
def test_points_of_a_line_give_that_line(fixed: float, slope: float) -> None:
    line = fit_line(FACTORS, [fixed + slope * x for x in FACTORS])
    scale = 1e-9 * max(abs(fixed), abs(slope) * 20, 1e-9)
    assert line.fixed == pytest.approx(fixed, abs=10 * scale)
    assert line.slope == pytest.approx(slope, abs=10 * scale)
    assert max(abs(each) for each in line.residuals) <= 10 * scale


@given(st.lists(numbers, min_size=5, max_size=5))
def test_the_fit_is_least_squares(costs: list[float]) -> None:
    line = fit_line(FACTORS, costs)
    slope, fixed = np.polyfit(FACTORS, costs, 1)
    assert line.slope == pytest.approx(slope, abs=1e-6, rel=1e-9)
    assert line.fixed == pytest.approx(fixed, abs=1e-5, rel=1e-9)
    assert sum(line.residuals) == pytest.approx(0, abs=1e-4)
    assert -1e-9 <= line.r2 <= 1 + 1e-9


def test_the_interval_contains_the_slope_with_the_stated_frequency() -> None:
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(2_000):
        line = fit_line(FACTORS, [3 + 2 * x + rng.normal(0, 1) for x in FACTORS])
        covered += line.slope_low <= 2 <= line.slope_high
    assert 0.93 < covered / 2_000 < 0.97


def test_two_points_have_no_interval() -> None:
    line = fit_line([1, 2], [1, 3])
    assert (line.slope, line.r2) == (2, 1)
    assert line.slope_low == -math.inf
    assert line.slope_high == math.inf


@pytest.mark.parametrize(
    ("factors", "costs"), [([1, 1], [1, 2]), ([1, 2], [1]), ([1, math.nan], [1, 2]), ([1, 2], [1, math.inf])]
)
def test_invalid_points_are_rejected(factors: list[float], costs: list[float]) -> None:
    with pytest.raises(ValueError, match=r"line|costs"):
        fit_line(factors, costs)


@pytest.mark.parametrize(
    ("costs", "shape"),
    [
        ([10.0, 20.0, 50.0, 100.0, 200.0], "linear"),
        ([1.0, 4.0, 25.0, 100.0, 400.0], "not linear"),
        ([7.0, 7.1, 6.9, 7.0, 7.05], "flat"),
        ([9.0, 11.0, 8.5, 10.5, 9.5], "flat"),
        ([30.0, 29.0, 27.0, 22.0, 12.0], "falls"),
        ([0.0, 0.0, 0.0, 0.0, 0.0], "flat"),
    ],
)
def test_growth_is_classified(costs: list[float], shape: str) -> None:
    assert shape_of(fit_line(FACTORS, costs), FACTORS, costs) == shape


def test_exponents_and_residuals() -> None:
    assert exponent((1, 2, 4), (1, 4, 16)) == pytest.approx(2)
    assert exponent((1, 2, 4), (5, 5, 5)) == 0
    assert worst_residual(fit_line(FACTORS, [0.0] * 5), [0.0] * 5) == 0
