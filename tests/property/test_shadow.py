"""Invariants of the comparison of a candidate with its primary, for any data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from barograph_server.sketches.comparison.sample_ratio import CONCENTRATIONS
from barograph_server.sketches.rollout.binary_pairs import (
    difference_interval,
    log_evidence,
    log_evidence_of_difference,
    share_interval,
)
from barograph_server.sketches.rollout.day_evidence import day_evidence, evidence_interval
from barograph_server.sketches.rollout.day_interval import day_interval
from barograph_server.sketches.rollout.decision import Criterion, CriterionDays, decide
from barograph_server.sketches.rollout.missing_pairs import MissingPairs, bounded_sums

FloatArray = NDArray[np.float64]
UNHURRIED = settings(deadline=None, max_examples=25)
COUNTS = st.integers(0, 10_000)
SIZES = st.integers(30, 90)
SEEDS = st.integers(0, 2**32 - 1)


def days(size: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """Sums of days of 60 to 3,000 pairs whose scale, mean, skew and correlation are random."""
    rng = np.random.default_rng(seed)
    pairs = rng.integers(60, 3_000, size).astype(np.float64)
    noise = rng.standard_normal(size) if rng.random() < 0.5 else rng.exponential(1.0, size) - 1.0
    noise = np.repeat(noise, rng.integers(1, 4))[:size]
    rate = rng.normal(0.0, 0.02) + 10.0 ** rng.uniform(-4.0, -1.0) * noise
    return np.rint(np.clip(rate, -1.0, 1.0) * pairs), pairs


# ---------------------------------------------------------------------------------------------------- wins and losses


@UNHURRIED
@given(st.lists(st.booleans(), min_size=1, max_size=200))
def test_evidence_is_the_product_of_the_bets_on_each_pair(outcomes: list[bool]) -> None:
    a = CONCENTRATIONS / 2
    wins = losses = 0
    capital = np.ones(len(a))
    for win in outcomes:
        capital *= 2 * (a + (wins if win else losses)) / (2 * a + wins + losses)
        wins, losses = wins + win, losses + (not win)
    assert float(log_evidence(wins, losses)) == pytest.approx(float(np.log(capital.mean())), abs=1e-9)


@UNHURRIED
@given(COUNTS, COUNTS, COUNTS, st.sampled_from([0.001, 0.05, 0.3]))
def test_intervals_contain_the_estimate_and_their_ends_have_the_evidence(
    wins: int, ties: int, losses: int, alpha: float
) -> None:
    assume(wins + losses)
    low, high = share_interval(wins, losses, alpha)
    assert 0.0 <= low <= wins / (wins + losses) <= high <= 1.0
    low, high = difference_interval(wins, ties, losses, alpha)
    assert -1.0 <= low <= (wins - losses) / (wins + ties + losses) <= high <= 1.0
    for end in (float(low), float(high)):
        if -1.0 < end < 1.0:
            log_e = float(log_evidence_of_difference(wins, ties, losses, end))
            assert log_e == pytest.approx(-np.log(alpha), abs=1e-4)
    wider = difference_interval(wins, ties, losses, alpha / 2)
    assert wider[0] <= low
    assert wider[1] >= high


# ---------------------------------------------------------------------------------------------------- days


@UNHURRIED
@given(SIZES, SEEDS)
def test_swapping_the_sides_mirrors_days(size: int, seed: int) -> None:
    sums, pairs = days(size, seed)
    here, there = day_interval(sums, pairs), day_interval(-sums, pairs)
    assert (float(there.low), float(there.high)) == (-float(here.high), -float(here.low))
    # A smaller error rate contains the interval.
    wide = day_interval(sums, pairs, 0.01)
    assert float(wide.low) <= float(here.low) <= float(here.high) <= float(wide.high)
    assert float(here.kappa) >= 1.0
    evidence, mirrored = day_evidence(sums, pairs), day_evidence(-sums, pairs)
    np.testing.assert_allclose(evidence.different, mirrored.different, rtol=0, atol=1e-12)
    np.testing.assert_allclose(evidence.better, mirrored.worse, rtol=0, atol=1e-12)
    # Two-sided evidence is the mean of both sides.
    both = np.logaddexp(evidence.better, evidence.worse) - np.log(2.0)
    np.testing.assert_allclose(evidence.different, both, rtol=0, atol=1e-9)


@UNHURRIED
@given(SIZES, SEEDS)
def test_a_day_of_either_sign_leaves_the_evidence_on_average_at_most_as_it_was(size: int, seed: int) -> None:
    """The supermartingale, for the symmetric increments that it assumes."""
    sums, pairs = days(size, seed)
    before = day_evidence(sums[:-1], pairs[:-1], kappa=1.0)
    ends = [day_evidence(np.append(sums[:-1], sign * sums[-1]), pairs, kappa=1.0) for sign in (-1.0, 1.0)]
    for name in ("different", "better", "worse"):
        after = np.logaddexp(*(getattr(end, name)[-1] for end in ends)) - np.log(2.0)
        assert after <= getattr(before, name)[-1] + 1e-9


@UNHURRIED
@given(SIZES, SEEDS, st.floats(-0.2, 0.2))
def test_ends_of_intervals_have_the_evidence_and_move_with_a_constant_gain(size: int, seed: int, gain: float) -> None:
    sums, pairs = days(size, seed)
    low, high = evidence_interval(sums, pairs)
    assert low < high
    for end in (float(low), float(high)):
        if np.isfinite(end):
            assert float(day_evidence(sums, pairs, end).different[-1]) == pytest.approx(np.log(20.0), abs=1e-3)
    if day_evidence(sums, pairs).different[-1] >= np.log(20.0):
        assert low > 0.0 or high < 0.0
    before, after = day_interval(sums, pairs), day_interval(sums + gain * pairs, pairs)
    assume(bool(before.enough))
    np.testing.assert_allclose((after.low, after.high), (before.low + gain, before.high + gain), rtol=0, atol=1e-9)
    assert float(after.kappa) == pytest.approx(float(before.kappa), abs=1e-6)


# ---------------------------------------------------------------------------------------------------- decisions


@UNHURRIED
@given(SIZES, SEEDS, st.floats(0.0, 0.3))
def test_missing_answers_never_help(size: int, seed: int, share: float) -> None:
    sums, pairs = days(size, seed)
    rng = np.random.default_rng(seed)
    candidate, primary = rng.binomial(pairs.astype(int), share, (2, size))
    missing = MissingPairs(candidate, rng.binomial(candidate, 0.7), primary, rng.binomial(primary, 0.7))
    bounds = bounded_sums(sums, pairs, missing)
    assert (bounds.low <= sums).all()
    assert (bounds.high >= sums).all()
    complete = CriterionDays(Criterion("accuracy", 0.02), sums, pairs)
    verdict = decide([CriterionDays(complete.criterion, sums, pairs, missing)]).criteria[0]
    assert verdict.is_met <= decide([complete]).criteria[0].is_met
    assert verdict.least_value <= verdict.value + 1e-12 or missing.candidate == 0
    swapped = MissingPairs(missing.primary, missing.candidate_quality, missing.candidate, missing.primary_quality)
    mirrored = bounded_sums(-sums, pairs, swapped)
    np.testing.assert_array_equal(mirrored.low, -bounds.high)
