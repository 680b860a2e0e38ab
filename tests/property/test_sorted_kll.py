"""Sketches built from sorted values: datasketches reads them, and weights and errors are correct."""

from __future__ import annotations

import struct

import datasketches as ds
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sketches.sketch.envelope import SketchType
from sketches.sketch.numeric import KLL_K, NumericSketch
from sketches.sketch.sorted_kll import MIN_VALUES, _capacities, sorted_kll

LEVELS_AT, FIRST_LEVEL_AT = 18, 20


def opened(ordered: np.ndarray) -> ds.kll_floats_sketch:
    return ds.kll_floats_sketch.deserialize(sorted_kll(ordered, KLL_K, np.float32))


def furthest(sketch: ds.kll_floats_sketch, ordered: np.ndarray) -> float:
    """The largest error of a rank at any of the values, as a share; values must be distinct."""
    true = np.arange(1, len(ordered) + 1) / len(ordered)
    return float(np.abs(np.array(sketch.get_cdf(ordered, True))[:-1] - true).max())


@pytest.mark.parametrize("n", [201, 500, 5000, 100_000, 3_000_000])
def test_capacities_are_those_of_datasketches(n: int) -> None:
    sketch = ds.kll_floats_sketch(KLL_K)
    sketch.update(np.random.default_rng(n).random(n).astype(np.float32))
    data = sketch.serialize()
    levels = data[LEVELS_AT]
    (first,) = struct.unpack_from("<I", data, FIRST_LEVEL_AT)
    assert first + sketch.num_retained == _capacities(KLL_K)[levels - 1]


@given(n=st.integers(KLL_K + 1, 60_000))
def test_every_rank_is_within_one_group(n: int) -> None:
    ordered = np.arange(n, dtype=np.float32)
    sketch = opened(ordered)
    assert sketch.n == n
    assert sketch.num_retained <= 640
    assert (sketch.get_min_value(), sketch.get_max_value()) == (0, n - 1)
    # Weights add up to all of the values, or the last rank would not be 1.
    assert np.array(sketch.get_cdf(np.array([n], dtype=np.float32), True))[0] == 1
    group = 1 << next(h for h in range(60) if (n >> h) + h <= _capacities(KLL_K)[h])
    assert furthest(sketch, ordered) <= group / n + 1e-9
    assert n < MIN_VALUES or group / n <= 1 / 166


@settings(max_examples=40)
@given(
    values=st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=MIN_VALUES, max_size=2 * MIN_VALUES),
    kind=st.sampled_from([SketchType.KLL_FLOATS, SketchType.KLL_DOUBLES]),
)
def test_repeated_values_and_both_widths(values: list[float], kind: SketchType) -> None:
    sketch = NumericSketch(kind)
    sketch.update(np.array(values))
    ordered = np.sort(np.array(values))
    assert sketch.n == len(values)
    assert sketch.quantiles([0, 1]).tolist() == [ordered[0], ordered[-1]]
    again = NumericSketch.from_bytes(kind, sketch.to_bytes())
    points = np.unique(ordered)
    share = np.searchsorted(ordered, points, side="right") / len(ordered)
    for each in (sketch, again):
        assert np.abs(each.cdf(points) - share).max() <= each.rank_error


def test_few_values_are_rejected() -> None:
    with pytest.raises(ValueError, match="retains all of them"):
        sorted_kll(np.arange(KLL_K, dtype=np.float32), KLL_K, np.float32)


@pytest.mark.parametrize("size", [400, 777, 5000])
def test_merges_err_less_than_value_by_value(size: int) -> None:
    """Over 60 repetitions of 40 merged batches each: within the stated error, and no worse than datasketches' own."""
    rng = np.random.default_rng(size)
    cut, plain, signed = [], [], []
    for _ in range(60):
        values = rng.permutation(40 * size).astype(np.float32)
        sketch, own = NumericSketch(SketchType.KLL_FLOATS), ds.kll_floats_sketch(KLL_K)
        for batch in np.split(values, 40):
            sketch.update(batch)
            own.update(batch)
        ordered = np.sort(values)
        cut.append(furthest(sketch._sketch, ordered))
        plain.append(furthest(own, ordered))
        signed.append(sketch.cdf([ordered[len(ordered) // 2]])[0] - 0.5)
    assert np.quantile(cut, 0.95) < sketch.rank_error
    assert np.mean(cut) <= 1.15 * np.mean(plain)
    # As often up as down: the mean of 60 is within four of its standard errors.
    assert abs(np.mean(signed)) < 4 * np.std(signed) / np.sqrt(len(signed))
