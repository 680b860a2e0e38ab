"""Arms of an A/B test: daily differences and the variance by the assignment of units. Bounds with missing answers."""

import math

import numpy as np
import pytest

from barograph_server.sketches.rollout.criteria import disagreement_beyond_copy
from barograph_server.sketches.rollout.missing_pairs import MissingPairs, bounded_sums
from barograph_server.sketches.rollout.split_traffic import arm_differences, unit_variances

SUMS = np.array([[80.0, 90.0], [3.0, 0.0], [10.0, 40.0]])
COUNTS = np.array([[100.0, 100.0], [5.0, 0.0], [20.0, 60.0]])


def test_golden_differences() -> None:
    differences, weights = arm_differences(SUMS, COUNTS)
    np.testing.assert_allclose(weights, [50.0, 0.0, 15.0], rtol=1e-12)
    np.testing.assert_allclose(differences, [5.0, 0.0, 2.5], rtol=1e-12)
    swapped, same = arm_differences(SUMS[:, ::-1], COUNTS[:, ::-1])
    np.testing.assert_array_equal(swapped, -differences)
    np.testing.assert_array_equal(same, weights)
    # Both arms have the same mean on each day, but most events of b are of the better day: no difference.
    counts = np.array([[900.0, 100.0], [100.0, 900.0]])
    differences, _ = arm_differences(counts * [[0.5], [0.9]], counts)
    np.testing.assert_allclose(differences, 0.0, atol=1e-12)


def test_golden_variance_of_units() -> None:
    # One day, three buckets: R = S_k − n_k S/n of each arm.
    sums, counts = np.array([[[6.0, 2.0, 4.0], [5.0, 5.0, 11.0]]]), np.array([[[10.0, 4.0, 6.0], [8.0, 12.0, 20.0]]])
    residuals = [(6 - 10 * 0.6), (2 - 4 * 0.6), (4 - 6 * 0.6), (5 - 8 * 0.525), (5 - 12 * 0.525), (11 - 20 * 0.525)]
    variance, degrees = unit_variances(sums, counts)
    weights = np.repeat([20.0, 40.0], 3) ** -2
    assert variance.tolist() == [pytest.approx(1.5 * float(np.square(residuals) @ weights))]
    assert degrees.tolist() == [pytest.approx(48.4989632059)]
    # Two equal days weigh the effects of a bucket together: they do not average out.
    both, freedom = unit_variances(np.repeat(sums, 2, 0), np.repeat(counts, 2, 0))
    assert both[1] == pytest.approx(both[0])
    assert freedom[1] == pytest.approx(freedom[0])
    # It is unknown without two buckets, or without a day of both arms.
    one = np.zeros((3, 2, 64))
    one[:, :, 5] = 10.0
    assert unit_variances(one, one)[0].tolist() == [math.inf] * 3
    one[:, 1] = 0.0
    assert unit_variances(one, one)[0].tolist() == [math.inf] * 3


def test_the_variance_of_units_is_that_of_the_assignment() -> None:
    rng = np.random.default_rng(2)
    quality = rng.normal(0.7, 0.2, 4_000)
    means, variances = [], []
    for _ in range(300):
        arm, bucket = rng.integers(2, size=4_000), rng.integers(64, size=4_000)
        cell = arm * 64 + bucket
        counts = np.bincount(cell, minlength=128).reshape(1, 2, 64) * np.ones((30, 1, 1))
        sums = np.bincount(cell, quality, 128).reshape(1, 2, 64) * np.ones((30, 1, 1))
        differences, weights = arm_differences(sums.sum(axis=-1), counts.sum(axis=-1))
        means.append(differences.sum() / weights.sum())
        variances.append(unit_variances(sums, counts)[0][-1])
    assert math.sqrt(np.mean(variances)) == pytest.approx(np.std(means), rel=0.1)


def test_other_shapes_and_negative_counts_are_errors() -> None:
    with pytest.raises(ValueError, match="need one shape"):
        arm_differences(np.zeros((3, 2)), np.zeros((4, 2)))
    with pytest.raises(ValueError, match="need one shape"):
        unit_variances(np.zeros((3, 3, 4)), np.zeros((3, 3, 4)))
    with pytest.raises(ValueError, match="negative"):
        arm_differences(np.zeros((3, 2)), np.full((3, 2), -1.0))


def test_golden_bounds() -> None:
    observed = 520 - 430
    bounds = bounded_sums(observed, 9_700, MissingPairs(candidate=300, primary_quality=240))
    assert observed / 9_700 == pytest.approx(0.00927835051546, abs=1e-9)
    assert float(bounds.pairs) == 10_000
    assert float(bounds.low / bounds.pairs) == pytest.approx(-0.015, abs=1e-9)
    assert float(bounds.high / bounds.pairs) == pytest.approx(0.015, abs=1e-9)


def test_bounds_are_reached_by_the_worst_and_the_best_answers() -> None:
    rng = np.random.default_rng(1)
    primary, candidate = rng.integers(0, 2, (2, 40))
    no_candidate, no_primary, neither = slice(0, 10), slice(10, 17), slice(17, 20)
    missing = MissingPairs(10, primary[no_candidate].sum(), 7, candidate[no_primary].sum(), 3)
    bounds = bounded_sums((candidate - primary)[20:].sum(), 20, missing)
    for answer, end in ((0, bounds.low), (1, bounds.high)):
        completed_candidate, completed_primary = candidate.copy(), primary.copy()
        completed_candidate[no_candidate] = completed_candidate[neither] = answer
        completed_primary[no_primary] = completed_primary[neither] = 1 - answer
        assert float(end) == (completed_candidate - completed_primary).sum()


@pytest.mark.parametrize("missing", [MissingPairs(-1, 0), MissingPairs(2, 3), MissingPairs(0, 0, 1, 1.5)])
def test_impossible_counts_are_rejected(missing: MissingPairs) -> None:
    with pytest.raises(ValueError):
        bounded_sums(0, 10, missing)


def test_a_deterministic_primary_has_no_floor() -> None:
    assert disagreement_beyond_copy([3, 4], [0, 0]) is None
    floor = disagreement_beyond_copy([3, 4], [1, 6])
    assert floor is not None
    assert floor.tolist() == [-2.0, 2.0]
