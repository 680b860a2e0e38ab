"""Differences of means, rates and quantiles, against scipy and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import fisher_exact, ttest_ind

from barograph_server.sketches.baseline.levels import REASON_NAMES, Level
from barograph_server.sketches.comparison.differences import mean_differences, quantile_differences, rate_differences
from barograph_server.sketches.drift.rates import newcombe
from barograph_server.sketches.sketch.numeric import NumericSketch, numeric_sketch


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


def test_too_little_for_a_mean_is_an_open_interval() -> None:
    for n, variance, phi in ((0, 1.0, 1.0), (1, np.nan, 1.0), (5, 1.0, 5.0), (50, np.inf, 1.0), (50, np.nan, 1.0)):
        result = mean_differences(n, 1.0, variance, 100, 2.0, 1.0, phi_left=phi)
        assert (result.low.item(), result.high.item(), result.p_value.item()) == (-np.inf, np.inf, 1.0)
        assert np.isnan(result.difference.item()) == (n == 0)
    # Constants differ or do not.
    result = mean_differences(10, [1.0, 1.0], 0.0, 10, [1.0, 2.0], 0.0)
    assert result.p_value.tolist() == [1.0, 0.0]
    assert result.low.tolist() == result.high.tolist() == [0.0, 1.0]


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


def test_levels_of_rates_are_symmetric() -> None:
    for few, many, n, level in (
        (10, 11, 1_000, Level.stable),
        (10, 10, 300, Level.insufficient),
        (10, 40, 1_000, Level.minor),
        (10, 120, 1_000, Level.major),
        (0, 60, 200, Level.major),
        (0, 10, 200, Level.insufficient),
        (100, 105, 1_000, Level.stable),
        (300, 340, 1_000, Level.insufficient),
        (300, 700, 1_000, Level.major),
    ):
        assert rate_differences(few, n, many, n).level.item() == level, (few, many, n)
        assert rate_differences(many, n, few, n).level.item() == level, (many, few, n)


def test_reasons_of_insufficient_data() -> None:
    for k, n, phi, completeness, reason in (
        (100, 1_000, 1.0, 1.0, ""),
        (0, 0, 1.0, 1.0, "no events"),
        (10, 300, 1.0, 1.0, "too few events"),
        (100, 1_000, 5.0, 1.0, "correlated events"),
        (10, 300, 1.0, 0.3, "lost events"),
    ):
        result = rate_differences(k, n, k, n, phi_left=phi, phi_right=phi, completeness=completeness)
        assert REASON_NAMES[result.reason.item()] == reason
        assert (result.level.item() == Level.insufficient) == bool(reason), reason


def test_a_side_without_events_leaves_a_rate_unknown() -> None:
    result = rate_differences([0, 3], [0, 10], [5, 0], [10, 0])
    assert result.level.tolist() == [Level.insufficient] * 2
    assert result.low.tolist() == [-1.0, -1.0]
    assert result.high.tolist() == [1.0, 1.0]
    assert result.p_value.tolist() == [1.0, 1.0]


def test_bad_rates_and_ranks_are_rejected() -> None:
    right: dict[str, float] = {"k_left": 1, "n_left": 10, "k_right": 1, "n_right": 10}
    for wrong in ({"k_left": 5, "n_left": 4}, {"phi_left": 0.5}, {"minor": 0.05, "major": 0.01}, {"k_left": -1}):
        with pytest.raises(ValueError):
            rate_differences(**(right | wrong))
    with pytest.raises(ValueError, match="between 0 and 1"):
        quantile_differences(sketch_of(np.arange(3.0)), sketch_of(np.arange(3.0)), [1.0])


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
    # An empty sketch has no quantile.
    result = quantile_differences(sketch_of(np.empty(0)), sketch_of(np.arange(10.0)), [0.5])
    assert np.isnan(result.difference).all()
    assert (result.low.item(), result.high.item()) == (-np.inf, np.inf)
