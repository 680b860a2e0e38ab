"""Numbers of several series pooled around one center."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sketches.sketch.merge import NumberSummary
from sketches.sketch.numeric import NumericSketch, numeric_sketch
from streams.monitor.verdicts.numbers import PooledMoments


def sketch_of(values: NDArray[np.float64], integer: bool = False) -> NumericSketch:
    sketch = numeric_sketch(integer, "kll")
    sketch.update(values)
    return sketch


def summary_of(values: NDArray[np.float64], center: float, sketch: NumericSketch | None) -> NumberSummary:
    shifted = values - center
    moments = np.array([shifted.sum(), (shifted**2).sum(), values.min(), values.max()])
    return NumberSummary.counted(len(values), moments, sketch)


def test_pooling_two_series_equals_one_and_what_cannot_be_computed_is_nan() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.normal(5.0, 2.0, 90), rng.normal(7.0, 1.0, 60)
    one, other = sketch_of(first), sketch_of(second)
    pooled = PooledMoments()
    pooled.add(90, 4.0, summary_of(first, 4.0, one))
    pooled.add(60, 9.0, summary_of(second, 9.0, other))
    both = np.concatenate((first, second))
    assert pooled.n == 150
    assert pooled.mean == pytest.approx(both.mean(), rel=1e-12)
    assert pooled.variance == pytest.approx(both.var(ddof=1), rel=1e-9)
    assert pooled.sketch is not None
    assert pooled.sketch.n == 150
    # The inputs stay as they are.
    assert (one.n, other.n) == (90, 60)
    assert PooledMoments().n == 0
    assert np.isnan(PooledMoments().mean)
    assert np.isnan(PooledMoments().variance)
    # Sums out of range have no variance.
    pooled = PooledMoments()
    pooled.add(2, 0.0, NumberSummary.counted(2, np.array([np.inf, np.inf, 0.0, 1e308]), None))
    assert not np.isfinite(pooled.mean)
    assert np.isnan(pooled.variance)


def test_sketches_that_do_not_cover_all_numbers_or_differ_in_type_are_dropped() -> None:
    values = np.arange(10.0)
    whole, other_type = sketch_of(values), sketch_of(values, integer=True)
    for sketches in ([None], [sketch_of(values[:9])], [whole, None], [None, whole], [whole, other_type]):
        pooled = PooledMoments()
        for sketch in sketches:
            pooled.add(10, 0.0, summary_of(values, 0.0, sketch))
        assert pooled.sketch is None
        assert (pooled.mean, pooled.n) == (4.5, 10 * len(sketches))
