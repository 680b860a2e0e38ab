from collections.abc import Iterable

import numpy as np
import pytest
from numpy.typing import NDArray

from barograph_server.sketches.sketch.envelope import MixedSketches
from barograph_server.sketches.sketch.merge import (
    N_MOMENTS,
    NumberSummary,
    empty_moments,
    merge_moments,
    merge_sketch,
    recenter_moments,
)
from barograph_server.sketches.sketch.numeric import NumericSketch, numeric_sketch


def sketch_of(values: NDArray[np.float64], integer: bool = False) -> NumericSketch:
    sketch = numeric_sketch(integer, "kll")
    sketch.update(values)
    return sketch


def moments_of(values: NDArray[np.float64], center: float = 0.0) -> NDArray[np.float64]:
    shifted = values - center
    return np.array([shifted.sum(), (shifted**2).sum(), values.min(), values.max()])


def summary_of(*values: float, integer: bool = False) -> NumberSummary:
    array = np.array(values, dtype=np.float64)
    return NumberSummary(moments_of(array), sketch_of(array, integer))


def merge_summaries(summaries: Iterable[NumberSummary]) -> NumberSummary:
    merged = NumberSummary()
    for summary in summaries:
        merged.merge(summary)
    return merged


def test_moments_merge_to_those_of_all_values() -> None:
    into, other = moments_of(np.array([1.0, 2.0])), moments_of(np.array([-4.0, 8.0, 3.0]))
    before = other.copy()
    merge_moments(into, other)
    assert into.tolist() == [10.0, 94.0, -4.0, 8.0]
    assert (other == before).all()
    # Empty ones are neutral in any shape.
    moments = empty_moments(2, 3)
    assert moments.shape == (2, 3, N_MOMENTS)
    merge_moments(moments, np.broadcast_to(into, (2, 3, N_MOMENTS)))
    assert (moments == into).all()
    # Sums beyond the range become infinite without a warning.
    large = np.array([1e308, 1e308, 0.0, 1.0])
    merge_moments(large, large.copy())
    assert np.isinf(large[:2]).all()
    values = np.array([1.0, 4.0, 9.0])
    assert recenter_moments(moments_of(values, 2.0), 3, 2.0 - 5.0) == pytest.approx(moments_of(values, 5.0))


def test_one_incomplete_summary_makes_the_merge_incomplete_and_moments_merge_anyway() -> None:
    for order in ((0, 1, 2), (1, 0, 2), (2, 1, 0)):
        unsketched = NumberSummary(moments_of(np.array([5.0])), None, complete=False)
        summaries = [summary_of(1.0, 2.0), unsketched, summary_of(-3.0)]
        merged = merge_summaries([summaries[i] for i in order])
        assert not merged.complete
        assert (merged.sketch, merged.n) == (None, 0)
        assert merged.moments.tolist() == [5.0, 39.0, -3.0, 5.0]
    # So do sketches of different types, which do not merge.
    floats = sketch_of(np.ones(2))
    with pytest.raises(MixedSketches):
        merge_sketch(floats, sketch_of(np.ones(3), integer=True))
    assert floats.n == 2
    merged = merge_summaries([summary_of(1.0), summary_of(2.0, integer=True)])
    assert (merged.complete, merged.sketch) == (False, None)
    assert merged.moments.tolist() == [3.0, 5.0, 1.0, 2.0]


def test_a_summary_is_complete_if_its_sketch_has_all_counted_values() -> None:
    values = np.arange(3.0)
    for counted, complete in ((3, True), (4, False), (2, False)):
        summary = NumberSummary.counted(counted, moments_of(values), sketch_of(values))
        assert summary.complete is complete
        assert (summary.sketch is not None) is complete
    # No counted value needs no sketch, and an incomplete summary has none.
    assert NumberSummary.counted(0, empty_moments(), None).complete
    assert not NumberSummary.counted(1, moments_of(np.ones(1)), None).complete
    assert NumberSummary(empty_moments(), sketch_of(values), complete=False).sketch is None
