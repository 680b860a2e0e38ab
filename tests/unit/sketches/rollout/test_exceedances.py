"""Exceedances over frozen limits and quantiles, from histograms of buckets."""

import math

import numpy as np
import pytest

from barograph_server.sketches.rollout.exceedances import (
    BUCKETS,
    FIRST_BUCKET,
    bucket_histogram,
    bucket_quantiles,
    edge,
    exceedances,
    frozen_limit,
)


def histogram(values: np.ndarray) -> np.ndarray:
    return bucket_histogram(np.floor(8 * np.log2(values)), np.ones(len(values)))


def test_exceedances_are_exact_at_every_edge_and_add_up() -> None:
    values = np.random.default_rng(3).lognormal(3.0, 1.0, 2_000)
    counts = exceedances(histogram(values), np.arange(BUCKETS))
    for index in range(120, 260):
        assert counts[index] == np.count_nonzero(values >= edge(index))
    assert exceedances(histogram(values), BUCKETS) == 0.0
    days = np.stack([histogram(np.array([1.0, 2.0, 4.0])), histogram(np.array([2.0, 3.0]))])
    limit = -FIRST_BUCKET + 8
    assert edge(limit) == 2.0
    assert exceedances(days, limit).tolist() == [2.0, 2.0]
    assert exceedances(days.sum(axis=0), limit) == 4.0


def test_the_limit_has_the_share_nearest_to_the_quantile() -> None:
    values = np.random.default_rng(4).lognormal(3.0, 1.0, 10_000)
    for rank in (0.5, 0.95, 0.99):
        limit = frozen_limit(histogram(values), rank)
        distances = [abs(np.mean(values >= edge(index)) - (1 - rank)) for index in (limit - 1, limit, limit + 1)]
        assert distances[1] == min(distances)
        assert edge(limit) == pytest.approx(np.quantile(values, rank), rel=2 ** (1 / 8) - 1)
    # That of constant latencies is above them.
    constant = histogram(np.full(100, 5.0))
    limit = frozen_limit(constant, 0.5)
    assert exceedances(constant, np.array([limit, limit - 1])).tolist() == [0.0, 100.0]


def test_quantiles_have_the_stated_relative_error() -> None:
    values = np.random.default_rng(5).lognormal(2.0, 2.0, 20_000)
    ranks = np.array([0.0, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0])
    exact = np.quantile(values, ranks, method="inverted_cdf")
    assert np.max(np.abs(bucket_quantiles(histogram(values), ranks) / exact - 1.0)) <= 2 ** (1 / 16) - 1 + 1e-12
    both = bucket_quantiles(np.stack([histogram(values), np.zeros(BUCKETS)]), [0.5])
    assert both.shape == (2, 1)
    assert math.isnan(both[1, 0])


def test_limits_need_values_and_ranks_inside() -> None:
    with pytest.raises(ValueError, match="no values"):
        frozen_limit(np.zeros(BUCKETS), 0.5)
    with pytest.raises(ValueError, match="ranks"):
        frozen_limit(np.ones(BUCKETS), 1.0)
    with pytest.raises(ValueError, match="buckets must lie"):
        bucket_histogram([400], [1])
