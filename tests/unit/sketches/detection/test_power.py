"""The probability that a change of PSI or of a rate is detected, and the time until then."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from barograph_server.sketches.baseline.levels import Level
from barograph_server.sketches.detection.delay import DetectionCurve, share_at
from barograph_server.sketches.detection.psi_power import exceedance, interval_exceedance, level_threshold, mixed_psi
from barograph_server.sketches.detection.rate_power import count_exceedance, least_major_count, least_paging_count
from barograph_server.sketches.drift.power import n_star
from barograph_server.sketches.drift.psi import psi_verdicts
from barograph_server.sketches.drift.rates import rate_verdicts

FloatArray = NDArray[np.float64]
EDGES = ndtri(np.arange(1, 10) / 10)


def deciles(shift: float = 0.0, scale: float = 1.0) -> FloatArray:
    return np.diff(ndtr((EDGES - shift) / scale), prepend=0.0, append=1.0)


STUCK = np.eye(10)[4]


def test_golden_psi_of_a_mixture() -> None:
    before = deciles()
    for after, whole, share in (
        (deciles(0.25), 0.059815581829, None),
        (deciles(0.5), 0.237749204686, 0.921104964588),
        (deciles(0.75), 0.529166887069, 0.626538842323),
        (deciles(1.0), 0.926142424262, 0.474009878157),
        (deciles(0.0, 1.8), 0.372082131943, 0.718551997703),
        (STUCK, 8.28308935503, 0.186488502961),
    ):
        assert mixed_psi(before, after, 1.0) == pytest.approx(whole, abs=1e-9)
        assert mixed_psi(before, after, 0.0) == 0.0
        if share is None:
            assert whole < 0.2
        else:
            solution = brentq(partial(_beyond, before, after), 0.0, 1.0, xtol=1e-13)
            assert solution == pytest.approx(share, abs=1e-9)
    with pytest.raises(ValueError, match=r"one shape \(B,\), not \(10,\) and \(9,\)"):
        mixed_psi(before, before[:9], 1.0)
    with pytest.raises(ValueError, match=r"lies in \[0, 1\], not at 1\.5"):
        mixed_psi(before, STUCK, 1.5)


def _beyond(before: FloatArray, after: FloatArray, share: float) -> float:
    return mixed_psi(before, after, share) - 0.2


@pytest.mark.parametrize(
    ("n_eff", "psi", "shift"), [(500, 0.218393458869, 0.479047070216), (1000, 0.216271779527, 0.476696170714)]
)
def test_golden_change_seen_in_a_full_window(n_eff: int, psi: float, shift: float) -> None:
    threshold = level_threshold(n_eff, 9, 0.1, 0.2)
    solution = brentq(lambda true: float(exceedance(true, n_eff, 9, threshold)) - 0.8, 0.0, 2.0, xtol=1e-14)
    assert solution == pytest.approx(psi, abs=1e-9)
    solution = brentq(lambda sd: mixed_psi(deciles(), deciles(sd), 1.0) - psi, 0.0, 2.0, xtol=1e-14)
    assert solution == pytest.approx(shift, abs=1e-9)


def test_the_threshold_is_that_of_the_verdict() -> None:
    for n in (60, 150, 300, 400, 2_000):
        rng = np.random.default_rng(n)
        shares = deciles(0.3 + 0.5 * rng.random())
        verdicts = psi_verdicts(np.full(10, 10**9), rng.multinomial(n, shares, 4_000), [0])
        threshold = level_threshold(n, 9, 0.1, 0.2)
        is_major = verdicts.level[:, 0] == 2
        exceeds = verdicts.psi[:, 0] > threshold
        # The interval of a verdict is widened for drift in rare bins, so near the threshold a verdict can be milder.
        assert not (is_major & ~exceeds).any(), n
        assert (is_major == exceeds).mean() > 0.95, n
        assert (n >= n_star(9)) == (threshold == 0.2)


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


def detection(after: NDArray[np.float64], n_eff: float) -> Callable[[float], float]:
    threshold = level_threshold(n_eff, 9, 0.1, 0.2)
    return lambda share: float(exceedance(mixed_psi(deciles(), after, share), n_eff, 9, threshold))


def test_golden_hours() -> None:
    for after, n_eff, hours in (
        (deciles(1.0), 500, (9.30419489622, 10.8829741833, 12.4585640144)),
        (deciles(0.0, 1.8), 500, (14.0892547447, 16.4914671608, 18.9058176911)),
        (deciles(0.75), 1000, (13.3185792632, 14.7274307827, 16.1225206412)),
    ):
        curve = DetectionCurve(24.0, 0.0, detection(after, n_eff))
        assert [curve.reached_s(u) for u in (0.1, 0.5, 0.9)] == pytest.approx(hours, abs=1e-9)
        # The wait for the next window is added.
        hopping = DetectionCurve(24.0, 6.0, detection(after, n_eff))
        assert hopping.reached_s(0.5) == pytest.approx(hours[1] + 3.0)


def test_reached_within_a_time_agrees_with_the_time() -> None:
    curve = DetectionCurve(24.0, 1.0, detection(deciles(1.0), 500))
    at = curve.reached_s(0.8)
    assert curve.is_reached(0.8, at + 1e-6)
    assert not curve.is_reached(0.8, at - 1e-6)
    assert not curve.is_reached(0.8, 0.5)
    # A change that is too small is never detected, and what is always detected takes no share.
    assert DetectionCurve(24.0, 1.0, detection(deciles(0.25), 500)).reached_s(0.5) == math.inf
    assert share_at(lambda share: 1.0, 0.5) == 0.0
    for quantile in (0.0, 1.0):
        with pytest.raises(ValueError, match="between 0 and 1"):
            share_at(lambda share: share, quantile)


def test_golden_counts() -> None:
    for n_eff, least, probability in (
        (50, 7, 0.229773158196),
        (381, 23, 0.997729009967),
        (500, 31, 0.998997450292),
        (5000, 301, 1.0),
    ):
        assert least_major_count(n_eff, 1e4, 1e6, 0.01, 0.05) == least
        assert count_exceedance(least, n_eff, 0.1) == pytest.approx(probability, abs=1e-9)
    # Zero events are always reached, and a rate of training that cannot grow never pages.
    assert [count_exceedance(k, 10, rate) for k, rate in ((0, 0.0), (1, 0.0), (10, 1.0))] == [1.0, 0.0, 1.0]
    assert least_paging_count(500, 970, 1_000, 0.05, 1e-4) is None
    assert count_exceedance(None, 500, 1.0) == 0.0


@pytest.mark.parametrize("n", [20, 50, 300, 500])
def test_the_least_count_is_that_of_verdicts(n: int) -> None:
    k = np.arange(n + 1)
    verdicts = rate_verdicts(k, n, 30, 3_000)
    assert least_major_count(n, 30, 3_000, 0.01, 0.05) == int(k[verdicts.level == Level.major].min())
    for p in (1e-4, 1e-7):
        pages = (verdicts.low > 0.05) & (verdicts.p_value < p)
        assert least_paging_count(n, 30, 3_000, 0.05, p) == int(k[pages].min())
