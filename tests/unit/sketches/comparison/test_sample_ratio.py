"""Sample-ratio mismatch: valid at any number of looks, on units and not on requests."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import betaln

from barograph_server.sketches.baseline.levels import REASON_NAMES, Level
from barograph_server.sketches.comparison.sample_ratio import CONCENTRATIONS, anytime_p, sample_ratio

HALF = [0.5, 0.5]


def looks(share: float, seed: int) -> NDArray[np.int64]:
    """Units of two arms at 336 looks, with 100 more at each, of 200 tests: (tests, looks, 2)."""
    left = np.random.default_rng(seed).binomial(100, share, size=(200, 336)).cumsum(axis=1)
    return np.stack([left, 100 * np.arange(1, 337) - left], axis=-1)


def test_two_arms_are_the_beta_mixture() -> None:
    a = CONCENTRATIONS / 2
    evidence = np.mean(np.exp(betaln(a + 620, a + 480) - betaln(a, a) + 1_100 * np.log(2)))
    assert anytime_p([620, 480], HALF) == pytest.approx(1 / evidence, rel=1e-9)
    # Many arms and unequal shares; a gross mismatch is found among few.
    shares = [0.8, 0.15, 0.05]
    assert anytime_p([8_000, 1_500, 500], shares) > 0.5
    assert anytime_p([8_000, 1_300, 700], shares) < 1e-6
    assert anytime_p([30, 0], HALF) < 0.001
    assert anytime_p([300, 200], HALF) < 0.002


def test_52_to_48_is_detected_and_an_even_split_is_not() -> None:
    units, even = looks(0.52, 10), looks(0.5, 9)
    alarmed = np.minimum.accumulate(anytime_p(units, HALF), axis=1) <= 0.001
    assert alarmed[:, -1].mean() >= 0.99
    assert np.median((alarmed.argmax(axis=1) + 1) * 100) < 15_000
    assert (anytime_p(even, HALF).min(axis=1) > 0.001).all()
    # Five requests of one user go to one arm: requests are no units.
    assert (anytime_p(5 * even, HALF).min(axis=1) <= 0.001).mean() > 0.3


def test_levels() -> None:
    for units, level, reason in (
        ([5_100, 4_900], Level.stable, ""),
        ([51, 49], Level.insufficient, "too few units"),
        ([52_000, 48_000], Level.major, ""),
        ([5_190, 4_810], Level.minor, ""),
        ([0, 0], Level.insufficient, "no units"),
    ):
        verdict = sample_ratio(units, HALF)
        assert (verdict.level, REASON_NAMES[verdict.reason]) == (level, reason), units
    # An alarm is never withdrawn.
    verdict = sample_ratio([50_000, 50_000], HALF, least_before=0.0004)
    assert (verdict.p_value, verdict.level) == (0.0004, Level.major)


@pytest.mark.parametrize(
    ("units", "shares"), [([1], [1.0]), ([1, 2, 3], HALF), ([1, 2], [1.0, 0.0]), ([1, -2], HALF), ([1, 2], [0.5, 0.6])]
)
def test_invalid_arguments_are_rejected(units: list[int], shares: list[float]) -> None:
    with pytest.raises(ValueError):
        sample_ratio(units, shares)
