"""Two arms of an A/B test: daily differences, their weights, and the variance by the assignment of units."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sketches.shadow.split_traffic import arm_differences, unit_variance

SUMS = np.array([[80.0, 90.0], [3.0, 0.0], [10.0, 40.0]])
COUNTS = np.array([[100.0, 100.0], [5.0, 0.0], [20.0, 60.0]])


def test_golden_differences() -> None:
    differences, weights = arm_differences(SUMS, COUNTS)
    np.testing.assert_allclose(weights, [50.0, 0.0, 15.0], rtol=1e-12)
    np.testing.assert_allclose(differences, [5.0, 0.0, 2.5], rtol=1e-12)


def test_swapped_arms_have_the_opposite_difference() -> None:
    differences, weights = arm_differences(SUMS, COUNTS)
    swapped, same = arm_differences(SUMS[:, ::-1], COUNTS[:, ::-1])
    np.testing.assert_array_equal(swapped, -differences)
    np.testing.assert_array_equal(same, weights)


def test_a_change_of_shares_is_no_difference() -> None:
    # Both arms have the same mean on each day, but most events of b are of the better day.
    counts = np.array([[900.0, 100.0], [100.0, 900.0]])
    differences, _ = arm_differences(counts * [[0.5], [0.9]], counts)
    np.testing.assert_allclose(differences, 0.0, atol=1e-12)
    assert (counts[:, 1] * [0.5, 0.9]).sum() / 1000 - (counts[:, 0] * [0.5, 0.9]).sum() / 1000 > 0.3


def test_weighted_differences_have_the_variance_of_as_many_pairs() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(0.0, 3.0, (20_000, 40))
    sums = np.stack((values[:, :30].sum(axis=1), values[:, 30:].sum(axis=1)), axis=-1)
    differences, weights = arm_differences(sums, np.broadcast_to([30.0, 10.0], sums.shape))
    assert weights[0] == 7.5
    assert differences.var() == pytest.approx(9.0 * 7.5, rel=0.05)


def test_golden_variance_of_units() -> None:
    # One day, two buckets: effects ± (S_k − n_k S/n)/n of each arm.
    sums, counts = np.array([[[6.0, 2.0], [5.0, 5.0]]]), np.array([[[10.0, 10.0], [8.0, 12.0]]])
    effects = [(6 - 10 * 0.4) / 20, (2 - 10 * 0.4) / 20, (5 - 8 * 0.5) / 20, (5 - 12 * 0.5) / 20]
    assert unit_variance(sums, counts) == pytest.approx(2.0 * sum(each**2 for each in effects), rel=1e-12)
    # Two equal days weigh the effects of a bucket together: they do not average out.
    assert unit_variance(np.repeat(sums, 2, 0), np.repeat(counts, 2, 0)) == pytest.approx(unit_variance(sums, counts))


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
        variances.append(unit_variance(sums, counts))
    assert math.sqrt(np.mean(variances)) == pytest.approx(np.std(means), rel=0.1)


def test_no_variance_without_two_buckets_or_a_day_of_both_arms() -> None:
    one = np.zeros((3, 2, 64))
    one[:, :, 5] = 10.0
    assert math.isnan(unit_variance(one, one))
    one[:, 1] = 0.0
    assert math.isnan(unit_variance(one, one))


def test_other_shapes_and_negative_counts_are_errors() -> None:
    with pytest.raises(ValueError, match="need one shape"):
        arm_differences(np.zeros((3, 2)), np.zeros((4, 2)))
    with pytest.raises(ValueError, match="need one shape"):
        unit_variance(np.zeros((3, 3, 4)), np.zeros((3, 3, 4)))
    with pytest.raises(ValueError, match="negative"):
        arm_differences(np.zeros((3, 2)), np.full((3, 2), -1.0))
