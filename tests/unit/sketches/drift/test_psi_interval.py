"""The tabulated inverse of the non-central χ² against scipy's own."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.special import chdtri, chndtr, chndtrinc

from barograph_server.sketches.drift.noncentral import _Inverse, chi2_quantile, lambda_high, lambda_low

SEED = 31


def random_df(rng: np.random.Generator, count: int) -> list[int]:
    return sorted({1, 2, 3, 9, 400, *rng.integers(1, 401, count).tolist()})


def test_both_ends_agree_with_scipy() -> None:
    rng = np.random.default_rng(SEED)
    for df in random_df(rng, 12):
        start, median = chdtri(df, 0.025), chdtri(df, 0.5)
        near = 1.0 + 10.0 ** rng.uniform(-6.0, 0.0, 12)
        t = np.concatenate([10.0 ** rng.uniform(-4.0, 5.0, 16), start * near, median * near])
        # scipy's inverse takes a second start where λ is 0
        low = np.where(t > start, chndtrinc(t, df, 0.975), 0.0)
        high = chndtrinc(np.maximum(t, median), df, 0.025)
        assert lambda_low(t, df) == pytest.approx(low, rel=1e-7, abs=1e-7), f"df {df}, seed {SEED}"
        assert lambda_high(t, df) == pytest.approx(high, rel=1e-7, abs=1e-7), f"df {df}, seed {SEED}"


def test_large_values_lie_on_the_distribution() -> None:
    """Up to 10⁷ scipy's inverse takes milliseconds; its distribution function is enough to check."""
    rng = np.random.default_rng(SEED)
    for df in random_df(rng, 10):
        t = 10.0 ** rng.uniform(5.0, 7.0, 4)
        # √T is nearly normal with variance 1: 10⁻⁵ in p is 2·10⁻⁴ in √λ, 10⁻⁷ of it at λ = 10⁶ and more
        assert chndtr(t, df, lambda_low(t, df)) == pytest.approx(np.full(4, 0.975), abs=1e-6)
        assert chndtr(t, df, lambda_high(t, df)) == pytest.approx(np.full(4, 0.025), abs=1e-6)


def test_below_the_start_the_lower_end_is_zero_and_the_upper_that_of_the_median() -> None:
    share = np.array([0.0, 0.5, 1.0 - 1e-12])
    for df in (1, 2, 9, 77):
        start, median = float(chdtri(df, 0.025)), float(chdtri(df, 0.5))
        assert lambda_low(share * start, df).tolist() == [0.0, 0.0, 0.0]
        assert lambda_high(share * median, df) == pytest.approx(np.full(3, chndtrinc(median, df, 0.025)), rel=1e-9)
    # Shapes broadcast, and scalars work.
    assert lambda_high([[1.0], [50.0]], [1, 9, 20]).shape == (2, 3)
    assert lambda_low(40.0, 9).shape == ()
    assert lambda_low(np.empty((0, 4)), np.empty((0, 4), np.int64)).shape == (0, 4)
    assert chi2_quantile(np.array([[1, 9]]), 0.5) == pytest.approx(np.array([[0.454936, 8.342833]]), abs=5e-7)
    with pytest.raises(ValueError, match="at least 1"):
        lambda_low(3.0, 0)


def test_threads_that_build_curves_at_once_agree() -> None:
    inverse = _Inverse(0.025)
    orders = [np.random.default_rng(seed).permutation(np.arange(1, 60)) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        verdicts = list(pool.map(lambda order: inverse(np.full(59, 80.0), order)[np.argsort(order)], orders))
    for other in verdicts[1:]:
        assert np.array_equal(verdicts[0], other)
