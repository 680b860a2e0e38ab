"""Bands of quantiles."""

from __future__ import annotations

import math

import numpy as np
import pytest

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
