"""Empirical Bernstein intervals of bounded means."""

from __future__ import annotations

import numpy as np
import pytest

from sketches.shadow.bounded_mean import bounded_mean

VALUES = [0.62, 0.55, 0.48, 0.71, 0.66, 0.59, 0.52, 0.64, 0.57, 0.69]


@pytest.mark.parametrize(("times", "half"), [(1, 0.740774571878), (10, 0.0758634030145)])
def test_golden_values(times: int, half: float) -> None:
    center, radius = bounded_mean(VALUES * times)
    assert radius[-1] == pytest.approx(half, abs=1e-9)
    if times == 1:
        assert center[-1] == pytest.approx(0.603, abs=1e-9)


def test_rare_total_losses_are_covered_at_every_look() -> None:
    values = (np.random.default_rng(3).random((300, 400)) >= 0.01).astype(float)
    center, half = bounded_mean(values)
    assert (np.abs(center - 0.99) > half).any(axis=1).mean() <= 0.05


def test_series_are_separate() -> None:
    both = bounded_mean(np.array([VALUES, VALUES[::-1]]))
    np.testing.assert_array_equal(both[1][0], bounded_mean(VALUES)[1])


@pytest.mark.parametrize(("values", "alpha"), [([1.2], 0.05), ([np.nan], 0.05), ([0.5], 0.0)])
def test_invalid_arguments_are_rejected(values: list[float], alpha: float) -> None:
    with pytest.raises(ValueError):
        bounded_mean(values, alpha)
