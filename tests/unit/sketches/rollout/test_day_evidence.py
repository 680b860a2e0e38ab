"""E-processes of day blocks, the confidence sequence of sums of days, and false discoveries of e-values."""

import numpy as np
import pytest

from barograph_server.sketches.rollout.day_evidence import day_evidence
from barograph_server.sketches.rollout.day_interval import (
    autocorrelations,
    day_interval,
    first_lag_factor,
    mean_radius,
    variance_factor,
)
from barograph_server.sketches.rollout.e_bh import e_bh, log_mean_e
from tests.support.shadow import DIFFERENCES, PAIRS

BETS = [5, -1, 6, 2, 4, -3, 5, 3, 2, 6]
FIRST = [4, -2, 3, 1]
SECOND = [4, -2, 3, 1, 0, -3, 2]


def test_golden_evidence() -> None:
    for kappa, golden in (
        (1.0, (1.05468513907, 1.72215125594, -1.9269821125)),
        (1.6, (0.233338535505, 0.870206106809, -1.97894510689)),
    ):
        evidence = day_evidence(FIRST + BETS, 100, burn_in=4, kappa=kappa)
        assert evidence.different.shape == (10,)
        last = (evidence.different[-1], evidence.better[-1], evidence.worse[-1])
        assert last == pytest.approx(golden, abs=1e-9)
    days = SECOND + 3 * BETS
    for kappa, log_e in ((1.0, 5.54442125886), (1.5, 3.14812321601)):
        assert day_evidence(days, 100, burn_in=7, kappa=kappa).different[-1] == pytest.approx(log_e, abs=1e-9)
    with pytest.raises(ValueError, match="burn-in"):
        day_evidence(BETS, 100, burn_in=10)


SERIES = [3, 5, 2, -1, -2, 1, 4, 6, 3, 0, -3, -1, 2, 4, 5, 1, -2, -4, -1, 2, 3, 6, 4, 1, 0, -2, 1, 3]


def test_golden_interval() -> None:
    interval = day_interval(DIFFERENCES, PAIRS)
    assert float(interval.value) == pytest.approx(0.0285714285714, abs=1e-9)
    assert float(interval.kappa) == pytest.approx(14.8218449368, abs=1e-9)
    assert float(interval.half) == pytest.approx(0.0650464661387, abs=1e-9)
    assert float(day_interval(DIFFERENCES, PAIRS, alpha=0.025).half) == pytest.approx(0.0701668678336, abs=1e-9)
    # 28 days with κ = 14.8 are worth two: too few for an interval, unless their correlation is smaller.
    assert (bool(interval.enough), bool(interval.too_alike), float(interval.low)) == (False, True, -np.inf)
    mixed = np.ravel(np.stack((DIFFERENCES[:14], -DIFFERENCES[14:]), axis=1))
    assert float(variance_factor(mixed - mixed.mean())) == pytest.approx(1.57165381478, abs=1e-9)
    assert bool(day_interval(mixed, 100.0).enough)
    z = DIFFERENCES - float(interval.value) * PAIRS
    assert autocorrelations(z, 1)[0] == pytest.approx(0.586099585062, abs=1e-9)
    assert (z**2).sum() == pytest.approx(236.08163265306, abs=1e-9)
    series = np.array(SERIES, np.float64) - np.mean(SERIES)
    assert autocorrelations(series, 1)[0] == pytest.approx(0.553496712493, abs=1e-9)
    assert float(first_lag_factor(series)) == pytest.approx(11.3074237337, abs=1e-9)
    radii = [float(mean_radius(days, alpha)) for days, alpha in ((30, 0.05), (60, 0.05), (153, 0.05), (153, 0.01))]
    golden = [0.560487231888, 0.391874444749, 0.249866035813, 0.292590863866]
    assert radii == pytest.approx(golden, abs=1e-9)


def test_without_enough_data_the_interval_is_open() -> None:
    few = (DIFFERENCES[:27], PAIRS[:27])
    for differences, pairs in (few, (DIFFERENCES, PAIRS / 3), (np.zeros(28), PAIRS), (0.1 * PAIRS, PAIRS)):
        interval = day_interval(differences, pairs)
        assert not bool(interval.enough | interval.too_alike)
        assert (float(interval.low), float(interval.high)) == (-np.inf, np.inf)
    # Two days are the least.
    assert np.isfinite(day_interval([1.0, 2.0], [100, 100]).half)
    with pytest.raises(ValueError, match="two days"):
        day_interval([1.0], [100])


def test_days_without_pairs_are_rejected() -> None:
    for pairs in ([100, 0], [100, -1], [100, np.nan]):
        with pytest.raises(ValueError, match="leave out days without pairs"):
            day_interval([1.0, 2.0], pairs)
    with pytest.raises(ValueError, match="α"):
        day_interval([1.0, 2.0], [5, 5], alpha=0.0)


GOLDEN = np.log([900, 400, 130, 61, 20, 8, 3, 1, 0.5, 0.1])


def test_golden_rejections() -> None:
    for alpha, rejections in ((0.1, 5), (0.05, 4)):
        np.testing.assert_array_equal(e_bh(GOLDEN, alpha), np.arange(10) < rejections)
    # Families are separate; e-values may be huge, zero, or none.
    assert e_bh(np.stack([GOLDEN, np.zeros(10)])).sum(axis=1).tolist() == [5, 0]
    np.testing.assert_array_equal(e_bh([5_000.0, -np.inf]), [True, False])
    assert float(log_mean_e([5_000.0, -np.inf])) == pytest.approx(5_000.0 - np.log(2.0))
    assert e_bh([]).shape == (0,)
    assert float(log_mean_e([])) == 0.0


def test_invalid_arguments_are_rejected() -> None:
    with pytest.raises(ValueError, match="NaN"):
        e_bh([1.0, np.nan])
    with pytest.raises(ValueError, match="α"):
        e_bh([1.0], 0.0)
