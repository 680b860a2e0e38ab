"""Fisher's exact test against exact arithmetic and scipy, and q-values over the fields of a window."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import false_discovery_control, fisher_exact

from barograph_server.sketches.drift.fdr import q_values
from barograph_server.sketches.drift.fisher import fisher_p

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


P = [0.001, 0.012, 0.02, 0.03, 0.2, 0.6]
W = [3, 1, 1, 1, 0.5, 0.5]
Q = [0.002333, 0.042, 0.046667, 0.0525, 0.56, 1.0]


def test_golden() -> None:
    np.testing.assert_allclose(q_values(P, W), [Q], atol=5e-7)
    # Only the proportions of weights count.
    np.testing.assert_allclose(q_values(P, [7 * w for w in W]), q_values(P, W), rtol=1e-12)
    # A family without enough data has no q.
    assert np.isnan(q_values([[0.1, 0.2]], compared=False)).all()
    assert q_values(np.empty((3, 0))).shape == (3, 0)
    assert q_values(np.empty((0, 2)), [1, 2], family=[0, 0]).shape == (0, 2)


@settings(max_examples=30)
@given(arrays(float, st.integers(1, 30), elements=st.floats(0, 1, allow_subnormal=False)))
def test_without_weights_it_is_scipys(p: np.ndarray) -> None:
    np.testing.assert_allclose(q_values(p)[0], false_discovery_control(p), rtol=1e-12, atol=0)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_a_batch_of_windows_and_families_gives_the_same_results_as_each_alone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    windows, groups = int(rng.integers(1, 5)), int(rng.integers(1, 12))
    p = rng.random((windows, groups)) ** 3
    weights = rng.choice([0.5, 1.0, 2.0], groups)
    family = rng.integers(0, 3, groups)
    compared = rng.random((windows, groups)) < 0.7
    q = q_values(p, weights, family=family, compared=compared)
    assert np.array_equal(np.isnan(q), ~compared)
    for w in range(windows):
        for s in range(3):
            chosen = compared[w] & (family == s)
            alone = q_values(p[w, chosen], weights[chosen])[0]
            np.testing.assert_allclose(q[w, chosen], alone, rtol=1e-12)


def test_wrong_arguments_are_rejected() -> None:
    for p in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="a p-value is not in"):
            q_values([0.5, p])
        assert q_values([0.5, p], compared=[True, False])[0, 0] == 0.5
    for weight in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="a weight of a field"):
            q_values([0.5, 0.5], [1.0, weight])
