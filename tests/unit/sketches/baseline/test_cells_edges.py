"""The frozen edges: where they stand, and that 32-bit and 64-bit forms of training values share their
bins."""

from collections.abc import Callable

import numpy as np
import pytest

from barograph_server.sketches.baseline.baseline import QUANTILE_RANKS
from barograph_server.sketches.sketch.quantiles import FloatArray, exact_quantiles, freeze_edges


def bin_counts(edges: tuple[float, ...], values: FloatArray) -> list[int]:
    bins = np.searchsorted(np.array(edges), values, side="right")
    counts: list[int] = np.bincount(bins, minlength=len(edges) + 1).tolist()
    return counts


def frozen(values: list[float], integer: bool = False) -> tuple[float, ...]:
    return freeze_edges(np.sort(np.array(values, dtype=np.float64)), integer)


def test_distinct_values_get_deciles_midway_between_neighbours() -> None:
    assert frozen(list(range(100))) == tuple(10 * i - 0.5 for i in range(1, 10))
    # 105 rows: cut where the rank is nearest to 10.5, 21, 31.5, …
    assert bin_counts(frozen(list(range(105))), np.arange(105.0)) == [10, 11, 10, 11, 10, 11, 10, 11, 10, 11]
    for n in (50, 999, 20_000):
        values = np.sort(np.random.default_rng(6).normal(size=n))
        counts = bin_counts(freeze_edges(values, integer=False), values)
        assert len(counts) == 10
        assert max(counts) - min(counts) <= 1
    assert frozen([]) == ()


def test_a_point_mass_gets_both_sides() -> None:
    values = [0.0] * 50 + [float(i) for i in range(-25, 0)] + [float(i) for i in range(1, 26)]
    edges = frozen(values)
    assert {-0.5, 0.5} <= set(edges)
    counts = bin_counts(edges, np.array(values))
    assert 50 in counts
    assert max(count for count in counts if count != 50) <= 10
    # At an end it has one side.
    assert frozen([0.0] * 95 + [1.5, 2.0, 3.0, 4.0, 5.0]) == (0.75,)
    assert frozen([-5.0] * 5 + [9.0] * 95) == (2.0,)
    # Of 100 rows no decile falls on 7.0's run but one: its lower side comes from its weight, exactly a tenth.
    values = [float(i) / 100 for i in range(55)] + [7.0] * 10 + [float(i) for i in range(20, 55)]
    assert bin_counts(frozen(values), np.array(values))[6] == 10
    assert [sum(low < edge < high for edge in frozen(values)) for low, high in ((0.54, 7), (7, 20))] == [1, 1]


def test_a_decile_within_a_light_run_moves_to_its_nearer_end() -> None:
    values = [float(i) for i in range(8)] + [8.0] * 4 + [float(i) for i in range(9, 89)] + [89.0] * 8
    edges = frozen(values)
    assert edges[0] == 7.5  # rank 10 lies midway in the run 8–12: the lower end
    values[11] = 8.5
    assert frozen(values)[0] == 8.25


def test_few_whole_numbers_have_one_bin_each() -> None:
    values = [0.0] * 990 + [1.0] * 5 + [2.0] * 4 + [17.0]
    assert frozen(values, integer=True) == (0.5, 1.5, 9.5)
    assert frozen([0.0, 1.0], integer=True) == (0.5,)
    assert len(frozen([float(i) for i in range(20)], integer=True)) == 19
    assert len(frozen([float(i) for i in range(21)], integer=True)) == 9
    # Other numbers get no bins of their own for being few.
    assert frozen(values) == (0.5,)


def test_large_integers_stay_distinct() -> None:
    large = 2.0**53
    assert bin_counts(frozen([large - 1, large], integer=True), np.array([large - 1, large])) == [1, 1]
    assert bin_counts(frozen([large, large + 2], integer=True), np.array([large, large + 2])) == [1, 1]
    assert frozen([2.0**24, 2.0**24 + 1], integer=True) == (2.0**24 + 0.5,)


def test_an_edge_moves_off_a_midpoint_that_rounding_would_cross() -> None:
    # At a power of two the step of 32-bit floats doubles: the right neighbour rounds down past the midpoint.
    left, right = 1 - 2.0**-25 - 2.0**-40, 1 + 2.0**-24
    assert np.float32(left) < np.float32(right) == 1 < (left + right) / 2
    (edge,) = frozen([left, right])
    assert left < edge <= 1


