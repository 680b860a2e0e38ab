"""Fisher's exact test against exact arithmetic, against scipy, and as a test."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from scipy.stats import fisher_exact

from sketches.drift.fisher import fisher_p

SEED = 50


def exact(k: int, n: int, base_k: int, base_n: int) -> float:
    """The sum over all tables of the same margins that are at most as likely, in whole numbers."""
    marked = k + base_k
    ways = {x: comb(n, x) * comb(base_n, marked - x) for x in range(max(0, marked - base_n), min(n, marked) + 1)}
    return float(Fraction(sum(w for w in ways.values() if w <= ways[k]), comb(n + base_n, marked)))


def test_tables_are_exact() -> None:
    tables = np.array(
        [(k, n, b, m) for n in range(9) for m in range(0, 12, 3) for k in range(n + 1) for b in range(m + 1)]
    )
    expected = [exact(*row) if row[1] and row[3] else 1.0 for row in tables.tolist()]
    assert fisher_p(*tables.T) == pytest.approx(expected, rel=1e-12)
    rng = np.random.default_rng(SEED)
    for _ in range(50):
        n, m = int(10 ** rng.uniform(0, 3.2)), int(10 ** rng.uniform(1, 4.5))
        rate = 10 ** rng.uniform(-3, 0)
        k, b = int(rng.binomial(n, min(1.0, rate * rng.lognormal(0, 0.7)))), int(rng.binomial(m, rate))
        assert fisher_p(k, n, b, m).item() == pytest.approx(exact(k, n, b, m), rel=1e-9), f"{k, n, b, m}"


def test_tables_of_millions() -> None:
    """Long enough for the tails of the likelihood: within 2 %; hopeless ones are 0."""
    n, m, rate = 4_000_000, 20_000_000, 0.3
    for deviation in (0, 0.5, -2, 4, -8, 15):
        k, b = int(n * rate + deviation * np.sqrt(n * rate * (1 - rate) * (1 + n / m))), int(m * rate)
        expected = fisher_exact(np.array([[k, n - k], [b, m - b]])).pvalue
        assert fisher_p(k, n, b, m).item() == pytest.approx(expected, rel=0.02), deviation
    assert fisher_p(10**6, 10**6, 0, 10**8).item() == 0.0
    assert fisher_p(50_000, 50_000, 10, 10**6).item() == 0.0


def test_an_empty_margin_is_not_tested() -> None:
    assert fisher_p([0, 0, 5, 0, 3], [0, 10, 5, 8, 3], [3, 0, 7, 0, 0], [9, 10, 7, 0, 0]).tolist() == [1.0] * 5
    assert fisher_p(np.empty((2, 0)), 1, 1, 2).shape == (2, 0)
