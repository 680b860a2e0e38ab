"""The oracle of the flights tests against published figures and small cases counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tests.reference.flights_reference import (
    Level,
    enough,
    reference_psi,
    reference_rate,
    wilson,
)

EVEN = [1_000] * 10
DRAWN = [130, 120, 110, 105, 100, 95, 95, 90, 80, 75]
LARGE = [10_000] * 10

GOLDEN: list[tuple[list[int], list[int], float, float, int, float, float, Level]] = [
    ([100] * 10, [100] * 10, 1, 0, 9, 0, 0.025810, "stable"),
    (EVEN, DRAWN, 1, 0.025676, 9, 0.002402, 0.040264, "stable"),
    (EVEN, [10, 8, 6, 4, 3, 3, 2, 2, 1, 1], 1, 0.395748, 9, 0, 0.641645, "insufficient"),
    ([5_000, 3_000, 1_500, 500], [400, 350, 200, 50], 1, 0.044515, 3, 0.019475, 0.073663, "stable"),
    (LARGE, [0, 500, *[1_000] * 6, 1_500, 2_000], 1, 0.814210, 9, 0.776665, 0.850840, "major"),
    (EVEN, DRAWN, 2, 0.025676, 9, 0, 0.041222, "stable"),
    ([*LARGE, 0, 0, 0], [*[10] * 10, 0, 0, 0], 1, 0, 9, 0, 0.129178, "insufficient"),
    ([*LARGE, 0, 0, 0], [*[100] * 9, 99, 1, 0, 0], 1, 0.002389, 9, 0, 0.014512, "stable"),
    ([*LARGE, 0], [*[95] * 10, 50], 1, 0.311545, 9, 0.211411, 0.407409, "major"),
    ([*LARGE, 0], [*[97] * 10, 30], 1, 0.171100, 9, 0.098258, 0.239380, "minor"),
    ([9_800, 200], [180, 20], 1, 0.140454, 1, 0.050780, 0.271990, "insufficient"),
]


@pytest.mark.parametrize(("base", "window", "phi", "psi", "df", "low", "high", "level"), GOLDEN)
def test_golden_psi(
    base: list[int], window: list[int], phi: float, psi: float, df: int, low: float, high: float, level: Level
) -> None:
    judged = reference_psi(np.array(base), np.array(window), phi)
    assert (judged.psi, judged.low, judged.high) == pytest.approx((psi, low, high), abs=1e-6)
    assert (judged.df, judged.level, judged.n) == (df, level, sum(window))


@pytest.mark.parametrize(("df", "n"), [(1, 223.90), (3, 262.90), (9, 367.99), (12, 416.65), (19, 524.45), (49, 943.0)])
def test_golden_enough(df: int, n: float) -> None:
    assert enough(df) == pytest.approx(n, abs=0.005)


def test_golden_rates() -> None:
    assert wilson(50, 1_000) == pytest.approx((0.038130, 0.065314), abs=1e-6)
    judged = reference_rate(0, 100_000, 20, 1_000)
    assert (judged.delta, judged.low, judged.high) == pytest.approx((0.02, 0.012984, 0.030690), abs=1e-6)
    assert judged.level == "minor"


@pytest.mark.parametrize(("k", "n", "phi", "level"), [(0, 381, 1, "stable"), (0, 380, 1, "insufficient")])
def test_a_rate_needs_enough_events(k: int, n: int, phi: float, level: Level) -> None:
    assert reference_rate(0, 100_000, k, n, phi).level == level
