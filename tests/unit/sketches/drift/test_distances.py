from collections.abc import Callable

import numpy as np
import pytest
from barograph.contract import SketchKind
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp, ttest_ind, wasserstein_distance
from scipy.stats import kurtosis as sample_kurtosis

from barograph_server.sketches.baseline.baseline import QUANTILE_RANKS
from barograph_server.sketches.drift import distances
from barograph_server.sketches.drift.distances import STEP_ERROR, STEP_RANKS, QuantileTable, ks_statistics, wasserstein
from barograph_server.sketches.drift.moments import MomentShifts, Spread, kurtosis, moment_shifts
from barograph_server.sketches.sketch.numeric import as_sketched, numeric_sketch_type
from barograph_server.sketches.sketch.quantiles import exact_quantiles
from tests.support.sketches import sketch_of

FloatArray = NDArray[np.float64]
DRAWS: dict[str, Callable[[np.random.Generator, int], FloatArray]] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "skewed": lambda rng, n: rng.lognormal(0.0, 1.0, n),
    "counts": lambda rng, n: rng.poisson(3.0, n).astype(float),
    "flags": lambda rng, n: (rng.random(n) < 0.2).astype(float),
    "mass at zero": lambda rng, n: np.where(rng.random(n) < 0.4, 0.0, rng.normal(1.0, 1.0, n)),
}


def table_of(values: FloatArray, kind: SketchKind = "kll") -> QuantileTable:
    exact = exact_quantiles(np.sort(values), np.linspace(0.0, 1.0, QUANTILE_RANKS))
    return QuantileTable(as_sketched(numeric_sketch_type(False, kind), exact), len(values))


def sketched(values: FloatArray, kind: SketchKind = "kll") -> tuple[FloatArray, float]:
    merged = sketch_of(values, kind, parts=3)
    return merged.quantiles(STEP_RANKS)[None], STEP_ERROR + merged.rank_error


def as_float32(values: FloatArray) -> FloatArray:
    return values.astype(np.float32).astype(np.float64)


@pytest.mark.parametrize("kind", ["kll", "req"])
@pytest.mark.parametrize("name", DRAWS)
def test_ks_and_wasserstein_are_scipys_within_the_stated_error(kind: SketchKind, name: str) -> None:
    rng = np.random.default_rng(3)
    base = as_float32(DRAWS[name](rng, 20_000))
    table = table_of(base, kind)
    low, high = np.quantile(base, [0.001, 0.999], method="inverted_cdf")
    assert (table.low, table.high) == (low, high)
    for shift, n in ((0.0, 1), (0.3, 40), (-2.0, 400), (0.0, 30_000), (0.3, 30_000), (-2.0, 30_000)):
        window = as_float32(DRAWS[name](rng, n) + shift)
        steps, error = sketched(window, kind)
        error += table.error
        assert abs(ks_statistics(table, steps)[0] - ks_2samp(window, base, method="asymp").statistic) <= error
        true = wasserstein_distance(window.clip(low, high), base.clip(low, high))
        assert abs(wasserstein(table, steps)[0] * table.scale - true) <= (error + STEP_ERROR) * (high - low)


def test_both_sides_of_a_jump_count() -> None:
    """A point mass that moved by a hair is a distance of its whole mass, from above as from below."""
    table = table_of(np.repeat([0.0, 1.0], 500))
    for moved in (np.nextafter(np.float32(1), np.float32(2)), np.nextafter(np.float32(1), np.float32(0))):
        steps, _ = sketched(np.repeat([0.0, float(moved)], 50))
        assert ks_statistics(table, steps)[0] == pytest.approx(0.5, abs=STEP_ERROR)
    assert ks_statistics(table, sketched(np.repeat([0.0, 1.0], 50))[0])[0] <= STEP_ERROR
    for value, distance in ((5.0, 1.0), (-5.0, 1.0), (0.5, pytest.approx(0.5, abs=STEP_ERROR))):
        assert ks_statistics(table, sketched(np.repeat([value], 50))[0])[0] == distance


def test_the_scale_of_a_field_that_seldom_differs() -> None:
    rare = np.where(np.arange(10_000) < 500, 3.0, 0.0)
    table = table_of(rare)
    assert (table.high - table.low, table.scale) == (3.0, 3.0)
    assert wasserstein(table, sketched(np.repeat([3.0], 50))[0])[0] == pytest.approx(0.95, abs=2 * STEP_ERROR)
    constant = table_of(np.repeat([7.0], 100))
    assert np.isnan(wasserstein(constant, sketched(np.repeat([8.0], 50))[0])[0])
    assert ks_statistics(constant, sketched(np.repeat([8.0], 50))[0])[0] == 1.0


def test_numbers_at_the_end_of_the_range_are_safe() -> None:
    table = QuantileTable(np.linspace(-1.0, 1.0, QUANTILE_RANKS) * np.finfo(float).max, 5000)
    steps = np.full((1, distances.STEPS), np.finfo(float).max)
    assert ks_statistics(table, steps)[0] == pytest.approx(1.0, abs=2 / distances.STEPS)
    assert not np.isnan(ks_statistics(table, -steps)[0])
    wasserstein(table, steps)


def test_golden_thresholds_and_bad_tables() -> None:
    assert distances.ks_threshold(1000, 10_000) == pytest.approx(0.045043, abs=5e-7)
    assert distances.ks_threshold(10**6, 10**6, 2 * 0.002717) == pytest.approx(0.007355, abs=1e-6)
    # φ divides n_h; without values nothing is ever called different.
    assert distances.ks_threshold(4000, 40_000, phi=4) == pytest.approx(0.045043, abs=5e-7)
    assert distances.ks_threshold([0, 1000], 10_000)[0] == np.inf
    with pytest.raises(ValueError, match="1001 quantiles"):
        QuantileTable([0.0, 1.0], 10)
    with pytest.raises(ValueError, match="at least one value"):
        QuantileTable(np.zeros(QUANTILE_RANKS), 0)
    with pytest.raises(ValueError, match=r"of shape \(1, 3\) do not fit a baseline of shape \(1, 2\)"):
        distances.jensen_shannon([1, 2], [1, 2, 3], [0])


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_jensen_shannon_is_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 6, rng.integers(1, 5))
    starts = np.cumsum(sizes) - sizes
    base = rng.poisson(3, sizes.sum()) * rng.integers(0, 2, sizes.sum())
    window = rng.poisson(2, (3, sizes.sum()))
    result = distances.jensen_shannon(base, window, starts)
    for g, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        for w in range(3):
            one, other = base[start : start + size], window[w, start : start + size]
            if not one.sum() or not other.sum():
                assert np.isnan(result[w, g])
            else:
                assert result[w, g] == pytest.approx(np.nan_to_num(jensenshannon(one, other, base=2)), abs=1e-7)


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
