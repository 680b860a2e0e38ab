"""False proposals and power of the hourly comparison of prompts, by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from tests.reference.prompt_arms import A_A, HARMFUL, RUNS, Scenario, harm_hours

NAMES = [scenario.name for scenario in A_A]


@pytest.mark.parametrize("name", ["two days", "returning users, few", "rare errors, 90 %"])
def test_equal_prompts_are_seldom_proposed(name: str) -> None:
    """At most 5 % of tests: of 60, more than 8 have a probability below 0.3 %."""
    (scenario,) = (each for each in A_A if each.name == name)
    assert np.count_nonzero(harm_hours(scenario, runs=60)) <= 8


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("scenario", A_A, ids=NAMES)
def test_equal_prompts_are_proposed_in_less_than_one_test_of_twenty(scenario: Scenario) -> None:
    assert np.mean(harm_hours(scenario, RUNS) > 0) <= 0.05


@pytest.mark.parametrize(
    ("scenario", "most"), tuple(zip(HARMFUL, (8, 72, 72), strict=True)), ids=[each.name for each in HARMFUL]
)
def test_harm_is_found_within_hours(scenario: Scenario, most: int) -> None:
    hours = harm_hours(scenario, runs=20)
    assert np.all(hours > 0)
    assert np.median(hours) <= most / 2
    assert np.max(hours) <= 2 * most
