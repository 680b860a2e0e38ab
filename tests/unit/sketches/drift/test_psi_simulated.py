"""What the verdicts promise about error rates, found again by simulation with a fixed seed.

Every window has a baseline of its own, drawn from the same shares. A bound is the promised rate plus four standard
errors of the simulation.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import chi2, ncx2, poisson

from sketches.baseline.levels import Level
from sketches.drift.noncentral import lambda_high, lambda_low
from sketches.drift.power import n_star
from sketches.drift.psi import PsiVerdicts, psi_verdicts

FloatArray = NDArray[np.float64]

DRAWS = 4_000
TEN = np.full(10, 0.1)
TILT = np.linspace(-1.0, 1.0, 10)


def zipf(values: int) -> FloatArray:
    """A Zipf field as a baseline keeps it: values under 0.5 % in `other`, and a null bin that is always empty."""
    shares = 1.0 / np.arange(1, values + 1)
    shares /= shares.sum()
    retained = shares >= 0.005
    return np.array([*shares[retained], shares[~retained].sum(), 0.0])


SHARES: dict[str, FloatArray] = {
    "ten": TEN,
    "ten and 1 % null": np.array([*[0.099] * 10, 0.01]),
    "ten and 0.1 % null": np.array([*[0.0999] * 10, 0.001]),
    "twenty": np.full(20, 0.05),
    "twenty and two always empty": np.array([*[0.05] * 20, 0.0, 0.0]),
    "ties": np.array([0.35, 0.08, 0.08, 0.10, 0.05, 0.04, 0.10, 0.10, 0.10, 0.0, 0.0]),
    "zipf 30": zipf(30),
    "zipf 1,000": zipf(1_000),
    "zipf 10,000": zipf(10_000),
}
"""No bin expects 0.1 to 0.5 events in the windows below, or so few of them that it does not show."""

RARE: dict[str, FloatArray] = {
    "ten and three of 0.03 %": np.array([*TEN, 3e-4, 3e-4, 3e-4]) / 1.0009,
    "twenty and three of 0.03 %": np.array([*[0.05] * 20, 3e-4, 3e-4, 3e-4]) / 1.0009,
    "integers, poisson tail": np.asarray(poisson.pmf(np.arange(13), 3.0) / poisson.cdf(12, 3.0), np.float64),
    "integers, geometric tail": np.asarray(0.5 ** np.arange(1, 18) / (1.0 - 0.5**17), np.float64),
}
"""The exceptions: bins that expect 0.1 to 0.5 events add to T without counting in df."""


def simulate(p: FloatArray, q: FloatArray, m: int, n: int, draws: int = DRAWS, seed: int = 0) -> PsiVerdicts:
    """`draws` verdicts of windows from shares q against baselines from shares p, as groups of one window."""
    rng = np.random.default_rng([seed, m, n, len(p)])
    base, window = rng.multinomial(m, p, size=draws), rng.multinomial(n, q, size=draws)
    return psi_verdicts(base.ravel(), window.reshape(1, -1), np.arange(draws) * len(p))


def at_most(rate: float, draws: int = DRAWS) -> float:
    return rate + 4.0 * float(np.sqrt(rate * (1.0 - rate) / draws))


def psi(p: FloatArray, q: FloatArray) -> float:
    return float(((q - p) * np.log(q / p)).sum())


def drifted(target: float, direction: FloatArray, p: FloatArray = TEN) -> FloatArray:
    """Shares whose PSI against p is the target, tilted along a direction."""

    def tilted(strength: float) -> FloatArray:
        q: FloatArray = p * np.exp(strength * direction)
        return np.asarray(q / q.sum())

    return tilted(brentq(lambda strength: psi(p, tilted(strength)) - target, 0.0, 20.0))


@pytest.mark.parametrize("n", [50, 200, 1_000, 10_000])
@pytest.mark.parametrize("name", SHARES)
def test_false_alarms_without_drift(name: str, n: int) -> None:
    shares = SHARES[name]
    verdicts = simulate(shares, shares, 10**5, n)
    assert (verdicts.p_value < 0.05).mean() <= at_most(0.05)
    assert (verdicts.p_value < 0.001).mean() <= at_most(0.001)
    assert (verdicts.level == Level.major).mean() <= at_most(0.0005)
    assert (verdicts.level == Level.minor).mean() <= at_most(0.00003)


@pytest.mark.parametrize("n", [50, 200, 1_000, 10_000])
@pytest.mark.parametrize("name", RARE)
def test_rare_bins_raise_false_alarms_a_little_and_the_level_not_at_all(name: str, n: int) -> None:
    shares = RARE[name]
    verdicts = simulate(shares, shares, 10**6, n)
    assert (verdicts.p_value < 0.05).mean() <= at_most(0.09)
    assert (verdicts.p_value < 0.001).mean() <= at_most(0.003)
    assert (verdicts.level == Level.major).mean() <= at_most(0.0005)
    assert (verdicts.level == Level.minor).mean() <= at_most(0.00003)


def test_the_worst_known_case() -> None:
    shares = RARE["ten and three of 0.03 %"]
    verdicts = simulate(shares, shares, 10**6, 1_000, draws=20_000)
    assert (verdicts.p_value < 0.05).mean() == pytest.approx(0.09, abs=0.01)


def test_sparse_windows_raise_almost_no_alarm() -> None:
    shares = SHARES["twenty"]
    verdicts = simulate(shares, shares, 10**5, 50, draws=20_000)
    assert (verdicts.p_value < 0.05).mean() == pytest.approx(0.003, abs=0.0015)


def test_the_baselines_own_sampling_error_counts() -> None:
    """Baselines no larger than the window: the one-sample formula would raise 48 % false alarms here."""
    verdicts = simulate(TEN, TEN, 1_000, 1_000)
    assert (verdicts.p_value < 0.05).mean() <= at_most(0.05)
    one_sample = chi2.sf(1_000 * verdicts.psi, 9) < 0.05
    assert one_sample.mean() == pytest.approx(0.48, abs=0.04)


@pytest.mark.parametrize(("n", "rate"), [(50, 0.78), (100, 0.31), (200, 0.016), (500, 0.0)])
def test_a_threshold_alone_alarms_on_small_windows_and_the_level_does_not(n: int, rate: float) -> None:
    verdicts = simulate(TEN, TEN, 10**5, n)
    assert (verdicts.psi > 0.1).mean() == pytest.approx(rate, abs=4 * np.sqrt(rate * (1 - rate) / DRAWS) + 0.01)
    assert np.isin(verdicts.level, [Level.minor, Level.major]).mean() <= at_most(0.0005)


@pytest.mark.parametrize("direction", [TILT, np.eye(10)[0]], ids=["all bins", "one bin"])
@pytest.mark.parametrize(("true_psi", "rate"), [(0.1, 0.025), (0.2, 0.65), (0.25, 0.91), (0.3, 0.99)])
def test_rate_of_major_verdicts_with_just_enough_data(true_psi: float, rate: float, direction: FloatArray) -> None:
    verdicts = simulate(TEN, drifted(true_psi, direction), 10**7, 369)
    assert verdicts.enough.all()
    assert (verdicts.level == Level.major).mean() == pytest.approx(
        rate, abs=4 * np.sqrt(rate / DRAWS * (1 - rate)) + 0.005
    )


def test_false_minor_where_data_are_just_enough() -> None:
    """Too rare to simulate: the χ² form gives the rate, and 20,000 windows do not contradict it."""
    needed = n_star(9).item()
    assert chi2.sf(0.1 * needed, 9) == pytest.approx(3e-5, abs=0.5e-5)
    assert ncx2.sf(0.2 * needed, 9, 0.1 * needed) == pytest.approx(0.025, abs=1e-9)
    verdicts = simulate(TEN, TEN, 10**7, 369, draws=20_000)
    assert (verdicts.level != Level.stable).sum() <= 3


COVERAGE: dict[str, tuple[FloatArray, FloatArray, int, int]] = {
    "0.1, all bins": (TEN, drifted(0.1, TILT), 10**6, 500),
    "0.3, all bins": (TEN, drifted(0.3, TILT), 10**6, 200),
    "0.1, one bin": (TEN, drifted(0.1, np.eye(10)[0]), 10**6, 1_000),
    "0.3, one bin": (TEN, drifted(0.3, np.eye(10)[0]), 10**6, 5_000),
    "0.1, a baseline ten times the window": (TEN, drifted(0.1, TILT), 10**4, 1_000),
    "0.1 % null grows to 5 %": (SHARES["ten and 0.1 % null"], np.array([*[0.095] * 10, 0.05]), 10**6, 500),
    "0.1 % null grows to 3 %": (SHARES["ten and 0.1 % null"], np.array([*[0.097] * 10, 0.03]), 10**6, 5_000),
}


@pytest.mark.parametrize("name", COVERAGE)
def test_interval_covers_the_true_value(name: str) -> None:
    p, q, m, n = COVERAGE[name]
    verdicts = simulate(p, q, m, n, draws=2_000)
    covered = (verdicts.low <= psi(p, q)) & (psi(p, q) <= verdicts.high)
    assert 0.92 <= covered.mean() <= 0.97


def test_interval_covers_less_where_a_rare_bin_vanishes() -> None:
    p, q = np.array([*[0.099] * 10, 0.01]), np.array([*[0.09995] * 10, 0.0005])
    verdicts = simulate(p, q, 10**6, 5_000, draws=2_000)
    covered = (verdicts.low <= psi(p, q)) & (psi(p, q) <= verdicts.high)
    assert 0.78 <= covered.mean() <= 0.91


def test_without_the_variance_ratio_rare_bins_lack_coverage() -> None:
    """Drift into a rare bin varies more than the χ² form knows: the plain interval covers far less."""
    p, q, m, n = np.array([*[0.09999] * 10, 0.0001]), np.array([*[0.095] * 10, 0.05]), 10**7, 1_000
    verdicts = simulate(p, q, m, n, draws=2_000)
    n_h = n * m / (n + m)
    t = verdicts.psi * n_h
    plain = (lambda_low(t, verdicts.df) / n_h, lambda_high(t, verdicts.df) / n_h)
    assert ((plain[0] <= psi(p, q)) & (psi(p, q) <= plain[1])).mean() < 0.88
    assert ((verdicts.low <= psi(p, q)) & (psi(p, q) <= verdicts.high)).mean() >= 0.92
