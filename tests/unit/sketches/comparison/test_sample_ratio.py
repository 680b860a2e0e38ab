"""Sample-ratio mismatch: valid at any number of looks, on units and not on requests."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import betaln
from scipy.stats import chi2

from sketches.baseline.levels import REASON_NAMES, Level
from sketches.comparison.sample_ratio import CONCENTRATIONS, anytime_p, sample_ratio

LOOKS, TESTS = 336, 2_000
HALF = [0.5, 0.5]


def looks(share: float, per_look: int, seed: int, tests: int = TESTS) -> NDArray[np.int64]:
    """Units of two arms at 336 looks of many tests, (tests, 336, 2)."""
    rng = np.random.default_rng(seed)
    left = rng.binomial(per_look, share, size=(tests, LOOKS)).cumsum(axis=1)
    return np.stack([left, per_look * np.arange(1, LOOKS + 1) - left], axis=-1)


def ever(units: NDArray[np.int64]) -> float:
    return float((anytime_p(units, HALF).min(axis=1) <= 0.001).mean())


def at_most(rate: float, draws: int = TESTS) -> float:
    return rate + 4.0 * float(np.sqrt(rate * (1.0 - rate) / draws))


def test_two_arms_are_the_beta_mixture() -> None:
    a = CONCENTRATIONS / 2
    evidence = np.mean(np.exp(betaln(a + 620, a + 480) - betaln(a, a) + 1_100 * np.log(2)))
    assert anytime_p([620, 480], HALF) == pytest.approx(1 / evidence, rel=1e-9)


@pytest.mark.parametrize("per_look", [1, 30, 1_000])
def test_a_sound_test_of_unequal_arms_rarely_alarms_at_any_number_of_looks(per_look: int) -> None:
    least = anytime_p(looks(0.9, per_look, per_look), [0.9, 0.1]).min(axis=1)
    assert (least <= 0.001).mean() <= at_most(0.001)
    assert (least <= 0.05).mean() <= at_most(0.05)


def test_a_fixed_test_alarms_far_too_often() -> None:
    units = looks(0.5, 100, 8)
    n = units.sum(axis=2)
    p = chi2.sf((units[..., 0] - n / 2) ** 2 / (n / 4), 1)
    assert (p.min(axis=1) <= 0.001).mean() > 0.01


def test_requests_are_no_units() -> None:
    """Five requests of one user go to one arm: counted as users they are fine, as requests they alarm."""
    users = looks(0.5, 20, 9)
    assert ever(users) <= at_most(0.001)
    assert ever(5 * users) > 0.3


@pytest.mark.parametrize(("per_look", "power"), [(100, 0.99), (1_000, 1.0)])
def test_52_to_48_is_detected(per_look: int, power: float) -> None:
    units = looks(0.52, per_look, 10)
    alarmed = np.minimum.accumulate(anytime_p(units, HALF), axis=1) <= 0.001
    assert alarmed[:, -1].mean() >= power
    first = alarmed.argmax(axis=1)
    assert np.median((first + 1) * per_look) < 15_000


def test_gross_mismatch_is_found_among_few() -> None:
    assert anytime_p([30, 0], HALF) < 0.001
    assert anytime_p([300, 200], HALF) < 0.002


def test_levels() -> None:
    assert sample_ratio([5_100, 4_900], HALF).level == Level.stable
    assert sample_ratio([51, 49], HALF).level == Level.insufficient
    assert sample_ratio([52_000, 48_000], HALF).level == Level.major
    assert sample_ratio([5_190, 4_810], HALF).level == Level.minor
    assert sample_ratio([0, 0], HALF).level == Level.insufficient
    reasons = [sample_ratio(units, HALF).reason for units in ([5_100, 4_900], [52_000, 48_000], [51, 49], [0, 0])]
    assert [REASON_NAMES[reason] for reason in reasons] == ["", "", "too few units", "no units"]


def test_an_alarm_is_never_withdrawn() -> None:
    verdict = sample_ratio([50_000, 50_000], HALF, least_before=0.0004)
    assert (verdict.p_value, verdict.level) == (0.0004, Level.major)


def test_many_arms_and_unequal_shares() -> None:
    shares = [0.8, 0.15, 0.05]
    assert anytime_p([8_000, 1_500, 500], shares) > 0.5
    assert anytime_p([8_000, 1_300, 700], shares) < 1e-6


@pytest.mark.parametrize(
    ("units", "shares"), [([1], [1.0]), ([1, 2, 3], HALF), ([1, 2], [1.0, 0.0]), ([1, -2], HALF), ([1, 2], [0.5, 0.6])]
)
def test_invalid_arguments_are_rejected(units: list[int], shares: list[float]) -> None:
    with pytest.raises(ValueError):
        sample_ratio(units, shares)
