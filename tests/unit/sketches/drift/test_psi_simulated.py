"""What the verdicts promise about error rates, found again by simulation with a fixed seed.

Every window has a baseline of its own, drawn from the same shares. A bound is the promised rate plus four standard
errors of the simulation.
"""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import softmax
from scipy.stats import chi2, ncx2, poisson

from barograph_server.sketches.baseline.levels import Level
from barograph_server.sketches.comparison.two_sample import PsiDifferences
from barograph_server.sketches.drift.power import n_star
from barograph_server.sketches.drift.psi import PsiVerdicts, psi_verdicts
from tests.reference.false_alarms import at_most

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


def simulate(p: FloatArray, q: FloatArray, m: int, n: int, draws: int) -> PsiVerdicts:
    """`draws` verdicts of windows from shares q against baselines from shares p, as groups of one window."""
    rng = np.random.default_rng([0, m, n, len(p)])
    base, window = rng.multinomial(m, p, size=draws), rng.multinomial(n, q, size=draws)
    return psi_verdicts(base.ravel(), window.reshape(1, -1), np.arange(draws) * len(p))


def psi(p: FloatArray, q: FloatArray) -> float:
    return float(((q - p) * np.log(q / p)).sum())


def drifted(target: float, direction: FloatArray) -> FloatArray:
    """Shares whose PSI against ten equal ones is the target, tilted along a direction."""

    def tilted(strength: float) -> FloatArray:
        return np.asarray(softmax(strength * direction))

    return tilted(brentq(lambda strength: psi(TEN, tilted(strength)) - target, 0.0, 20.0))


def alarms(verdicts: PsiVerdicts | PsiDifferences) -> tuple[int, int, int, int]:
    """How many have p < 0.05, p < 0.001, are minor, are major."""
    p, level = verdicts.p_value, verdicts.level
    return tuple(int(hits.sum()) for hits in (p < 0.05, p < 0.001, level == Level.minor, level == Level.major))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("draws", "sizes"), [(500, (200,)), pytest.param(DRAWS, (50, 200, 1_000, 10_000), marks=pytest.mark.long)]
)
@pytest.mark.parametrize("name", [*SHARES, *RARE])
def test_false_alarms_are_at_most_nominal(name: str, draws: int, sizes: tuple[int, ...]) -> None:
    """Rare bins raise false alarms of p a little, and of the level not at all."""
    shares, rows, of_p = (SHARES[name], 10**5, (0.05, 0.001)) if name in SHARES else (RARE[name], 10**6, (0.09, 0.003))
    for n in sizes:
        counts = alarms(simulate(shares, shares, rows, n, draws))
        for count, rate in zip(counts, (*of_p, 0.00003, 0.0005), strict=True):
            assert count / draws <= at_most(rate, draws), n


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
    "0.01 % null grows to 5 %": (np.array([*[0.09999] * 10, 1e-4]), np.array([*[0.095] * 10, 0.05]), 10**7, 1_000),
    "1 % null vanishes": (np.array([*[0.099] * 10, 0.01]), np.array([*[0.09995] * 10, 0.0005]), 10**6, 5_000),
}


@pytest.mark.parametrize("draws", [300, pytest.param(2_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", COVERAGE)
def test_interval_covers_the_true_value(name: str, draws: int) -> None:
    """It covers less where a rare bin vanishes."""
    p, q, m, n = COVERAGE[name]
    verdicts = simulate(p, q, m, n, draws=draws)
    inside = (verdicts.low <= psi(p, q)) & (psi(p, q) <= verdicts.high)
    least, most = (0.78, 0.91) if "vanishes" in name else (0.92, 0.98)
    assert least <= inside.mean() <= most
