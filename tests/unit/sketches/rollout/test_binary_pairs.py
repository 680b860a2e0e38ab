"""Wins and losses, and bounded means: golden values, and what tests and intervals guarantee at every look."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import gammaln, xlogy

from barograph_server.sketches.comparison.sample_ratio import anytime_p
from barograph_server.sketches.rollout.binary_pairs import (
    difference_interval,
    log_evidence,
    log_evidence_better,
    log_evidence_of_difference,
    share_interval,
)
from barograph_server.sketches.rollout.bounded_mean import bounded_mean

GOLDEN_OUTSIDE = (0, 0)


def test_golden_evidence_is_that_of_the_ratio_of_arms() -> None:
    wins, losses = np.array([12, 120, 5_200]), np.array([3, 80, 4_800])
    assert log_evidence(wins, losses) == pytest.approx([0.541634025385, 1.67314002131, 5.34638952369], abs=1e-9)
    p = anytime_p(np.stack([wins, losses], axis=-1), [0.5, 0.5])
    assert p == pytest.approx([0.581796804493, 0.187656892903, 0.00476532507075], abs=1e-9)
    golden = [1.03499844458, 2.33262233941, -1.04179865029]
    np.testing.assert_allclose(log_evidence_better([12, 120, 80], [3, 80, 120]), golden, rtol=0, atol=1e-9)
    # Evidence below one is not cut, and that of a hopeless candidate underflows to none.
    assert float(log_evidence(500, 500)) < -0.5
    with np.errstate(all="raise", under="ignore", divide="ignore"):
        assert float(log_evidence_better(0, 10**6)) == -np.inf


def test_golden_interval_of_the_share() -> None:
    low, high = share_interval([12, 120, 5_200, 0], [3, 80, 4_800, 0])
    assert low == pytest.approx([0.417437048186, 0.479130836343, 0.500220485155, 0.0], abs=1e-9)
    assert high == pytest.approx([0.980891674456, 0.713177226522, 0.539737791947, 1.0], abs=1e-9)


def test_golden_difference_with_ties() -> None:
    counts = np.array([(30, 900, 10), (120, 800, 80), (300, 9_500, 200)]).T
    log_e = log_evidence_of_difference(counts[0], counts[1], counts[2], 0.0)
    assert log_e == pytest.approx([-1.61948522379, -2.88203090995, 0.857018963482], abs=1e-9)
    low, high = difference_interval(*counts)
    assert low == pytest.approx([-0.00864168203311, -0.0230919161735, -0.00101960997073], abs=1e-9)
    assert high == pytest.approx([0.055773519997, 0.104026851086, 0.021285026087], abs=1e-9)


@pytest.mark.parametrize("counts", [(0, 0, 0), (3, 0, 0), (0, 0, 3), (0, 40, 0), (0, 40, 7), (7, 40, 0), (7, 0, 5)])
def test_the_likelihood_without_some_counts_is_the_largest_of_a_grid(counts: tuple[int, int, int]) -> None:
    b, t, c = counts
    for difference in (-1.0, -0.7, -1e-12, 0.0, 0.3, 1.0):
        s = np.concatenate(([abs(difference)], np.linspace(abs(difference), 1.0, 200_001)))
        likelihood = (xlogy(b, (s + difference) / 2) + xlogy(c, (s - difference) / 2) + xlogy(t, 1 - s)).max()
        mixture = gammaln(1.5) - gammaln(1.5 + b + t + c) + sum(gammaln(0.5 + k) - gammaln(0.5) for k in counts)
        log_e = float(log_evidence_of_difference(b, t, c, difference))
        if likelihood == -np.inf:
            assert log_e == np.inf or log_e > 100, difference
        else:
            assert log_e == pytest.approx(mixture - likelihood, abs=1e-5), difference


def test_rounding_never_gives_an_impossible_share() -> None:
    for counts, difference in (
        ((14_565_795, 15, 4), 0.9999999999999934),
        ((25, 58, 279), -0.9999999999999993),
        ((147, 24, 6_854_592), -1 + 2e-15),
    ):
        assert float(log_evidence_of_difference(*counts, difference)) > 100.0


def test_intervals_reach_the_limits_where_a_count_is_zero() -> None:
    assert share_interval(0, 4)[0] == 0.0
    assert share_interval(4, 0)[1] == 1.0
    low, high = difference_interval(0, 0, 0)
    assert (float(low), float(high)) == (-1.0, 1.0)
    assert float(difference_interval(5, 0, 0)[1]) == 1.0
    with pytest.raises(ValueError, match="negative"):
        share_interval(-1, 2)
    with pytest.raises(ValueError, match="α"):
        difference_interval(1, 2, 3, alpha=1.0)
    with pytest.raises(ValueError, match="between −1 and 1"):
        log_evidence_of_difference(1, 2, 3, 1.5)


def outside(tests: int) -> tuple[int, int]:
    """Tests whose interval misses the true difference, or the true share, at any of 60 looks."""
    steps = np.random.default_rng(7).multinomial(20, (0.06, 0.9, 0.04), size=(tests, 60)).cumsum(axis=1)
    low, high = difference_interval(steps[..., 0], steps[..., 1], steps[..., 2])
    of_difference = ((low > 0.02) | (high < 0.02)).any(axis=1)
    low, high = share_interval(steps[..., 0], steps[..., 2])
    return int(of_difference.sum()), int(((low > 0.6) | (high < 0.6)).any(axis=1).sum())


def test_golden_intervals_outside() -> None:
    assert outside(40) == GOLDEN_OUTSIDE


@pytest.mark.long
def test_intervals_cover_the_truth_at_every_look() -> None:
    assert max(outside(400)) <= 0.05 * 400


VALUES = [0.62, 0.55, 0.48, 0.71, 0.66, 0.59, 0.52, 0.64, 0.57, 0.69]


def test_golden_values() -> None:
    center, half = bounded_mean(VALUES)
    assert (center[-1], half[-1]) == pytest.approx((0.603, 0.740774571878), abs=1e-9)
    assert bounded_mean(VALUES * 10)[1][-1] == pytest.approx(0.0758634030145, abs=1e-9)
    # Series are separate.
    np.testing.assert_array_equal(bounded_mean(np.array([VALUES, VALUES[::-1]]))[1][0], half)


def test_rare_total_losses_are_covered_at_every_look() -> None:
    values = (np.random.default_rng(3).random((300, 400)) >= 0.01).astype(float)
    center, half = bounded_mean(values)
    assert (np.abs(center - 0.99) > half).any(axis=1).mean() <= 0.05
    for wrong, alpha in (([1.2], 0.05), ([np.nan], 0.05), ([0.5], 0.0)):
        with pytest.raises(ValueError):
            bounded_mean(wrong, alpha)
