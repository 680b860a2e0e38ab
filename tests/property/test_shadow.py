"""Invariants of the comparison of a candidate with its primary, for any data."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from barograph_server.sketches.rollout.day_evidence import day_evidence
from barograph_server.sketches.rollout.day_interval import day_interval
from barograph_server.sketches.rollout.decision import Criterion, CriterionDays, decide
from barograph_server.sketches.rollout.missing_pairs import MissingPairs, bounded_sums

FloatArray = NDArray[np.float64]
UNHURRIED = settings(deadline=None, max_examples=25)
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
def test_intervals_move_with_a_constant_gain(size: int, seed: int, gain: float) -> None:
    sums, pairs = days(size, seed)
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
