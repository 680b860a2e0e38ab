"""Shifts of mean and standard deviation against plain numpy and scipy, and the coverage of their intervals."""

import numpy as np
import pytest
from scipy.stats import kurtosis as sample_kurtosis
from scipy.stats import ttest_ind

from barograph_server.sketches.drift.distances import STEP_RANKS, FloatArray
from barograph_server.sketches.drift.moments import MomentShifts, Spread, kurtosis, moment_shifts
from barograph_server.sketches.sketch.quantiles import exact_quantiles


def shifts(windows: FloatArray, base: Spread, phi: float = 1.0) -> MomentShifts:
    moved = windows - base.mean
    steps = np.stack([exact_quantiles(np.sort(window), STEP_RANKS) for window in windows])
    n = np.full(len(windows), windows.shape[1])
    return moment_shifts(n, moved.sum(axis=1), (moved**2).sum(axis=1), kurtosis(steps), base, phi)


def test_values_and_the_interval_are_scipys() -> None:
    rng = np.random.default_rng(4)
    base, window = rng.normal(50.0, 4.0, 3000), rng.normal(51.0, 6.0, 200)
    spread = Spread(base.mean(), base.std(), len(base), 3.0)
    result = shifts(window[None], spread)
    assert result.mean[0] == pytest.approx(window.mean(), rel=1e-12)
    assert result.shift[0] == pytest.approx((window.mean() - base.mean()) / base.std(), rel=1e-9)
    assert result.ratio[0] == pytest.approx(window.std(ddof=1) / base.std(), rel=1e-9)
    interval = ttest_ind(window, base, equal_var=False).confidence_interval(0.95)
    # A baseline's deviation is that of all its values, a sample's is larger by 1/(2m).
    assert result.shift_low[0] == pytest.approx(interval.low / base.std(), rel=1e-3)
    assert result.shift_high[0] == pytest.approx(interval.high / base.std(), rel=1e-3)


@pytest.mark.parametrize("n", [50, pytest.param(1000, marks=pytest.mark.long)])
def test_the_intervals_cover_the_truth(n: int) -> None:
    for name, mean, std, kappa, least_shift in (
        ("standard_normal", 0.0, 1.0, 3.0, 0.93),
        ("random", 0.5, 12**-0.5, 1.8, 0.93),
        ("standard_exponential", 1.0, 1.0, 9.0, 0.91),
    ):
        drawn = getattr(np.random.default_rng(5), name)((1000, n))
        # Drifted: a mean half a deviation higher, a deviation a fifth larger.
        result = shifts(mean + std * 0.5 + 1.2 * (drawn - mean), Spread(mean, std, 10**7, kappa))
        assert np.mean((result.shift_low <= 0.5) & (result.shift_high >= 0.5)) >= least_shift, name
        assert np.mean((result.ratio_low <= 1.2) & (result.ratio_high >= 1.2)) >= 0.93, name
        assert np.mean((result.shift_low > 0) | (result.shift_high < 0)) > 0.5, name


def test_phi_divides_n_and_a_missing_kurtosis_is_replaced_by_the_other() -> None:
    windows = np.random.default_rng(6).standard_normal((1, 4000))
    base = Spread(0.0, 1.0, 10**9, 3.0)
    plain, dependent = shifts(windows, base), shifts(windows, base, phi=100.0)
    assert dependent.shift[0] == plain.shift[0]
    wider = (dependent.shift_high - dependent.shift_low) / (plain.shift_high - plain.shift_low)
    assert wider[0] == pytest.approx(10.0, rel=0.05)
    assert dependent.ratio_high[0] / dependent.ratio[0] > plain.ratio_high[0] / plain.ratio[0]

    def factor(window: float, base: float) -> float:
        result = moment_shifts([100], [0.0], [100.0], [window], Spread(0.0, 1.0, 1000, base))
        return float(result.ratio_high[0] / result.ratio[0])

    assert factor(np.nan, 3.0) == factor(3.0, np.nan) == factor(3.0, 3.0)
    assert np.isnan(factor(np.nan, np.nan))


def test_unknown_results_are_nan() -> None:
    base = Spread(2.0, 1.0, 1000, 3.0)
    result = moment_shifts([0, 1, 2, 5], [0.0, 1.0, 2.0, np.inf], [0.0, 1.0, 2.0, np.inf], [1.0, 1.0, 1.0, 1.0], base)
    np.testing.assert_array_equal(result.mean, [np.nan, 3.0, 3.0, np.nan])
    np.testing.assert_array_equal(np.isnan(result.shift_low), [True, True, False, True])
    np.testing.assert_array_equal(result.ratio, [np.nan, np.nan, 0.0, np.nan])
    constant = moment_shifts([10], [10.0], [10.0], [1.0], Spread(2.0, 0.0, 1000, 1.0))
    assert constant.mean[0] == 3.0
    assert np.isnan([constant.shift[0], constant.shift_low[0], constant.ratio[0], constant.ratio_high[0]]).all()
    # So much dependence that the window is less than one reading: the shift is shown, no interval is.
    one = moment_shifts([100], [50.0], [100.0], [3.0], base, phi=200.0)
    assert one.shift[0] == 0.5
    assert np.isnan([one.shift_low[0], one.ratio_low[0]]).all()


def test_kurtosis_is_that_of_the_quantiles_and_never_overflows() -> None:
    values = np.random.default_rng(7).standard_normal(1000)
    assert kurtosis(np.sort(values)[None])[0] == pytest.approx(sample_kurtosis(values, fisher=False), rel=1e-9)
    big = np.linspace(-1.0, 1.0, 1000) * np.finfo(float).max
    np.testing.assert_allclose(kurtosis(np.stack([big / 2, np.full(1000, 1e300)])), [1.8, 1.0], rtol=1e-3)
    assert kurtosis(big[None])[0] >= 1.0
