"""Wins and losses: golden values, and what the tests and intervals guarantee at every look."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import gammaln, xlogy

from sketches.comparison.sample_ratio import anytime_p
from sketches.shadow.binary_pairs import (
    difference_interval,
    log_evidence,
    log_evidence_better,
    log_evidence_of_difference,
    share_interval,
)


@pytest.mark.parametrize(
    ("wins", "losses", "log_e", "p"),
    [
        (12, 3, 0.541634025385, 0.581796804493),
        (120, 80, 1.67314002131, 0.187656892903),
        (5_200, 4_800, 5.34638952369, 0.00476532507075),
    ],
)
def test_evidence_is_that_of_the_ratio_of_arms(wins: int, losses: int, log_e: float, p: float) -> None:
    assert float(log_evidence(wins, losses)) == pytest.approx(log_e, abs=1e-9)
    assert float(anytime_p([wins, losses], [0.5, 0.5])) == pytest.approx(p, abs=1e-9)


def test_evidence_of_a_better_candidate() -> None:
    golden = [1.03499844458, 2.33262233941, -1.04179865029]
    np.testing.assert_allclose(log_evidence_better([12, 120, 80], [3, 80, 120]), golden, rtol=0, atol=1e-9)


def test_evidence_below_one_is_not_cut() -> None:
    assert float(log_evidence(500, 500)) < -0.5


def test_evidence_of_a_hopeless_candidate_underflows_to_none() -> None:
    with np.errstate(all="raise", under="ignore", divide="ignore"):
        assert float(log_evidence_better(0, 10**6)) == -np.inf


@pytest.mark.parametrize(
    ("wins", "losses", "low", "high"),
    [
        (12, 3, 0.417437048186, 0.980891674456),
        (120, 80, 0.479130836343, 0.713177226522),
        (5_200, 4_800, 0.500220485155, 0.539737791947),
        (0, 0, 0.0, 1.0),
    ],
)
def test_interval_of_the_share(wins: int, losses: int, low: float, high: float) -> None:
    np.testing.assert_allclose(share_interval(wins, losses), (low, high), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("counts", "log_e", "low", "high"),
    [
        ((30, 900, 10), -1.61948522379, -0.00864168203311, 0.055773519997),
        ((120, 800, 80), -2.88203090995, -0.0230919161735, 0.104026851086),
        ((300, 9_500, 200), 0.857018963482, -0.00101960997073, 0.021285026087),
    ],
)
def test_difference_with_ties(counts: tuple[int, int, int], log_e: float, low: float, high: float) -> None:
    assert float(log_evidence_of_difference(*counts, 0.0)) == pytest.approx(log_e, abs=1e-9)
    np.testing.assert_allclose(difference_interval(*counts), (low, high), rtol=0, atol=1e-9)


@pytest.mark.parametrize("counts", [(0, 0, 0), (3, 0, 0), (0, 0, 3), (0, 40, 0), (0, 40, 7), (7, 40, 0), (7, 0, 5)])
@pytest.mark.parametrize("difference", [-1.0, -0.7, -1e-12, 0.0, 0.3, 1.0])
def test_the_likelihood_without_some_counts_is_the_largest_of_a_grid(
    counts: tuple[int, int, int], difference: float
) -> None:
    b, t, c = counts
    s = np.concatenate(([abs(difference)], np.linspace(abs(difference), 1.0, 200_001)))
    likelihood = (xlogy(b, (s + difference) / 2) + xlogy(c, (s - difference) / 2) + xlogy(t, 1 - s)).max()
    n = b + t + c
    mixture = gammaln(1.5) - gammaln(1.5 + n) + sum(gammaln(0.5 + k) - gammaln(0.5) for k in counts)
    log_e = float(log_evidence_of_difference(b, t, c, difference))
    if likelihood == -np.inf:
        assert log_e == np.inf or log_e > 100
    else:
        assert log_e == pytest.approx(mixture - likelihood, abs=1e-5)


@pytest.mark.parametrize(
    ("counts", "difference"),
    [
        ((14_565_795, 15, 4), 0.9999999999999934),
        ((25, 58, 279), -0.9999999999999993),
        ((147, 24, 6_854_592), -1 + 2e-15),
    ],
)
def test_rounding_never_gives_an_impossible_share(counts: tuple[int, int, int], difference: float) -> None:
    assert float(log_evidence_of_difference(*counts, difference)) > 100.0


def test_intervals_reach_the_limits_where_a_count_is_zero() -> None:
    assert share_interval(0, 4)[0] == 0.0
    assert share_interval(4, 0)[1] == 1.0
    low, high = difference_interval(0, 0, 0)
    assert (float(low), float(high)) == (-1.0, 1.0)
    assert float(difference_interval(5, 0, 0)[1]) == 1.0


def test_counts_may_be_arrays() -> None:
    low, high = difference_interval([30, 120], [900, 800], [10, 80])
    np.testing.assert_allclose(low, [-0.00864168203311, -0.0230919161735], atol=1e-9)
    np.testing.assert_allclose(high, [0.055773519997, 0.104026851086], atol=1e-9)


def test_invalid_arguments_are_rejected() -> None:
    with pytest.raises(ValueError, match="negative"):
        share_interval(-1, 2)
    with pytest.raises(ValueError, match="α"):
        difference_interval(1, 2, 3, alpha=1.0)
    with pytest.raises(ValueError, match="between −1 and 1"):
        log_evidence_of_difference(1, 2, 3, 1.5)


def test_intervals_cover_the_truth_at_every_look() -> None:
    rng = np.random.default_rng(7)
    steps = rng.multinomial(20, (0.06, 0.9, 0.04), size=(400, 60)).cumsum(axis=1)
    low, high = difference_interval(steps[..., 0], steps[..., 1], steps[..., 2])
    assert ((low > 0.02) | (high < 0.02)).any(axis=1).mean() <= 0.05
    low, high = share_interval(steps[..., 0], steps[..., 2])
    assert ((low > 0.6) | (high < 0.6)).any(axis=1).mean() <= 0.05