def test_other_values_than_a_constant_fall_into_outer_bins() -> None:
    for value in (0.0, -0.0, 1.0, 0.1, -273.15, 1e-40, 1e30, 3.4e38):
        for n in (1, 100):
            edges = frozen([value] * n)
            assert len(edges) == 2
            near = np.float32(value)
            assert bin_counts(edges, np.array([value, float(near), np.nextafter(value, 9e99)])) == [0, 3, 0], value
            step = np.spacing(near)
            assert bin_counts(edges, np.array([value - 2.1 * step, value + 2.1 * step])) == [1, 0, 1], value
    for value in (0.0, 7.0, -3.0, 2.0**24 + 1, 2.0**60, -(2.0**60), 1e300):
        edges = frozen([value] * 3, integer=True)
        less = min(value - 1, float(np.nextafter(value, -np.inf)))
        more = max(value + 1, float(np.nextafter(value, np.inf)))
        assert bin_counts(edges, np.array([less, value, more])) == [1, 1, 1], value


@pytest.mark.parametrize("integer", [False, True])
def test_constants_at_the_end_of_the_range_have_finite_edges(integer: bool) -> None:
    for value in (float(np.finfo(np.float64).max), float(np.finfo(np.float32).max), 1e300):
        for constant in (value, -value):
            edges = frozen([constant] * 2, integer)
            assert np.isfinite(edges).all()
            assert np.diff(edges).min(initial=1) > 0
            assert bin_counts(edges, np.array([constant, 0.0])) in ([1, 1, 0], [0, 1, 1], [1, 1])


SHAPES: dict[str, Callable[[np.random.Generator, int], FloatArray]] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "lognormal": lambda rng, n: rng.lognormal(0, 3, size=n),
    "one decimal": lambda rng, n: np.round(rng.normal(15, 8, size=n), 1),
    "point masses": lambda rng, n: rng.choice([0.0, 0.1, 0.3, 1 / 3, 1e9], size=n),
    "mostly zero": lambda rng, n: np.where(rng.random(n) < 0.9, 0, rng.exponential(size=n)),
    "tiny": lambda rng, n: rng.normal(size=n) * 1e-44,
    "neighbours in 32 bits": lambda rng, n: (
        1 + rng.integers(0, 12, size=n) * 2.0**-23 + rng.uniform(-0.49, 0.49, size=n) * 2.0**-23
    ),
    "beyond 32 bits": lambda rng, n: rng.normal(size=n) * 1e39,
}


@pytest.mark.parametrize("name", SHAPES)
def test_training_values_fall_in_the_same_bins_in_32_and_64_bits(name: str) -> None:
    for n in (2, 11, 500, 20_000):
        values = np.sort(SHAPES[name](np.random.default_rng(5), n))
        edges = freeze_edges(values, integer=False)
        assert np.isfinite(edges).all()
        assert (np.diff(edges) > 0).all()
        with np.errstate(over="ignore"):
            narrow = values.astype(np.float32).astype(np.float64)
        # Infinite in 32 bits is invalid and in no bin.
        within = np.isfinite(narrow)
        assert bin_counts(edges, narrow[within]) == bin_counts(edges, values[within])
        if len(np.unique(narrow)) > 1:
            assert min(bin_counts(edges, values)) > 0


def test_exact_quantiles_are_values_that_reach_the_rank() -> None:
    values = np.arange(1.0, 101.0)
    assert exact_quantiles(values, np.arange(101) / 100).tolist() == [1.0, *values.tolist()]
    assert exact_quantiles(np.array([5.0]), [0.0, 0.3, 1.0]).tolist() == [5.0] * 3
    assert exact_quantiles(np.array([1.0, 2.0]), [0.5, 0.51]).tolist() == [1.0, 2.0]
    assert exact_quantiles(np.array([]), [0.0, 0.5, 1.0]).shape == (0,)
    # Those that a baseline stores reproduce ranks.
    ranks = np.linspace(0, 1, QUANTILE_RANKS)
    for n in (1, 7, 1_000, 12_345):
        values = np.sort(np.random.default_rng(7).lognormal(size=n))
        true = np.searchsorted(values, exact_quantiles(values, ranks), side="right") / n
        assert (np.abs(true - ranks) <= 1 / n + 1e-9).all(), n
