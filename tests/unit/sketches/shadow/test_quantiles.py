"""Exceedances over frozen limits, and bands of quantiles."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sketches.shadow.day_interval import day_interval
from sketches.shadow.exceedances import exceedances, frozen_limits
from sketches.shadow.quantile_band import curve_radius, quantile_band, rank_radius
from sketches.sketch.numeric import NumericSketch, numeric_sketch


def latency_sketch(values: np.ndarray) -> NumericSketch:
    sketch = numeric_sketch(False, "req")
    sketch.update(values.astype(np.float32))
    return sketch


@pytest.mark.parametrize(
    ("events", "rank", "radius"),
    [(1e3, 0.5, 0.0742124020249), (1e4, 0.95, 0.0102209581891), (1e5, 0.99, 0.00147104997061)],
)
def test_golden_radius_of_a_quantile(events: float, rank: float, radius: float) -> None:
    assert rank_radius(events, rank) == pytest.approx(radius, abs=1e-9)


@pytest.mark.parametrize(("events", "radius"), [(1e3, 0.0865691283767), (1e4, 0.0277107450776), (1e5, 0.0088463452222)])
def test_golden_radius_of_the_curve(events: float, radius: float) -> None:
    assert curve_radius(events) == pytest.approx(radius, abs=1e-9)


def test_few_events_give_all_ranks() -> None:
    assert rank_radius(1.0, 0.5) == curve_radius(1.9) == 1.0
    assert 0.0 < rank_radius(2.0, 0.5) <= 1.0
    assert quantile_band(numeric_sketch(False, "req"), 0.5) == (-math.inf, math.inf)
    low, high = quantile_band(latency_sketch(np.arange(1_000.0)), 0.99)
    assert low < 990.0
    assert high == math.inf


def test_the_band_contains_the_quantile_and_widens_with_overdispersion() -> None:
    sketch = latency_sketch(np.arange(10_000.0))
    low, high = quantile_band(sketch, 0.5)
    wide_low, wide_high = quantile_band(sketch, 0.5, phi=10.0)
    assert wide_low < low < 5_000.0 < high < wide_high
    for rank, phi in ((1.0, 1.0), (0.5, 0.9)):
        with pytest.raises(ValueError):
            quantile_band(sketch, rank, phi=phi)


def test_a_slower_candidate_exceeds_the_frozen_limits_more_often() -> None:
    rng = np.random.default_rng(11)
    burn_in = latency_sketch(rng.lognormal(0.0, 0.5, 28 * 500))
    limits = frozen_limits(burn_in)
    days = []
    for _ in range(60):
        primary = rng.lognormal(0.0, 0.5, 500)
        candidate = 1.1 * rng.lognormal(0.0, 0.5, 500)
        days.append(exceedances(primary, limits) - exceedances(candidate, limits))
    result = day_interval(np.array(days).T, 500)
    assert result.value.shape == (3,)
    assert (result.high[:2] < 0.0).all()


def test_exceedances_add_up() -> None:
    values = np.array([1.0, 2.0, 3.0, np.nan])
    limits = np.array([1.0, 2.5])
    np.testing.assert_array_equal(exceedances(values, limits), [2, 1])
    np.testing.assert_array_equal(exceedances(values[:2], limits) + exceedances(values[2:], limits), [2, 1])


def test_limits_need_values_and_ranks_inside() -> None:
    with pytest.raises(ValueError, match="no values"):
        frozen_limits(numeric_sketch(False, "req"))
    with pytest.raises(ValueError, match="ranks"):
        frozen_limits(latency_sketch(np.arange(10.0)), [1.0])
