"""E-processes of day blocks."""

from __future__ import annotations

import numpy as np
import pytest

from sketches.shadow.day_evidence import day_evidence, evidence_interval

BETS = [5, -1, 6, 2, 4, -3, 5, 3, 2, 6]
FIRST = [4, -2, 3, 1]
SECOND = [4, -2, 3, 1, 0, -3, 2]


@pytest.mark.parametrize(
    ("kappa", "different", "better", "worse"),
    [
        (1.0, 1.05468513907, 1.72215125594, -1.9269821125),
        (1.6, 0.233338535505, 0.870206106809, -1.97894510689),
    ],
)
def test_golden_evidence(kappa: float, different: float, better: float, worse: float) -> None:
    evidence = day_evidence(FIRST + BETS, 100, burn_in=4, kappa=kappa)
    assert evidence.different.shape == (10,)
    assert evidence.different[-1] == pytest.approx(different, abs=1e-9)
    assert evidence.better[-1] == pytest.approx(better, abs=1e-9)
    assert evidence.worse[-1] == pytest.approx(worse, abs=1e-9)


@pytest.mark.parametrize(
    ("kappa", "log_e", "low", "high"),
    [
        (1.0, 5.54442125886, 0.00932128182976, 0.0491387707799),
        (1.5, 3.14812321601, 0.000943242250881, 0.056983064301),
    ],
)
def test_golden_interval(kappa: float, log_e: float, low: float, high: float) -> None:
    days = SECOND + 3 * BETS
    assert day_evidence(days, 100, burn_in=7, kappa=kappa).different[-1] == pytest.approx(log_e, abs=1e-9)
    np.testing.assert_allclose(evidence_interval(days, 100, burn_in=7, kappa=kappa), (low, high), rtol=0, atol=1e-9)


def test_each_day_has_the_evidence_of_the_days_so_far() -> None:
    days = np.array(SECOND + 3 * BETS, np.float64)
    path = day_evidence(days, 100, burn_in=7).different
    for last in (8, 20, 37):
        assert path[last - 8] == pytest.approx(day_evidence(days[:last], 100, burn_in=7).different[-1], abs=1e-12)


def test_the_scale_follows_the_null() -> None:
    """With the scale of δ = 0 the evidence against a remote null would grow without end."""
    far = day_evidence(SECOND + BETS, 100, 50.0, burn_in=7, kappa=1.0).different[-1]
    farther = day_evidence(SECOND + BETS, 100, 5_000.0, burn_in=7, kappa=1.0).different[-1]
    assert far == pytest.approx(farther, abs=0.1)


def test_few_days_give_an_open_interval() -> None:
    low, high = evidence_interval(SECOND + BETS[:2], 100, burn_in=7)
    assert (float(low), float(high)) == (-np.inf, np.inf)


def test_series_and_nulls_broadcast() -> None:
    days = np.array([SECOND + 3 * BETS, [-each for each in SECOND + 3 * BETS]])
    low, high = evidence_interval(days, 100, burn_in=7, kappa=1.0)
    np.testing.assert_allclose(low, -high[::-1], rtol=0, atol=1e-12)
    nulls = day_evidence(days, 100, [0.0, -0.01], burn_in=7).worse
    assert nulls[1, -1] == pytest.approx(day_evidence(days[1], 100, -0.01, burn_in=7).worse[-1], abs=1e-12)


def test_invalid_arguments_are_rejected() -> None:
    with pytest.raises(ValueError, match="burn-in"):
        day_evidence(BETS, 100, burn_in=10)
    with pytest.raises(ValueError, match="α"):
        evidence_interval(BETS, 100, 0.0, burn_in=4)
