"""Counts from which a rate is too large, and the probability to reach them."""

from __future__ import annotations

import numpy as np
import pytest

from sketches.baseline.levels import Level
from sketches.detection.rate_power import count_exceedance, least_major_count, least_paging_count
from sketches.drift.rates import rate_verdicts


@pytest.mark.parametrize(
    ("n_eff", "least", "probability"),
    [(50, 7, 0.229773158196), (381, 23, 0.997729009967), (500, 31, 0.998997450292), (5000, 301, 1.0)],
)
def test_golden_counts(n_eff: int, least: int, probability: float) -> None:
    assert least_major_count(n_eff, 1e4, 1e6, 0.01, 0.05) == least
    assert count_exceedance(least, n_eff, 0.1) == pytest.approx(probability, abs=1e-9)


@pytest.mark.parametrize("n", [20, 50, 300, 500])
def test_the_least_count_is_that_of_verdicts(n: int) -> None:
    k = np.arange(n + 1)
    verdicts = rate_verdicts(k, n, 30, 3_000)
    assert least_major_count(n, 30, 3_000, 0.01, 0.05) == int(k[verdicts.level == Level.major].min())
    for p in (1e-4, 1e-7):
        pages = (verdicts.low > 0.05) & (verdicts.p_value < p)
        assert least_paging_count(n, 30, 3_000, 0.05, p) == int(k[pages].min())


def test_a_rate_of_training_that_cannot_grow_never_pages() -> None:
    assert least_paging_count(500, 970, 1_000, 0.05, 1e-4) is None
    assert count_exceedance(None, 500, 1.0) == 0.0


def test_zero_events_are_always_reached() -> None:
    assert count_exceedance(0, 10, 0.0) == 1.0
    assert count_exceedance(1, 10, 0.0) == 0.0
    assert count_exceedance(10, 10, 1.0) == 1.0
