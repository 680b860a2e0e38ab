"""Numbers from several series around one centre."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sketches.sketch.numeric import NumericSketch, numeric_sketch
from streams.monitor.verdicts.numbers import PooledMoments, Values


def sketch_of(values: NDArray[np.float64], integer: bool = False) -> NumericSketch:
    sketch = numeric_sketch(integer, "kll")
    sketch.update(values)
    return sketch


def values_of(values: NDArray[np.float64], centre: float, sketch: NumericSketch | None) -> Values:
    away = values - centre
    return Values(np.array([away.sum(), (away**2).sum(), values.min(), values.max()]), sketch)


def test_two_series_are_as_one() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.normal(5.0, 2.0, 90), rng.normal(7.0, 1.0, 60)
    one, other = sketch_of(first), sketch_of(second)
    gathered = PooledMoments()
    gathered.add(90, 4.0, values_of(first, 4.0, one))
    gathered.add(60, 9.0, values_of(second, 9.0, other))
    both = np.concatenate((first, second))
    assert gathered.n == 150
    assert gathered.mean == pytest.approx(both.mean(), rel=1e-12)
    assert gathered.variance == pytest.approx(both.var(ddof=1), rel=1e-9)
    assert gathered.sketch is not None
    assert gathered.sketch.n == 150
    # What was read stays as it is.
    assert (one.n, other.n) == (90, 60)


def test_nothing_is_nothing() -> None:
    assert PooledMoments().n == 0
    assert np.isnan(PooledMoments().mean)
    assert np.isnan(PooledMoments().variance)


def test_sketches_that_are_not_of_all_numbers_are_none() -> None:
    values = np.arange(10.0)
    for parts in ([None], [sketch_of(values[:9])], [sketch_of(values), None], [None, sketch_of(values)]):
        gathered = PooledMoments()
        for sketch in parts:
            gathered.add(10, 0.0, values_of(values, 0.0, sketch))
        assert gathered.sketch is None
        assert gathered.mean == 4.5


def test_kinds_that_cannot_be_merged_are_none() -> None:
    values = np.arange(10.0)
    gathered = PooledMoments()
    gathered.add(10, 0.0, values_of(values, 0.0, sketch_of(values)))
    gathered.add(10, 0.0, values_of(values, 0.0, sketch_of(values, integer=True)))
    assert gathered.sketch is None
    assert gathered.n == 20


def test_sums_out_of_range_are_no_variance() -> None:
    gathered = PooledMoments()
    gathered.add(2, 0.0, Values(np.array([np.inf, np.inf, 0.0, 1e308]), None))
    assert not np.isfinite(gathered.mean)
    assert np.isnan(gathered.variance)
