"""Confidence sequence of sums of days."""

from __future__ import annotations

import numpy as np
import pytest

from sketches.shadow.autocorrelation import autocorrelations, first_lag_factor, variance_factor
from sketches.shadow.day_interval import day_interval, mean_radius
from tests.support.shadow import DIFFERENCES, PAIRS

SERIES = [3, 5, 2, -1, -2, 1, 4, 6, 3, 0, -3, -1, 2, 4, 5, 1, -2, -4, -1, 2, 3, 6, 4, 1, 0, -2, 1, 3]


def test_golden_interval() -> None:
    interval = day_interval(DIFFERENCES, PAIRS)
    assert float(interval.value) == pytest.approx(0.0285714285714, abs=1e-9)
    assert float(interval.kappa) == pytest.approx(2.55016364313, abs=1e-9)
    assert float(interval.half) == pytest.approx(0.0269809103731, abs=1e-9)
    assert float(day_interval(DIFFERENCES, PAIRS, alpha=0.025).half) == pytest.approx(0.0291048243596, abs=1e-9)
    assert bool(interval.enough)
    z = DIFFERENCES - float(interval.value) * PAIRS
    assert autocorrelations(z, 1)[0] == pytest.approx(0.586099585062, abs=1e-9)
    assert (z**2).sum() == pytest.approx(236.08163265306, abs=1e-9)


@pytest.mark.parametrize(
    ("days", "alpha", "radius"),
    [(30, 0.05, 0.560487231888), (60, 0.05, 0.391874444749), (153, 0.05, 0.249866035813), (153, 0.01, 0.292590863866)],
)
def test_golden_radius(days: int, alpha: float, radius: float) -> None:
    assert float(mean_radius(days, alpha)) == pytest.approx(radius, abs=1e-9)


def test_golden_first_lag_factor() -> None:
    z = np.array(SERIES, np.float64) - np.mean(SERIES)
    assert autocorrelations(z, 1)[0] == pytest.approx(0.553496712493, abs=1e-9)
    assert float(first_lag_factor(z)) == pytest.approx(2.48495789799, abs=1e-9)


def test_factors_of_independent_and_of_repeated_days() -> None:
    z = np.random.default_rng(2).standard_normal((50, 400))
    repeated = np.repeat(z[:, :100], 4, axis=1)
    assert np.median(variance_factor(z)) < 1.5
    assert np.median(variance_factor(repeated)) > 2.5
    np.testing.assert_array_equal(variance_factor(np.zeros((2, 16))), [1.5, 1.5])


def test_two_days_are_the_least() -> None:
    assert np.isfinite(day_interval([1.0, 2.0], [100, 100]).half)
    with pytest.raises(ValueError, match="two days"):
        day_interval([1.0], [100])


@pytest.mark.parametrize(
    ("differences", "pairs"),
    [
        (DIFFERENCES[:27], PAIRS[:27]),
        (DIFFERENCES, PAIRS / 3),
        (np.zeros(28), PAIRS),
        (0.1 * PAIRS, PAIRS),
    ],
)
def test_without_enough_data_the_interval_is_open(differences: np.ndarray, pairs: np.ndarray) -> None:
    interval = day_interval(differences, pairs)
    assert not bool(interval.enough)
    assert (float(interval.low), float(interval.high)) == (-np.inf, np.inf)


@pytest.mark.parametrize("pairs", [[100, 0], [100, -1], [100, np.nan]])
def test_days_without_pairs_are_rejected(pairs: list[float]) -> None:
    with pytest.raises(ValueError, match="leave out days without pairs"):
        day_interval([1.0, 2.0], pairs)
    with pytest.raises(ValueError, match="α"):
        day_interval([1.0, 2.0], [5, 5], alpha=0.0)
