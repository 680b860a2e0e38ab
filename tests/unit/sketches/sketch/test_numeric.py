import numpy as np
import pytest
from barograph.contract import SketchKind

from barograph_server.sketches.sketch.envelope import MixedSketches, SketchType
from barograph_server.sketches.sketch.numeric import NumericSketch, numeric_sketch, numeric_sketch_type
from barograph_server.sketches.sketch.sorted_kll import MIN_VALUES

FLOAT32_MAX = float(np.finfo(np.float32).max)


def test_the_contract_and_the_baseline_choose_the_sketch() -> None:
    types: tuple[tuple[bool, SketchKind, SketchType], ...] = (
        (False, "kll", SketchType.KLL_FLOATS),
        (True, "kll", SketchType.KLL_DOUBLES),
        (False, "req", SketchType.REQ_FLOATS),
        (True, "req", SketchType.REQ_FLOATS),
    )
    for integer, kind, expected in types:
        assert numeric_sketch_type(integer, kind) is expected
        sketch = numeric_sketch(integer, kind)
        assert sketch.sketch_type is expected
        # An update leaves its argument in order.
        values = np.array([3.0, 1.0])
        sketch.update(values)
        sketch.update(np.array([]))
        assert values.tolist() == [3.0, 1.0]
        assert numeric_sketch(integer, kind, sketch.to_bytes()).n == 2
    with pytest.raises(ValueError, match="FREQUENT_STRINGS is no numeric sketch type"):
        NumericSketch(SketchType.FREQUENT_STRINGS)


def test_wrong_values_ranks_and_sketches_are_rejected_and_nothing_is_added() -> None:
    sketch, doubles = numeric_sketch(False, "kll"), numeric_sketch(True, "kll")
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match="finite values only"):
            sketch.update(np.array([1.0, bad, 2.0]))
    doubles.update(np.array([2.0]))
    with pytest.raises(MixedSketches, match="KLL_DOUBLES cannot be merged into KLL_FLOATS"):
        sketch.merge(doubles)
    assert sketch.is_empty
    for rank in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="ranks must be in"):
            sketch.quantiles([0.5, rank])
    with pytest.raises(ValueError, match="NaN has no rank"):
        sketch.cdf([np.nan])


def test_a_cdf_takes_points_in_any_order_with_repeats_and_infinities() -> None:
    sketch = numeric_sketch(False, "kll")
    sketch.update(np.array([1.0, 2.0, 3.0, 4.0]))
    points = [3.0, -np.inf, 1.0, np.inf, 3.0, 0.5, 2.5]
    assert sketch.cdf(points).tolist() == [0.75, 0, 0.25, 1, 0.75, 0, 0.5]
    assert sketch.cdf([2.0])[0] == 0.5
    # A point counts the value that it equals, although both are rounded.
    rounded = numeric_sketch(False, "kll")
    rounded.update(np.array([0.1, 0.2, 0.3]))
    assert rounded.cdf([0.1, 0.1 + 1e-12]).tolist() == [1 / 3, 1 / 3]


def test_large_batches_add_to_one_sketch() -> None:
    sketch = numeric_sketch(True, "kll")
    for batch in np.split(np.arange(3.0 * MIN_VALUES), 3):
        sketch.update(batch)
    assert sketch.n == 3 * MIN_VALUES
    assert sketch.quantiles([0.0, 1.0]).tolist() == [0.0, 3.0 * MIN_VALUES - 1]
    assert sketch.quantiles([0.5])[0] == pytest.approx(1.5 * MIN_VALUES, abs=0.03 * 3 * MIN_VALUES)


def test_doubles_tell_neighbouring_large_integers_apart() -> None:
    large = 2.0**53
    sketch = numeric_sketch(True, "kll")
    sketch.update(np.array([large - 1, large]))
    assert sketch.quantiles([0.0, 1.0]).tolist() == [large - 1, large]
    assert sketch.cdf([large - 1])[0] == 0.5


@pytest.mark.parametrize("kind", ["kll", "req"])
def test_floats_beyond_their_range_become_their_largest_number(kind: SketchKind) -> None:
    sketch = numeric_sketch(False, kind)
    sketch.update(np.array([-1e300, 0.0, 1e300]))
    assert sketch.quantiles([0.0, 0.5, 1.0]).tolist() == [-FLOAT32_MAX, 0, FLOAT32_MAX]
    assert sketch.cdf([1e200, 1e301]).tolist() == [1, 1]


def test_req_reads_the_tail_more_closely_than_kll() -> None:
    values = np.random.default_rng(3).lognormal(size=100_000)
    exact = np.sort(values)
    misses = {}
    kinds: tuple[SketchKind, ...] = ("kll", "req")
    for kind in kinds:
        sketch = numeric_sketch(False, kind)
        sketch.update(values)
        p99 = sketch.quantiles([0.99])[0]
        misses[kind] = abs(np.searchsorted(exact, p99) / exact.size - 0.99)
        assert sketch.rank_error_at(0.99) == pytest.approx({"kll": 0.0133, "req": 0.000327}[kind], rel=0.01)
    assert misses["req"] < 0.001
