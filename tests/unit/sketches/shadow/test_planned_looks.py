"""Bounds of declared looks."""

from __future__ import annotations

import numpy as np
import pytest

from sketches.shadow.planned_looks import look_bounds


@pytest.mark.parametrize(
    "bounds",
    [
        [4.87688494879, 3.35701192157, 2.68028006454, 2.28981676771, 2.03103204331],
        [3.71030287326, 2.51142748127, 1.99304747761],
    ],
)
def test_golden_bounds(bounds: list[float]) -> None:
    looks = len(bounds)
    np.testing.assert_allclose(look_bounds(np.arange(1, looks + 1) / looks), bounds, rtol=0, atol=1e-9)


def test_one_look_has_the_bound_of_a_fixed_test() -> None:
    assert look_bounds([1.0])[0] == pytest.approx(1.959963984540054, abs=1e-12)


def test_uneven_looks_keep_the_error_rate() -> None:
    shares = np.array([0.3, 0.35, 1.0])
    steps = np.random.default_rng(5).standard_normal((200_000, 3)) * np.sqrt(np.diff(shares, prepend=0.0))
    z = steps.cumsum(axis=1) / np.sqrt(shares)
    crossed = (np.abs(z) > look_bounds(shares)).any(axis=1).mean()
    assert crossed == pytest.approx(0.05, abs=0.002)


@pytest.mark.parametrize(
    ("shares", "alpha"),
    [([], 0.05), ([0.5, 0.4], 0.05), ([0.0, 1.0], 0.05), ([1.1], 0.05), ([0.1] * 6, 0.05), ([1.0], 0.0)],
)
def test_invalid_arguments_are_rejected(shares: list[float], alpha: float) -> None:
    with pytest.raises(ValueError):
        look_bounds(shares, alpha)
