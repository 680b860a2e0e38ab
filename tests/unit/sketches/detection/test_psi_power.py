"""PSI of a partly filled window, and the probability that it is detected."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from sketches.detection.psi_power import exceedance, interval_exceedance, interval_threshold, level_threshold, mixed_psi
from sketches.drift.noncentral import lambda_low
from sketches.drift.power import n_star
from sketches.drift.psi import psi_verdicts

FloatArray = NDArray[np.float64]
EDGES = ndtri(np.arange(1, 10) / 10)


def deciles(shift: float = 0.0, scale: float = 1.0) -> FloatArray:
    """Shares of a normal field on the deciles of the standard normal distribution."""
    return np.diff(ndtr((EDGES - shift) / scale), prepend=0.0, append=1.0)


STUCK = np.eye(10)[4]


@pytest.mark.parametrize(
    ("after", "whole", "share"),
    [
        pytest.param(deciles(0.25), 0.059815581829, None, id="shift-0.25"),
        pytest.param(deciles(0.5), 0.237749204686, 0.921104964588, id="shift-0.5"),
        pytest.param(deciles(0.75), 0.529166887069, 0.626538842323, id="shift-0.75"),
        pytest.param(deciles(1.0), 0.926142424262, 0.474009878157, id="shift-1"),
        pytest.param(deciles(0.0, 1.8), 0.372082131943, 0.718551997703, id="scale-1.8"),
        pytest.param(STUCK, 8.28308935503, 0.186488502961, id="stuck"),
    ],
)
def test_golden_psi_of_a_mixture(after: FloatArray, whole: float, share: float | None) -> None:
    before = deciles()
    assert mixed_psi(before, after, 1.0) == pytest.approx(whole, abs=1e-9)
    assert mixed_psi(before, after, 0.0) == 0.0
    if share is None:
        assert whole < 0.2
    else:
        solution = brentq(lambda f: mixed_psi(before, after, f) - 0.2, 0.0, 1.0, xtol=1e-13)
        assert solution == pytest.approx(share, abs=1e-9)


@pytest.mark.parametrize(
    ("n_eff", "psi", "shift"), [(500, 0.218393458869, 0.479047070216), (1000, 0.216271779527, 0.476696170714)]
)
def test_golden_change_seen_in_a_full_window(n_eff: int, psi: float, shift: float) -> None:
    threshold = level_threshold(n_eff, 9, 0.1, 0.2)
    solution = brentq(lambda true: float(exceedance(true, n_eff, 9, threshold)) - 0.8, 0.0, 2.0, xtol=1e-14)
    assert solution == pytest.approx(psi, abs=1e-9)
    solution = brentq(lambda sd: mixed_psi(deciles(), deciles(sd), 1.0) - psi, 0.0, 2.0, xtol=1e-14)
    assert solution == pytest.approx(shift, abs=1e-9)


@pytest.mark.parametrize("n", [60, 150, 300, 400, 2_000])
def test_the_threshold_is_that_of_the_verdict(n: int) -> None:
    rng = np.random.default_rng(n)
    base = np.full(10, 10**9)
    shares = deciles(0.3 + 0.5 * rng.random())
    windows = rng.multinomial(n, shares, 4_000)
    verdicts = psi_verdicts(base, windows, [0])
    threshold = level_threshold(n, 9, 0.1, 0.2)
    is_major = verdicts.level[:, 0] == 2
    exceeds = verdicts.psi[:, 0] > threshold
    # The interval of a verdict is widened for drift in rare bins, so near the threshold a verdict can be milder.
    assert not (is_major & ~exceeds).any()
    assert (is_major == exceeds).mean() > 0.95
    assert (n >= n_star(9)) == (threshold == 0.2)


def test_the_interval_threshold_is_the_inverse_of_the_lower_end() -> None:
    observed = interval_threshold(800.0, 9, 0.5)
    assert float(lambda_low(800.0 * observed, 9)) / 800.0 == pytest.approx(0.5, abs=1e-7)


@pytest.mark.parametrize(
    ("after", "share"),
    [
        pytest.param(deciles(1.0), 1.0, id="shift"),
        pytest.param(deciles(1.4), 0.7, id="part-of-a-shift"),
        pytest.param(np.array([*[0.1] * 8, 0.2, 0.0]), 1.0, id="empty-bin"),
        pytest.param(np.array([0.0, 0.0, *[0.125] * 8]), 0.97, id="nearly-empty-bins"),
    ],
)
@pytest.mark.parametrize("n", [600, 1_000, 9_000])
def test_the_probability_to_page_alone_is_that_of_verdicts(after: FloatArray, share: float, n: int) -> None:
    mixed = (1.0 - share) * deciles() + share * after
    windows = np.random.default_rng(n).multinomial(n, mixed, 4_000)
    sample = {"events": n, "rows": 2_000_000, "phi": 1.0}
    base = np.full(10, 200_000)
    low = np.sort(psi_verdicts(base, windows, [0]).low[:, 0])
    for quantile in (0.1, 0.5, 0.9):
        threshold = float(np.quantile(low, 1.0 - quantile))
        predicted = interval_exceedance(deciles(), after, share, **sample, df=9, threshold=threshold)
        assert predicted == pytest.approx(quantile, abs=0.12)


def test_probabilities_rise_with_the_change() -> None:
    p = exceedance(np.linspace(0.0, 1.0, 50), 400.0, 9, 0.2)
    assert (np.diff(p) >= 0.0).all()
    assert p[0] < 1e-6
    assert p[-1] > 1 - 1e-6


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_lies_between_0_and_1(share: float) -> None:
    with pytest.raises(ValueError, match="lies in"):
        mixed_psi([0.5, 0.5], [0.4, 0.6], share)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="one shape"):
        mixed_psi([0.5, 0.5], [1.0], 0.5)
