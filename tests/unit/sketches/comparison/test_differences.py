"""Differences of means, rates and quantiles, against scipy and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import fisher_exact, ttest_ind

from sketches.baseline.levels import REASON_NAMES, Level
from sketches.comparison.differences import mean_differences, quantile_differences, rate_differences
from sketches.drift.rates import newcombe
from sketches.sketch.numeric import NumericSketch, numeric_sketch


def test_means_are_welchs() -> None:
    rng = np.random.default_rng(1)
    left, right = rng.normal(3.0, 1.0, 40), rng.normal(3.5, 4.0, 90)
    result = mean_differences(40, left.mean(), left.var(ddof=1), 90, right.mean(), right.var(ddof=1))
    reference = ttest_ind(right, left, equal_var=False)
    interval = reference.confidence_interval(0.95)
    assert result.p_value.item() == pytest.approx(reference.pvalue, rel=1e-9)
    assert result.df.item() == pytest.approx(reference.df, rel=1e-9)
    assert (result.low.item(), result.high.item()) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert result.difference.item() == pytest.approx(right.mean() - left.mean())


def test_overdispersion_widens_as_fewer_events_would() -> None:
    plain = mean_differences(100, 0.0, 2.0, 300, 0.5, 3.0)
    paid = mean_differences(400, 0.0, 2.0, 600, 0.5, 3.0, phi_left=4.0, phi_right=2.0)
    assert paid.p_value.item() == pytest.approx(plain.p_value.item())
    assert paid.low.item() == pytest.approx(plain.low.item())


@pytest.mark.parametrize(
    ("n_left", "variance", "phi"), [(0, 1.0, 1.0), (1, np.nan, 1.0), (5, 1.0, 5.0), (50, np.inf, 1.0), (50, np.nan, 1)]
)
def test_too_little_for_a_mean_is_an_open_interval(n_left: int, variance: float, phi: float) -> None:
    result = mean_differences(n_left, 1.0, variance, 100, 2.0, 1.0, phi_left=phi)
    assert (result.low.item(), result.high.item(), result.p_value.item()) == (-np.inf, np.inf, 1.0)
    assert np.isnan(result.difference.item()) == (n_left == 0)


def test_constants_differ_or_do_not() -> None:
    result = mean_differences(10, [1.0, 1.0], 0.0, 10, [1.0, 2.0], 0.0)
    assert result.p_value.tolist() == [1.0, 0.0]
    assert result.low.tolist() == result.high.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("n", [50, 500])
def test_false_alarms_of_means(n: int) -> None:
    rng = np.random.default_rng(2)
    left, right = rng.normal(size=(5_000, n)), rng.normal(size=(5_000, 5 * n)) * 2.0
    result = mean_differences(n, left.mean(1), left.var(1, ddof=1), 5 * n, right.mean(1), right.var(1, ddof=1))
    assert (result.p_value < 0.05).mean() == pytest.approx(0.05, abs=4 * 0.0031)
    np.testing.assert_array_equal((result.low > 0) | (result.high < 0), result.p_value < 0.05)


def test_rates_are_newcombes_and_fishers() -> None:
    result = rate_differences(20, 1_000, 45, 900)
    delta, low, high = newcombe(45, 900, 20, 1_000)
    assert (result.difference.item(), result.low.item(), result.high.item()) == (delta.item(), low.item(), high.item())
    assert result.p_value.item() == pytest.approx(fisher_exact(np.array([[20, 980], [45, 855]])).pvalue, rel=1e-8)
    assert (result.left.item(), result.right.item()) == (0.02, 0.05)
    # statistics.md: Newcombe 20/1000 − 0/10⁵
    golden = rate_differences(0, 10**5, 20, 1_000)
    assert (golden.difference.item(), golden.low.item(), golden.high.item()) == pytest.approx(
        (0.02, 0.012984, 0.030690), abs=5e-7
    )


@pytest.mark.parametrize(
    ("k_left", "k_right", "n", "level"),
    [
        (10, 11, 1_000, Level.stable),
        (10, 10, 300, Level.insufficient),
        (10, 40, 1_000, Level.minor),
        (40, 10, 1_000, Level.minor),
        (10, 120, 1_000, Level.major),
        (120, 10, 1_000, Level.major),
        (0, 60, 200, Level.major),
        (0, 10, 200, Level.insufficient),
        (100, 105, 1_000, Level.stable),
        (300, 340, 1_000, Level.insufficient),
        (300, 700, 1_000, Level.major),
    ],
)
def test_levels_of_rates_are_symmetric(k_left: int, k_right: int, n: int, level: Level) -> None:
    assert rate_differences(k_left, n, k_right, n).level.item() == level


@pytest.mark.parametrize(
    ("k", "n", "phi", "completeness", "reason"),
    [
        (100, 1_000, 1.0, 1.0, ""),
        (0, 0, 1.0, 1.0, "no events"),
        (10, 300, 1.0, 1.0, "too few events"),
        (10, 300, 2.0, 1.0, "too few events"),
        (100, 1_000, 5.0, 1.0, "correlated events"),
        (10, 300, 1.0, 0.3, "lost events"),
        (10, 300, 1.0, 0.95, "too few events"),
    ],
)
def test_reasons_of_insufficient_data(k: int, n: int, phi: float, completeness: float, reason: str) -> None:
    result = rate_differences(k, n, k, n, phi_left=phi, phi_right=phi, completeness=completeness)
    assert REASON_NAMES[result.reason.item()] == reason
    assert (result.level.item() == Level.insufficient) == bool(reason)


def test_a_side_without_events_leaves_a_rate_unknown() -> None:
    result = rate_differences([0, 3], [0, 10], [5, 0], [10, 0])
    assert result.level.tolist() == [Level.insufficient] * 2
    assert result.low.tolist() == [-1.0, -1.0]
    assert result.high.tolist() == [1.0, 1.0]
    assert result.p_value.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("n", [50, 500, 5_000, 10**6])
@pytest.mark.parametrize("rate", [0.001, 0.02, 0.3])
def test_false_alarms_of_rates(n: int, rate: float) -> None:
    rng = np.random.default_rng([3, n])
    draws = 20_000 if n <= 5_000 else 2_000
    k, j = rng.binomial(n, rate, draws), rng.binomial(n, rate, draws)
    result = rate_differences(k, n, j, n)
    assert (result.p_value < 0.05).mean() <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / draws)
    assert np.isin(result.level, [Level.minor, Level.major]).mean() <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / draws)
    assert (result.level == Level.major).mean() <= (0.015 if n == 50 else 0.001)


@pytest.mark.parametrize(
    "wrong", [{"k_left": 5, "n_left": 4}, {"phi_left": 0.5}, {"minor": 0.05, "major": 0.01}, {"k_left": -1}]
)
def test_bad_rates_are_rejected(wrong: dict[str, float]) -> None:
    right: dict[str, float] = {"k_left": 1, "n_left": 10, "k_right": 1, "n_right": 10}
    with pytest.raises(ValueError):
        rate_differences(**(right | wrong))


def sketch_of(values: NDArray[np.float64]) -> NumericSketch:
    sketch = numeric_sketch(False, "kll")
    sketch.update(values)
    return sketch


def test_quantiles_of_few_values_are_exact() -> None:
    left, right = np.arange(1.0, 102.0), np.arange(1.0, 102.0) + 30.0
    result = quantile_differences(sketch_of(left), sketch_of(right), [0.5, 0.99])
    assert result.difference.tolist() == [30.0, 30.0]
    assert result.left.tolist() == [51.0, 100.0]
    assert result.low[0] > 15.0
    # Of a hundred values the true 99 % point may lie beyond the largest.
    assert np.isinf(result.high[1])
    assert np.isnan(result.p_value).all()


def test_an_empty_sketch_has_no_quantile() -> None:
    result = quantile_differences(sketch_of(np.empty(0)), sketch_of(np.arange(10.0)), [0.5])
    assert np.isnan(result.difference).all()
    assert (result.low.item(), result.high.item()) == (-np.inf, np.inf)


def test_intervals_of_quantiles_cover() -> None:
    rng = np.random.default_rng(4)
    covered = np.zeros(2)
    for _ in range(400):
        left, right = rng.exponential(size=3_000), rng.exponential(size=2_000) * 1.2
        result = quantile_differences(sketch_of(left), sketch_of(right), [0.5, 0.95])
        truth = 0.2 * -np.log(1.0 - np.array([0.5, 0.95]))
        covered += (result.low <= truth) & (truth <= result.high)
    assert (covered / 400 >= 0.94).all()


def test_ranks_lie_between_0_and_1() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        quantile_differences(sketch_of(np.arange(3.0)), sketch_of(np.arange(3.0)), [1.0])
