"""Rank correlations from joint counts of bins."""

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from barograph_server.sketches.rollout.rank_correlation import binned_rank_correlation


def cells(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    pairs, counts = np.unique(np.stack([left, right]), axis=1, return_counts=True)
    return pairs[0], pairs[1], counts


def test_the_correlation_is_spearmans_of_the_bins() -> None:
    rng = np.random.default_rng(1)
    left = rng.integers(-5, 5, 500)
    right = left + rng.integers(-3, 4, 500)
    expected = spearmanr(left, right).statistic
    assert binned_rank_correlation(*cells(left, right)) == pytest.approx(expected, abs=1e-12)
    assert binned_rank_correlation(*cells(left, -left)) == pytest.approx(-1.0)
    assert math.isnan(binned_rank_correlation([1], [2], [10]))
    assert math.isnan(binned_rank_correlation([], [], []))


def test_the_error_of_bins_is_within_the_stated_limit() -> None:
    for step, spread, limit in ((0.5, 1.0, 0.025), (0.5, 2.0, 0.01), (np.log(2) / 8, 0.35, 0.01)):
        for noise in (0.1, 0.3, 1.0, 3.0):
            rng = np.random.default_rng(2)
            left = rng.normal(-2.0, spread, 20_000)
            right = left + rng.normal(0.0, noise * spread, 20_000)
            binned = (np.floor(each / step) for each in (left, right))
            error = binned_rank_correlation(*cells(*binned)) - spearmanr(left, right).statistic
            assert -limit <= error <= 0.005, (step, spread, noise)
